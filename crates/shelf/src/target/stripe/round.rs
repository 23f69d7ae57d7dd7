//! The life of a round: what is read, what is written home, and who is answered.

use super::pieces::{Piece, Pieces};
use super::sift::plan_copy;
use super::{Key, NONE, Phase, PieceKind, Round, Target, Wish, elements, layout_of, slice_sectors};
use crate::order::CommandIndex;
use crate::plane::{LunView, MemberView, PartView};
use crate::target::patience::Fault;
use crate::target::{Action, Io, IoOwner, Kind, Operation, Purpose, State, run};
use raid::geometry::{MEMBERS_MAX, RowLayout};
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::stripe::{
    Block, Blocks, Method, NO_BLOCKS, Reads, SectorMask, plan_all, plan_read, plan_recovery,
    plan_write, run_of, sector_mask,
};
use std::sync::Arc;

/// A slice with what is to be known of it.
pub(super) struct Site {
    pub(super) key: Key,
    pub(super) view: Arc<LunView>,
    pub(super) layout: RowLayout,
}

impl Site {
    pub(super) fn part(&self) -> &PartView {
        &self.view.parts[usize::from(self.key.part)]
    }

    /// Whether no more is lost than parity makes good.
    fn is_served(&self) -> bool {
        let part = self.part();
        let is_in_sync = |member| run::is_in_sync(part, member);
        part.geometry.can_serve(is_in_sync)
    }

    /// All sectors of the slice.
    pub(super) fn all(&self) -> SectorMask {
        sector_mask(0, slice_sectors(&self.part().geometry))
    }

    /// Member sector of the first sector of a mask, and sectors of its hull.
    pub(super) fn place(&self, mask: SectorMask) -> (u64, u32) {
        let (start, sectors) = run_of(mask);
        let first = self.key.number * u64::from(slice_sectors(&self.part().geometry));
        (first + u64::from(start), sectors)
    }
}

impl Target {
    /// Adds a piece of a command. `stream_lba` is the sector of the LUN for a write.
    pub(in crate::target) fn add_piece(
        &mut self,
        command: CommandIndex,
        part: u8,
        wish: &Wish,
        stream_lba: u64,
    ) {
        let entry = &mut self.commands[usize::from(command)];
        let (lun, number) = (entry.lun, entry.pieces_used);
        entry.pieces_used += 1;
        entry.pieces += 1;
        let Some(view) = self.luns[usize::from(lun.get())]
            .as_ref()
            .map(|lun| &lun.view)
        else {
            unreachable!("a LUN is kept while it has commands")
        };
        let sectors = u64::from(slice_sectors(&view.parts[usize::from(part)].geometry));
        let key = Key {
            lun,
            part,
            number: wish.member_sector / sectors,
        };
        let start = u32::try_from(wish.member_sector % sectors).unwrap_or(0);
        let index = self.stripes.cache.find_or_take(key);
        let piece = self.stripes.pieces.set(command, number, wish, start);
        let slice = self.stripes.cache.get_mut(index);
        self.stripes.pieces.wait(slice, piece);
        let is_stream = wish.kind == PieceKind::Write
            && self
                .stripes
                .streams
                .goes_on(lun.get(), stream_lba, u64::from(wish.sectors));
        self.hold_or_queue(index, is_stream);
    }

    /// Where a slice is and under which view; `None` when its LUN is gone.
    pub(super) fn site(&self, index: u16) -> Option<Site> {
        let key = self.stripes.cache.get(index).key?;
        let view = Arc::clone(&self.luns[usize::from(key.lun.get())].as_ref()?.view);
        let layout = layout_of(&view.parts.get(usize::from(key.part))?.geometry, key.number);
        Some(Site { key, view, layout })
    }

    /// What is known of the blocks of a slice, with what its round wants to write.
    pub(super) fn blocks(&self, index: u16, site: &Site) -> Blocks {
        let slice = self.stripes.cache.get(index);
        let mut blocks = NO_BLOCKS;
        let members = site.part().members.iter().zip(&slice.columns);
        for (element, (member, column)) in members.enumerate() {
            let is_unreadable = slice.unreadable >> element & 1 == 1;
            blocks[element] = Block {
                is_readable: member.is_some_and(|member| member.in_sync) && !is_unreadable,
                is_writable: member.is_some(),
                valid: column.valid,
                new: 0,
            };
        }
        for (block, new) in blocks.iter_mut().zip(self.new_masks(index)) {
            block.new = new;
        }
        blocks
    }

    /// Begins a round with the pieces that wait, or goes on with one that lost a block.
    pub(super) fn start_round(&mut self, index: u16, out: &mut Vec<Action>) {
        let slice = self.stripes.cache.get_mut(index);
        if slice.pieces == NONE {
            let Some(kind) = self.stripes.pieces.take_round(slice) else {
                self.stripes.cache.link_idle(index);
                return;
            };
            slice.round = match kind {
                PieceKind::Read => Round::Read,
                PieceKind::Write => Round::Write,
                PieceKind::Sync => Round::Sync,
            };
            slice.replans = 0;
            // What a round was in that was parked when its LUN was let go.
            (slice.unlogged, slice.unwritten, slice.is_reading_again) = (0, 0, false);
            (slice.sift, slice.report) = (0, 0);
            slice.unreadable = self.stripes.pieces.unreadable(slice.pieces);
            slice.late = self.stripes.pieces.late(slice.pieces);
            self.avoid_slow(index);
        }
        let Some(site) = self.site(index) else {
            self.end_round(index, false, out);
            return;
        };
        let slice = self.stripes.cache.get_mut(index);
        (slice.failed, slice.doomed) = (false, false);
        for element in elements(slice.paged) {
            slice.columns[element].home = 0;
        }
        let part = site.part();
        if part.mirrors_unsynced {
            // Parity may say another thing of what was never written than memory does, which forgets: it is
            // to read the same every time.
            for element in elements(slice.paged) {
                if !run::is_in_sync(part, u8::try_from(element).unwrap_or(u8::MAX)) {
                    slice.columns[element].valid = 0;
                }
            }
        }
        if slice.round == Round::Sync {
            // What is on the members is to be seen, not what is in memory.
            for element in elements(slice.paged) {
                slice.columns[element].valid = 0;
            }
        }
        let mut blocks = self.blocks(index, &site);
        let mut plan = self.plan_round(index, &site, &blocks);
        if plan.is_none() && self.ask_slow(index) {
            blocks = self.blocks(index, &site);
            plan = self.plan_round(index, &site, &blocks);
        }
        let Some((method, range, reads)) = plan else {
            if self.stripes.cache.get(index).round == Round::Sync {
                self.sift(index, &site, out);
            } else {
                self.split_or_fail(index, out);
            }
            return;
        };
        let pages = self.pages_of(index, &site, &blocks, method);
        if !self.stripes.cache.give_pages(index, pages) {
            // Whoever waits for pages holds none.
            self.stripes.cache.release_pages(index);
            self.counters.stripe_waits += 1;
            self.stall_or_cut(index, out);
            return;
        }
        let slice = self.stripes.cache.get_mut(index);
        (slice.method, slice.range) = (method, range);
        self.count_round(index, method, &reads);
        self.read_blocks(index, &site, &reads, out);
    }

    /// A round wants what is lost. Not all of its pieces need want that: they go on one by one.
    #[cold]
    fn split_or_fail(&mut self, index: u16, out: &mut Vec<Action>) {
        let slice = self.stripes.cache.get_mut(index);
        if self.stripes.pieces.split_round(slice) {
            slice.unreadable = self.stripes.pieces.unreadable(slice.pieces);
            slice.late = self.stripes.pieces.late(slice.pieces);
            self.stripes.make_due(index);
        } else {
            self.end_round(index, false, out);
        }
    }

    fn count_round(&mut self, index: u16, method: Method, reads: &Reads) {
        let counter = match (self.stripes.cache.get(index).round, method) {
            (Round::Read, Method::Recover) => &mut self.counters.degraded_reads,
            (Round::Read | Round::Sync, _) => return,
            (Round::Write, Method::ReadModifyWrite) => &mut self.counters.rmw_writes,
            (Round::Write, Method::Reconstruct) if reads.count() == 0 => {
                &mut self.counters.full_stripe_writes
            }
            (Round::Write, _) => &mut self.counters.rcw_writes,
        };
        *counter += 1;
    }

    fn plan_round(
        &self,
        index: u16,
        site: &Site,
        blocks: &Blocks,
    ) -> Option<(Method, SectorMask, Reads)> {
        let slice = self.stripes.cache.get(index);
        match slice.round {
            Round::Write => {
                let plan = plan_write(&site.layout, blocks, !site.part().mirrors_unsynced)?;
                Some((plan.method, plan.range, plan.reads))
            }
            Round::Read => {
                let mut wanted = [0; MEMBERS_MAX as usize];
                for (_, piece) in self.stripes.pieces.list(slice.pieces) {
                    wanted[usize::from(piece.element)] |= piece.mask;
                }
                let (range, reads) = plan_read(&site.layout, blocks, &wanted)?;
                let method = if range == 0 {
                    Method::DataOnly
                } else {
                    Method::Recover
                };
                Some((method, range, reads))
            }
            Round::Sync => {
                let range = self.sync_range(index, site);
                if self.only_copies(index, site, blocks) {
                    return plan_copy(site, blocks, range, slice.sift != 0);
                }
                plan_recovery(&site.layout, blocks, range)?;
                Some((
                    Method::Recover,
                    range,
                    plan_all(&site.layout, blocks, range),
                ))
            }
        }
    }

    fn read_blocks(&mut self, index: u16, site: &Site, reads: &Reads, out: &mut Vec<Action>) {
        self.stripes.cache.get_mut(index).phase = Phase::Reading;
        let mut count = 0;
        for (element, mask) in (0_u8..).zip(reads.0).filter(|(_, mask)| *mask != 0) {
            count += u16::from(self.push_block(index, site, element, mask, Operation::Read, out));
        }
        self.begin_io(index, count);
        if count == 0 {
            self.stripes.cache.get_mut(index).phase = Phase::Read;
            self.stripes.make_due(index);
        }
    }

    /// I/O of a slice begins under the present view.
    pub(super) fn begin_io(&mut self, index: u16, count: u16) {
        let slice = self.stripes.cache.get_mut(index);
        slice.outstanding = count;
        if let Some(lun) = slice
            .key
            .and_then(|key| self.luns[usize::from(key.lun.get())].as_mut())
        {
            slice.epoch = lun.epoch;
            lun.running += u32::from(count > 0);
        }
    }

    /// Whether the I/O of a slice began under a view that is not the present one.
    pub(super) fn is_of_older_view(&self, index: u16) -> bool {
        let slice = self.stripes.cache.get(index);
        let lun = slice
            .key
            .and_then(|key| self.luns[usize::from(key.lun.get())].as_ref());
        lun.is_none_or(|lun| lun.epoch != slice.epoch)
    }

    /// Adds the I/O of a block. False when its member is gone.
    pub(super) fn push_block(
        &self,
        index: u16,
        site: &Site,
        element: u8,
        mask: SectorMask,
        operation: Operation,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(Some(member)) = site.part().members.get(usize::from(element)) else {
            return false;
        };
        let is_repair =
            operation == Operation::Write && self.stripes.cache.get(index).round == Round::Read;
        let purpose = if is_repair {
            Purpose::Repair
        } else {
            Purpose::Member
        };
        let io = self.block_io(index, site, member, (element, mask));
        out.push(Action::Io(Io {
            operation,
            purpose,
            ..io
        }));
        true
    }

    /// Adds the write of a block to the twin of its member. False when there is none.
    fn push_twin_block(
        &self,
        index: u16,
        site: &Site,
        (element, mask): (u8, SectorMask),
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(twin) = site.part().twin(element).filter(|_| mask != 0) else {
            return false;
        };
        out.push(Action::Io(Io {
            purpose: Purpose::Twin,
            ..self.block_io(index, site, twin, (element, mask))
        }));
        true
    }

    /// A write of a block to a device.
    fn block_io(
        &self,
        index: u16,
        site: &Site,
        device: &MemberView,
        (element, mask): (u8, SectorMask),
    ) -> Io {
        let column = &self.stripes.cache.get(index).columns[usize::from(element)];
        let (sector, sectors) = site.place(mask);
        Io {
            owner: IoOwner::Slice(index),
            buffer: self.stripes.plan.page(column.page),
            operation: Operation::Write,
            drive: device.drive,
            sector: device.data_offset_sectors + sector,
            sectors,
            offset_sectors: run_of(mask).0,
            part: site.key.part,
            member: element,
            purpose: Purpose::Member,
            attempt: 0,
        }
    }

    /// Writes the blocks of a round home.
    pub(super) fn write_home(&mut self, index: u16, out: &mut Vec<Action>) {
        let Some(site) = self.site(index) else {
            self.end_round(index, false, out);
            return;
        };
        let stamp = self.next_mend_stamp();
        let slice = self.stripes.cache.get_mut(index);
        if slice.round == Round::Write && !site.is_served() {
            // So much was lost meanwhile that what is written could not be read.
            self.end_round(index, false, out);
            return;
        }
        slice.phase = Phase::Writing;
        (slice.mends, slice.mend_stamp) = (0, stamp);
        slice.unwritten = 0;
        let mut count = 0;
        for element in 0..site.layout.members() {
            let home = self.stripes.cache.get(index).columns[usize::from(element)].home;
            #[cfg(feature = "planted")]
            if planted::is(Bug::QNotWritten) && site.layout.q() == Some(element) {
                continue;
            }
            if home != 0 {
                let write = Operation::Write;
                count += u16::from(self.push_block(index, &site, element, home, write, out));
            }
            let to_twin = (element, self.twin_home(index, &site, element));
            count += u16::from(self.push_twin_block(index, &site, to_twin, out));
        }
        self.begin_io(index, count);
        if count == 0 {
            self.stripes.cache.get_mut(index).phase = Phase::Written;
            self.stripes.make_due(index);
        }
    }

    /// An I/O of a slice is done.
    pub(in crate::target) fn complete_slice(
        &mut self,
        index: u16,
        io: &Io,
        fault: Option<Fault>,
        out: &mut Vec<Action>,
    ) {
        if let Some(fault) = fault {
            self.slice_io_failed(index, io, fault, out);
        } else if io.operation == Operation::Read {
            let mask = sector_mask(io.offset_sectors, io.sectors);
            let slice = self.stripes.cache.get_mut(index);
            slice.columns[usize::from(io.member)].valid |= mask;
        }
        let slice = self.stripes.cache.get_mut(index);
        slice.outstanding -= 1;
        if slice.outstanding > 0 {
            return;
        }
        let (key, epoch) = (slice.key, slice.epoch);
        slice.phase = match slice.phase {
            Phase::Reading if slice.is_reading_again => Phase::AwaitingView,
            // What could not be read is to be made good: planned anew.
            Phase::Reading if slice.failed => Phase::Queued,
            Phase::Reading => Phase::Read,
            Phase::Writing if !slice.failed => Phase::Written,
            phase => phase,
        };
        if let Some(key) = key {
            self.io_ended(key.lun, epoch, out);
        }
        match self.stripes.cache.get(index).phase {
            Phase::Writing | Phase::AwaitingView => self.member_failed_round(index, out),
            Phase::Written => self.round_written(index, out),
            _ => self.stripes.make_due(index),
        }
    }

    fn slice_io_failed(&mut self, index: u16, io: &Io, fault: Fault, out: &mut Vec<Action>) {
        let slice = self.stripes.cache.get_mut(index);
        slice.failed = true;
        let Some(key) = slice.key else { return };
        if io.operation == Operation::Read {
            match fault {
                Fault::Hangs | Fault::Unreached => slice.is_reading_again = true,
                Fault::Error | Fault::Late => slice.unreadable |= 1 << io.member,
            }
            slice.late |= u64::from(fault == Fault::Late) << io.member;
        }
        self.report_fault(key.lun, io, fault, out);
        if io.operation != Operation::Read
            && fault != Fault::Unreached
            && let Some(lun) = &self.luns[usize::from(key.lun.get())]
        {
            let is_last = run::is_last_copy(&lun.view, io);
            let slice = self.stripes.cache.get_mut(index);
            slice.doomed |= is_last;
            if is_last && slice.round == Round::Write && slice.group.is_some() {
                slice.unwritten |= 1 << io.member;
            }
        }
    }

    /// A round is over: answers its pieces, and goes on with those that wait.
    pub(super) fn end_round(&mut self, index: u16, ok: bool, out: &mut Vec<Action>) {
        let slice = self.stripes.cache.get_mut(index);
        let round = slice.round;
        let retired = slice.group.take();
        slice.phase = Phase::Queued;
        (slice.sift, slice.report) = (0, 0);
        for element in elements(slice.paged) {
            slice.columns[element].home = 0;
        }
        if let Some(key) = slice.key {
            if let Some(group) = retired {
                self.retire(key, group);
            }
            if let Some(lun) = &mut self.luns[usize::from(key.lun.get())] {
                lun.mirrors_differ |= !ok && round == Round::Write;
            }
        }
        if !ok {
            self.stripes.cache.release_pages(index);
        }
        self.stripes.may_unstall = true;
        self.answer_pieces(index, ok, out);
        self.rest(index);
    }

    /// What becomes of a slice when its round is over and answered.
    fn rest(&mut self, index: u16) {
        let slice = self.stripes.cache.get_mut(index);
        let (key, is_wanted) = (slice.key, slice.waiting_first != NONE);
        if slice.readers > 0 {
            slice.phase = Phase::Given;
        } else if key.is_none() {
            self.stripes.cache.empty(index);
        } else if is_wanted {
            slice.phase = Phase::Queued;
            self.stripes.make_due(index);
        } else if self.is_used_up(index) {
            // A stream has gone over all of it, and does not come back: these pages are the next to go,
            // while they are in the processor's cache.
            self.stripes.cache.link_idle_first(index);
        } else {
            self.stripes.cache.link_idle(index);
        }
    }

    /// Whether as many sectors were written or given as a slice has of data.
    fn is_used_up(&self, index: u16) -> bool {
        let slice = self.stripes.cache.get(index);
        let geometry = slice.key.and_then(|key| {
            let lun = self.luns[usize::from(key.lun.get())].as_ref()?;
            Some(&lun.view.parts.get(usize::from(key.part))?.geometry)
        });
        geometry.is_some_and(|geometry| {
            let all = slice_sectors(geometry) * u32::from(geometry.columns());
            u32::from(slice.sectors_used) >= all
        })
    }

    /// What a write round wants to write of each element.
    pub(super) fn new_masks(&self, index: u16) -> [SectorMask; MEMBERS_MAX as usize] {
        let mut new = [0; MEMBERS_MAX as usize];
        let slice = self.stripes.cache.get(index);
        if slice.round == Round::Write {
            for (_, piece) in self.stripes.pieces.list(slice.pieces) {
                new[usize::from(piece.element)] |= piece.mask;
            }
        }
        new
    }

    /// A reply was sent from a page of a slice, or its data was moved.
    pub(in crate::target) fn given_back(&mut self, index: u16) {
        let slice = self.stripes.cache.get_mut(index);
        slice.readers -= 1;
        if slice.readers == 0 && slice.phase == Phase::Given {
            self.stripes.may_unstall = true;
            self.rest(index);
        }
    }

    /// The pieces of a round are done.
    pub(super) fn answer_pieces(&mut self, index: u16, ok: bool, out: &mut Vec<Action>) {
        let slice = self.stripes.cache.get_mut(index);
        let mut next = std::mem::replace(&mut slice.pieces, NONE);
        while next != NONE {
            let Piece { next: after, .. } = *self.stripes.pieces.get(next);
            self.piece_done(Pieces::command(next), ok, out);
            next = after;
        }
    }

    /// A piece of a command is done.
    pub(super) fn piece_done(&mut self, command: CommandIndex, ok: bool, out: &mut Vec<Action>) {
        let entry = &mut self.commands[usize::from(command)];
        debug_assert_eq!(entry.state, State::Running);
        if !ok {
            entry.failed = true;
            entry.unmapped = true;
        }
        entry.pieces -= 1;
        if entry.pieces == 0 && entry.outstanding == 0 {
            match entry.kind {
                Kind::Sync(_) => self.end_step(command, ok, out),
                _ => self.finish(command, out),
            }
        }
    }

    /// The elements that need a page.
    fn pages_of(&self, index: u16, site: &Site, blocks: &Blocks, method: Method) -> u64 {
        let layout = &site.layout;
        let parities = 1_u64 << layout.p() | layout.q().map_or(0, |q| 1 << q);
        let pieces = self
            .stripes
            .pieces
            .list(self.stripes.cache.get(index).pieces);
        let wanted = pieces.fold(0, |bits, (_, piece)| bits | 1_u64 << piece.element);
        let new = (0_u32..)
            .zip(blocks)
            .filter(|(_, block)| block.new != 0)
            .fold(0, |bits, (element, _)| bits | 1_u64 << element);
        match method {
            Method::DataOnly if self.stripes.cache.get(index).round == Round::Sync => {
                site.part().twin_bits()
            }
            Method::DataOnly => wanted,
            Method::ReadModifyWrite => new | parities,
            Method::Reconstruct | Method::Recover => (1 << layout.members()) - 1,
        }
    }
}
