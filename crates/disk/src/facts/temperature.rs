//! How warm a disk is, as its sensor tells the kernel: `drivetemp` for SATA and SAS, NVMe by itself.

use super::{System, names_in, word};
use std::path::PathBuf;

impl System {
    /// The file that tells the temperature of a block device in thousandths of a degree Celsius. Reading it
    /// asks the disk, and takes as long as that does.
    #[must_use]
    pub fn temperature_file(&self, name: &str) -> Option<PathBuf> {
        let device = self.path("sys/class/block").join(name).join("device");
        let sensors = [device.join("hwmon"), device];
        let files = sensors.iter().flat_map(|directory| {
            let names = names_in(directory).into_iter();
            let sensors = names.filter(|name| name.starts_with("hwmon") && name != "hwmon");
            sensors.map(|name| directory.join(name).join("temp1_input"))
        });
        files.into_iter().find(|file| file.exists())
    }
}

/// What such a file says, in whole degrees.
#[must_use]
pub fn read_temperature(file: &std::path::Path) -> Option<i32> {
    let thousandths: i32 = word(file)?.parse().ok()?;
    Some((thousandths + 500).div_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn both_kinds_of_sensors_are_found() {
        let root = tempfile::tempdir().unwrap();
        let system = System::at(root.path());
        for (place, text) in [
            ("sda/device/hwmon/hwmon3", "34499\n"),
            ("nvme0n1/device/hwmon1", "-1501\n"),
        ] {
            let directory = root.path().join("sys/class/block").join(place);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("temp1_input"), text).unwrap();
        }
        let tell = |name: &str| read_temperature(&system.temperature_file(name)?);
        assert_eq!(
            (tell("sda"), tell("nvme0n1"), tell("sdb")),
            (Some(34), Some(-2), None)
        );
    }
}
