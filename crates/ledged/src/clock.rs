//! The clock of the box: what systemd's timedated tells of it, and has done about it.
//!
//! The servers that are set on a console are in a drop-in of systemd-timesyncd below `/run`, which the next
//! boot does not find: it is written again when the daemon starts, from its settings, which are the only
//! place where they are kept. Nothing that somebody has written below `/etc` is touched.
//!
//! A daemon that is not root may do none of that: it looks whether it can be done, and the helper does it
//! ([`crate::helper`]), after the same look.
//!
//! On a box whose time service is started by nobody (the image: its unit is static, in the words of
//! systemd), it runs while servers are set here, and only then; so `default` is nobody there, as on a new
//! box.
//!
//! Invariants:
//! * no program is waited for longer than [`LIMIT`]: whoever asks holds the administration;
//! * what was not done in full leaves the drop-in as it was.

use crate::helper;
use console::host::{ClockStatus, HostError, TimeSource};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(3);

/// The service whose servers can be set here.
const TIMESYNCD: &str = "systemd-timesyncd";

/// The services that keep clocks, by the names of their units.
const SERVICES: [&str; 7] = [
    TIMESYNCD, "chrony", "chronyd", "ntpsec", "ntp", "ntpd", "openntpd",
];

/// Where the drop-in is, below `/`.
const DROP_IN: &str = "run/systemd/timesyncd.conf.d/ledge.conf";

/// Times that can be set: from 2020-09-13, before which there was no such shelf, to the end of 2099.
const TIMES: std::ops::Range<u64> = 1_600_000_000..4_102_444_800;

/// The clock, through the system of the box.
pub(crate) struct SystemClock {
    /// Where the file system of the box is.
    root: PathBuf,
    /// Where the programs are; `None` for those of the search path.
    programs: Option<PathBuf>,
    /// Whether the helper is asked for what is to be changed.
    is_asked: bool,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            is_asked: helper::asks_for_clock(),
            ..Self::own()
        }
    }
}

impl SystemClock {
    /// The clock for who changes it himself.
    pub(crate) fn own() -> Self {
        Self {
            root: PathBuf::from("/"),
            programs: None,
            is_asked: false,
        }
    }

    /// How the clock is kept.
    pub(crate) fn status(&self) -> Result<ClockStatus, HostError> {
        let shown = self.shown()?;
        let service = self.service();
        let servers = match service.as_deref() {
            Some(TIMESYNCD) => self.servers_of_timesyncd(),
            Some("chrony" | "chronyd") => self.servers_of_chrony(),
            _ => Vec::new(),
        };
        Ok(ClockStatus {
            service,
            is_enabled: value(&shown, "NTP") == Some("yes"),
            is_synchronized: value(&shown, "NTPSynchronized") == Some("yes"),
            servers,
        })
    }

    /// Whether it can be set.
    pub(crate) fn may_be_set(&self, unix_seconds: u64) -> Result<(), HostError> {
        if !TIMES.contains(&unix_seconds) {
            let text =
                format!("{unix_seconds} seconds since 1970 is no time at which a shelf can be");
            return Err(HostError::Refused(text));
        }
        if value(&self.shown()?, "NTP") == Some("yes") {
            let service = self.service();
            let service = service.as_deref().unwrap_or("a time service");
            let text = format!("{service} keeps the clock, and would set it back; first: ntp off");
            return Err(HostError::Refused(text));
        }
        Ok(())
    }

    /// Sets it, and the clock of the hardware.
    pub(crate) fn set(&self, unix_seconds: u64) -> Result<(), HostError> {
        self.may_be_set(unix_seconds)?;
        if self.is_asked {
            return helper::set_clock(unix_seconds).map_err(|error| asked(&error));
        }
        let time = format!("@{unix_seconds}");
        self.run("timedatectl", &["set-time", &time]).map(drop)
    }

    /// Whether it can be kept from a source.
    pub(crate) fn may_be_kept(&self, source: &TimeSource) -> Result<(), HostError> {
        let shown = self.shown()?;
        let can = value(&shown, "CanNTP") == Some("yes");
        match source {
            // Nobody keeps it then, as was asked.
            TimeSource::Off => Ok(()),
            TimeSource::Default | TimeSource::Servers(_) if !can => {
                let text =
                    "there is no time service on this box: apt install systemd-timesyncd there";
                Err(HostError::Refused(text.to_owned()))
            }
            TimeSource::Default => Ok(()),
            TimeSource::Servers(_) => match self.service() {
                Some(other) if other != TIMESYNCD => {
                    let text = format!(
                        "{other} keeps the clock of this box, and its servers are in its own configuration, such as \
                         /etc/chrony/sources.d; or, on the box: apt install systemd-timesyncd"
                    );
                    Err(HostError::Refused(text))
                }
                _ if self.has_timesyncd() => self.may_reach_servers(),
                _ => {
                    let text = "the time service of this box is not systemd-timesyncd: its servers are in its own \
                                configuration; or, on the box: apt install systemd-timesyncd";
                    Err(HostError::Refused(text.to_owned()))
                }
            },
        }
    }

    /// Whether an image of ours has an address, without which no server is reached. Other boxes may get one
    /// later.
    fn may_reach_servers(&self) -> Result<(), HostError> {
        if !self.is_started_here() || self.has_address() {
            return Ok(());
        }
        let text = "this machine has no IP address, without which no server is reached, and asks for none by itself: write \
                    etc/network/10-address.network on its state partition, on another machine; or: date DAY TIME";
        Err(HostError::Refused(text.to_owned()))
    }

    /// Whether an interface but the loopback has an address that is valid beyond its link. Where the kernel
    /// does not tell, nothing is refused for it.
    fn has_address(&self) -> bool {
        // Not below /proc/net: the helper sees of /proc only what is of processes.
        let read = |file: &str| fs::read_to_string(self.root.join("proc/self/net").join(file));
        // A kernel without IPv6 has no such file.
        let of_six = read("if_inet6").unwrap_or_default();
        read("fib_trie").map_or(true, |of_four| has_address(&of_four, &of_six))
    }

    /// Whether nobody but the shelf starts the service: its unit can be switched on by nobody.
    fn is_started_here(&self) -> bool {
        let unit = format!("{TIMESYNCD}.service");
        let told = self.told("systemctl", &["is-enabled", &unit]);
        told.is_ok_and(|told| told.text.trim() == "static")
    }

    /// Has it kept from a source.
    pub(crate) fn keep(&self, source: &TimeSource) -> Result<(), HostError> {
        self.may_be_kept(source)?;
        if self.is_asked {
            return helper::keep_clock(source, false).map_err(|error| asked(&error));
        }
        let before = fs::read(self.drop_in()).ok();
        let servers = match source {
            TimeSource::Servers(servers) => Some(servers.as_slice()),
            TimeSource::Default | TimeSource::Off => None,
        };
        let done = self
            .write_servers(servers)
            .and_then(|_| self.switch(source));
        if done.is_err() {
            // As it was. What stays wrong by that is told by ntp.
            let _ = match before {
                Some(text) => fs::write(self.drop_in(), text),
                None => fs::remove_file(self.drop_in()),
            };
        }
        done
    }

    /// After a boot: what was set is written again. Whether something had to be done is no matter of anybody.
    pub(crate) fn restore(&self, source: &TimeSource) -> Result<(), HostError> {
        let TimeSource::Servers(servers) = source else {
            return Ok(());
        };
        self.systemd()?;
        if self.is_asked {
            return helper::keep_clock(source, true).map_err(|error| asked(&error));
        }
        if !self.write_servers(Some(servers))? {
            return Ok(());
        }
        let verb = match self.is_started_here() {
            true => "restart",
            false => "try-restart",
        };
        self.restart(verb)
    }

    fn switch(&self, source: &TimeSource) -> Result<(), HostError> {
        if self.is_started_here() {
            // timedated would have all units read anew, for a file that it does not write.
            let is_kept = matches!(source, TimeSource::Servers(_));
            return self.restart(if is_kept { "restart" } else { "stop" });
        }
        let on = *source != TimeSource::Off;
        if !on && value(&self.shown()?, "CanNTP") != Some("yes") {
            return Ok(());
        }
        let on_or_off = if on { "true" } else { "false" };
        self.run("timedatectl", &["set-ntp", on_or_off])?;
        if on && self.has_timesyncd() {
            self.restart("try-restart")?;
        }
        Ok(())
    }

    /// The service reads its servers when it starts. `try-restart` does nothing if it does not run,
    /// `restart` starts it, `stop` has the clock go as it goes. Nobody waits for it.
    fn restart(&self, verb: &str) -> Result<(), HostError> {
        let unit = format!("{TIMESYNCD}.service");
        self.run("systemctl", &["--no-block", verb, &unit])
            .map(drop)
    }

    /// Writes the drop-in, or takes it away. Whether that was another one before.
    fn write_servers(&self, servers: Option<&[String]>) -> Result<bool, HostError> {
        let path = self.drop_in();
        let failed = |error: std::io::Error| HostError::Io(format!("{}: {error}", path.display()));
        let Some(servers) = servers else {
            return match fs::remove_file(&path) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(failed(error)),
            };
        };
        // An empty value takes away what other files have set.
        let text = format!(
            "# Set on the console of the shelf: ntp\n[Time]\nNTP=\nNTP={}\nFallbackNTP=\n",
            servers.join(" ")
        );
        if fs::read_to_string(&path).is_ok_and(|known| known == text) {
            return Ok(false);
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        fs::write(&path, text).map_err(failed)?;
        // The service is not root, and whoever writes here has a umask that shuts others out.
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(&path, mode).map_err(failed)?;
        Ok(true)
    }

    /// Where what is set is written.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        self.drop_in().parent().map(Path::to_owned)
    }

    fn drop_in(&self) -> PathBuf {
        self.root.join(DROP_IN)
    }

    fn has_timesyncd(&self) -> bool {
        let unit = format!("{TIMESYNCD}.service");
        [
            "usr/lib/systemd/system",
            "lib/systemd/system",
            "etc/systemd/system",
        ]
        .iter()
        .any(|place| self.root.join(place).join(&unit).exists())
    }

    fn systemd(&self) -> Result<(), HostError> {
        if self.root.join("run/systemd/system").is_dir() {
            return Ok(());
        }
        let text = "systemd does not run this machine: its clock is kept and set as the clock of that machine is";
        Err(HostError::Refused(text.to_owned()))
    }

    /// What timedated tells: lines `NAME=VALUE`.
    fn shown(&self) -> Result<String, HostError> {
        self.systemd()?;
        self.run("timedatectl", &["show"])
    }

    /// The time service that runs.
    fn service(&self) -> Option<String> {
        // It fails when one of them does not run.
        let mut arguments = vec!["is-active"];
        arguments.extend(SERVICES);
        let told = self.told("systemctl", &arguments).ok()?;
        let mut states = SERVICES.iter().zip(told.text.lines());
        let running = states.find(|(_, state)| *state == "active");
        running.map(|(name, _)| (*name).to_owned())
    }

    fn servers_of_timesyncd(&self) -> Vec<String> {
        let told = self.run("timedatectl", &["show-timesync"]);
        let told = told.unwrap_or_default();
        let lists = [
            "SystemNTPServers",
            "RuntimeNTPServers",
            "LinkNTPServers",
            "FallbackNTPServers",
        ];
        let mut lists = lists.iter().filter_map(|name| value(&told, name));
        let servers = lists.find(|list| !list.is_empty()).unwrap_or_default();
        servers.split_whitespace().map(str::to_owned).collect()
    }

    fn servers_of_chrony(&self) -> Vec<String> {
        // Mode, state, name, and more.
        let told = self.run("chronyc", &["-c", "sources"]);
        let told = told.unwrap_or_default();
        let names = told.lines().filter_map(|line| line.split(',').nth(2));
        names.map(str::to_owned).collect()
    }

    /// What a program that succeeds writes.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, HostError> {
        let told = self.told(program, arguments)?;
        if told.is_well {
            return Ok(told.text);
        }
        let reason = told.errors.trim();
        let reason = if reason.is_empty() {
            "it failed"
        } else {
            reason
        };
        let line = arguments.join(" ");
        Err(HostError::Io(format!("{program} {line}: {reason}")))
    }

    fn told(&self, program: &str, arguments: &[&str]) -> Result<Told, HostError> {
        let path = match &self.programs {
            Some(directory) => directory.join(program),
            None => PathBuf::from(program),
        };
        told_by(&path, arguments).map_err(|reason| {
            let line = arguments.join(" ");
            HostError::Io(format!("{program} {line}: {reason}"))
        })
    }
}

/// Whether there is an address but those of the loopback and of links alone: by what the kernel tells of
/// the routes of IPv4 (an address, and in the line below it what it is of) and of the addresses of IPv6
/// (the fourth field is how far they are valid: 10 on the machine, 20 on the link).
fn has_address(fib_trie: &str, if_inet6: &str) -> bool {
    let lines = fib_trie.lines().zip(fib_trie.lines().skip(1));
    let of_four = lines.filter(|(_, below)| below.contains("/32 host LOCAL"));
    let mut of_four = of_four.filter_map(|(line, _)| line.trim().strip_prefix("|-- "));
    let mut of_six = if_inet6
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3));
    of_four.any(|address| !address.starts_with("127.") && !address.starts_with("169.254."))
        || of_six.any(|scope| scope != "10" && scope != "20")
}

/// What the helper says.
fn asked(error: &std::io::Error) -> HostError {
    HostError::Io(error.to_string())
}

/// How a program ended.
struct Told {
    text: String,
    errors: String,
    is_well: bool,
}

/// Runs a program, for [`LIMIT`] at most. What it writes is short: it fits the pipes.
fn told_by(path: &Path, arguments: &[&str]) -> Result<Told, String> {
    let mut child = Command::new(path)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    match disk::ends(&mut child, LIMIT) {
        Ok(true) => {}
        Ok(false) => {
            end(&mut child);
            return Err(format!("it has not answered for {} s", LIMIT.as_secs()));
        }
        Err(error) => {
            end(&mut child);
            return Err(error.to_string());
        }
    }
    let said = child.wait_with_output();
    let said = said.map_err(|error| error.to_string())?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(Told {
        text: text(&said.stdout),
        errors: text(&said.stderr),
        is_well: said.status.success(),
    })
}

/// Ends a program that hangs.
fn end(child: &mut Child) {
    // Both fail only when it has ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// The value of a line `NAME=VALUE`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// A time as people write it, in seconds since 1970.
pub(crate) fn parse_time(text: &str, zone: Option<&str>) -> Result<u64, HostError> {
    let unknown = || {
        HostError::Refused(format!(
            "{text} is no time: as 2026-11-27 01:10:03, in the time zone of the shelf, or 2026-11-27T01:10:03Z"
        ))
    };
    let time = match text.parse::<jiff::Timestamp>() {
        Ok(time) => time,
        Err(_) => {
            let civil: jiff::civil::DateTime = text.parse().map_err(|_| unknown())?;
            // A day alone would be its midnight: nobody sets a clock to that by purpose.
            if !text.contains(':') {
                return Err(unknown());
            }
            let zone = crate::machine::zone(zone)?;
            civil.to_zoned(zone).map_err(|_| unknown())?.timestamp()
        }
    };
    u64::try_from(time.as_second()).map_err(|_| unknown())
}

#[cfg(test)]
mod tests;
