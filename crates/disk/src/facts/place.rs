//! Where a disk is attached: its bus, its link, its bay, and a name of the place that outlives reboots.

use super::{Bay, Bus, System, names_in, word};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The directories above a device, itself first, up to `devices`.
fn ancestors(device: &Path) -> impl Iterator<Item = (&str, &Path)> {
    let named = device.ancestors().map(|at| {
        let name = at.file_name().and_then(|name| name.to_str());
        (name.unwrap_or(""), at)
    });
    named.take_while(|(name, _)| *name != "devices")
}

/// The nearest directory above a device whose name is this word and a number, or words of that kind with
/// colons and dashes between numbers.
fn above<'a>(device: &'a Path, prefix: &str) -> Option<(&'a str, &'a Path)> {
    ancestors(device).find(|(name, _)| {
        let number = name.strip_prefix(prefix);
        number.is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
    })
}

/// How a disk is attached, by the devices above it.
pub(super) fn bus_of(disk: &Path) -> Bus {
    let has = |prefix: &str| above(disk, prefix).is_some();
    if is_virtual(disk) {
        Bus::Virtual
    } else if has("usb") {
        Bus::Usb
    } else if name_of(disk).starts_with("nvme") {
        Bus::Nvme
    } else if name_of(disk).starts_with("vd") {
        Bus::Virtio
    } else if has("ata") {
        Bus::Sata
    } else if has("end_device-") {
        // SATA disks behind a SAS adapter tell of themselves through it.
        match word(&disk.join("device/vendor")).as_deref() {
            Some("ATA") => Bus::Sata,
            _ => Bus::Sas,
        }
    } else if name_of(disk).starts_with("sd") || name_of(disk).starts_with("sr") {
        Bus::Scsi
    } else {
        Bus::Other
    }
}

/// Whether no hardware is behind it. NVMe disks with several paths are virtual only in name.
fn is_virtual(disk: &Path) -> bool {
    let mut parts = disk.components();
    let is_below = parts.any(|part| part == Component::Normal("virtual".as_ref()));
    is_below && !name_of(disk).starts_with("nvme")
}

fn name_of(device: &Path) -> &str {
    let name = device.file_name().and_then(|name| name.to_str());
    name.unwrap_or("")
}

/// The speed of the link to a disk.
pub(super) fn link_speed(disk: &Path, bus: Bus) -> Option<String> {
    match bus {
        Bus::Nvme => {
            let path = path_of_nvme(disk);
            let (_, function) = pci_function(&path)?;
            let speed = word(&function.join("current_link_speed"))?;
            let width = word(&function.join("current_link_width"))?;
            Some(format!("{speed} x{width}"))
        }
        _ => link_of_sata(disk).or_else(|| link_of_sas(disk)),
    }
}

fn link_of_sata(disk: &Path) -> Option<String> {
    let (_, port) = above(disk, "ata")?;
    let links = names_in(port).into_iter();
    let links = links.filter(|name| name.starts_with("link"));
    let speed = |link: String| {
        word(
            &port
                .join(&link)
                .join("ata_link")
                .join(&link)
                .join("sata_spd"),
        )
    };
    links.filter_map(speed).find(|speed| speed != "<unknown>")
}

/// Of a wide port all phys run at one speed.
fn link_of_sas(disk: &Path) -> Option<String> {
    let (_, port) = above(disk, "port-")?;
    let phys = names_in(port).into_iter();
    let mut phys = phys.filter(|name| name.starts_with("phy-"));
    phys.find_map(|phy| {
        let file = port.join(&phy).join("sas_phy").join(&phy);
        let rate = word(&file.join("negotiated_linkrate"))?;
        // Others are what has become of the link: "Link Rate failed", "Phy disabled".
        rate.ends_with("Gbit").then_some(rate)
    })
}

/// The nearest PCI function above a device, and its address.
fn pci_function(device: &Path) -> Option<(&str, &Path)> {
    pci_functions(device).next()
}

/// The PCI functions above a device, the nearest first.
fn pci_functions(device: &Path) -> impl Iterator<Item = (&str, &Path)> {
    ancestors(device).filter(|(name, _)| {
        let parts: Vec<&str> = name.split([':', '.']).collect();
        let [domain, bus, slot, function] = parts[..] else {
            return false;
        };
        // Domains that an adapter makes up (VMD) begin at 10000.
        let widths = [bus, slot, function].map(str::len);
        domain.len() >= 4 && widths == [2, 2, 1] && parts.iter().all(|part| is_hex(part))
    })
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The controller path of an NVMe disk: the disk itself, or where one of its paths is.
fn path_of_nvme(disk: &Path) -> PathBuf {
    if pci_function(disk).is_some() {
        return disk.to_owned();
    }
    // nvme0n1 of a subsystem has its paths as nvme0c0n1 below the controllers.
    let subsystem = disk.parent().map(Path::to_owned).unwrap_or_default();
    let controllers = names_in(&subsystem).into_iter().filter(|name| {
        let number = name.strip_prefix("nvme");
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let mut found = controllers.filter_map(|name| subsystem.join(name).canonicalize().ok());
    found.next().unwrap_or_else(|| disk.to_owned())
}

/// The place of a disk, as `/dev/disk/by-path` would have it.
pub(super) fn place_of(disk: &Path, bus: Bus) -> Option<String> {
    if bus == Bus::Virtual {
        return None;
    }
    let way = way_to(disk, bus);
    let root = match pci_function(&way) {
        Some((address, _)) => format!("pci-{address}"),
        None => {
            let mut platform =
                ancestors(&way).filter(|(_, at)| at.join("driver_override").exists());
            format!("platform-{}", platform.next()?.0)
        }
    };
    Some(root + &suffix_of(disk, bus)?)
}

/// As [`place_of`], with all functions on the way from the root of PCI: `pci-0000:00:1c.4/00.0-nvme-1`.
/// Numbers of buses behind bridges are given by the firmware, in the order in which it finds them.
pub(super) fn route_of(disk: &Path, bus: Bus) -> Option<String> {
    let place = place_of(disk, bus)?;
    let way = way_to(disk, bus);
    let mut addresses: Vec<&str> = pci_functions(&way).map(|(address, _)| address).collect();
    addresses.reverse();
    let Some((first, others)) = addresses.split_first() else {
        return Some(place);
    };
    let mut route = format!("pci-{first}");
    for address in others {
        let (_, function) = address.rsplit_once(':')?;
        route = format!("{route}/{function}");
    }
    Some(route + &suffix_of(disk, bus)?)
}

/// The device whose place among all devices is that of the disk.
fn way_to(disk: &Path, bus: Bus) -> PathBuf {
    if bus == Bus::Nvme {
        path_of_nvme(disk)
    } else {
        disk.to_owned()
    }
}

/// Which of the disks of an adapter it is.
fn suffix_of(disk: &Path, bus: Bus) -> Option<String> {
    Some(match bus {
        Bus::Nvme => format!(
            "-nvme-{}",
            word(&disk.join("nsid")).unwrap_or_else(|| "1".into())
        ),
        Bus::Virtio => String::new(),
        Bus::Usb => {
            // The interface, "1-2.3:1.0", below the bus that it is on.
            let interface =
                ancestors(disk).find(|(name, _)| name.contains('-') && name.contains(':'));
            format!("-usb-0:{}", interface?.0.split_once('-')?.1) + &scsi_suffix(disk)?
        }
        _ => match (above(disk, "end_device-"), above(disk, "ata")) {
            (Some(end), _) => sas_suffix(disk, end)?,
            (None, Some((name, port))) => ata_suffix(disk, name, port)?,
            (None, None) => scsi_suffix(disk)?,
        },
    })
}

/// `-sas-phy3-lun-0`, behind an expander `-sas-exp0x5…-phy3-lun-0`.
fn sas_suffix(disk: &Path, (end_name, end): (&str, &Path)) -> Option<String> {
    let facts = end.join("sas_device").join(end_name);
    let phy = word(&facts.join("phy_identifier"))?;
    let lun = scsi_address(disk)?[3];
    let expander = above(end.parent()?, "expander-");
    let expander =
        expander.and_then(|(name, at)| word(&at.join("sas_device").join(name).join("sas_address")));
    let expander = expander.map(|address| format!("exp{address}-"));
    Some(format!(
        "-sas-{}phy{phy}-lun-{lun}",
        expander.unwrap_or_default()
    ))
}

/// `-ata-2`: the port of the controller, `.1` for the second disk of an old cable, or one behind a port
/// multiplier.
fn ata_suffix(disk: &Path, name: &str, port: &Path) -> Option<String> {
    let number = word(&port.join("ata_port").join(name).join("port_no"))?;
    let [_, _, target, _] = scsi_address(disk)?;
    Some(match target {
        0 => format!("-ata-{number}"),
        target => format!("-ata-{number}.{target}"),
    })
}

/// `-scsi-0:0:1:0`, with hosts counted from the first one of the controller.
fn scsi_suffix(disk: &Path) -> Option<String> {
    let [own, channel, target, lun] = scsi_address(disk)?;
    let (_, host) = above(disk, "host")?;
    let siblings = fs::read_dir(host.parent()?).ok()?.flatten();
    let numbers = siblings.filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix("host")?.parse::<u64>().ok()
    });
    let first = numbers.min().unwrap_or(own);
    Some(format!(
        "-scsi-{}:{channel}:{target}:{lun}",
        own - first.min(own)
    ))
}

/// Host, channel, target and LUN of a SCSI disk.
fn scsi_address(disk: &Path) -> Option<[u64; 4]> {
    ancestors(disk).find_map(|(name, _)| {
        let numbers: Option<Vec<u64>> = name.split(':').map(|part| part.parse().ok()).collect();
        numbers?.try_into().ok()
    })
}

/// The bay of an enclosure that a disk sits in, as SES tells it.
pub(super) fn bay_of(system: &System, disk: &Path) -> Option<Bay> {
    own_bay(system, disk).map(|(bay, _)| bay)
}

/// Where the kernel tells of the bay that a disk sits in.
pub(crate) fn bay_directory(system: &System, disk: &Path) -> Option<PathBuf> {
    own_bay(system, disk).map(|(_, at)| at)
}

/// The kernel links each to the other, so that there is no need to look at all bays for every disk.
fn own_bay(system: &System, disk: &Path) -> Option<(Bay, PathBuf)> {
    let device = disk.join("device");
    let mut names = names_in(&device).into_iter();
    let link = names.find(|name| name.starts_with("enclosure_device:"))?;
    let at = device.join(link).canonicalize().ok()?;
    let (enclosure, component) = (at.parent()?.file_name()?, at.file_name()?);
    // As those of all bays are called.
    let at = system
        .path("sys/class/enclosure")
        .join(enclosure)
        .join(component);
    Some((bay_at(&at)?, at))
}

/// What a directory of an enclosure tells, if it is that of a bay for a disk.
fn bay_at(at: &Path) -> Option<Bay> {
    if !is_bay(at) {
        return None;
    }
    let enclosure = at.parent()?;
    let name = enclosure.file_name()?.to_string_lossy();
    Some(Bay {
        number: word(&at.join("slot"))?.parse().ok()?,
        enclosure: word(&enclosure.join("id")).unwrap_or_else(|| name.into_owned()),
    })
}

/// Whether a directory of an enclosure is that of a bay for a disk.
pub(crate) fn is_bay(at: &Path) -> bool {
    let kind = word(&at.join("type"));
    matches!(kind.as_deref(), Some("device" | "array device"))
}

/// All bays for disks of all enclosures, empty ones too, in order, and where the kernel tells of each.
///
/// Of an empty bay that does not tell its number (SES lets an enclosure mark that as invalid) the kernel says
/// which of all elements it is. Where a disk is in a bay of that number, the empty one is left out until it
/// tells.
pub(crate) fn bay_directories(system: &System) -> Vec<(Bay, PathBuf)> {
    let class = system.path("sys/class/enclosure");
    let mut found = Vec::new();
    for name in names_in(&class) {
        let enclosure = class.join(&name);
        let components = names_in(&enclosure).into_iter();
        let bays = components.filter_map(|component| {
            let at = enclosure.join(component);
            Some((bay_at(&at)?, at))
        });
        found.extend(bays);
    }
    found.sort();
    let filled: BTreeSet<Bay> = found
        .iter()
        .filter(|(_, at)| at.join("device").exists())
        .map(|(bay, _)| bay.clone())
        .collect();
    found.retain(|(bay, at)| !filled.contains(bay) || at.join("device").exists());
    // Of several empty ones one stands for the number.
    found.dedup_by(|(bay, _), (first, _)| bay == first && !filled.contains(first));
    found
}
