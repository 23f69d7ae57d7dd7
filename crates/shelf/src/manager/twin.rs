//! Twins: devices that are to take the place of members that still work.
//!
//! A twin is md's replacement device: it has the role of its member, feature bit 16, and how far it is
//! filled as its recovery offset. It gets what its member gets, is never read, and is filled by the same
//! pass that rebuilds members ([`super::sync`]).
//!
//! How each change survives a power cut at any write:
//! * **begin**: as a member joins ([`super::join`]): the twin's superblock is the first, one event ahead;
//!   the others learn of it from that. The member is in use before and after.
//! * **taken**: two rounds of superblocks. With the first the twin holds everything, and is still a twin.
//!   With the second it is the element, and the device that was is failed: the freshest superblock tells
//!   which, and whichever it is holds everything.
//! * **the member fails**: one round, with which the twin is the element as far as it is filled. It is
//!   called a replacement still: what was being written may be recorded in the redo log of the one that
//!   failed only. So after an unclean stop a replacement without an original, as a twin with one, gets
//!   again what regions with set bits hold ([`torn`]).
//! * **the twin fails**: one round without it.
//!
//! Invariants:
//! * a twin stands beside a member that is in sync, and nowhere else;
//! * with a redo log a device that is called a replacement becomes a member that is read only when no
//!   write is under way: the LUN is let go for that moment, and its log begins a new epoch;
//! * what a replacement may lack is behind its recovery offset before the LUN is served again;
//! * Linux never finds a RAID dirty and a twin in it that it would take, and spoil: twins are the first
//!   whose superblocks say dirty ([`raid::md::Superblock::is_spoilt_by_linux`]).

use super::drives::Usage;
use super::raid::{Member, Metadata, Raid};
use super::recovery::LogState;
use super::rounds::Rounds;
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot, ElementId, PartId};
use crate::plane::MemberView;
use raid::bitmap::Bitmap;
use raid::regions::{RegionIndex, RegionMap, RegionSet};
use std::sync::Arc;

/// Which of the devices of an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Device {
    pub(super) element: u8,
    pub(super) is_twin: bool,
}

impl Device {
    /// The member itself.
    pub(super) const fn member(element: u8) -> Self {
        Self {
            element,
            is_twin: false,
        }
    }

    /// The one that is to take its place.
    pub(super) const fn twin(element: u8) -> Self {
        Self {
            element,
            is_twin: true,
        }
    }
}

/// A device that takes writes.
pub(super) struct DeviceMut<'a> {
    pub(super) device: Device,
    pub(super) drive: DriveSlot,
    /// Up to which sector of the RAID it is filled, if it does not hold everything.
    pub(super) rebuilt_before: Option<u64>,
    /// Whether it is a member that holds everything.
    pub(super) is_normal: bool,
    pub(super) metadata: &'a mut Metadata,
}

/// A device that is to take the place of a member.
#[derive(Clone, Debug)]
pub(super) struct Twin {
    pub(super) drive: DriveSlot,
    pub(super) data_offset_sectors: u64,
    pub(super) metadata: Metadata,
    /// Sector of the RAID before which it holds what its member holds.
    pub(super) done_lba: u64,
    /// The regions in which it lacks something, if that is known; `None` for all behind that sector.
    pub(super) lacks: Option<Arc<RegionSet>>,
    /// It holds everything, durably said.
    pub(super) is_whole: bool,
}

impl Twin {
    /// What the data path needs of it.
    pub(super) fn view(&self) -> MemberView {
        MemberView {
            drive: self.drive,
            data_offset_sectors: self.data_offset_sectors,
            in_sync: false,
            ..Metadata::log_view(&self.metadata.superblock)
        }
    }

    /// The member that it is when the other one is gone.
    pub(super) fn into_rebuilding(self) -> Member {
        Member::Rebuilding {
            drive: self.drive,
            data_offset_sectors: self.data_offset_sectors,
            metadata: Box::new(self.metadata),
            done_lba: self.done_lba,
            lacks: self.lacks,
        }
    }

    /// The member that it is when it has taken the place of the other one.
    fn into_normal(self) -> Member {
        Member::Normal {
            drive: self.drive,
            data_offset_sectors: self.data_offset_sectors,
            metadata: Some(Box::new(self.metadata)),
            twin: None,
        }
    }
}

/// All devices that take writes.
pub(super) fn devices_mut(members: &mut [Member]) -> impl Iterator<Item = DeviceMut<'_>> {
    (0..).zip(members).flat_map(|(element, member)| {
        let rebuilt_before = member.rebuilt_before();
        let is_normal = member.is_normal();
        let (own, twin) = match member {
            Member::Normal {
                drive,
                metadata,
                twin,
                ..
            } => (
                metadata.as_deref_mut().map(|metadata| (*drive, metadata)),
                twin.as_deref_mut(),
            ),
            Member::Rebuilding {
                drive, metadata, ..
            } => (Some((*drive, &mut **metadata)), None),
            Member::Failed { .. } | Member::Missing => (None, None),
        };
        let own = own.map(|(drive, metadata)| DeviceMut {
            device: Device::member(element),
            drive,
            rebuilt_before,
            is_normal,
            metadata,
        });
        let twin = twin.map(|twin| DeviceMut {
            device: Device::twin(element),
            drive: twin.drive,
            rebuilt_before: (!twin.is_whole).then_some(twin.done_lba),
            is_normal: false,
            metadata: &mut twin.metadata,
        });
        own.into_iter().chain(twin)
    })
}

/// What a replacement lacks after an unclean stop of a RAID whose redo log does not know it: what it
/// lacked, and the regions that may have been written. Gives the sector before which it holds everything,
/// and the regions behind that.
pub(super) fn torn(bitmap: Option<&Bitmap>, done_lba: u64) -> (u64, Option<Arc<RegionSet>>) {
    let Some(bitmap) = bitmap else {
        return (0, None);
    };
    let map = bitmap.map();
    let first = bitmap.set().iter().next();
    let Some(first) = first.filter(|region| map.start_lba(*region) < done_lba) else {
        return (done_lba, None);
    };
    let mut lacks = bitmap.set().clone();
    for region in regions_behind(map, done_lba) {
        lacks.insert(region);
    }
    (map.start_lba(first), Some(Arc::new(lacks)))
}

/// The regions that do not end before a sector.
pub(super) fn regions_behind(map: &RegionMap, lba: u64) -> impl Iterator<Item = RegionIndex> {
    let regions = (0..map.regions()).map(RegionIndex);
    regions.filter(move |region| map.end_lba(*region) > lba)
}

impl Raid {
    /// The twins with their element numbers.
    pub(super) fn twins(&self) -> impl Iterator<Item = (u8, &Twin)> {
        let twins = |(element, member)| Some((element, Member::twin(member)?));
        self.elements().filter_map(twins)
    }

    /// Whether some device is to be filled.
    pub(super) fn is_copying(&self) -> bool {
        self.is_rebuilding() || self.twins().next().is_some()
    }

    /// The drives of all devices that take writes.
    pub(super) fn drives_in_use(&self) -> Vec<DriveSlot> {
        let in_use = self.members.iter().filter(|member| member.is_in_use());
        in_use.flat_map(Member::drives).collect()
    }

    /// What was being written is made good from the redo log, which does not know twins: they lack it.
    fn tear_twins(&mut self) {
        let bitmap = self.bitmap.as_ref();
        for member in &mut self.members {
            let (done_lba, lacks) = match member {
                Member::Normal {
                    twin: Some(twin), ..
                } => {
                    twin.is_whole = false;
                    (&mut twin.done_lba, &mut twin.lacks)
                }
                Member::Rebuilding {
                    metadata,
                    done_lba,
                    lacks,
                    ..
                } if metadata.superblock.is_replacement() => (done_lba, lacks),
                _ => continue,
            };
            (*done_lba, *lacks) = torn(bitmap, *done_lba);
        }
    }

    /// Whether a device that holds everything, or is about to, is called a replacement.
    fn has_replacements(&self) -> bool {
        let is_replacement = |member: &Member| {
            let metadata = member.metadata();
            let of_member = metadata.is_some_and(|own| own.superblock.is_replacement());
            of_member || member.twin().is_some()
        };
        self.members.iter().any(is_replacement)
    }
}

impl Rounds<'_> {
    /// Makes devices that are called replacements, and hold everything, the elements that they are to be.
    /// No write is under way that is only in the redo log of others.
    fn take_twins(&mut self) -> Result<(), String> {
        let before = self.raid.members.clone();
        let is_whole = |twin: &Twin| twin.is_whole;
        for member in &mut self.raid.members {
            member.end_rebuild(|_| true);
            if let Some(twin) = member.take_twin_if(is_whole) {
                *member = twin.into_normal();
                // Even the last round reached the one that was.
                self.raid.events_ahead = self.raid.events_ahead.max(self.raid.events + 2);
            }
        }
        let resync = self.present_resync();
        self.superblocks(resync)
            .inspect_err(|_| self.raid.members = before)
    }
}

impl Manager {
    /// A pass over a RAID is complete, and its twins are durably said to hold everything: they take the
    /// places of their members.
    pub(super) fn take_twins(&mut self, id: PartId) {
        if !self.raids.get(&id).is_some_and(Raid::has_replacements) {
            return;
        }
        let raid = &self.raids[&id];
        let rebuilt = raid.elements().filter_map(|(element, member)| {
            let drive = member.drive().filter(|_| member.rebuilt_before().is_some());
            Some((raid.element_id(element), drive?))
        });
        let twins = raid
            .twins()
            .map(|(element, twin)| (raid.element_id(element), twin.drive));
        let elements: Vec<(ElementId, DriveSlot)> = rebuilt.chain(twins).collect();
        let taken = self.while_quiet(id, |rounds| rounds.take_twins());
        match taken {
            Ok(true) => {
                for (id, drive) in elements {
                    self.notices.push(format!(
                        "replacement complete: drive in slot {drive} (device {id})"
                    ));
                }
            }
            // There is something to synchronise first.
            Ok(false) => self.begin_pass(id),
            Err(reason) => {
                if let Some(raid) = self.raids.get_mut(&id) {
                    raid.is_sync_stopped = true;
                }
                self.notices.push(format!(
                    "raid {id}: the end of a replacement could not be recorded, it is tried again when the \
                     LUN goes online: {reason}"
                ));
            }
        }
    }

    /// Changes a RAID while no write to it is under way, and nothing that the redo log holds counts any
    /// more. A LUN with a log is let go for that. Gives false when something was being written all the
    /// same, or members may differ: then nothing was changed, and twins lack what may have been written.
    fn while_quiet(
        &mut self,
        id: PartId,
        change: impl FnOnce(&mut Rounds<'_>) -> Result<(), String>,
    ) -> Result<bool, String> {
        let number = id.lun;
        let text = |error: AdminError| error.to_string();
        let has_log = |raid: &Raid| raid.record.log.is_some();
        let is_let_go = self
            .raids
            .get(&id)
            .is_some_and(|raid| raid.is_live && has_log(raid));
        if is_let_go {
            self.stop(number).map_err(text)?;
        }
        let is_quiet = |raid: &Raid| !raid.is_unsynced && raid.log_state == LogState::Settled;
        let is_quiet = self.raids.get(&id).is_some_and(is_quiet);
        let changed = match self.rounds(id) {
            Some(mut rounds) if is_quiet => change(&mut rounds).map(|()| true),
            Some(rounds) => {
                rounds.raid.tear_twins();
                Ok(false)
            }
            None => Ok(false),
        };
        if is_let_go {
            // The data path counts the groups of all logs of the LUN from the beginning now.
            let served = self.serve_on(number);
            if let Err(error) = served {
                self.notices
                    .push(format!("LUN {number} stays offline: {error}"));
            }
        }
        changed
    }

    /// Serves a LUN again that was let go in good order, with new epochs.
    fn serve_on(&mut self, number: LunNumber) -> Result<(), AdminError> {
        for id in self.ids(number) {
            self.settle_log(id)?;
        }
        self.set_live(number, true);
        let attached = self.attach_if_live(number);
        if attached.is_err() {
            self.set_live(number, false);
        }
        attached
    }

    /// The drives that were an element or a twin, and are not any more, are nobody's.
    pub(super) fn note_outgoing(&mut self, number: LunNumber) {
        let is_of_lun = |usage: &Usage| match usage {
            Usage::Element(id) if id.lun == number => Some(*id),
            _ => None,
        };
        let claimed = self.drives.iter().filter_map(|entry| {
            let id = is_of_lun(&entry.usage)?;
            Some((entry.drive.slot, id))
        });
        let claimed: Vec<(DriveSlot, ElementId)> = claimed.collect();
        for (drive, id) in claimed {
            let Some(raid) = self.raids.get(&id.raid()) else {
                continue;
            };
            let member = raid.members.get(usize::from(id.member));
            if member.is_some_and(|member| !member.drives().any(|own| own == drive)) {
                let set = raid.set_uuid.unwrap_or_default();
                let what = format!("a former element {id} (set {set})");
                self.drives.set_usage(drive, Usage::Former { what, set });
            }
        }
    }
}
