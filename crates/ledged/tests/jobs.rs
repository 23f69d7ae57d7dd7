//! Jobs on whole drives with the real program: erase, surface tests and sizes; beside a LUN that is served,
//! through `kill -9`, and with drives that are bad, hang or vanish.

mod support;

use anyhow::{Result, bail, ensure};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use support::shelf::{Setup, check_log, disk};
use support::wire::Wire;
use support::{file_disks, memory_disks};
use testbed::{Behaviour, Daemon, FaultyDisks, Ledge, LedgeOptions, PairNetwork};

const MIB: usize = 1 << 20;

/// How long a state may take to come about on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What an erase that was interrupted leaves, in the words of `show -l`.
const LEFT: &str = "foreign: what an erase that did not end has left";

/// Fills a disk behind the shelf's back.
fn fill(ledge: &Ledge, slot: u8) -> Result<()> {
    let path = ledge.disk_path(slot);
    let file = std::fs::OpenOptions::new().write(true).open(&path)?;
    let bytes = usize::try_from(file.metadata()?.len())?;
    // Where a superblock would be the shelf may look at any time.
    file.write_all_at(&vec![0xa5; bytes - 8192], 8192)?;
    file.sync_all()?;
    Ok(())
}

/// Disks on which a job takes long enough to be interrupted.
fn large_files() -> LedgeOptions {
    LedgeOptions {
        disk_bytes: 64 * MIB as u64,
        ..file_disks("packet")
    }
}

fn is_all_zeroes(ledge: &Ledge, slot: u8) -> Result<bool> {
    let content = std::fs::read(ledge.disk_path(slot))?;
    Ok(content.iter().all(|byte| *byte == 0))
}

/// Asks until an answer is what it is to be.
fn wait_for(ask: impl Fn() -> Result<String>, wanted: &str) -> Result<String> {
    let begun = Instant::now();
    loop {
        let told = ask()?;
        if told.contains(wanted) {
            return Ok(told);
        }
        if begun.elapsed() > PATIENCE {
            bail!("no {wanted:?} in:\n{told}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_disk_is_erased_while_a_lun_is_served() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut wire = Wire::open(&network)?;
    let options = LedgeOptions {
        disk_bytes: 24 * MIB as u64 + 512,
        ..file_disks("packet")
    };
    let mut ledge = Ledge::start(&network.target, options)?;
    ledge.console_ok("make -c 0 raid1 1.0-1")?;
    ledge.console_ok("online 0")?;
    let to = wire.discover((1, 0))?;
    wire.write(to, (1, 0), 0, &[0x5a; 4096])?;
    fill(&ledge, 2)?;
    let begun = ledge.console_ok("erase -f 1.2")?;
    ensure!(
        begun.starts_with("1.2: erase of 0.025GB begun, "),
        "{begun}"
    );
    ledge.console_ok("wait -t 120 1.2")?;
    let shown = wait_for(|| ledge.console_ok("show -l 1.2"), "up\n")?;
    ensure!(!shown.contains("foreign"), "{shown}");
    ensure!(is_all_zeroes(&ledge, 2)?, "something of the old is left");
    let told = ledge.console_ok("erase")?;
    ensure!(told.contains("erase complete 100.00%"), "{told}");
    ensure!(wire.read(to, (1, 0), 0, 8)? == [0x5a; 4096], "another disk");
    let refused = ledge.console("erase -f 1.0")?;
    ensure!(refused.status == 1 && refused.output.contains("drive 1.0 has role 0.0.0"));
    // A drive of a LUN is read beside its clients, and so is one that nobody uses.
    ledge.console_ok("disktest -r 1.0 1.3")?;
    ledge.console_ok("wait -t 120 1.0 1.3")?;
    let told = ledge.console_ok("disktest")?;
    ensure!(
        told.matches("read test complete 100.00%").count() == 2,
        "{told}"
    );
    ensure!(told.matches(" 0 bad sectors").count() == 2, "{told}");
    ledge.console_ok("disktest -wf 1.2")?;
    ledge.console_ok("wait -t 120 1.2")?;
    let told = ledge.console_ok("disktest")?;
    ensure!(told.contains("write test complete 100.00%"), "{told}");
    ensure!(!is_all_zeroes(&ledge, 2)?, "it was written");
    ensure!(ledge.console_ok("health")? == "ok\n");
    let history = ledge.console_ok("history -n 500")?;
    ensure!(history.contains("erase -f 1.2"), "{history}");
    wait_for(
        || ledge.console_ok("log -n 500"),
        "write test of drive 1.2 complete (notice)",
    )?;
    ledge.stop()
}

#[test]
fn memory_disks_have_jobs_too() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut ledge = Ledge::start(&network.target, memory_disks("packet"))?;
    for line in ["disktest -wf 1.2", "erase -f 1.2", "disktest -r 1.2"] {
        ledge.console_ok(line)?;
        ledge.console_ok("wait -t 120 1.2")?;
    }
    let told = ledge.console_ok("disktest")?;
    ensure!(told.contains("read test complete 100.00%"), "{told}");
    ledge.console_ok("make 0 jbod 1.2")?;
    ledge.stop()
}

/// A member of a LUN that was ejected is erased, and the program killed in the middle of that.
#[test]
fn a_kill_in_the_middle_of_an_erase_leaves_no_member() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut ledge = Ledge::start(&network.target, large_files())?;
    ledge.console_ok("make -c 1 raid1 1.2-3")?;
    ledge.console_ok("eject -f 1")?;
    ledge.console_ok("ratelimit 1M")?;
    ledge.console_ok("erase -f 1.3")?;
    // The first administrator has it: what the others want of it is refused.
    for line in ["make -f 2 jbod 1.3", "spare -f 1.3", "setsize 30M 1.3"] {
        let refused = ledge.console(line)?;
        ensure!(refused.status == 1, "{line}: {}", refused.output);
    }
    let busy = ledge.console("erase -f 1.3")?;
    ensure!(
        busy.output == "error: 1.3 has a job already: erase\n",
        "{}",
        busy.output
    );
    let when = ledge.console_ok("when")?;
    ensure!(
        when.starts_with("1.3 ") && when.ends_with(" left erase\n"),
        "{when}"
    );
    ensure!(ledge.console_ok("show -l 1.3")?.contains("in use: erase"));
    ledge.kill()?;
    ledge.start_again()?;
    let shown = ledge.console_ok("show -l 1.3")?;
    ensure!(shown.contains(LEFT), "{shown}");
    let health = ledge.console_ok("health")?;
    ensure!(
        health.contains("drive 1.3 is not wholly erased"),
        "{health}"
    );
    let listed = ledge.console_ok("list -l")?;
    ensure!(
        listed.contains("degraded"),
        "the other half alone: {listed}"
    );
    ensure!(!listed.contains("1.3"), "{listed}");
    let refused = ledge.console("make 2 jbod 1.3")?;
    ensure!(
        refused.status == 1 && refused.output.contains("did not end"),
        "{}",
        refused.output
    );
    // An orderly stop in the middle is no different.
    ledge.console_ok("erase -f 1.3")?;
    ledge.stop()?;
    ledge.start_again()?;
    ensure!(ledge.console_ok("show -l 1.3")?.contains(LEFT));
    ledge.console_ok("ratelimit 0")?;
    ledge.console_ok("erase -f 1.3")?;
    ledge.console_ok("wait -t 120 1.3")?;
    wait_for(|| ledge.console_ok("show -l 1.3"), "up\n")?;
    ensure!(is_all_zeroes(&ledge, 3)?);
    ledge.stop()
}

#[test]
fn a_size_is_kept_in_another_slot() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut ledge = Ledge::start(&network.target, large_files())?;
    ledge.console_ok("setsize 40M 1.2")?;
    let size = |ledge: &Ledge, slot: u8| ledge.console_ok(&format!("show -l 1.{slot}"));
    ensure!(
        size(&ledge, 2)?.contains("0.039GB up (setsize, of 0.067GB)"),
        "{}",
        size(&ledge, 2)?
    );
    ledge.console_ok("make 0 jbod 1.2")?;
    ledge.stop()?;
    let spare_path = ledge.disk_path(2).with_extension("away");
    std::fs::rename(ledge.disk_path(2), &spare_path)?;
    std::fs::rename(ledge.disk_path(3), ledge.disk_path(2))?;
    std::fs::rename(&spare_path, ledge.disk_path(3))?;
    ledge.start_again()?;
    ensure!(
        size(&ledge, 3)?.contains("(setsize, of 0.067GB)"),
        "{}",
        size(&ledge, 3)?
    );
    ensure!(!size(&ledge, 2)?.contains("setsize"));
    let refused = ledge.console("setsize -c 1.3")?;
    ensure!(
        refused.output == "error: 1.3 already in use\n",
        "{}",
        refused.output
    );
    ledge.console_ok("remove -f 0")?;
    ledge.console_ok("setsize -c 1.3")?;
    ensure!(size(&ledge, 3)?.contains("0.067GB up\n"));
    ledge.stop()
}

/// A shelf on disks of 16 MiB that can be made to misbehave.
struct Faulty {
    // Dropped in this order: nobody may use the disks when they are unmounted.
    daemon: Option<Daemon>,
    disks: FaultyDisks,
    setup: Setup,
}

impl Faulty {
    fn start() -> Result<Self> {
        let setup = Setup::new()?;
        let files: Vec<PathBuf> = (0..4)
            .map(|index| setup.disk(&format!("file{index}"), 16 * MIB as u64))
            .collect::<Result<_>>()?;
        let directory = setup.path("disks");
        std::fs::create_dir(&directory)?;
        let disks = FaultyDisks::mount(&directory, &files)?;
        let mut text = format!(
            "shelf = 1\ndisk_timeout_seconds = 2\n{}{}",
            setup.paths(),
            support::shelf::PORT
        );
        for slot in 0..files.len() {
            text += &disk(slot, &disks.path(slot));
        }
        setup.write_text(&text)?;
        let daemon = Some(setup.start()?);
        Ok(Self {
            daemon,
            disks,
            setup,
        })
    }

    fn console(&self, line: &str) -> Result<String> {
        self.setup.console(line)?.success(line)
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "a skipped test must say so")]
fn bad_sectors_are_found_and_what_hangs_or_vanishes_ends_its_job() -> Result<()> {
    if let Some(reason) = FaultyDisks::unavailable() {
        eprintln!("SKIPPED: {reason}");
        return Ok(());
    }
    let mut shelf = Faulty::start()?;
    let (sector, sectors) = (5000, 3);
    shelf
        .disks
        .set(0, Behaviour::Unreadable { sector, sectors });
    shelf.console("disktest -r 1.0")?;
    shelf.console("wait -t 120 1.0")?;
    let told = shelf.console("disktest")?;
    ensure!(told.contains("read test complete 100.00%"), "{told}");
    ensure!(
        told.contains(" 3 bad sectors") && told.contains("bad: 5000-5002: "),
        "{told}"
    );
    let health = shelf.console("health")?;
    ensure!(
        health.contains("drive 1.0 has 3 bad sectors, by its read test"),
        "{health}"
    );
    // Written and read back it is as bad.
    shelf.console("disktest -wf 1.0")?;
    shelf.console("wait -t 120 1.0")?;
    let told = wait_for(|| shelf.console("disktest"), "write test complete")?;
    ensure!(told.contains(" 3 bad sectors"), "{told}");
    // Slow enough that something can happen in the middle.
    shelf.console("ratelimit 8M")?;
    shelf.console("erase -f 1.1")?;
    shelf.disks.set(1, Behaviour::Hanging);
    wait_for(|| shelf.console("when"), "no answer for")?;
    shelf.console("erase stop 1.1")?;
    let when = shelf.console("when")?;
    ensure!(when.contains("stopping"), "{when}");
    ensure!(
        shelf.console("show -l 1.1")?.contains("in use: erase"),
        "not before it answers"
    );
    shelf.disks.set(1, Behaviour::Well);
    wait_for(|| shelf.console("show -l 1.1"), LEFT)?;
    ensure!(shelf.console("erase")?.contains("erase stopped"));
    shelf.console("erase -f 1.2")?;
    shelf.disks.set(2, Behaviour::Gone);
    let told = wait_for(|| shelf.console("erase"), "erase failed")?;
    ensure!(told.contains("the drive is gone"), "{told}");
    ensure!(
        shelf
            .console("health")?
            .contains("drive 1.2 did not come through its erase")
    );
    shelf.disks.set(2, Behaviour::Well);
    // A disk that hangs does not hold up the end of the program for long.
    shelf.console("disktest -r 1.3")?;
    shelf.disks.set(3, Behaviour::Hanging);
    if let Some(daemon) = shelf.daemon.take() {
        check_log(&daemon.log())?;
        daemon.terminate(PATIENCE)?;
    }
    Ok(())
}

/// What a disk of the faulty ones holds, when it can be read.
fn content(shelf: &Faulty, slot: usize) -> Result<Vec<u8>> {
    Ok(std::fs::read(shelf.disks.path(slot))?)
}

#[test]
#[allow(clippy::print_stderr, reason = "a skipped test must say so")]
fn sectors_that_cannot_be_read_are_written_anew_and_nothing_else() -> Result<()> {
    if let Some(reason) = FaultyDisks::unavailable() {
        eprintln!("SKIPPED: {reason}");
        return Ok(());
    }
    let mut shelf = Faulty::start()?;
    let disk = std::fs::OpenOptions::new()
        .write(true)
        .open(shelf.disks.path(0))?;
    // Not where a superblock would be, at which the shelf may look at any time.
    disk.write_all_at(&vec![0xa5; 16 * MIB - 8192], 8192)?;
    disk.sync_all()?;
    let mut wanted = content(&shelf, 0)?;
    let worn = Behaviour::UnreadableUntilWritten {
        sector: 5000,
        sectors: 3,
    };
    shelf.disks.set(0, worn);
    shelf.console("condition -f 1.0")?;
    shelf.console("wait -t 120 1.0")?;
    let told = wait_for(|| shelf.console("condition"), "condition complete 100.00%")?;
    ensure!(
        told.contains(" 0 bad sectors, 3 written anew\n       written anew: 5000-5002\n"),
        "{told}"
    );
    wanted[5000 * 512..5003 * 512].fill(0);
    ensure!(content(&shelf, 0)? == wanted, "something else was written");
    ensure!(shelf.console("health")? == "ok\n");
    let shown = shelf.console("show -l 1.0")?;
    ensure!(
        shown.contains("GB up") && !shown.contains("foreign"),
        "{shown}"
    );
    wait_for(
        || shelf.console("log -n 500"),
        "condition of drive 1.0 complete: 3 sectors written anew",
    )?;
    // A medium that has no other place stays bad.
    let (sector, sectors) = (6001, 2);
    shelf
        .disks
        .set(0, Behaviour::Unreadable { sector, sectors });
    shelf.console("condition -f -s 5500 1.0")?;
    shelf.console("wait -t 120 1.0")?;
    let told = wait_for(|| shelf.console("condition"), "condition complete 100.00%")?;
    ensure!(
        told.contains(" 2 bad sectors\n       bad: 6001-6002: "),
        "{told}"
    );
    let health = shelf.console("health")?;
    ensure!(
        health.contains("drive 1.0 has 2 bad sectors, by its condition"),
        "{health}"
    );
    shelf.disks.set(0, Behaviour::Well);
    shelf.console("make -c 0 raid1 1.1-2")?;
    let refused = shelf.setup.console("condition -f 1.1")?;
    ensure!(
        refused.status == 1 && refused.output.contains("it is 0.0.0; scrub start 0"),
        "{}",
        refused.output
    );
    if let Some(daemon) = shelf.daemon.take() {
        check_log(&daemon.log())?;
        daemon.terminate(PATIENCE)?;
    }
    Ok(())
}

#[test]
fn a_kill_in_the_middle_of_a_condition_leaves_the_drive_as_it_was() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut ledge = Ledge::start(&network.target, large_files())?;
    fill(&ledge, 3)?;
    let before = std::fs::read(ledge.disk_path(3))?;
    ledge.console_ok("ratelimit 1M")?;
    ledge.console_ok("condition -f 1.3")?;
    for line in ["make -f 2 jbod 1.3", "spare -f 1.3", "erase -f 1.3"] {
        let refused = ledge.console(line)?;
        ensure!(refused.status == 1, "{line}: {}", refused.output);
    }
    ensure!(
        ledge
            .console_ok("show -l 1.3")?
            .contains("in use: condition")
    );
    ledge.kill()?;
    ledge.start_again()?;
    let shown = ledge.console_ok("show -l 1.3")?;
    ensure!(shown.ends_with("GB up\n"), "{shown}");
    ensure!(std::fs::read(ledge.disk_path(3))? == before);
    ledge.console_ok("make 2 jbod 1.3")?;
    ledge.stop()
}

/// Makes a file a swap area, which no member of a LUN is.
fn make_swap_area(file: &std::fs::File) -> Result<()> {
    let mut header = [0; 4096];
    header[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    header[1028..1032].copy_from_slice(&1000_u32.to_le_bytes());
    header[4086..].copy_from_slice(b"SWAPSPACE2");
    file.write_all_at(&header, 0)?;
    file.sync_all()?;
    Ok(())
}

#[test]
#[allow(clippy::print_stderr, reason = "a skipped test must say so")]
fn a_failing_disk_is_copied_with_zeroes_where_it_cannot_be_read() -> Result<()> {
    if let Some(reason) = FaultyDisks::unavailable() {
        eprintln!("SKIPPED: {reason}");
        return Ok(());
    }
    let mut shelf = Faulty::start()?;
    let disk = std::fs::OpenOptions::new()
        .write(true)
        .open(shelf.disks.path(0))?;
    // Not where a superblock would be, at which the shelf may look at any time.
    disk.write_all_at(&vec![0xa5; 16 * MIB - 8192], 8192)?;
    disk.sync_all()?;
    let mut wanted = content(&shelf, 0)?;
    let (sector, sectors) = (5000, 3);
    shelf
        .disks
        .set(0, Behaviour::Unreadable { sector, sectors });
    shelf.console("extract -y 1.0 1.1")?;
    let told = wait_for(|| shelf.console("extract"), "extract of 1.0 failed")?;
    ensure!(told.contains("sector 5000 cannot be read"), "{told}");
    ensure!(
        told.contains("goes on with: extract -f -s 16 1.0 1.1"),
        "{told}"
    );
    let left = "foreign: what an extract that did not end has left";
    wait_for(|| shelf.console("show -l 1.1"), left)?;
    shelf.console("extract -y -f -s 16 1.0 1.1")?;
    shelf.console("wait -t 120 1.1")?;
    let told = wait_for(|| shelf.console("extract"), "complete 100.00%")?;
    ensure!(
        told.contains(" 3 bad sectors\n       bad: 5000-5002: "),
        "{told}"
    );
    wanted[5000 * 512..5003 * 512].fill(0);
    ensure!(content(&shelf, 1)? == wanted, "it is no copy");
    wait_for(
        || shelf.console("health"),
        "drive 1.0 has 3 bad sectors, which its copy 1.1 lacks",
    )?;
    wait_for(
        || shelf.console("log -n 500"),
        "extract of drive 1.0 onto 1.1 complete: 3 bad sectors",
    )?;
    // An old disk that hangs or vanishes.
    shelf.disks.set(0, Behaviour::Well);
    shelf.console("ratelimit 1M")?;
    shelf.console("extract -y 1.0 1.2")?;
    shelf.disks.set(0, Behaviour::Hanging);
    wait_for(|| shelf.console("when"), "no answer for")?;
    shelf.console("extract stop 1.2")?;
    shelf.disks.set(0, Behaviour::Well);
    wait_for(|| shelf.console("show -l 1.2"), left)?;
    shelf.console("extract -y 1.0 1.2")?;
    shelf.disks.set(0, Behaviour::Gone);
    let told = wait_for(|| shelf.console("extract"), "extract of 1.0 failed")?;
    ensure!(told.contains("of the old one, the drive is gone"), "{told}");
    if let Some(daemon) = shelf.daemon.take() {
        check_log(&daemon.log())?;
        daemon.terminate(PATIENCE)?;
    }
    Ok(())
}

#[test]
fn a_kill_in_the_middle_of_an_extract_leaves_no_half_copy_that_is_taken_for_one() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let mut ledge = Ledge::start(&network.target, large_files())?;
    fill(&ledge, 2)?;
    make_swap_area(
        &std::fs::OpenOptions::new()
            .write(true)
            .open(ledge.disk_path(2))?,
    )?;
    ledge.kill()?;
    ledge.start_again()?;
    let carried = ledge.console_ok("show -l 1.2")?;
    ensure!(carried.contains("foreign: "), "{carried}");
    let before = std::fs::read(ledge.disk_path(2))?;
    ledge.console_ok("ratelimit 1M")?;
    // The wrong way round it is refused.
    let refused = ledge.console("extract -y 1.3 1.2")?;
    ensure!(
        refused.status == 1 && refused.output.contains("erase empties it"),
        "{}",
        refused.output
    );
    ledge.console_ok("extract -y 1.2 1.3")?;
    for line in [
        "make -f 2 jbod 1.3",
        "make -f 2 jbod 1.2",
        "spare -f 1.2",
        "erase -f 1.2",
        "erase -f 1.3",
    ] {
        let refused = ledge.console(line)?;
        ensure!(refused.status == 1, "{line}: {}", refused.output);
    }
    ensure!(ledge.console_ok("show -l 1.2")?.contains("in use: extract"));
    ledge.kill()?;
    ledge.start_again()?;
    let shown = ledge.console_ok("show -l 1.3")?;
    ensure!(
        shown.contains("what an extract that did not end has left"),
        "{shown}"
    );
    ensure!(ledge.console_ok("show -l 1.2")? == carried);
    ensure!(std::fs::read(ledge.disk_path(2))? == before);
    let health = ledge.console_ok("health")?;
    ensure!(
        health.contains("drive 1.3 holds a part of a copy"),
        "{health}"
    );
    ledge.console_ok("ratelimit 0")?;
    ledge.console_ok("extract -y 1.2 1.3")?;
    ledge.console_ok("wait -t 120 1.3")?;
    wait_for(|| ledge.console_ok("extract"), "complete 100.00%")?;
    ensure!(
        std::fs::read(ledge.disk_path(3))? == before,
        "it is no copy"
    );
    ensure!(std::fs::read(ledge.disk_path(2))? == before);
    ledge.kill()?;
    ledge.start_again()?;
    let copied = ledge.console_ok("show -l 1.3")?;
    ensure!(copied == carried.replace("1.2", "1.3"), "{copied}");
    ledge.stop()
}
