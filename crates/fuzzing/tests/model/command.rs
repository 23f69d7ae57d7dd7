//! Commands: their lines, what they are to do, and what undoes them.

use crate::DRIVES;
use crate::model::{Expect, Lun, Model, Part, Scrub, Undo};
use console::lexer;
use proptest::prelude::*;
use raid::Level;
use shelf::admin::ScrubRepair;
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug)]
pub(crate) enum ScrubWord {
    Start,
    Repair,
    Stop,
    Pause,
    Resume,
}

#[derive(Clone, Debug)]
pub(crate) enum Command {
    Make(u8, Level, Vec<u16>, Option<String>),
    Grow(u8, Level, Vec<u16>),
    Jbod(Vec<u16>),
    Online(Vec<u8>),
    Offline(Vec<u8>),
    Remove {
        luns: Vec<u8>,
        is_forced: bool,
    },
    Eject(u8),
    Restore,
    Shelf(u16),
    Mask {
        lun: u8,
        add: Vec<u8>,
        remove: Vec<u8>,
    },
    ClearMasks(u8),
    ClearReservations(u8),
    Label(u8, Option<String>),
    Vlan(u16, Vec<u8>),
    ReadOnly(u8, bool),
    ConfigString(u8, String),
    Limit(u64, bool),
    Spare(u16, Option<u8>),
    RemoveSpare(u16),
    Every(u8, u16),
    Policy(u8, ScrubRepair),
    Scrub(u8, ScrubWord),
    Fail(u8, u8),
    Unfail(u8, u8),
    Replace(u8, u8, u16),
}

fn lun() -> impl Strategy<Value = u8> + Clone {
    0_u8..4
}

fn some_luns() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(lun(), 1..3)
}

fn raid() -> impl Strategy<Value = (u8, Level, Vec<u16>)> {
    let levels = vec![
        Level::Jbod,
        Level::Raid0,
        Level::Raid1,
        Level::Raid10,
        Level::Raid5,
        Level::Raid6,
    ];
    let drives = Just((0..7).collect::<Vec<u16>>()).prop_shuffle();
    let level = prop::sample::select(levels);
    (lun(), level, drives).prop_map(|(lun, level, mut drives)| {
        drives.truncate(match level {
            Level::Jbod => 1,
            Level::Raid5 => 3,
            Level::Raid6 => 4,
            _ => 2,
        });
        (lun, level, drives)
    })
}

fn label() -> impl Strategy<Value = Option<String>> {
    let labels = vec!["vm store", "it's", "0123456789abcdef"];
    prop::option::of(prop::sample::select(labels).prop_map(str::to_owned))
}

/// A command; many do not fit what there is.
pub(crate) fn command() -> impl Strategy<Value = Command> {
    let policies = vec![ScrubRepair::Report, ScrubRepair::Located, ScrubRepair::All];
    let scrubs = vec![
        ScrubWord::Start,
        ScrubWord::Repair,
        ScrubWord::Stop,
        ScrubWord::Pause,
        ScrubWord::Resume,
    ];
    let stations = || prop::collection::vec(1_u8..4, 0..3);
    let changes = prop_oneof![
        8 => (raid(), label()).prop_map(|((lun, level, drives), label)| {
            Command::Make(lun, level, drives, label)
        }),
        2 => raid().prop_map(|(lun, level, drives)| Command::Grow(lun, level, drives)),
        1 => prop::collection::vec(0_u16..4, 1..3).prop_map(Command::Jbod),
        4 => some_luns().prop_map(Command::Online),
        3 => some_luns().prop_map(Command::Offline),
        2 => (some_luns(), any::<bool>())
            .prop_map(|(luns, is_forced)| Command::Remove { luns, is_forced }),
        1 => lun().prop_map(Command::Eject),
        1 => Just(Command::Restore),
        1 => (1_u16..3).prop_map(Command::Shelf),
        2 => (0_u16..DRIVES, prop::option::of(lun()))
            .prop_map(|(drive, lun)| Command::Spare(drive, lun)),
        1 => (0_u16..DRIVES).prop_map(Command::RemoveSpare),
        2 => (lun(), 0_u8..3).prop_map(|(lun, member)| Command::Fail(lun, member)),
        2 => (lun(), 0_u8..3).prop_map(|(lun, member)| Command::Unfail(lun, member)),
        2 => (lun(), 0_u8..3, 0_u16..DRIVES)
            .prop_map(|(lun, member, drive)| Command::Replace(lun, member, drive)),
    ];
    let settings = prop_oneof![
        3 => (lun(), stations(), stations())
            .prop_map(|(lun, add, remove)| Command::Mask { lun, add, remove }),
        1 => lun().prop_map(Command::ClearMasks),
        1 => lun().prop_map(Command::ClearReservations),
        2 => (lun(), label()).prop_map(|(lun, label)| Command::Label(lun, label)),
        2 => (prop::sample::select(vec![0, 1, 7, 4094]), some_luns())
            .prop_map(|(vlan, luns)| Command::Vlan(vlan, luns)),
        2 => (lun(), any::<bool>()).prop_map(|(lun, on)| Command::ReadOnly(lun, on)),
        2 => (lun(), prop::sample::select(vec!["", "vm images", "it''s 1.0-3", "-c", "x"]))
            .prop_map(|(lun, text)| Command::ConfigString(lun, text.replace("''", "'"))),
        1 => (prop::sample::select(vec![0, 512, 1 << 20, 2 << 30]), any::<bool>())
            .prop_map(|(bytes, per_drive)| Command::Limit(bytes, per_drive)),
        1 => (lun(), prop::sample::select(vec![0, 1, 7, 30]))
            .prop_map(|(lun, days)| Command::Every(lun, days)),
        1 => (lun(), prop::sample::select(policies))
            .prop_map(|(lun, policy)| Command::Policy(lun, policy)),
        2 => (lun(), prop::sample::select(scrubs))
            .prop_map(|(lun, word)| Command::Scrub(lun, word)),
    ];
    prop_oneof![3 => changes, 2 => settings]
}

/// Lines that are wrong whatever the shelf is like.
const WRONG: [&str; 79] = [
    "make",
    "make 0",
    "make 0 raid1",
    "make 255 raid1 1.0 1.1",
    "make 0 raid7 1.0 1.1",
    "make 0 raid1 1.0 1.0",
    "make 0 raid1 1.0",
    "make 0 raid5 1.0 1.1",
    "make 0 raid1 9.0 9.1",
    "make 0 raid1 1.0 1.99",
    "make 0 raid1 1.0 1.8",
    "make -k 17 0 raid0 1.0 1.1",
    "make -k 64 0 raid1 1.0 1.1",
    "make -z 0 raid1 1.0 1.1",
    "make -s '' 0 raid1 1.0 1.1",
    "make -s 0123456789abcdefg 0 raid1 1.0 1.1",
    "make -s web 0 raw 1.0",
    "make -s a -s a 0 raid1 1.0 1.1",
    "make -V 1 0 raid1 1.0 1.1",
    "make 0 nil",
    "offline -f",
    "resetserial 0",
    "drives -sr 100 1.0",
    "make 0 raid1 1.3-1",
    "make 0 raid1 1.0-99999",
    "make 0 raid1 'x",
    "make 0 raid1 missing missing",
    "grow 0",
    "grow 99 raid1 1.0 1.1",
    "online x",
    "online 255",
    "online -1",
    "offline 00",
    "offline 200",
    "remove",
    "remove 254",
    "remove 0 x",
    "eject 3 4 5 x",
    "shelf 4095",
    "shelf 65535",
    "shelf 1 2",
    "mask 0 +nothing",
    "mask clear",
    "mask +001004012e81",
    "setvlan 0 0",
    "setvlan 4095 0",
    "readonly on",
    "readonly on off 0",
    "confstr 0 a b",
    "ratelimit 3G",
    "ratelimit -1",
    "scrub every x 0",
    "fail 0.0",
    "replace 0.0.0",
    "frobnicate 0",
    "label x",
    "label '' 0",
    "label 0123456789abcdefg 0",
    "unlabel",
    "unlabel 255",
    "smartlog 1.99",
    "selftest long 2.0",
    "erctimers -r x 1.0",
    "setslotled fault 99",
    "locate on 99",
    "temp 1",
    "mask 0 +001004012e81 -001004012e81",
    "mask 0 clear",
    "mask 0 +001004012e81 +00:10:04:01:2e:81",
    "online 0 0",
    "offline 1 1",
    "setvlan 5 0 0",
    "label x 0 0",
    "scrub start stop",
    "readonly 0 on off",
    "rmmask 0 0",
    "reservations -c",
    "reservations -f 0",
    "fail 0.0.0 0.0.1",
];

pub(crate) fn wrong_line() -> impl Strategy<Value = String> {
    prop::sample::select(WRONG.to_vec()).prop_map(str::to_owned)
}

fn mac(station: u8) -> String {
    format!("0010040100{station:02x}")
}

fn list(numbers: &[u8]) -> String {
    let words: Vec<String> = numbers.iter().map(u8::to_string).collect();
    words.join(" ")
}

fn policy_word(policy: ScrubRepair) -> &'static str {
    match policy {
        ScrubRepair::Report => "report",
        ScrubRepair::Located => "located",
        ScrubRepair::All => "all",
    }
}

/// A quoted string, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Command {
    /// As it is typed.
    pub(crate) fn line(&self, model: &Model) -> String {
        let drive = |slot: &u16| format!("{}.{slot}", model.shelf);
        let drives = |slots: &[u16]| lexer::join(slots.iter().map(drive));
        match self {
            Self::Make(lun, level, slots, label) => {
                let label = label.iter().map(|label| format!("-s {} ", quoted(label)));
                let label: String = label.collect();
                format!("make -c {label}{lun} {level} {}", drives(slots))
            }
            Self::Grow(lun, level, slots) => format!("grow -c {lun} {level} {}", drives(slots)),
            Self::Jbod(slots) => format!("jbod {}", drives(slots)),
            Self::Online(luns) => format!("online {}", list(luns)),
            Self::Offline(luns) => format!("offline {}", list(luns)),
            Self::Remove { luns, is_forced } => {
                let force = if *is_forced { "-f " } else { "" };
                format!("remove {force}{}", list(luns))
            }
            Self::Eject(lun) => format!("eject {lun}"),
            Self::Restore => "restore".to_owned(),
            Self::Shelf(number) => format!("shelf {number}"),
            Self::Mask { lun, add, remove } => {
                let add = add.iter().map(|station| format!(" +{}", mac(*station)));
                let remove = remove.iter().map(|station| format!(" -{}", mac(*station)));
                let words: String = add.chain(remove).collect();
                format!("mask {lun}{words}")
            }
            Self::ClearMasks(lun) => format!("rmmask {lun}"),
            Self::ClearReservations(lun) => format!("reservations -c {lun}"),
            Self::Label(lun, None) => format!("unlabel {lun}"),
            Self::Label(lun, Some(label)) => format!("label {} {lun}", quoted(label)),
            Self::Vlan(0, luns) => format!("clrvlan {}", list(luns)),
            Self::Vlan(vlan, luns) => format!("setvlan {vlan} {}", list(luns)),
            Self::ReadOnly(lun, on) => format!("readonly {} {lun}", if *on { "on" } else { "off" }),
            Self::ConfigString(lun, text) if text.is_empty() => format!("confstr -c {lun}"),
            Self::ConfigString(lun, text) => format!("confstr -- {lun} {}", quoted(text)),
            Self::Limit(bytes, per_drive) => {
                format!("ratelimit {}{bytes}", if *per_drive { "-p " } else { "" })
            }
            Self::Spare(slot, None) => format!("spare {}", drive(slot)),
            Self::Spare(slot, Some(lun)) => format!("spare -l {lun} {}", drive(slot)),
            Self::RemoveSpare(slot) => format!("rmspare {}", drive(slot)),
            Self::Every(lun, days) => format!("scrub every {days} {lun}"),
            Self::Policy(lun, policy) => format!("scrub policy {} {lun}", policy_word(*policy)),
            Self::Scrub(lun, word) => format!("scrub {} {lun}", format!("{word:?}").to_lowercase()),
            Self::Fail(lun, member) => format!("fail {lun}.0.{member}"),
            Self::Unfail(lun, member) => format!("unfail {lun}.0.{member}"),
            Self::Replace(lun, member, slot) => format!("replace {lun}.0.{member} {}", drive(slot)),
        }
    }

    /// Whether it would let what was ejected be something else: a LUN of another shelf, as its drives have
    /// the old number, or the older one of two under one number.
    pub(crate) fn forgets_ejected(&self, model: &Model) -> bool {
        let is_ejected = |lun: u8| model.ejected.contains_key(&lun);
        match self {
            Self::Shelf(_) => !model.ejected.is_empty(),
            Self::Make(lun, ..) => is_ejected(*lun),
            Self::Jbod(slots) => {
                let mut numbers = slots.iter().filter_map(|slot| u8::try_from(*slot).ok());
                numbers.any(is_ejected)
            }
            _ => false,
        }
    }

    /// Whether something is named twice, or is to be added and taken away.
    fn says_twice(&self) -> bool {
        let numbers = |luns: &[u8]| luns.iter().copied().map(u16::from).collect();
        let words: Vec<u16> = match self {
            Self::Make(_, _, slots, _) | Self::Grow(_, _, slots) | Self::Jbod(slots) => {
                slots.clone()
            }
            Self::Remove { luns, .. }
            | Self::Online(luns)
            | Self::Offline(luns)
            | Self::Vlan(_, luns) => numbers(luns),
            Self::Mask { add, remove, .. } => numbers(&[add.as_slice(), remove].concat()),
            _ => return false,
        };
        let different: BTreeSet<u16> = words.iter().copied().collect();
        different.len() < words.len()
    }

    /// Whether it said itself that it is not to ask.
    pub(crate) fn is_forced(&self) -> bool {
        matches!(
            self,
            Self::Remove {
                is_forced: true,
                ..
            }
        )
    }

    /// Whether what undoes it is complete when the passes are.
    pub(crate) fn needs_passes(&self) -> bool {
        matches!(self, Self::Fail(..))
    }

    /// What it is to do.
    pub(crate) fn expect(&self, model: &Model) -> Expect {
        if self.says_twice() {
            return Expect::Refused;
        }
        let mut next = model.clone();
        match self {
            Self::Make(lun, level, slots, label) => {
                if model.luns.contains_key(lun) || !model.are_free(slots) {
                    return Expect::Refused;
                }
                next.free_spares_of(*lun);
                let label = label.clone();
                next.luns.insert(
                    *lun,
                    Lun {
                        label,
                        ..Lun::new(*level, slots)
                    },
                );
            }
            Self::Grow(lun, level, slots) => {
                let Some(grown) = next.luns.get_mut(lun).filter(|_| model.are_free(slots)) else {
                    return Expect::Refused;
                };
                grown.parts.push(Part::new(*level, slots));
                return Expect::May(next);
            }
            Self::Jbod(slots) => return jbod(next, slots),
            Self::Online(luns) => return each(next, luns, |lun| lun.online = true),
            Self::Offline(luns) => return each(next, luns, |lun| lun.online = false),
            Self::Remove { luns, is_forced } => return remove(next, luns, *is_forced),
            Self::Eject(lun) => {
                let is_offline = |lun: &&Lun| !lun.online;
                if model.luns.get(lun).filter(is_offline).is_none() {
                    return Expect::Refused;
                }
                next.ejected
                    .extend(next.luns.remove(lun).map(|gone| (*lun, gone)));
            }
            Self::Restore => next.restore(),
            Self::Shelf(number) => {
                if *number != model.shelf && model.luns.values().any(|lun| lun.online) {
                    return Expect::Refused;
                }
                next.shelf = *number;
            }
            Self::Limit(bytes, per_drive) => next.limit = (*bytes, *per_drive && *bytes > 0),
            Self::Spare(slot, lun) => {
                next.spares.insert(*slot, *lun);
                let is_there = lun.is_none_or(|lun| model.luns.contains_key(&lun));
                if !model.is_free(*slot) || !is_there {
                    return Expect::Refused;
                }
            }
            Self::RemoveSpare(slot) => {
                if next.spares.remove(slot).is_none() {
                    return Expect::Refused;
                }
            }
            Self::Fail(lun, _) | Self::Unfail(lun, _) | Self::Replace(lun, ..) => {
                if !model.luns.contains_key(lun) {
                    return Expect::Refused;
                }
                return Expect::May(next);
            }
            _ => return self.expect_of_setting(next),
        }
        Expect::Done(next)
    }

    /// As [`Command::expect`], for what is set of a LUN.
    fn expect_of_setting(&self, mut next: Model) -> Expect {
        let (number, luns) = match self {
            Self::Vlan(vlan, luns) => {
                // Of those only all or none.
                if !luns.iter().all(|lun| next.luns.contains_key(lun)) {
                    return Expect::Refused;
                }
                return each(next, luns, |lun| lun.vlan = *vlan);
            }
            Self::Mask { lun, .. }
            | Self::ClearMasks(lun)
            | Self::ClearReservations(lun)
            | Self::Label(lun, _)
            | Self::ReadOnly(lun, _)
            | Self::ConfigString(lun, _)
            | Self::Every(lun, _)
            | Self::Policy(lun, _)
            | Self::Scrub(lun, _) => (*lun, &mut next.luns),
            other => unreachable!("{other:?} sets nothing"),
        };
        let Some(lun) = luns.get_mut(&number) else {
            return Expect::Refused;
        };
        let can_scrub = lun.has_redundancy();
        match self {
            Self::Mask { add, remove, .. } => {
                for station in remove {
                    lun.masks.remove(&mac(*station));
                }
                lun.masks.extend(add.iter().map(|station| mac(*station)));
            }
            Self::ClearMasks(_) => lun.masks.clear(),
            // Who has reserved what is no part of the model.
            Self::ClearReservations(_) => {}
            Self::Label(_, label) => lun.label.clone_from(label),
            Self::ReadOnly(_, on) => lun.is_read_only = *on,
            Self::ConfigString(_, text) => lun.string.clone_from(text),
            Self::Every(..) | Self::Policy(..) | Self::Scrub(..) if !can_scrub => {
                return Expect::Refused;
            }
            Self::Every(_, days) => lun.days = *days,
            Self::Policy(_, policy) => lun.policy = *policy,
            Self::Scrub(_, word) => {
                match (word, &mut lun.scrub) {
                    (ScrubWord::Start | ScrubWord::Repair, Some(_))
                    | (ScrubWord::Stop | ScrubWord::Pause | ScrubWord::Resume, None) => {
                        return Expect::Refused;
                    }
                    (ScrubWord::Start | ScrubWord::Repair, scrub) => {
                        let is_repair = matches!(word, ScrubWord::Repair);
                        *scrub = Some(Scrub {
                            is_repair,
                            is_paused: false,
                        });
                    }
                    (ScrubWord::Stop, scrub) => *scrub = None,
                    (ScrubWord::Pause, Some(scrub)) => scrub.is_paused = true,
                    (ScrubWord::Resume, Some(scrub)) => scrub.is_paused = false,
                }
                return Expect::May(next);
            }
            _ => {}
        }
        Expect::Done(next)
    }

    /// What undoes it, when it was accepted; `model` is as before it.
    pub(crate) fn undo(&self, model: &Model) -> Undo {
        let old = |lun: &u8| &model.luns[lun];
        let one = |line: String| Undo::Lines(vec![line]);
        if !model.ejected.is_empty() {
            return Undo::NotHere;
        }
        match self {
            Self::Make(lun, ..) => one(format!("remove {lun}")),
            Self::Jbod(slots) => Undo::Lines(slots.iter().map(|s| format!("remove {s}")).collect()),
            Self::Online(luns) => switched(model, luns, false, "offline"),
            Self::Offline(luns) => switched(model, luns, true, "online"),
            Self::Remove { .. } | Self::Eject(_) | Self::Grow(..) | Self::ClearReservations(_) => {
                Undo::Confirmed
            }
            Self::Shelf(_) if !model.luns.is_empty() => Undo::Confirmed,
            Self::Shelf(_) => one(format!("shelf {}", model.shelf)),
            Self::Restore => Undo::NotHere,
            Self::Mask { lun, .. } | Self::ClearMasks(lun) => masks(*lun, old(lun)),
            Self::Label(lun, _) => one(Self::Label(*lun, old(lun).label.clone()).line(model)),
            Self::Vlan(_, luns) => {
                let line = |lun: &u8| Self::Vlan(old(lun).vlan, vec![*lun]).line(model);
                Undo::Lines(luns.iter().map(line).collect())
            }
            Self::ReadOnly(lun, _) => one(Self::ReadOnly(*lun, old(lun).is_read_only).line(model)),
            Self::ConfigString(lun, _) => {
                one(Self::ConfigString(*lun, old(lun).string.clone()).line(model))
            }
            Self::Limit(..) => one(Self::Limit(model.limit.0, model.limit.1).line(model)),
            Self::Spare(slot, _) => one(Self::RemoveSpare(*slot).line(model)),
            Self::RemoveSpare(slot)
                if model.spares[slot].is_some_and(|lun| !model.luns.contains_key(&lun)) =>
            {
                Undo::OneWay("the LUN that it was for is gone")
            }
            Self::RemoveSpare(slot) => one(Self::Spare(*slot, model.spares[slot]).line(model)),
            Self::Every(lun, _) => one(Self::Every(*lun, old(lun).days).line(model)),
            Self::Policy(lun, _) => one(Self::Policy(*lun, old(lun).policy).line(model)),
            Self::Scrub(lun, word) => scrubbed(*lun, *word),
            Self::Fail(lun, member) if old(lun).online && model.is_at_rest() => {
                one(format!("unfail {lun}.0.{member}"))
            }
            Self::Fail(..) => Undo::OneWay("rebuilt when it is online, by unfail"),
            Self::Unfail(..) | Self::Replace(..) => {
                Undo::OneWay("what a failed member held is what the others hold")
            }
        }
    }
}

/// Does something to one LUN after the other, until one is not there.
fn each(mut model: Model, luns: &[u8], change: impl Fn(&mut Lun)) -> Expect {
    for number in luns {
        match model.luns.get_mut(number) {
            Some(lun) => change(lun),
            None => return Expect::Partly(model),
        }
    }
    Expect::Done(model)
}

fn jbod(mut model: Model, slots: &[u16]) -> Expect {
    for slot in slots {
        let number = u8::try_from(*slot).expect("a slot of a small shelf");
        if model.luns.contains_key(&number) || !model.is_free(*slot) {
            return Expect::Partly(model);
        }
        model.free_spares_of(number);
        model.luns.insert(number, Lun::new(Level::Jbod, &[*slot]));
    }
    Expect::Done(model)
}

fn remove(mut model: Model, luns: &[u8], is_forced: bool) -> Expect {
    for number in luns {
        let is_gone = model
            .luns
            .get(number)
            .is_some_and(|lun| is_forced || !lun.online);
        if !is_gone {
            return Expect::Partly(model);
        }
        model.luns.remove(number);
        model.free_spares_of(*number);
    }
    Expect::Done(model)
}

/// The LUNs that were not so before.
fn switched(model: &Model, luns: &[u8], was_online: bool, verb: &str) -> Undo {
    let is_changed = |lun: &&u8| model.luns[*lun].online == was_online;
    let changed = luns.iter().filter(is_changed);
    Undo::Lines(changed.map(|lun| format!("{verb} {lun}")).collect())
}

fn masks(number: u8, old: &Lun) -> Undo {
    let mut lines = vec![format!("rmmask {number}")];
    if !old.masks.is_empty() {
        let words: String = old.masks.iter().map(|mac| format!(" +{mac}")).collect();
        lines.push(format!("mask {number}{words}"));
    }
    Undo::Lines(lines)
}

fn scrubbed(number: u8, word: ScrubWord) -> Undo {
    let word = match word {
        ScrubWord::Start | ScrubWord::Repair => "stop",
        ScrubWord::Pause => "resume",
        ScrubWord::Resume => "pause",
        ScrubWord::Stop => return Undo::OneWay("it has read, and can be begun anew"),
    };
    Undo::Lines(vec![format!("scrub {word} {number}")])
}
