//! The list of shelves, and the choice of one.

use crate::SIGNAL_CHECK;
use crate::link::{Link, Ready};
use anyhow::{Context, Result};
use aoe::MacAddress;
use cec::Offer;
use cli::terminal::read_stdin;
use std::io::{Write, stdout};

/// What the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Shelf(Offer),
    Probe,
    Quit,
}

/// One row per shelf: its number, and the addresses of its ports.
fn rows(offers: &[Offer]) -> Vec<String> {
    offers
        .chunk_by(|a, b| a.shelf == b.shelf)
        .map(|ports| {
            let macs: Vec<String> = ports
                .iter()
                .map(|offer| offer.mac.to_string().to_uppercase())
                .collect();
            format!("{:<5}   {}", ports[0].shelf, macs.join(","))
        })
        .collect()
}

/// The rows alone, for scripts.
pub(crate) fn print_rows(offers: &[Offer]) {
    for row in rows(offers) {
        println!("{row}");
    }
}

/// Shows the shelves and asks until the answer is one of the choices. The end of input quits.
pub(crate) fn choose(link: &Link, offers: &[Offer]) -> Result<Choice> {
    loop {
        println!("SHELF | EA");
        print_rows(offers);
        print!("[#qp]: ");
        stdout()
            .flush()
            .context("cannot write to standard output")?;
        let Some(line) = read_line(link)? else {
            println!();
            return Ok(Choice::Quit);
        };
        if let Some(choice) = parse(&line, offers) {
            return Ok(choice);
        }
    }
}

fn parse(line: &str, offers: &[Offer]) -> Option<Choice> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["q"] => return Some(Choice::Quit),
        ["p"] => return Some(Choice::Probe),
        _ => {}
    }
    let shelf: i32 = words.first()?.parse().ok()?;
    let mac: Option<MacAddress> = match words[1..] {
        [] => None,
        [mac] => Some(mac.parse().ok()?),
        _ => return None,
    };
    let wanted = |offer: &&Offer| offer.shelf == shelf && mac.is_none_or(|mac| mac == offer.mac);
    offers.iter().find(wanted).cloned().map(Choice::Shelf)
}

/// One line, read byte by byte: what follows it belongs to the session. `None` at the end.
fn read_line(link: &Link) -> Result<Option<String>> {
    let wanted = Ready {
        stdin: true,
        stdout: false,
    };
    let mut line = Vec::new();
    loop {
        // The wait notices signals, which a read would not.
        if !link.wait_for(wanted, SIGNAL_CHECK)?.stdin {
            continue;
        }
        match read_stdin(1)?[..] {
            [b'\n'] => return Ok(Some(String::from_utf8_lossy(&line).into_owned())),
            [byte] => line.push(byte),
            _ if line.is_empty() => return Ok(None),
            _ => return Ok(Some(String::from_utf8_lossy(&line).into_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers() -> Vec<Offer> {
        let offer = |shelf, last| Offer {
            shelf,
            name: "x".to_owned(),
            mac: MacAddress([0, 0x10, 4, 1, 0x2e, last]),
        };
        vec![
            offer(-1, 0x80),
            offer(7, 0x81),
            offer(7, 0x8f),
            offer(65534, 1),
        ]
    }

    #[test]
    fn the_ports_of_a_shelf_share_one_row() {
        let expected = [
            "-1      001004012E80",
            "7       001004012E81,001004012E8F",
            "65534   001004012E01",
        ];
        assert_eq!(rows(&offers()), expected);
    }

    #[test]
    fn a_shelf_is_chosen_by_number_or_by_number_and_port() {
        let offers = offers();
        let shelf = |n: usize| Some(Choice::Shelf(offers[n].clone()));
        assert_eq!(parse("7", &offers), shelf(1));
        assert_eq!(parse(" -1 ", &offers), shelf(0));
        assert_eq!(parse("7 00:10:04:01:2e:8f", &offers), shelf(2));
        assert_eq!(parse("q", &offers), Some(Choice::Quit));
        assert_eq!(parse("p", &offers), Some(Choice::Probe));
        for line in ["", "8", "7 001004012e80", "7 x", "x", "7 001004012e81 y"] {
            assert_eq!(parse(line, &offers), None, "{line}");
        }
    }
}
