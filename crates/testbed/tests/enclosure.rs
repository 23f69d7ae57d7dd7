//! Slots and LEDs of an enclosure.

mod plug;

use anyhow::Result;
use plug::{Rig, sas};
use testbed::enclosure::{Bay, Enclosure};
use testbed::lock_vm;

#[test]
fn explore() -> Result<()> {
    let _lock = lock_vm()?;
    let mut rig = Rig::new()?;
    let naa = |phy: u64| Some(0x5000_c500_0000_0000 | phy);
    let bay = |number: u8, disk, tells_empty| Bay {
        number,
        name: format!("Slot {number:02}"),
        disk,
        tells_empty,
    };
    let enclosure = Enclosure::new(
        0x5000_56b3_1234_abfd,
        vec![
            bay(6, naa(0), true),
            bay(4, naa(2), true),
            bay(7, None, false),
            bay(2, naa(1), true),
            bay(3, None, true),
            bay(1, None, true),
        ],
    );
    let attached = enclosure.attach(&rig.namespace)?;
    rig.add_block_device(attached.block_device("enclosure"));
    let devices = [
        "megasas-gen2,id=mega,addr=c".to_owned(),
        plug::scsi("scsi0", "mega", 0),
        "megasas-gen2,id=megaj,addr=d,use_jbod=on".to_owned(),
        plug::scsi("scsi1", "megaj", 0),
        sas("sas0", 0),
        sas("sas1", 1),
        sas("sata0", 2),
        "scsi-generic,drive=enclosure,bus=sas.0,scsi-id=7".to_owned(),
    ];
    rig.boot(&devices)?;
    for command in [
        "dmesg | grep -i 'mega\\|scsi'",
        "for d in /sys/block/sd*; do echo $d $(readlink -f $d); done",
        "for d in $(ls -d /sys/block/sd* | sed 's|.*/||'); do case $(readlink -f /sys/block/$d) in *00:0[cd].0*) smartctl -j -n standby,3 -x /dev/$d; echo $?; smartctl --json=cou -n standby,3 -x /dev/$d; smartctl -r ioctl,2 -x /dev/$d; echo $?; smartctl -x -T verypermissive /dev/$d; smartctl -x -d scsi /dev/$d;  ls -l /dev/$d; smartctl -x -d megaraid,0 /dev/$d;; esac; done",
        "cat /run/log",
        "ledge --socket /run/control.sock disks -a",
    ] {
        let said = rig.shell(&format!("{{ {command}; }} 2>&1 || true"))?;
        eprintln!("=== {command}\n{said}");
    }
    Ok(())
}
