//! The command line, option by option that of cec-14. `crates/manual` makes the manual page from it.

use aoe::MacAddress;
use cec::Offer;
use clap::{ArgAction, Parser};
use std::time::Duration;

/// Ethernet console client: connects the terminal to the console of a shelf.
#[derive(Debug, Parser)]
#[command(
    name = "cec",
    version,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub(crate) struct Options {
    /// Connect to the first offer of this shelf, and exit when the session ends
    #[arg(short = 's', value_name = "SHELF", allow_negative_numbers = true)]
    shelf: Option<i32>,

    /// Connect to the shelf port with this MAC address, and exit when the session ends
    #[arg(short = 'm', value_name = "MAC")]
    mac: Option<MacAddress>,

    /// Print one line per shelf and exit; implies -q
    #[arg(short = 'p')]
    pub(crate) probe_only: bool,

    /// Escape with Ctrl-C, C being one of a to y
    #[arg(short = 'e', value_name = "C", value_parser = parse_escape, default_value = "\\")]
    pub(crate) escape: Escape,

    /// Seconds to wait for offers, and for the answer when connecting
    #[arg(short = 'w', value_name = "SECONDS", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    wait_s: u32,

    /// Say less
    #[arg(short = 'q')]
    quiet: bool,

    /// Print each frame on standard error
    #[arg(short = 'd')]
    pub(crate) dump: bool,

    /// Print the version
    #[arg(short = 'v', action = ArgAction::Version)]
    version: Option<bool>,

    /// Print this help
    #[arg(short = '?', long = "help", action = ArgAction::Help)]
    help: Option<bool>,

    /// Network interface towards the shelves
    #[arg(value_name = "INTERFACE")]
    pub(crate) interface: String,
}

impl Options {
    pub(crate) fn has_target(&self) -> bool {
        !self.probe_only && (self.shelf.is_some() || self.mac.is_some())
    }

    /// Whether an offer fits -s and -m, as far as they are given.
    pub(crate) fn wants(&self, offer: &Offer) -> bool {
        self.shelf.is_none_or(|shelf| shelf == offer.shelf)
            && self.mac.is_none_or(|mac| mac == offer.mac)
    }

    pub(crate) fn wait(&self) -> Duration {
        Duration::from_secs(self.wait_s.into())
    }

    /// Says what goes on, unless that is unwanted.
    pub(crate) fn chat(&self, text: &str) {
        if !self.quiet && !self.probe_only {
            eprint!("{text}");
        }
    }
}

/// The control character that opens the escape menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Escape {
    key: char,
    /// What the terminal sends for it.
    pub(crate) byte: u8,
}

impl std::fmt::Display for Escape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ctrl-{}", self.key)
    }
}

fn parse_escape(text: &str) -> Result<Escape, String> {
    match text.as_bytes() {
        [key @ (b'a'..=b'y' | b'\\')] => Ok(Escape {
            key: char::from(*key),
            byte: key & 0x1f,
        }),
        _ => Err("expected one letter of a to y".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_options_of_cec_14_are_understood() {
        let words = "cec -qd -s -1 -m 00:10:04:01:2e:81 -e d -w 5 eth1";
        let options = Options::try_parse_from(words.split(' ')).unwrap();
        assert_eq!(options.escape.byte, 4);
        assert_eq!(options.wait(), Duration::from_secs(5));
        assert!(options.has_target() && options.dump && options.quiet);
        let offer = |shelf, mac: &str| Offer {
            shelf,
            name: String::new(),
            mac: mac.parse().unwrap(),
        };
        assert!(options.wants(&offer(-1, "001004012e81")));
        assert!(!options.wants(&offer(1, "001004012e81")));
        assert!(!options.wants(&offer(-1, "001004012e82")));
    }

    #[test]
    fn the_default_escape_is_control_backslash() {
        let options = Options::try_parse_from(["cec", "eth1"]).unwrap();
        assert_eq!(options.escape.byte, 0x1c);
        assert_eq!(options.escape.to_string(), "Ctrl-\\");
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            "cec",
            "cec -e z eth1",
            "cec -w 0 eth1",
            "cec -m 12 eth1",
            "cec -x eth1",
        ] {
            assert!(
                Options::try_parse_from(words.split(' ')).is_err(),
                "{words}"
            );
        }
    }
}
