//! Disks and the LUNs on them, through restarts, kills, losses, and disks that belong to others.

mod support;

use anyhow::{Context, Result, ensure};
use aoe::{MacAddress, SECTOR_BYTES};
use raid::layout::{MemberLayout, SUPERBLOCK_SECTOR};
use raid::md::{NewMember, Resync, Superblock};
use raid::{Geometry, Level};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use support::shelf::check_log;
use support::{LIMIT, Setup, Wire};
use testbed::process::{run, run_ok};
use testbed::requirements::program;
use testbed::{Ledge, LedgeOptions, PairNetwork, paths};
use uuid::Uuid;

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

/// CRC-32 as in Ethernet, which GPT uses.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// A GUID partition table without partitions, with its protective MBR (UEFI, chapter 5).
fn write_gpt(path: &Path) -> Result<()> {
    let file = File::options().write(true).open(path)?;
    let last = DISK_BYTES / 512 - 1;
    let mut mbr = [0; 512];
    mbr[446..462].copy_from_slice(&[
        0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0x1f, 0, 0,
    ]);
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    let entries = [0; 128 * 128];
    let mut header = [0; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..16].copy_from_slice(&[0, 0, 1, 0, 92, 0, 0, 0]);
    let mut put =
        |at: usize, number: u64| header[at..at + 8].copy_from_slice(&number.to_le_bytes());
    put(24, 1);
    put(32, last);
    put(40, 34);
    put(48, last - 33);
    put(56, 0x0123_4567_89ab_cdef);
    put(72, 2);
    put(80, 128 | 128 << 32);
    header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
    let crc = crc32(&header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&mbr, 0)?;
    file.write_all_at(&header, 512)?;
    file.write_all_at(&entries, 1024)?;
    Ok(())
}

/// A member of an array that Linux made: a superblock without a record of ours.
fn write_md(path: &Path) -> Result<()> {
    let layout = MemberLayout::new(DISK_BYTES / 512, 128)?;
    let geometry = Geometry::new(Level::Raid1, 2, 128, layout.data_sectors)?;
    let superblock = Superblock::new(&NewMember {
        set_uuid: Uuid::from_u128(0x1234),
        device_uuid: Uuid::from_u128(0x5678),
        name: "elsewhere:home",
        created_unix_seconds: 1_700_000_000,
        geometry: &geometry,
        layout,
        element: 0,
        resync: Resync::Clean,
    });
    let file = File::options().write(true).open(path)?;
    Ok(file.write_all_at(&superblock.encode(), SUPERBLOCK_SECTOR * 512)?)
}

#[test]
fn what_belongs_to_others_is_shown_and_refused_until_forced() -> Result<()> {
    let setup = Setup::new()?;
    let names = ["ext4", "gpt", "md", "clean"];
    let mut disks = Vec::new();
    for name in names {
        disks.push(setup.disk(name, DISK_BYTES)?);
    }
    let mut mkfs = Command::new(program("mkfs.ext4")?);
    mkfs.args(["-q", "-F", "-L", "holiday"]).arg(&disks[0]);
    run_ok(mkfs)?;
    write_gpt(&disks[1])?;
    write_md(&disks[2])?;
    let paths: Vec<&Path> = disks.iter().map(std::path::PathBuf::as_path).collect();
    setup.write_config(&paths)?;
    let daemon = setup.start()?;
    let carries = [
        "ext4 file system",
        "gpt partition table",
        "md array 'elsewhere:home'",
    ];
    for (slot, what) in carries.iter().enumerate() {
        let row = setup.row(slot)?;
        ensure!(row.contains(" up foreign: ") && row.contains(what), "{row}");
        let before = fs::read(&disks[slot])?;
        for line in [
            format!("make 0 jbod 1.{slot}"),
            format!("make 0 raw 1.{slot}"),
            format!("make 0 raid1 1.3 1.{slot}"),
        ] {
            let error = setup.console_refused(&line)?;
            let told = error.contains(&format!("1.{slot} carries")) && error.contains("use -f");
            ensure!(told && error.contains(what), "{line}: {error}");
        }
        ensure!(
            fs::read(&disks[slot])? == before,
            "a refused make wrote to {what}"
        );
    }
    ensure!(!setup.row(3)?.contains("foreign"), "{}", setup.row(3)?);
    for slot in 0..3 {
        setup
            .console(&format!("make -f {slot} jbod 1.{slot}"))?
            .success("make -f")?;
    }
    check_log(&daemon.log())?;
    daemon.terminate(LIMIT)?;
    // It is ours now, also for those who look for signatures.
    let daemon = setup.start()?;
    for slot in 0..3 {
        let row = setup.row(slot)?;
        ensure!(row.contains(&format!("up {slot}.0.0")), "{row}");
        let mut blkid = Command::new(program("blkid")?);
        blkid
            .args(["-p", "-o", "value", "-s", "TYPE"])
            .arg(&disks[slot]);
        let found = run(blkid, LIMIT)?;
        ensure!(
            found.output.trim() == "linux_raid_member",
            "slot {slot}: {found:?}"
        );
        // Removed, it is free, and stays free over a restart.
        setup
            .console(&format!("remove -f {slot}"))?
            .success("remove")?;
        ensure!(
            !setup.row(slot)?.contains("foreign"),
            "{}",
            setup.row(slot)?
        );
    }
    daemon.terminate(LIMIT)?;
    let daemon = setup.start()?;
    for slot in 0..3 {
        ensure!(
            !setup.row(slot)?.contains("foreign"),
            "after a restart: {}",
            setup.row(slot)?
        );
        setup
            .console(&format!("make {slot} jbod 1.{slot}"))?
            .success("make")?;
    }
    daemon.terminate(LIMIT)
}

#[test]
fn a_lun_of_another_shelf_is_shown_as_such_and_left_alone() -> Result<()> {
    let setup = Setup::new()?;
    let disk = setup.disk("disk", DISK_BYTES)?;
    setup.write_config(&[&disk])?;
    let daemon = setup.start()?;
    setup.console("make 3 jbod 1.0")?.success("make")?;
    setup.console("online 3")?.success("online")?;
    daemon.terminate(LIMIT)?;
    let text = fs::read_to_string(setup.path("ledge.toml"))?;
    setup.write_text(&text.replacen("shelf = 1", "shelf = 2", 1))?;
    let before = fs::read(&disk)?;
    let daemon = setup.start()?;
    let row = setup.row(0)?;
    ensure!(row.contains("foreign: LUN 3 of shelf 1"), "{row}");
    let error = setup.console_refused("make 0 jbod 2.0")?;
    ensure!(
        error.contains("LUN 3 of shelf 1") && error.contains("use -f"),
        "{error}"
    );
    daemon.terminate(LIMIT)?;
    ensure!(fs::read(&disk)? == before, "it was written to");
    setup.write_text(&text)?;
    let daemon = setup.start()?;
    let listed = setup.console("list 3")?.success("list")?;
    ensure!(listed.trim_end().ends_with("online"), "{listed}");
    daemon.terminate(LIMIT)
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
        let states = elements(&ledge, 0)?;
        ensure!(
            states[0] == "failed" && states[1..].iter().all(|s| s == "normal"),
            "{states:?}"
        );
        verify(&mut wire, 0, 2)?;
        check_log(&ledge.log())?;
    }
    Ok(())
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
fn levels_that_are_not_there_yet_say_so() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let ledge = Ledge::start(&network.target, options(4))?;
    for level in ["raid5", "raid6", "raid6rs"] {
        let answer = ledge.console(&format!("make 0 {level} 1.0-3"))?;
        let honest = answer.output.contains("not available in this version");
        ensure!(answer.status == 1 && honest, "{answer:?}");
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
        twice.status == 1 && twice.output.contains("1.0 already in use"),
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
    for (answer, removed) in [("n", false), ("\n", false), ("yes", false), ("y", true)] {
        let output = answered(&ledge, "remove 0", answer)?;
        ensure!(output.contains("Request to remove 1 LUN: 0"), "{output}");
        ensure!(output.contains("'y' to remove 0 [n]: "), "{output}");
        ensure!(
            ledge.console_ok("list")?.is_empty() == removed,
            "{answer:?}: {output}"
        );
    }
    for slot in 0..2 {
        let disk = fs::read(ledge.disk_path(slot))?;
        let kept = disk.iter().position(|byte| *byte != 0);
        ensure!(kept.is_none(), "slot {slot}: not erased at {kept:?}");
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
