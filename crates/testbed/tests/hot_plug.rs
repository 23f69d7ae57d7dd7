//! Devices that are pulled out of a machine and put into it while a shelf serves them: NVMe and SCSI disks of the
//! emulator, by its monitor, under verified load. The shelf has found them by itself.
//!
//! The shelf and its initiator run in the guest, joined by a veth pair.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use testbed::{Vm, VmOptions, lock_vm, paths, transcript};

const DISK_BYTES: u64 = 64 << 20;

/// For one command in the emulated machine, and for what is to come of it.
const LIMIT: Duration = Duration::from_secs(240);

const CONFIG: &str = r#"
shelf = 1
state_dir = "/run/state"
control_socket = "/run/control.sock"
[[port]]
interface = "eth1"
mode = "packet"
[discover]
disks = "auto"
"#;

/// The guest, and the shelf in it.
struct Guest {
    vm: Vm,
    directory: TempDir,
    /// How many images were inserted: each backend of the emulator has a name of its own.
    inserted: u32,
}

impl Guest {
    fn boot(drives: usize, disks: usize) -> Result<Self> {
        let directory = tempfile::tempdir().context("directory")?;
        let images = |kind: &str, count: usize| -> Result<Vec<PathBuf>> {
            let image = |number| {
                let path = directory.path().join(format!("{kind}{number}"));
                File::create(&path)?.set_len(DISK_BYTES)?;
                Ok(path)
            };
            (0..count).map(image).collect()
        };
        let programs: Result<Vec<_>> = ["ledged", "ledge", "aoeload"]
            .into_iter()
            .map(paths::binary)
            .collect();
        let options = VmOptions {
            processors: 2,
            memory_mib: 1024,
            ..VmOptions::default()
        };
        let (drives, disks) = (images("nvme", drives)?, images("disk", disks)?);
        let mut vm = Vm::boot_shelf(&drives, &disks, &programs?, &options)?;
        vm.run_ok(
            "ip link add eth1 type veth && ip link set eth1 mtu 9000 up && \
             ip link set veth0 mtu 9000 up && mkdir /run/state",
            LIMIT,
        )?;
        Ok(Self {
            vm,
            directory,
            inserted: 0,
        })
    }

    fn shell(&mut self, command: &str) -> Result<String> {
        let answer = self.vm.run(command, LIMIT)?;
        if answer.status != 0 {
            transcript::note(&format!("ledged in the guest:\n{}", self.log()?));
        }
        answer.success(command)
    }

    fn log(&mut self) -> Result<String> {
        Ok(self.vm.run("tail -n 60 /run/log", LIMIT)?.output)
    }

    fn start(&mut self) -> Result<()> {
        let script = format!(
            "cat >/run/ledge.toml <<'END'\n{CONFIG}END\n\
             NO_COLOR=1 ledged --config /run/ledge.toml >/run/log 2>&1 &\n\
             echo $! >/run/pid\n\
             for i in $(seq 600); do grep -q ready /run/log && exit; sleep 0.1; done; exit 1"
        );
        self.shell(&script).map(drop)
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

    /// Waits until the elements of LUN 0 are in these states, on drives of these slots.
    fn wait_for(&mut self, expected: &[(&str, Option<u64>)]) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let listed: Value = serde_json::from_str(&self.console("-j list -l 0")?)?;
            let parts = listed["data"][0]["raids"].as_array();
            let elements = parts.and_then(|parts| parts[0]["elements"].as_array());
            let elements = elements.with_context(|| format!("elements of {listed}"))?;
            let found: Vec<(&str, Option<u64>)> = elements
                .iter()
                .map(|element| {
                    let drive = element["drive"].as_str();
                    let slot = drive.and_then(|drive| drive.rsplit('.').next()?.parse().ok());
                    (element["state"].as_str().unwrap_or("?"), slot)
                })
                .collect();
            if found == expected {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("{expected:?} does not come: {listed}\n{}", self.log()?);
            }
            sleep(Duration::from_millis(200));
        }
    }

    /// The state of each slot, in order.
    fn slots(&mut self) -> Result<Vec<(String, String)>> {
        let shown: Value = serde_json::from_str(&self.console("-j show -l")?)?;
        let rows = shown["data"].as_array().context("rows")?;
        let state = |row: &Value| {
            let state = row["state"].as_str().unwrap_or_default();
            (format!("1.{}", row["slot"]), state.to_owned())
        };
        Ok(rows.iter().map(state).collect())
    }

    /// Begins a load that verifies all that it reads.
    fn begin_load(&mut self) -> Result<()> {
        self.shell(
            "aoeload --interface veth0 --target 1.0 --probes off --warmup 0 --json --op mixed --verify --depth 4 \
             --seconds 20 --range 8M >/run/load 2>/run/load.errors & echo $! >/run/load.pid",
        )
        .map(drop)
    }

    fn end_load(&mut self) -> Result<()> {
        let text = self.shell(
            "for i in $(seq 1200); do [ -e /proc/$(cat /run/load.pid)/exe ] || break; sleep 0.1; done; \
             cat /run/load /run/load.errors",
        )?;
        let report: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        ensure!(report["ok"] == true, "{report}");
        let commands = report["write"]["commands"].as_u64().unwrap_or_default();
        ensure!(commands > 0, "{report}");
        transcript::note(&format!("{commands} writes"));
        Ok(())
    }

    fn pull(&mut self, device: &str) -> Result<()> {
        let said = self.vm.monitor(&format!("device_del {device}"), LIMIT)?;
        ensure!(!said.contains("Error"), "{said}");
        Ok(())
    }

    /// Puts an image into the machine as a device of this kind.
    fn insert(&mut self, image: &str, device: &str) -> Result<()> {
        self.inserted += 1;
        let backend = format!("inserted{}", self.inserted);
        let path = self.directory.path().join(image);
        self.wait_until_let_go(&path)?;
        let drive = format!(
            "drive_add 0 if=none,id={backend},format=raw,cache=unsafe,file={}",
            path.display()
        );
        for command in [drive, format!("device_add {device},drive={backend}")] {
            let said = self.vm.monitor(&command, LIMIT)?;
            ensure!(!said.contains("Error"), "{said}");
        }
        Ok(())
    }

    /// Waits until the emulator has an image no more: the guest has agreed that its device leaves.
    fn wait_until_let_go(&mut self, image: &Path) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        let name = image.display().to_string();
        while self.vm.monitor("info block", LIMIT)?.contains(&name) {
            ensure!(Instant::now() < deadline, "{name} stays in the machine");
            sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

#[test]
fn disks_are_found_pulled_and_inserted_under_load() -> Result<()> {
    let _lock = lock_vm()?;
    let mut guest = Guest::boot(2, 3)?;
    guest.start()?;
    let up = |slot: u8| (format!("1.{slot}"), "up".to_owned());
    let all: Vec<_> = (0..5).map(up).collect();
    let found = guest.slots()?;
    ensure!(found == all, "{found:?}\n{}", guest.log()?);
    // NVMe disks come first: one of each kind, and a spare.
    guest.console("make 0 raid1 1.0 1.2")?;
    guest.console("online 0")?;

    guest.begin_load()?;
    guest.pull("nvme-disk0")?;
    guest.wait_for(&[("missing", None), ("normal", Some(2))])?;
    guest.insert("nvme0", "nvme,serial=ledge0,id=nvme-disk0,addr=0x10")?;
    guest.wait_for(&[("normal", Some(0)), ("normal", Some(2))])?;
    guest.end_load()?;

    guest.begin_load()?;
    guest.pull("scsi-disk0")?;
    guest.wait_for(&[("normal", Some(0)), ("missing", None)])?;
    guest.insert("disk0", "scsi-hd,bus=scsi0.0,scsi-id=0,lun=0,id=scsi-disk0")?;
    guest.wait_for(&[("normal", Some(0)), ("normal", Some(2))])?;
    guest.end_load()?;

    // One that stays away is replaced by the spare.
    guest.console("spare 1.4")?;
    guest.begin_load()?;
    guest.pull("nvme-disk0")?;
    guest.wait_for(&[("normal", Some(4)), ("normal", Some(2))])?;
    guest.end_load()?;

    // Slots stay what they are, also over a start with one of them empty.
    guest.stop()?;
    guest.start()?;
    let expected: Vec<_> = (1..5).map(up).collect();
    let found = guest.slots()?;
    ensure!(found == expected, "{found:?}\n{}", guest.log()?);
    guest.wait_for(&[("normal", Some(4)), ("normal", Some(2))])?;
    guest.begin_load()?;
    guest.end_load()?;
    guest.stop()
}
