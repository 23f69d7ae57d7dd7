//! Real block devices with sectors of 4096 bytes: loop devices, alone and beside files with sectors of 512
//! bytes. The initiator reads and writes any sectors of 512 bytes.
#![expect(clippy::print_stderr, reason = "tells what was skipped")]

mod support;

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::LIMIT;
use support::shelf::{Loop, PORT, Setup, check_log, disk};
use support::wire::Wire;
use testbed::Daemon;

const LUN: (u16, u8) = (1, 0);

/// Not a multiple of 4096.
const FILE_BYTES: u64 = (16 << 20) + 512;

/// Sectors of the LUN that are looked at.
const SECTORS: usize = 512;

/// A shelf whose disks are links, some to loop devices.
struct Shelf {
    // Dropped in this order: nobody may use the devices when they are detached.
    daemon: Option<Daemon>,
    setup: Setup,
    devices: Vec<(usize, Loop)>,
}

impl Shelf {
    /// With so many disks, of which these have sectors of 4096 bytes. `None` where the kernel has no such
    /// loop devices.
    fn start(disks: usize, blocks: &[usize]) -> Result<Option<Self>> {
        let setup = Setup::new()?;
        let mut devices = Vec::new();
        let mut text = format!("shelf = 1\n{}{PORT}", setup.paths());
        for slot in 0..disks {
            let file = setup.disk(&format!("file{slot}"), FILE_BYTES)?;
            let link = setup.path(&format!("disk{slot}"));
            text += &disk(slot, &link);
            if !blocks.contains(&slot) {
                symlink(&file, &link)?;
                continue;
            }
            let device = match Loop::attach_with_blocks(&file) {
                Ok(device) => device,
                Err(error) => {
                    eprintln!("SKIPPED: no loop device with sectors of 4096 bytes: {error:#}");
                    return Ok(None);
                }
            };
            symlink(&device.0, &link)?;
            devices.push((slot, device));
        }
        setup.write_text(&text)?;
        let daemon = Some(setup.start()?);
        Ok(Some(Self {
            daemon,
            setup,
            devices,
        }))
    }

    fn console(&self, line: &str) -> Result<String> {
        self.setup.console(line)?.success(line)
    }

    fn stop(&mut self) -> Result<()> {
        let daemon = self.daemon.take().context("it runs")?;
        check_log(&daemon.log())?;
        daemon.terminate(LIMIT)
    }

    fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.daemon = Some(self.setup.start()?);
        Ok(())
    }

    fn link(&self, slot: usize) -> PathBuf {
        self.setup.path(&format!("disk{slot}"))
    }

    /// While the shelf is off: a loop device that somebody uses cannot be taken away.
    fn pull(&mut self, slot: usize) -> Result<()> {
        self.stop()?;
        fs::rename(self.link(slot), self.setup.path("pulled"))?;
        self.daemon = Some(self.setup.start()?);
        Ok(())
    }

    /// While it runs.
    fn insert(&self, slot: usize) -> Result<()> {
        Ok(fs::rename(self.setup.path("pulled"), self.link(slot))?)
    }

    /// Waits until the elements of the LUN are in these states.
    fn wait_for(&self, states: &[&str]) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let listed = self.console("list -l 0")?;
            let rows = listed
                .lines()
                .filter(|row| row.trim_start().starts_with("0.0."));
            let found: Vec<&str> = rows
                .filter_map(|row| row.split_whitespace().nth(1))
                .collect();
            let passes = self.console("when")?;
            if found == states && !passes.contains('%') {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = self.daemon.as_ref().map(Daemon::log).unwrap_or_default();
                bail!("{listed}\n{passes}\n{log}");
            }
            sleep(Duration::from_millis(50));
        }
    }
}

/// What the sectors of the LUN hold.
struct Model {
    bytes: Vec<u8>,
    seed: u64,
}

impl Model {
    fn new() -> Self {
        Self {
            bytes: vec![0; SECTORS * 512],
            seed: 1,
        }
    }

    /// A number below another one.
    fn below(&mut self, end: usize) -> usize {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.seed >> 33).unwrap_or(0) % end
    }

    /// Writes everything once, then runs of 1 to 17 sectors anywhere.
    fn fill(&mut self, wire: &mut Wire, count: usize) -> Result<()> {
        let to = wire.discover(LUN)?;
        for number in 0..count {
            let is_first = number < SECTORS / 16;
            let (lba, sectors) = if is_first {
                (number * 16, 16)
            } else {
                let sectors = 1 + self.below(17);
                (self.below(SECTORS - sectors), sectors)
            };
            let salt = self.below(256);
            let data: Vec<u8> = (0..sectors * 512)
                .map(|at| (at / 512 * 31 + lba + salt).to_le_bytes()[0])
                .collect();
            wire.write(to, LUN, lba as u64, &data)?;
            self.bytes[lba * 512..(lba + sectors) * 512].copy_from_slice(&data);
        }
        Ok(())
    }

    /// Reads all of it, at odd places.
    fn verify(&self, wire: &mut Wire) -> Result<()> {
        let to = wire.discover(LUN)?;
        let mut lba = 0;
        for sectors in [1_u8, 17, 3, 16, 8, 5].into_iter().cycle() {
            let sectors = usize::from(sectors).min(SECTORS - lba);
            if sectors == 0 {
                return Ok(());
            }
            let count = u8::try_from(sectors)?;
            let read = wire.read(to, LUN, lba as u64, count)?;
            let right = &self.bytes[lba * 512..(lba + sectors) * 512];
            ensure!(read == right, "wrong bytes in {sectors} sectors at {lba}");
            lba += sectors;
        }
        Ok(())
    }
}

#[test]
fn any_sectors_are_kept_through_restarts_and_a_pulled_member() -> Result<()> {
    for (level, disks, blocks) in [
        ("raid1", 2, &[0, 1][..]),
        ("raid1", 2, &[1]),
        ("raid10", 4, &[0, 3]),
        ("raid5", 3, &[0, 1, 2]),
        ("raid6", 4, &[1, 2]),
    ] {
        let Some(mut shelf) = Shelf::start(disks, blocks)? else {
            return Ok(());
        };
        let mut wire = Wire::open(&shelf.setup.network)?;
        let mut model = Model::new();
        let made = shelf.console(&format!("make 0 {level} 1.0-{}", disks - 1))?;
        ensure!(!made.contains("4096"), "nothing odd is said: {made}");
        shelf.console("online 0")?;
        model.fill(&mut wire, 200)?;
        model.verify(&mut wire).context(level)?;
        shelf.restart()?;
        model
            .verify(&mut wire)
            .with_context(|| format!("{level} after a restart"))?;
        let victim = blocks[0];
        shelf.pull(victim)?;
        let mut states = vec!["normal"; disks];
        states[victim] = "missing";
        shelf.wait_for(&states)?;
        model.fill(&mut wire, 200)?;
        model
            .verify(&mut wire)
            .with_context(|| format!("{level} degraded"))?;
        shelf.insert(victim)?;
        shelf.wait_for(&vec!["normal"; disks])?;
        // What was missed is on the one that is back.
        let other = (0..disks).find(|disk| *disk != victim).context("another")?;
        shelf.console(&format!("fail 0.0.{other}"))?;
        model
            .verify(&mut wire)
            .with_context(|| format!("{level} rebuilt"))?;
        shelf.restart()?;
        model
            .verify(&mut wire)
            .with_context(|| format!("{level} in the end"))?;
        ensure!(shelf.devices.len() == blocks.len());
    }
    Ok(())
}

#[test]
fn a_spare_with_larger_sectors_joins_a_lun_that_is_served() -> Result<()> {
    let Some(shelf) = Shelf::start(4, &[2, 3])? else {
        return Ok(());
    };
    let sizes = shelf.console("disks -g 1.2")?;
    ensure!(sizes.contains("4096/4096"), "{sizes}");
    let mut wire = Wire::open(&shelf.setup.network)?;
    let mut model = Model::new();
    shelf.console("make 0 raid1 1.0-1")?;
    shelf.console("online 0")?;
    shelf.wait_for(&["normal", "normal"])?;
    model.fill(&mut wire, 100)?;
    shelf.console("spare 1.2")?;
    shelf.console("fail 0.0.0")?;
    shelf.wait_for(&["normal", "normal"])?;
    model.fill(&mut wire, 100)?;
    shelf.console("replace 0.0.1 1.3")?;
    shelf.wait_for(&["normal", "normal"])?;
    model.verify(&mut wire)?;
    model.fill(&mut wire, 100)?;
    shelf.console("fail 0.0.0")?;
    model.verify(&mut wire)?;
    let log = shelf.daemon.as_ref().map(Daemon::log).unwrap_or_default();
    check_log(&log)
}

#[test]
fn raw_and_jbod_luns_and_jobs_on_whole_drives() -> Result<()> {
    for level in ["raw", "jbod"] {
        let Some(mut shelf) = Shelf::start(2, &[0, 1])? else {
            return Ok(());
        };
        let mut wire = Wire::open(&shelf.setup.network)?;
        let mut model = Model::new();
        shelf.console(&format!("make 0 {level} 1.0"))?;
        shelf.console("online 0")?;
        model.fill(&mut wire, 150)?;
        model.verify(&mut wire).context(level)?;
        if level == "jbod" {
            shelf.restart()?;
            model.verify(&mut wire)?;
        }
        shelf.console("disktest -r 1.0")?;
        shelf.console("erase -f 1.1")?;
        shelf.console("wait -t 120 1.0 1.1")?;
        let told = shelf.console("disktest")?;
        ensure!(told.contains("read test complete 100.00%"), "{told}");
        ensure!(told.contains(" 0 bad sectors"), "{told}");
        let told = shelf.console("erase")?;
        ensure!(told.contains("erase complete 100.00%"), "{told}");
        shelf.console("setsize 8M 1.1")?;
        shelf.console("make 1 jbod 1.1")?;
    }
    Ok(())
}
