//! Disks that are found, on made-up machines.

use super::*;
use crate::facts::fake::FakeSystem;

fn nothing() -> BTreeSet<String> {
    BTreeSet::new()
}

fn refused(fake: &FakeSystem, name: &str) -> Option<String> {
    let found = discover(&fake.system(), &nothing());
    let disk = found.iter().find(|disk| disk.facts.name == name);
    disk.unwrap_or_else(|| panic!("{name} is not listed"))
        .refusal
        .clone()
}

/// Name and number of each disk that is taken.
fn numbers(fake: &FakeSystem, slots: &mut Slots) -> Vec<(String, u16)> {
    let system = fake.system();
    let found = discover(&system, &nothing());
    assign(&system, &found, slots, (&[5].into(), 64));
    let taken = found.iter().filter(|disk| disk.refusal.is_none());
    let mut all: Vec<_> = taken
        .map(|disk| (disk.facts.name.clone(), slots.of(disk).unwrap()))
        .collect();
    all.sort_by_key(|(_, number)| *number);
    all
}

fn named(pairs: &[(&str, u16)]) -> Vec<(String, u16)> {
    let owned = |(name, number): &(&str, u16)| ((*name).to_owned(), *number);
    pairs.iter().map(owned).collect()
}

const SDA: &str = "sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda";

#[test]
fn what_is_in_use_is_not_taken_and_says_why() {
    let fake = FakeSystem::new();
    fake.sata(1, "sda", 64);
    assert_eq!(refused(&fake, "sda"), None);
    let part = SDA.strip_prefix("sys/devices/").unwrap().to_owned() + "/sda2";
    fake.disk(&part, "8:2", 8, &[("partition", "2")]);
    assert_eq!(refused(&fake, "sda"), None, "nobody uses it");

    let mounts = "proc/self/mountinfo";
    fake.write(mounts, "24 1 8:2 / /boot/efi rw - vfat /dev/sda2 rw\n");
    let text = "its part sda2 is in use: it is mounted on /boot/efi";
    assert_eq!(refused(&fake, "sda").as_deref(), Some(text));
    // btrfs has a number of its own.
    fake.write(mounts, "24 1 0:35 / /srv rw shared:1 - btrfs /dev/sda rw\n");
    assert_eq!(
        refused(&fake, "sda").as_deref(),
        Some("it is mounted on /srv")
    );
    fake.write(mounts, "");
    fake.write(
        "proc/swaps",
        "Filename Type Size\n/dev/sda2 partition 8 0 -2\n",
    );
    let text = "its part sda2 is in use: it is swapped on";
    assert_eq!(refused(&fake, "sda").as_deref(), Some(text));
    fake.remove("proc/swaps");
    fake.write(&format!("{SDA}/holders/md127"), "");
    assert_eq!(refused(&fake, "sda").as_deref(), Some("md127 is on it"));
    fake.remove(&format!("{SDA}/holders"));

    fake.link("dev/disk/by-partuuid/0a-b", "dev/sda2");
    fake.write("proc/cmdline", "quiet root=PARTUUID=0A-B ro\n");
    let text = "its part sda2 is in use: the machine was booted from it (root=PARTUUID=0A-B)";
    assert_eq!(refused(&fake, "sda").as_deref(), Some(text));
    fake.write("proc/cmdline", "root=/dev/sda console=ttyS0\n");
    let text = "the machine was booted from it (root=/dev/sda)";
    assert_eq!(refused(&fake, "sda").as_deref(), Some(text));
    fake.write("proc/cmdline", "console=ttyS0\n");
    assert_eq!(refused(&fake, "sda"), None);
}

#[test]
fn what_cannot_be_served_is_not_taken_and_says_why() {
    let fake = FakeSystem::new();
    fake.sata(1, "sda", 64);
    for (file, text, reason) in [
        ("size", "0\n", "no medium"),
        ("ro", "1\n", "read-only"),
        ("removable", "1\n", "taken out by hand"),
        (
            "queue/logical_block_size",
            "8192\n",
            "sectors have 8192 bytes",
        ),
    ] {
        let path = format!("{SDA}/{file}");
        let before = std::fs::read(fake.system().path(&path)).unwrap();
        fake.write(&path, text);
        let refusal = refused(&fake, "sda").unwrap();
        assert!(refusal.contains(reason), "{refusal}");
        fake.write(&path, before);
    }
    for bytes in ["512\n", "4096\n"] {
        fake.write(&format!("{SDA}/queue/logical_block_size"), bytes);
        assert_eq!(refused(&fake, "sda"), None, "{bytes}");
    }
    // Loop devices, memory and the like are not even listed.
    for (name, number) in [
        ("loop0", "7:0"),
        ("zram0", "252:0"),
        ("dm-0", "253:0"),
        ("md0", "9:0"),
    ] {
        fake.disk(&format!("virtual/block/{name}"), number, 8, &[]);
    }
    fake.disk("platform/x/block/xvda", "202:0", 8, &[]);
    let found = discover(&fake.system(), &nothing());
    let names: Vec<&str> = found.iter().map(|disk| disk.facts.name.as_str()).collect();
    assert_eq!(names, ["sda", "xvda"]);
    assert!(found[1].refusal.as_ref().unwrap().contains("not known"));
}

#[test]
fn what_the_configuration_names_is_left_out() {
    let fake = FakeSystem::new();
    fake.sata(1, "sda", 64);
    fake.sata(2, "sdb", 64);
    let part = SDA.strip_prefix("sys/devices/").unwrap().to_owned() + "/sda2";
    fake.disk(&part, "8:2", 8, &[("partition", "2")]);
    let found = discover(&fake.system(), &["sda2".to_owned()].into());
    let names: Vec<&str> = found.iter().map(|disk| disk.facts.name.as_str()).collect();
    assert_eq!(names, ["sdb"]);
}

#[test]
fn numbers_stay_when_disks_come_and_go_and_the_kernel_names_them_anew() {
    let fake = FakeSystem::new();
    fake.sata(2, "sdb", 64);
    fake.sata(10, "sdc", 64);
    fake.nvme(0, "0000:00:04.0", 64);
    let mut slots = Slots::default();
    let first = numbers(&fake, &mut slots);
    assert_eq!(first, named(&[("nvme0n1", 0), ("sdb", 1), ("sdc", 2)]));
    // A disk goes, and one comes where there was none.
    fake.remove("sys/class/block/sdb");
    fake.sata(1, "sdd", 64);
    let second = numbers(&fake, &mut slots);
    assert_eq!(second, named(&[("nvme0n1", 0), ("sdc", 2), ("sdd", 3)]));
    // The next start reads what was written.
    let (mut read, wrong) = Slots::parse(&slots.text());
    assert_eq!((&read, wrong.len()), (&slots, 0));
    // The disk at port 2 is there again, by another name.
    fake.remove("sys/class/block/sdc");
    fake.remove("sys/devices/pci0000:00/0000:00:1f.2/ata2");
    fake.remove("sys/dev/block/8:16");
    fake.sata(2, "sdz", 64);
    let third = numbers(&fake, &mut read);
    assert_eq!(third, named(&[("nvme0n1", 0), ("sdz", 1), ("sdd", 3)]));
    // Number 5 is the configuration's.
    fake.nvme(1, "0000:00:05.0", 64);
    fake.nvme(2, "0000:00:06.0", 64);
    let fourth = numbers(&fake, &mut read);
    assert_eq!(fourth[3..], named(&[("nvme1n1", 4), ("nvme2n1", 6)]));
}

/// A disk behind a bridge is at another bus when the firmware finds a bridge before its own that was not
/// there.
#[test]
fn numbers_stay_when_the_firmware_numbers_the_buses_anew() {
    let behind = |bus: u8| {
        let fake = FakeSystem::new();
        for (index, (bridge, bus)) in [("04.0", bus), ("05.0", bus + 1)].into_iter().enumerate() {
            let at = format!("0000:00:{bridge}/0000:{bus:02x}:00.0");
            fake.nvme(u32::try_from(index).unwrap(), &at, 64);
        }
        fake
    };
    let mut slots = Slots::default();
    let both = named(&[("nvme0n1", 0), ("nvme1n1", 1)]);
    assert_eq!(numbers(&behind(1), &mut slots), both);
    let fake = behind(2);
    fake.nvme(2, "0000:00:03.0/0000:01:00.0", 64);
    let all = numbers(&fake, &mut slots);
    assert_eq!(all[..2], both);
    assert_eq!(all[2..], named(&[("nvme2n1", 2)]));
    let expected = "0 pci-0000:00:04.0/00.0-nvme-1\n1 pci-0000:00:05.0/00.0-nvme-1\n\
                    2 pci-0000:00:03.0/00.0-nvme-1\n";
    assert_eq!(slots.text(), expected);
}

/// Disks of an adapter that makes up a domain of its own (Intel's VMD) are at places of their own.
#[test]
fn disks_in_a_domain_of_an_adapter_are_told_apart() {
    let fake = FakeSystem::new();
    for (index, bridge, bus) in [(0, "02.0", 1), (1, "03.0", 2)] {
        let at = format!("0000:64:00.5/pci10000:00/10000:00:{bridge}/10000:{bus:02x}:00.0");
        fake.nvme(index, &at, 64);
    }
    let facts = Facts::of(&fake.system(), "nvme1n1").unwrap();
    assert_eq!(facts.place.as_deref(), Some("pci-10000:02:00.0-nvme-1"));
    let route = "pci-0000:64:00.5/03.0/00.0-nvme-1";
    assert_eq!(facts.route.as_deref(), Some(route));
    let mut slots = Slots::default();
    let both = named(&[("nvme0n1", 0), ("nvme1n1", 1)]);
    assert_eq!(numbers(&fake, &mut slots), both);
}

/// An adapter that gives all of its disks the same number: one of them is taken, and the others say why not.
#[test]
fn of_disks_at_one_place_one_is_taken() {
    let fake = FakeSystem::new();
    fake.sas(4, "sde", 7);
    fake.sas(2, "sdf", 3);
    let host = "sys/devices/pci0000:00/0000:00:03.0/0000:03:00.0/host6/port-6:0/expander-6:0";
    let end = "end_device-6:0:2/sas_device/end_device-6:0:2/phy_identifier";
    fake.write(&format!("{host}/port-6:0:2/{end}"), "4\n");
    assert_eq!(refused(&fake, "sde"), None);
    let text = "sde is at the same place: name it in a [[disk]] to use it";
    assert_eq!(refused(&fake, "sdf").as_deref(), Some(text));
    let mut slots = Slots::default();
    assert_eq!(numbers(&fake, &mut slots), named(&[("sde", 7)]));
}

#[test]
fn bays_of_an_enclosure_have_its_numbers_filled_or_not() {
    let fake = FakeSystem::new();
    for bay in 0..8 {
        fake.bay("6:0:12:0", bay);
    }
    fake.nvme(0, "0000:00:04.0", 64);
    fake.sas(4, "sde", 7);
    let mut slots = Slots::default();
    // Bay 5 cannot have the number that the configuration has given away.
    assert_eq!(
        numbers(&fake, &mut slots),
        named(&[("sde", 7), ("nvme0n1", 9)])
    );
    assert!(
        slots
            .text()
            .contains("8 enclosure 0x500056b31234abfd bay 5\n")
    );
    fake.sas(2, "sdf", 3);
    let second = numbers(&fake, &mut slots);
    assert_eq!(second, named(&[("sdf", 3), ("sde", 7), ("nvme0n1", 9)]));
}

/// Of an empty bay that does not tell its number the kernel says which of all elements it is, which may be
/// the number of another one.
#[test]
fn a_bay_that_does_not_tell_its_number_takes_none_from_another() {
    let fake = FakeSystem::new();
    fake.sas(4, "sde", 2);
    fake.sas(2, "sdf", 4);
    // Its directory is named before, and after, that of the disk with its number.
    for (name, number) in [
        ("Slot 01", 2),
        ("Slot 07", 4),
        ("Slot 08", 5),
        ("Slot 09", 5),
    ] {
        let bay = format!("sys/class/enclosure/6:0:12:0/{name}");
        fake.write(&format!("{bay}/type"), "array device\n");
        fake.write(&format!("{bay}/slot"), format!("{number}\n"));
    }
    let mut slots = Slots::default();
    assert_eq!(numbers(&fake, &mut slots), named(&[("sde", 2), ("sdf", 4)]));
    let again = numbers(&fake, &mut slots);
    assert_eq!(again, named(&[("sde", 2), ("sdf", 4)]));
    assert_eq!(slots.text().lines().count(), 3, "{}", slots.text());
}

#[test]
fn a_disk_keeps_its_number_when_its_enclosure_begins_to_tell() {
    let fake = FakeSystem::new();
    fake.sas(4, "sde", 7);
    let enclosure = "sys/class/enclosure";
    let hidden = fake.system().path("hidden");
    std::fs::rename(fake.system().path(enclosure), &hidden).unwrap();
    let mut slots = Slots::default();
    assert_eq!(numbers(&fake, &mut slots), named(&[("sde", 0)]));
    std::fs::rename(&hidden, fake.system().path(enclosure)).unwrap();
    assert_eq!(numbers(&fake, &mut slots), named(&[("sde", 0)]));
}

#[test]
fn lines_that_are_none_are_told_and_numbers_are_given_once() {
    let (slots, wrong) = Slots::parse("0 pci-a\n1\nx pci-b\n0 pci-c\n2 pci-a\n\n3 pci-d\n");
    assert_eq!(wrong, ["1", "x pci-b", "0 pci-c", "2 pci-a"]);
    assert_eq!(slots.text(), "0 pci-a\n3 pci-d\n");
}

/// On whatever machine this runs its root is not taken.
#[test]
fn the_disk_of_this_system_is_not_taken() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = mounts
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"));
    let number = root.unwrap().split(' ').nth(2).unwrap().to_owned();
    let (major, minor) = number.split_once(':').unwrap();
    let system = System::default();
    let name = system.name_of(major.parse().unwrap(), minor.parse().unwrap());
    let taken = discover(&system, &nothing());
    let mut taken = taken.iter().filter(|disk| disk.refusal.is_none());
    assert!(taken.all(|disk| Some(&disk.facts.name) != name.as_ref()));
}
