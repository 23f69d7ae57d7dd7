//! Facts of made-up disks of every kind, and of those that are here.

use super::fake::FakeSystem;
use super::*;

#[test]
fn a_sata_disk_tells_model_serial_link_and_place() {
    let fake = FakeSystem::new();
    fake.sata(2, "sdb", 4096);
    fake.write(
        "run/udev/data/b8:16",
        "S:disk/by-id/x\nE:ID_ATA_ROTATION_RATE_RPM=5400\nE:ID_SERIAL_SHORT=WD-WCC4E1\n",
    );
    let device = "sys/devices/pci0000:00/0000:00:1f.2/ata2/host1/target1:0:0/1:0:0:0/block/sdb";
    fake.write(&format!("{device}/queue/rotational"), "1\n");
    fake.write(&format!("{device}/queue/physical_block_size"), "4096\n");
    fake.write(&format!("{device}/queue/write_cache"), "write back\n");
    fake.link("dev/disk/by-path/pci-0000:00:1f.2-ata-2", "dev/sdb");
    fake.link("dev/disk/by-path/pci-0000:00:1f.2-ata-3", "dev/sdc");
    fake.link("dev/disk/by-id/wwn-0x50014ee000000002", "dev/sdb");
    let facts = Facts::of(&fake.system(), "sdb").unwrap();
    let expected = Facts {
        name: "sdb".to_owned(),
        sequence: Some(7),
        size_bytes: 4 << 30,
        bus: Bus::Sata,
        model: Some("WDC WD40EFRX 2".to_owned()),
        serial: Some("WD-WCC4E1".to_owned()),
        wwn: Some("naa.50014ee000000002".to_owned()),
        firmware: Some("82.0".to_owned()),
        link_speed: Some("6.0 Gbps".to_owned()),
        rotation: Some(Rotation::Rotating(Some(5400))),
        logical_sector_bytes: Some(512),
        physical_sector_bytes: Some(4096),
        alignment_offset_bytes: 0,
        has_volatile_cache: Some(true),
        has_fua: Some(false),
        has_poll_queues: Some(false),
        is_read_only: false,
        is_removable: false,
        is_partition: false,
        bay: None,
        place: Some("pci-0000:00:1f.2-ata-2".to_owned()),
        route: Some("pci-0000:00:1f.2-ata-2".to_owned()),
        by_path: vec!["pci-0000:00:1f.2-ata-2".to_owned()],
        by_id: vec!["wwn-0x50014ee000000002".to_owned()],
    };
    assert_eq!(facts, expected);
    assert!(facts.is_512e());
    assert_eq!(fake.system().name_of(8, 16).as_deref(), Some("sdb"));
    assert_eq!(Facts::of(&fake.system(), "sdz"), None);
}

#[test]
fn an_nvme_disk_tells_its_link_and_its_namespace() {
    let fake = FakeSystem::new();
    fake.nvme(0, "0000:00:04.0", 960);
    let facts = Facts::of(&fake.system(), "nvme0n1").unwrap();
    assert_eq!(facts.bus, Bus::Nvme);
    assert_eq!(facts.model.as_deref(), Some("SAMSUNG MZQL2960HCJR-00A07"));
    assert_eq!(facts.serial.as_deref(), Some("S64FNE0R500000"));
    assert_eq!(facts.firmware.as_deref(), Some("GDC5602Q"));
    assert_eq!(facts.wwn.as_deref(), Some("eui.0025388b81b0a1c2"));
    assert_eq!(facts.link_speed.as_deref(), Some("16.0 GT/s PCIe x4"));
    assert_eq!(facts.rotation, Some(Rotation::SolidState));
    assert_eq!(facts.place.as_deref(), Some("pci-0000:00:04.0-nvme-1"));
    assert_eq!(facts.has_volatile_cache, Some(false));
    assert!(!facts.is_512e());
}

/// With native multipath a disk is below no controller, and the controllers are links beside it.
#[test]
fn an_nvme_disk_with_paths_has_the_place_of_its_controller() {
    let fake = FakeSystem::new();
    let controller = "pci0000:00/0000:00:05.0/nvme/nvme3";
    fake.write(&format!("sys/devices/{controller}/transport"), "pcie\n");
    let at = "virtual/nvme-subsystem/nvme-subsys3/nvme3n1";
    fake.disk(at, "259:9", 64, &[("nsid", "1")]);
    fake.link(
        "sys/devices/virtual/nvme-subsystem/nvme-subsys3/nvme3",
        &format!("sys/devices/{controller}"),
    );
    let facts = Facts::of(&fake.system(), "nvme3n1").unwrap();
    assert_eq!(facts.bus, Bus::Nvme);
    assert_eq!(facts.place.as_deref(), Some("pci-0000:00:05.0-nvme-1"));
}

#[test]
fn a_sas_disk_behind_an_expander_is_in_a_bay() {
    let fake = FakeSystem::new();
    fake.sas(4, "sde", 7);
    let facts = Facts::of(&fake.system(), "sde").unwrap();
    assert_eq!(facts.bus, Bus::Sas);
    assert_eq!(facts.model.as_deref(), Some("SEAGATE ST4000NM0025"));
    assert_eq!(facts.serial.as_deref(), Some("ZC100004"));
    assert_eq!(facts.link_speed.as_deref(), Some("12.0 Gbit"));
    assert_eq!(facts.rotation, Some(Rotation::Rotating(None)));
    assert_eq!(
        (facts.has_volatile_cache, facts.has_fua),
        (Some(true), Some(true))
    );
    let place = "pci-0000:03:00.0-sas-exp0x500056b31234abff-phy4-lun-0";
    assert_eq!(facts.place.as_deref(), Some(place));
    let bay = facts.bay.unwrap();
    assert_eq!(
        (bay.enclosure.as_str(), bay.number),
        ("0x500056b31234abfd", 7)
    );
}

#[test]
fn virtual_and_virtio_disks_usb_and_partitions_are_told_apart() {
    let fake = FakeSystem::new();
    fake.disk("virtual/block/loop0", "7:0", 8, &[]);
    fake.disk(
        "pci0000:00/0000:00:02.0/virtio1/block/vda",
        "254:0",
        8,
        &[("serial", "v-1")],
    );
    fake.write(
        "sys/devices/pci0000:00/0000:00:02.0/virtio1/vendor",
        "0x1af4\n",
    );
    let stick = "pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host7/target7:0:0/7:0:0:0/block/sdq";
    fake.disk(stick, "65:0", 8, &[]);
    let part = format!("{stick}/sdq1");
    fake.disk(&part, "65:1", 4, &[("partition", "1")]);
    let of = |name: &str| Facts::of(&fake.system(), name).unwrap();
    assert_eq!((of("loop0").bus, of("loop0").place), (Bus::Virtual, None));
    let virtio = of("vda");
    assert_eq!(
        (virtio.bus, virtio.serial.as_deref()),
        (Bus::Virtio, Some("v-1"))
    );
    assert_eq!(virtio.place.as_deref(), Some("pci-0000:00:02.0"));
    let stick = of("sdq");
    assert!(stick.is_removable && !stick.is_partition);
    let place = "pci-0000:00:14.0-usb-0:2:1.0-scsi-0:0:0:0";
    assert_eq!((stick.bus, stick.place.as_deref()), (Bus::Usb, Some(place)));
    let part = of("sdq1");
    assert!(part.is_partition && part.is_removable);
    assert_eq!(part.logical_sector_bytes, Some(512), "that of its disk");
}

/// The kernel has the page in which a disk tells how fast it turns, for SATA and SAS, and whether udev runs
/// or not. Seen with Linux 6.12: 64 bytes, of which the first two after the head are the speed.
#[test]
fn a_disk_tells_how_fast_it_turns_without_udev() {
    let fake = FakeSystem::new();
    fake.sata(2, "sdb", 4096);
    fake.sas(4, "sde", 7);
    let sata = "sys/devices/pci0000:00/0000:00:1f.2/ata2/host1/target1:0:0/1:0:0:0";
    fake.write(&format!("{sata}/block/sdb/queue/rotational"), "1\n");
    let rotation = |name: &str| Facts::of(&fake.system(), name).unwrap().rotation;
    let mut page = [0; 64];
    page[..6].copy_from_slice(&[0, 0xb1, 0, 60, 0x1c, 0x20]);
    fake.write(&format!("{sata}/vpd_pgb1"), page);
    assert_eq!(rotation("sdb"), Some(Rotation::Rotating(Some(7200))));
    let host = "sys/devices/pci0000:00/0000:00:03.0/0000:03:00.0/host6";
    let end = format!("{host}/port-6:0/expander-6:0/port-6:0:4/end_device-6:0:4");
    let sas = format!("{end}/target6:0:4/6:0:4:0");
    page[4..6].copy_from_slice(&[0x3a, 0x98]);
    fake.write(&format!("{sas}/vpd_pgb1"), page);
    assert_eq!(rotation("sde"), Some(Rotation::Rotating(Some(15_000))));
    // It does not say, it does not turn, it has none of it.
    for head in [[0, 0], [0, 1]] {
        page[4..6].copy_from_slice(&head);
        fake.write(&format!("{sas}/vpd_pgb1"), page);
        assert_eq!(rotation("sde"), Some(Rotation::Rotating(None)));
    }
    fake.write(&format!("{sas}/vpd_pgb1"), [0, 0xb1, 0, 60]);
    assert_eq!(rotation("sde"), Some(Rotation::Rotating(None)));
}

/// A phy that was trained again and failed, or is switched off, says so where others have a speed.
#[test]
fn a_link_that_has_no_speed_has_none() {
    let fake = FakeSystem::new();
    fake.sas(4, "sde", 7);
    let port =
        "sys/devices/pci0000:00/0000:00:03.0/0000:03:00.0/host6/port-6:0/expander-6:0/port-6:0:4";
    let rate = format!("{port}/phy-6:0:4/sas_phy/phy-6:0:4/negotiated_linkrate");
    for text in [
        "Unknown",
        "Link Rate failed",
        "Phy disabled",
        "Spin-up hold",
    ] {
        fake.write(&rate, format!("{text}\n"));
        assert_eq!(
            Facts::of(&fake.system(), "sde").unwrap().link_speed,
            None,
            "{text}"
        );
    }
    // The phys of a port are links to those of its host or expander; a wide port has several.
    fake.write(
        &format!("{port}/../phy-6:0:9/sas_phy/phy-6:0:9/negotiated_linkrate"),
        "6.0 Gbit\n",
    );
    fake.link(
        &format!("{port}/phy-6:0:9"),
        &format!("{port}/../phy-6:0:9"),
    );
    let facts = Facts::of(&fake.system(), "sde").unwrap();
    assert_eq!(facts.link_speed.as_deref(), Some("6.0 Gbit"));
}

/// Hosts are numbered in the order in which they were found; the place counts those of its controller.
#[test]
fn a_scsi_disk_is_counted_from_the_first_host_of_its_controller() {
    let fake = FakeSystem::new();
    let controller = "pci0000:00/0000:00:06.0/virtio3";
    let at = format!("{controller}/host5/target5:0:2/5:0:2:1/block/sdx");
    fake.disk(&at, "8:99", 8, &[]);
    let place = |fake: &FakeSystem| Facts::of(&fake.system(), "sdx").unwrap().place.unwrap();
    assert_eq!(place(&fake), "pci-0000:00:06.0-scsi-0:0:2:1");
    fake.write(&format!("sys/devices/{controller}/host4/x"), "");
    assert_eq!(place(&fake), "pci-0000:00:06.0-scsi-1:0:2:1");
}

/// The devices of the machine that runs the test, whatever they are.
#[test]
fn what_is_here_is_read_without_a_complaint() {
    let system = System::default();
    for name in system.block_devices() {
        let facts = Facts::of(&system, &name).unwrap();
        assert_eq!(facts.name, name);
        if facts.bus == Bus::Virtual {
            assert_eq!(facts.place, None, "{name}");
        }
    }
}
