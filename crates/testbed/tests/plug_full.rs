//! The long part of `plug_short`: mirrors of which both disks are pulled, spares, a machine that is started
//! again with its cards in another order, what others use, caches.

mod plug;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use plug::load::{Content, Load, is_served};
use plug::{INTERFACE, LIMIT, Rig, nvme, standard};
use serde_json::Value;
use testbed::{lock_vm, transcript};

/// Blocks of 8 KiB that are written over and over.
const BLOCKS: usize = 1024;

/// Writes that show that a LUN is served.
const SOME: u64 = 300;

/// How long it is looked whether a LUN is silent, of the host's time.
const SILENCE: Duration = Duration::from_secs(5);

fn load(rig: &Rig, lun: u8) -> Result<Load> {
    let mut load = Load::start(&rig.namespace, INTERFACE, lun, BLOCKS)?;
    load.goes_on(SOME, LIMIT)?;
    Ok(load)
}

fn verify(rig: &Rig, lun: u8, content: Content) -> Result<Content> {
    content.verify(&rig.namespace, INTERFACE, lun)
}

fn ensure_silent(rig: &Rig, lun: u8) -> Result<()> {
    let is_served = is_served(&rig.namespace, INTERFACE, lun, SILENCE)?;
    ensure!(!is_served, "LUN {lun} answers");
    Ok(())
}

/// The LUN waits for the disk that went on alone: the other one has missed what was acknowledged since. Under
/// load, which waits as a file system would.
#[test]
fn a_lun_is_silent_without_a_mirror_and_goes_on_when_the_right_disk_is_back() -> Result<()> {
    let _lock = lock_vm()?;
    let mut rig = Rig::new()?;
    rig.boot(&standard())?;
    rig.console("make -c 0 raid10 1.0-3")?;
    rig.console("online 0")?;
    let mut load = load(&rig, 0)?;
    rig.pull("nvme1")?;
    rig.await_elements(0, &["normal", "missing", "normal", "normal"])?;
    load.goes_on(SOME, LIMIT)?;
    let pulled = rig.pull_untold("sas1")?;
    rig.until("disks 1.3", "missing", |rows| rows[0]["state"] == "missing")?;
    rig.note_pull(&pulled)?;
    ensure_silent(&rig, 0)?;
    let stopped = load.acknowledged();
    rig.console("list -l")?;

    // The one that was pulled first does not know what was acknowledged since.
    rig.insert(&nvme("nvme1", 3))?;
    rig.await_drive("nvme1")?;
    ensure_silent(&rig, 0)?;
    ensure!(
        load.acknowledged() == stopped,
        "acknowledged without a disk that is the only one to know"
    );
    rig.console("list -l")?;
    rig.scan()?;
    rig.await_elements(0, &["normal"; 4])?;
    load.goes_on(SOME, LIMIT)?;
    let content = verify(&rig, 0, load.end()?)?;
    rig.pull_untold("sas1")?;
    rig.await_elements(0, &["normal", "normal", "normal", "missing"])?;
    verify(&rig, 0, content)?;
    rig.halt()
}

/// A spare takes over when a disk stays away; the disk that comes back later is nobody's member, and nothing
/// of it is lost.
#[test]
fn a_spare_takes_over_after_its_wait_and_the_disk_that_comes_back_stays_out() -> Result<()> {
    let _lock = lock_vm()?;
    let mut rig = Rig::new()?;
    rig.boot(&standard())?;
    // A virtual disk and a SATA disk; the spare is a SATA disk with sectors of 512 bytes of 4096.
    rig.console("make -c 0 raid1 1.4 1.6")?;
    rig.console("online 0")?;
    rig.console("spare 1.7")?;
    let mut load = load(&rig, 0)?;
    let pulled = rig.pull_untold("sata0")?;
    rig.await_elements(0, &["normal", "missing"])?;
    rig.note_pull(&pulled)?;
    let elements = rig.await_elements(0, &["normal", "normal"])?;
    ensure!(elements[1]["drive"] == "1.7", "{elements:?}");
    let waited = rig.seconds_between("drive 1.6 was pulled", "spare")?;
    transcript::note(&format!(
        "the spare took over after {waited:.1} s of the machine"
    ));
    load.goes_on(SOME, LIMIT)?;

    rig.scan()?;
    let former = rig.await_drive("sata0")?;
    ensure!(
        former["state"] == "up" && former["role"] != "element",
        "{former}"
    );
    load.goes_on(SOME, LIMIT)?;
    let elements = rig.await_elements(0, &["normal", "normal"])?;
    ensure!(elements[1]["drive"] == "1.7", "{elements:?}");
    rig.console("disks -c")?;
    let content = verify(&rig, 0, load.end()?)?;
    // What the spare has been given is all there is.
    rig.pull("scsi0")?;
    rig.await_elements(0, &["missing", "normal"])?;
    verify(&rig, 0, content)?;
    rig.halt()
}

/// Serial number and slot of each disk.
fn slots(rig: &mut Rig) -> Result<BTreeMap<String, u64>> {
    let rows = rig.rows("disks -a")?;
    let present = rows.iter().filter(|row| row["state"] == "up");
    let pair = |row: &Value| {
        let serial = row["attributes"]["serial"].as_str().context("serial")?;
        Ok((serial.to_owned(), row["slot"].as_u64().context("slot")?))
    };
    present.map(pair).collect()
}

/// What others have on their disks, in words that a shell checks.
const OTHERS: &str = r#"
set -e
for device in /dev/md0 /dev/dm-0; do
    yes "not of the shelf" | head -c 4194304 >/run/expected
    COMMAND
done
mdadm --detail /dev/md0 | grep -q 'State : \(clean\|active\) *$'
grep -q "$(readlink -f $(ls -d /sys/bus/scsi/devices/*:0:10:0/block/*) | sed 's|.*/||')" /proc/swaps
"#;

fn others(rig: &mut Rig, command: &str) -> Result<()> {
    rig.shell(&OTHERS.replace("COMMAND", command)).map(drop)
}

#[test]
fn slots_stay_and_what_others_use_is_untouched_when_the_cards_are_in_another_order() -> Result<()> {
    let _lock = lock_vm()?;
    let mut rig = Rig::new()?;
    rig.boot(&standard())?;
    others(
        &mut rig,
        "dd if=/run/expected of=$device conv=fsync 2>/dev/null",
    )?;
    rig.console("make -c 0 raid10 1.0-3")?;
    rig.console("make -c 1 raid1 1.5 1.7")?;
    rig.console("online 0 1")?;
    let before = slots(&mut rig)?;
    let contents = [load(&rig, 0)?.end()?, load(&rig, 1)?.end()?];
    rig.halt()?;

    // A card in a slot before all others has the first number of a bus, and moves those of the rest; disks
    // are made and found in another order.
    let mut devices = standard();
    devices.reverse();
    devices.push("pcie-root-port,id=bay4,chassis=9,slot=9,addr=3".to_owned());
    devices.push(nvme("blank", 4));
    rig.boot(&devices)?;
    let mut after = slots(&mut rig)?;
    let places = rig.shell("ls -l /sys/class/block")?;
    ensure!(
        places.contains("0000:00:05.0/0000:03:00.0"),
        "the buses have their old numbers: {places}"
    );
    let added = after.remove("BLANK");
    ensure!(after == before, "{before:?} {after:?}");
    ensure!(added == Some(8), "{added:?}");
    rig.await_elements(0, &["normal"; 4])?;
    rig.await_elements(1, &["normal"; 2])?;
    for (lun, content) in (0..).zip(contents) {
        verify(&rig, lun, content)?;
    }
    others(&mut rig, "head -c 4194304 $device | cmp - /run/expected")?;
    let log = rig.log();
    for reason in [
        "it is swapped on",
        "md0 is on it",
        "dm-0 is on it",
        "it is mounted on /mnt",
    ] {
        ensure!(log.contains(reason), "{reason}: {log}");
    }
    rig.halt()
}

/// Whether flushes are asked of a drive for what is written to it, and how it is told of.
#[test]
fn drives_are_flushed_whose_caches_forget_and_no_others() -> Result<()> {
    let _lock = lock_vm()?;
    let mut rig = Rig::new()?;
    rig.boot(&standard())?;
    // Each with what it tells; with FUA, and without a cache that forgets, no flush is needed.
    let drives = [
        ("nvme0", 0, "volatile", "yes", false),
        ("sas0", 2, "volatile", "yes", false),
        ("sas1", 3, "volatile", "no", true),
        ("scsi0", 4, "none or protected", "no", false),
        ("sata0", 6, "volatile", "no", true),
        ("sata1", 7, "none or protected", "no", false),
    ];
    for (lun, (medium, slot, cache, fua, is_flushed)) in (0..).zip(drives) {
        rig.console(&format!("make {lun} jbod 1.{slot}"))?;
        rig.console(&format!("online {lun}"))?;
        let shown = rig.console(&format!("disks -a 1.{slot}"))?;
        let tells = |name: &str, value: &str| shown.contains(&format!("    {name:<12} {value}\n"));
        ensure!(tells("write cache", cache) && tells("fua", fua), "{shown}");
        let flushes = flushes_of_a_load(&mut rig, medium, lun)?;
        ensure!((flushes > 0) == is_flushed, "{medium}: {flushes} flushes");
    }
    // Somebody switches the cache of a drive on while the shelf serves it.
    let device = rig.await_drive("scsi0")?["attributes"]["device"].clone();
    let device = device.as_str().context("device")?;
    rig.shell(&format!(
        "for type in /sys/block/{device}/device/scsi_disk/*/cache_type; do echo 'write back' >$type; done"
    ))?;
    let shown = rig.console("disks -a 1.4")?;
    ensure!(shown.contains("write cache  volatile"), "{shown}");
    let flushes = flushes_of_a_load(&mut rig, "scsi0", 3)?;
    ensure!(flushes > 0, "its cache is not flushed");
    rig.halt()
}

fn flushes_of_a_load(rig: &mut Rig, medium: &str, lun: u8) -> Result<u64> {
    let before = rig.counted(medium)?;
    let content = load(rig, lun)?.end()?;
    verify(rig, lun, content)?;
    let after = rig.counted(medium)?;
    let (writes, flushes) = (after.writes - before.writes, after.flushes - before.flushes);
    transcript::note(&format!("{medium}: {writes} writes, {flushes} flushes"));
    ensure!(writes > 0, "{before:?} {after:?}");
    Ok(flushes)
}
