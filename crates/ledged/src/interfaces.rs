//! Interfaces by name, by pattern, and by address: what the ports of a configuration mean on this machine.
//!
//! Invariants:
//! * a name is taken as it is, whether it is there or not: the port tells;
//! * a pattern stands for the Ethernet interfaces that are there, or come later, and that no other port
//!   names;
//! * an address stands for one interface, or for none.

use crate::config::{Config, PortConfig};
use aoe::MacAddress;
use nix::ifaddrs::getifaddrs;
use std::collections::BTreeSet;

/// `ARPHRD_ETHER`: the hardware type of Ethernet interfaces.
const ETHERNET: u16 = libc::ARPHRD_ETHER;

/// An Ethernet interface of this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Present {
    name: String,
    mac: MacAddress,
}

/// Which interfaces a port is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Selector {
    /// The one of this name.
    Name,
    /// All whose names match: `*` for any characters, `?` for one.
    Pattern,
    /// The one with this address.
    Address(MacAddress),
}

impl Selector {
    /// What is written as `interface`.
    pub(crate) fn of(text: &str) -> Self {
        if text.contains(['*', '?']) {
            Self::Pattern
        } else {
            text.parse().map_or(Self::Name, Self::Address)
        }
    }
}

/// Puts names in the place of patterns and addresses. Gives what stands for nothing, in words.
pub(crate) fn name_all(config: &mut Config) -> Vec<String> {
    let present = match present() {
        Ok(present) => present,
        Err(error) => {
            return vec![format!(
                "the interfaces of this machine are not known: {error}"
            )];
        }
    };
    let (ports, problems) = named(&config.written_ports, &present);
    config.ports = ports;
    problems
}

/// Interfaces that come while the shelf serves: those that a pattern or an address is for.
///
/// One is taken when it was there a look before, too, with the same number: what the kernel has just made
/// gets its name for good only then, from udev.
pub(crate) struct Newcomers {
    written: Vec<PortConfig>,
    /// By name and number, what the last look has found.
    before: BTreeSet<(String, u32)>,
    /// What was told last.
    problems: Vec<String>,
}

impl Newcomers {
    /// Those of a configuration, of which it was told what stands for nothing.
    pub(crate) fn of(written: &[PortConfig]) -> Self {
        let mut newcomers = Self {
            written: written.to_vec(),
            before: BTreeSet::new(),
            problems: Vec::new(),
        };
        if newcomers.are_possible()
            && let Ok(present) = present()
        {
            newcomers.problems = named(written, &present).1;
        }
        newcomers
    }

    fn are_possible(&self) -> bool {
        let mut ports = self.written.iter();
        ports.any(PortConfig::is_pattern_or_address)
    }

    /// The ports of all interfaces for which a pattern or an address stands now. What stands for nothing any
    /// more, or for too much, is logged once.
    pub(crate) fn look(&mut self) -> Vec<PortConfig> {
        if !self.are_possible() {
            return Vec::new();
        }
        let found = present().map(|present| named(&self.written, &present));
        let (ports, problems) = found.unwrap_or_else(|error| {
            let problem = format!("the interfaces of this machine are not known: {error}");
            (Vec::new(), vec![problem])
        });
        for problem in &problems {
            if !self.problems.contains(problem) {
                tracing::error!("{problem}");
            }
        }
        self.problems = problems;
        let number = |port: &PortConfig| port::interface_index(&port.interface).ok();
        let numbered = |port: &PortConfig| Some((port.interface.clone(), number(port)?));
        let now = ports.iter().filter_map(numbered).collect();
        let before = std::mem::replace(&mut self.before, now);
        let stayed: BTreeSet<&str> = before
            .intersection(&self.before)
            .map(|(name, _)| name.as_str())
            .collect();
        let is_by_name = |name: &str| self.written.iter().any(|port| port.interface == name);
        let is_newcomer = |name: &str| stayed.contains(name) && !is_by_name(name);
        let all = ports.into_iter();
        all.filter(|port| is_newcomer(&port.interface)).collect()
    }
}

/// The Ethernet interfaces of the namespace, in the order of their names.
fn present() -> nix::Result<Vec<Present>> {
    let mut present: Vec<Present> = getifaddrs()?
        .filter_map(|interface| {
            let address = interface.address?;
            let link = address.as_link_addr()?;
            let mac = MacAddress(link.addr()?);
            (link.hatype() == ETHERNET).then_some(Present {
                name: interface.interface_name,
                mac,
            })
        })
        .collect();
    // eth2 before eth10.
    present.sort_by_key(|interface| (interface.name.len(), interface.name.clone()));
    Ok(present)
}

fn named(ports: &[PortConfig], present: &[Present]) -> (Vec<PortConfig>, Vec<String>) {
    let (mut named, mut problems) = (Vec::<PortConfig>::new(), Vec::new());
    let by_name = |port: &&PortConfig| Selector::of(&port.interface) == Selector::Name;
    let claimed: Vec<&str> = ports
        .iter()
        .filter(by_name)
        .map(|port| port.interface.as_str())
        .collect();
    for port in ports {
        let text = &port.interface;
        let names: Vec<String> = match Selector::of(text) {
            Selector::Name => vec![text.clone()],
            Selector::Pattern => {
                let free = present
                    .iter()
                    .map(|interface| &interface.name)
                    .filter(|name| {
                        let is_taken = named.iter().any(|port| port.interface == **name);
                        matches(text, name) && !claimed.contains(&name.as_str()) && !is_taken
                    });
                free.cloned().collect()
            }
            Selector::Address(mac) => {
                let with_it = present.iter().filter(|interface| interface.mac == mac);
                with_it.map(|interface| interface.name.clone()).collect()
            }
        };
        let is_address = matches!(Selector::of(text), Selector::Address(_));
        if names.is_empty() {
            problems.push(format!(
                "interface = {text:?} stands for no interface of this machine; one that comes gets its port"
            ));
        } else if is_address && names.len() > 1 {
            let all = names.join(" and ");
            problems.push(format!(
                "interface = {text:?} is the address of {all}: name one of them"
            ));
        } else if is_address
            && (claimed.contains(&names[0].as_str())
                || named.iter().any(|port| port.interface == names[0]))
        {
            problems.push(format!(
                "interface = {text:?} is {}, which has a [[port]] already",
                names[0]
            ));
        } else {
            named.extend(names.into_iter().map(|interface| PortConfig {
                interface,
                ..port.clone()
            }));
        }
    }
    (named, problems)
}

/// Whether a name matches a pattern.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            let mut ends = name
                .char_indices()
                .map(|(index, _)| index)
                .chain([name.len()]);
            ends.any(|index| matches(rest, &name[index..]))
        }
        Some(wanted) => {
            let mut characters = name.chars();
            let is_fine = characters
                .next()
                .is_some_and(|c| wanted == '?' || c == wanted);
            is_fine && matches(&pattern[wanted.len_utf8()..], characters.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use port::RequestedMode;

    fn port(interface: &str) -> PortConfig {
        PortConfig {
            interface: interface.to_owned(),
            mode: RequestedMode::Auto,
            cec: false,
            cec_allow: std::collections::BTreeSet::new(),
            addresses: 1,
            busy_poll: false,
            pace_mbit_per_second: 0,
        }
    }

    fn machine(names: &[&str]) -> Vec<Present> {
        let interface = |(number, name): (u8, &&str)| Present {
            name: (*name).to_owned(),
            mac: MacAddress([2, 0, 0, 0, 0, number]),
        };
        (0..).zip(names).map(interface).collect()
    }

    fn resolved(ports: &[&str], names: &[&str]) -> (Vec<String>, Vec<String>) {
        let ports: Vec<_> = ports.iter().map(|text| port(text)).collect();
        let (ports, problems) = named(&ports, &machine(names));
        (
            ports.into_iter().map(|port| port.interface).collect(),
            problems,
        )
    }

    #[test]
    fn patterns_match_as_those_of_a_shell() {
        for (pattern, name) in [
            ("eth*", "eth0"),
            ("*", "x"),
            ("en?s*", "enps0f1"),
            ("*0", "eth10"),
            ("e**0", "e0"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("eth*", "veth0"),
            ("eth?", "eth"),
            ("eth?", "eth10"),
            ("*0", "eth1"),
            ("", "x"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_takes_what_no_other_port_names() {
        let names = ["eth0", "eth1", "eth2", "wan"];
        let (ports, problems) = resolved(&["eth*", "eth1"], &names);
        assert_eq!(
            (ports, problems),
            (vec!["eth0".into(), "eth2".into(), "eth1".into()], vec![])
        );
        // The first pattern has it.
        assert_eq!(
            resolved(&["eth0*", "e*"], &names).0,
            ["eth0", "eth1", "eth2"]
        );
    }

    #[test]
    fn an_address_is_one_interface() {
        let names = ["eth0", "eth1"];
        assert_eq!(resolved(&["02:00:00:00:00:01"], &names).0, ["eth1"]);
        let (ports, problems) = resolved(&["02:00:00:00:00:01", "eth1"], &names);
        assert_eq!(ports, ["eth1"]);
        assert!(
            problems[0].contains("is eth1, which has a [[port]] already"),
            "{problems:?}"
        );
        let mut twice = machine(&names);
        twice[1].mac = twice[0].mac;
        let (ports, problems) = named(&[port("02:00:00:00:00:00")], &twice);
        assert!(
            ports.is_empty() && problems[0].contains("eth0 and eth1"),
            "{problems:?}"
        );
    }

    #[test]
    fn what_stands_for_nothing_is_told_and_a_name_never_is() {
        let (ports, problems) = resolved(&["en*", "02:00:00:00:00:09", "gone0"], &["eth0"]);
        assert_eq!(ports, ["gone0"]);
        assert_eq!(problems.len(), 2);
        assert!(
            problems[0].contains("\"en*\" stands for no interface"),
            "{problems:?}"
        );
    }

    #[test]
    fn this_machine_has_no_loopback_among_them() {
        assert!(
            present()
                .unwrap()
                .iter()
                .all(|interface| interface.name != "lo")
        );
    }
}
