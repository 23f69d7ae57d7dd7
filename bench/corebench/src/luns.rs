//! The LUNs that are measured, all of them over the same drives.

use anyhow::{Context, Result};
use aoe::Shelf;
use disk::{Drive, DriveSpec};
use raid::layout::Area;
use raid::log::LogParameters;
use raid::regions::{RegionMap, RegionSet};
use raid::{Geometry, Level};
use shelf::admin::{DriveSlot, LunNumber};
use shelf::plane::{LogView, LunView, MemberView, PartView, RegionsView};
use std::sync::Arc;

/// Where the data of members begins: the area of the redo log lies before it, as large as on a disk
/// that leaves 16 MiB of headroom.
const DATA_OFFSET_SECTORS: u64 = 16 << 11;

/// Where the redo log begins.
const LOG_SECTOR: u64 = 4096;

const CHUNK_SECTORS: u32 = 128;

/// 64 MiB, or what is left of a disk.
const REGION_SHIFT: u32 = 17;

/// What a LUN is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) level: Level,
    pub(crate) members: u8,
    /// Members from 1 on that are lost.
    pub(crate) lost: u8,
    /// With bitmap and redo log, as LUNs of a shelf are, or without.
    pub(crate) is_protected: bool,
}

/// Where requests go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) number: u8,
    pub(crate) capacity_sectors: u64,
}

/// Drives in memory.
pub(crate) fn drives(count: u16, bytes: u64) -> Result<Vec<(DriveSlot, Arc<Drive>)>> {
    let spec = DriveSpec::Ram { size_bytes: bytes };
    (0..count)
        .map(|slot| {
            let drive = Drive::open(&spec).context("no memory for a drive")?;
            Ok((DriveSlot(slot), Arc::new(drive)))
        })
        .collect()
}

/// A LUN over the first drives.
pub(crate) fn view(number: u8, shape: Shape, drive_bytes: u64) -> Result<(Place, LunView)> {
    let member_sectors = drive_bytes / 512 - DATA_OFFSET_SECTORS;
    let member_sectors = member_sectors / u64::from(CHUNK_SECTORS) * u64::from(CHUNK_SECTORS);
    let geometry = Geometry::new(shape.level, shape.members, CHUNK_SECTORS, member_sectors)?;
    let log_area = Area {
        sector: LOG_SECTOR,
        sectors: DATA_OFFSET_SECTORS - LOG_SECTOR,
    };
    let member = |element: u8| {
        let is_lost = (1..=shape.lost).contains(&element);
        (!is_lost).then_some(MemberView {
            drive: DriveSlot(u16::from(element)),
            data_offset_sectors: DATA_OFFSET_SECTORS,
            in_sync: true,
            log_area,
            log_tag: u32::from(element) + 1,
        })
    };
    let has_log = shape.is_protected && shape.level.parity_count() > 0;
    let log = has_log
        .then(|| LogParameters::for_areas(log_area.sectors))
        .flatten()
        .map(|parameters| LogView {
            set_uuid: uuid::Uuid::from_u128(1),
            parameters,
        });
    let map = RegionMap::new(&geometry, REGION_SHIFT).context("no map of regions")?;
    let is_redundant = shape.is_protected && shape.level.is_redundant();
    let regions = is_redundant.then(|| RegionsView {
        map,
        ready: Arc::new(RegionSet::full(map.regions())),
    });
    let capacity_sectors = geometry.capacity_sectors();
    let view = LunView {
        lun: LunNumber::new(number).context("no LUN number")?,
        shelf: Shelf(1),
        online: true,
        capacity_sectors,
        unit: raid::Unit::SECTOR,
        parts: vec![PartView {
            geometry,
            members: (0..shape.members).map(member).collect(),
            twins: Vec::new(),
            mirrors_unsynced: false,
            sync: None,
            log,
            regions,
            lost: [].into(),
        }],
        identify: Box::new([0; 512]),
        config_string: Vec::new(),
        access: shelf::access::Access::default(),
    };
    let place = Place {
        number,
        capacity_sectors,
    };
    Ok((place, view))
}
