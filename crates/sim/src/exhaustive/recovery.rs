//! The recovery of a crash: the shelf starts on what is left, and everything that was written is read before
//! and after the pass has gone over it.

use super::{Base, Case, Known, serve, slots, the_lun, world};
use crate::content::{Content, SECTOR};
use crate::disk::{DiskSector, Footprint, Landing};
use crate::initiator::{Initiator, Workload};
use crate::oracle::Oracle;
use crate::plane::Shared;
use crate::random::Random;
use crate::world::World;
use shelf::admin::Admin;
use shelf::manager::Manager;
use shelf::plane::LunView;
use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// What was read, in order, in a recovery and, if the power went again, in those in which it did.
pub(super) type Reads = Vec<Vec<(u64, Content)>>;

/// Recovers crashes, one after the other, in one world.
pub(super) struct Recovery<'a> {
    base: &'a Base,
    world: Shared,
    footprint: Arc<Mutex<Footprint>>,
    pub(super) count: u64,
}

impl<'a> Recovery<'a> {
    /// Of crashes that differ in these sectors only.
    pub(super) fn new(base: &'a Base, watched: HashSet<DiskSector>) -> Self {
        let footprint = Arc::new(Mutex::new(Footprint::of(watched)));
        let mut world = world(&base.case);
        world.disks = base.disks.clone();
        for (number, disk) in world.disks.iter_mut().enumerate() {
            disk.remember();
            disk.watch(number, &footprint);
        }
        let workload = Workload {
            zones: Vec::new(),
            writes: 0,
            pause: 0,
            trims: None,
            stream: None,
        };
        world.initiators = vec![Initiator::new(0, workload)];
        Self {
            base,
            world: Shared::new(world),
            footprint,
            count: 0,
        }
    }

    /// Recovers a crash after which these sectors differ from the base. Gives what was read, or what is
    /// wrong; and what the disks were looked at for.
    pub(super) fn course(
        &mut self,
        lost: u8,
        contents: &[&(usize, u64, [u8; SECTOR])],
    ) -> (Result<Reads, String>, Vec<DiskSector>) {
        let reads = self.recover_all(lost, contents);
        // The footprint is that of a whole course: also the next one begins with nothing.
        (reads, self.lock_footprint().take())
    }

    fn lock_footprint(&self) -> std::sync::MutexGuard<'_, Footprint> {
        self.footprint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn recover_all(
        &mut self,
        lost: u8,
        contents: &[&(usize, u64, [u8; SECTOR])],
    ) -> Result<Reads, String> {
        self.set_up(lost, contents);
        let before = self.world.lock().counts.events;
        let mut all = vec![self.recover(None)?];
        let events = self.world.lock().counts.events - before;
        if !self.base.case.crashes_again {
            return Ok(all);
        }
        for landing in [Landing::Nothing, Landing::Everything] {
            for at in 0..events {
                let context = |text| format!("cut after {at} events, {landing:?}: {text}");
                self.set_up(lost, contents);
                let mut reads = self.recover(Some((at, landing))).map_err(context)?;
                self.world.lock().begin_anew(Random::new(2));
                reads.extend(self.recover(None).map_err(context)?);
                all.push(reads);
            }
        }
        Ok(all)
    }

    /// Puts on the disks what a crash left.
    fn set_up(&mut self, lost: u8, contents: &[&(usize, u64, [u8; SECTOR])]) {
        let mut world = self.world.lock();
        for (disk, base) in world.disks.iter_mut().zip(&self.base.disks) {
            disk.restore(base);
        }
        for (disk, sector, data) in contents {
            world.disks[*disk].put(*sector, data);
        }
        world.slots = slots(&self.base.case, lost);
        self.lock_footprint().rewind();
        world.begin_again();
    }

    /// Starts the shelf, reads what was written, lets the pass go over it, and reads again. Gives what was
    /// read,
    /// in order; fewer when the power went.
    fn recover(&mut self, cut: Option<(u64, Landing)>) -> Result<Vec<(u64, Content)>, String> {
        self.count += 1;
        {
            let mut world = self.world.lock();
            world.captured = Some(Vec::new());
            world.cut_after = cut.map(|(at, _)| at);
            world.landing = cut.map_or(Landing::Nothing, |(_, landing)| landing);
        }
        let mut manager = self.world.start_manager();
        let is_online = manager
            .luns()
            .iter()
            .any(|l| l.lun == the_lun() && l.online);
        if self.world.lock().has_power && !is_online {
            return Err(format!("the LUN is not served: {:?}", manager.luns()));
        }
        self.read_all(&mut manager);
        let end = self.last_sector();
        serve(&self.world, &mut manager, |world| world.pass_is_beyond(end));
        self.read_all(&mut manager);
        drop(manager);
        let mut world = self.world.lock();
        if let Some(text) = world.violation.take() {
            return Err(text);
        }
        let view = world.view.clone().filter(|_| cut.is_none());
        world.cut_power();
        let reads = world.captured.take().unwrap_or_default();
        drop(world);
        if let Some(view) = view {
            self.members_agree(&view)?;
            let expected: u64 = self.written().iter().map(|(_, n)| 2 * u64::from(*n)).sum();
            if reads.len() as u64 != expected {
                return Err(format!("{} of {expected} sectors were read", reads.len()));
            }
        }
        Ok(reads)
    }

    /// The written ranges, each once.
    fn written(&self) -> BTreeSet<(u64, u32)> {
        self.base.case.writes.iter().copied().collect()
    }

    fn last_sector(&self) -> u64 {
        let ends = self.written().into_iter();
        ends.map(|(lba, sectors)| lba + u64::from(sectors))
            .max()
            .unwrap_or(0)
    }

    fn read_all(&self, manager: &mut Manager) {
        self.world.lock().want_reads(self.written());
        serve(&self.world, manager, World::is_all_answered);
    }

    /// Whether the members hold the same where anything was written.
    fn members_agree(&self, view: &LunView) -> Result<(), String> {
        let world = self.world.lock();
        let members = &view.parts[0].members;
        let mut rows = BTreeSet::new();
        for (lba, sectors) in self.written() {
            for segment in self.base.geometry.segments(lba, sectors) {
                for sector in 0..u64::from(segment.sectors) {
                    rows.insert((segment.mirrors.first, segment.member_sector + sector));
                }
            }
        }
        for (first, sector) in rows {
            let block = |element: u8| {
                let member = members[usize::from(element)]?;
                let disk = world.slots[usize::from(member.drive.0)]?;
                Some(world.disks[disk].get(member.data_offset_sectors + sector))
            };
            let geometry = &self.base.geometry;
            let agrees = if geometry.parity_count() == 0 {
                let set = geometry.mirror_sets().find(|set| set.first == first);
                let mut present = set.into_iter().flatten().filter_map(block);
                present
                    .next()
                    .is_none_or(|one| present.all(|other| other == one))
            } else {
                crate::audit::is_parity_right(geometry, sector, &block)
            };
            if !agrees {
                return Err(format!("members differ in sector {sector} after the pass"));
            }
        }
        Ok(())
    }

    /// Whether what was read is right for what clients knew.
    pub(super) fn judge(&self, reads: &Reads, known: &Known) -> Result<(), String> {
        for reads in reads {
            let mut oracle = oracle(&self.base.case, known);
            for (time, (lba, content)) in (1000..).zip(reads) {
                oracle.check(*lba, *content, time, time, true)?;
            }
        }
        Ok(())
    }
}

/// An oracle that knows what clients knew: writes are sent at 10, 20 …, or after the answers that came
/// before.
pub(super) fn oracle(case: &Case, known: &Known) -> Oracle {
    let mut oracle = Oracle::default();
    let sent = usize::from(known.sent).min(case.writes.len());
    let mut answered = vec![false; sent];
    for number in 0..sent {
        for (earlier, is_known) in answered.iter_mut().enumerate().take(number) {
            if known.is_before(earlier, number) && !std::mem::replace(is_known, true) {
                oracle.acknowledge(earlier as u64 + 1, 10 * number as u64 + 5, u64::MAX);
            }
        }
        let (lba, sectors) = case.writes[number];
        oracle.begin_write(lba, sectors, 10 * number as u64 + 10);
    }
    for (number, is_answered) in answered.iter().enumerate() {
        if !is_answered && known.is_answered(number) {
            oracle.acknowledge(number as u64 + 1, 500, u64::MAX);
        }
    }
    for number in 0..sent {
        if !known.is_answered(number) {
            oracle.abandon(number as u64 + 1);
        }
    }
    oracle.target_restarted(600);
    oracle
}
