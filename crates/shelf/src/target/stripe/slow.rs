//! Rounds and members that are slow to answer: these are not read while parity gives what they hold.
//!
//! While parity may not match, or is what a pass is to compare, there is no choice.

use super::compute::is_check;
use super::round::Site;
use super::{Round, Target};
use crate::ids::LunNumber;
use crate::plane::PartView;
use crate::target::Io;
use crate::target::run::is_on_any;

impl Target {
    /// A round begins: members that are slow to answer are not read if there is another way.
    pub(super) fn avoid_slow(&mut self, index: u16) {
        if self.suspects.is_empty() {
            return;
        }
        let Some(site) = self.site(index) else { return };
        let part = site.part();
        let slice = self.stripes.cache.get(index);
        if !self.is_free_to_choose(slice.round, &site)
            || !self.can_do_without(part, slice.unreadable)
        {
            return;
        }
        let slow = (0..part.geometry.members())
            .filter(|member| is_on_any(part, *member, &self.suspects))
            .fold(0, |bits, member| bits | 1_u64 << member);
        let slice = self.stripes.cache.get_mut(index);
        slice.late |= slow & !slice.unreadable;
        slice.unreadable |= slow;
    }

    fn is_free_to_choose(&self, round: Round, site: &Site) -> bool {
        !site.part().mirrors_unsynced && (round != Round::Sync || !is_check(site))
    }

    /// A round cannot be done without the members that are slow: they are to be read after all. False when
    /// there are none.
    pub(super) fn ask_slow(&mut self, index: u16) -> bool {
        let slice = self.stripes.cache.get_mut(index);
        let late = std::mem::take(&mut slice.late);
        slice.unreadable &= !late;
        late != 0
    }

    /// Whether parity gives what a slice reads.
    pub(in crate::target) fn slice_has_other_way(
        &self,
        index: u16,
        io: &Io,
        part: &PartView,
    ) -> bool {
        let slice = self.stripes.cache.get(index);
        // What is done sector by sector tells what is lost: what is only slow is none of it.
        if slice.sift != 0 {
            return false;
        }
        self.site(index)
            .is_some_and(|site| self.is_free_to_choose(slice.round, &site))
            && self.can_do_without(part, slice.unreadable | 1 << io.member)
    }

    /// The LUN that a slice belongs to.
    pub(in crate::target) fn lun_of_slice(&self, index: u16) -> Option<LunNumber> {
        self.stripes.cache.get(index).key.map(|key| key.lun)
    }

    /// Whether the round of a slice is a step of a pass.
    pub(in crate::target) fn is_slice_of_pass(&self, index: u16) -> bool {
        self.stripes.cache.get(index).round == Round::Sync
    }
}
