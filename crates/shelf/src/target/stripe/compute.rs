//! What is computed over the blocks of a slice when all that is needed is in memory.

use super::pieces::Pieces;
use super::round::Site;
use super::{NONE, Phase, Round, Target};
use crate::plane::{MemberView, SyncKind};
use crate::target::memory::{INPUTS_MAX, Span};
use crate::target::sync::is_well;
use crate::target::{Action, BufferIndex, Given, Kind as CommandKind, Memory, ScrubFinding};
use raid::Unit;
use raid::geometry::MEMBERS_MAX;
use raid::parity::{
    Role, Verdict, Wanted, check_parity, parity_and_checksums, pq_parity, recover, update_parity,
    xor_parity,
};
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::record::ScrubRepair;
use raid::stripe::{Method, SectorMask, hull, lost, run_of};

/// Data blocks of the widest stripe, as slices of bytes.
const COLUMNS_MAX: usize = MEMBERS_MAX as usize;

/// P and Q, or as many lost blocks.
const PARITIES_MAX: usize = 2;

/// Whether the pass of a part only compares.
pub(super) fn is_check(site: &Site) -> bool {
    let sync = site.part().sync.as_ref();
    sync.is_some_and(|sync| sync.kind == SyncKind::Check)
}

/// Sectors of each element.
pub(super) type Masks = [SectorMask; COLUMNS_MAX];

/// The checksum of what each element gets.
pub(super) type Checksums = [u64; COLUMNS_MAX];

/// Whether a round overwrites a range of all data, and nobody is missing or being rebuilt.
fn is_whole(site: &Site, range: SectorMask, new: &Masks) -> bool {
    let is_in_sync = |member: &Option<MemberView>| member.is_some_and(|member| member.in_sync);
    let mut data = (0..site.layout.columns()).map(|column| site.layout.data(column));
    data.all(|element| new[usize::from(element)] & range == range)
        && site.part().members.iter().all(is_in_sync)
}

/// The spans of a computation, without allocation.
pub(super) struct Spans<const MAX: usize> {
    spans: [Span; MAX],
    count: usize,
}

impl<const MAX: usize> Spans<MAX> {
    pub(super) const fn new() -> Self {
        let none = Span {
            buffer: BufferIndex(0),
            start_sector: 0,
            sectors: 0,
        };
        Self {
            spans: [none; MAX],
            count: 0,
        }
    }

    pub(super) fn push(&mut self, span: Span) {
        self.spans[self.count] = span;
        self.count += 1;
    }

    pub(super) fn as_slice(&self) -> &[Span] {
        &self.spans[..self.count]
    }
}

impl Target {
    /// Whether the log has only the checksums of a round: what it overwrites may be lost when it is cut off.
    /// So all of it is what initiators have asked for: what lies beside that in its units is not to be lost.
    pub(super) fn is_known_by_checksums(
        &self,
        index: u16,
        site: &Site,
        range: SectorMask,
        new: &Masks,
    ) -> bool {
        is_whole(site, range, new)
            && (site.view.unit == Unit::SECTOR || !self.has_edges_in_round(index))
    }

    #[cold]
    fn has_edges_in_round(&self, index: u16) -> bool {
        let pieces = self.stripes.cache.get(index).pieces;
        let mut pieces = self.stripes.pieces.list(pieces);
        pieces.any(|(piece, _)| {
            let command = &self.commands[usize::from(Pieces::command(piece))];
            !command.is_whole_write()
        })
    }

    /// All that a round needs is in memory: computes what it writes or gives.
    pub(super) fn compute_round(
        &mut self,
        index: u16,
        memory: &mut impl Memory,
        out: &mut Vec<Action>,
    ) {
        let Some(site) = self.site(index) else {
            self.end_round(index, false, out);
            return;
        };
        match self.stripes.cache.get(index).round {
            Round::Write => {
                let checksums = self.compute_write(index, &site, memory);
                self.stripes.cache.get_mut(index).phase = Phase::Computed;
                // At once, while the new content is in the processor's cache.
                self.log_round_at(index, &site, checksums.as_ref(), memory, out);
            }
            Round::Read => {
                self.recover_lost(index, &site, memory);
                self.give_blocks(index, memory);
                self.repair_read(index, &site, out);
            }
            // Who is to get what it read may be another one meanwhile, as when a twin takes its place.
            Round::Sync if self.is_of_older_view(index) => {
                self.stripes.cache.get_mut(index).phase = Phase::Queued;
                self.stripes.make_due(index);
            }
            Round::Sync => {
                self.compute_sync(index, &site, memory, out);
                self.stripes.cache.get_mut(index).phase = Phase::Logged;
                self.write_home(index, out);
            }
        }
    }

    /// Sectors of an element's page.
    pub(super) fn span(&self, index: u16, element: u8, mask: SectorMask) -> Span {
        let (start_sector, sectors) = run_of(mask);
        let column = &self.stripes.cache.get(index).columns[usize::from(element)];
        Span {
            buffer: self.stripes.plan.page(column.page),
            start_sector,
            sectors,
        }
    }

    /// Where the data of a piece lies in the buffer of its command.
    fn piece_span(&self, piece: u16) -> Span {
        let found = self.stripes.pieces.get(piece);
        Span {
            buffer: BufferIndex::of_command(Pieces::command(piece)),
            start_sector: found.buffer_sector,
            sectors: found.mask.count_ones(),
        }
    }

    /// Computes what a write round writes. Gives the checksums of the range if all of it is new.
    fn compute_write(
        &mut self,
        index: u16,
        site: &Site,
        memory: &mut impl Memory,
    ) -> Option<Checksums> {
        let (method, range) = {
            let slice = self.stripes.cache.get(index);
            (slice.method, slice.range)
        };
        let layout = &site.layout;
        let parities = [Some(layout.p()), layout.q()];
        if method == Method::Recover {
            self.recover_lost(index, site, memory);
        }
        if method == Method::ReadModifyWrite {
            self.add_differences(index, site, memory);
        }
        self.take_new(index, memory);
        let written = self
            .stripes
            .pieces
            .list(self.stripes.cache.get(index).pieces);
        let sectors: u32 = written.map(|(_, piece)| piece.mask.count_ones()).sum();
        self.stripes.cache.get_mut(index).sectors_used = u16::try_from(sectors).unwrap_or(u16::MAX);
        let new = self.new_masks(index);
        let mut checksums = None;
        match method {
            Method::Reconstruct | Method::Recover => {
                let has_log = site.part().log.is_some();
                checksums = (has_log && self.is_known_by_checksums(index, site, range, &new))
                    .then_some([0; COLUMNS_MAX]);
                self.compute_parity(index, site, range, checksums.as_mut(), memory);
            }
            Method::ReadModifyWrite => {}
            Method::DataOnly => {
                for element in parities.into_iter().flatten() {
                    self.column_mut(index, element).valid &= !range;
                }
            }
        }
        self.choose_homes(index, site, method, &new);
        checksums
    }

    fn column_mut(&mut self, index: u16, element: u8) -> &mut super::Column {
        &mut self.stripes.cache.get_mut(index).columns[usize::from(element)]
    }

    /// RMW: adds what each piece changes to the parity that is written.
    fn add_differences(&mut self, index: u16, site: &Site, memory: &mut impl Memory) {
        let mut next = self.stripes.cache.get(index).pieces;
        while next != NONE {
            let piece = *self.stripes.pieces.get(next);
            let Role::Data(column) = site.layout.role(piece.element) else {
                unreachable!("pieces are of data")
            };
            let [p, q] = [Some(site.layout.p()), site.layout.q()].map(|element| {
                let column = self.column_mut(index, element?);
                let is_known = column.valid & piece.mask == piece.mask;
                if !is_known {
                    // It is not written, and what is in memory of it is old from now on.
                    column.valid &= !piece.mask;
                }
                element.filter(|_| is_known)
            });
            let inputs = [
                self.span(index, piece.element, piece.mask),
                self.piece_span(next),
            ];
            let mut outputs = Spans::<PARITIES_MAX>::new();
            for element in [p, q].into_iter().flatten() {
                outputs.push(self.span(index, element, piece.mask));
            }
            memory.compute(&inputs, outputs.as_slice(), &mut |read, written| {
                let (first, second) = written.split_at_mut(usize::from(p.is_some()));
                let p = first.first_mut().map(|bytes| &mut **bytes);
                let q = second.first_mut().map(|bytes| &mut **bytes);
                update_parity(column, read[0], read[1], p, q).expect("blocks of one length");
            });
            next = piece.next;
        }
    }

    /// Copies the data of the pieces into the pages.
    fn take_new(&mut self, index: u16, memory: &mut impl Memory) {
        let mut next = self.stripes.cache.get(index).pieces;
        while next != NONE {
            let piece = *self.stripes.pieces.get(next);
            let to = self.span(index, piece.element, piece.mask);
            memory.compute(&[self.piece_span(next)], &[to], &mut |read, written| {
                written[0].copy_from_slice(read[0]);
            });
            self.column_mut(index, piece.element).valid |= piece.mask;
            next = piece.next;
        }
    }

    /// Computes P and Q of a range from the data, and the checksums of all if they are wanted.
    fn compute_parity(
        &mut self,
        index: u16,
        site: &Site,
        range: SectorMask,
        checksums: Option<&mut Checksums>,
        memory: &mut impl Memory,
    ) {
        let layout = &site.layout;
        let mut data = Spans::<INPUTS_MAX>::new();
        for column in 0..layout.columns() {
            data.push(self.span(index, layout.data(column), range));
        }
        let mut parity = Spans::<PARITIES_MAX>::new();
        for element in [Some(layout.p()), layout.q()].into_iter().flatten() {
            parity.push(self.span(index, element, range));
            self.column_mut(index, element).valid |= range;
        }
        let (data, parity) = (data.as_slice(), parity.as_slice());
        let Some(checksums) = checksums else {
            memory.compute(data, parity, &mut |read, written| {
                let done = match written {
                    [p] => xor_parity(read, p),
                    [p, q] => pq_parity(read, p, q),
                    _ => unreachable!("one parity or two"),
                };
                done.expect("blocks of one length");
            });
            return;
        };
        let mut in_order = [0; COLUMNS_MAX];
        let in_order = &mut in_order[..data.len() + parity.len()];
        memory.compute(data, parity, &mut |read, written| {
            let done = match written {
                [p] => parity_and_checksums(read, p, None, in_order),
                [p, q] => parity_and_checksums(read, p, Some(q), in_order),
                _ => unreachable!("one parity or two"),
            };
            done.expect("blocks of one length");
        });
        let elements = (0..layout.columns()).map(|column| layout.data(column));
        let parities = [Some(layout.p()), layout.q()].into_iter().flatten();
        for (element, checksum) in elements.chain(parities).zip(in_order) {
            checksums[usize::from(element)] = *checksum;
        }
    }

    /// Computes the data blocks of the round's range that are not in memory.
    fn recover_lost(&mut self, index: u16, site: &Site, memory: &mut impl Memory) {
        let range = self.stripes.cache.get(index).range;
        self.recover_range(index, site, range, memory);
    }

    /// Computes the data blocks that are not in memory in a range.
    fn recover_range(
        &mut self,
        index: u16,
        site: &Site,
        range: SectorMask,
        memory: &mut impl Memory,
    ) {
        if range == 0 {
            return;
        }
        let layout = &site.layout;
        let has = |element: u8| {
            let column = &self.stripes.cache.get(index).columns[usize::from(element)];
            column.valid & range == range
        };
        let mut inputs = Spans::<INPUTS_MAX>::new();
        let mut outputs = Spans::<PARITIES_MAX>::new();
        let mut places = [None; COLUMNS_MAX + 2];
        let mut wanted = [0_u8; 2];
        let elements = (0..layout.columns()).map(|column| layout.data(column));
        let parities = [Some(layout.p()), layout.q()].into_iter().flatten();
        for (place, element) in elements.chain(parities).enumerate() {
            if has(element) {
                places[place] = Some(inputs.count);
                inputs.push(self.span(index, element, range));
            } else if place < usize::from(layout.columns()) {
                wanted[outputs.count] = element;
                outputs.push(self.span(index, element, range));
            }
        }
        if outputs.count == 0 {
            return;
        }
        let columns = usize::from(layout.columns());
        let roles = wanted.map(|element| layout.role(element));
        memory.compute(
            inputs.as_slice(),
            outputs.as_slice(),
            &mut |read, written| {
                let mut data = [None; COLUMNS_MAX];
                let block = |place: usize| places[place].map(|input: usize| read[input]);
                for (column, block_of) in data[..columns].iter_mut().enumerate() {
                    *block_of = block(column);
                }
                let (p, q) = (block(columns), block(columns + 1));
                let done = match written {
                    [one] => {
                        let role = roles[0];
                        recover(&data[..columns], p, q, &mut [Wanted { role, out: one }])
                    }
                    [one, two] => {
                        let [first, second] = roles;
                        let wanted = &mut [
                            Wanted {
                                role: first,
                                out: one,
                            },
                            Wanted {
                                role: second,
                                out: two,
                            },
                        ];
                        recover(&data[..columns], p, q, wanted)
                    }
                    _ => unreachable!("one block or two"),
                };
                done.expect("no more is lost than was planned for");
            },
        );
        for element in &wanted[..outputs.count] {
            self.column_mut(index, *element).valid |= range;
        }
    }

    /// Decides what a write round writes home.
    fn choose_homes(&mut self, index: u16, site: &Site, method: Method, new: &Masks) {
        let range = self.stripes.cache.get(index).range;
        let unreadable = self.stripes.cache.get(index).repairs();
        for element in 0..site.layout.members() {
            let column = self.stripes.cache.get(index).columns[usize::from(element)];
            let is_parity = !matches!(site.layout.role(element), Role::Data(_));
            // A block that could not be read is written, so that it can be: drives replace bad sectors.
            let is_repaired = unreadable >> element & 1 == 1;
            // Parity of a member that came after the round was planned may not have been computed.
            let is_known = column.valid & range == range;
            let is_whole = method != Method::DataOnly && is_known && (is_parity || is_repaired);
            let home = if is_whole {
                range
            } else {
                hull(new[usize::from(element)])
            };
            let is_writable = site.part().members[usize::from(element)].is_some();
            self.column_mut(index, element).home = if is_writable { home } else { 0 };
        }
    }

    /// Gives blocks to those who asked for them: from the page what answers a whole command, and a copy of
    /// what is only a part of one.
    fn give_blocks(&mut self, index: u16, memory: &mut impl Memory) {
        let mut next = self.stripes.cache.get(index).pieces;
        while next != NONE {
            let piece = *self.stripes.pieces.get(next);
            let span = self.span(index, piece.element, piece.mask);
            let command = &mut self.commands[usize::from(Pieces::command(next))];
            let is_whole = command.kind == CommandKind::Read && command.sectors == span.sectors;
            if is_whole {
                command.given = Some(Given { slice: index, span });
            } else {
                memory.compute(&[span], &[self.piece_span(next)], &mut |read, written| {
                    written[0].copy_from_slice(read[0]);
                });
            }
            let slice = self.stripes.cache.get_mut(index);
            slice.readers += u16::from(is_whole);
            let sectors = u16::try_from(span.sectors).unwrap_or(u16::MAX);
            slice.sectors_used = slice.sectors_used.saturating_add(sectors);
            next = piece.next;
        }
    }

    /// After a read that met blocks that could not be read: writes them, so that they can be. Nothing
    /// changes by that, so the log need not know.
    fn repair_read(&mut self, index: u16, site: &Site, out: &mut Vec<Action>) {
        let blocks = self.blocks(index, site);
        let slice = self.stripes.cache.get(index);
        let (range, unreadable, pieces) = (slice.range, slice.repairs(), slice.pieces);
        let mut repairs = 0;
        for element in 0..site.layout.members() {
            let block = &blocks[usize::from(element)];
            let pieces = self.stripes.pieces.list(pieces);
            let of_element = pieces.filter(|(_, piece)| piece.element == element);
            let asked = of_element.fold(0, |mask, (_, piece)| mask | piece.mask);
            // What was asked for may have been in memory.
            let masks = [hull(range | asked), range];
            let is_known = |mask: &SectorMask| *mask != 0 && block.valid & mask == *mask;
            let known = masks.into_iter().find(is_known);
            if let Some(mask) = known
                && unreadable >> element & 1 == 1
                && block.is_writable
            {
                self.column_mut(index, element).home = mask;
                repairs += 1;
            }
        }
        self.counters.blocks_repaired += repairs;
        if repairs == 0 {
            self.end_round(index, true, out);
        } else {
            // Nobody needs to wait for that.
            self.answer_pieces(index, true, out);
            self.stripes.cache.get_mut(index).phase = Phase::Logged;
            self.stripes.make_due(index);
        }
    }

    /// A step of a pass: computes what is lost, makes parity match, and chooses what is written.
    fn compute_sync(
        &mut self,
        index: u16,
        site: &Site,
        memory: &mut impl Memory,
        out: &mut Vec<Action>,
    ) {
        let (range, method) = {
            let slice = self.stripes.cache.get(index);
            (slice.range, slice.method)
        };
        if method == Method::DataOnly {
            // Twins are to get what their members have; nothing else is in memory.
            return;
        }
        let layout = &site.layout;
        let before = self.blocks(index, site);
        let is_data_lost =
            lost(layout, &before, range).any(|(_, role)| matches!(role, Role::Data(_)));
        self.recover_lost(index, site, memory);
        let parities = [Some(layout.p()), layout.q()];
        let has_parity = |element: &u8| before[usize::from(*element)].valid & range == range;
        let all_parity = parities.iter().flatten().all(has_parity);
        let matches = all_parity && !is_data_lost && self.parity_matches(index, site, memory);
        let mut mended = [0; MEMBERS_MAX as usize];
        if all_parity && !is_data_lost && !matches && is_check(site) {
            mended = self.find_mismatches(index, site, memory, out);
        }
        let unsynced = site.part().mirrors_unsynced;
        if !all_parity || (unsynced && !matches) {
            self.compute_parity(index, site, range, None, memory);
        }
        let unreadable = self.stripes.cache.get(index).repairs();
        for element in 0..layout.members() {
            let Some(member) = site.part().members[usize::from(element)] else {
                continue;
            };
            let is_parity = !matches!(layout.role(element), Role::Data(_));
            let is_written = !member.in_sync
                || unreadable >> element & 1 == 1
                || (is_parity && unsynced && !matches);
            let mended = site.view.unit.around_mask(mended[usize::from(element)]);
            self.column_mut(index, element).home = if is_written { range } else { mended };
        }
    }

    /// Counts the sectors of a slice whose parity does not match, and tells which member is wrong. Gives the
    /// sectors of each element that were computed anew, as the pass is told to.
    fn find_mismatches(
        &mut self,
        index: u16,
        site: &Site,
        memory: &mut impl Memory,
        out: &mut Vec<Action>,
    ) -> [SectorMask; MEMBERS_MAX as usize] {
        let range = self.stripes.cache.get(index).range;
        let sync = site.part().sync.as_ref();
        let repair = sync.filter(|_| is_well(site.part()));
        let repair = repair.map_or(ScrubRepair::Report, |sync| sync.repair);
        let pass = sync.map_or(0, |sync| sync.pass);
        let mut mended = [0; MEMBERS_MAX as usize];
        let mut found = ScrubFinding::default();
        for bit in 0..SectorMask::BITS {
            let sector = range & (1 << bit);
            if sector == 0 {
                continue;
            }
            let wrong = match self.verdict(index, site, sector, memory) {
                Verdict::Consistent => continue,
                Verdict::Wrong(role) => {
                    let mut elements = 0..site.layout.members();
                    elements.find(|element| site.layout.role(*element) == role)
                }
                Verdict::Inconsistent => None,
            };
            found.mismatched_sectors += 1;
            if let Some(element) = wrong {
                #[cfg(feature = "planted")]
                let element = if planted::is(Bug::ScrubNamesOther) {
                    (element + 1) % site.layout.members()
                } else {
                    element
                };
                found.wrong = Some((element, site.place(sector).0));
            }
            let is_mended = match repair {
                ScrubRepair::Report => false,
                ScrubRepair::Located => wrong.is_some(),
                ScrubRepair::All => true,
            };
            if is_mended {
                found.repaired_sectors += 1;
                self.mend_sector(index, site, (sector, wrong), memory);
                let parities = [Some(site.layout.p()), site.layout.q()];
                let written = wrong.map_or(parities, |element| [Some(element), None]);
                for element in written.into_iter().flatten() {
                    mended[usize::from(element)] |= sector;
                }
            }
        }
        self.count_mismatches(site.key.lun, pass, found, out);
        mended
    }

    /// Makes data and parity of a sector agree in memory: by the block that must be wrong, or by parity.
    fn mend_sector(
        &mut self,
        index: u16,
        site: &Site,
        (sector, wrong): (SectorMask, Option<u8>),
        memory: &mut impl Memory,
    ) {
        match wrong {
            Some(element) if matches!(site.layout.role(element), Role::Data(_)) => {
                self.column_mut(index, element).valid &= !sector;
                self.recover_range(index, site, sector, memory);
            }
            _ => self.compute_parity(index, site, sector, None, memory),
        }
    }

    /// Whether the parity in memory is that of the data.
    fn parity_matches(&self, index: u16, site: &Site, memory: &mut impl Memory) -> bool {
        let range = self.stripes.cache.get(index).range;
        self.verdict(index, site, range, memory) == Verdict::Consistent
    }

    /// What data and parity in memory say of each other.
    fn verdict(
        &self,
        index: u16,
        site: &Site,
        range: SectorMask,
        memory: &mut impl Memory,
    ) -> Verdict {
        let layout = &site.layout;
        let columns = usize::from(layout.columns());
        let mut inputs = Spans::<INPUTS_MAX>::new();
        for column in 0..layout.columns() {
            inputs.push(self.span(index, layout.data(column), range));
        }
        for element in [Some(layout.p()), layout.q()].into_iter().flatten() {
            inputs.push(self.span(index, element, range));
        }
        let mut verdict = Verdict::Inconsistent;
        memory.compute(inputs.as_slice(), &[], &mut |read, _| {
            let (data, parity) = read.split_at(columns);
            let checked = check_parity(data, parity[0], parity.get(1).copied());
            verdict = checked.expect("blocks of one length");
        });
        verdict
    }
}
