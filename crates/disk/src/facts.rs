//! What the kernel tells of a block device, read from sysfs, `/dev/disk`, and the database of udev.
//!
//! Invariants:
//! * nothing is written, and no device is opened: every fact comes from a text file of the kernel's or of
//!   udev's;
//! * what is not told is `None`, never a guess;
//! * the [place](Facts::place) of a disk comes from sysfs alone, so that it is the same whether udev runs or
//!   not. Where udev has a name for it below `/dev/disk/by-path`, it is that name.

mod place;
mod temperature;

pub use temperature::read_temperature;

pub(crate) use place::{bay_directories, bay_directory, is_bay};

use std::fs;
use std::path::{Path, PathBuf};

/// The trees in which the facts are. Tests make them up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct System {
    root: PathBuf,
}

impl Default for System {
    fn default() -> Self {
        Self::at("/")
    }
}

impl System {
    /// The system whose root directory this is.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// A path of this system, without the leading slash.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// The kernel's names of all block devices, partitions included, in order.
    #[must_use]
    pub fn block_devices(&self) -> Vec<String> {
        names_in(&self.path("sys/class/block"))
    }

    /// The kernel's name of the block device with this number.
    #[must_use]
    pub fn name_of(&self, major: u32, minor: u32) -> Option<String> {
        let link = self.path(format!("sys/dev/block/{major}:{minor}"));
        let device = link.canonicalize().ok()?;
        Some(device.file_name()?.to_string_lossy().into_owned())
    }
}

/// How a disk is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bus {
    /// NVMe.
    Nvme,
    /// SATA, directly or behind a SAS adapter.
    Sata,
    /// SAS.
    Sas,
    /// A virtual disk.
    Virtio,
    /// USB.
    Usb,
    /// SCSI of another kind.
    Scsi,
    /// No hardware: loop, RAM, device mapper, md, network.
    Virtual,
    /// None of these.
    Other,
}

impl Bus {
    /// Its name, as it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nvme => "nvme",
            Self::Sata => "sata",
            Self::Sas => "sas",
            Self::Virtio => "virtio",
            Self::Usb => "usb",
            Self::Scsi => "scsi",
            Self::Virtual => "virtual",
            Self::Other => "other",
        }
    }
}

/// Whether a disk turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rotation {
    /// It has no moving parts.
    SolidState,
    /// It turns; how often in a minute, if that is known.
    Rotating(Option<u32>),
}

/// Where a bay is that a disk sits in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bay {
    /// The enclosure: its logical identifier, else the kernel's name of it.
    pub enclosure: String,
    /// The number that the enclosure gives the bay.
    pub number: u32,
}

/// What is known of a block device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The kernel's name: `sda`, `nvme0n1`.
    pub name: String,
    /// Which of all disks since boot it is: another disk under the same name has another number.
    pub sequence: Option<u64>,
    /// Size.
    pub size_bytes: u64,
    /// How it is attached.
    pub bus: Bus,
    /// Model, with the vendor where the bus has one.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// World wide name, in the words of the kernel: `naa.5…`, `eui.…`, `t10.…`.
    pub wwn: Option<String>,
    /// Version of its firmware.
    pub firmware: Option<String>,
    /// Speed of its link: `6.0 Gbps`, `12.0 Gbit`, `8.0 GT/s PCIe x4`.
    pub link_speed: Option<String>,
    /// Whether it turns.
    pub rotation: Option<Rotation>,
    /// Unit of its addresses.
    pub logical_sector_bytes: Option<u32>,
    /// Unit that it writes without reading. 4096 with logical 512 is a 512e disk.
    pub physical_sector_bytes: Option<u32>,
    /// How far the first physical sector is from the first logical one; 0 for nearly all disks.
    pub alignment_offset_bytes: u32,
    /// Whether it has a cache that forgets at power-off.
    pub has_volatile_cache: Option<bool>,
    /// Whether a single write can be made durable at once.
    pub has_fua: Option<bool>,
    /// Whether it has queues that are polled; [`None`] where the kernel does not tell.
    pub has_poll_queues: Option<bool>,
    /// It cannot be written.
    pub is_read_only: bool,
    /// Its medium can be taken out, or it is on USB.
    pub is_removable: bool,
    /// It is part of another disk.
    pub is_partition: bool,
    /// The bay of an enclosure that it sits in.
    pub bay: Option<Bay>,
    /// Where it is attached, as `/dev/disk/by-path` has it; `None` for what is not hardware.
    pub place: Option<String>,
    /// The same with the way from the root of PCI to its adapter, which stays when the firmware numbers the
    /// buses anew because a card was added.
    pub route: Option<String>,
    /// Its names below `/dev/disk/by-path`.
    pub by_path: Vec<String>,
    /// Its names below `/dev/disk/by-id`.
    pub by_id: Vec<String>,
}

impl Facts {
    /// What is known of the block device of this name; `None` when there is none.
    #[must_use]
    pub fn of(system: &System, name: &str) -> Option<Self> {
        let link = system.path("sys/class/block").join(name);
        let device = link.canonicalize().ok()?;
        let read = |file: &str| word(&device.join(file));
        let is_partition = device.join("partition").exists();
        // A partition has the queue of its disk.
        let disk = match device.parent() {
            Some(parent) if is_partition => parent.to_owned(),
            _ => device.clone(),
        };
        let queue = |file: &str| word(&disk.join("queue").join(file));
        let number = |file: &str| queue(file).and_then(|text| text.parse().ok());
        let flag = |file: &str| queue(file).map(|text| text == "1");
        let udev = Udev::of(system, read("dev").as_deref());
        let bus = place::bus_of(&disk);
        Some(Self {
            name: name.to_owned(),
            sequence: word(&disk.join("diskseq")).and_then(|text| text.parse().ok()),
            size_bytes: read("size")
                .and_then(|sectors| sectors.parse::<u64>().ok())
                .map_or(0, |sectors| sectors.saturating_mul(512)),
            bus,
            model: model_of(&disk),
            serial: serial_of(&disk, &udev),
            wwn: wwn_of(&disk, &udev),
            firmware: ["device/firmware_rev", "device/rev"]
                .iter()
                .find_map(|file| word(&disk.join(file))),
            link_speed: place::link_speed(&disk, bus),
            rotation: flag("rotational").map(|is_rotating| match is_rotating {
                true => Rotation::Rotating(
                    vital_product_rotation(&disk.join("device/vpd_pgb1"))
                        .or_else(|| udev.rotation_rate()),
                ),
                false => Rotation::SolidState,
            }),
            logical_sector_bytes: number("logical_block_size"),
            physical_sector_bytes: number("physical_block_size"),
            alignment_offset_bytes: read("alignment_offset")
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
            has_volatile_cache: queue("write_cache").map(|cache| cache == "write back"),
            has_fua: flag("fua"),
            has_poll_queues: flag("io_poll"),
            is_read_only: read("ro").is_some_and(|ro| ro == "1"),
            is_removable: bus == Bus::Usb || word(&disk.join("removable")).as_deref() == Some("1"),
            is_partition,
            bay: place::bay_of(system, &disk),
            place: place::place_of(&disk, bus),
            route: place::route_of(&disk, bus),
            by_path: names_leading_to(&system.path("dev/disk/by-path"), name),
            by_id: names_leading_to(&system.path("dev/disk/by-id"), name),
        })
    }

    /// What is known of the block device that a path leads to; `None` for anything else.
    #[must_use]
    pub fn of_path(system: &System, path: &Path) -> Option<Self> {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let metadata = fs::metadata(path).ok()?;
        if !metadata.file_type().is_block_device() {
            return None;
        }
        let number = metadata.rdev();
        let name = system.name_of(rustix::fs::major(number), rustix::fs::minor(number))?;
        Self::of(system, &name)
    }

    /// Whether it is addressed in sectors of 512 bytes and writes larger ones.
    #[must_use]
    pub fn is_512e(&self) -> bool {
        self.logical_sector_bytes == Some(512)
            && self.physical_sector_bytes.is_some_and(|bytes| bytes > 512)
    }
}

/// All bays for disks of all enclosures, empty ones too, in order.
#[must_use]
pub fn bays(system: &System) -> Vec<Bay> {
    let bays = place::bay_directories(system).into_iter();
    bays.map(|(bay, _)| bay).collect()
}

/// What udev has found out about a device; nothing where it does not run.
struct Udev(String);

impl Udev {
    fn of(system: &System, number: Option<&str>) -> Self {
        let text = number.and_then(|number| {
            fs::read_to_string(system.path(format!("run/udev/data/b{number}"))).ok()
        });
        Self(text.unwrap_or_default())
    }

    fn property(&self, key: &str) -> Option<String> {
        let mut pairs = self.0.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("E:")?.split_once('=')?;
            (name == key).then_some(value.trim())
        });
        pairs.find(|value| !value.is_empty()).map(str::to_owned)
    }

    /// Rounds in a minute; udev says 0 for what does not turn.
    fn rotation_rate(&self) -> Option<u32> {
        let rate = self.property("ID_ATA_ROTATION_RATE_RPM")?;
        rate.parse().ok().filter(|rate| *rate > 1)
    }
}

fn model_of(disk: &Path) -> Option<String> {
    let model = word(&disk.join("device/model"))?;
    let vendor = word(&disk.join("device/vendor"));
    // SATA disks have this vendor, and virtio a number.
    let vendor = vendor.filter(|vendor| vendor != "ATA" && !vendor.starts_with("0x"));
    Some(vendor.map_or_else(|| model.clone(), |vendor| format!("{vendor} {model}")))
}

fn serial_of(disk: &Path, udev: &Udev) -> Option<String> {
    let told = ["device/serial", "serial"];
    let told = || told.iter().find_map(|file| word(&disk.join(file)));
    told()
        .or_else(|| vital_product_serial(&disk.join("device/vpd_pg80")))
        .or_else(|| udev.property("ID_SCSI_SERIAL"))
        .or_else(|| udev.property("ID_SERIAL_SHORT"))
}

/// The serial number that a SCSI device tells in its page 0x80.
fn vital_product_serial(page: &Path) -> Option<String> {
    let bytes = fs::read(page).ok()?;
    let length = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
    let text = String::from_utf8_lossy(bytes.get(4..4 + length)?).into_owned();
    let text = text.trim_matches(['\0', ' ']).to_owned();
    (!text.is_empty()).then_some(text)
}

/// Rounds in a minute, as a SCSI device tells in its page 0xb1, in which the kernel also has what SATA disks
/// tell. 0 is for what does not say, 1 for what does not turn; the numbers below 0x401 are reserved (SBC-4).
fn vital_product_rotation(page: &Path) -> Option<u32> {
    let bytes = fs::read(page).ok()?;
    let rate = u16::from_be_bytes([*bytes.get(4)?, *bytes.get(5)?]);
    (0x401..0xffff).contains(&rate).then(|| u32::from(rate))
}

fn wwn_of(disk: &Path, udev: &Udev) -> Option<String> {
    let told = ["wwid", "device/wwid"];
    let told = told.iter().find_map(|file| word(&disk.join(file)));
    told.or_else(|| udev.property("ID_WWN_WITH_EXTENSION"))
        .or_else(|| udev.property("ID_WWN"))
}

/// What a file says in one line, without space around it; `None` for nothing.
pub(crate) fn word(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim_matches(['\0', ' ', '\n', '\t']);
    // Runs of space pad the fields of fixed width.
    let words: Vec<&str> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// What a directory holds, in order; nothing of one that is not there.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The links of a directory that lead to a device of this name.
fn names_leading_to(directory: &Path, device: &str) -> Vec<String> {
    let leads_to = |name: &String| {
        let target = fs::read_link(directory.join(name)).ok();
        target.is_some_and(|target| target.file_name().is_some_and(|file| file == device))
    };
    names_in(directory).into_iter().filter(leads_to).collect()
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
