//! What the helper can be asked for.
//!
//! Invariants: what is asked is known word by word, since whoever asks may be somebody who has taken the
//! daemon over. A device is a block device, a file is that of an LED of a slot, and an option is one of a
//! list.

use crate::arguments::Helper;
use console::host::TimeSource;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

impl Helper {
    /// Where it is asked.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::System => "/run/ledge-helper.sock",
            Self::Drives => "/run/ledge-drives.sock",
        }
    }
}

/// Everything that can be asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Question {
    /// A socket that may send to anybody.
    Udp { is_ipv4: bool },
    /// That the machine be stopped, by a verb of `systemctl`.
    Power(&'static str),
    /// That the clock be set, in seconds since 1970.
    SetClock(u64),
    /// That the clock be kept from a source; after a boot, only as far as that is not so yet.
    KeepClock {
        source: TimeSource,
        is_after_boot: bool,
    },
    /// That a program be run about a drive.
    Run {
        program: Program,
        arguments: Vec<String>,
    },
    /// That an LED be switched.
    Led { file: PathBuf, is_on: bool },
}

/// A program that may be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Program {
    /// Of the package smartmontools.
    Smartctl,
    /// Of the package ledmon.
    Ledctl,
}

impl Program {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Smartctl => "smartctl",
            Self::Ledctl => "ledctl",
        }
    }
}

/// Options of `smartctl` that are not followed by anything. A daemon of before an upgrade asks for
/// `--json=c`.
const SMARTCTL_ALONE: [&str; 5] = ["--json=co", "--json=c", "-x", "-i", "-X"];

/// What `ledctl` can be told to show.
const LEDCTL_PATTERNS: [&str; 5] = ["normal", "locate", "failure", "rebuild", "hotspare"];

impl Question {
    /// What some words ask of a helper.
    ///
    /// # Errors
    /// It is not offered, and why.
    pub(super) fn parse(of: Helper, words: &[&str]) -> Result<Self, String> {
        match (of, words) {
            (Helper::System, ["udp4"]) => Ok(Self::Udp { is_ipv4: true }),
            (Helper::System, ["udp6"]) => Ok(Self::Udp { is_ipv4: false }),
            (Helper::System, ["reboot"]) => Ok(Self::Power("reboot")),
            (Helper::System, ["poweroff"]) => Ok(Self::Power("poweroff")),
            (Helper::System, ["clock-set", seconds]) => seconds
                .parse()
                .map(Self::SetClock)
                .map_err(|_| format!("{seconds:?} is no number of seconds")),
            (Helper::System, [verb @ ("clock-keep" | "clock-restore"), source @ ..]) => {
                Ok(Self::KeepClock {
                    source: time_source(source)?,
                    is_after_boot: *verb == "clock-restore",
                })
            }
            (Helper::Drives, ["smartctl", options @ .., device]) => smartctl(options, device),
            // A daemon of before an upgrade does not name the log.
            (
                Helper::Drives,
                ["ledctl", "--listed-only", request]
                | ["ledctl", "--log=/dev/null", "--listed-only", request],
            ) => ledctl(request),
            (Helper::Drives, ["led", file, state]) => led(file, state),
            _ => Err("there is no such question".to_owned()),
        }
    }
}

/// `off`, `default`, or `servers` and their names, which are lines of a file then: a name is nothing else.
fn time_source(words: &[&str]) -> Result<TimeSource, String> {
    match words {
        ["off"] => Ok(TimeSource::Off),
        ["default"] => Ok(TimeSource::Default),
        ["servers", names @ ..] if !names.is_empty() => {
            if let Some(name) = names.iter().find(|name| !TimeSource::is_server(name)) {
                return Err(format!("{name:?} is no name of a server"));
            }
            let names = names.iter().map(|&name| name.to_owned());
            Ok(TimeSource::Servers(names.collect()))
        }
        _ => Err("there is no such question".to_owned()),
    }
}

fn smartctl(options: &[&str], device: &str) -> Result<Question, String> {
    let mut left = options;
    while let [option, rest @ ..] = left {
        left = match (*option, rest) {
            (option, rest) if SMARTCTL_ALONE.contains(&option) => rest,
            ("-n", ["standby,3", rest @ ..])
            | ("-s", ["on" | "off", rest @ ..])
            | ("-t", ["short" | "long", rest @ ..]) => rest,
            ("-l", [timers, rest @ ..]) if is_timers(timers) => rest,
            _ => return Err(format!("smartctl is not run with {option:?} here")),
        };
    }
    let device = block_device(device)?;
    let options = options.iter().map(|&option| option.to_owned());
    Ok(Question::Run {
        program: Program::Smartctl,
        arguments: options.chain([device]).collect(),
    })
}

/// `scterc,70,70`.
fn is_timers(text: &str) -> bool {
    let numbers = text
        .strip_prefix("scterc,")
        .and_then(|rest| rest.split_once(','));
    let is_number = |text: &str| text.parse::<u16>().is_ok_and(|n| n.to_string() == text);
    numbers.is_some_and(|(read, write)| is_number(read) && is_number(write))
}

fn ledctl(request: &str) -> Result<Question, String> {
    let parts = request.split_once('=');
    let Some((pattern, device)) = parts.filter(|(name, _)| LEDCTL_PATTERNS.contains(name)) else {
        return Err(format!("ledctl is not run with {request:?} here"));
    };
    let device = block_device(device)?;
    Ok(Question::Run {
        program: Program::Ledctl,
        arguments: vec![
            // It does nothing when it cannot write its log, which may not be in /var/log here.
            "--log=/dev/null".to_owned(),
            "--listed-only".to_owned(),
            format!("{pattern}={device}"),
        ],
    })
}

/// A block device below `/dev`, by the name that it has there.
fn block_device(name: &str) -> Result<String, String> {
    let told = |error| format!("{name}: {error}");
    let real = fs::canonicalize(name).map_err(told)?;
    let kind = fs::metadata(&real).map_err(told)?.file_type();
    let real = real.to_str().filter(|real| real.starts_with("/dev/"));
    real.filter(|_| kind.is_block_device())
        .map(str::to_owned)
        .ok_or_else(|| format!("{name} is no block device"))
}

fn led(file: &str, state: &str) -> Result<Question, String> {
    let is_on = match state {
        "1" => true,
        "0" => false,
        _ => return Err(format!("an LED is 1 or 0, not {state:?}")),
    };
    let real = fs::canonicalize(file).map_err(|error| format!("{file}: {error}"))?;
    if !is_led(&real) {
        return Err(format!("{file} is no LED of a slot"));
    }
    Ok(Question::Led { file: real, is_on })
}

/// Whether this is `…/enclosure/BOX/BAY/{locate,fault}`, or `…/leds/FUNCTION:enclosure:KIND/brightness`.
fn is_led(real: &Path) -> bool {
    let Ok(below) = real.strip_prefix("/sys/devices") else {
        return false;
    };
    let names: Option<Vec<_>> = below.iter().rev().map(|name| name.to_str()).collect();
    match names.as_deref() {
        Some(["locate" | "fault", _, _, "enclosure", ..]) => true,
        Some(["brightness", led, "leds", ..]) => led.contains(":enclosure:"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &[&str]) -> String {
        Question::parse(Helper::Drives, words).unwrap_err()
    }

    #[test]
    fn only_what_is_known_is_asked() {
        for words in [
            &["halt"][..],
            &[""],
            &["udp4", ""],
            &["; reboot"],
            &["smartctl"],
            &["ledctl", "locate=/dev/null"],
            &["ledctl", "--log=/etc/passwd", "--listed-only", "locate=/x"],
            &["led", "/sys/x"],
        ] {
            assert_eq!(refused(words), "there is no such question", "{words:?}");
        }
    }

    #[test]
    fn each_helper_does_its_own() {
        let reboot = Question::parse(Helper::System, &["reboot"]).unwrap();
        assert_eq!(reboot, Question::Power("reboot"));
        assert_eq!(refused(&["reboot"]), "there is no such question");
        let smartctl = Question::parse(Helper::System, &["smartctl", "-x", "/dev/null"]);
        assert_eq!(smartctl.unwrap_err(), "there is no such question");
    }

    #[test]
    fn the_clock_is_set_and_kept_by_words_that_are_known() {
        let asked = |words: &[&str]| Question::parse(Helper::System, words);
        assert_eq!(
            asked(&["clock-set", "1700000000"]),
            Ok(Question::SetClock(1_700_000_000))
        );
        let kept = |source, is_after_boot| {
            Ok(Question::KeepClock {
                source,
                is_after_boot,
            })
        };
        assert_eq!(asked(&["clock-keep", "off"]), kept(TimeSource::Off, false));
        let servers = TimeSource::Servers(vec!["ntp.example".into(), "2001:db8::1".into()]);
        assert_eq!(
            asked(&["clock-restore", "servers", "ntp.example", "2001:db8::1"]),
            kept(servers, true)
        );
        for wrong in [
            &["clock-set"][..],
            &["clock-set", "now"],
            &["clock-set", "-1"],
            &["clock-keep"],
            &["clock-keep", "servers"],
            &["clock-keep", "servers", "a\n[Time]"],
            &["clock-keep", "servers", "a b"],
            &["clock-keep", "servers", ""],
            &["clock-keep", "on"],
        ] {
            assert!(asked(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(
            refused(&["clock-set", "1700000000"]),
            "there is no such question"
        );
    }

    #[test]
    fn smartctl_changes_nothing_but_what_the_console_offers() {
        for options in [
            &["-s", "wcache,off"][..],
            &["-s"],
            &["-l", "scterc,70,70,p"],
            &["-l", "scterc,+70,70"],
            &["-l", "error"],
            &["-t", "offline"],
            &["-d", "sat"],
            &["-n", "never"],
            &["--json=co", "-q", "silent"],
            &["/dev/null"],
        ] {
            let words = [&["smartctl"], options, &["/dev/null"]].concat();
            assert!(
                refused(&words).starts_with("smartctl is not run"),
                "{words:?}"
            );
        }
        for options in [
            &["--json=co", "-n", "standby,3", "-x"][..],
            &["--json=co", "-i", "-s", "off"],
            &["--json=co", "-l", "scterc,70,70"],
            &["--json=co", "-t", "long"],
            &["--json=co", "-X"],
            &["--json=c", "-n", "standby,3", "-x"],
        ] {
            let words = [&["smartctl"], options, &["/dev/null"]].concat();
            // The options are in order, and the device is not.
            assert_eq!(refused(&words), "/dev/null is no block device");
        }
    }

    #[test]
    fn devices_are_block_devices_and_files_those_of_leds() {
        for device in ["/etc/passwd", "/dev", "--help", "/proc/self/exe"] {
            let request = format!("locate={device}");
            for log in [&[][..], &["--log=/dev/null"]] {
                let words = [&["ledctl"], log, &["--listed-only", &request]].concat();
                let told = refused(&words);
                assert!(told.starts_with(device), "{told}");
            }
        }
        let of = |path: &str| is_led(Path::new(path));
        let port = "/sys/devices/pci0000:00/0000:00:01.0";
        let bay = format!("{port}/host0/target0:0:8/0:0:8:0/enclosure/0:0:8:0/Slot 03");
        assert!(of(&format!("{bay}/locate")) && of(&format!("{bay}/fault")));
        assert!(!of(&format!("{bay}/active")) && !of(&format!("{bay}/device/delete")));
        assert!(of(&format!(
            "{port}/leds/0000:00:01.0:enclosure:locate/brightness"
        )));
        assert!(!of(&format!("{port}/leds/input3::capslock/brightness")));
        assert!(!of(&format!("{port}/remove")));
        assert!(!of("/tmp/sys/devices/enclosure/a/b/locate"));
        assert_eq!(
            refused(&["led", "/proc/self/exe", "1"]),
            "/proc/self/exe is no LED of a slot"
        );
        assert!(refused(&["led", "/proc/self/exe", "2"]).contains("1 or 0"));
    }
}
