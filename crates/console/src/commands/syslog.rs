//! `syslog`, `syslogtest`: where the log is sent, beside where it goes anyway.

use super::machine::change;
use crate::host::World;
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use core::net::{IpAddr, SocketAddr};

/// The port of syslog over UDP (RFC 5426).
const PORT: u16 = 514;

/// Shows the target, or sets it.
pub(super) fn syslog(report: &mut Report, world: &mut World<'_>, words: &[String]) {
    let Some(word) = words.first() else {
        let target = world.host.settings().syslog;
        let text = target.map(|target| target.to_string());
        let record = Record::Syslog {
            target: text.clone(),
        };
        return report.row(text.unwrap_or_else(|| "off".to_owned()), record);
    };
    let target = match word.as_str() {
        "off" => None,
        word => match parse(word) {
            Some(target) => Some(target),
            None => return report.fail(Problem::InvalidAddress(word.to_owned()), &[]),
        },
    };
    change(report, world, |settings| settings.syslog = target);
}

/// `ip`, `ip:port`, `[ipv6]:port`. Somebody must be meant, and one only.
fn parse(word: &str) -> Option<SocketAddr> {
    let address = word.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
    let target = address.or_else(|_| word.parse()).ok()?;
    let ip = target.ip();
    let is_one = !ip.is_unspecified() && !ip.is_multicast() && target.port() != 0;
    is_one.then_some(target)
}

/// Sends a text to the target.
pub(super) fn test(report: &mut Report, world: &mut World<'_>, words: &[String]) {
    if let Err(error) = world.host.send_syslog(&words.join(" ")) {
        report.fail(error, &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn targets_are_addresses_with_or_without_a_port() {
        for (word, target) in [
            ("10.0.0.1", Some("10.0.0.1:514")),
            ("10.0.0.1:5514", Some("10.0.0.1:5514")),
            ("2001:db8::1", Some("[2001:db8::1]:514")),
            ("[2001:db8::1]:5514", Some("[2001:db8::1]:5514")),
            ("10.0.0", None),
            ("10.0.0.1:0", None),
            ("10.0.0.1:70000", None),
            ("0.0.0.0", None),
            ("224.0.0.1", None),
            ("host", None),
            ("", None),
        ] {
            assert_eq!(
                parse(word).map(|at| at.to_string()).as_deref(),
                target,
                "{word}"
            );
        }
    }
}
