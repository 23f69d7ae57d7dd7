//! Who does what, how fast, and what is refused or sent again: by port, by LUN and by initiator.
//!
//! What is rare is counted at once. Commands that were answered are noted, and counted some dozens at a time:
//! by then the sums are in the processor's cache, and a command costs a hundredth of what its data costs.
//!
//! Invariants:
//! * each frame of a port is counted in exactly one field of its [`FrameTally`] but the first, which is
//!   their sum; each request to a LUN in exactly one of the first fields of a [`Tally`]
//!   ([`Tally::requests`]), a command once it is answered or given up; a frame to several LUNs is a request
//!   to each of them;
//! * what a station did is also in the sums of its port and of its LUNs, whether the station is still known
//!   or made room for another;
//! * all that is noted was answered in the present second;
//! * memory is made with the target and when a LUN is attached first; a frame costs a few additions and
//!   one look among sixteen stations, however many addresses somebody makes up.

mod lun;
mod repeats;
mod stations;
mod tally;
mod window;

pub use lun::{Latency, LunStatistics};
pub use stations::{Delay, ForgottenStations, STATIONS_MAX, StationPage, StationStatistics};
pub use tally::{FrameTally, PortTally, Tally};
pub(crate) use window::Window;
pub use window::{Rates, Sums, WINDOW_SECONDS_MAX};

use crate::ids::LunNumber;
use crate::plane::LunView;
use crate::target::PortIndex;
use aoe::{MacAddress, RequestError, SECTOR_BYTES};
use lun::LunAccount;
use repeats::{Repeats, Seen};
use stations::Stations;

/// Commands that are counted together: two pages of notes.
const NOTES_MAX: usize = 256;

/// LUNs whose rates are told at a time: 40 KiB are looked at for it.
const RATES_PAGE: usize = 16;

/// The rates of some LUNs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RatesPage {
    /// By number.
    pub luns: Vec<(LunNumber, Rates)>,
    /// Where the next page begins, if there is one.
    pub next: Option<LunNumber>,
}

/// Where a request came from, and what for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Who {
    pub(crate) port: PortIndex,
    pub(crate) lun: LunNumber,
    pub(crate) mac: MacAddress,
}

/// What an answered command was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AnsweredKind {
    Read,
    Write,
    Flush,
    Trim,
}

/// A command that was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) who: Who,
    pub(crate) lba: u64,
    pub(crate) latency_ns: u64,
    pub(crate) tag: u32,
    pub(crate) sectors: u8,
    pub(crate) kind: AnsweredKind,
    pub(crate) is_success: bool,
}

const _: () = assert!(size_of::<Answered>() == 32, "half a cache line");

impl Answered {
    const fn bytes(&self) -> u64 {
        self.sectors as u64 * SECTOR_BYTES as u64
    }
}

/// What some commands of one station to one LUN come to.
#[derive(Clone, Copy, Default)]
struct Batch {
    reads: Sums,
    writes: Sums,
    failed_reads: u64,
    failed_writes: u64,
    flushes: u64,
    trims: u64,
}

impl Batch {
    fn add(&mut self, answered: &Answered) {
        let sums = match answered.kind {
            AnsweredKind::Read => &mut self.reads,
            AnsweredKind::Write => &mut self.writes,
            AnsweredKind::Flush => {
                self.flushes += 1;
                return;
            }
            AnsweredKind::Trim => {
                self.trims += 1;
                return;
            }
        };
        if answered.is_success {
            sums.count(answered.bytes(), answered.latency_ns);
        } else if answered.kind == AnsweredKind::Read {
            self.failed_reads += 1;
        } else {
            self.failed_writes += 1;
        }
    }

    const fn add_to(&self, tally: &mut Tally) {
        tally.reads += self.reads.ops + self.failed_reads;
        tally.writes += self.writes.ops + self.failed_writes;
        tally.flushes += self.flushes;
        tally.trims += self.trims;
        tally.read_bytes += self.reads.bytes;
        tally.write_bytes += self.writes.bytes;
    }
}

/// What a target counts by port, LUN and initiator.
#[derive(Debug)]
pub(crate) struct Statistics {
    ports: Vec<PortTally>,
    luns: Box<[Option<Box<LunAccount>>]>,
    stations: Stations,
    repeats: Repeats,
    /// Commands that were answered and are not counted yet.
    notes: Vec<Answered>,
    now_ns: u64,
    /// When the present second ends.
    second_end_ns: u64,
}

impl Statistics {
    pub(crate) fn new(ports: usize) -> Self {
        let luns = (0..=LunNumber::MAX).map(|_| None).collect();
        Self {
            ports: vec![PortTally::default(); ports],
            luns,
            stations: Stations::new(),
            repeats: Repeats::new(),
            notes: Vec::with_capacity(NOTES_MAX),
            now_ns: 0,
            second_end_ns: window::SECOND_NS,
        }
    }

    pub(crate) fn set_now(&mut self, now_ns: u64) {
        if now_ns >= self.second_end_ns {
            self.settle();
            self.second_end_ns = (now_ns / window::SECOND_NS + 1) * window::SECOND_NS;
        }
        self.now_ns = now_ns;
    }

    /// A LUN is served, again or for the first time. One that took the number of another begins anew.
    pub(crate) fn attach(&mut self, view: &LunView) {
        self.settle();
        let account = &mut self.luns[usize::from(view.lun.get())];
        let goes_on = account.as_ref().is_some_and(|account| account.is_of(view));
        if !goes_on {
            *account = Some(Box::new(LunAccount::new(view)));
        }
    }

    /// There is another port, behind the last one.
    pub(crate) fn add_port(&mut self) {
        self.ports.push(PortTally::default());
    }

    /// What is counted of the frames of a port, but for their sum.
    pub(crate) fn frames(&mut self, port: PortIndex) -> &mut FrameTally {
        &mut self.ports[usize::from(port.0)].frames
    }

    /// A frame was no request. Its sender is looked at only where it meant a target.
    #[cold]
    pub(crate) fn refused(&mut self, port: PortIndex, head: &[u8], error: RequestError) {
        let frames = self.frames(port);
        match error {
            RequestError::Runt => frames.runts += 1,
            RequestError::NotAoe => frames.not_aoe += 1,
            RequestError::Response => frames.responses += 1,
            RequestError::Version => frames.bad_version += 1,
            RequestError::MulticastSource => frames.multicast_source += 1,
        }
        let is_runt = error == RequestError::Runt;
        if !is_runt && error != RequestError::Version {
            return;
        }
        let source = head.get(6..12).and_then(|bytes| bytes.try_into().ok());
        let Some(mac) = source.map(MacAddress).filter(|mac| !mac.is_multicast()) else {
            return;
        };
        let station = self.stations.find(mac, port, self.now_ns);
        station.runts += u64::from(is_runt);
        station.bad_version += u64::from(!is_runt);
    }

    /// Counts for port, LUN and initiator.
    pub(crate) fn count(&mut self, who: Who, add: impl Fn(&mut Tally)) {
        add(&mut self.ports[usize::from(who.port.0)].requests);
        if let Some(lun) = &mut self.luns[usize::from(who.lun.get())] {
            add(&mut lun.tally);
        }
        let station = self.stations.find(who.mac, who.port, self.now_ns);
        station.touch(who.lun);
        add(&mut station.tally);
    }

    pub(crate) const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// A command was answered.
    pub(crate) fn answered(&mut self, answered: Answered) {
        self.notes.push(answered);
        if self.notes.len() == NOTES_MAX {
            self.settle();
        }
    }

    /// Counts what is noted.
    fn settle(&mut self) {
        let notes = std::mem::take(&mut self.notes);
        for batch in notes.chunk_by(|one, next| one.who == next.who) {
            self.settle_batch(batch);
        }
        self.notes = notes;
        self.notes.clear();
    }

    /// Counts commands of one station to one LUN.
    fn settle_batch(&mut self, notes: &[Answered]) {
        let Some(&Answered { who, .. }) = notes.first() else {
            return;
        };
        let now_ns = self.now_ns;
        let mut batch = Batch::default();
        notes.iter().for_each(|note| batch.add(note));
        batch.add_to(&mut self.ports[usize::from(who.port.0)].requests);
        if let Some(lun) = &mut self.luns[usize::from(who.lun.get())] {
            batch.add_to(&mut lun.tally);
            lun.window.add(now_ns, &batch.reads, &batch.writes);
            notes.iter().for_each(|note| lun.record(note));
        }
        let station = self.stations.find(who.mac, who.port, now_ns);
        station.touch(who.lun);
        batch.add_to(&mut station.tally);
        let Batch { reads, writes, .. } = batch;
        let (ops, bytes) = (reads.ops + writes.ops, reads.bytes + writes.bytes);
        station.last_second.add(now_ns, ops, bytes);
        notes.iter().for_each(|note| station.record(note));
        for note in notes {
            self.look_for_repeat(note);
        }
    }

    /// Whether a transfer came before.
    fn look_for_repeat(&mut self, note: &Answered) {
        if matches!(note.kind, AnsweredKind::Flush | AnsweredKind::Trim) {
            return;
        }
        let who = note.who;
        let Some(seen) = self.repeats.see(self.now_ns, note) else {
            return;
        };
        let weight = self.repeats.weight();
        if seen == Seen::SameTag {
            self.count(who, |tally| tally.retransmissions += weight);
        } else if note.kind == AnsweredKind::Read {
            let station = self.stations.find(who.mac, who.port, self.now_ns);
            if let Some(luns) = station.suspects.note(seen, who.lun) {
                self.resent(who, luns.as_slice());
            }
        }
    }

    /// Reads of a station that were sent again, by LUN.
    #[cold]
    fn resent(&mut self, who: Who, luns: &[LunNumber]) {
        let weight = self.repeats.weight();
        for &lun in luns {
            let add = |tally: &mut Tally| tally.retransmissions += weight;
            self.count(Who { lun, ..who }, add);
        }
    }

    pub(crate) fn ports(&mut self) -> Vec<PortTally> {
        self.settle();
        let with_sum = |port: &PortTally| PortTally {
            frames: port.frames.with_sum(),
            ..*port
        };
        self.ports.iter().map(with_sum).collect()
    }

    /// What was counted of a LUN that is or was attached, with its rates over so many seconds.
    pub(crate) fn lun(&mut self, lun: LunNumber, seconds: u64) -> Option<LunStatistics> {
        self.settle();
        let account = self.luns[usize::from(lun.get())].as_ref()?;
        Some(account.statistics(self.now_ns, seconds))
    }

    /// The rates over so many seconds of LUNs from a number on that are or were attached, as many as one page
    /// holds.
    pub(crate) fn rates_page(&mut self, from: LunNumber, seconds: u64) -> RatesPage {
        self.settle();
        let accounts = (0..=LunNumber::MAX).zip(&self.luns);
        let known = accounts.filter_map(|(number, account)| {
            let account = account.as_ref()?;
            Some((LunNumber::new(number)?, &account.window))
        });
        let mut known = known.skip_while(|(number, _)| *number < from).peekable();
        let mut luns = Vec::with_capacity(RATES_PAGE);
        while luns.len() < RATES_PAGE
            && let Some((number, window)) = known.next()
        {
            luns.push((number, window.rates(self.now_ns, seconds)));
        }
        let next = known.peek().map(|(number, _)| *number);
        RatesPage { luns, next }
    }

    pub(crate) fn station_page(&mut self, from: usize) -> StationPage {
        self.settle();
        self.stations.page(from, self.now_ns)
    }
}
