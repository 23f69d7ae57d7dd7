//! Thermometers, fans and power supplies of the box, from the kernel's class `hwmon`.
//!
//! Invariants: nothing is written; what is not told is left out, and a box without sensors has none.

use crate::facts::{System, names_in, word};
use std::path::{Path, PathBuf};

/// A chip that watches the box.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Chip {
    /// Its name, and a number where there are several: `coretemp`, `pmbus`, `pmbus 2`.
    pub name: String,
    /// Its thermometers.
    pub temperatures: Vec<Thermometer>,
    /// Its fans.
    pub fans: Vec<Fan>,
    /// It is a power supply: it tells the power that it takes in or gives.
    pub is_supply: bool,
    /// It says that something is wrong with it.
    pub is_faulty: bool,
}

/// A thermometer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thermometer {
    /// What it measures, as the chip has it; else its number.
    pub label: String,
    /// What it shows.
    pub celsius: i16,
    /// What it should not reach.
    pub celsius_limit: Option<i16>,
}

/// A fan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fan {
    /// Which, as the chip has it; else its number.
    pub label: String,
    /// Turns in a minute.
    pub rpm: u32,
    /// The chip says that it is too slow.
    pub is_faulty: bool,
}

/// Chips of drives: these are told of with the drives.
const DRIVES: &[&str] = &["drivetemp", "nvme"];

/// Chips that tell the power they take, and are no supplies.
const CONSUMERS: &[&str] = &["amdgpu", "fam15h_power", "i915", "nouveau", "xe"];

/// Sensors that are looked for, from 0 or 1 on, as the chip has it.
const SENSORS_MAX: u32 = 64;

/// All chips that tell anything, in order.
#[must_use]
pub fn chips(system: &System) -> Vec<Chip> {
    let class = system.path("sys/class/hwmon");
    let mut directories: Vec<(String, PathBuf)> = names_in(&class)
        .into_iter()
        .filter_map(|entry| Some((word(&class.join(&entry).join("name"))?, class.join(entry))))
        .filter(|(name, _)| !DRIVES.contains(&name.as_str()))
        .collect();
    directories.sort();
    let mut chips: Vec<Chip> = Vec::new();
    for (index, (name, at)) in directories.iter().enumerate() {
        let earlier = directories[..index]
            .iter()
            .filter(|(other, _)| other == name);
        let number = earlier.count() + 1;
        let mut chip = chip(name, at);
        if number > 1 {
            chip.name = format!("{name} {number}");
        }
        if !chip.temperatures.is_empty() || !chip.fans.is_empty() || chip.is_supply {
            chips.push(chip);
        }
    }
    chips
}

fn chip(name: &str, at: &Path) -> Chip {
    let number = |file: String| word(&at.join(file))?.parse::<i64>().ok();
    let is_set = |file: String| number(file) == Some(1);
    let degrees = |file: String| i16::try_from(number(file)?.div_euclid(1000)).ok();
    let label = |kind: &str, index: u32| {
        word(&at.join(format!("{kind}{index}_label"))).unwrap_or_else(|| format!("{kind}{index}"))
    };
    let temperature = |index: u32| {
        Some(Thermometer {
            label: label("temp", index),
            celsius: degrees(format!("temp{index}_input"))?,
            celsius_limit: degrees(format!("temp{index}_crit"))
                .or_else(|| degrees(format!("temp{index}_max")))
                // Chips without a limit tell nonsense.
                .filter(|limit| (1..=200).contains(limit)),
        })
    };
    let fan = |index: u32| {
        Some(Fan {
            label: label("fan", index),
            rpm: u32::try_from(number(format!("fan{index}_input"))?).ok()?,
            is_faulty: ["alarm", "fault"]
                .iter()
                .any(|what| is_set(format!("fan{index}_{what}"))),
        })
    };
    let has_power = ["input", "average"]
        .iter()
        .any(|what| at.join(format!("power1_{what}")).exists());
    let fans: Vec<Fan> = (1..=SENSORS_MAX).filter_map(fan).collect();
    let is_supply = has_power && at.join("in1_input").exists() && !CONSUMERS.contains(&name);
    let alarms = [
        "power1_alarm",
        "in1_alarm",
        "in1_lcrit_alarm",
        "temp1_crit_alarm",
    ];
    Chip {
        name: name.to_owned(),
        temperatures: (0..=SENSORS_MAX).filter_map(temperature).collect(),
        is_faulty: alarms.iter().any(|file| is_set((*file).to_owned()))
            || fans.iter().any(|fan| fan.is_faulty),
        fans,
        is_supply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fake::FakeSystem;

    #[test]
    fn a_box_without_sensors_has_none() {
        assert_eq!(chips(&FakeSystem::new().system()), []);
    }

    #[test]
    fn chips_tell_what_they_know_and_drives_are_left_out() {
        let fake = FakeSystem::new();
        let write = |chip: &str, files: &[(&str, &str)]| {
            for (file, text) in files {
                fake.write(
                    &format!("sys/class/hwmon/{chip}/{file}"),
                    format!("{text}\n"),
                );
            }
        };
        write("hwmon0", &[("name", "drivetemp"), ("temp1_input", "30000")]);
        write(
            "hwmon1",
            &[
                ("name", "coretemp"),
                ("temp1_input", "41999"),
                ("temp1_label", "Package id 0"),
                ("temp1_crit", "100000"),
                ("temp2_input", "-500"),
                ("temp2_max", "0"),
                ("temp3_input", "unreadable"),
            ],
        );
        write(
            "hwmon2",
            &[
                ("name", "nct6798"),
                ("fan1_input", "1200"),
                ("fan2_input", "0"),
                ("fan2_alarm", "1"),
            ],
        );
        for supply in ["hwmon3", "hwmon4"] {
            let power = [
                ("name", "pmbus"),
                ("power1_input", "150000000"),
                ("in1_input", "230000"),
                ("fan1_input", "8000"),
            ];
            write(supply, &power);
        }
        write("hwmon4", &[("power1_alarm", "1")]);
        write("hwmon5", &[("name", "empty")]);
        let chips = chips(&fake.system());
        let names: Vec<&str> = chips.iter().map(|chip| chip.name.as_str()).collect();
        assert_eq!(names, ["coretemp", "nct6798", "pmbus", "pmbus 2"]);
        let temperatures = [
            Thermometer {
                label: "Package id 0".to_owned(),
                celsius: 41,
                celsius_limit: Some(100),
            },
            Thermometer {
                label: "temp2".to_owned(),
                celsius: -1,
                celsius_limit: None,
            },
        ];
        assert_eq!(chips[0].temperatures, temperatures);
        let fans = chips[1].fans.iter();
        let fans: Vec<_> = fans.map(|fan| (fan.rpm, fan.is_faulty)).collect();
        assert_eq!(fans, [(1200, false), (0, true)]);
        let supplies: Vec<_> = chips
            .iter()
            .map(|chip| (chip.is_supply, chip.is_faulty))
            .collect();
        assert_eq!(
            supplies,
            [(false, false), (false, true), (true, false), (true, true)]
        );
    }
}
