//! `mask`, `rmmask`, `reservations`, `setvlan`, `clrvlan`, `vlans`, `readonly`, `confstr`: who may use a LUN,
//! and what it is called on the wire.

use super::luns::{each, named};
use super::{Outcome, consent};
use crate::command::Options;
use crate::names::{decimal, parse_lun};
use crate::problem::Problem;
use crate::record::{KeyRecord, Record, hex, text_of};
use crate::report::Report;
use aoe::{MacAddress, VlanId};
use shelf::admin::{AccessChange, AccessStatus, Admin, LunNumber, LunStatus};

const MASK_USAGE: &str = "mask [LUN ...] [{+|-}mac ...] | mask clear LUN ...";
const RESERVATIONS_USAGE: &str = "reservations [-c] [-f] [LUN ...]";
const READONLY_USAGE: &str = "readonly [on | off] [LUN ...]";
const CONFSTR_USAGE: &str = "confstr [-c] LUN [string]";

/// What stands for a list without entries, and for a key that is not there.
const NONE: &str = "-";

/// How many addresses stand in a line.
const MACS_PER_LINE: usize = 4;

/// Where the further addresses of a mask list stand, as on Coraid's shelves.
const MASK_INDENT: usize = 27;

/// Whether a word changes a mask list, though it begins as an option does.
pub(crate) fn is_mask(word: &str) -> bool {
    word.strip_prefix(['+', '-'])
        .is_some_and(|mac| mac.parse::<MacAddress>().is_ok())
}

/// Lists mask lists, or changes those of some LUNs.
pub(super) fn mask(report: &mut Report, admin: &mut dyn Admin, words: &[String]) {
    if let Some(("clear", luns)) = words
        .split_first()
        .map(|(first, luns)| (first.as_str(), luns))
    {
        if luns.is_empty() {
            return report.fail(Problem::Usage(MASK_USAGE), &[]);
        }
        return clear_masks(report, admin, luns);
    }
    // Coraid's shelves took the LUNs first, or last.
    let (masks, luns): (Vec<String>, Vec<String>) = words
        .iter()
        .cloned()
        .partition(|word| word.starts_with(['+', '-']));
    if masks.is_empty() {
        let has_any = |lun: &LunStatus| !lun.access.masks.is_empty();
        let header = format!("{:<9}MASK(S)", "LUN");
        return rows(report, admin, &luns, &header, has_any, mask_row);
    }
    if luns.is_empty() {
        return report.fail(Problem::NoLun, &masks);
    }
    match mask_change(&masks) {
        Ok(change) => change_all(report, admin, &luns, &change),
        Err(problem) => report.fail(problem, &luns),
    }
}

fn mask_change(words: &[String]) -> Result<AccessChange, Problem> {
    let (mut add, mut remove): (Vec<MacAddress>, Vec<MacAddress>) = Default::default();
    for word in words {
        let wrong = || Problem::WrongMask(word.clone());
        let mac = word.get(1..).unwrap_or("").parse().map_err(|_| wrong())?;
        let list = if word.starts_with('+') {
            &mut add
        } else {
            &mut remove
        };
        list.push(mac);
    }
    for list in [&add, &remove] {
        let mut macs = list.iter().enumerate();
        if let Some((_, mac)) = macs.find(|(index, mac)| list[..*index].contains(mac)) {
            return Err(Problem::NamedTwice(mac.to_string()));
        }
    }
    if let Some(mac) = add.iter().find(|mac| remove.contains(mac)) {
        return Err(Problem::MaskBoth(mac.to_string()));
    }
    Ok(AccessChange::Masks { remove, add })
}

/// Empties mask lists: the LUNs answer everybody.
pub(super) fn clear_masks(report: &mut Report, admin: &mut dyn Admin, luns: &[String]) {
    change_all(report, admin, luns, &AccessChange::ClearMasks);
}

fn mask_row(report: &mut Report, lun: &LunStatus) {
    let masks = &lun.access.masks;
    let name = lun.lun.to_string();
    let record = Record::Mask {
        lun: lun.lun.get(),
        masks: masks.iter().map(MacAddress::to_string).collect(),
    };
    report.rows(lines_of(&format!("{name:<9}"), MASK_INDENT, masks), record);
}

/// Addresses behind what is before them, so many to a line; further lines begin with `indent` blanks.
fn lines_of(before: &str, indent: usize, macs: &[MacAddress]) -> Vec<String> {
    if macs.is_empty() {
        return vec![format!("{before}{NONE}")];
    }
    let indent = " ".repeat(indent);
    let line = |(index, macs): (usize, &[MacAddress])| {
        let words: Vec<String> = macs.iter().map(MacAddress::to_string).collect();
        let before = if index == 0 { before } else { &indent };
        format!("{before}{}", words.join(" "))
    };
    macs.chunks(MACS_PER_LINE).enumerate().map(line).collect()
}

/// Lists reservations, or clears those of some LUNs, after a question.
pub(super) fn reservations(admin: &mut dyn Admin, options: &Options, luns: &[String]) -> Outcome {
    let mut report = Report::default();
    if options.force && !options.clean {
        return Report::from(Problem::Usage(RESERVATIONS_USAGE)).into();
    }
    if !options.clean {
        let has_any =
            |lun: &LunStatus| !lun.access.reserved.is_empty() || !lun.access.keys.is_empty();
        let titles = ["LUN", "RTYPE", "OWNER", "REGISTRANTS"];
        let header = format!("{}MAC ADDRESSES", reservation_columns(titles));
        rows(&mut report, admin, luns, &header, has_any, reservation_row);
        return report.into();
    }
    if luns.is_empty() {
        return Report::from(Problem::Usage(RESERVATIONS_USAGE)).into();
    }
    if options.force {
        change_all(&mut report, admin, luns, &AccessChange::ClearReservations);
        return report.into();
    }
    match all_named(&admin.luns(), luns) {
        Ok(luns) => consent::clear_reservations(&luns),
        Err((problem, others)) => {
            report.fail(problem, &others);
            report.into()
        }
    }
}

/// What stands before the addresses.
fn reservation_columns([lun, kind, owner, registrant]: [&str; 4]) -> String {
    format!("{lun:<9}{kind:<6}{owner:<17}{registrant:<17}")
}

/// LUN, type, owner and registrant with its addresses; one of several keys in a line of its own.
fn reservation_row(report: &mut Report, lun: &LunStatus) {
    let AccessStatus {
        reserved,
        reservation,
        owner,
        generation,
        keys,
        ..
    } = &lun.access;
    let kind = reservation.map(|kind| kind.code());
    let kind_word = kind.map_or_else(|| NONE.to_owned(), |kind| kind.to_string());
    let key_word = |key: u64| format!("{key:016x}");
    let owner_word = owner.map_or_else(|| NONE.to_owned(), |owner| key_word(owner.0));
    let name = lun.lun.to_string();
    let before =
        |registrant: &str| reservation_columns([&name, &kind_word, &owner_word, registrant]);
    let mut lines = Vec::new();
    if keys.is_empty() {
        let before = before(NONE);
        lines = lines_of(&before, before.len(), reserved);
    }
    for key in keys {
        let before = before(&key_word(key.key.0));
        lines.extend(lines_of(&before, before.len(), &key.stations));
    }
    let words = |macs: &[MacAddress]| macs.iter().map(MacAddress::to_string).collect();
    let record = Record::Reservation {
        lun: lun.lun.get(),
        kind,
        owner: owner.map(|owner| key_word(owner.0)),
        generation: *generation,
        reserved: words(reserved),
        keys: keys
            .iter()
            .map(|key| KeyRecord {
                key: key_word(key.key.0),
                macs: words(&key.stations),
            })
            .collect(),
    };
    report.rows(lines, record);
}

/// Serves LUNs in a VLAN only.
pub(super) fn set_vlan(report: &mut Report, admin: &mut dyn Admin, words: &[String]) {
    let Some((id, luns)) = words.split_first() else {
        return report.fail(Problem::NoLun, &[]);
    };
    let number = decimal(id).and_then(|number| u16::try_from(number).ok());
    match number.and_then(VlanId::new) {
        Some(vlan) => change_vlan(report, admin, Some(vlan), luns),
        None => report.fail(Problem::InvalidVlan(id.clone()), luns),
    }
}

/// Serves LUNs in this VLAN only, or without a tag.
pub(super) fn change_vlan(
    report: &mut Report,
    admin: &mut dyn Admin,
    vlan: Option<VlanId>,
    luns: &[String],
) {
    change_all(report, admin, luns, &AccessChange::Vlan(vlan));
}

/// Lists VLANs; 0 is none.
pub(super) fn vlans(report: &mut Report, admin: &mut dyn Admin, luns: &[String]) {
    let header = format!("{:<5} {:>9}", "LUN", "VLAN");
    rows(
        report,
        admin,
        luns,
        &header,
        |_| true,
        |report, lun| {
            let vlan = lun.access.vlan.map(VlanId::get);
            let name = lun.lun.to_string();
            let line = format!("{name:<5} {:>9}", vlan.unwrap_or(0));
            let lun = lun.lun.get();
            report.row(line, Record::Vlan { lun, vlan });
        },
    );
}

/// Lists which LUNs are not written, or changes that.
pub(super) fn readonly(report: &mut Report, admin: &mut dyn Admin, words: &[String]) {
    // As with masks, the LUNs may come first or last.
    let (word, luns) = match words {
        [word, luns @ ..] if is_switch(word) => (word.as_str(), luns),
        [luns @ .., word] if is_switch(word) => (word.as_str(), luns),
        _ => {
            return rows(
                report,
                admin,
                words,
                &format!("{:<5} {:>9}", "LUN", "READONLY"),
                |_| true,
                |report, lun| {
                    let read_only = lun.access.is_read_only;
                    let name = lun.lun.to_string();
                    let word = if read_only { "on" } else { "off" };
                    let lun = lun.lun.get();
                    report.row(
                        format!("{name:<5} {word:>9}"),
                        Record::ReadOnly { lun, read_only },
                    );
                },
            );
        }
    };
    if luns.is_empty() {
        return report.fail(Problem::Usage(READONLY_USAGE), &[]);
    }
    let change = AccessChange::ReadOnly(word == "on");
    change_all(report, admin, luns, &change);
}

fn is_switch(word: &str) -> bool {
    word == "on" || word == "off"
}

/// Shows the config string of a LUN, or sets it.
pub(super) fn confstr(
    report: &mut Report,
    admin: &mut dyn Admin,
    options: &Options,
    words: &[String],
) {
    let done = match (words, options.clean) {
        ([lun], false) => show_confstr(report, admin, lun),
        ([lun], true) => set_confstr(admin, lun, b""),
        ([lun, string], false) => set_confstr(admin, lun, string.as_bytes()),
        _ => Err(Problem::Usage(CONFSTR_USAGE)),
    };
    if let Err(problem) = done {
        report.fail(problem, &[]);
    }
}

fn show_confstr(report: &mut Report, admin: &dyn Admin, word: &str) -> Result<(), Problem> {
    let luns = admin.luns();
    let lun = named(&luns, word)?;
    let bytes = &lun.config_string;
    let record = Record::ConfigString {
        lun: lun.lun.get(),
        config_string: text_of(bytes),
        config_string_hex: hex(bytes),
    };
    // What is no text is told by its digits.
    let line = text_of(bytes)
        .filter(|text| !text.contains(char::is_control))
        .unwrap_or_else(|| format!("hex {}", hex(bytes)));
    report.row(line, record);
    Ok(())
}

fn set_confstr(admin: &mut dyn Admin, word: &str, string: &[u8]) -> Result<(), Problem> {
    let lun: LunNumber = parse_lun(word)?;
    Ok(admin.set_config_string(lun, string)?)
}

/// Changes the rules of all LUNs that are named.
fn change_all(report: &mut Report, admin: &mut dyn Admin, words: &[String], change: &AccessChange) {
    match all_named(&admin.luns(), words) {
        Ok(_) => each(report, words, |lun| admin.change_access(lun, change)),
        Err((problem, others)) => report.fail(problem, &others),
    }
}

/// The LUNs that are named, if each of them is there, else what is wrong and the other words: what was meant
/// as something else than a LUN must not open some of them to everybody.
fn all_named<'a>(
    luns: &'a [LunStatus],
    words: &[String],
) -> Result<Vec<&'a LunStatus>, (Problem, Vec<String>)> {
    let lun = |(index, word): (usize, &String)| {
        named(luns, word)
            .map_err(|problem| (problem, [&words[..index], &words[index + 1..]].concat()))
    };
    words.iter().enumerate().map(lun).collect()
}

/// Rows of the LUNs that are named; without names of those for which there is something to tell. The header
/// is there when a row is.
fn rows(
    report: &mut Report,
    admin: &dyn Admin,
    words: &[String],
    header: &str,
    is_told: impl Fn(&LunStatus) -> bool,
    row: impl Fn(&mut Report, &LunStatus),
) {
    let luns = admin.luns();
    let row = |report: &mut Report, lun: &LunStatus| {
        if report.is_empty() {
            report.line(header);
        }
        row(report, lun);
    };
    if words.is_empty() {
        luns.iter()
            .filter(|lun| is_told(lun))
            .for_each(|lun| row(report, lun));
    }
    for (index, word) in words.iter().enumerate() {
        match named(&luns, word) {
            Ok(lun) => row(report, lun),
            Err(problem) => return report.fail(problem, &words[index + 1..]),
        }
    }
}
