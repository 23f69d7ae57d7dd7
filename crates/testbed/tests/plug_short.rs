//! exploration
mod plug;
use anyhow::Result;
use plug::{Rig, nvme, sata, scsi};
use testbed::lock_vm;

#[test]
fn explore() -> Result<()> {
    let _lock = lock_vm()?;
    let mut rig = Rig::new()?;
    let disks = vec![
        nvme("nvme0", 0), nvme("nvme1", 1),
        sata("sata0", 0, ",rotation_rate=7200"),
        sata("sata1", 1, ",logical_block_size=512,physical_block_size=4096,write-cache=off"),
        scsi("sas0", "sas", 0), scsi("sas1", "sas", 1) + ",write-cache=off",
        scsi("scsi0", "scsi", 0) + ",write-cache=off", scsi("scsi1", "scsi", 1) + ",dpofua=on",
    ];
    rig.boot(&disks)?;
    println!("{}", rig.log());
    for line in ["disks", "disks -a", "show -l", "disks -a -j"] { println!("{}", rig.console(line)?); }
    println!("{}", rig.shell("cat /mnt/state/slots; cat /proc/swaps; cat /proc/mounts; ls -l /sys/class/block; for d in /sys/block/*; do echo; echo $d $(readlink -f $d); for f in size ro removable diskseq queue/rotational queue/write_cache queue/fua queue/io_poll queue/logical_block_size queue/physical_block_size alignment_offset device/model device/vendor device/rev device/serial serial device/wwid wwid nsid device/firmware_rev; do [ -e $d/$f ] && echo \"$f: $(cat $d/$f)\"; done; ls $d/device/ $d/holders; done; cat /run/news; find /sys/devices -name phy_identifier -o -name port_no -o -name sas_address | while read f; do echo $f $(cat $f); done; find /sys/devices -name negotiated_linkrate | while read f; do echo $f $(cat $f); done")?);
    for pull in ["nvme1", "sas1", "scsi1"] {
        let r = rig.monitor()?.pull(pull, std::time::Duration::from_secs(30));
        println!("pull {pull}: {r:?}");
        println!("{}", rig.shell("sleep 3; cat /run/news; dmesg | tail -n 10; tail -n 5 /run/log; cat /proc/uptime")?);
        println!("{}", rig.console("disks")?);
    }
    println!("{}", rig.cec("list -l")?);
    rig.halt()
}
