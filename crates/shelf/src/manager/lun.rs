//! A LUN in memory: what its members' metadata says, and what is true of it now.

use super::drives::Drives;
use crate::admin::{
    DriveSlot, ElementId, ElementState, ElementStatus, LunNumber, LunStatus, PartStatus, RaidState,
};
use crate::plane::{LunView, MemberView, PartView, RegionsView, SyncView};
use aoe::{SECTOR_BYTES, Shelf};
use ata::identify::IdentifySpec;
use raid::Geometry;
use raid::bitmap::Bitmap;
use raid::layout::MetadataPlaces;
use raid::md::Superblock;
use raid::record::{Record, RecordOwner};
use raid::regions::RegionSet;
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

    /// Where the metadata lies. Every member of ours has room for it.
    pub(super) fn places(superblock: &Superblock) -> MetadataPlaces {
        MetadataPlaces::of(superblock.data_offset_sectors())
            .expect("a member is only taken when it has room for our metadata")
    }
}

/// An element of a LUN.
#[derive(Clone, Debug)]
pub(super) enum Member {
    /// In use.
    Normal {
        drive: DriveSlot,
        data_offset_sectors: u64,
        /// `None` for raw.
        metadata: Option<Box<Metadata>>,
    },
    /// Its drive is there, but failed, or missed changes.
    Failed { drive: DriveSlot },
    /// No drive holds it.
    Missing,
}

impl Member {
    pub(super) const fn drive(&self) -> Option<DriveSlot> {
        match self {
            Self::Normal { drive, .. } | Self::Failed { drive } => Some(*drive),
            Self::Missing => None,
        }
    }

    pub(super) const fn is_normal(&self) -> bool {
        matches!(self, Self::Normal { .. })
    }

    pub(super) fn metadata_mut(&mut self) -> Option<(DriveSlot, &mut Metadata)> {
        match self {
            Self::Normal {
                drive,
                metadata: Some(metadata),
                ..
            } => Some((*drive, metadata)),
            _ => None,
        }
    }
}

/// A LUN. It has one RAID.
#[derive(Clone, Debug)]
pub(super) struct Lun {
    pub(super) number: LunNumber,
    pub(super) geometry: Geometry,
    /// UUID of its set; `None` for raw.
    pub(super) set_uuid: Option<Uuid>,
    /// In element order.
    pub(super) members: Vec<Member>,
    /// What the members' records say; `element` is each member's own.
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
    /// Unsynced mirrors agree before this sector of the LUN.
    pub(super) sync_from: u64,
    /// The write-intent bitmap of its members; `None` without redundancy.
    pub(super) bitmap: Option<Bitmap>,
    /// The regions in which unsynced mirrors may differ; `None` for all. Their bits are set.
    pub(super) unsynced_regions: Option<Arc<RegionSet>>,
    /// Number of the present or last pass over the mirrors; 0 before the first. No two LUNs have had
    /// the same.
    pub(super) sync_pass: u64,
    /// The last pass could not read everything: it is not tried again before the next start.
    pub(super) is_sync_stopped: bool,
    /// Whether it is attached to the data path.
    pub(super) is_live: bool,
    /// The workers did not take its last view.
    pub(super) is_view_stale: bool,
    /// Why it is not served, however many members it has.
    pub(super) unfit: Option<String>,
    /// Why it is not served before somebody asks for it.
    pub(super) doubt: Option<String>,
    /// Drives of the other half of a mirror whose halves were served apart.
    pub(super) rivals: Vec<DriveSlot>,
    /// Elements that were in use when the LUN was last changed, and are away.
    pub(super) late: Vec<u8>,
}

impl Lun {
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
        if !self.can_serve_without(&[]) {
            let absent = self.absent_elements();
            return Some(format!("too many elements are missing or failed: {absent}"));
        }
        self.unfit.clone()
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
        ElementId {
            lun: self.number,
            part: 0,
            member,
        }
    }

    /// Members with their element numbers.
    pub(super) fn elements(&self) -> impl Iterator<Item = (u8, &Member)> {
        (0..).zip(&self.members)
    }

    /// The elements that take no I/O, as words.
    pub(super) fn absent_elements(&self) -> String {
        let absent: Vec<u8> = self
            .elements()
            .filter(|(_, member)| !member.is_normal())
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

    /// Whether its mirrors are to be made equal.
    fn wants_sync(&self) -> bool {
        let present = self
            .members
            .iter()
            .filter(|member| member.is_normal())
            .count();
        self.is_unsynced && !self.is_sync_stopped && self.can_serve() && present > 1
    }

    /// How much of it is to be made equal, as words; `None` when nothing is, or all of it.
    pub(super) fn sync_extent(&self) -> Option<String> {
        let map = self.bitmap.as_ref()?.map();
        let regions = self
            .unsynced_regions
            .as_ref()
            .filter(|_| self.wants_sync())?;
        let (count, of) = (regions.count(), map.regions());
        let kib = map.region_sectors() / 2;
        (count < of).then(|| format!("{count} of {of} regions of {kib} KiB"))
    }

    fn state(&self) -> RaidState {
        let failed = !self.can_serve();
        RaidState {
            failed,
            initing: self.is_live && self.wants_sync(),
            degraded: !failed && self.is_redundant() && !self.all_normal(),
        }
    }

    pub(super) fn status(&self, drives: &Drives) -> LunStatus {
        let size_bytes = self.geometry.capacity_sectors() * SECTOR_BYTES as u64;
        let elements = self.elements().map(|(element, member)| ElementStatus {
            id: self.element_id(element),
            state: match member {
                Member::Normal { .. } => ElementState::Normal,
                Member::Failed { .. } => ElementState::Failed,
                Member::Missing => ElementState::Missing,
            },
            size_bytes: member
                .drive()
                .and_then(|slot| drives.get(slot))
                .map_or(0, super::drives::Entry::size_bytes),
            drive: member.drive(),
        });
        let part = PartStatus {
            part: 0,
            size_bytes,
            level: self.geometry.level(),
            state: self.state(),
            elements: elements.collect(),
        };
        LunStatus {
            lun: self.number,
            size_bytes,
            online: self.is_live,
            label: self.record.label.clone(),
            serial: self.record.serial.clone(),
            config_string: self.record.config_string.clone(),
            parts: vec![part],
        }
    }

    /// What the data path needs of it.
    pub(super) fn view(&self, shelf: Shelf) -> LunView {
        let capacity_sectors = self.geometry.capacity_sectors();
        let members = self.members.iter().map(|member| match member {
            Member::Normal {
                drive,
                data_offset_sectors,
                ..
            } => Some(MemberView {
                drive: *drive,
                data_offset_sectors: *data_offset_sectors,
                in_sync: true,
                log_area: raid::layout::Area {
                    sector: 0,
                    sectors: 0,
                },
                log_tag: 1,
            }),
            Member::Failed { .. } | Member::Missing => None,
        });
        let identify = IdentifySpec {
            sectors: capacity_sectors,
            serial: &self.record.serial,
            firmware: env!("CARGO_PKG_VERSION"),
            model: &format!("Ledge {}", self.geometry.level()),
            solid_state: false,
        };
        LunView {
            lun: self.number,
            shelf,
            online: true,
            capacity_sectors,
            parts: vec![PartView {
                geometry: self.geometry,
                members: members.collect(),
                mirrors_unsynced: self.is_unsynced,
                sync: self.wants_sync().then_some(SyncView {
                    pass: self.sync_pass,
                    start_lba: self.sync_from,
                    regions: self.unsynced_regions.clone(),
                }),
                regions: self.bitmap.as_ref().map(|bitmap| RegionsView {
                    map: *bitmap.map(),
                    ready: Arc::new(bitmap.set().clone()),
                }),
                log: None,
            }],
            identify: Box::new(identify.build()),
            config_string: self.record.config_string.clone(),
        }
    }
}
