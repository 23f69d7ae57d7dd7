//! Groups of the redo log (temporary).

use super::{Key, Phase, Target};
use crate::ids::LunNumber;
use crate::target::{Action, BufferPlan, Io, Memory};

#[derive(Debug)]
pub(super) struct Groups {}

impl Groups {
    pub(super) fn new(_plan: BufferPlan) -> Self {
        Self {}
    }
    pub(super) fn forget(&mut self, _lun: LunNumber) {}
}

impl Target {
    pub(super) fn log_round(
        &mut self,
        index: u16,
        _memory: &mut impl Memory,
        out: &mut Vec<Action>,
    ) {
        self.stripes.cache.get_mut(index).phase = Phase::Logged;
        self.write_home(index, out);
    }
    pub(super) fn close_groups(&mut self, _memory: &mut impl Memory, _out: &mut Vec<Action>) {}
    pub(in crate::target) fn complete_group(
        &mut self,
        _g: u16,
        _io: &Io,
        _ok: bool,
        _out: &mut Vec<Action>,
    ) {
    }
    pub(super) fn retire(&mut self, _key: Key, _group: u64) {}
}
