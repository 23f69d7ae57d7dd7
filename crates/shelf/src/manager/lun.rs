//! A LUN: one to four RAIDs, joined end to end.
//!
//! Invariants:
//! * RAIDs of a LUN are kept only together with the first one. Its record says what concerns the LUN as a
//!   whole: how many RAIDs it has, whether it is served, label, serial number and config string;
//! * a RAID other than the first is one of the LUN only if that record names its set;
//! * if a RAID is live, those before it are. A LUN that goes online has all of them live.

use super::access;
use super::drives::Drives;
use super::raid::Raid;
use crate::access::Access;
use crate::admin::{
    ElementState, ElementStatus, LunNumber, LunStatus, PartId, PartStatus, RaidState, ScrubStatus,
};
use crate::plane::{LunView, PartView, SyncKind};
use crate::target::can_trim;
use aoe::{SECTOR_BYTES, Shelf};
use ata::identify::IdentifySpec;
use raid::Unit;
use raid::record::{FurtherRaid, Record};
use std::collections::BTreeMap;

/// Most RAIDs of a LUN; the limit of Coraid's shelves.
pub(super) const PARTS_MAX: u8 = 4;

/// All RAIDs of the shelf.
pub(super) type Raids = BTreeMap<PartId, Raid>;

/// A LUN that is there.
#[derive(Clone, Copy)]
pub(super) struct Lun<'a> {
    number: LunNumber,
    first: &'a Raid,
    raids: &'a Raids,
}

impl<'a> Lun<'a> {
    /// The LUN of a number.
    pub(super) fn of(raids: &'a Raids, number: LunNumber) -> Option<Self> {
        let first = raids.get(&PartId::first(number))?;
        Some(Self {
            number,
            first,
            raids,
        })
    }

    /// Every LUN, in number order.
    pub(super) fn all(raids: &'a Raids) -> impl Iterator<Item = Self> {
        let first = raids.values().filter(|raid| raid.id.part == 0);
        first.map(move |first| Self {
            number: first.id.lun,
            first,
            raids,
        })
    }

    pub(super) const fn number(&self) -> LunNumber {
        self.number
    }

    /// Its RAIDs that are there, in order.
    pub(super) fn raids(&self) -> impl Iterator<Item = &'a Raid> + use<'a> {
        self.raids.range(ids_of(self.number)).map(|(_, raid)| raid)
    }

    /// What is recorded of it as a whole.
    pub(super) const fn record(&self) -> &'a Record {
        &self.first.record
    }

    /// How many RAIDs it has, whether they are there or not.
    pub(super) fn parts(&self) -> u8 {
        1 + u8::try_from(self.record().further.len()).unwrap_or(PARTS_MAX)
    }

    /// Elements of its first RAID that take writes.
    pub(super) fn first_in_use(&self) -> Vec<u8> {
        let in_use = self
            .first
            .elements()
            .filter(|(_, member)| member.is_in_use());
        in_use.map(|(element, _)| element).collect()
    }

    /// Its RAIDs of which there is no drive.
    fn lost(&self) -> impl Iterator<Item = (PartId, &'a FurtherRaid)> + use<'a> {
        let (number, raids) = (self.number, self.raids);
        let named = (1..).zip(&self.first.record.further);
        let named = named.map(move |(part, raid)| (PartId { lun: number, part }, raid));
        named.filter(move |(id, _)| !raids.contains_key(id))
    }

    /// Whether it has records, which say what it is.
    pub(super) const fn is_recorded(&self) -> bool {
        self.first.is_recorded()
    }

    /// Whether it is attached to the data path.
    pub(super) const fn is_live(&self) -> bool {
        self.first.is_live
    }

    /// Why it cannot be served.
    pub(super) fn refusal(&self) -> Option<String> {
        let of_raids = || {
            let is_copied = self.raids().any(|raid| raid.is_copied);
            let copied = is_copied.then(|| BEING_COPIED.to_owned());
            copied.or_else(|| self.raids().find_map(Raid::refusal))
        };
        let of_lost = |(id, raid): (PartId, &FurtherRaid)| {
            let (level, elements) = (raid.level, raid.elements);
            format!("raid {id} is missing: none of its drives is here ({level} of {elements})")
        };
        self.lost().next().map(of_lost).or_else(of_raids)
    }

    /// Usable size.
    fn capacity_sectors(&self) -> u64 {
        let further = self.first.record.further.iter();
        let further: u64 = further.map(|raid| raid.capacity_sectors).sum();
        self.first.geometry.capacity_sectors() + further
    }

    pub(super) fn status(&self, drives: &Drives) -> LunStatus {
        let record = self.record();
        let parts = self.raids().map(|raid| raid.status(drives));
        let lost = self.lost().map(|(id, raid)| lost_status(id, raid));
        let mut parts: Vec<PartStatus> = parts.chain(lost).collect();
        parts.sort_by_key(|part| part.part);
        let doubt = || self.raids().find_map(|raid| raid.doubt.clone());
        LunStatus {
            lun: self.number,
            size_bytes: self.capacity_sectors() * SECTOR_BYTES as u64,
            online: self.is_live(),
            label: record.label.clone(),
            serial: record.serial.clone(),
            config_string: record.config_string.clone(),
            access: access::status(&record.access),
            scrub: self.scrub_status(),
            trouble: self.refusal().or_else(doubt),
            parts,
        }
    }

    /// What is told of its scrubs; `None` for a LUN in which nothing is to agree.
    fn scrub_status(&self) -> Option<ScrubStatus> {
        self.raids().filter_map(Raid::scrub_status).reduce(joined)
    }

    /// The RAID whose pass is to be run: one at a time, those that make something good before those that
    /// only compare.
    pub(super) fn pass_holder(&self) -> Option<PartId> {
        let wants = |kind: SyncKind| {
            let mut raids = self.raids().filter(|raid| raid.is_live);
            raids.find(|raid| raid.pass().is_some_and(|pass| pass.kind == kind))
        };
        let raid = wants(SyncKind::Resync).or_else(|| wants(SyncKind::Check))?;
        Some(raid.id)
    }

    /// What the data path needs of it: of those RAIDs that are live. `unit` is that of its drives.
    pub(super) fn view(&self, shelf: Shelf, unit: Unit) -> LunView {
        let record = self.record();
        let live = || self.raids().filter(|raid| raid.is_live);
        let capacity_sectors = live().map(|raid| raid.geometry.capacity_sectors()).sum();
        let identify = IdentifySpec {
            sectors: capacity_sectors,
            serial: &record.serial,
            firmware: env!("CARGO_PKG_VERSION"),
            model: &format!("Ledge {}", self.first.geometry.level()),
            solid_state: false,
            wwn: self.first.set_uuid.map(wwn),
            is_aligned: live().all(Raid::is_aligned),
            trims: live().all(|raid| can_trim(&raid.geometry)),
        };
        let holder = self.pass_holder();
        let part = |raid: &Raid| PartView {
            sync: raid.pass().filter(|_| holder == Some(raid.id)),
            ..raid.view()
        };
        LunView {
            lun: self.number,
            shelf,
            online: true,
            capacity_sectors,
            unit,
            parts: live().map(part).collect(),
            identify: Box::new(identify.build()),
            config_string: record.config_string.clone(),
            access: Access::of(&record.access),
        }
    }
}

/// Why a LUN is not served, nor changed.
pub(super) const BEING_COPIED: &str =
    "an element of it is being copied: wait for the extract, or stop it";

/// The world wide name of a LUN: of the kind that is assigned locally (NAA 3), from what is random in the
/// UUID of its first RAID.
fn wwn(set_uuid: uuid::Uuid) -> u64 {
    let (_, random) = set_uuid.as_u64_pair();
    random & (u64::MAX >> 4) | 3 << 60
}

/// What is told of a RAID of which there is no drive.
fn lost_status(id: PartId, raid: &FurtherRaid) -> PartStatus {
    let element = |member| ElementStatus {
        id: id.element(member),
        state: ElementState::Missing,
        size_bytes: 0,
        drive: None,
        bad_sectors: 0,
        is_replacement: false,
        read_errors: 0,
    };
    PartStatus {
        part: id.part,
        size_bytes: raid.capacity_sectors * SECTOR_BYTES as u64,
        level: raid.level,
        chunk_bytes: None,
        state: RaidState {
            failed: true,
            ..RaidState::default()
        },
        is_stalled: false,
        is_bare: false,
        elements: (0..raid.elements).map(element).collect(),
    }
}

/// Whatever RAIDs a LUN may have.
pub(super) const fn ids_of(lun: LunNumber) -> std::ops::RangeInclusive<PartId> {
    let last = PartId {
        lun,
        part: PARTS_MAX - 1,
    };
    PartId::first(lun)..=last
}

/// What is told of the scrubs of two RAIDs of a LUN together.
fn joined(one: ScrubStatus, other: ScrubStatus) -> ScrubStatus {
    let done = |scrub: &ScrubStatus| scrub.done_sectors.unwrap_or(scrub.total_sectors);
    let is_there = one.done_sectors.is_some() || other.done_sectors.is_some();
    ScrubStatus {
        interval_days: one.interval_days,
        last_unix_seconds: one.last_unix_seconds.min(other.last_unix_seconds),
        last_mismatched_sectors: one.last_mismatched_sectors + other.last_mismatched_sectors,
        last_repaired_sectors: one.last_repaired_sectors + other.last_repaired_sectors,
        last_is_incomplete: one.last_is_incomplete || other.last_is_incomplete,
        done_sectors: is_there.then(|| done(&one) + done(&other)),
        total_sectors: one.total_sectors + other.total_sectors,
        mismatched_sectors: one.mismatched_sectors + other.mismatched_sectors,
        repaired_sectors: one.repaired_sectors + other.repaired_sectors,
        repair: one.repair,
        is_repair: one.is_repair || other.is_repair,
        is_paused: one.is_paused || other.is_paused,
    }
}
