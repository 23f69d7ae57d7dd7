//! Slices and changes of view: who waits for a view, and what runs under an old one.

use super::{Key, Phase, Round, Target};
use crate::ids::LunNumber;
use crate::target::{Action, REPLANS_MAX};

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
        if slice.round == Round::Read {
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
        if doomed || is_over || !online {
            self.end_round(index, false, out);
        } else if epoch != present {
            // The answer to the failure came before the round's other I/O was done.
            self.do_again(index);
        }
    }

    /// Does a round again under the present view: a write with the same content, which is in memory, to
    /// those members that are left.
    fn do_again(&mut self, index: u16) {
        let slice = self.stripes.cache.get_mut(index);
        slice.failed = false;
        slice.doomed = false;
        slice.phase = match slice.round {
            Round::Write => Phase::Computed,
            Round::Sync => Phase::Queued,
            Round::Read => unreachable!("nobody waits for a repair"),
        };
        self.stripes.make_due(index);
    }

    /// A LUN has a new view: rounds that waited for it go on, or fail if there is nothing to serve.
    pub(in crate::target) fn resume_slices(&mut self, lun: LunNumber, out: &mut Vec<Action>) {
        let online = self.luns[usize::from(lun.get())]
            .as_ref()
            .is_some_and(|lun| lun.view.online);
        for index in self.stripes.cache.indices() {
            let slice = self.stripes.cache.get(index);
            let is_of_lun = slice.key.is_some_and(|key: Key| key.lun == lun);
            if !is_of_lun || slice.phase != Phase::AwaitingView {
                continue;
            }
            if online {
                self.do_again(index);
            } else {
                self.end_round(index, false, out);
            }
        }
    }

    /// A LUN is let go: nothing of it stays in memory.
    pub(in crate::target) fn forget_slices(&mut self, lun: LunNumber) {
        for index in self.stripes.cache.indices() {
            let slice = self.stripes.cache.get(index);
            let is_of_lun = slice.key.is_some_and(|key: Key| key.lun == lun);
            if is_of_lun && slice.phase == Phase::Idle {
                self.stripes.cache.drop_idle(index);
            }
        }
        self.stripes.groups.forget(lun);
    }
}
