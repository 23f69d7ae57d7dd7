//! A made-up sysfs for tests: directories, files and links of the kernel's shape in a temporary directory.

use super::System;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The trees of a machine that there is not.
pub(crate) struct FakeSystem {
    root: tempfile::TempDir,
}

impl FakeSystem {
    pub(crate) fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn system(&self) -> System {
        System::at(self.root.path().canonicalize().unwrap())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn link(&self, path: &str, target: &str) {
        let (path, target) = (self.path(path), self.path(target));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.path(path);
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }

    /// A disk at this place below `sys/devices`, of so many MiB, with these further files in its directory.
    pub(crate) fn disk(&self, at: &str, number: &str, mib: u64, files: &[(&str, &str)]) {
        let device = format!("sys/devices/{at}");
        let name = Path::new(at).file_name().unwrap().to_str().unwrap();
        self.write(&format!("{device}/dev"), format!("{number}\n"));
        self.write(&format!("{device}/size"), format!("{}\n", mib * 2048));
        self.write(&format!("{device}/ro"), "0\n");
        self.write(&format!("{device}/removable"), "0\n");
        self.write(&format!("{device}/diskseq"), "7\n");
        let queue = [
            ("logical_block_size", "512"),
            ("physical_block_size", "512"),
            ("rotational", "0"),
            ("write_cache", "write through"),
            ("fua", "0"),
            ("io_poll", "0"),
        ];
        for (file, text) in queue {
            self.write(&format!("{device}/queue/{file}"), format!("{text}\n"));
        }
        for (file, text) in files {
            self.write(&format!("{device}/{file}"), format!("{text}\n"));
        }
        self.link(&format!("sys/class/block/{name}"), &device);
        self.link(&format!("sys/dev/block/{number}"), &device);
        self.write(&format!("dev/{name}"), "");
    }

    /// A SATA disk at a port of an AHCI controller.
    pub(crate) fn sata(&self, port: u32, name: &str, mib: u64) {
        let host = port - 1;
        let ata = format!("pci0000:00/0000:00:1f.2/ata{port}");
        let scsi = format!("{ata}/host{host}/target{host}:0:0/{host}:0:0:0");
        let at = format!("{scsi}/block/{name}");
        self.disk(&at, &format!("8:{}", 16 * host), mib, &[]);
        self.link(
            &format!("sys/devices/{at}/device"),
            &format!("sys/devices/{scsi}"),
        );
        let files = [
            ("vendor", "ATA     ".to_owned()),
            ("model", format!("WDC WD40EFRX  {port}")),
            ("rev", "82.0".to_owned()),
            ("wwid", format!("naa.50014ee00000000{port}")),
        ];
        for (file, text) in files {
            self.write(&format!("sys/devices/{scsi}/{file}"), format!("{text}\n"));
        }
        let ports = format!("sys/devices/{ata}");
        self.write(
            &format!("{ports}/ata_port/ata{port}/port_no"),
            format!("{port}\n"),
        );
        self.write(
            &format!("{ports}/link{port}/ata_link/link{port}/sata_spd"),
            "6.0 Gbps\n",
        );
    }

    /// An NVMe disk at this PCI address.
    pub(crate) fn nvme(&self, index: u32, address: &str, mib: u64) {
        let function = format!("pci0000:00/{address}");
        let controller = format!("{function}/nvme/nvme{index}");
        let at = format!("{controller}/nvme{index}n1");
        let facts = [("wwid", "eui.0025388b81b0a1c2"), ("nsid", "1")];
        self.disk(&at, &format!("259:{index}"), mib, &facts);
        self.link(
            &format!("sys/devices/{at}/device"),
            &format!("sys/devices/{controller}"),
        );
        for (file, text) in [
            (
                "model",
                "SAMSUNG MZQL2960HCJR-00A07              ".to_owned(),
            ),
            ("serial", format!("S64FNE0R50000{index}      ")),
            ("firmware_rev", "GDC5602Q".to_owned()),
        ] {
            self.write(
                &format!("sys/devices/{controller}/{file}"),
                format!("{text}\n"),
            );
        }
        let function = format!("sys/devices/{function}");
        self.write(
            &format!("{function}/current_link_speed"),
            "16.0 GT/s PCIe\n",
        );
        self.write(&format!("{function}/current_link_width"), "4\n");
    }

    /// A SAS disk at a phy of an expander, in a bay of an enclosure.
    pub(crate) fn sas(&self, phy: u32, name: &str, bay: u32) {
        let host = "pci0000:00/0000:00:03.0/0000:03:00.0/host6";
        let expander = format!("{host}/port-6:0/expander-6:0");
        let port = format!("{expander}/port-6:0:{phy}");
        let end = format!("{port}/end_device-6:0:{phy}");
        let scsi = format!("{end}/target6:0:{phy}/6:0:{phy}:0");
        let at = format!("{scsi}/block/{name}");
        let queue = [
            ("queue/rotational", "1"),
            ("queue/physical_block_size", "4096"),
            ("queue/write_cache", "write back"),
            ("queue/fua", "1"),
        ];
        self.disk(&at, &format!("65:{phy}"), 4096, &queue);
        self.link(
            &format!("sys/devices/{at}/device"),
            &format!("sys/devices/{scsi}"),
        );
        for (file, text) in [
            ("vendor", "SEAGATE "),
            ("model", "ST4000NM0025    "),
            ("rev", "N003"),
        ] {
            self.write(&format!("sys/devices/{scsi}/{file}"), text);
        }
        let mut page = vec![0, 0x80, 0, 12];
        page.extend(format!("ZC10{phy:04}    ").bytes());
        self.write(&format!("sys/devices/{scsi}/vpd_pg80"), page);
        self.write(
            &format!("sys/devices/{end}/sas_device/end_device-6:0:{phy}/phy_identifier"),
            format!("{phy}\n"),
        );
        self.write(
            &format!("sys/devices/{expander}/sas_device/expander-6:0/sas_address"),
            "0x500056b31234abff\n",
        );
        self.write(
            &format!("sys/devices/{port}/phy-6:0:{phy}/sas_phy/phy-6:0:{phy}/negotiated_linkrate"),
            "12.0 Gbit\n",
        );
        self.bay("6:0:12:0", bay);
        self.put_in(
            &format!("sys/devices/{scsi}"),
            "6:0:12:0",
            &format!("Slot {bay:02}"),
        );
    }

    /// A disk in a bay: the kernel links each to the other.
    pub(crate) fn put_in(&self, device: &str, enclosure: &str, bay: &str) {
        let at = format!("sys/class/enclosure/{enclosure}/{bay}");
        self.link(&format!("{at}/device"), device);
        self.link(&format!("{device}/enclosure_device:{bay}"), &at);
    }

    /// A bay of an enclosure.
    pub(crate) fn bay(&self, enclosure: &str, number: u32) {
        let enclosure = format!("sys/class/enclosure/{enclosure}");
        self.write(&format!("{enclosure}/id"), "0x500056b31234abfd\n");
        let bay = format!("{enclosure}/Slot {number:02}");
        self.write(&format!("{bay}/type"), "array device\n");
        self.write(&format!("{bay}/slot"), format!("{number}\n"));
    }
}
