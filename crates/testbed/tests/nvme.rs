//! Poll queues: in a machine whose NVMe drive has one, the shelf polls for its reads and writes, and the
//! drive raises no interrupt for them; what it serves is right all the same. A disk without poll queues
//! beside it, and the same drive with `io_poll = "off"`, are served by interrupts.
//!
//! The shelf and its initiator run in the guest, joined by a veth pair.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testbed::{Vm, VmOptions, lock_vm, paths, transcript};

const DISK_BYTES: u64 = 128 << 20;

/// For one command in the emulated machine.
const LIMIT: Duration = Duration::from_secs(240);

/// The shelf over the drive, in slot 0, and the disk, in slot 1.
const CONFIG: &str = r#"
shelf = 1
state_dir = "/run/state"
control_socket = "/run/control.sock"
sandbox = "kill"
[[port]]
interface = "eth1"
mode = "packet"
[[disk]]
slot = 0
path = "/dev/nvme0n1"
io_poll = "IO_POLL"
[[disk]]
slot = 1
path = "/dev/disk/0"
"#;

/// The guest, and the shelf in it.
struct Guest {
    vm: Vm,
}

impl Guest {
    fn boot(drive: PathBuf, disk: PathBuf) -> Result<Self> {
        let programs: Result<Vec<_>> = ["ledged", "ledge", "aoeload"]
            .into_iter()
            .map(paths::binary)
            .collect();
        let options = VmOptions {
            processors: 2,
            memory_mib: 1024,
            ..VmOptions::default()
        };
        let mut vm = Vm::boot_shelf(&[drive], &[disk], &programs?, &options)?;
        vm.run_ok(
            "ip link add eth1 type veth && ip link set eth1 mtu 9000 up && \
             ip link set veth0 mtu 9000 up && mkdir /run/state",
            LIMIT,
        )?;
        Ok(Self { vm })
    }

    fn shell(&mut self, command: &str) -> Result<String> {
        let answer = self.vm.run(command, LIMIT)?;
        if answer.status != 0 {
            let log = self.vm.run("tail -n 30 /run/log", LIMIT)?.output;
            transcript::note(&format!("ledged in the guest:\n{log}"));
        }
        answer.success(command)
    }

    /// Starts the shelf, and gives its log.
    fn start(&mut self, io_poll: &str) -> Result<String> {
        let config = CONFIG.replace("IO_POLL", io_poll);
        let script = format!(
            "cat >/run/ledge.toml <<'END'\n{config}END\n\
             NO_COLOR=1 ledged --config /run/ledge.toml >/run/log 2>&1 &\n\
             echo $! >/run/pid\n\
             for i in $(seq 600); do grep -q ready /run/log && exit; sleep 0.1; done; exit 1"
        );
        self.shell(&script)?;
        self.shell("cat /run/log")
    }

    fn stop(&mut self) -> Result<()> {
        self.shell(
            "kill $(cat /run/pid); for i in $(seq 600); do \
             [ -e /proc/$(cat /run/pid)/exe ] || exit 0; sleep 0.1; done; exit 1",
        )
        .map(drop)
    }

    fn console(&mut self, line: &str) -> Result<String> {
        self.shell(&format!("ledge --socket /run/control.sock {line}"))
    }

    /// The remark on a drive.
    fn note(&mut self, slot: usize) -> Result<Option<String>> {
        let shown: Value = serde_json::from_str(&self.console("-j show -l")?)?;
        Ok(shown["data"][slot]["note"].as_str().map(str::to_owned))
    }

    /// I/O that was polled for.
    fn polled(&mut self) -> Result<u64> {
        let told: Value = serde_json::from_str(&self.console("-j aoestats -a")?)?;
        let rows = told["data"].as_array().context("rows")?;
        let row = rows.iter().find(|row| row["name"] == "polled_ios");
        row.and_then(|row| row["value"].as_u64())
            .context("no counter polled_ios")
    }

    /// Interrupts of the drive's queues for I/O so far; the first of its lines is that for administration.
    fn interrupts(&mut self) -> Result<u64> {
        let lines = self.shell("grep 'nvme0q[1-9]' /proc/interrupts || true")?;
        let counts = lines.split_whitespace();
        Ok(counts.filter_map(|word| word.parse::<u64>().ok()).sum())
    }

    /// Runs a load that must be right; gives how many commands it did.
    fn load(&mut self, lun: u8, options: &str) -> Result<u64> {
        let line = format!(
            "aoeload --interface veth0 --target 1.{lun} --probes off --warmup 0 --json {options}"
        );
        let report: Value = serde_json::from_str(&self.shell(&line)?)?;
        ensure!(report["ok"] == true, "{line}: {report}");
        let done = |kind: &str| report[kind]["commands"].as_u64().unwrap_or_default();
        let commands = done("read") + done("write");
        transcript::note(&format!("{line}: {commands} commands"));
        Ok(commands)
    }
}

const VERIFIED: &str = "--op mixed --verify --depth 8 --seconds 3 --range 8M";
const READS: &str = "--op read --depth 1 --seconds 2";

#[test]
fn a_drive_with_poll_queues_is_polled_and_one_without_is_not() -> Result<()> {
    let _lock = lock_vm()?;
    let directory = tempfile::tempdir().context("directory")?;
    let image = |name: &str| -> Result<PathBuf> {
        let path = directory.path().join(name);
        File::create(&path)?.set_len(DISK_BYTES)?;
        Ok(path)
    };
    let mut guest = Guest::boot(image("drive")?, image("disk")?)?;
    let log = guest.start("auto")?;
    let polls = "poll queues: its reads and writes are polled for";
    ensure!(log.contains(polls), "{log}");
    ensure!(log.matches(polls).count() == 1, "{log}");
    ensure!(guest.note(0)?.as_deref() == Some(polls));
    ensure!(guest.note(1)?.is_none());
    for lun in [0, 1] {
        guest.console(&format!("make {lun} jbod 1.{lun}"))?;
        guest.console(&format!("online {lun}"))?;
    }

    // Durable writes, and all that was written is read back.
    let before = guest.polled()?;
    let commands = guest.load(0, VERIFIED)?;
    let polled = guest.polled()? - before;
    ensure!(polled >= commands, "{polled} polled of {commands}");

    let (before, interrupts) = (guest.polled()?, guest.interrupts()?);
    let commands = guest.load(0, READS)?;
    let interrupts = guest.interrupts()? - interrupts;
    let polled = guest.polled()? - before;
    ensure!(polled >= commands, "{polled} polled of {commands}");
    ensure!(
        interrupts * 10 < commands,
        "{interrupts} interrupts for {commands} reads"
    );

    // Beside it, on the same worker, a disk that has none.
    let before = guest.polled()?;
    guest.load(1, VERIFIED)?;
    ensure!(guest.polled()? == before, "the disk is polled");

    guest.stop()?;
    let log = guest.start("off")?;
    ensure!(!log.contains(polls), "{log}");
    ensure!(guest.note(0)?.is_none());
    let interrupts = guest.interrupts()?;
    let commands = guest.load(0, READS)?;
    let interrupts = guest.interrupts()? - interrupts;
    ensure!(guest.polled()? == 0);
    ensure!(
        interrupts * 2 > commands,
        "{interrupts} interrupts for {commands} reads"
    );
    guest.load(0, "--op mixed --verify --depth 8 --seconds 1 --range 8M")?;
    guest.stop()
}
