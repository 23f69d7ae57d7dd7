//! A machine with disks of every kind, and the shelf in it, which finds them by itself. Nobody types anything
//! but what makes LUNs, and what asks.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod load;

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use testbed::network::FIRST_GUEST;
use testbed::process::feed;
use testbed::{
    CommandOutput, Hardware, Monitor, Namespace, Vm, VmOptions, paths, requirements, transcript,
};

/// The initiator's interface: the tap itself.
pub(crate) const INTERFACE: &str = FIRST_GUEST.tap;

/// For one command in the emulated machine, and for what it does by itself.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

const MTU: u16 = 9000;

/// Disks on NVMe and SAS: a bit of the bitmap stands for 64 MiB, and eight are set together.
pub(crate) const LARGE_BYTES: u64 = 1 << 30;

/// Other disks.
pub(crate) const DISK_BYTES: u64 = 128 << 20;

/// Those that others than the shelf use.
const SMALL_BYTES: u64 = 64 << 20;

/// Images of disks for the shelf; each is in some device, or in none.
const DISKS: &[&str] = &[
    "nvme0", "nvme1", "sata0", "sata1", "sas0", "sas1", "scsi0", "scsi1", "blank",
];

/// Images of disks that something in the machine uses, with the SCSI target of each.
const IN_USE: &[(&str, u8)] = &[("swap", 10), ("array0", 11), ("array1", 12), ("volume", 13)];

const CONFIG: &str = r#"
shelf = 1
state_dir = "/mnt/state"
control_socket = "/run/control.sock"
sandbox = "kill"
[discover]
disks = "auto"
[[port]]
interface = "eth0"
mode = "native"
cec = true
"#;

/// Who uses the other disks: ext4 with the state of the shelf, swap, an array of md, a volume of LVM.
const USERS: &str = r#"
set -e
at() { ls -d /sys/bus/scsi/devices/*:0:$1:0/block/* | sed 's|.*/|/dev/|' ; }
/usr/sbin/blkid -t TYPE=ext4 /dev/vda >/dev/null || /usr/sbin/mke2fs -q -t ext4 /dev/vda
mount /dev/vda /mnt
mkdir -p /mnt/state
/usr/sbin/blkid -t TYPE=swap $(at 10) >/dev/null || mkswap $(at 10)
swapon $(at 10)
if ! /usr/sbin/blkid -t TYPE=linux_raid_member $(at 11) >/dev/null; then
    mdadm --create /dev/md0 --run --level=1 --metadata=1.2 --raid-devices=2 $(at 11) $(at 12)
else
    mdadm --assemble /dev/md0 $(at 11) $(at 12)
fi
config='activation { udev_sync=0 udev_rules=0 } global { locking_type=1 }'
if ! /usr/sbin/blkid -t TYPE=LVM2_member $(at 13) >/dev/null; then
    lvm pvcreate --config "$config" $(at 13)
    lvm vgcreate --config "$config" other $(at 13)
    lvm lvcreate --config "$config" -Zn -Wn -an -L 16M -n data other
fi
lvm vgchange --config "$config" -ay other
"#;

/// Starts the shelf; each line of its log has the uptime before it.
const START: &str = r#"
{ NO_COLOR=1 ledged --config /run/ledge.toml 2>&1; echo "ended with $?"; } | while IFS= read -r line; do
    read -r uptime rest </proc/uptime
    echo "$uptime $line"
done >>/run/log &
for i in $(seq 1200); do
    grep -q ready /run/log && exit
    ! grep -q 'ended with' /run/log || exit 1
    sleep 0.1
done
exit 1
"#;

/// What the kernel says of devices that come and go, with the uptime before it.
const NEWS: &str = r#"
uevent sh -c 'read -r uptime rest </proc/uptime; echo "$uptime $ACTION $SUBSYSTEM $DEVPATH" >>/run/news' \
    >/dev/null 2>&1 &
"#;

/// A disk that was pulled.
#[derive(Debug)]
pub(crate) struct Pulled {
    /// The kernel's name of it.
    pub(crate) device: String,
    /// The slot that it was in.
    pub(crate) slot: u64,
}

/// What the kernel has counted of a disk since it was inserted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) flushes: u64,
}

/// Size of a disk for the shelf.
pub(crate) fn bytes_of(medium: &str) -> u64 {
    if medium.starts_with("nvme") || medium.starts_with("sas") {
        LARGE_BYTES
    } else {
        DISK_BYTES
    }
}

/// The states of the elements of the first RAID of `list -l` of one LUN.
fn states_of(rows: &[Value]) -> Vec<String> {
    let elements = rows.first().map(|row| &row["raids"][0]["elements"]);
    let elements = elements.and_then(Value::as_array).into_iter().flatten();
    let states = elements.filter_map(|element| element["state"].as_str());
    states.map(str::to_owned).collect()
}

/// The uptime before the last line that is meant.
fn stamp_of(text: &str, is_it: impl Fn(&str) -> bool) -> Option<f64> {
    let line = text.lines().rfind(|line| is_it(line))?;
    line.split(' ').next()?.parse().ok()
}

/// The machine, the shelf in it, and the wire to it.
pub(crate) struct Rig {
    // Fields drop in order: the machine before what it runs in.
    vm: Option<Vm>,
    monitor: Option<Monitor>,
    pub(crate) namespace: Namespace,
    directory: TempDir,
    /// What is behind devices beside the disks, in the emulator's words.
    block_devices: Vec<String>,
}

impl Rig {
    /// Makes the disks.
    pub(crate) fn new() -> Result<Self> {
        let namespace = Namespace::new("bays")?;
        namespace.add_tap(INTERFACE, MTU)?;
        let directory = tempfile::Builder::new().prefix("ledge-").tempdir()?;
        let rig = Self {
            vm: None,
            monitor: None,
            namespace,
            directory,
            block_devices: Vec::new(),
        };
        let own = DISKS.iter().map(|name| (*name, bytes_of(name)));
        let small = IN_USE.iter().map(|(name, _)| (*name, SMALL_BYTES));
        for (name, bytes) in own.chain(small).chain([("state", SMALL_BYTES)]) {
            File::create(rig.image(name))?.set_len(bytes)?;
        }
        Ok(rig)
    }

    /// Machines have something behind a device that is no disk.
    pub(crate) fn add_block_device(&mut self, block_device: String) {
        self.block_devices.push(block_device);
    }

    fn image(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Boots the machine with these devices of disks, and starts the shelf.
    pub(crate) fn boot(&mut self, disks: &[String]) -> Result<()> {
        ensure!(self.vm.is_none(), "the machine is running");
        let mut programs = ["ledged", "ledge"]
            .map(paths::binary)
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        for name in ["lvm", "smartctl"] {
            programs.push(requirements::program(name)?);
        }
        let options = VmOptions {
            processors: 2,
            memory_mib: 1280,
            ..VmOptions::default()
        };
        let names = DISKS
            .iter()
            .copied()
            .chain(IN_USE.iter().map(|(name, _)| *name));
        let media = names
            .chain(["state"])
            .map(|name| (name.to_owned(), self.image(name)));
        let hardware = Hardware {
            media: media.collect(),
            block_devices: self.block_devices.clone(),
            devices: [board(), disks.to_vec()].concat(),
            mtu: MTU,
        };
        let booted = Vm::boot_bays(
            (&self.namespace, FIRST_GUEST),
            &hardware,
            &programs,
            &options,
        )?;
        let (vm, monitor) = booted;
        (self.vm, self.monitor) = (Some(vm), Some(monitor));
        self.shell(USERS)?;
        self.shell(NEWS)?;
        self.shell(&format!("cat >/run/ledge.toml <<'END'\n{CONFIG}END\n"))?;
        self.start()
    }

    /// Starts the shelf in the machine.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.shell("rm -f /run/log")?;
        self.shell(START).with_context(|| self.log()).map(drop)
    }

    /// Ends the shelf in the machine in order.
    fn stop(&mut self) -> Result<()> {
        self.shell(
            "kill $(pidof ledged); for i in $(seq 600); do grep -q 'ended with' /run/log && break; sleep 0.1; done; \
             grep 'ended with 0' /run/log",
        )
        .map(drop)
    }

    /// Ends the shelf in the machine in order, and starts it again.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// Ends the shelf and the machine in order.
    pub(crate) fn halt(&mut self) -> Result<()> {
        self.stop()?;
        self.shell(
            "swapoff -a; umount /mnt && lvm vgchange --config 'activation { udev_sync=0 udev_rules=0 }' -an other \
             && mdadm --stop /dev/md0",
        )?;
        (self.vm, self.monitor) = (None, None);
        Ok(())
    }

    /// What the shelf has logged.
    pub(crate) fn log(&mut self) -> String {
        let Some(vm) = &mut self.vm else {
            return String::new();
        };
        let said = vm.run("cat /run/log; dmesg | tail -n 20", LIMIT);
        said.map_or_else(|error| format!("{error:#}"), |said| said.output)
    }

    /// A shell command in the machine that must succeed.
    pub(crate) fn shell(&mut self, command: &str) -> Result<String> {
        self.run(command)?.success(command)
    }

    fn run(&mut self, command: &str) -> Result<CommandOutput> {
        self.vm
            .as_mut()
            .context("the machine is off")?
            .run(command, LIMIT)
    }

    pub(crate) fn monitor(&mut self) -> Result<&mut Monitor> {
        self.monitor.as_mut().context("the machine is off")
    }

    /// A console command in the machine.
    pub(crate) fn console(&mut self, line: &str) -> Result<String> {
        let command = format!("ledge --socket /run/control.sock {line}");
        let said = self.run(&command)?;
        transcript::record("SR shelf 1>", line, &said.output);
        if said.status != 0 {
            let log = self.log();
            bail!("{line}: {}\n{log}", said.output);
        }
        Ok(said.output)
    }

    /// Why a console command is refused.
    pub(crate) fn refused(&mut self, line: &str) -> Result<String> {
        let said = self.run(&format!("ledge --socket /run/control.sock {line}"))?;
        transcript::record("SR shelf 1>", line, &said.output);
        ensure!(said.status != 0, "{line}: {}", said.output);
        Ok(said.output)
    }

    /// The rows that a console command answers with.
    pub(crate) fn rows(&mut self, line: &str) -> Result<Vec<Value>> {
        let said = self.run(&format!("ledge --socket /run/control.sock -j {line}"))?;
        let answer: Value = serde_json::from_str(&said.output)
            .with_context(|| format!("{line}: {}", said.output))?;
        ensure!(answer["ok"] == true, "{line}: {answer}");
        Ok(answer["data"].as_array().context("rows")?.clone())
    }

    /// Waits until the rows of a command are as they should be. Nothing is done meanwhile but asking.
    pub(crate) fn until(
        &mut self,
        line: &str,
        what: &str,
        is_it: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let rows = self.rows(line)?;
            if is_it(&rows) {
                return Ok(rows);
            }
            if Instant::now() > deadline {
                let log = self.log();
                bail!("{line}: not {what}: {}\n{log}", Value::from(rows));
            }
        }
    }

    /// Waits until the elements of a LUN are in these states.
    pub(crate) fn await_elements(&mut self, lun: u8, states: &[&str]) -> Result<Vec<Value>> {
        let line = format!("list -l {lun}");
        let what = states.join(" ");
        let rows = self.until(&line, &what, |rows| states_of(rows) == states)?;
        let elements = rows.first().map(|row| row["raids"][0]["elements"].clone());
        let elements = elements.as_ref().and_then(Value::as_array);
        Ok(elements.context("elements")?.clone())
    }

    /// Waits until a drive with this serial number is in some slot, and gives its row.
    pub(crate) fn await_drive(&mut self, medium: &str) -> Result<Value> {
        let is_it = |row: &Value| row["attributes"]["serial"] == medium.to_uppercase();
        let rows = self.until("disks -a", medium, |rows| rows.iter().any(is_it))?;
        rows.into_iter().find(is_it).context("a drive")
    }

    /// Pulls a disk whose driver is told by the emulator.
    pub(crate) fn pull(&mut self, medium: &str) -> Result<Pulled> {
        let pulled = self.about_to_pull(medium)?;
        self.monitor()?.pull(medium, LIMIT)?;
        Ok(pulled)
    }

    /// Pulls a disk whose driver the emulator does not tell: the kernel is made to do what the driver would.
    pub(crate) fn pull_untold(&mut self, medium: &str) -> Result<Pulled> {
        let pulled = self.about_to_pull(medium)?;
        self.shell(&format!(
            "echo 1 >/sys/block/{}/device/delete",
            pulled.device
        ))?;
        Ok(pulled)
    }

    fn about_to_pull(&mut self, medium: &str) -> Result<Pulled> {
        let drive = self.await_drive(medium)?;
        let device = drive["attributes"]["device"].as_str().context("device")?;
        let slot = drive["slot"].as_u64().context("slot")?;
        transcript::note(&format!(
            "{medium} is pulled, which is {device} in 1.{slot}"
        ));
        Ok(Pulled {
            device: device.to_owned(),
            slot,
        })
    }

    /// Lets the kernel look for SATA and SAS disks, as it would when their drivers were told.
    pub(crate) fn scan(&mut self) -> Result<()> {
        self.shell("for host in /sys/class/scsi_host/*; do echo '- - -' >$host/scan; done")
            .map(drop)
    }

    /// Inserts a disk.
    pub(crate) fn insert(&mut self, device: &str) -> Result<()> {
        transcript::note(&format!("inserted: {device}"));
        self.monitor()?.add(device)
    }

    /// Notes how long after the kernel's news the shelf missed a drive; gives it in seconds of the machine.
    pub(crate) fn note_pull(&mut self, pulled: &Pulled) -> Result<f64> {
        let Pulled { device, slot } = pulled;
        let news = self.shell("cat /run/news")?;
        let log = self.shell("cat /run/log")?;
        let told = stamp_of(&news, |line| {
            line.contains(" remove block ") && line.ends_with(&format!("/{device}"))
        })
        .with_context(|| format!("the kernel does not tell of {device}: {news}"))?;
        let missed = stamp_of(&log, |line| {
            line.ends_with(&format!("drive 1.{slot} was pulled"))
        })
        .with_context(|| format!("1.{slot} is not missed: {log}"))?;
        transcript::note(&format!(
            "{device} was gone at {told} s of the machine, and 1.{slot} missing {:.2} s later",
            missed - told
        ));
        Ok(missed - told)
    }

    /// Seconds of the machine between the last lines of the log that end with the one and have the other.
    pub(crate) fn seconds_between(&mut self, first: &str, second: &str) -> Result<f64> {
        let log = self.shell("cat /run/log")?;
        let from = stamp_of(&log, |line| line.ends_with(first));
        let from = from.with_context(|| format!("{first}: {log}"))?;
        let to = stamp_of(&log, |line| line.contains(second));
        let to = to.with_context(|| format!("{second}: {log}"))?;
        ensure!(to > from, "{second} before {first}: {log}");
        Ok(to - from)
    }

    /// What the machine's kernel has counted of a disk.
    pub(crate) fn counted(&mut self, medium: &str) -> Result<Counted> {
        let drive = self.await_drive(medium)?;
        let device = drive["attributes"]["device"].as_str().context("device")?;
        let text = self.shell(&format!("cat /sys/block/{device}/stat"))?;
        let figures: Vec<u64> = text
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        // As the kernel's documentation has them: writes, sectors written, flushes.
        let figure = |index: usize| figures.get(index).copied().with_context(|| text.clone());
        Ok(Counted {
            writes: figure(4)?,
            written_bytes: figure(6)? * 512,
            flushes: figure(15)?,
        })
    }

    /// What the Ethernet console says to a line that is typed on the host.
    pub(crate) fn cec(&self, line: &str) -> Result<String> {
        let mut command = self.namespace.command(paths::binary("cec")?);
        command.args(["-q", "-s", "1", "-w", "20", INTERFACE]);
        let said = feed(command, format!("{line}\n").as_bytes())?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        transcript::record("cec:", line, &text);
        ensure!(said.status.success(), "{line}: {text}");
        Ok(text)
    }
}

/// What the machine has after it was put together: two disks at each adapter, in the order of their slots.
pub(crate) fn standard() -> Vec<String> {
    vec![
        nvme("nvme0", 0),
        nvme("nvme1", 1),
        sas("sas0", 0) + ",dpofua=on",
        sas("sas1", 1) + ",rotation_rate=1",
        scsi("scsi0", "scsi", 0) + ",write-cache=off",
        scsi("scsi1", "scsi", 1),
        sata("sata0", 0, ",rotation_rate=7200"),
        sata(
            "sata1",
            1,
            ",logical_block_size=512,physical_block_size=4096,write-cache=off",
        ),
    ]
}

/// What is on every board: bays for NVMe, and the adapters.
fn board() -> Vec<String> {
    let mut devices: Vec<String> = (0..4)
        .map(|bay| {
            format!(
                "pcie-root-port,id=bay{bay},chassis={},slot={},addr={}",
                bay + 1,
                bay + 1,
                bay + 4
            )
        })
        .collect();
    devices.push("mptsas1068,id=sas,addr=8".to_owned());
    devices.push("virtio-scsi-pci,id=scsi,addr=9".to_owned());
    devices.push("virtio-blk-pci,drive=state,serial=STATE,addr=a".to_owned());
    for (name, target) in IN_USE {
        devices.push(scsi(name, "scsi", *target));
    }
    devices
}

/// An NVMe drive in a bay.
pub(crate) fn nvme(medium: &str, bay: u8) -> String {
    let serial = medium.to_uppercase();
    format!("nvme,id={medium},drive={medium},serial={serial},bus=bay{bay}")
}

/// A SAS disk at a phy.
pub(crate) fn sas(medium: &str, phy: u8) -> String {
    // Without a name it is none of SAS.
    format!("{},wwn=0x5000c500000000{phy:02x}", scsi(medium, "sas", phy))
}

/// A SATA disk at a port.
pub(crate) fn sata(medium: &str, port: u8, rest: &str) -> String {
    let serial = medium.to_uppercase();
    format!("ide-hd,id={medium},drive={medium},serial={serial},bus=ide.{port}{rest}")
}

/// A disk at a target of an adapter.
pub(crate) fn scsi(medium: &str, adapter: &str, target: u8) -> String {
    let serial = medium.to_uppercase();
    format!("scsi-hd,id={medium},drive={medium},serial={serial},bus={adapter}.0,scsi-id={target}")
}
