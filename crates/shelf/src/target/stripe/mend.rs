//! Rounds that have written sectors which are on the list of bad ones: [`crate::target::mend`].

use super::{Phase, Round, Stripes, Target};
use crate::target::Action;
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};

impl Stripes {
    /// The mends of the round of a slice that is to be answered, and their stamp.
    pub(in crate::target) fn mends_of(&mut self, index: u16) -> Option<(&mut u16, u64)> {
        let slice = self.cache.get_mut(index);
        (slice.round == Round::Write).then_some((&mut slice.mends, slice.mend_stamp))
    }
}

impl Target {
    /// All of a round is at home: whether it waits for sectors to be off the list of bad ones.
    pub(super) fn slice_awaits_mend(&mut self, index: u16, out: &mut Vec<Action>) -> bool {
        let slice = self.stripes.cache.get_mut(index);
        if slice.round != Round::Write || slice.mends == 0 {
            return false;
        }
        #[cfg(feature = "planted")]
        if planted::is(Bug::AckBeforeMended) {
            return false;
        }
        slice.phase = Phase::AwaitingMend;
        let key = slice.key;
        self.counters.mend_waits += 1;
        if key.is_none_or(|key| self.is_offline(key.lun)) {
            self.drop_mended(index, out);
        }
        true
    }

    /// See [`Target::bad_sectors_settled`].
    pub(in crate::target) fn slice_mend_settled(
        &mut self,
        index: u16,
        stamp: u64,
        ok: bool,
        out: &mut Vec<Action>,
    ) {
        let slice = self.stripes.cache.get_mut(index);
        if slice.mend_stamp != stamp || slice.mends == 0 {
            return;
        }
        slice.mends -= 1;
        slice.doomed |= !ok;
        if slice.phase == Phase::AwaitingMend && slice.mends == 0 {
            let ok = !slice.doomed;
            self.end_round(index, ok, out);
        }
    }

    /// A LUN goes offline while a round waits: it is as if the write had not come. All of it is at home.
    pub(super) fn drop_mended(&mut self, index: u16, out: &mut Vec<Action>) {
        self.mark_cut(index);
        self.stripes.cache.get_mut(index).mends = 0;
        self.end_round(index, true, out);
    }
}
