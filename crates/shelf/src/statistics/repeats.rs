//! Which transfers came before: an estimate of what initiators send again because an answer was lost or late.
//!
//! Only an initiator knows what it sends again. What can be told here:
//! * a transfer with the address, command, place, length *and tag* of one that came in the last three seconds
//!   was sent again, or copied on the way: iPXE, 9front and WinAoE keep the tag;
//! * Linux takes a new tag. A *write* that comes while the same, byte for byte, is in flight is counted by
//!   the target. One that was answered before is not: programs write the same place again and again;
//! * a *read* of the same place and length from the same station within a fifth of a second is a suspect: a
//!   Linux host that knows its round trip sends again when its timer looks next, ten times a second. It is
//!   let go when the place is read a third time (a program reads it in a loop), and a station's suspects
//!   among each 128 reads are let go together when they are more than four (a program reads everything
//!   twice, as file system checks and mounts do, or at random where there is little to read: nobody would
//!   work with a network that loses so much).
//!
//! At high rates one transfer in two, four, eight … is looked at, always the same ones, and what is found
//! counts as many: so the table remembers a second or two whatever the rate, and costs little.
//!
//! Of reads at random up to one in a hundred is taken for one that was sent again, where there is just so
//! little to read that it happens. Else the estimate errs low: also what comes from another interface of the
//! same host and the second loss of one command are not seen. A request that was lost on its way here leaves
//! no trace at all.

use super::window::SECOND_NS;
use super::{Answered, AnsweredKind};
use crate::ids::LunNumber;

/// Entries of the table.
const ENTRIES_LOG2: u32 = 14;

/// Transfers that are looked at in a second: few enough that most stay in the table for one.
const LOOKS_PER_SECOND: u32 = 1 << 13;

/// At most one transfer in so many is looked at, as a power of two.
const SAMPLE_LOG2_MAX: u32 = 8;

/// Where the bits of a hash lie that choose what is looked at: not those of index and key.
const SAMPLE_SHIFT: u32 = 36;

/// How long a transfer is remembered, in milliseconds.
const REMEMBERED_MS: u32 = 3000;

/// How long after a read the same with another tag is a suspect, in milliseconds: twice what Linux waits when
/// it knows its round trip.
const SUSPECT_MS: u32 = 200;

/// Reads of a station that are judged together.
const BLOCK_READS: u8 = 128;

/// Suspects among them that are believed.
const SUSPECTS_MAX: usize = 4;

/// What is known of a transfer that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// It came for the first time.
    New,
    /// It came before, with this tag.
    SameTag,
    /// It came before, once.
    Again,
    /// It comes for the third time.
    Third,
    /// It comes all the time, or so late that it is read once more.
    Often,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u32,
    tag: u32,
    seen_ms: u32,
    repeats: u32,
}

/// The transfers of the last seconds. A place in the table is that of the last one that fell on it.
#[derive(Debug)]
pub(super) struct Repeats {
    entries: Box<[Entry]>,
    /// One transfer in so many is looked at, as a power of two.
    sample_log2: u32,
    /// How many were in this second.
    looks: u32,
    second_end_ns: u64,
}

impl Repeats {
    pub(super) fn new() -> Self {
        // No tag and key that never came: as if all were read in loops, long ago.
        let entry = Entry {
            key: 0,
            tag: 0,
            seen_ms: 0_u32.wrapping_sub(2 * REMEMBERED_MS),
            repeats: u32::MAX,
        };
        Self {
            entries: vec![entry; 1 << ENTRIES_LOG2].into(),
            sample_log2: 0,
            looks: 0,
            second_end_ns: SECOND_NS,
        }
    }

    /// How many transfers one that is looked at stands for.
    pub(super) const fn weight(&self) -> u64 {
        1 << self.sample_log2
    }

    /// Looks at so many that they fit.
    fn follow_rate(&mut self, now_ns: u64) {
        if now_ns >= self.second_end_ns {
            self.second_end_ns = now_ns + SECOND_NS;
            let is_quiet = self.looks < LOOKS_PER_SECOND / 4;
            self.sample_log2 -= u32::from(is_quiet).min(self.sample_log2);
            self.looks = 0;
        }
        self.looks += 1;
        if self.looks >= LOOKS_PER_SECOND && self.sample_log2 < SAMPLE_LOG2_MAX {
            self.sample_log2 += 1;
            self.looks = 0;
        }
    }

    /// What is known of a transfer that comes now; `None` for one that is not looked at.
    pub(super) fn see(&mut self, now_ns: u64, transfer: &Answered) -> Option<Seen> {
        let hash = hash(transfer);
        if (hash >> SAMPLE_SHIFT) & (self.weight() - 1) != 0 {
            return None;
        }
        self.follow_rate(now_ns);
        let (index, key) = (hash >> (64 - ENTRIES_LOG2), hash & u64::from(u32::MAX));
        let (Ok(index), Ok(key)) = (usize::try_from(index), u32::try_from(key)) else {
            unreachable!("both were cut to size")
        };
        // Wraps after seven weeks: what is stale then seems fresh, for three seconds.
        let now_ms = u32::try_from((now_ns / 1_000_000) & u64::from(u32::MAX)).unwrap_or(0);
        let entry = &mut self.entries[index];
        let elapsed_ms = now_ms.wrapping_sub(entry.seen_ms);
        let is_known = entry.key == key && elapsed_ms <= REMEMBERED_MS;
        entry.seen_ms = now_ms;
        if !is_known {
            (entry.key, entry.tag, entry.repeats) = (key, transfer.tag, 0);
            return Some(Seen::New);
        }
        if std::mem::replace(&mut entry.tag, transfer.tag) == transfer.tag {
            return Some(Seen::SameTag);
        }
        entry.repeats = entry.repeats.saturating_add(1);
        Some(match entry.repeats {
            1 if elapsed_ms > SUSPECT_MS => Seen::Often,
            1 => Seen::Again,
            2 => Seen::Third,
            _ => Seen::Often,
        })
    }
}

/// A number that is the same for the same transfer, and hardly ever for another.
fn hash(transfer: &Answered) -> u64 {
    let [a, b, c, d, e, f] = transfer.who.mac.0;
    let station = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    let is_write = transfer.kind == AnsweredKind::Write;
    let what = u64::from(transfer.who.lun.get()) << 56 | u64::from(is_write) << 48;
    let place = transfer.lba ^ u64::from(transfer.sectors) << 48;
    let mixed = (station ^ what ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 32) ^ place).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (mixed ^ (mixed >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The reads of a station that are suspects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspects {
    reads: u8,
    suspects: u8,
    /// Their LUNs; those beyond its end are not believed anyway.
    luns: [LunNumber; SUSPECTS_MAX],
}

/// The LUNs of reads that were sent again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resent {
    luns: [LunNumber; SUSPECTS_MAX],
    count: usize,
}

impl Resent {
    pub(super) fn as_slice(&self) -> &[LunNumber] {
        &self.luns[..self.count]
    }
}

impl Suspects {
    pub(super) const fn new() -> Self {
        let Some(lun) = LunNumber::new(0) else {
            unreachable!()
        };
        Self {
            reads: 0,
            suspects: 0,
            luns: [lun; SUSPECTS_MAX],
        }
    }

    /// Counts a read; what was sent again, when there are enough of them to judge.
    pub(super) fn note(&mut self, seen: Seen, lun: LunNumber) -> Option<Resent> {
        self.reads += 1;
        match seen {
            Seen::Again => {
                if let Some(place) = self.luns.get_mut(usize::from(self.suspects)) {
                    *place = lun;
                }
                self.suspects += 1;
            }
            Seen::Third => self.let_go(lun),
            Seen::New | Seen::SameTag | Seen::Often => {}
        }
        if self.reads < BLOCK_READS {
            return None;
        }
        let count = usize::from(self.suspects);
        let luns = self.luns;
        (self.reads, self.suspects) = (0, 0);
        (1..=SUSPECTS_MAX)
            .contains(&count)
            .then_some(Resent { luns, count })
    }

    /// One suspect of a LUN is none.
    fn let_go(&mut self, lun: LunNumber) {
        let known = usize::from(self.suspects).min(SUSPECTS_MAX);
        let Some(index) = self.luns[..known].iter().position(|known| *known == lun) else {
            return;
        };
        self.luns.swap(index, known - 1);
        self.suspects -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Answered, AnsweredKind, Statistics, Who};
    use crate::ids::LunNumber;
    use crate::target::PortIndex;
    use aoe::MacAddress;

    const MS: u64 = 1_000_000;

    struct Host {
        statistics: Statistics,
        now_ns: u64,
        tag: u32,
    }

    impl Host {
        fn new() -> Self {
            Self {
                statistics: Statistics::new(1),
                now_ns: 10_000 * MS,
                tag: 0,
            }
        }

        fn who(station: u8) -> Who {
            Who {
                port: PortIndex(0),
                lun: LunNumber::new(3).unwrap(),
                mac: MacAddress([2, 0, 0, 0, 0, station]),
            }
        }

        /// A transfer with a new tag, a tenth of a millisecond after the one before.
        fn send(&mut self, station: u8, is_write: bool, lba: u64) {
            self.tag += 1;
            self.send_again(station, is_write, lba);
        }

        fn send_again(&mut self, station: u8, is_write: bool, lba: u64) {
            self.now_ns += MS / 10;
            self.statistics.set_now(self.now_ns);
            self.statistics.answered(Answered {
                who: Self::who(station),
                lba,
                latency_ns: MS / 20,
                tag: self.tag,
                sectors: 16,
                kind: if is_write {
                    AnsweredKind::Write
                } else {
                    AnsweredKind::Read
                },
                is_success: true,
            });
        }

        /// New reads, so that what was read before is judged.
        fn go_on(&mut self, station: u8) {
            for index in 0..u64::from(super::BLOCK_READS) {
                self.send(station, false, 1 << 40 | self.now_ns << 8 | index);
            }
        }

        fn found(&mut self) -> u64 {
            self.statistics.ports()[0].requests.retransmissions
        }
    }

    #[test]
    fn a_read_that_comes_twice_was_sent_again() {
        let mut host = Host::new();
        for lba in 0..1000 {
            host.send(1, false, 16 * lba);
            if lba % 100 == 99 {
                // Its answer was lost; ten others went on meanwhile.
                host.send(1, false, 16 * (lba - 10));
            }
        }
        host.go_on(1);
        assert_eq!(host.found(), 10);
        let page = host.statistics.station_page(0);
        assert_eq!(page.stations[0].tally.retransmissions, 10);
    }

    #[test]
    fn nobody_cries_wolf_over_programs_that_read_again() {
        // A loop over one block, alone and beside other reads.
        let mut host = Host::new();
        for lba in 0..2000 {
            host.send(1, false, 8);
            if lba > 1000 {
                host.send(1, false, 1_000_000 + 16 * lba);
            }
        }
        host.go_on(1);
        assert_eq!(host.found(), 0);
        // A file system check, and a mount that reads half of it once more.
        let mut host = Host::new();
        for lba in 0..1000 {
            host.send(1, false, 8 * lba);
        }
        for lba in (0..1000).step_by(2) {
            host.send(1, false, 8 * lba);
        }
        host.go_on(1);
        assert!(host.found() <= 16, "{}", host.found());
        // A checker that looks at the first block every five seconds, and two hosts with one file system.
        let mut host = Host::new();
        for lba in 0..100 {
            host.send(1, false, 0);
            host.now_ns += 5_000 * MS;
            host.send(1, false, 1_000_000 + lba);
            host.send(2, false, 1_000_000 + lba);
        }
        host.go_on(1);
        host.go_on(2);
        assert_eq!(host.found(), 0);
        // The end of a log, written again and again.
        let mut host = Host::new();
        for lba in 0..5000 {
            host.send(1, true, lba / 3);
        }
        assert_eq!(host.found(), 0);
    }

    /// Reads at random, seven thousand a second, of a LUN with so many blocks: how many of ten thousand are
    /// taken for reads that were sent again.
    fn found_of_random_reads(blocks: u64) -> u64 {
        let mut host = Host::new();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..30_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            host.send(1, false, random % blocks * 16);
            host.now_ns += MS / 25;
        }
        host.found() / 3
    }

    #[test]
    fn nobody_cries_wolf_over_random_reads() {
        for blocks in [10, 1_000, 8_000, 100_000, 1_300_000] {
            let found = found_of_random_reads(blocks);
            assert!(found <= 120, "{blocks} blocks: {found} of 10000");
        }
    }

    #[test]
    fn at_high_rates_samples_tell_nearly_the_same() {
        let mut host = Host::new();
        // A million reads in five seconds; one answer in a hundred is lost, and its read comes again after
        // a tenth of a second.
        for lba in 0..1_000_000_u64 {
            host.send(1, false, 16 * lba);
            if lba % 100 == 99 && lba > 20_000 {
                host.send(1, false, 16 * (lba - 19_950));
            }
            host.now_ns -= MS / 10;
            host.now_ns += MS / 200;
        }
        let (lost, found) = (9_800, host.found());
        assert!(found > lost / 2 && found < lost * 5 / 4, "{found}");
        assert!(host.statistics.repeats.weight() >= 16);
        // When it is quiet again, each one counts.
        for second in 0..10 {
            host.now_ns += 1_000 * MS;
            host.send(1, false, 1 << 45 | second);
        }
        for index in 0..3000 {
            host.now_ns += 20 * MS;
            host.send(1, false, 1 << 46 | index);
        }
        assert_eq!(host.statistics.repeats.weight(), 1);
    }

    #[test]
    fn the_same_tag_tells_everything() {
        let mut host = Host::new();
        for lba in 0..100 {
            host.send(1, lba % 2 == 0, lba);
        }
        for _ in 0..3 {
            host.send_again(1, false, 99);
        }
        host.now_ns += 4_000 * MS;
        host.send_again(1, false, 99);
        assert_eq!(host.found(), 3);
    }
}
