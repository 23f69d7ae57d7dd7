//! Every crash of one round, as bytes: which records and homes landed, torn or not, and which members
//! were lost before and with the crash. Then the same for superseded rounds, for records that were
//! being overwritten, for members that were replaced, and for a crash inside recovery.
//!
//! The scenarios say what they found wrong, so that rules that are wrong on purpose show that they can.

use super::*;
use crate::Level;
use crate::checksum;
use crate::log::{EntryPlace, RecordIdentity, RecordWriter};
use crate::parity::{self, Role, Wanted};
use std::collections::BTreeSet;

#[path = "recovery_version_tests.rs"]
mod versions;

const SECTOR: usize = 512;
const SLOT_SECTORS: u16 = 16;
const SLOTS: u16 = 2;
const SLICE: u64 = 8;
const ROWS: u64 = 3;
const LOG_SECTORS: u64 = 64;
const SET: Uuid = Uuid::from_u128(5);
/// The range of a stripe that rounds write: sectors 2 and 3 of the slice.
const RANGE: std::ops::Range<u64> = 2..4;

type Outcome = Result<usize, String>;

/// Devices as bytes, and what is known of them.
#[derive(Clone)]
struct World {
    geometry: Geometry,
    devices: Vec<Vec<u8>>,
    tags: Vec<u32>,
    lost: BTreeSet<u8>,
    /// Where records go: as the log has it, or wrong on purpose.
    places: u64,
    /// Members that hold what they should only before this sector.
    rebuilt: Vec<(u8, u64)>,
    bad_blocks: Vec<(u8, BadRange)>,
}

/// Access that ends after some sectors were written: a crash.
struct Io<'a> {
    world: &'a mut World,
    sectors_left: usize,
    sectors_written: usize,
    /// Something was written that was not there before.
    has_changed: bool,
    /// That was not in the first row, where everything happens.
    has_strayed: bool,
}

impl MemberIo for Io<'_> {
    type Error = &'static str;

    fn read(&mut self, element: u8, sector: u64, buffer: &mut [u8]) -> Result<(), &'static str> {
        let start = bytes(sector);
        let device = &self.world.devices[usize::from(element)];
        buffer.copy_from_slice(&device[start..start + buffer.len()]);
        Ok(())
    }

    fn write(&mut self, element: u8, sector: u64, data: &[u8]) -> Result<(), &'static str> {
        for (sector, data) in (sector..).zip(data.chunks(SECTOR)) {
            if self.sectors_left == 0 {
                return Err("crash");
            }
            self.sectors_left -= 1;
            self.sectors_written += 1;
            let start = bytes(sector);
            let device = &mut self.world.devices[usize::from(element)][start..start + SECTOR];
            if device != data {
                self.has_changed = true;
                self.has_strayed |= !(LOG_SECTORS..LOG_SECTORS + SLICE).contains(&sector);
                device.copy_from_slice(data);
            }
        }
        Ok(())
    }

    fn flush(&mut self, _: u8) -> Result<(), &'static str> {
        Ok(())
    }
}

/// What a recovery ended with.
struct Recovered {
    /// `None` when it crashed.
    report: Option<Report>,
    sectors_written: usize,
    has_changed: bool,
}

/// What one member gets in a round.
#[derive(Clone)]
struct Share {
    element: u8,
    record: Vec<u8>,
    record_sector: u64,
    home_sector: u64,
    content: Vec<u8>,
}

fn bytes(sectors: u64) -> usize {
    number::<_, usize>(sectors) * SECTOR
}

/// A number that is small.
fn number<A: TryInto<B>, B>(number: A) -> B {
    number.try_into().ok().unwrap()
}

/// Content of all data columns of a stripe's range and of all that is around it.
type Data = Vec<Vec<u8>>;

fn old_data(columns: u8, salt: u8) -> Data {
    (0..columns)
        .map(|column| {
            let bytes = (0..8).map(|sector: u8| salt ^ (column * 37 + sector * 11 + 1));
            bytes.flat_map(|byte| vec![byte; SECTOR]).collect()
        })
        .collect()
}

/// Which sectors of the slice a column's home is: in a redo, odd columns are written in part.
fn home(column: u8, kind: Kind) -> std::ops::Range<u64> {
    if kind == Kind::Redo && column % 2 == 1 {
        RANGE.end - 1..RANGE.end
    } else {
        RANGE
    }
}

fn bytes_of(range: &std::ops::Range<u64>) -> std::ops::Range<usize> {
    bytes(range.start)..bytes(range.end)
}

/// The data after a round that writes these columns.
fn written(old: &Data, columns: &[u8], kind: Kind, salt: u8) -> Data {
    let mut new = old.clone();
    for &column in columns {
        for byte in &mut new[usize::from(column)][bytes_of(&home(column, kind))] {
            *byte = byte.wrapping_mul(3) ^ salt ^ column;
        }
    }
    new
}

fn parity_of(data: &Data, parities: u8) -> (Vec<u8>, Vec<u8>) {
    let blocks: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let (mut p, mut q) = (vec![0; blocks[0].len()], vec![0; blocks[0].len()]);
    if parities == 2 {
        parity::pq_parity(&blocks, &mut p, &mut q).unwrap();
    } else {
        parity::xor_parity(&blocks, &mut p).unwrap();
    }
    (p, q)
}

impl World {
    fn new(level: Level, members: u8) -> Self {
        let geometry = Geometry::new(level, members, 8, ROWS * SLICE).unwrap();
        let sectors = usize::try_from(LOG_SECTORS + ROWS * SLICE).unwrap();
        let mut world = Self {
            geometry,
            devices: vec![vec![0; sectors * SECTOR]; usize::from(members)],
            tags: (1..=u32::from(members)).collect(),
            lost: BTreeSet::new(),
            places: u64::from(SLOTS) * 2,
            rebuilt: Vec::new(),
            bad_blocks: Vec::new(),
        };
        for row in 0..ROWS {
            let data = old_data(geometry.columns(), number(row));
            world.store(row, &data);
        }
        world
    }

    fn put(&mut self, element: u8, sector: u64, data: &[u8]) {
        let start = bytes(sector);
        self.devices[usize::from(element)][start..start + data.len()].copy_from_slice(data);
    }

    fn layout(&self, row: u64) -> crate::geometry::RowLayout {
        self.geometry.row_layout(row).unwrap()
    }

    /// The block of an element in a codeword.
    fn block(&self, row: u64, element: u8, data: &Data) -> Vec<u8> {
        let (p, q) = parity_of(data, self.geometry.parity_count());
        match self.layout(row).role(element) {
            Role::Data(column) => data[column].clone(),
            Role::P => p,
            Role::Q => q,
        }
    }

    fn store(&mut self, row: u64, data: &Data) {
        for element in 0..self.geometry.members() {
            let block = self.block(row, element, data);
            self.put(element, LOG_SECTORS + row * SLICE, &block);
        }
    }

    /// The shares of a round that brings a row to new data.
    fn round(&self, group: u64, row: u64, columns: &[u8], kind: Kind, new: &Data) -> Vec<Share> {
        let layout = self.layout(row);
        let takes_part = |element: &u8| match layout.role(*element) {
            Role::Data(column) => columns.contains(&number(column)),
            Role::P | Role::Q => true,
        };
        let elements: Vec<u8> = (0..layout.members())
            .filter(takes_part)
            .filter(|element| !self.lost.contains(element))
            .collect();
        let participants = elements.iter().fold(0, |all, element| all | 1 << element);
        let tags: Vec<u32> = (0..)
            .zip(&self.tags)
            .map(|(element, tag)| {
                if self.lost.contains(&element) {
                    0
                } else {
                    *tag
                }
            })
            .collect();
        let share = |&element: &u8| {
            let home = match layout.role(element) {
                Role::Data(column) => home(number(column), kind),
                Role::P | Role::Q => RANGE,
            };
            let content = self.block(row, element, new)[bytes_of(&home)].to_vec();
            let place = EntryPlace {
                member_sector: row * SLICE + home.start,
                range_start: number(RANGE.start),
                range_sectors: number(RANGE.end - RANGE.start),
                participants,
            };
            let mut record = vec![0; usize::from(SLOT_SECTORS) * SECTOR];
            let mut writer = RecordWriter::new(layout.members(), SLOT_SECTORS);
            match kind {
                Kind::Redo => writer.add_redo(&mut record, &place, &content).unwrap(),
                Kind::Intent => {
                    let sectors = number(content.len() / SECTOR);
                    writer
                        .add_intent(&mut record, &place, sectors, checksum::nh(&content))
                        .unwrap();
                }
            }
            let identity = RecordIdentity {
                set_uuid: SET,
                epoch: 1,
                group,
                element,
                tags: &tags,
            };
            let bytes = writer.finish(&mut record, &identity);
            record.truncate(bytes);
            Share {
                element,
                record,
                record_sector: group % self.places * u64::from(SLOT_SECTORS),
                home_sector: LOG_SECTORS + row * SLICE + home.start,
                content,
            }
        };
        elements.iter().map(share).collect()
    }

    /// 0: nothing, 1: all but the content, 2: all, 3: half a header.
    fn land_record(&mut self, share: &Share, state: usize) {
        let bytes = match state {
            0 => 0,
            1 => 8 * SECTOR,
            2 => share.record.len(),
            _ => 100,
        };
        let mut record = share.record[..bytes].to_vec();
        if state == 3 {
            record[60] ^= 1;
            record.resize(SECTOR, 0);
        }
        self.put(share.element, share.record_sector, &record);
    }

    /// 0: nothing, 1: all, 2: the first sector, 3: all but the first.
    fn land_home(&mut self, share: &Share, state: usize) {
        let (sector, content) = (share.home_sector, &share.content);
        match state {
            0 => {}
            1 => self.put(share.element, sector, content),
            2 => self.put(share.element, sector, &content[..SECTOR]),
            _ => self.put(share.element, sector + 1, &content[SECTOR..]),
        }
    }

    /// A round that came to its end.
    fn finish_round(&mut self, group: u64, row: u64, columns: &[u8], kind: Kind, new: &Data) {
        for share in self.round(group, row, columns, kind, new) {
            self.land_record(&share, 2);
            self.land_home(&share, 1);
        }
    }

    /// Recovers, with a crash after some sectors.
    fn recover(&mut self, sectors: usize) -> Result<Recovered, String> {
        let members: Vec<Option<PresentMember>> = (0..self.geometry.members())
            .map(|element| {
                let rebuilt = self.rebuilt.iter().find(|(rebuilt, _)| *rebuilt == element);
                (!self.lost.contains(&element)).then(|| PresentMember {
                    tag: self.tags[usize::from(element)],
                    log_area: Area {
                        sector: 0,
                        sectors: LOG_SECTORS,
                    },
                    data_offset_sectors: LOG_SECTORS,
                    synced_sectors: rebuilt.map_or(ROWS * SLICE, |(_, sectors)| *sectors),
                })
            })
            .collect();
        let bad_blocks = self.bad_blocks.clone();
        let raid = LoggedRaid {
            set_uuid: SET,
            geometry: self.geometry,
            parameters: LogParameters {
                slot_sectors: SLOT_SECTORS,
                slots: SLOTS,
                epoch: 1,
            },
            members: &members,
            bad_blocks: &bad_blocks,
        };
        let mut io = Io {
            world: self,
            sectors_left: sectors,
            sectors_written: 0,
            has_changed: false,
            has_strayed: false,
        };
        let report = match recover(&raid, &mut io) {
            Ok(report) => Some(report),
            Err(RecoveryError::Member { error: "crash", .. }) => None,
            Err(error) => return Err(error.to_string()),
        };
        if io.has_strayed {
            return Err("another row has changed".to_owned());
        }
        Ok(Recovered {
            report,
            sectors_written: io.sectors_written,
            has_changed: io.has_changed,
        })
    }

    /// The data of a row, computed where it is lost; `None` where it is unreadable. Fails when
    /// parity that nobody called bad does not match.
    fn read(&self, row: u64, report: &Report) -> Result<Vec<Vec<Option<u8>>>, String> {
        let layout = self.layout(row);
        let columns = usize::from(layout.columns());
        let mut result = vec![Vec::new(); columns];
        for sector in 0..SLICE {
            let is_in = |ranges: &[MemberRange], element: u8| {
                ranges.iter().any(|range| {
                    let first = range.member_sector;
                    let sectors = first..first + u64::from(range.sectors);
                    range.element == element && sectors.contains(&(row * SLICE + sector))
                })
            };
            let at = bytes(LOG_SECTORS + row * SLICE + sector);
            let known = |element: u8| {
                let is_old = self.rebuilt.iter().any(|(rebuilt, sectors)| {
                    *rebuilt == element && row * SLICE + sector >= *sectors
                });
                let is_known =
                    !self.lost.contains(&element) && !is_old && !is_in(&report.bad_parity, element);
                is_known.then(|| self.devices[usize::from(element)][at])
            };
            let mut data: Vec<Option<u8>> = (0..layout.columns())
                .map(|column| known(layout.data(column)))
                .collect();
            let (p, q) = (known(layout.p()), layout.q().and_then(known));
            let lost: Vec<usize> = (0..columns).filter(|c| data[*c].is_none()).collect();
            let unreadable =
                |column: &usize| is_in(&report.unreadable, layout.data(number(*column)));
            if lost.iter().any(unreadable) {
                if !lost.iter().all(unreadable) || p.is_some() || q.is_some() {
                    return Err(format!("row {row} sector {sector}: half is unreadable"));
                }
                // What is lost of absent members is what parity says, and all of it says the same.
                let there = |element: u8| {
                    let is_there = !self.lost.contains(&element);
                    is_there.then(|| self.devices[usize::from(element)][at])
                };
                let is_absent = |column: &usize| self.lost.contains(&layout.data(number(*column)));
                if lost.iter().all(is_absent) {
                    let (p, q) = (there(layout.p()), layout.q().and_then(there));
                    solve(&mut data.clone(), p, q)
                        .map_err(|what| format!("row {row} sector {sector} as defined: {what}"))?;
                }
            } else {
                solve(&mut data, p, q)
                    .map_err(|what| format!("row {row} sector {sector}: {what}"))?;
            }
            for (column, byte) in data.into_iter().enumerate() {
                result[column].push(byte);
            }
        }
        Ok(result)
    }
}

/// Computes lost bytes, and checks parity.
fn solve(data: &mut [Option<u8>], p: Option<u8>, q: Option<u8>) -> Result<(), String> {
    let own = data.to_vec();
    let blocks: Vec<Option<&[u8]>> = own
        .iter()
        .map(|byte| byte.as_ref().map(std::slice::from_ref))
        .collect();
    let mut found: Vec<(usize, [u8; 1])> = (0..data.len())
        .filter(|column| data[*column].is_none())
        .map(|column| (column, [0]))
        .collect();
    let mut wanted: Vec<Wanted<'_>> = found
        .iter_mut()
        .map(|(column, out)| Wanted {
            role: Role::Data(*column),
            out,
        })
        .collect();
    let p_block = p.as_ref().map(std::slice::from_ref);
    let q_block = q.as_ref().map(std::slice::from_ref);
    parity::recover(&blocks, p_block, q_block, &mut wanted).map_err(|error| error.to_string())?;
    for (column, [byte]) in found {
        data[column] = Some(byte);
    }
    let all: Vec<[u8; 1]> = data.iter().map(|byte| [byte.unwrap()]).collect();
    let all: Vec<&[u8]> = all.iter().map(<[u8; 1]>::as_slice).collect();
    let (mut new_p, mut new_q) = ([0], [0]);
    parity::pq_parity(&all, &mut new_p, &mut new_q).unwrap();
    if p.is_some_and(|p| p != new_p[0]) || q.is_some_and(|q| q != new_q[0]) {
        return Err("parity does not match".to_owned());
    }
    Ok(())
}

/// What a row has to be after recovery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    Old,
    New,
    /// Each sector one or the other, or unreadable.
    Either,
}

fn check(
    world: &World,
    report: &Report,
    old: &Data,
    new: &Data,
    is: Expected,
) -> Result<(), String> {
    let found = world.read(0, report)?;
    for (column, sectors) in found.iter().enumerate() {
        for (sector, byte) in sectors.iter().enumerate() {
            let (old, new) = (old[column][sector * SECTOR], new[column][sector * SECTOR]);
            let is_right = match (is, byte) {
                (Expected::Old, Some(byte)) => *byte == old,
                (Expected::New, Some(byte)) => *byte == new,
                (Expected::Either, Some(byte)) => *byte == old || *byte == new,
                // Only what was being written may be unreadable.
                (Expected::Either, None) => old != new,
                (_, None) => false,
            };
            if !is_right {
                return Err(format!(
                    "column {column} sector {sector}: {byte:?}, old {old}, new {new}: not {is:?}"
                ));
            }
        }
    }
    Ok(())
}

/// Recovers, checks what is there, and that doing it again changes nothing.
fn recover_and_check(mut world: World, old: &Data, new: &Data, is: Expected) -> Result<(), String> {
    let report = world.recover(usize::MAX)?.report.ok_or("no report")?;
    check(&world, &report, old, new, is)?;
    let again = world.recover(usize::MAX)?;
    let second = again.report.ok_or("no report")?;
    let is_same = second.unreadable == report.unreadable && second.bad_parity == report.bad_parity;
    if !is_same || again.has_changed {
        return Err("recovery again ends differently".to_owned());
    }
    Ok(())
}

/// Recovers with a crash after every number of sectors, then again, perhaps with one more member
/// lost.
fn crash_in_recovery(world: &World, old: &Data, new: &Data, is: Expected) -> Outcome {
    let mut cases = 0;
    let mut whole = world.clone();
    let sectors = whole.recover(usize::MAX)?.sectors_written;
    for crash_after in 0..sectors {
        let mut crashed = world.clone();
        crashed.recover(crash_after)?;
        recover_and_check(crashed.clone(), old, new, is)?;
        cases += 1;
        if crashed.lost.len() == usize::from(crashed.geometry.parity_count()) {
            continue;
        }
        for element in 0..crashed.geometry.members() {
            if crashed.lost.contains(&element) {
                continue;
            }
            let mut poorer = crashed.clone();
            poorer.lost.insert(element);
            recover_and_check(poorer, old, new, is)?;
            cases += 1;
        }
    }
    Ok(cases)
}

/// Every way to choose one of `base` states for each of `len` things.
fn combinations(bases: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    let total: usize = bases.iter().product();
    (0..total).map(move |mut number| {
        let digit = |base: &usize| {
            let digit = number % base;
            number /= base;
            digit
        };
        bases.iter().map(digit).collect()
    })
}

/// Every set of up to `most` of `elements`.
fn subsets(elements: &[u8], most: usize) -> Vec<BTreeSet<u8>> {
    (0..1_u32 << elements.len())
        .filter(|bits| bits.count_ones() as usize <= most)
        .map(|bits| {
            let is_in = |index: &usize| bits & (1 << index) != 0;
            (0..elements.len())
                .filter(is_in)
                .map(|index| elements[index])
                .collect()
        })
        .collect()
}

fn members(world: &World) -> Vec<u8> {
    (0..world.geometry.members()).collect()
}

fn write_sets(world: &World) -> Vec<Vec<u8>> {
    let columns: Vec<u8> = (0..world.geometry.columns()).collect();
    let sets = subsets(&columns, columns.len());
    let sets = sets.into_iter().filter(|set| !set.is_empty());
    sets.map(|set| set.into_iter().collect()).collect()
}

/// How many ways a home can have landed.
fn home_states(share: &Share) -> usize {
    if share.content.len() == SECTOR { 2 } else { 4 }
}

/// Every crash of one round. `is_deep`: with every crash of the recovery.
fn one_round(level: Level, member_count: u8, kind: Kind, is_deep: bool) -> Outcome {
    let fresh = World::new(level, member_count);
    let parities = usize::from(fresh.geometry.parity_count());
    let columns = fresh.geometry.columns();
    let old = old_data(columns, 0);
    let mut cases = 0;
    for dead in subsets(&members(&fresh), parities) {
        let mut world = fresh.clone();
        world.lost = dead;
        for set in write_sets(&world) {
            if kind == Kind::Intent && set.len() != usize::from(columns) {
                continue;
            }
            let new = written(&old, &set, kind, 0x5a);
            let shares = world.round(3, 0, &set, kind, &new);
            for newly in subsets(&members(&world), parities - world.lost.len()) {
                if !newly.is_disjoint(&world.lost) {
                    continue;
                }
                let mut world = world.clone();
                world.lost.extend(&newly);
                let mut left = shares.clone();
                left.retain(|share| !newly.contains(&share.element));
                cases += crashes(&world, &left, &old, &new, kind, is_deep).map_err(|what| {
                    format!(
                        "dead {:?}, new {newly:?}, write {set:?}: {what}",
                        world.lost
                    )
                })?;
            }
        }
    }
    Ok(cases)
}

fn crashes(
    world: &World,
    left: &[Share],
    old: &Data,
    new: &Data,
    kind: Kind,
    is_deep: bool,
) -> Outcome {
    let mut cases = 0;
    let mut try_it = |world: World, is: Expected, states: &[usize]| {
        cases += 1;
        if is_deep {
            cases += crash_in_recovery(&world, old, new, is)
                .map_err(|what| format!("{states:?}, crash in recovery: {what}"))?;
        }
        recover_and_check(world, old, new, is).map_err(|what| format!("{states:?}: {what}"))?;
        Ok::<(), String>(())
    };
    for states in combinations(&vec![3; left.len()]) {
        let mut world = world.clone();
        for (share, state) in left.iter().zip(&states) {
            world.land_record(share, *state);
        }
        let is_complete = states.iter().all(|state| *state == 2);
        let is = match kind {
            Kind::Redo if is_complete => Expected::New,
            Kind::Intent if states.iter().all(|state| *state != 0) => Expected::Either,
            _ => Expected::Old,
        };
        try_it(world, is, &states)?;
    }
    let mut complete = world.clone();
    for share in left {
        complete.land_record(share, 2);
    }
    let bases: Vec<usize> = left.iter().map(home_states).collect();
    for states in combinations(&bases) {
        let mut world = complete.clone();
        for (share, state) in left.iter().zip(&states) {
            world.land_home(share, *state);
        }
        let is_done = states.iter().all(|state| *state == 1);
        let is = if kind == Kind::Redo || is_done {
            Expected::New
        } else {
            Expected::Either
        };
        try_it(world, is, &states)?;
    }
    Ok(cases)
}

/// A member fails in a round, which is done again without it.
fn superseded(level: Level, member_count: u8) -> Outcome {
    let fresh = World::new(level, member_count);
    let parities = usize::from(fresh.geometry.parity_count());
    let old = old_data(fresh.geometry.columns(), 0);
    let mut cases = 0;
    for dead in subsets(&members(&fresh), parities - 1) {
        for set in write_sets(&fresh) {
            let new = written(&old, &set, Kind::Redo, 0x5a);
            let mut before = fresh.clone();
            before.lost.clone_from(&dead);
            let first = before.round(3, 0, &set, Kind::Redo, &new);
            for failed in first.iter().map(|share| share.element) {
                let mut after = before.clone();
                after.lost.insert(failed);
                let second = after.round(4, 0, &set, Kind::Redo, &new);
                for newly in subsets(&members(&after), parities - after.lost.len()) {
                    let mut world = after.clone();
                    world.lost.extend(&newly);
                    let is_left = |share: &&Share| !world.lost.contains(&share.element);
                    let first: Vec<Share> = first.iter().filter(is_left).cloned().collect();
                    let second: Vec<Share> = second.iter().filter(is_left).cloned().collect();
                    cases += superseded_crashes(&world, &first, &second, &old, &new)
                        .map_err(|what| format!("write {set:?}, failed {failed}: {what}"))?;
                }
            }
        }
    }
    Ok(cases)
}

fn superseded_crashes(
    world: &World,
    first: &[Share],
    second: &[Share],
    old: &Data,
    new: &Data,
) -> Outcome {
    let mut cases = 0;
    let mut bases: Vec<usize> = first.iter().map(home_states).collect();
    bases.extend(vec![3; second.len()]);
    for states in combinations(&bases) {
        let mut world = world.clone();
        let (homes, records) = states.split_at(first.len());
        for (share, state) in first.iter().zip(homes) {
            world.land_record(share, 2);
            world.land_home(share, *state);
        }
        for (share, state) in second.iter().zip(records) {
            world.land_record(share, *state);
        }
        recover_and_check(world, old, new, Expected::New)
            .map_err(|what| format!("{states:?}: {what}"))?;
        cases += 1;
    }
    // The member failed before all records of the first round were there.
    for states in combinations(&vec![3; first.len() + second.len()]) {
        let mut world = world.clone();
        for (share, state) in first.iter().chain(second).zip(&states) {
            world.land_record(share, *state);
        }
        let (one, two) = states.split_at(first.len());
        let is_whole = |states: &[usize]| states.iter().all(|state| *state == 2);
        let is = if is_whole(one) || is_whole(two) {
            Expected::New
        } else {
            Expected::Old
        };
        recover_and_check(world, old, new, is).map_err(|what| format!("{states:?}: {what}"))?;
        cases += 1;
    }
    Ok(cases)
}

/// Two groups under way, in places where records of retired groups lie; `history` says for each
/// retired group whether it wrote the first row.
fn overwriting(level: Level, member_count: u8, places: u64) -> Outcome {
    let mut cases = 0;
    for history in combinations(&[2, 2, 2, 2]) {
        let mut world = World::new(level, member_count);
        world.places = places;
        let mut data = old_data(world.geometry.columns(), 0);
        for (group, is_row_0) in (1..).zip(&history) {
            if *is_row_0 == 1 {
                let columns = [number(group % 2)];
                data = written(&data, &columns, Kind::Redo, number::<_, u8>(group) * 19);
                world.finish_round(group, 0, &columns, Kind::Redo, &data);
            } else {
                // As it was: what it wrote does not matter.
                let same = old_data(world.geometry.columns(), 1);
                world.finish_round(group, 1, &[0], Kind::Redo, &same);
            }
        }
        let same = old_data(world.geometry.columns(), 2);
        let mut shares = world.round(5, 2, &[0], Kind::Redo, &same);
        shares.extend(world.round(6, 2, &[1], Kind::Redo, &same));
        for states in combinations(&vec![3; shares.len()]) {
            let mut world = world.clone();
            for (share, state) in shares.iter().zip(&states) {
                // Nothing, half a header, or all.
                world.land_record(share, [0, 3, 2][*state]);
            }
            for lost in [None, Some(0), Some(1)] {
                world.lost = lost.into_iter().collect();
                recover_and_check(world.clone(), &data, &data, Expected::New)
                    .map_err(|what| format!("history {history:?}, {states:?}: {what}"))?;
                cases += 1;
            }
        }
    }
    Ok(cases)
}

/// A member that took part is replaced and rebuilt, while the records of the others are still there.
fn replaced(level: Level, member_count: u8) -> Outcome {
    let mut cases = 0;
    for element in 0..member_count {
        let mut world = World::new(level, member_count);
        let Role::Data(column) = world.layout(0).role(element) else {
            continue;
        };
        let column = number(column);
        let other = u8::from(column == 0);
        let first = written(
            &old_data(world.geometry.columns(), 0),
            &[other],
            Kind::Redo,
            7,
        );
        world.finish_round(1, 0, &[other], Kind::Redo, &first);
        let second = written(&first, &[column], Kind::Redo, 9);
        world.finish_round(2, 0, &[column], Kind::Redo, &second);
        // Another device with the same content, but for the log.
        world.tags[usize::from(element)] = 99;
        world.put(element, 0, &vec![0; bytes(LOG_SECTORS)]);
        recover_and_check(world, &second, &second, Expected::New)?;
        cases += 1;
    }
    Ok(cases)
}

/// A full-stripe write while a member is rebuilt that has not come to this row yet.
fn rebuilding(level: Level, member_count: u8) -> Outcome {
    let fresh = World::new(level, member_count);
    let old = old_data(fresh.geometry.columns(), 0);
    let columns: Vec<u8> = (0..fresh.geometry.columns()).collect();
    let new = written(&old, &columns, Kind::Intent, 0x33);
    let mut cases = 0;
    for element in 0..member_count {
        let mut world = fresh.clone();
        world.rebuilt = vec![(element, 0)];
        let garbage = vec![0xcc; bytes(ROWS * SLICE)];
        world.put(element, LOG_SECTORS, &garbage);
        let shares = world.round(1, 0, &columns, Kind::Intent, &new);
        for states in combinations(&vec![4; shares.len()]) {
            let mut world = world.clone();
            for (share, state) in shares.iter().zip(&states) {
                world.land_record(share, 2);
                world.land_home(share, *state);
            }
            let is_done = states.iter().all(|state| *state == 1);
            let is = if is_done {
                Expected::New
            } else {
                Expected::Either
            };
            recover_and_check(world, &old, &new, is)
                .map_err(|what| format!("rebuilding {element}, {states:?}: {what}"))?;
            cases += 1;
        }
    }
    Ok(cases)
}

#[test]
fn a_bad_block_is_not_data() {
    let fresh = World::new(Level::Raid5, 3);
    let old = old_data(2, 0);
    let new = written(&old, &[0, 1], Kind::Intent, 0x33);
    let mut world = fresh.clone();
    let bad = world.layout(0).data(0);
    world.put(bad, LOG_SECTORS + RANGE.start, &[0xcc; SECTOR]);
    world.bad_blocks = vec![(
        bad,
        BadRange {
            sector: RANGE.start,
            sectors: 1,
        },
    )];
    let shares = world.round(1, 0, &[0, 1], Kind::Intent, &new);
    for share in &shares {
        world.land_record(share, 2);
    }
    // One of three blocks is new: what the bad block should be cannot be told.
    let other = shares.iter().find(|share| share.element != bad).unwrap();
    let mut mixed = world.clone();
    mixed.land_home(other, 1);
    let report = mixed.recover(usize::MAX).unwrap().report.unwrap();
    assert_eq!(report.unreadable.len(), 1);
    assert_eq!(report.unreadable[0].element, bad);
    // The others are new: it can.
    for share in shares.iter().filter(|share| share.element != bad) {
        world.land_home(share, 1);
    }
    let report = world.recover(usize::MAX).unwrap().report.unwrap();
    assert_eq!(report.unreadable, []);
    check(&world, &report, &old, &new, Expected::New).unwrap();
}

const SMALL: [(Level, u8); 3] = [(Level::Raid5, 3), (Level::Raid5, 4), (Level::Raid6, 4)];

fn all(shapes: &[(Level, u8)], scenario: impl Fn(Level, u8) -> Outcome) {
    for &(level, members) in shapes {
        match scenario(level, members) {
            Ok(cases) => assert!(cases > 0, "{level} of {members}: no case"),
            Err(what) => panic!("{level} of {members}: {what}"),
        }
    }
}

#[test]
fn every_crash_of_a_redo_and_of_its_recovery() {
    all(&SMALL, |level, members| {
        one_round(level, members, Kind::Redo, true)
    });
}

#[test]
fn every_crash_of_a_redo_of_3_and_2() {
    all(&[(Level::Raid6, 5)], |level, members| {
        one_round(level, members, Kind::Redo, false)
    });
}

#[test]
fn every_crash_of_a_redo_of_4_and_2() {
    all(&[(Level::Raid6, 6)], |level, members| {
        one_round(level, members, Kind::Redo, false)
    });
}

#[test]
fn every_crash_of_an_intent_and_of_its_recovery() {
    all(&SMALL, |level, members| {
        one_round(level, members, Kind::Intent, true)
    });
}

#[test]
fn every_crash_of_an_intent_of_3_and_2_and_4_and_2() {
    let shapes = [(Level::Raid6, 5), (Level::Raid6, 6)];
    all(&shapes, |level, members| {
        one_round(level, members, Kind::Intent, false)
    });
}

#[test]
fn a_member_that_fails_in_a_round() {
    all(&SMALL, superseded);
}

#[test]
fn records_that_are_overwritten_bring_nothing_old_back() {
    all(&SMALL, |level, members| {
        overwriting(level, members, u64::from(SLOTS) * 2)
    });
}

#[test]
fn a_member_that_was_replaced() {
    all(&SMALL, replaced);
}

#[test]
fn a_member_that_is_being_rebuilt() {
    all(&SMALL, rebuilding);
}

#[test]
fn wrong_rules_are_found() {
    let cases: [(Planted, fn() -> Outcome); 6] = [
        (Planted::AcceptsIncomplete, || {
            one_round(Level::Raid5, 3, Kind::Redo, false)
        }),
        (Planted::NoWindow, || {
            overwriting(Level::Raid5, 3, u64::from(SLOTS) * 2)
        }),
        (Planted::NoTags, || replaced(Level::Raid5, 3)),
        (Planted::IgnoresTornContent, || {
            one_round(Level::Raid5, 3, Kind::Redo, false)
        }),
        (Planted::OldestFirst, || replaced(Level::Raid5, 3)),
        (Planted::GuessesMixtures, || {
            one_round(Level::Raid5, 3, Kind::Intent, false)
        }),
    ];
    for (rule, scenario) in cases {
        PLANTED.set(Some(rule));
        let outcome = scenario();
        PLANTED.set(None);
        assert!(outcome.is_err(), "{rule:?} was not found: {outcome:?}");
    }
}

/// With no more places than live groups, a torn record takes a retired one away while an older one of
/// the same slice is still taken for live.
#[test]
fn as_many_places_as_live_groups_are_too_few() {
    assert!(overwriting(Level::Raid5, 3, u64::from(SLOTS)).is_err());
}
