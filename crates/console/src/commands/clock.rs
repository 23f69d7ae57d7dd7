//! `date`, `ntp`: the clock, and who keeps it.

use crate::host::{ClockStatus, TimeSource, Trouble, World};
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;

const NTP_USAGE: &str = "ntp [-j] [off | default | server ...]";

/// Most servers that are set.
const SERVERS_MAX: usize = 8;

/// No clock of a shelf was ever right before this: 2020-09-13.
const CLOCK_LEAST: u64 = 1_600_000_000;

/// Tells the time, in the zone of the shelf, or sets it.
pub(super) fn date(report: &mut Report, world: &mut World<'_>, words: &[String]) {
    let zone = world.host.settings().timezone.clone();
    if !words.is_empty() {
        let text = words.join(" ");
        let time = world.host.parse_time(&text, zone.as_deref());
        let set = time.and_then(|seconds| world.host.set_clock(seconds));
        if let Err(error) = set {
            report.fail(error, &[]);
        }
        return;
    }
    let seconds = world.host.unix_seconds();
    match world.host.local_time(seconds, zone.as_deref()) {
        Ok(text) => report.row(
            text.clone(),
            Record::Date {
                date: text,
                unix_seconds: seconds,
                timezone: zone,
            },
        ),
        Err(error) => report.fail(error, &[]),
    }
}

/// Tells how the clock is kept, or says by whom.
pub(super) fn ntp(report: &mut Report, world: &mut World<'_>, words: &[String]) {
    let source = match words {
        [] => return show(report, world),
        [one] if one == "off" => TimeSource::Off,
        [one] if one == "default" => TimeSource::Default,
        servers => {
            let mut names = servers.iter();
            if servers.len() > SERVERS_MAX || names.any(|name| name == "off" || name == "default") {
                return report.fail(Problem::Usage(NTP_USAGE), &[]);
            }
            if let Some(name) = servers.iter().find(|name| !TimeSource::is_server(name)) {
                return report.fail(Problem::InvalidServer(name.clone()), &[]);
            }
            TimeSource::Servers(servers.to_vec())
        }
    };
    if let Err(error) = world.host.set_time_source(&source) {
        report.fail(error, &[]);
    }
}

fn show(report: &mut Report, world: &World<'_>) {
    let set = world.host.settings().ntp.clone();
    let clock = match world.host.clock() {
        Ok(clock) => clock,
        Err(error) => return report.fail(error, &[]),
    };
    let ClockStatus {
        service,
        is_enabled,
        is_synchronized,
        servers,
    } = clock;
    let state = if is_synchronized {
        "the clock is synchronized"
    } else {
        "the clock is not synchronized"
    };
    let by = match &service {
        Some(name) => format!("by {name}"),
        None if is_enabled => "a time service is switched on and does not run".to_owned(),
        None => "no time service is switched on".to_owned(),
    };
    let mut lines = vec![format!("{state}; {by}")];
    if !servers.is_empty() {
        lines.push(format!("servers: {}", servers.join(" ")));
    }
    lines.push(format!("set here: {}", words_of(&set).join(" ")));
    let (source, set_servers) = match set {
        TimeSource::Default => ("default", Vec::new()),
        TimeSource::Off => ("off", Vec::new()),
        TimeSource::Servers(servers) => ("servers", servers),
    };
    let record = Record::Ntp {
        service,
        enabled: is_enabled,
        synchronized: is_synchronized,
        servers,
        set: source,
        set_servers,
    };
    report.rows(lines, record);
}

/// The operands of `ntp` that set a source.
pub(crate) fn words_of(source: &TimeSource) -> Vec<String> {
    match source {
        TimeSource::Default => vec!["default".to_owned()],
        TimeSource::Off => vec!["off".to_owned()],
        TimeSource::Servers(servers) => servers.clone(),
    }
}

/// What is wrong with a clock that tells a day that cannot be: nobody has set it since its battery was empty.
#[must_use]
pub fn clock_trouble(unix_seconds: u64) -> Option<Trouble> {
    (unix_seconds < CLOCK_LEAST).then(|| Trouble {
        subject: "the clock".to_owned(),
        problem: format!(
            "is at {}: the times of the log are wrong",
            super::scrub::date(unix_seconds)
        ),
        advice: "ntp SERVER has it kept, date DAY TIME sets it".to_owned(),
    })
}
