//! What a shelf is to its administrator, as simply as that can be said.

use fuzzing::lines::house::State;
use raid::Level;
use shelf::admin::{DriveRole, ElementState, LunStatus, ScrubRepair};
use std::collections::{BTreeMap, BTreeSet};

/// What a command must do.
pub(crate) enum Expect {
    /// It is accepted, and this is what there is then.
    Done(Model),
    /// It is refused, and nothing is changed.
    Refused,
    /// It is refused, but what comes before the operand that is wrong is done.
    Partly(Model),
    /// If it is accepted, this is what there is then, but for what drives say of elements.
    May(Model),
}

/// How what was done can be undone.
pub(crate) enum Undo {
    /// By these lines.
    Lines(Vec<String>),
    /// It cannot, so it asks, or was forced.
    Confirmed,
    /// It cannot, and does not ask, for the reason that is given here.
    OneWay(&'static str),
    /// Not on a copy of the shelf: letting go is not recorded.
    NotHere,
}

/// A scrub that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Scrub {
    pub(crate) is_repair: bool,
    pub(crate) is_paused: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) level: Level,
    /// By element; `None` is missing. Further ones take the place of others.
    pub(crate) drives: Vec<Option<u16>>,
    /// Elements that are not in use as they should be.
    pub(crate) unwell: BTreeSet<usize>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Lun {
    pub(crate) parts: Vec<Part>,
    pub(crate) online: bool,
    pub(crate) label: Option<String>,
    pub(crate) masks: BTreeSet<String>,
    pub(crate) vlan: u16,
    pub(crate) is_read_only: bool,
    pub(crate) string: String,
    pub(crate) days: u16,
    pub(crate) policy: ScrubRepair,
    pub(crate) scrub: Option<Scrub>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Model {
    pub(crate) shelf: u16,
    pub(crate) luns: BTreeMap<u8, Lun>,
    pub(crate) ejected: BTreeMap<u8, Lun>,
    pub(crate) spares: BTreeMap<u16, Option<u8>>,
    pub(crate) limit: (u64, bool),
    /// Drives that carry something that is of no use any more, such as a former element.
    pub(crate) used: BTreeSet<u16>,
}

impl Part {
    pub(crate) fn new(level: Level, drives: &[u16]) -> Self {
        Self {
            level,
            drives: drives.iter().map(|drive| Some(*drive)).collect(),
            unwell: BTreeSet::new(),
        }
    }
}

impl Lun {
    pub(crate) fn new(level: Level, drives: &[u16]) -> Self {
        Self {
            parts: vec![Part::new(level, drives)],
            online: false,
            label: None,
            masks: BTreeSet::new(),
            vlan: 0,
            is_read_only: false,
            string: String::new(),
            // Every fortnight, if there is anything to compare.
            days: 14,
            policy: ScrubRepair::Report,
            scrub: None,
        }
    }

    /// What is not told, as there is nothing to compare, is taken from the model.
    fn of(status: &LunStatus, model: Option<&Self>) -> Self {
        let part = |part: &shelf::admin::PartStatus| Part {
            level: part.level,
            drives: part
                .elements
                .iter()
                .map(|element| element.drive.map(|slot| slot.0))
                .collect(),
            unwell: part
                .elements
                .iter()
                .enumerate()
                .filter(|(_, element)| {
                    element.state != ElementState::Normal || element.is_replacement
                })
                .map(|(index, _)| index)
                .collect(),
        };
        let scrub = status.scrub;
        Self {
            parts: status.parts.iter().map(part).collect(),
            online: status.online,
            label: status.label.clone(),
            masks: status
                .access
                .masks
                .iter()
                .map(ToString::to_string)
                .collect(),
            vlan: status.access.vlan.map_or(0, |vlan| vlan.get()),
            is_read_only: status.access.is_read_only,
            string: String::from_utf8_lossy(&status.config_string).into_owned(),
            days: scrub.map_or(model.map_or(0, |lun| lun.days), |scrub| scrub.interval_days),
            policy: scrub.map_or(ScrubRepair::Report, |scrub| scrub.repair),
            scrub: scrub
                .filter(|scrub| scrub.done_sectors.is_some())
                .map(|scrub| Scrub {
                    is_repair: scrub.is_repair,
                    is_paused: scrub.is_paused,
                }),
        }
    }

    pub(crate) fn has_redundancy(&self) -> bool {
        self.parts.iter().any(|part| part.level.is_redundant())
    }

    fn holds(&self, drive: u16) -> bool {
        let mut drives = self.parts.iter().flat_map(|part| &part.drives);
        drives.any(|held| *held == Some(drive))
    }
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            shelf: 1,
            luns: BTreeMap::new(),
            ejected: BTreeMap::new(),
            spares: BTreeMap::new(),
            limit: (0, false),
            used: BTreeSet::new(),
        }
    }

    /// What can be seen. What was let go of is not seen, but that its drives are not free.
    pub(crate) fn of(state: &State, model: &Self) -> Self {
        let is_let_go = |role: &DriveRole| matches!(role, DriveRole::Foreign(what) if what.starts_with("ejected"));
        let let_go = state.drives.iter().any(|drive| is_let_go(&drive.role));
        assert_eq!(let_go, !model.ejected.is_empty());
        Self {
            shelf: state.shelf.map_or(u16::MAX, |shelf| shelf.0),
            luns: state
                .luns
                .iter()
                .map(|lun| (lun.lun.get(), Lun::of(lun, model.luns.get(&lun.lun.get()))))
                .collect(),
            ejected: model.ejected.clone(),
            spares: state
                .spares
                .iter()
                .map(|spare| (spare.drive.0, spare.dedicated_to.map(|lun| lun.get())))
                .collect(),
            limit: (state.limit.bytes_per_second, state.limit.is_per_drive),
            used: state
                .drives
                .iter()
                .filter(|drive| drive.slot.0 < 7)
                .filter(|drive| matches!(drive.role, DriveRole::Foreign(_)))
                .filter(|drive| !is_let_go(&drive.role))
                .map(|drive| drive.slot.0)
                .collect(),
        }
    }

    /// Takes over what is said of elements.
    pub(crate) fn follow(&mut self, state: &State) {
        let seen = Self::of(state, self);
        for (number, lun) in &mut self.luns {
            if let Some(seen) = seen.luns.get(number) {
                lun.parts.clone_from(&seen.parts);
            }
        }
        self.used = seen.used;
        // A spare is what takes the place of an element.
        let is_used = |drive: u16| self.luns.values().any(|lun| lun.holds(drive));
        self.spares.retain(|drive, _| !is_used(*drive));
    }

    /// Scrubs of LUNs that are served come to their ends, unless they wait: for the administrator, or for a
    /// member.
    pub(crate) fn scrubs_end(&mut self, state: &State) {
        let seen = Self::of(state, self);
        let served = self.luns.iter_mut().filter(|(_, lun)| lun.online);
        for (number, lun) in served {
            let is_over = seen.luns.get(number).is_some_and(|lun| lun.scrub.is_none());
            let waits = lun.parts.iter().any(|part| !part.unwell.is_empty());
            if lun.scrub.as_ref().is_some_and(|scrub| !scrub.is_paused) && (is_over || !waits) {
                lun.scrub = None;
            }
        }
    }

    /// Whether there is nothing that the end of a pass would change.
    pub(crate) fn is_at_rest(&self) -> bool {
        let mut luns = self.luns.values();
        luns.all(|lun| {
            let mut parts = lun.parts.iter();
            lun.scrub.is_none() && parts.all(|part| part.unwell.is_empty())
        })
    }

    /// What was let go of is found again.
    pub(crate) fn restore(&mut self) {
        self.luns.append(&mut self.ejected);
    }

    /// Spares that were for a LUN that is no more are for all.
    pub(crate) fn free_spares_of(&mut self, number: u8) {
        let mut spares = self.spares.values_mut();
        spares
            .by_ref()
            .filter(|lun| **lun == Some(number))
            .for_each(|lun| *lun = None);
    }

    pub(crate) fn is_free(&self, drive: u16) -> bool {
        let luns = self.luns.values().chain(self.ejected.values());
        let is_held = luns.into_iter().any(|lun| lun.holds(drive));
        let is_held = is_held || self.used.contains(&drive);
        drive < 7 && !is_held && !self.spares.contains_key(&drive)
    }

    /// Whether all are free, and none is named twice.
    pub(crate) fn are_free(&self, drives: &[u16]) -> bool {
        let names: BTreeSet<u16> = drives.iter().copied().collect();
        names.len() == drives.len() && drives.iter().all(|drive| self.is_free(*drive))
    }
}
