//! Slices and changes of view: who waits for a view, and what runs under an old one.

use super::pieces::Pieces;
use super::{Key, Phase, Round, Target, elements};
use crate::ids::LunNumber;
use crate::target::{Action, REPLANS_MAX};
use raid::bad_blocks::BadRange;

impl Target {
    /// I/O that was issued under a view is done.
    pub(in crate::target) fn io_ended(
        &mut self,
        lun: LunNumber,
        epoch: u32,
        out: &mut Vec<Action>,
    ) {
        if let Some(entry) = &mut self.luns[usize::from(lun.get())] {
            if epoch == entry.epoch {
                entry.running -= 1;
            } else {
                entry.running_old -= 1;
            }
        }
        self.settle(lun, out);
    }

    /// A write of a round failed: it is done again under the view that answers that.
    pub(super) fn member_failed_round(&mut self, index: u16, out: &mut Vec<Action>) {
        let slice = self.stripes.cache.get_mut(index);
        slice.phase = Phase::AwaitingView;
        let (epoch, doomed) = (slice.epoch, slice.doomed);
        if slice.round == Round::Read && !slice.is_reading_again {
            // Only a repair; everybody is answered.
            self.end_round(index, true, out);
            return;
        }
        slice.replans += 1;
        let is_over = slice.replans > REPLANS_MAX;
        let lun = slice
            .key
            .and_then(|key| self.luns[usize::from(key.lun.get())].as_ref());
        let (online, present) = lun.map_or((false, 0), |lun| (lun.view.online, lun.epoch));
        let is_unwritten = self.stripes.cache.get(index).unwritten != 0;
        if !online && (is_unwritten || !doomed) {
            self.cut_round(index, out);
        } else if is_unwritten {
            // The answer to the failure may have come before the round's other I/O was done.
            self.look_at_unwritten(index, out);
        } else if doomed || is_over {
            self.end_round(index, false, out);
        } else if epoch != present {
            // The answer to the failure came before the round's other I/O was done.
            self.do_again(index);
        }
    }

    /// A round that the last copy did not take ends when that is noted as bad. If the others hold everything
    /// after all, it goes on without it. Else it waits.
    fn look_at_unwritten(&mut self, index: u16, out: &mut Vec<Action>) {
        let Some(site) = self.site(index) else {
            self.end_round(index, false, out);
            return;
        };
        let slice = self.stripes.cache.get(index);
        let mut is_noted = true;
        for element in elements(slice.unwritten) {
            let Some(member) = &site.part().members[element] else {
                self.do_again(index);
                return;
            };
            let (sector, sectors) = site.place(slice.columns[element].home);
            let range = BadRange {
                sector: member.data_offset_sectors + sector,
                sectors: u64::from(sectors),
            };
            is_noted &= self.bad_sectors.has_all(member.drive, &range);
        }
        if is_noted {
            self.end_round(index, false, out);
        }
    }

    /// Goes on with a round under the present view. A write goes on with the same content, which is in
    /// memory, to those members that are left. Its record in the log serves still: a member that was
    /// given up is not asked for its own. Only if one that could not write its record is kept, the
    /// round is logged anew; nothing of it is at home then.
    fn do_again(&mut self, index: u16) {
        let present = self.site(index).map_or(0, |site| {
            let members = (0_u32..).zip(&site.part().members);
            let present = members.filter(|(_, member)| member.is_some());
            present.fold(0, |bits, (element, _)| bits | 1_u64 << element)
        });
        let slice = self.stripes.cache.get_mut(index);
        slice.failed = false;
        slice.doomed = false;
        if std::mem::take(&mut slice.is_reading_again) {
            slice.phase = Phase::Queued;
            self.stripes.make_due(index);
            return;
        }
        let is_logged = std::mem::take(&mut slice.unlogged) & present == 0;
        slice.phase = match slice.round {
            Round::Write if is_logged => Phase::Logged,
            Round::Write => Phase::Computed,
            Round::Sync => Phase::Queued,
            Round::Read => unreachable!("nobody waits for a repair"),
        };
        let retired = if is_logged { None } else { slice.group.take() };
        if let (Some(group), Some(key)) = (retired, slice.key) {
            self.retire(key, group);
        }
        self.stripes.make_due(index);
    }

    /// A LUN goes offline while a round waits for what is decided about a member, or for room that others
    /// have which wait for that.
    pub(super) fn cut_round(&mut self, index: u16, out: &mut Vec<Action>) {
        self.mark_cut(index);
        let slice = self.stripes.cache.get(index);
        let is_at_home = slice.phase == Phase::AwaitingView
            && slice.round == Round::Write
            && slice.unlogged == 0;
        if is_at_home {
            self.park_round(index, out);
        } else {
            self.end_round(index, false, out);
        }
    }

    /// A round that has begun to write home is neither done nor undone: nobody waits for it any more, but
    /// it stays as it is, so that its record in the redo log is not overwritten. If the LUN is served on
    /// after all, it goes on; if not, the log is recovered before the LUN is served again.
    fn park_round(&mut self, index: u16, out: &mut Vec<Action>) {
        let slice = self.stripes.cache.get(index);
        let (key, has_log) = (slice.key, slice.group.is_some());
        if let Some(lun) = slice
            .key
            .and_then(|key| self.luns[usize::from(key.lun.get())].as_mut())
        {
            lun.is_log_pending |= has_log;
            lun.mirrors_differ |= !has_log;
        }
        // Who waits for what it holds is cut, too.
        self.stripes.may_unstall = true;
        self.answer_pieces(index, false, out);
        if self.stripes.cache.get(index).key == key {
            self.cut_waiting(index, out);
        }
    }

    /// Cuts what waits for a slice whose round is parked. The last one may take the LUN with it, and the
    /// slice may be another one then.
    fn cut_waiting(&mut self, index: u16, out: &mut Vec<Action>) {
        let key = self.stripes.cache.get(index).key;
        loop {
            let slice = self.stripes.cache.get_mut(index);
            if slice.key != key || self.stripes.pieces.take_round(slice).is_none() {
                return;
            }
            self.mark_cut(index);
            self.answer_pieces(index, false, out);
        }
    }

    pub(super) fn mark_cut(&mut self, index: u16) {
        let first = self.stripes.cache.get(index).pieces;
        for (piece, _) in self.stripes.pieces.list(first) {
            self.commands[usize::from(Pieces::command(piece))].is_cut = true;
        }
    }

    /// Something waits for a slice whose round waits for a view.
    pub(super) fn look_at_waiting(&mut self, index: u16, out: &mut Vec<Action>) {
        let key = self.stripes.cache.get(index).key;
        let lun = key.and_then(|key| self.luns[usize::from(key.lun.get())].as_ref());
        if lun.is_some_and(|lun| !lun.view.online) {
            self.cut_waiting(index, out);
        }
    }

    /// A round waits for pages or for room in the redo log, or is cut: if its LUN goes offline, those that
    /// have them may never be done.
    pub(super) fn stall_or_cut(&mut self, index: u16, out: &mut Vec<Action>) {
        let key = self.stripes.cache.get(index).key;
        let lun = key.and_then(|key| self.luns[usize::from(key.lun.get())].as_ref());
        if lun.is_some_and(|lun| !lun.view.online && lun.is_log_pending) {
            self.cut_round(index, out);
        } else {
            self.stripes.stall(index);
        }
    }

    /// A LUN has a new view: rounds that waited for it go on, or fail if there is nothing to serve.
    pub(in crate::target) fn resume_slices(&mut self, lun: LunNumber, out: &mut Vec<Action>) {
        let online = self.luns[usize::from(lun.get())]
            .as_ref()
            .is_some_and(|lun| lun.view.online);
        for index in self.stripes.cache.indices() {
            let slice = self.stripes.cache.get(index);
            let is_of_lun = slice.key.is_some_and(|key: Key| key.lun == lun);
            if is_of_lun && slice.phase == Phase::AwaitingMend && !online {
                self.drop_mended(index, out);
                continue;
            }
            if !is_of_lun || slice.phase != Phase::AwaitingView {
                continue;
            }
            let is_unwritten = slice.unwritten != 0;
            if self.resume_noting(index, out) {
                continue;
            }
            if online && is_unwritten {
                self.look_at_unwritten(index, out);
            } else if online {
                self.do_again(index);
            } else {
                self.cut_round(index, out);
            }
        }
    }

    /// A LUN is let go: nothing of it stays in memory.
    pub(in crate::target) fn forget_slices(&mut self, lun: LunNumber) {
        for index in self.stripes.cache.indices() {
            let slice = self.stripes.cache.get(index);
            let is_of_lun = slice.key.is_some_and(|key: Key| key.lun == lun);
            if !is_of_lun {
                continue;
            }
            self.stripes.cache.get_mut(index).group = None;
            match self.stripes.cache.get(index).phase {
                Phase::Idle => self.stripes.cache.drop_idle(index),
                // Parked.
                Phase::AwaitingView => {
                    self.stripes.cache.displace(index);
                    self.stripes.cache.empty(index);
                }
                // It gave the last answer, or has yet to repair something, for which nobody waits. The
                // end of its round empties it.
                _ => self.stripes.cache.displace(index),
            }
        }
        self.stripes.groups.forget(lun);
    }
}
