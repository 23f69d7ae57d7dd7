//! Disks and the LUNs on them, through restarts, kills, losses, and disks that belong to others.

mod support;

use anyhow::{Context, Result, bail, ensure};
use aoe::{MacAddress, SECTOR_BYTES};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use support::LIMIT;
use support::shelf::check_log;
use support::wire::Wire;
use testbed::process::{run, run_ok};
use testbed::requirements::program;
use testbed::{Ledge, LedgeOptions, PairNetwork, paths};

const DISK_BYTES: u64 = 4 << 20;

fn options(disks: u8) -> LedgeOptions {
    LedgeOptions {
        disks,
        disk_bytes: DISK_BYTES,
        ..LedgeOptions::default()
    }
}

/// The content of a sector: its LUN, its number and a generation.
fn sector(lun: u8, lba: u64, generation: u8) -> [u8; SECTOR_BYTES] {
    let mut bytes = [lun ^ generation; SECTOR_BYTES];
    bytes[..8].copy_from_slice(&lba.to_be_bytes());
    bytes[8] = lun;
    bytes[9] = generation;
    bytes
}

fn sectors(lun: u8, lba: u64, generation: u8) -> Vec<u8> {
    (lba..lba + 16)
        .flat_map(|lba| sector(lun, lba, generation))
        .collect()
}

/// Where a test writes: runs of 16 sectors all over the first 3 MB, so that every member of every
/// LUN gets some.
fn places() -> impl Iterator<Item = u64> {
    (0..6000).step_by(48)
}

fn fill(wire: &mut Wire, lun: u8, generation: u8) -> Result<MacAddress> {
    let to = wire.discover((1, lun))?;
    for lba in places() {
        wire.write(to, (1, lun), lba, &sectors(lun, lba, generation))?;
    }
    Ok(to)
}

fn verify(wire: &mut Wire, lun: u8, generation: u8) -> Result<()> {
    let to = wire.discover((1, lun))?;
    for lba in places() {
        let read = wire.read(to, (1, lun), lba, 16)?;
        ensure!(
            read == sectors(lun, lba, generation),
            "LUN {lun}: wrong bytes at {lba}"
        );
    }
    Ok(())
}

/// The row of `list` for a LUN.
fn row(ledge: &Ledge, lun: u8) -> Result<String> {
    ledge.console_ok(&format!("list {lun}"))
}

/// The state words of the elements of a LUN.
fn elements(ledge: &Ledge, lun: u8) -> Result<Vec<String>> {
    let listed = ledge.console_ok(&format!("list -l {lun}"))?;
    let prefix = format!("{lun}.0.");
    let rows = listed
        .lines()
        .filter(|line| line.trim_start().starts_with(&prefix));
    Ok(rows
        .filter_map(|row| row.split_whitespace().nth(1).map(str::to_owned))
        .collect())
}

/// Gives every slot the disk of another.
fn rotate(ledge: &Ledge, disks: u8, by: u8) -> Result<()> {
    for slot in 0..disks {
        fs::rename(
            ledge.disk_path(slot),
            ledge.disk_path(slot).with_extension("moved"),
        )?;
    }
    for slot in 0..disks {
        let from = ledge.disk_path(slot).with_extension("moved");
        fs::rename(from, ledge.disk_path((slot + by) % disks))?;
    }
    Ok(())
}

#[test]
fn luns_of_every_level_come_back_with_the_disks_in_other_slots() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = Ledge::start(&network.target, options(11))?;
    let luns = [
        (1, "jbod 1.1"),
        (2, "raid0 1.2-4"),
        (3, "raid1 1.5-6"),
        (4, "raid10 1.7-10"),
    ];
    ledge.console_ok("make 0 raw 1.0")?;
    for (lun, members) in luns {
        ledge.console_ok(&format!("make {lun} {members}"))?;
        ledge.console_ok(&format!("online {lun}"))?;
        fill(&mut wire, lun, 1)?;
    }
    ledge.console_ok("online 0")?;
    fill(&mut wire, 0, 1)?;
    let before: Vec<String> = luns
        .iter()
        .map(|(lun, _)| row(&ledge, *lun))
        .collect::<Result<_>>()?;
    for (clean, by) in [(true, 3), (false, 5), (true, 10)] {
        if clean {
            ledge.stop()?;
        } else {
            ledge.kill()?;
        }
        rotate(&ledge, 11, by)?;
        ledge.start_again()?;
        for ((lun, _), before) in luns.iter().zip(&before) {
            ensure!(row(&ledge, *lun)? == *before, "{}", row(&ledge, *lun)?);
            let states = elements(&ledge, *lun)?;
            ensure!(
                states.iter().all(|state| state == "normal"),
                "LUN {lun}: {states:?}"
            );
            verify(&mut wire, *lun, 1)?;
        }
        // A raw LUN lives in memory only.
        let gone = ledge.console("list 0")?;
        ensure!(
            gone.status == 1 && gone.output.contains("does not exist"),
            "{gone:?}"
        );
        check_log(&ledge.log())?;
    }
    // Its disk is as it was: 3 + 5 + 10 slots further, and made again it has its data.
    ledge.console_ok("make 0 raw 1.7")?;
    ledge.console_ok("online 0")?;
    verify(&mut wire, 0, 1)
}

#[test]
fn mdadm_finds_the_members_of_every_level_correct() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut ledge = Ledge::start(&network.target, options(10))?;
    let luns = [
        ("jbod 1.0", "raid1", 0..1),
        ("raid0 1.1-3", "raid0", 1..4),
        ("raid1 1.4-5", "raid1", 4..6),
        ("raid10 1.6-9", "raid10", 6..10),
    ];
    for (lun, (members, ..)) in luns.iter().enumerate() {
        ledge.console_ok(&format!("make {lun} {members}"))?;
    }
    for stage in ["made", "online", "killed", "stopped"] {
        match stage {
            "online" => drop(ledge.console_ok("online 0 1 2 3")?),
            "killed" => {
                ledge.kill()?;
            }
            "stopped" => {
                ledge.start_again()?;
                ledge.stop()?;
            }
            _ => {}
        }
        for (_, level, slots) in luns.clone() {
            for slot in slots {
                let report = examine(&ledge.disk_path(slot))?;
                let correct = report
                    .lines()
                    .any(|l| l.contains("Checksum : ") && l.ends_with("- correct"));
                ensure!(correct, "{stage}: slot {slot}: {report}");
                ensure!(
                    report.contains(&format!("Raid Level : {level}")),
                    "{stage}: {report}"
                );
            }
        }
    }
    Ok(())
}

fn examine(disk: &Path) -> Result<String> {
    let mut command = Command::new(program("mdadm")?);
    command.arg("--examine").arg(disk);
    run_ok(command)
}

/// Delays for kills, spread over what the command takes, different in each run.
fn delays(count: u64) -> impl Iterator<Item = Duration> {
    let seed = u64::from(std::process::id());
    (0..count).map(move |i| Duration::from_micros((seed * 7919 + i * 104_729) % 40_000))
}

/// Starts a console command, kills the daemon after `delay`, and starts it again.
fn kill_during(ledge: &mut Ledge, line: &str, delay: Duration) -> Result<()> {
    let mut command = Command::new(paths::binary("ledge")?);
    command
        .arg("--socket")
        .arg(ledge.control_socket())
        .args(line.split_whitespace());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    thread::sleep(delay);
    ledge.kill()?;
    child.wait()?;
    ledge.start_again()?;
    check_log(&ledge.log())
}

#[test]
fn a_kill_during_make_leaves_the_whole_lun_or_nothing() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut ledge = Ledge::start(&network.target, options(4))?;
    for delay in delays(12) {
        kill_during(&mut ledge, "make 0 raid10 1.0-3", delay)?;
        let listed = ledge.console_ok("list")?;
        if listed.is_empty() {
            let shown = ledge.console_ok("show -l")?;
            ensure!(!shown.contains("foreign"), "{delay:?}: left-overs: {shown}");
            ledge.console_ok("make 0 raid10 1.0-3")?;
        }
        let states = elements(&ledge, 0)?;
        ensure!(
            states == ["normal"; 4],
            "{delay:?}: {states:?} after {listed:?}"
        );
        ledge.console_ok("remove -f 0")?;
    }
    Ok(())
}

#[test]
fn a_kill_during_online_offline_or_remove_leaves_one_or_the_other() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = Ledge::start(&network.target, options(4))?;
    ledge.console_ok("make 0 raid10 1.0-3")?;
    ledge.console_ok("online 0")?;
    fill(&mut wire, 0, 3)?;
    ledge.console_ok("offline 0")?;
    for (round, delay) in delays(8).enumerate() {
        let line = ["online 0", "offline 0"][round % 2];
        kill_during(&mut ledge, line, delay)?;
        let states = elements(&ledge, 0)?;
        ensure!(states == ["normal"; 4], "{line} {delay:?}: {states:?}");
        let listed = row(&ledge, 0)?;
        let online = listed.trim_end().ends_with("online");
        ensure!(online || listed.trim_end().ends_with("offline"), "{listed}");
        ledge.console_ok("online 0")?;
        verify(&mut wire, 0, 3)?;
        ledge.console_ok(["offline 0", "online 0"][round % 2])?;
    }
    for delay in delays(6) {
        kill_during(&mut ledge, "remove -f 0", delay)?;
        if ledge.console_ok("list")?.is_empty() {
            ledge.console_ok("make 0 raid10 1.0-3")?;
        }
        ensure!(elements(&ledge, 0)? == ["normal"; 4], "{delay:?}");
    }
    Ok(())
}

#[test]
fn a_mirror_that_lacks_a_disk_serves_degraded_and_never_takes_the_stale_one() -> Result<()> {
    for members in ["raid1 1.0-1", "raid10 1.0-3"] {
        let network = PairNetwork::new(9000)?;
        let mut wire = Wire::open(&network)?;
        let mut ledge = Ledge::start(&network.target, options(4))?;
        ledge.console_ok(&format!("make 0 {members}"))?;
        ledge.console_ok("online 0")?;
        fill(&mut wire, 0, 1)?;
        ledge.stop()?;
        let away = ledge.disk_path(0).with_extension("away");
        fs::rename(ledge.disk_path(0), &away)?;
        ledge.start_again()?;
        let shown = ledge.console_ok("show -l 1.0")?;
        ensure!(shown.contains(" missing"), "{shown}");
        let listed = ledge.console_ok("list -l 0")?;
        ensure!(
            listed.contains("degraded") && listed.contains("0.0.0  missing"),
            "{listed}"
        );
        verify(&mut wire, 0, 1)?;
        fill(&mut wire, 0, 2)?;
        ledge.kill()?;
        // It comes back with old data.
        fs::rename(&away, ledge.disk_path(0))?;
        ledge.start_again()?;
        verify(&mut wire, 0, 2)?;
        await_normal(&ledge, 0)?;
        verify(&mut wire, 0, 2)?;
        check_log(&ledge.log())?;
    }
    Ok(())
}

/// Waits until no element of a LUN is rebuilt any more, or lacks a drive.
fn await_normal(ledge: &Ledge, lun: u8) -> Result<()> {
    for _ in 0..600 {
        if elements(ledge, lun)?.iter().all(|state| state == "normal") {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    bail!("not rebuilt: {}", ledge.console_ok("list -l")?)
}

#[test]
fn members_that_fail_are_rebuilt_on_spares_and_on_their_own_drives() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = Ledge::start(&network.target, options(9))?;
    ledge.console_ok("make 0 raid6 1.0-3")?;
    ledge.console_ok("make 1 raid10 1.4-7")?;
    ledge.console_ok("spare 1.8")?;
    ledge.console_ok("online 0 1")?;
    for lun in [0, 1] {
        fill(&mut wire, lun, 1)?;
        await_synced(&ledge, lun)?;
    }
    // The spare takes the place of the first one; the other is rebuilt where it was.
    ledge.console_ok("fail 0.0.1")?;
    await_normal(&ledge, 0)?;
    ensure!(ledge.console_ok("spares")?.is_empty());
    ensure!(ledge.console_ok("list -l 0")?.contains("0.0.1  normal"));
    ledge.console_ok("fail 1.0.2")?;
    ensure!(
        ledge
            .console_ok("health")?
            .contains("1.0.2 of raid10 is failed")
    );
    fill(&mut wire, 1, 2)?;
    ledge.console_ok("unfail 1.0.2")?;
    await_normal(&ledge, 1)?;
    ensure!(ledge.console_ok("health")? == "ok\n");
    // What was rebuilt is what is left when the others go.
    for gone in ["fail 0.0.0", "fail 0.0.2", "fail 1.0.0"] {
        ledge.console_ok(gone)?;
    }
    for (lun, generation) in [(0, 1), (1, 2)] {
        verify(&mut wire, lun, generation)?;
    }
    ledge.kill()?;
    ledge.start_again()?;
    for (lun, generation) in [(0, 1), (1, 2)] {
        verify(&mut wire, lun, generation)?;
    }
    check_log(&ledge.log())
}

/// Waits until the first synchronisation of a LUN is done.
fn await_synced(ledge: &Ledge, lun: u8) -> Result<()> {
    for _ in 0..600 {
        if !ledge
            .console_ok(&format!("list -l {lun}"))?
            .contains("initing")
        {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    bail!("not synchronised: {}", ledge.console_ok("when")?)
}

/// Puts an empty file of the same size in the place of a disk.
fn replace_by_empty(ledge: &Ledge, slot: u8) -> Result<()> {
    let path = ledge.disk_path(slot);
    fs::remove_file(&path)?;
    Ok(File::create(&path)?.set_len(DISK_BYTES)?)
}

#[test]
fn an_empty_disk_in_place_of_a_mirror_gives_no_wrong_bytes() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = Ledge::start(&network.target, options(6))?;
    ledge.console_ok("make 0 raid10 1.0-3")?;
    ledge.console_ok("make 1 raid1 1.4-5")?;
    ledge.console_ok("online 0 1")?;
    for lun in [0, 1] {
        fill(&mut wire, lun, 1)?;
    }
    ledge.kill()?;
    // Of raid10, element i mirrors i + 2: one of each pair is lost.
    for slot in [0, 3, 5] {
        replace_by_empty(&ledge, slot)?;
    }
    ledge.start_again()?;
    ensure!(elements(&ledge, 0)? == ["missing", "normal", "normal", "missing"]);
    ensure!(elements(&ledge, 1)? == ["normal", "missing"]);
    for lun in [0, 1] {
        verify(&mut wire, lun, 1)?;
        fill(&mut wire, lun, 2)?;
        verify(&mut wire, lun, 2)?;
    }
    let shown = ledge.console_ok("show -l 1.0")?;
    ensure!(shown.trim_end().ends_with(" up"), "{shown}");
    // The other half of a pair too: nothing is served rather than something wrong.
    ledge.stop()?;
    replace_by_empty(&ledge, 2)?;
    ledge.start_again()?;
    let listed = ledge.console_ok("list -l 0")?;
    ensure!(
        listed.contains("offline") && listed.contains("failed"),
        "{listed}"
    );
    let refused = ledge.console("online 0")?;
    ensure!(
        refused.status == 1 && refused.output.contains("too many elements"),
        "{refused:?}"
    );
    verify(&mut wire, 1, 2)?;
    check_log(&ledge.log())
}

#[test]
fn members_that_a_level_cannot_have_are_refused() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let ledge = Ledge::start(&network.target, options(4))?;
    for few in ["make 0 raid5 1.0-1", "make 0 raid6 1.0-2"] {
        let answer = ledge.console(few)?;
        let refused = answer.output.contains("wrong number of devices");
        ensure!(answer.status == 1 && refused, "{answer:?}");
    }
    let unknown = ledge.console("make 0 raid7 1.0-3")?;
    ensure!(
        unknown.status == 1 && unknown.output.contains("raid7"),
        "{unknown:?}"
    );
    let odd = ledge.console("make 0 raid10 1.0-2")?;
    ensure!(
        odd.status == 1 && odd.output.contains("wrong number of devices"),
        "{odd:?}"
    );
    let twice = ledge.console("make 0 raid1 1.0 1.0")?;
    ensure!(
        twice.status == 1 && twice.output.contains("1.0 is named twice"),
        "{twice:?}"
    );
    let absent = ledge.console("make 0 raid1 1.0 1.9")?;
    ensure!(
        absent.status == 1 && absent.output.contains("1.9 does not exist"),
        "{absent:?}"
    );
    ensure!(ledge.console_ok("list")?.is_empty(), "half-made");
    Ok(())
}

#[test]
fn remove_asks_and_erases_and_force_does_not_ask() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut ledge = Ledge::start(&network.target, options(2))?;
    ledge.console_ok("make 0 raid1 1.0-1")?;
    // Nobody answers: nothing is done.
    let unanswered = ledge.console("remove 0")?;
    ensure!(
        unanswered.status == 1 && unanswered.output.contains("action canceled"),
        "{unanswered:?}"
    );
    ensure!(
        row(&ledge, 0)?.contains("offline"),
        "removed without consent"
    );
    for (answer, removed) in [("n", false), ("\n", false), ("y", false), ("0", true)] {
        let output = answered(&ledge, "remove 0", answer)?;
        ensure!(output.contains("Request to remove 1 LUN: 0"), "{output}");
        ensure!(output.contains("type 0 to remove LUN 0 [n]: "), "{output}");
        ensure!(
            ledge.console_ok("list")?.is_empty() == removed,
            "{answer:?}: {output}"
        );
    }
    for slot in 0..2 {
        let disk = fs::read(ledge.disk_path(slot))?;
        // Nothing is left that anybody would recognise: superblock and records, in both layouts. An
        // empty bad-block log, which means nothing by itself, may stay.
        for record_or_superblock in [4096, 64 * 512, 128 * 512, 2048 * 512, 2112 * 512] {
            let head = &disk[record_or_superblock..][..512];
            let is_erased = head.iter().all(|byte| *byte == 0);
            ensure!(
                is_erased,
                "slot {slot}: not erased at {record_or_superblock}"
            );
        }
        let mut examine = Command::new(program("mdadm")?);
        examine.arg("--examine").arg(ledge.disk_path(slot));
        let report = run(examine, LIMIT)?;
        ensure!(report.output.contains("No md superblock"), "{report:?}");
    }
    ledge.console_ok("make 0 raid1 1.0-1")?;
    ledge.console_ok("online 0")?;
    let online = ledge.console("remove 0")?;
    ensure!(
        online
            .output
            .contains("LUN 0 needs to be offline before removal"),
        "{online:?}"
    );
    let forced = ledge.console_ok("remove -f 0")?;
    ensure!(forced.is_empty(), "{forced}");
    ledge.stop()?;
    ledge.start_again()?;
    ensure!(ledge.console_ok("list")?.is_empty(), "it came back");
    ledge.console_ok("make 0 raid1 1.0-1")?;
    Ok(())
}

/// A command whose question is answered.
fn answered(ledge: &Ledge, line: &str, answer: &str) -> Result<String> {
    use std::io::Write;
    let mut command = Command::new(paths::binary("ledge")?);
    command
        .arg("--socket")
        .arg(ledge.control_socket())
        .args(line.split_whitespace());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("stdin")?;
    writeln!(stdin, "{answer}")?;
    drop(stdin);
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
