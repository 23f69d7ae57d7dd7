//! Frames that are nearly right.

use super::scene::{IN_VLAN, STATIONS, VLAN};
use super::world::{SHELF, STATIONS as PORT_STATIONS};
use aoe::{AtaRegisters, Header, MacAddress, Shelf, Slot, Tag};
use arbitrary::{Arbitrary, Unstructured};
use shelf::admin::LunNumber;
use shelf::plane::LunView;
use std::collections::BTreeMap;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Longest frame: at MTU 9000, with two tags and a little more.
pub(super) const FRAME_BYTES_MAX: usize = 9100;

/// Frames that may come again.
const KEPT_MAX: usize = 64;

/// Where data may lie behind: changes are made before it.
const HEAD_BYTES: usize = 80;

/// A frame.
#[derive(Arbitrary, Debug)]
pub(super) struct FrameStep {
    pub(super) port: u8,
    from: u8,
    lun: u8,
    /// Another address than that of the LUN, another tag than it wants.
    to: Seldom<To>,
    vlan: Seldom<Vlan>,
    request: Request,
    /// Sent on by another station, for this address.
    redirect: Seldom<(u8, To)>,
    /// Bytes that are something else.
    changes: Seldom<Vec<(u8, u8)>>,
    /// So much of it is lost.
    cut: Seldom<u16>,
}

/// Something that is there once in sixteen times.
#[derive(Clone, Copy, Debug)]
struct Seldom<T>(Option<T>);

impl<'a, T: Arbitrary<'a>> Arbitrary<'a> for Seldom<T> {
    fn arbitrary(data: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let is_there = u8::arbitrary(data)? % 16 == 15;
        Ok(Self(if is_there {
            Some(T::arbitrary(data)?)
        } else {
            None
        }))
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum To {
    Lun(u8),
    EveryLun,
    EveryShelf(u8),
    Everybody,
    OtherStation(u8),
    Any { shelf: u16, slot: u8 },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Vlan {
    None,
    Own,
    Priority(u8),
    Other(u16),
    Service(u16),
    Twice,
}

#[derive(Arbitrary, Debug)]
enum Request {
    Read {
        is_short: bool,
        lba: Lba,
        count: Count,
        trailing: u16,
    },
    Write {
        is_short: bool,
        lba: Lba,
        count: Count,
        data: Data,
        surplus: Seldom<i16>,
    },
    Flush(bool),
    Identify {
        trailing: u16,
    },
    Smart {
        feature: u8,
        key: bool,
    },
    Power,
    Manage {
        feature: Seldom<u8>,
        count: Seldom<u8>,
        ranges: Vec<(Lba, u16)>,
    },
    Ata {
        opcode: u8,
        flags: u8,
        feature: u8,
        lba: Lba,
        count: u8,
        trailing: u16,
    },
    Config {
        command: u8,
        claimed: Seldom<u16>,
        string: Text,
        replacement: Option<Text>,
    },
    Mask {
        is_vendor: bool,
        command: u8,
        claimed: Seldom<u8>,
        directives: Vec<(u8, u8)>,
    },
    Reserve {
        command: u8,
        claimed: Seldom<u8>,
        stations: Vec<u8>,
    },
    Register {
        key: u8,
        claimed: Seldom<u8>,
        stations: Vec<u8>,
    },
    SetKey {
        kind: u8,
        key: u8,
    },
    ReplaceKey {
        kind: u8,
        flags: u8,
        target: u8,
        replacement: u8,
    },
    Keyed {
        command: u8,
        argument: Vec<u8>,
    },
    Other {
        command: u8,
        argument: Vec<u8>,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Lba {
    Near(u8),
    /// Around the boundary of two parts.
    Part(i8),
    End(u8),
    Far(u16),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Count {
    Some(u8),
    Any(u8),
}

/// What is written.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Data {
    /// What nobody else writes.
    New,
    /// One of a few.
    Known(u8),
}

#[derive(Arbitrary, Debug)]
enum Text {
    Short(Vec<u8>),
    Long(u16),
}

impl Text {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Short(bytes) => bytes.clone(),
            Self::Long(bytes) => vec![b'x'; usize::from(bytes % 1100)],
        }
    }
}

impl Lba {
    fn of(self, view: Option<&Arc<LunView>>) -> u64 {
        let capacity = view.map_or(1024, |view| view.capacity_sectors);
        let part = view.and_then(|view| view.parts.first());
        let boundary = part.map_or(512, |part| part.geometry.capacity_sectors());
        match self {
            Self::Near(lba) => u64::from(lba % 128),
            Self::Part(by) => boundary.saturating_add_signed(i64::from(by)),
            Self::End(before) => capacity.saturating_sub(u64::from(before % 24)),
            Self::Far(lba) => u64::from(lba) % capacity,
            Self::Any(lba) => lba,
        }
    }
}

impl Count {
    const fn sectors(self) -> u8 {
        match self {
            Self::Some(count) => count % 17 + 1,
            Self::Any(count) => count,
        }
    }
}

fn station(number: u8) -> MacAddress {
    STATIONS[usize::from(number) % STATIONS.len()]
}

fn stations(numbers: &[u8]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| station(*number).0)
        .collect()
}

fn key(number: u8) -> [u8; 8] {
    u64::from(number % 4).to_be_bytes()
}

/// Claimed or true.
fn length(claimed: Seldom<u8>, held: usize) -> u8 {
    claimed
        .0
        .unwrap_or_else(|| u8::try_from(held).unwrap_or(u8::MAX))
}

/// How a frame comes again.
#[derive(Arbitrary, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Again {
    AsItWas,
    WithAnotherTag,
    WithOtherData,
}

/// The frames that have been made.
#[derive(Default)]
pub(super) struct Frames {
    made: Vec<Vec<u8>>,
    next_tag: u32,
    next_data: u64,
}

type Views = BTreeMap<LunNumber, Arc<LunView>>;

impl Frames {
    /// Makes a frame.
    pub(super) fn make(&mut self, step: &FrameStep, views: &Views) -> Vec<u8> {
        let to = step.to.0.unwrap_or(To::Lun(step.lun));
        let (shelf, slot) = address(to);
        let view = LunNumber::new(slot.0).and_then(|lun| views.get(&lun));
        let (command, argument) = self.argument(&step.request, view);
        self.next_tag += 1;
        let own = PORT_STATIONS[usize::from(step.port) % PORT_STATIONS.len()];
        let to = match to {
            To::Lun(_) | To::Any { .. } => own,
            To::OtherStation(other) => MacAddress([2, 0, 0, 0, 0, other]),
            To::EveryLun | To::EveryShelf(_) | To::Everybody => MacAddress::BROADCAST,
        };
        let (from, tag) = (station(step.from), Tag(self.next_tag));
        let header = Header::request(to, from, shelf, slot, command, tag);
        let mut frame = [header.as_bytes(), &argument].concat();
        if let Some((by, for_whom)) = step.redirect.0 {
            let (shelf, slot) = address(for_whom);
            let header = Header::request(own, station(by), shelf, slot, 0xf1, Tag(!self.next_tag));
            frame = [header.as_bytes(), &frame].concat();
        }
        let wanted = if slot.0 == IN_VLAN {
            Vlan::Own
        } else {
            Vlan::None
        };
        for tag in tags(step.vlan.0.unwrap_or(wanted)) {
            frame.splice(12..12, tag);
        }
        for (place, value) in step.changes.0.iter().flatten() {
            let places = frame.len().min(HEAD_BYTES);
            frame[usize::from(*place) % places] = *value;
        }
        let left = step
            .cut
            .0
            .map_or(FRAME_BYTES_MAX, |cut| usize::from(cut) % frame.len());
        frame.truncate(left.min(FRAME_BYTES_MAX));
        if self.made.len() < KEPT_MAX {
            self.made.push(frame.clone());
        }
        frame
    }

    /// One that was made before.
    pub(super) fn again(&mut self, back: u8, how: Again) -> Option<Vec<u8>> {
        let index = self.made.len().checked_sub(1 + usize::from(back % 8))?;
        let mut frame = self.made[index].clone();
        let is_plain = frame.get(12..14) == Some(&[0x88, 0xa2]);
        if let Again::WithOtherData = how
            && let Some(byte) = frame.get_mut(100)
        {
            *byte ^= 1;
        }
        if how != Again::AsItWas && is_plain && frame.len() >= 24 {
            self.next_tag += 1;
            frame[20..24].copy_from_slice(&self.next_tag.to_be_bytes());
        }
        Some(frame)
    }

    /// The read of a sector.
    pub(super) fn read_back(&mut self, lun: u8, lba: u64) -> Vec<u8> {
        self.next_tag += 1;
        let (shelf, tag) = (Shelf(SHELF), Tag(self.next_tag));
        let header = Header::request(PORT_STATIONS[0], STATIONS[0], shelf, Slot(lun), 0, tag);
        let registers = AtaRegisters::extended(0x24, false, lba, 1);
        [header.as_bytes(), registers.as_bytes()].concat()
    }

    /// The command and its argument.
    fn argument(&mut self, request: &Request, view: Option<&Arc<LunView>>) -> (u8, Vec<u8>) {
        match request {
            Request::Config {
                command,
                claimed,
                string,
                replacement,
            } => (1, config(*command, *claimed, string, replacement.as_ref())),
            Request::Mask {
                is_vendor,
                command,
                claimed,
                directives,
            } => {
                let directive = |(code, number): &(u8, u8)| {
                    let [m0, m1, m2, m3, m4, m5] = station(*number).0;
                    [0, *code % 4, m0, m1, m2, m3, m4, m5]
                };
                let count = length(*claimed, directives.len());
                let mut argument = vec![0, *command % 3, 0, count];
                argument.extend(directives.iter().flat_map(directive));
                (if *is_vendor { 0xf0 } else { 2 }, argument)
            }
            Request::Reserve {
                command,
                claimed,
                stations: numbers,
            } => {
                let fixed = [*command % 4, length(*claimed, numbers.len())];
                (3, [&fixed[..], &stations(numbers)].concat())
            }
            Request::Register {
                key: number,
                claimed,
                stations: numbers,
            } => {
                let fixed = [1, length(*claimed, numbers.len()), 0, 0];
                (4, [&fixed[..], &key(*number), &stations(numbers)].concat())
            }
            Request::SetKey { kind, key: number } => {
                (4, [&[2, *kind % 7, 0, 0][..], &key(*number)].concat())
            }
            Request::ReplaceKey {
                kind,
                flags,
                target,
                replacement,
            } => {
                let fixed = [3, *kind % 7, *flags % 2, 0];
                (4, [&fixed[..], &key(*target), &key(*replacement)].concat())
            }
            Request::Keyed { command, argument } => (4, [&[*command % 6][..], argument].concat()),
            Request::Other { command, argument } => (*command, argument.clone()),
            ata => (0, self.ata(ata, view)),
        }
    }

    fn ata(&mut self, request: &Request, view: Option<&Arc<LunView>>) -> Vec<u8> {
        let zeros = |bytes: u16| vec![0; usize::from(bytes)];
        let none = |opcode, count| (AtaRegisters::extended(opcode, false, 0, count), Vec::new());
        let (registers, data) = match *request {
            Request::Read {
                is_short,
                lba,
                count,
                trailing,
            } => {
                let (opcode, lba) = (if is_short { 0x20 } else { 0x24 }, lba.of(view));
                let registers = AtaRegisters::extended(opcode, false, lba, count.sectors());
                (registers, zeros(trailing))
            }
            Request::Write {
                is_short,
                lba,
                count,
                data,
                surplus,
            } => {
                let (opcode, lba) = (if is_short { 0x30 } else { 0x34 }, lba.of(view));
                let count = count.sectors();
                let mut data = self.data(data, lba, count);
                let surplus = isize::from(surplus.0.unwrap_or(0) / 64);
                data.resize(data.len().saturating_add_signed(surplus), 0x55);
                (AtaRegisters::extended(opcode, true, lba, count), data)
            }
            Request::Flush(is_short) => none(if is_short { 0xe7 } else { 0xea }, 0),
            Request::Identify { trailing } => (none(0xec, 1).0, zeros(trailing)),
            Request::Smart { feature, key } => {
                let mut registers = none(0xb0, 1).0;
                registers.feature_error = 0xd0 | (feature % 16);
                if key {
                    registers.lba = [0, 0x4f, 0xc2, 0, 0, 0];
                }
                (registers, Vec::new())
            }
            Request::Power => none(0xe5, 0),
            Request::Manage {
                feature,
                count,
                ref ranges,
            } => {
                let data = range_entries(ranges, view);
                let mut registers = none(0x06, length(count, data.len() / 512)).0;
                registers.feature_error = feature.0.unwrap_or(1);
                (registers, data)
            }
            Request::Ata {
                opcode,
                flags,
                feature,
                lba,
                count,
                trailing,
            } => {
                let mut registers = AtaRegisters::extended(opcode, false, lba.of(view), count);
                (registers.flags, registers.feature_error) = (flags, feature);
                (registers, zeros(trailing))
            }
            ref other => unreachable!("no ATA command: {other:?}"),
        };
        [registers.as_bytes(), &data].concat()
    }

    /// What is written to some sectors: each of them can be told from the others.
    fn data(&mut self, data: Data, lba: u64, count: u8) -> Vec<u8> {
        let stamp = match data {
            Data::New => {
                self.next_data += 1;
                self.next_data << 8
            }
            Data::Known(number) => u64::from(number % 3),
        };
        let sector = |index| {
            let words = [
                stamp,
                lba.wrapping_add(index),
                stamp.rotate_left(17),
                !stamp,
            ];
            let words = words.map(u64::to_be_bytes).concat();
            words.repeat(512 / words.len())
        };
        // What is known may be zeros.
        match data {
            Data::Known(number) if number % 3 == 0 => vec![0; usize::from(count) * 512],
            _ => (0..u64::from(count)).flat_map(sector).collect(),
        }
    }
}

fn config(command: u8, claimed: Seldom<u16>, string: &Text, replacement: Option<&Text>) -> Vec<u8> {
    let string = string.bytes();
    let word = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    let claimed = claimed.0.map_or_else(|| word(&string), u16::to_be_bytes);
    let mut argument = vec![0, 0, 0, 0, 0, 0x10 | (command % 8), claimed[0], claimed[1]];
    argument.extend_from_slice(&string);
    if let Some(replacement) = replacement.map(Text::bytes) {
        argument.extend(word(&replacement));
        argument.extend(replacement);
    }
    argument
}

/// The ranges of DATA SET MANAGEMENT, in whole sectors.
fn range_entries(ranges: &[(Lba, u16)], view: Option<&Arc<LunView>>) -> Vec<u8> {
    let entry = |(lba, sectors): &(Lba, u16)| {
        let lba = lba.of(view) & 0xffff_ffff_ffff;
        (lba | u64::from(*sectors) << 48).to_le_bytes()
    };
    let mut data: Vec<u8> = ranges.iter().flat_map(entry).collect();
    data.resize(data.len().next_multiple_of(512), 0);
    data
}

/// Shelf and slot.
fn address(to: To) -> (Shelf, Slot) {
    match to {
        To::Lun(lun) | To::OtherStation(lun) => (Shelf(SHELF), Slot(lun % 10)),
        To::EveryLun => (Shelf(SHELF), Slot::ANY),
        To::EveryShelf(lun) => (Shelf::ANY, Slot(lun % 10)),
        To::Everybody => (Shelf::ANY, Slot::ANY),
        To::Any { shelf, slot } => (Shelf(shelf), Slot(slot)),
    }
}

/// The tags of a frame, the inner one first.
fn tags(vlan: Vlan) -> Vec<[u8; 4]> {
    let tag = |ethertype: u16, control: u16| {
        let ([e0, e1], [c0, c1]) = (ethertype.to_be_bytes(), control.to_be_bytes());
        [e0, e1, c0, c1]
    };
    match vlan {
        Vlan::None => vec![],
        Vlan::Own => vec![tag(0x8100, VLAN)],
        Vlan::Priority(priority) => vec![tag(0x8100, u16::from(priority) << 13)],
        Vlan::Other(number) => vec![tag(0x8100, number)],
        Vlan::Service(number) => vec![tag(0x88a8, number % 8)],
        Vlan::Twice => vec![tag(0x8100, VLAN), tag(0x88a8, VLAN)],
    }
}
