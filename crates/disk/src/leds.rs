//! The LEDs of the slots that disks sit in.
//!
//! Three ways, tried in this order: the kernel's enclosures (SES), the LEDs of NVMe slots that the kernel has
//! by NPEM, and the program `ledctl` of the package ledmon, which knows backplanes that the kernel does not.
//!
//! Invariants: what was not set is left alone; a slot shows one thing at a time.

use crate::facts::{Bay, Facts, System, bay_directories, is_bay, names_in, word};
use crate::program::{command, ends, stand_in};
use shelf::led::LedState;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// The LEDs of a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotLeds(Kind);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    /// The directory of a bay of an enclosure: `locate` and `fault`.
    Enclosure(PathBuf),
    /// What the names of its LEDs begin with, in the kernel's class of LEDs.
    Npem(PathBuf),
}

/// Files of an enclosure's bay.
const ENCLOSURE: [(&str, LedState); 2] = [("locate", LedState::Locate), ("fault", LedState::Fault)];

/// What NPEM calls what is shown.
const NPEM: [(&str, LedState); 4] = [
    ("locate", LedState::Locate),
    ("fail", LedState::Fault),
    ("rebuild", LedState::Rebuild),
    ("hotspare", LedState::Spare),
];

impl SlotLeds {
    /// The LEDs that the kernel has for the slot of a disk.
    #[must_use]
    pub fn of(system: &System, disk: &Facts) -> Option<Self> {
        let device = system.path("sys/class/block").join(&disk.name);
        let device = device.canonicalize().ok()?;
        enclosure(system, &device)
            .or_else(|| npem(system, &device))
            .map(Self)
    }

    /// Those of all empty bays of enclosures.
    #[must_use]
    pub fn of_all_empty_bays(system: &System) -> Vec<(Bay, Self)> {
        let bays = bay_directories(system).into_iter();
        let empty = bays.filter(|(_, at)| at.join("fault").exists() && !at.join("device").exists());
        empty
            .map(|(bay, at)| (bay, Self(Kind::Enclosure(at))))
            .collect()
    }

    /// The directory of the enclosure that they are of.
    #[must_use]
    pub fn enclosure(&self) -> Option<&Path> {
        match &self.0 {
            Kind::Enclosure(bay) => bay.parent(),
            Kind::Npem(_) => None,
        }
    }

    /// The LEDs of the empty bays of the enclosure that this one is of; none where it is of no enclosure.
    #[must_use]
    pub fn of_empty_bays(&self) -> Vec<Self> {
        let Some(enclosure) = self.enclosure() else {
            return Vec::new();
        };
        let bays = names_in(enclosure).into_iter();
        let bays = bays.map(|name| enclosure.join(name));
        let is_empty = |bay: &PathBuf| is_bay(bay) && !bay.join("device").exists();
        bays.filter(is_empty)
            .map(|bay| Self(Kind::Enclosure(bay)))
            .collect()
    }

    /// Whether any of them is lit, as the kernel tells it.
    #[must_use]
    pub fn is_lit(&self) -> bool {
        let is_on = |file: PathBuf| word(&file).is_some_and(|text| text != "0");
        match &self.0 {
            Kind::Enclosure(bay) => ENCLOSURE.iter().any(|(name, _)| is_on(bay.join(name))),
            Kind::Npem(prefix) => NPEM.iter().any(|(name, _)| is_on(npem_file(prefix, name))),
        }
    }

    /// Shows something, and nothing else. What there is no LED for is shown by none.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn show(&self, shown: LedState) -> io::Result<()> {
        match &self.0 {
            Kind::Enclosure(bay) => set_all(&ENCLOSURE, shown, |name| bay.join(name)),
            Kind::Npem(prefix) => set_all(&NPEM, shown, |name| npem_file(prefix, name)),
        }
    }
}

fn npem_file(prefix: &Path, name: &str) -> PathBuf {
    let mut path = prefix.to_owned().into_os_string();
    path.push(name);
    PathBuf::from(path).join("brightness")
}

/// Why `ledctl` did not set an LED.
#[derive(Debug, thiserror::Error)]
pub enum LedctlError {
    /// It is not there.
    #[error("the kernel has no LED for it, and ledctl is not installed: apt-get install ledmon")]
    NotInstalled,
    /// It knows no such LED, or failed.
    #[error("the kernel has no LED for it, and ledctl says: {0}")]
    Failed(String),
}

/// Lets `ledctl` show something, and waits for it only so long.
///
/// # Errors
/// It is not installed, it knows no LED of this device, or it took too long.
pub fn ledctl(device: &Path, shown: LedState, patience: Duration) -> Result<(), LedctlError> {
    let failed = |error: io::Error| LedctlError::Failed(error.to_string());
    let mut command = command(OsStr::new("ledctl")).ok_or(LedctlError::NotInstalled)?;
    let mut child = command
        .args(ledctl_arguments(device, shown))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => LedctlError::NotInstalled,
            _ => failed(error),
        })?;
    if !ends(&mut child, patience).map_err(failed)? {
        child.kill().map_err(failed)?;
        let text = format!("nothing within {} s", patience.as_secs());
        // One that hangs in a device ends when that does.
        std::thread::spawn(move || drop(child.wait()));
        return Err(LedctlError::Failed(text));
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    // Before that it complains of configuration files that are not there.
    Err(LedctlError::Failed(last_line(&output.stderr)))
}

/// The last thing that a program complained of.
fn last_line(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    let line = text.lines().rfind(|line| !line.trim().is_empty());
    let line = line.unwrap_or("it failed without a word");
    line.chars()
        .filter(|character| !character.is_control())
        .collect()
}

/// Writes to the file of an LED, which is there already, and is as long as it was: a sandbox that lets files
/// below `/sys` be written need not let them be cut off.
///
/// # Errors
/// It is not there, or the kernel refuses it.
pub fn write(file: &Path, text: &str) -> io::Result<()> {
    let mut open = fs::OpenOptions::new().write(true).open(file)?;
    open.write_all(text.as_bytes())
}

/// Has an LED switched, by whoever has the right to.
fn switch(file: &Path, text: &str) -> io::Result<()> {
    let Some(mut command) = stand_in() else {
        return write(file, text);
    };
    command.arg("led").arg(file).arg(text);
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(last_line(&output.stderr)))
}

/// What `ledctl` is told. Without its second word it would put out the LEDs of all other slots. Its log in
/// `/var/log` may not be written by us, nor by our helper, and without one it does nothing: it gets another.
fn ledctl_arguments(device: &Path, shown: LedState) -> [String; 3] {
    let request = format!("{}={}", ledctl_pattern(shown), device.display());
    let (log, listed_only) = ("--log=/dev/null", "--listed-only");
    [log.to_owned(), listed_only.to_owned(), request]
}

/// What `ledctl` calls it. Its word `off` leaves the LED that locates a drive on.
const fn ledctl_pattern(shown: LedState) -> &'static str {
    match shown {
        LedState::Off => "normal",
        LedState::Locate => "locate",
        LedState::Fault => "failure",
        LedState::Rebuild => "rebuild",
        LedState::Spare => "hotspare",
    }
}

/// Turns on the LED for this, then the others off, so that it is never dark in between.
fn set_all(
    leds: &[(&str, LedState)],
    shown: LedState,
    file: impl Fn(&str) -> PathBuf,
) -> io::Result<()> {
    let (on, off): (Vec<_>, Vec<_>) = leds.iter().partition(|(_, means)| *means == shown);
    for (names, text) in [(on, "1"), (off, "0")] {
        for (name, _) in names {
            let file = file(name);
            // Backplanes lack some of them.
            if file.exists() {
                switch(&file, text)?;
            }
        }
    }
    Ok(())
}

fn enclosure(system: &System, disk: &Path) -> Option<Kind> {
    let at = crate::facts::bay_directory(system, disk)?;
    at.join("fault").exists().then_some(Kind::Enclosure(at))
}

/// The LEDs of the function that the disk is, or of the port of the switch above it.
fn npem(system: &System, disk: &Path) -> Option<Kind> {
    let class = system.path("sys/class/leds");
    let functions = disk.ancestors().filter_map(|at| {
        let name = at.file_name()?.to_str()?;
        // 0000:01:00.0
        let is_function = name.len() == 12 && name.matches(':').count() == 2 && name.contains('.');
        is_function.then(|| class.join(format!("{name}:enclosure:")))
    });
    let has_fault = |prefix: &PathBuf| {
        let mut path = prefix.clone().into_os_string();
        path.push("fail");
        Path::new(&path).exists()
    };
    functions.take(2).find(has_fault).map(Kind::Npem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fake::FakeSystem;

    fn read(fake: &FakeSystem, path: &str) -> String {
        fs::read_to_string(fake.system().path(path)).unwrap()
    }

    #[test]
    fn the_bay_of_an_enclosure_shows_one_thing_at_a_time() {
        let fake = FakeSystem::new();
        fake.sata(1, "sda", 64);
        fake.sata(2, "sdb", 64);
        let bay = "sys/class/enclosure/0:0:8:0/Slot 03";
        for (file, text) in [
            ("type", "array device"),
            ("slot", "3"),
            ("locate", "0"),
            ("fault", "0"),
        ] {
            fake.write(&format!("{bay}/{file}"), text);
        }
        let device = "sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0";
        fake.put_in(device, "0:0:8:0", "Slot 03");
        let of =
            |name: &str| SlotLeds::of(&fake.system(), &Facts::of(&fake.system(), name).unwrap());
        let leds = of("sda").unwrap();
        assert_eq!(of("sdb"), None, "that one is in no bay");
        let other = "sys/class/enclosure/0:0:8:0/Slot 04";
        fake.write(&format!("{other}/type"), "array device");
        fake.write("sys/class/enclosure/0:0:8:0/power/control", "auto");
        let empty = SlotLeds(Kind::Enclosure(fake.system().path(other)));
        assert_eq!(leds.of_empty_bays(), std::slice::from_ref(&empty));
        fake.write(&format!("{other}/slot"), "4");
        fake.write(&format!("{other}/fault"), "0");
        let place = Bay {
            enclosure: "0:0:8:0".to_owned(),
            number: 4,
        };
        assert_eq!(
            SlotLeds::of_all_empty_bays(&fake.system()),
            [(place, empty)]
        );
        let state = || {
            [
                read(&fake, &format!("{bay}/locate")),
                read(&fake, &format!("{bay}/fault")),
            ]
        };
        for (shown, expected) in [
            (LedState::Locate, ["1", "0"]),
            (LedState::Fault, ["0", "1"]),
            (LedState::Rebuild, ["0", "0"]),
            (LedState::Fault, ["0", "1"]),
            (LedState::Off, ["0", "0"]),
        ] {
            leds.show(shown).unwrap();
            assert_eq!(state(), expected, "{shown:?}");
            assert_eq!(leds.is_lit(), expected.contains(&"1"), "{shown:?}");
        }
    }

    /// To cut off a file is another right than to write to it, which a sandbox does not give for `/sys`.
    #[test]
    fn the_file_of_an_led_is_neither_made_nor_cut_off() {
        let fake = FakeSystem::new();
        fake.write("bay/locate", "0, as it was");
        let file = fake.system().path("bay/locate");
        switch(&file, "1").unwrap();
        assert_eq!(read(&fake, "bay/locate"), "1, as it was");
        assert!(switch(&fake.system().path("bay/fault"), "1").is_err());
        assert!(!fake.system().path("bay/fault").exists());
    }

    #[test]
    fn ledctl_leaves_other_slots_alone() {
        let of = |shown| ledctl_arguments(Path::new("/dev/sda"), shown).join(" ");
        let told = |request: &str| format!("--log=/dev/null --listed-only {request}=/dev/sda");
        assert_eq!(of(LedState::Locate), told("locate"));
        assert_eq!(of(LedState::Off), told("normal"));
        assert_eq!(of(LedState::Spare), told("hotspare"));
    }

    #[test]
    fn the_slot_of_an_nvme_disk_has_leds_at_its_port() {
        let fake = FakeSystem::new();
        let at = "pci0000:00/0000:00:03.0/0000:01:00.0/nvme/nvme0/nvme0n1";
        fake.disk(at, "259:0", 64, &[]);
        let facts = Facts::of(&fake.system(), "nvme0n1").unwrap();
        assert_eq!(SlotLeds::of(&fake.system(), &facts), None);
        let led = |name: &str| format!("sys/class/leds/0000:00:03.0:enclosure:{name}/brightness");
        for name in ["locate", "fail", "rebuild"] {
            fake.write(&led(name), "0");
        }
        let leds = SlotLeds::of(&fake.system(), &facts).unwrap();
        leds.show(LedState::Rebuild).unwrap();
        assert_eq!(
            (read(&fake, &led("rebuild")), read(&fake, &led("fail"))),
            ("1".into(), "0".into())
        );
        leds.show(LedState::Fault).unwrap();
        assert_eq!(
            (read(&fake, &led("rebuild")), read(&fake, &led("fail"))),
            ("0".into(), "1".into())
        );
        assert!(leds.is_lit());
        leds.show(LedState::Spare).unwrap();
        assert_eq!(read(&fake, &led("fail")), "0", "it has none for spares");
        assert!(!leds.is_lit());
    }
}
