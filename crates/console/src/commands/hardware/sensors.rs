//! `temp`, `fans`, `power`: what the sensors of the box tell. A box that has none has empty listings.

use crate::host::{Fan, PowerSupply, Temperature, World};
use crate::record::Record;
use crate::report::Report;

fn degrees(celsius: Option<i16>) -> String {
    celsius.map_or_else(|| "-".to_owned(), |celsius| format!("{celsius}C"))
}

/// Lists thermometers.
pub(super) fn temperatures(report: &mut Report, world: &World<'_>) {
    let all = world.host.sensors().temperatures;
    if !all.is_empty() {
        report.line(format!("{:<28} {:>6} {:>6}", "LOCATION", "TEMP", "LIMIT"));
    }
    for Temperature {
        location,
        celsius,
        celsius_limit,
    } in all
    {
        let (now, limit) = (degrees(Some(celsius)), degrees(celsius_limit));
        report.row(
            format!("{location:<28} {now:>6} {limit:>6}"),
            Record::Temperature {
                location,
                celsius,
                celsius_limit,
            },
        );
    }
}

/// Lists fans.
pub(super) fn fans(report: &mut Report, world: &World<'_>) {
    let all = world.host.sensors().fans;
    if !all.is_empty() {
        report.line(format!("{:<28} {:>6}", "FAN", "RPM"));
    }
    for Fan {
        name,
        rpm,
        is_faulty,
    } in all
    {
        let mut line = format!("{name:<28} {rpm:>6}");
        if is_faulty {
            line.push_str(" fault");
        }
        let record = Record::Fan {
            fan: name,
            rpm,
            faulty: is_faulty,
        };
        report.row(line, record);
    }
}

/// Lists power supplies.
pub(super) fn supplies(report: &mut Report, world: &World<'_>) {
    let all = world.host.sensors().supplies;
    if !all.is_empty() {
        report.line(columns(["PSU", "STATUS", "TEMP", "FAN1RPM", "FAN2RPM"]));
    }
    for PowerSupply {
        name,
        is_faulty,
        celsius,
        rpm,
    } in all
    {
        let status = if is_faulty { "fault" } else { "ok" };
        let fan = |index: usize| {
            rpm.get(index)
                .map_or_else(|| "-".to_owned(), ToString::to_string)
        };
        let line = columns([&name, status, &degrees(celsius), &fan(0), &fan(1)]);
        let record = Record::PowerSupply {
            psu: name,
            status,
            celsius,
            rpm,
        };
        report.row(line, record);
    }
}

fn columns([psu, status, temp, first, second]: [&str; 5]) -> String {
    format!("{psu:<16} {status:>8} {temp:>6} {first:>8} {second:>8}")
}
