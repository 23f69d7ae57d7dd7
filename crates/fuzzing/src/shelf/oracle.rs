//! What may be answered, and what may be read.
//!
//! * An answer answers a request that came on the same port, from the station that it goes to, with its tag;
//!   each request is answered once at most by each LUN that had to look at it when it came.
//! * What is read of a sector is what was written last before the read came: by the last write that was
//!   answered with success, or by one after that which was not. Before the first one it is zeros.
//! * A write that is the same as one that is not answered yet may be that one, sent again: then it counts
//!   where that one stands (conformance row 104), although others may have come between. To whoever sent them
//!   all three were under way at a time.

use super::disk::SECTOR;
use super::request::Seen;
use super::rules::Expected;
use aoe::MacAddress;
use std::collections::HashMap;

/// Something that tells the contents of sectors apart.
type Print = u32;

/// When a request came, among all others.
type Order = u64;

fn print(sector: &[u8]) -> Print {
    crc32c::crc32c(sector)
}

/// What a sector may hold.
struct Version {
    order: Order,
    print: Print,
    /// The write was answered with success.
    is_acknowledged: bool,
    /// The first of those that were the same and not answered when it came.
    repeats: Option<Order>,
}

/// A request, as one LUN meets it.
pub(super) struct Ask {
    pub(super) lun: u8,
    pub(super) expected: Expected,
    pub(super) command: u8,
    /// The registers of an ATA command.
    pub(super) registers: Vec<u8>,
    /// The MTU of the port when it came.
    pub(super) mtu_bytes: usize,
    /// The address that an answer comes from.
    address: (u16, u8),
    order: Order,
    is_answered: bool,
    /// Another request looks the same to whoever gets the answer, and is another one.
    is_ambiguous: bool,
    frame: Print,
}

/// Where an answer goes: port, station, tag.
type Key = (u8, MacAddress, u32);

/// Everything that was asked and written.
#[derive(Default)]
pub(super) struct Oracle {
    order: Order,
    asks: HashMap<Key, Vec<Ask>>,
    sectors: HashMap<(u8, u64), Vec<Version>>,
    zeros: Print,
}

impl Oracle {
    pub(super) fn new() -> Self {
        Self {
            zeros: print(&[0; SECTOR]),
            ..Self::default()
        }
    }

    /// Another request comes.
    pub(super) const fn next_order(&mut self) -> Order {
        self.order += 1;
        self.order
    }

    /// A LUN has to look at a request.
    pub(super) fn ask(
        &mut self,
        (port, order, frame): (u8, Order, &[u8]),
        seen: &Seen<'_>,
        address: (u16, u8),
        (lun, expected, mtu_bytes): (u8, Expected, usize),
    ) {
        let key = (port, seen.asker, seen.tag);
        let asks = self.asks.entry(key).or_default();
        let frame = print(frame);
        let is_ambiguous = asks.iter().any(|ask| ask.frame != frame);
        for ask in asks.iter_mut() {
            ask.is_ambiguous |= is_ambiguous;
        }
        asks.push(Ask {
            lun,
            expected,
            mtu_bytes,
            command: seen.command,
            registers: seen
                .ata()
                .map_or_else(Vec::new, |ata| ata.registers.to_vec()),
            address,
            order,
            is_answered: false,
            is_ambiguous,
            frame,
        });
    }

    /// How many answers are due to requests that look like this one.
    pub(super) fn unanswered(&self, port: u8, seen: &Seen<'_>) -> usize {
        let asks = self.asks.get(&(port, seen.asker, seen.tag));
        let asks = asks.into_iter().flatten();
        asks.filter(|ask| !ask.is_answered).count()
    }

    /// What came then was dropped: there was no buffer for it.
    pub(super) fn dropped(&mut self, port: u8, seen: &Seen<'_>, order: Order) {
        if let Some(asks) = self.asks.get_mut(&(port, seen.asker, seen.tag)) {
            asks.retain(|ask| ask.order != order || ask.is_answered);
        }
    }

    /// An answer leaves: what it answers, of what looks the same that of the least rank, and whether that is
    /// sure.
    pub(super) fn answered(
        &mut self,
        (port, station, tag): Key,
        address: (u16, u8),
        rank: impl Fn(&Ask) -> Option<u8>,
    ) -> Option<(&Ask, bool)> {
        let asks = self.asks.get_mut(&(port, station, tag))?;
        let rank = |ask: &Ask| {
            let is_it = !ask.is_answered && ask.address == address;
            is_it.then(|| rank(ask)).flatten()
        };
        let ranked = asks
            .iter()
            .enumerate()
            .filter_map(|(at, ask)| Some((rank(ask)?, at)));
        let (_, first) = ranked.min()?;
        // A redirected message to a wildcard address is answered by all from the same one.
        let lun = asks[first].lun;
        let is_alone = asks
            .iter()
            .all(|ask| ask.lun == lun || ask.address != address);
        let ask = &mut asks[first];
        ask.is_answered = true;
        let is_sure = !ask.is_ambiguous && is_alone;
        Some((ask, is_sure))
    }

    /// A write is admitted.
    pub(super) fn write(&mut self, lun: u8, order: Order, lba: u64, data: &[u8]) {
        for (lba, data) in (lba..).zip(data.chunks(SECTOR)) {
            let versions = self.sectors.entry((lun, lba)).or_default();
            let print = print(data);
            let is_same = |version: &&Version| version.print == print && !version.is_acknowledged;
            let repeats = versions.iter().find(is_same).map(|version| version.order);
            versions.push(Version {
                order,
                print,
                is_acknowledged: false,
                repeats,
            });
        }
    }

    /// A write may make zeros of a range, as far as anybody has looked at it.
    pub(super) fn may_zero(&mut self, lun: u8, order: Order, (lba, sectors): (u64, u64)) {
        let (zeros, end) = (self.zeros, lba.saturating_add(sectors));
        for ((of, at), versions) in &mut self.sectors {
            if *of == lun && (lba..end).contains(at) {
                versions.push(Version {
                    order,
                    print: zeros,
                    is_acknowledged: false,
                    repeats: None,
                });
            }
        }
    }

    /// A write was answered with success.
    pub(super) fn acknowledge(&mut self, lun: u8, order: Order, lba: u64, sectors: u64) {
        for lba in lba..lba + sectors {
            let versions = self.sectors.entry((lun, lba)).or_default();
            let own = versions.iter().find(|version| version.order == order);
            let counts = own.and_then(|version| version.repeats).unwrap_or(order);
            for version in versions
                .iter_mut()
                .filter(|version| version.order == counts)
            {
                version.is_acknowledged = true;
            }
        }
    }

    /// What a read that came then gives.
    pub(super) fn check_read(&self, lun: u8, order: Order, lba: u64, data: &[u8]) {
        for (lba, data) in (lba..).zip(data.chunks(SECTOR)) {
            let found = print(data);
            let versions = self.sectors.get(&(lun, lba));
            let before = versions
                .into_iter()
                .flatten()
                .rev()
                .filter(|version| version.order < order);
            let mut may_be_older = true;
            let mut is_right = false;
            for version in before {
                is_right |= version.print == found;
                if version.is_acknowledged {
                    may_be_older = false;
                    break;
                }
            }
            is_right |= may_be_older && found == self.zeros;
            assert!(
                is_right,
                "LUN {lun} sector {lba} reads what was not written last: {:02x?}…",
                &data[..16]
            );
        }
    }

    /// The sectors that were written, by LUN.
    pub(super) fn written(&self) -> Vec<(u8, u64)> {
        let mut written: Vec<_> = self.sectors.keys().copied().collect();
        written.sort_unstable();
        written
    }
}

impl Ask {
    pub(super) const fn order(&self) -> Order {
        self.order
    }

    /// First sector and how many, of a read or a write.
    pub(super) fn range(&self) -> (u64, u64) {
        let lba = &self.registers[4..10];
        let lba48 = (0..6).fold(0, |sum, byte| sum | u64::from(lba[byte]) << (8 * byte));
        let is_28 = matches!(self.registers[3], 0x20 | 0x30);
        let lba = if is_28 { lba48 & 0x0fff_ffff } else { lba48 };
        (lba, u64::from(self.registers[2]))
    }
}
