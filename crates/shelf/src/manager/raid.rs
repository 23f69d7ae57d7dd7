//! A RAID in memory: what its members' metadata says, and what is true of it now. One to four make a LUN
//! ([`super::lun`]).

use super::drives::Drives;
use super::recovery::LogState;
use super::twin::{Twin, regions_behind};
use crate::admin::{
    DriveSlot, ElementId, ElementState, ElementStatus, PartId, PartStatus, RaidState,
};
use crate::plane::{LogView, MemberView, PartView, RegionsView, SyncKind, SyncView};
use crate::target::ScrubFinding;
use aoe::SECTOR_BYTES;
use raid::bad_blocks::BadBlocks;
use raid::bitmap::Bitmap;
use raid::geometry::is_striped;
use raid::layout::{Area, MetadataPlaces};
use raid::log::member_tag;
use raid::md::Superblock;
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::record::{Record, RecordOwner, RecordState};
use raid::regions::{RegionIndex, RegionSet};
use raid::{Geometry, Unit};
use std::sync::Arc;
use uuid::Uuid;

/// The metadata of a member, as it is on its drive.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    pub(super) superblock: Superblock,
    /// Which private slot holds the present record.
    pub(super) slot: usize,
    /// Whether its drive holds the write-intent bitmap as it is in memory, but for pages that were
    /// changed since.
    pub(super) has_bitmap: bool,
    /// Sectors of its drive that are not to be read.
    pub(super) bad_blocks: BadBlocks,
}

impl Metadata {
    /// Whose record the private slots hold.
    pub(super) const fn owner(superblock: &Superblock) -> RecordOwner {
        RecordOwner {
            set_uuid: superblock.set_uuid(),
            dev_number: superblock.dev_number(),
            data_offset_sectors: superblock.data_offset_sectors(),
        }
    }

    /// What the data path needs to know of the log of a device, with nothing said of the rest.
    pub(super) fn log_view(superblock: &Superblock) -> MemberView {
        MemberView {
            drive: DriveSlot(0),
            data_offset_sectors: 0,
            in_sync: false,
            log_area: Self::places(superblock).redo_log,
            log_tag: member_tag(superblock.device_uuid()),
        }
    }

    /// Where the metadata lies. Every member of ours has room for it.
    pub(super) fn places(superblock: &Superblock) -> MetadataPlaces {
        MetadataPlaces::of(superblock.data_offset_sectors())
            .expect("a member is only taken when it has room for our metadata")
    }
}

/// An element of a RAID.
#[derive(Clone, Debug)]
pub(super) enum Member {
    /// In use.
    Normal {
        drive: DriveSlot,
        data_offset_sectors: u64,
        /// `None` for raw.
        metadata: Option<Box<Metadata>>,
        /// The device that is to take its place.
        twin: Option<Box<Twin>>,
    },
    /// In use: written like the others, but not read, because it does not hold everything yet.
    Rebuilding {
        drive: DriveSlot,
        data_offset_sectors: u64,
        metadata: Box<Metadata>,
        /// Sector of the RAID before which it holds everything.
        done_lba: u64,
        /// The regions in which it lacks something, if that is known; `None` for all.
        lacks: Option<Arc<RegionSet>>,
    },
    /// Its drive is there, but failed, or missed changes.
    Failed { drive: DriveSlot },
    /// No drive holds it.
    Missing,
}

impl Member {
    pub(super) const fn drive(&self) -> Option<DriveSlot> {
        match self {
            Self::Normal { drive, .. }
            | Self::Rebuilding { drive, .. }
            | Self::Failed { drive } => Some(*drive),
            Self::Missing => None,
        }
    }

    /// The drives of all its devices.
    pub(super) fn drives(&self) -> impl Iterator<Item = DriveSlot> {
        let twin = self.twin().map(|twin| twin.drive);
        self.drive().into_iter().chain(twin)
    }

    /// The device that is to take its place.
    pub(super) fn twin(&self) -> Option<&Twin> {
        match self {
            Self::Normal { twin, .. } => twin.as_deref(),
            _ => None,
        }
    }

    /// Takes the device that is to take its place, if something is true of it.
    pub(super) fn take_twin_if(&mut self, is_wanted: impl FnOnce(&Twin) -> bool) -> Option<Twin> {
        match self {
            Self::Normal { twin, .. } => twin.take_if(|twin| is_wanted(twin)).map(|twin| *twin),
            _ => None,
        }
    }

    /// Makes a member that is being rebuilt one that holds everything, if something is true of its
    /// superblock. Gives its drive then.
    pub(super) fn end_rebuild(
        &mut self,
        is_wanted: impl FnOnce(&Superblock) -> bool,
    ) -> Option<DriveSlot> {
        let Self::Rebuilding {
            drive,
            data_offset_sectors,
            metadata,
            ..
        } = self
        else {
            return None;
        };
        if !is_wanted(&metadata.superblock) {
            return None;
        }
        let drive = *drive;
        *self = Self::Normal {
            drive,
            data_offset_sectors: *data_offset_sectors,
            metadata: Some(metadata.clone()),
            twin: None,
        };
        Some(drive)
    }

    /// The device that is to take its place holds everything.
    pub(super) fn note_whole_twin(&mut self) {
        if let Self::Normal {
            twin: Some(twin), ..
        } = self
        {
            twin.is_whole = true;
            twin.lacks = None;
        }
    }

    /// Whether it holds everything.
    pub(super) const fn is_normal(&self) -> bool {
        matches!(self, Self::Normal { .. })
    }

    /// Whether it takes writes.
    pub(super) const fn is_in_use(&self) -> bool {
        matches!(self, Self::Normal { .. } | Self::Rebuilding { .. })
    }

    /// Up to which sector of the RAID it is rebuilt, if it is being rebuilt.
    pub(super) const fn rebuilt_before(&self) -> Option<u64> {
        match self {
            Self::Rebuilding { done_lba, .. } => Some(*done_lba),
            Self::Normal { .. } | Self::Failed { .. } | Self::Missing => None,
        }
    }

    pub(super) fn metadata(&self) -> Option<&Metadata> {
        match self {
            Self::Normal { metadata, .. } => metadata.as_deref(),
            Self::Rebuilding { metadata, .. } => Some(metadata),
            Self::Failed { .. } | Self::Missing => None,
        }
    }
}

impl Member {
    /// What the data path needs of it; `None` for one that takes no I/O.
    pub(super) fn view(&self) -> Option<MemberView> {
        let (Self::Normal {
            drive,
            data_offset_sectors,
            ..
        }
        | Self::Rebuilding {
            drive,
            data_offset_sectors,
            ..
        }) = self
        else {
            return None;
        };
        // Only raw has none, and no log either.
        let without_log = MemberView {
            drive: *drive,
            data_offset_sectors: *data_offset_sectors,
            #[cfg(feature = "planted")]
            in_sync: self.is_normal() || planted::is(Bug::RebuildingMemberRead),
            #[cfg(not(feature = "planted"))]
            in_sync: self.is_normal(),
            log_area: Area {
                sector: 0,
                sectors: 0,
            },
            log_tag: 1,
        };
        let log = self
            .metadata()
            .map(|metadata| Metadata::log_view(&metadata.superblock));
        Some(log.map_or(without_log, |log| MemberView {
            log_area: log.log_area,
            log_tag: log.log_tag,
            ..without_log
        }))
    }
}

/// A RAID of a LUN.
#[derive(Clone, Debug)]
pub(super) struct Raid {
    /// Which RAID of which LUN.
    pub(super) id: PartId,
    pub(super) geometry: Geometry,
    /// UUID of its set; `None` for raw.
    pub(super) set_uuid: Option<Uuid>,
    /// In element order.
    pub(super) members: Vec<Member>,
    /// What the members' records say; `element` is each member's own. What is said there of the LUN as a
    /// whole counts in its first RAID only.
    pub(super) record: Record,
    /// Generation of that record.
    pub(super) generation: u64,
    /// Event count of the superblocks.
    pub(super) events: u64,
    /// Event count that the superblocks must reach before a change of theirs is done, so that those
    /// who are not members any more are left behind.
    pub(super) events_ahead: u64,
    /// Whether the superblocks say, or may say, dirty.
    pub(super) is_dirty: bool,
    /// Whether mirrors may differ.
    pub(super) is_unsynced: bool,
    /// Unsynced mirrors agree before this sector of the RAID.
    pub(super) sync_from: u64,
    /// The write-intent bitmap of its members; `None` without redundancy.
    pub(super) bitmap: Option<Bitmap>,
    /// The regions in which unsynced mirrors may differ; `None` for all. Their bits are set.
    pub(super) unsynced_regions: Option<Arc<RegionSet>>,
    /// Number of the present or last pass over the mirrors; 0 before the first. No two RAIDs have had
    /// the same.
    pub(super) sync_pass: u64,
    /// Of the present pass, how many reports of sectors that nobody can give were noted.
    pub(super) sync_noted: u64,
    /// Of what the present pass found to differ, how much is in the record.
    pub(super) scrub_counted: ScrubFinding,
    /// The data path was given a view without its pass, because that of another RAID comes first.
    pub(super) is_passed_over: bool,
    /// The last pass could not read everything: it is not tried again before the next start.
    pub(super) is_sync_stopped: bool,
    /// What is to be done about its redo log.
    pub(super) log_state: LogState,
    /// Whether it is attached to the data path.
    pub(super) is_live: bool,
    /// The workers did not take its last view.
    pub(super) is_view_stale: bool,
    /// Why it is not served, however many members it has.
    pub(super) unfit: Option<String>,
    /// Nothing is to be written to its members: another version has begun with them.
    pub(super) is_untouchable: bool,
    /// Drives whose place a copy has taken, which have not been told so: what their superblocks say.
    pub(super) outrun: Vec<(DriveSlot, Superblock)>,
    /// One of its members is being copied, by an extract: it is not served, and nothing of it is changed.
    pub(super) is_copied: bool,
    /// Why it is not served before somebody asks for it.
    pub(super) doubt: Option<String>,
    /// Drives of the other half of a mirror whose halves were served apart.
    pub(super) rivals: Vec<DriveSlot>,
    /// Elements that were in use when the RAID was last changed, and are away.
    pub(super) late: Vec<u8>,
}

impl Raid {
    /// A RAID in good order, of which nothing was written yet.
    pub(super) fn new(
        id: PartId,
        geometry: Geometry,
        members: Vec<Member>,
        record: Record,
    ) -> Self {
        Self {
            id,
            geometry,
            set_uuid: None,
            members,
            record,
            generation: 0,
            events: 0,
            events_ahead: 0,
            is_dirty: false,
            is_unsynced: false,
            sync_from: 0,
            bitmap: None,
            unsynced_regions: None,
            sync_pass: 0,
            scrub_counted: ScrubFinding::default(),
            sync_noted: 0,
            is_passed_over: false,
            is_sync_stopped: false,
            log_state: LogState::Settled,
            is_live: false,
            is_view_stale: false,
            unfit: None,
            is_untouchable: false,
            outrun: Vec::new(),
            is_copied: false,
            doubt: None,
            rivals: Vec::new(),
            late: Vec::new(),
        }
    }

    /// Whether it has metadata; raw has none.
    pub(super) const fn is_recorded(&self) -> bool {
        !matches!(self.geometry.level(), raid::Level::Raw)
    }

    pub(super) const fn is_redundant(&self) -> bool {
        self.geometry.level().is_redundant()
    }

    pub(super) fn can_serve(&self) -> bool {
        self.refusal().is_none()
    }

    /// Why it cannot be served.
    pub(super) fn refusal(&self) -> Option<String> {
        if self.is_untouchable {
            return self.unfit.clone();
        }
        if !self.can_serve_without(&[]) {
            let absent = self.absent_elements();
            return Some(format!("too many elements are missing or failed: {absent}"));
        }
        self.unfit.clone()
    }

    /// Why its making or removal is neither finished nor undone.
    pub(super) fn reason_to_leave_unfinished(&self) -> Option<String> {
        let is_left = self.is_untouchable && self.record.state != RecordState::Complete;
        self.unfit.clone().filter(|_| is_left)
    }

    /// Whether it could serve if these elements were gone too.
    pub(super) fn can_serve_without(&self, lost: &[u8]) -> bool {
        self.geometry.can_serve(|element| {
            self.members[usize::from(element)].is_normal() && !lost.contains(&element)
        })
    }

    pub(super) fn all_normal(&self) -> bool {
        self.members.iter().all(Member::is_normal)
    }

    pub(super) const fn element_id(&self, member: u8) -> ElementId {
        self.id.element(member)
    }

    /// The present devices' numbers and md roles: those that md's tables are to name.
    pub(super) fn active_devices(&self) -> Vec<(u32, u16)> {
        let active = self.elements().flat_map(|(element, member)| {
            let twin = member.twin().map(|twin| &twin.metadata);
            let devices = member.metadata().into_iter().chain(twin);
            let role = self.geometry.md_role(element);
            devices.map(move |metadata| (metadata.superblock.dev_number(), role))
        });
        active.collect()
    }

    /// Whether a member is being rebuilt.
    pub(super) fn is_rebuilding(&self) -> bool {
        self.members
            .iter()
            .any(|member| member.rebuilt_before().is_some())
    }

    /// Members with their element numbers.
    pub(super) fn elements(&self) -> impl Iterator<Item = (u8, &Member)> {
        (0..).zip(&self.members)
    }

    /// Elements whose drives were only away, and are back.
    pub(super) fn returned(&self) -> Vec<(ElementId, DriveSlot)> {
        let was_away = |(element, _): &(u8, &Member)| self.record.away.contains(element);
        let returned = self.elements().filter(was_away);
        let failed = returned.filter_map(|(element, member)| match member {
            Member::Failed { drive } => Some((self.element_id(element), *drive)),
            _ => None,
        });
        failed.collect()
    }

    /// The elements that take no I/O, as words.
    pub(super) fn absent_elements(&self) -> String {
        let absent: Vec<u8> = self
            .elements()
            .filter(|(_, member)| !member.is_in_use())
            .map(|(element, _)| element)
            .collect();
        self.element_names(&absent)
    }

    /// Elements as words.
    pub(super) fn element_names(&self, elements: &[u8]) -> String {
        let names: Vec<_> = elements
            .iter()
            .map(|&element| self.element_id(element).to_string())
            .collect();
        names.join(", ")
    }

    /// Where the pass is to begin that makes its mirrors equal, or rebuilds members, or both; `None`
    /// when there is nothing to do.
    pub(super) fn sync_start(&self) -> Option<u64> {
        if self.is_sync_stopped || !self.can_serve() {
            return None;
        }
        let present = self.members.iter().filter(|member| member.is_in_use());
        let resync = (self.is_unsynced && present.count() > 1).then_some(self.sync_from);
        let rebuilt = self.members.iter().filter_map(Member::rebuilt_before);
        let twins = self.twins().map(|(_, twin)| twin.done_lba);
        rebuilt.chain(twins).chain(resync).min()
    }

    /// Where a scrub is to go on; it waits while there is anything else to do.
    pub(super) fn check_start(&self) -> Option<u64> {
        let scrub = self.record.scrub;
        let is_well = !self.is_unsynced && !self.is_sync_stopped && self.all_normal();
        scrub.done_lba.filter(|_| is_well && !scrub.is_paused)
    }

    /// The pass that is to be run.
    pub(super) fn pass(&self) -> Option<SyncView> {
        let resync = self.sync_start().map(|lba| (lba, SyncKind::Resync));
        let check = || self.check_start().map(|lba| (lba, SyncKind::Check));
        let (start_lba, kind) = resync.or_else(check)?;
        Some(SyncView {
            pass: self.sync_pass,
            start_lba,
            kind,
            noted: self.sync_noted,
            regions: match kind {
                SyncKind::Resync => self.regions_to_sync(),
                SyncKind::Check => None,
            },
            repair: self.scrub_repair(),
        })
    }

    /// The regions that a resync or rebuild is to go over; `None` for all.
    fn regions_to_sync(&self) -> Option<Arc<RegionSet>> {
        let map = self.bitmap.as_ref()?.map();
        if !self.is_copying() {
            return self.unsynced_regions.clone();
        }
        let mut wanted = match (self.is_unsynced, &self.unsynced_regions) {
            (false, _) => RegionSet::empty(map.regions()),
            (true, Some(regions)) => (**regions).clone(),
            (true, None) => return None,
        };
        let rebuilding = self.members.iter().filter_map(|member| match member {
            Member::Rebuilding {
                done_lba, lacks, ..
            } => Some((*done_lba, lacks)),
            _ => None,
        });
        let twins = self.twins().map(|(_, twin)| (twin.done_lba, &twin.lacks));
        for (done_lba, lacks) in rebuilding.chain(twins) {
            let is_lacked = |region: &RegionIndex| {
                let lacks = lacks.as_ref();
                lacks.is_none_or(|lacks| lacks.contains(*region))
            };
            for region in regions_behind(map, done_lba).filter(is_lacked) {
                wanted.insert(region);
            }
        }
        Some(Arc::new(wanted))
    }

    /// How much of it is to be made equal, as words; `None` when nothing is, or all of it.
    pub(super) fn sync_extent(&self) -> Option<String> {
        let map = self.bitmap.as_ref()?.map();
        self.sync_start()?;
        let regions = self.regions_to_sync()?;
        let (count, of) = (regions.count(), map.regions());
        let kib = map.region_sectors() / 2;
        (count < of).then(|| format!("{count} of {of} regions of {kib} KiB"))
    }

    /// Whether the next member to fail takes data with it, though its level is redundant.
    fn is_bare(&self) -> bool {
        let is_needed = |element: u8| !self.can_serve_without(&[element]);
        let mut normal = self.elements().filter(|(_, member)| member.is_normal());
        self.is_redundant() && self.can_serve() && normal.any(|(element, _)| is_needed(element))
    }

    fn state(&self) -> RaidState {
        let failed = !self.can_serve();
        RaidState {
            failed,
            initing: self.is_live && self.is_unsynced && self.sync_start().is_some(),
            recovering: !failed && self.is_copying(),
            degraded: !failed && self.is_redundant() && !self.all_normal(),
        }
    }

    pub(super) fn status(&self, drives: &Drives) -> PartStatus {
        let bad_sectors = |metadata: Option<&Metadata>| {
            let ranges = metadata.map_or(&[][..], |metadata| metadata.bad_blocks.ranges());
            ranges.iter().map(|range| range.sectors).sum()
        };
        let size_bytes = |drive: Option<DriveSlot>| {
            let entry = drive.and_then(|slot| drives.get(slot));
            entry.map_or(0, super::drives::Entry::size_bytes)
        };
        let elements = self.elements().flat_map(|(element, member)| {
            let own = ElementStatus {
                id: self.element_id(element),
                state: match member {
                    Member::Normal { .. } => ElementState::Normal,
                    Member::Rebuilding { .. } => ElementState::Replaced,
                    Member::Failed { .. } => ElementState::Failed,
                    Member::Missing => ElementState::Missing,
                },
                size_bytes: size_bytes(member.drive()),
                drive: member.drive(),
                is_replacement: false,
                read_errors: 0,
                bad_sectors: bad_sectors(member.metadata()),
            };
            let twin = member.twin().map(|twin| ElementStatus {
                state: ElementState::Replaced,
                size_bytes: size_bytes(Some(twin.drive)),
                drive: Some(twin.drive),
                is_replacement: true,
                read_errors: 0,
                bad_sectors: bad_sectors(Some(&twin.metadata)),
                ..own
            });
            std::iter::once(own).chain(twin)
        });
        PartStatus {
            part: self.id.part,
            size_bytes: self.geometry.capacity_sectors() * SECTOR_BYTES as u64,
            level: self.geometry.level(),
            chunk_bytes: is_striped(self.geometry.level())
                .then(|| self.geometry.chunk_sectors() * 512),
            state: self.state(),
            is_stalled: self.is_sync_stopped,
            is_bare: self.is_bare(),
            elements: elements.collect(),
        }
    }

    /// Whether its sectors lie on its members as they lie in blocks of 4096 bytes.
    pub(super) fn is_aligned(&self) -> bool {
        let offset = |member: &Member| member.view().map_or(0, |view| view.data_offset_sectors);
        let mut offsets = self.members.iter().map(offset);
        offsets.all(|offset| Unit::BLOCK.divides(offset)) && self.fits_unit(Unit::BLOCK)
    }

    /// Whether its sizes are whole units.
    pub(super) fn fits_unit(&self, unit: Unit) -> bool {
        unit.divides(self.geometry.member_sectors())
            && unit.divides(self.geometry.capacity_sectors())
    }

    /// The redo log, if it has one.
    fn log_view(&self) -> Option<LogView> {
        Some(LogView {
            set_uuid: self.set_uuid?,
            parameters: self.record.log?,
        })
    }

    /// What the data path needs of its twins: nothing when there are none.
    fn twin_views(&self) -> Vec<Option<MemberView>> {
        if self.twins().next().is_none() {
            return Vec::new();
        }
        let twin = |member: &Member| member.twin().map(Twin::view);
        self.members.iter().map(twin).collect()
    }

    /// What the data path needs of it, but for its pass.
    pub(super) fn view(&self) -> PartView {
        PartView {
            geometry: self.geometry,
            members: self.members.iter().map(Member::view).collect(),
            twins: self.twin_views(),
            mirrors_unsynced: self.is_unsynced,
            sync: None,
            regions: self.bitmap.as_ref().map(|bitmap| RegionsView {
                map: *bitmap.map(),
                ready: Arc::new(bitmap.set().clone()),
            }),
            log: self.log_view(),
            lost: self.record.lost.as_slice().into(),
        }
    }
}
