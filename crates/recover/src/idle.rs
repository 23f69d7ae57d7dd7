//! A shelf that serves nothing: what a manager needs to work on disks without one.

use aoe::Shelf;
use raid::bad_blocks::BadRange;
use raid::regions::RegionSet;
use shelf::admin::{DriveSlot, LunNumber};
use shelf::manager::ShelfStore;
use shelf::observe::Observe;
use shelf::patience::DriveHealth;
use shelf::plane::{CounterGroup, DataPlane, Detached, Impostor, LunView, RateLimit, RunningPass};
use shelf::target::MendTicket;
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// No workers.
pub(crate) struct NoPlane;

impl Observe for NoPlane {}

impl DataPlane for NoPlane {
    fn attach(&mut self, _: Arc<LunView>) -> Result<(), String> {
        Err("nothing is served here".to_owned())
    }

    fn detach(&mut self, _: LunNumber) -> Result<Detached, String> {
        Ok(Detached::default())
    }

    fn regions_ready(&mut self, _: LunNumber, _: u8, _: Range<u32>, _: bool) -> Result<(), String> {
        Ok(())
    }

    fn take_idle_regions(
        &mut self,
        _: LunNumber,
        _: u8,
        candidates: Arc<RegionSet>,
    ) -> Result<RegionSet, String> {
        Ok((*candidates).clone())
    }

    fn set_bad_blocks(&mut self, _: DriveSlot, _: Arc<[BadRange]>) -> Result<(), String> {
        Ok(())
    }

    fn bad_sectors_settled(&mut self, _: MendTicket, _: bool) -> Result<(), String> {
        Ok(())
    }

    fn set_rate_limit(&mut self, _: RateLimit) -> Result<(), String> {
        Ok(())
    }

    fn drive_health(&self, _: DriveSlot) -> Result<DriveHealth, String> {
        Ok(DriveHealth::default())
    }

    fn advertise(&mut self, _: LunNumber) {}

    fn probe(&mut self, _: Shelf, _: &[LunNumber]) {}

    fn find_impostors(&mut self, _: Shelf, _: &[LunNumber]) -> Vec<Impostor> {
        Vec::new()
    }

    fn counters(&self) -> Vec<CounterGroup> {
        Vec::new()
    }

    fn passes(&self) -> Vec<RunningPass> {
        Vec::new()
    }
}

/// No state directory.
pub(crate) struct NoStore;

impl ShelfStore for NoStore {
    fn save_shelf(&mut self, _: aoe::Shelf) -> Result<(), String> {
        Err("there is no shelf here".to_owned())
    }

    fn removed_sets(&mut self) -> Result<Vec<Uuid>, String> {
        Ok(Vec::new())
    }

    fn add_removed_set(&mut self, _: Uuid) -> Result<(), String> {
        Err("there is no shelf here".to_owned())
    }

    fn rate_limit(&mut self) -> Result<RateLimit, String> {
        Ok(RateLimit::NONE)
    }

    fn save_rate_limit(&mut self, _: RateLimit) -> Result<(), String> {
        Ok(())
    }
}
