//! A SAS enclosure and its disks on Debian's `ses` driver: slots have the numbers of its bays, its LEDs show
//! what they should and no others, and what drives behind adapters tell of their health, or why they do not.

mod plug;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use plug::load::Load;
use plug::{INTERFACE, LIMIT, Rig, sas, scsi};
use testbed::enclosure::{Bay, Enclosure, Lit};
use testbed::lock_vm;

/// Its logical identifier.
const ADDRESS: u64 = 0x5000_56b3_1234_abfd;

/// Blocks of 8 KiB that are written over and over, and writes that show that a LUN is served.
const BLOCKS: usize = 1024;
const SOME: u64 = 200;

/// The SAS address of the disk at a phy; [`sas`] has the same.
fn disk(phy: u64) -> Option<u64> {
    Some(0x5000_c500_0000_0000 | phy)
}

/// Bays in another order than the phys of their disks, and than their numbers. What the kernel says of the
/// empty bay 7 is which of all elements it is: 2, as if it were another one.
fn enclosure() -> Enclosure {
    let bay = |number: u8, disk, tells_empty| Bay {
        number,
        name: format!("Slot {number:02}"),
        disk,
        tells_empty,
    };
    let bays = vec![
        bay(6, disk(0), true),
        bay(4, disk(2), true),
        bay(7, None, false),
        bay(2, disk(1), true),
        bay(3, None, true),
        bay(1, None, true),
    ];
    Enclosure::new(ADDRESS, bays)
}

/// The machine with the enclosure, and a disk behind an adapter of another kind.
struct Site {
    rig: Rig,
    enclosure: Enclosure,
}

impl Site {
    /// Waits until these are lit, and none else.
    fn await_lit(&mut self, lit: &[Lit]) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let now = self.enclosure.lit();
            if now == lit {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = self.rig.log();
                bail!("lit: {now:?}, not {lit:?}\n{log}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Serial number, slot and bay of each drive that is there.
    fn places(&mut self) -> Result<Vec<(String, u64, String)>> {
        let rows = self.rig.rows("disks -a")?;
        let present = rows.iter().filter(|row| row["state"] == "up");
        let place = |row: &serde_json::Value| {
            let facts = &row["attributes"];
            let word = |name: &str| facts[name].as_str().unwrap_or_default().to_owned();
            Ok((
                word("serial"),
                row["slot"].as_u64().context("slot")?,
                word("bay"),
            ))
        };
        present.map(place).collect()
    }

    fn ensure_places(&mut self, expected: &[(&str, u64, Option<u8>)]) -> Result<()> {
        let of = |(serial, slot, bay): &(&str, u64, Option<u8>)| {
            let bay = bay.map(|number| format!("{ADDRESS:#x} {number}"));
            ((*serial).to_owned(), *slot, bay.unwrap_or_default())
        };
        let expected: Vec<_> = expected.iter().map(of).collect();
        let places = self.places()?;
        ensure!(places == expected, "{places:?}, not {expected:?}");
        Ok(())
    }

    /// Takes a disk out of its bay, as the kernel and the enclosure see it.
    fn take_out(&mut self, medium: &str, bay: u8) -> Result<()> {
        self.rig.pull_untold(medium)?;
        self.enclosure.place(bay, None)
    }
}

#[test]
fn slots_are_bays_and_leds_show_which() -> Result<()> {
    let _lock = lock_vm()?;
    testbed::requirements::check_iscsi()?;
    let mut rig = Rig::new()?;
    let enclosure = enclosure();
    let attached = enclosure.attach(&rig.namespace)?;
    rig.add_block_device(attached.block_device("enclosure"));
    rig.boot(&[
        "megasas-gen2,id=raid,addr=c".to_owned(),
        scsi("scsi0", "raid", 0),
        sas("sata0", 0),
        sas("sata1", 1),
        sas("scsi1", 2),
        "scsi-generic,drive=enclosure,bus=sas.0,scsi-id=7".to_owned(),
    ])?;
    let mut site = Site { rig, enclosure };
    // What is in no bay has the first number that no bay has.
    site.ensure_places(&[
        ("SCSI0", 0, None),
        ("SATA1", 2, Some(2)),
        ("SCSI1", 4, Some(4)),
        ("SATA0", 6, Some(6)),
    ])?;
    locates(&mut site)?;
    health(&mut site)?;
    fails_and_is_replaced(&mut site)?;
    moves(&mut site)?;
    site.rig.halt()
}

fn locates(site: &mut Site) -> Result<()> {
    site.await_lit(&[])?;
    for slot in [2, 4, 6] {
        site.rig.console(&format!("locate on 1.{slot}"))?;
        site.await_lit(&[Lit::Locate(slot)])?;
        site.rig.console(&format!("locate off 1.{slot}"))?;
        site.await_lit(&[])?;
    }
    site.rig.console("setslotled locate 1.6 1.2")?;
    site.await_lit(&[Lit::Locate(6), Lit::Locate(2)])?;
    site.rig.console("setslotled fault 1.2")?;
    site.await_lit(&[Lit::Locate(6), Lit::Fault(2)])?;
    let listed = site.rig.console("slotled")?;
    let lines: Vec<&str> = listed.lines().map(str::trim_end).collect();
    let expected = [
        "SLOT      STATE",
        "1         reset",
        "2         fault",
        "3         reset",
        "4         reset",
        "6        locate",
    ];
    ensure!(lines == expected, "{listed}");
    // A bay is found where a disk is to be put into it.
    site.rig.console("setslotled locate 3")?;
    site.await_lit(&[Lit::Locate(6), Lit::Fault(2), Lit::Locate(3)])?;
    // What is lit when the shelf ends is not what it shows after a start.
    site.rig.restart()?;
    site.await_lit(&[])?;
    // They are written when they change, and not all the time.
    let deadline = Instant::now() + LIMIT;
    loop {
        let before = site.enclosure.writes();
        std::thread::sleep(Duration::from_secs(3));
        let writes = site.enclosure.writes() - before;
        if writes == 0 {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{writes} writes to LEDs that do not change"
        );
    }
}

/// What a SAS disk tells, and why one behind a RAID adapter tells nothing: the emulator's `megasas` refuses
/// all commands without data, TEST UNIT READY among them, and `smartctl` asks for nothing else then. Real
/// adapters do them.
fn health(site: &mut Site) -> Result<()> {
    // The emulator's disks keep no count of their health, and say so.
    let said = site.rig.refused("smartlog 1.6")?;
    ensure!(said.contains("not supported"), "{said}");
    let reason = "slot 0: what it tells of its health (SMART) is not known: smartctl: device Test Unit Ready";
    let deadline = Instant::now() + LIMIT;
    let mut log = site.rig.log();
    while !log.contains(reason) {
        ensure!(Instant::now() < deadline, "{log}");
        log = site.rig.log();
    }
    let said = site.rig.refused("smartlog 1.0")?;
    ensure!(said.contains("Test Unit Ready"), "{said}");
    ensure!(!log.contains("slot 6: what it tells"), "{log}");
    Ok(())
}

/// A disk of a mirror dies under load, is pulled, and another one is put into its bay.
fn fails_and_is_replaced(site: &mut Site) -> Result<()> {
    site.rig.console("make -c 0 raid1 1.6 1.2")?;
    site.rig.console("online 0")?;
    let mut load = Load::start(&site.rig.namespace, INTERFACE, 0, BLOCKS)?;
    load.goes_on(SOME, LIMIT)?;
    // The kernel is not told: it finds out by the errors.
    site.rig.monitor()?.pull("sata1", LIMIT)?;
    site.await_lit(&[Lit::Fault(2)])?;
    site.rig.await_elements(0, &["normal", "failed"])?;
    load.goes_on(SOME, LIMIT)?;
    site.rig.console("disks -l")?;

    site.take_out("sata1", 2)?;
    site.await_lit(&[])?;
    site.ensure_places(&[
        ("SCSI0", 0, None),
        ("SCSI1", 4, Some(4)),
        ("SATA0", 6, Some(6)),
    ])?;

    site.enclosure.place(2, disk(1))?;
    site.rig.insert(&sas("blank", 1))?;
    site.rig.scan()?;
    let drive = site.rig.await_drive("blank")?;
    ensure!(drive["slot"] == 2, "{drive}");
    site.rig.console("locate on 1.2")?;
    site.await_lit(&[Lit::Locate(2)])?;
    site.rig.console("locate off 1.2")?;
    site.rig.console("replace 0.0.1 1.2")?;
    site.rig.await_elements(0, &["normal", "normal"])?;
    site.await_lit(&[])?;
    load.goes_on(SOME, LIMIT)?;
    load.end()?
        .verify(&site.rig.namespace, INTERFACE, 0)
        .map(drop)
}

/// A disk that is put into another bay has the number of that, also one that did not tell it.
fn moves(site: &mut Site) -> Result<()> {
    site.take_out("scsi1", 4)?;
    site.enclosure.place(7, disk(2))?;
    site.rig.scan()?;
    site.rig.until("disks -a", "SCSI1 in slot 7", |rows| {
        let seven = rows.iter().find(|row| row["slot"] == 7);
        seven.is_some_and(|row| row["state"] == "up")
    })?;
    // Slot 4 is empty, although its disk has the name that it had there.
    let rows = site.rig.rows("disks -a 1.4")?;
    ensure!(rows[0]["state"] == "missing", "{rows:?}");
    ensure!(rows[0]["attributes"]["serial"].is_null(), "{rows:?}");
    for slot in [7, 4] {
        site.rig.console(&format!("locate on 1.{slot}"))?;
        site.await_lit(&[Lit::Locate(slot)])?;
        site.rig.console(&format!("locate off 1.{slot}"))?;
        site.await_lit(&[])?;
    }
    // Nor does an empty bay show after a start what it showed before.
    site.rig.console("setslotled fault 1.4")?;
    site.await_lit(&[Lit::Fault(4)])?;
    site.rig.restart()?;
    site.await_lit(&[])
}
