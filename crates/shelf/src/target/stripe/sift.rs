//! Steps of a pass over a slice of which not all can be had, and such as only copy to twins.
//!
//! A step wants all of a slice at once. When more of it is lost than parity makes good it goes on sector by
//! sector (unit by unit: [`raid::Unit`]): sectors that can be had are done like whole slices, and of each
//! other one it is reported who lacks it. When all are done, the step waits until the administration has
//! noted that.

use super::pieces::Pieces;
use super::round::Site;
use super::{Phase, Target};
use crate::plane::SyncKind;
use crate::target::{Action, Lacking};
use raid::geometry::MEMBERS_MAX;
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::stripe::{Blocks, Method, Reads, SectorMask, plan_read, plan_recovery};

/// Plans a round that only gives twins what their members have: reads these, or recovers them. When it
/// is about one sector, those are left out that cannot be had.
pub(super) fn plan_copy(
    site: &Site,
    blocks: &Blocks,
    range: SectorMask,
    is_sifting: bool,
) -> Option<(Method, SectorMask, Reads)> {
    let mut wanted = [0; MEMBERS_MAX as usize];
    let twins = site.part().twin_bits();
    let leaves_out = is_sifting && plan_recovery(&site.layout, blocks, range).is_none();
    for (element, wanted) in wanted.iter_mut().enumerate() {
        let is_wanted = blocks[element].is_readable || !leaves_out;
        if is_wanted && twins >> element & 1 == 1 {
            *wanted = range;
        }
    }
    if wanted.iter().all(|mask| *mask == 0) {
        return None;
    }
    let (lost, reads) = plan_read(&site.layout, blocks, &wanted)?;
    let method = if lost == 0 {
        Method::DataOnly
    } else {
        Method::Recover
    };
    Some((method, range, reads))
}

impl Target {
    /// The sectors that a round of a pass does: all, or the next one of those that it does one by one.
    pub(super) fn sync_range(&self, index: u16, site: &Site) -> SectorMask {
        let sift = self.stripes.cache.get(index).sift;
        if sift == 0 {
            site.all()
        } else {
            site.view.unit.first_of(sift)
        }
    }

    /// Whether a round of a pass has nothing to do but to fill twins: everybody holds everything, and
    /// what must be read is only what they are to get. Also what is left to do for a sector of which
    /// too much is lost.
    pub(super) fn only_copies(&self, index: u16, site: &Site, blocks: &Blocks) -> bool {
        let part = site.part();
        let is_check = part
            .sync
            .as_ref()
            .is_some_and(|sync| sync.kind == SyncKind::Check);
        if part.twin_bits() == 0 || is_check {
            return false;
        }
        let all_in_sync = part.members.iter().flatten().all(|member| member.in_sync);
        let range = self.sync_range(index, site);
        let is_sifting = self.stripes.cache.get(index).sift != 0;
        (all_in_sync && !part.mirrors_unsynced)
            || (is_sifting && plan_recovery(&site.layout, blocks, range).is_none())
    }

    /// What a twin gets of a round: what its member gets, and in a round of a pass all that the round is
    /// about, if that is known.
    pub(super) fn twin_home(&self, index: u16, site: &Site, element: u8) -> SectorMask {
        let slice = self.stripes.cache.get(index);
        let column = &slice.columns[usize::from(element)];
        match slice.round {
            // What a member could not read is as it was: its twin has it, or will get it.
            super::Round::Read => 0,
            super::Round::Write => {
                #[cfg(feature = "planted")]
                if planted::is(Bug::TwinNotWritten) {
                    return 0;
                }
                column.home
            }
            super::Round::Sync => {
                let is_check = site
                    .part()
                    .sync
                    .as_ref()
                    .is_none_or(|sync| sync.kind == SyncKind::Check);
                let is_known = slice.range != 0 && column.valid & slice.range == slice.range;
                if is_known && !is_check {
                    slice.range
                } else {
                    column.home
                }
            }
        }
    }

    /// A round of a pass cannot be planned: more of it is lost than parity makes good.
    #[cold]
    pub(super) fn sift(&mut self, index: u16, site: &Site, out: &mut Vec<Action>) {
        let part = site.part();
        let is_resync = part
            .sync
            .as_ref()
            .is_some_and(|sync| sync.kind == SyncKind::Resync);
        if !is_resync {
            self.end_round(index, false, out);
            return;
        }
        let slice = self.stripes.cache.get_mut(index);
        if slice.sift == 0 {
            slice.sift = site.all();
            slice.unreadable = 0;
            slice.late = 0;
            self.stripes.make_due(index);
            return;
        }
        self.sector_done(index, site, out);
    }

    /// All that a round was to write is durable.
    pub(super) fn round_written(&mut self, index: u16, out: &mut Vec<Action>) {
        if self.slice_awaits_mend(index, out) {
            return;
        }
        let site = self.site(index);
        match site.filter(|_| self.stripes.cache.get(index).sift != 0) {
            Some(site) => self.sector_done(index, &site, out),
            None => self.end_round(index, true, out),
        }
    }

    /// One of the sectors that a step does one by one is done: reports who lacks it, if it could not be
    /// had, and goes on to the next.
    fn sector_done(&mut self, index: u16, site: &Site, out: &mut Vec<Action>) {
        let sector = self.sync_range(index, site);
        self.report_if_lost(index, site, sector, out);
        let slice = self.stripes.cache.get_mut(index);
        slice.sift &= !sector;
        slice.unreadable = 0;
        slice.phase = Phase::Queued;
        let (is_over, report) = (slice.sift == 0, slice.report);
        if !is_over {
            self.stripes.make_due(index);
        } else if report == 0 {
            self.end_round(index, true, out);
        } else {
            // It may have been noted while the last sectors were done.
            self.stripes.cache.get_mut(index).phase = Phase::AwaitingView;
            self.resume_noting(index, out);
        }
    }

    fn report_if_lost(
        &mut self,
        index: u16,
        site: &Site,
        sector: SectorMask,
        out: &mut Vec<Action>,
    ) {
        let mut blocks = self.blocks(index, site);
        for block in &mut blocks {
            block.valid = 0;
        }
        if plan_recovery(&site.layout, &blocks, sector).is_some() {
            return;
        }
        let part = site.part();
        let parities = 1_u64 << site.layout.p() | site.layout.q().map_or(0, |q| 1 << q);
        let mut lacking = Lacking {
            member_sector: site.place(sector).0,
            sectors: sector.count_ones(),
            elements: 0,
            twins: 0,
        };
        for (element, member) in (0_u32..).zip(&part.members) {
            let is_parity = parities >> element & 1 == 1;
            let is_unknown = |in_sync: bool| !in_sync || (is_parity && part.mirrors_unsynced);
            let lacks = member.is_some_and(|member| is_unknown(member.in_sync));
            lacking.elements |= u64::from(lacks) << element;
            let is_readable = blocks[element as usize].is_readable;
            let has_twin = part.twin_bits() >> element & 1 == 1;
            lacking.twins |= u64::from(has_twin && (lacks || !is_readable)) << element;
        }
        let pass = self.pass_of(index);
        let report = self.report_unreadable(site.key.lun, pass, &lacking, out);
        self.stripes.cache.get_mut(index).report = report;
    }

    /// The pass that the step of a slice belongs to.
    fn pass_of(&self, index: u16) -> u64 {
        let piece = self.stripes.cache.get(index).pieces;
        self.commands[usize::from(Pieces::command(piece))].pass
    }

    /// A slice that waits for what it reported to be noted has a new view. False for one that waits for
    /// anything else.
    pub(super) fn resume_noting(&mut self, index: u16, out: &mut Vec<Action>) -> bool {
        let slice = self.stripes.cache.get(index);
        let (report, key) = (slice.report, slice.key);
        let Some(key) = key.filter(|_| report != 0 && slice.sift == 0) else {
            return false;
        };
        if let Some(ok) = self.is_noted(key.lun, self.pass_of(index), report) {
            self.end_round(index, ok, out);
        }
        true
    }
}
