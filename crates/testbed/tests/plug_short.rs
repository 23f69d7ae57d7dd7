//! Disks of every kind on Debian's drivers: they are found, told of, pulled and inserted under load, and
//! nobody types anything. `plug_full` has what takes longer.

mod plug;

use anyhow::{Context, Result, ensure};
use plug::load::Load;
use plug::{INTERFACE, LARGE_BYTES, LIMIT, Rig, bytes_of, nvme, scsi, standard};
use serde_json::Value;
use testbed::{lock_vm, transcript};

/// Blocks of 8 KiB that are written over and over.
const BLOCKS: usize = 1024;

/// Writes that show that a LUN is served.
const SOME: u64 = 300;

/// Of each slot: serial number, bus, cache that forgets, FUA, poll queues, turns, revolutions, physical
/// sector, link, place.
const EXPECTED: &str = "\
NVME0, nvme, true, true, true, false, null, 512, 2.5 GT/s PCIe x1, pci-0000:01:00.0-nvme-1
NVME1, nvme, true, true, true, false, null, 512, 2.5 GT/s PCIe x1, pci-0000:02:00.0-nvme-1
SAS0, sas, true, true, false, true, null, 512, 3.0 Gbit, pci-0000:00:08.0-sas-phy0-lun-0
SAS1, sas, true, false, false, false, null, 512, 3.0 Gbit, pci-0000:00:08.0-sas-phy1-lun-0
SCSI0, scsi, false, false, false, true, null, 512, null, pci-0000:00:09.0-scsi-0:0:0:0
SCSI1, scsi, true, false, false, true, null, 512, null, pci-0000:00:09.0-scsi-0:0:1:0
SATA0, sata, true, false, false, true, 7200, 512, 1.5 Gbps, pci-0000:00:1f.2-ata-1
SATA1, sata, false, false, false, true, null, 4096, 1.5 Gbps, pci-0000:00:1f.2-ata-2
";

/// What is told of a drive, as a line of [`EXPECTED`].
fn told(row: &Value) -> String {
    let fields = [
        "serial",
        "bus",
        "has_volatile_cache",
        "has_fua",
        "has_poll_queues",
        "is_rotating",
        "rpm",
        "physical_sector_bytes",
        "link_speed",
        "place",
    ];
    let word = |field: &&str| {
        let value = &row["attributes"][*field];
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let words: Vec<String> = fields.iter().map(word).collect();
    words.join(", ") + "\n"
}

#[test]
fn disks_of_every_kind_are_found_pulled_and_inserted_under_load() -> Result<()> {
    let _lock = lock_vm()?;
    let mut rig = Rig::new()?;
    rig.boot(&standard())?;
    check_facts(&mut rig)?;
    rig.console("make -c 0 raid10 1.0-3")?;
    rig.console("online 0")?;
    let mut load = Load::start(&rig.namespace, INTERFACE, 0, BLOCKS)?;
    load.goes_on(SOME, LIMIT)?;

    // An NVMe drive of a mirror, which comes back in another bay.
    let pulled = rig.pull("nvme1")?;
    rig.await_elements(0, &["normal", "missing", "normal", "normal"])?;
    rig.note_pull(&pulled)?;
    let listed = rig.cec("list -l 0")?;
    ensure!(listed.contains("degraded"), "{listed}");
    load.goes_on(SOME, LIMIT)?;
    // Without a load what is written to it is what it has missed.
    let content = load.end()?;
    rig.insert(&nvme("nvme1", 2))?;
    let elements = rig.await_elements(0, &["normal"; 4])?;
    ensure!(elements[1]["drive"] == "1.8", "{elements:?}");
    let rebuilt = rig.counted("nvme1")?.written_bytes;
    transcript::note(&format!(
        "{rebuilt} bytes written to rebuild what was missed"
    ));
    ensure!(
        rebuilt < LARGE_BYTES / 2,
        "{rebuilt} bytes written to rebuild what was missed"
    );
    let mut load = Load::resume(&rig.namespace, INTERFACE, 0, content)?;
    load.goes_on(SOME, LIMIT)?;

    // One of SAS, which comes back at another adapter.
    let pulled = rig.pull_untold("sas0")?;
    rig.await_elements(0, &["normal", "normal", "missing", "normal"])?;
    rig.note_pull(&pulled)?;
    load.goes_on(SOME, LIMIT)?;
    rig.monitor()?.pull("sas0", LIMIT)?;
    rig.insert(&scsi("sas0", "scsi", 6))?;
    let elements = rig.await_elements(0, &["normal"; 4])?;
    ensure!(elements[2]["drive"] == "1.9", "{elements:?}");

    // Nobody knows this one.
    rig.insert(&scsi("blank", "scsi", 5))?;
    let blank = rig.await_drive("blank")?;
    ensure!(blank["role"] == "free" && blank["state"] == "up", "{blank}");

    load.goes_on(SOME, LIMIT)?;
    let content = load.end()?.verify(&rig.namespace, INTERFACE, 0)?;
    // Those that were rebuilt hold everything by themselves.
    rig.pull("nvme0")?;
    rig.pull_untold("sas1")?;
    rig.await_elements(0, &["missing", "normal", "normal", "missing"])?;
    content.verify(&rig.namespace, INTERFACE, 0)?;
    rig.halt()
}

fn check_facts(rig: &mut Rig) -> Result<()> {
    let rows = rig.rows("disks -a")?;
    let found: String = rows.iter().map(told).collect();
    ensure!(found == EXPECTED, "{found}");
    for (slot, row) in rows.iter().enumerate() {
        let facts = &row["attributes"];
        let is_whole = row["slot"] == slot
            && row["state"] == "up"
            && row["role"] == "free"
            && facts["serial"]
                .as_str()
                .is_some_and(|serial| row["size_bytes"] == bytes_of(&serial.to_lowercase()))
            && facts["logical_sector_bytes"] == 512
            && facts["model"]
                .as_str()
                .is_some_and(|model| model.contains("QEMU"))
            && facts["firmware"]
                .as_str()
                .is_some_and(|version| !version.is_empty());
        ensure!(is_whole, "{row}");
    }
    let shown = rig.console("disks -a 1.6-7")?;
    for line in [
        "rotation     7200",
        "sectors      512/4096",
        "write cache  volatile",
        "write cache  none or protected",
    ] {
        ensure!(shown.contains(line), "{shown}");
    }
    // What others use is not taken, and why is told.
    let log = rig.log();
    for reason in [
        "it is swapped on",
        "md0 is on it",
        "dm-0 is on it",
        "vda is not taken: it is mounted on /mnt",
    ] {
        ensure!(log.contains(reason), "{reason}: {log}");
    }
    let mode = log
        .lines()
        .find(|line| line.contains("port open"))
        .context("port")?;
    ensure!(
        mode.contains("mode=native") && mode.contains("mtu=9000"),
        "{mode}"
    );
    Ok(())
}
