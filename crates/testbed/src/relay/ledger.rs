//! When each ATA request passed a wire on its way to the target, and when its answer did: what tells
//! whether the target or the initiator was slow. Questions for targets are counted.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use aoe::header::FLAG_RESPONSE;
use aoe::{HEADER_BYTES, Header, MacAddress};
use zerocopy::FromBytes;

use super::Direction;

/// Command code of ATA requests.
const COMMAND_ATA: u8 = 0;

/// Command code of Query Config.
const COMMAND_CONFIG: u8 = 1;

/// Where a Query Config answer tells how many sectors a frame may have.
const SECTOR_COUNT_AT: usize = 28;

/// One request on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// When it passed towards the target, first.
    pub asked: Instant,
    /// When the first answer passed towards the initiator.
    pub answered: Option<Instant>,
}

impl Passage {
    /// How long the target had the request by `now`.
    #[must_use]
    pub fn held(&self, now: Instant) -> Duration {
        self.answered
            .unwrap_or(now)
            .saturating_duration_since(self.asked)
    }
}

/// The requests of one initiator by their tags. One that uses a tag again forgets the former use.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    passages: HashMap<u32, Passage>,
    config_requests: u64,
    advertisements: u64,
    sector_counts: BTreeSet<u8>,
}

impl Ledger {
    /// Notes a frame that passes at `now`.
    pub(super) fn note(&mut self, direction: Direction, frame: &[u8], now: Instant) {
        let Some(bytes) = frame.get(..HEADER_BYTES) else {
            return;
        };
        let Ok(header) = Header::read_from_bytes(bytes) else {
            return;
        };
        let is_response = header.version_flags & FLAG_RESPONSE != 0;
        if header.command == COMMAND_CONFIG {
            let is_broadcast = header.destination == MacAddress::BROADCAST;
            self.config_requests += u64::from(!is_response);
            self.advertisements += u64::from(is_response && is_broadcast);
            if is_response && let Some(&count) = frame.get(SECTOR_COUNT_AT) {
                self.sector_counts.insert(count);
            }
        }
        if header.command != COMMAND_ATA || is_response != (direction == Direction::ToClient) {
            return;
        }
        let tag = header.tag.get();
        if !is_response {
            let new = Passage {
                asked: now,
                answered: None,
            };
            let passage = self.passages.entry(tag).or_insert(new);
            if passage.answered.is_some() {
                *passage = new;
            }
        } else if let Some(passage) = self.passages.get_mut(&tag) {
            passage.answered.get_or_insert(now);
        }
    }

    /// The request with this tag, if it passed.
    #[must_use]
    pub fn passage(&self, tag: u32) -> Option<Passage> {
        self.passages.get(&tag).copied()
    }

    /// Number of Query Config requests: an initiator looked for targets.
    #[must_use]
    pub fn config_requests(&self) -> u64 {
        self.config_requests
    }

    /// Number of Query Config answers for everybody: the target spoke unasked.
    #[must_use]
    pub fn advertisements(&self) -> u64 {
        self.advertisements
    }

    /// The Sector Counts that Query Config answers told.
    #[must_use]
    pub fn sector_counts(&self) -> &BTreeSet<u8> {
        &self.sector_counts
    }

    /// Number of ATA requests.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.passages.len()
    }

    /// The requests that were answered, in no order, each with how long the target took.
    pub fn answered(&self) -> impl Iterator<Item = (Duration, Passage)> {
        let took = |passage: &Passage| Some((passage.answered? - passage.asked, *passage));
        self.passages.values().filter_map(took)
    }
}

#[cfg(test)]
mod tests {
    use aoe::{Shelf, Slot, Tag};
    use zerocopy::IntoBytes;

    use super::*;

    fn request(command: u8, tag: u32) -> Header {
        let to = MacAddress([2; 6]);
        Header::request(to, MacAddress([4; 6]), Shelf(1), Slot(0), command, Tag(tag))
    }

    #[test]
    fn a_request_and_its_first_answer_are_noted() {
        let mut ledger = Ledger::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let asked = request(0, 7);
        let answer = asked.reply(MacAddress([2; 6]), Shelf(1), Slot(0));
        ledger.note(Direction::ToTarget, asked.as_bytes(), at(0));
        assert_eq!(ledger.answered().count(), 0);
        assert_eq!(ledger.passage(7).unwrap().held(at(9)).as_millis(), 9);
        ledger.note(Direction::ToTarget, asked.as_bytes(), at(1));
        ledger.note(Direction::ToClient, answer.as_bytes(), at(5));
        ledger.note(Direction::ToClient, answer.as_bytes(), at(6));
        let held: Vec<Duration> = ledger.answered().map(|(held, _)| held).collect();
        assert_eq!(held, [Duration::from_millis(5)]);
        assert_eq!(ledger.passage(7).unwrap().held(at(9)).as_millis(), 5);
        assert_eq!(ledger.passage(8), None);
    }

    #[test]
    fn other_frames_are_not_noted() {
        let mut ledger = Ledger::default();
        ledger.note(
            Direction::ToTarget,
            request(1, 7).as_bytes(),
            Instant::now(),
        );
        ledger.note(
            Direction::ToClient,
            request(0, 7).as_bytes(),
            Instant::now(),
        );
        ledger.note(Direction::ToTarget, &[0; 5], Instant::now());
        let mut answer = request(1, 7).reply(MacAddress([2; 6]), Shelf(1), Slot(0));
        ledger.note(Direction::ToClient, answer.as_bytes(), Instant::now());
        assert_eq!((ledger.requests(), ledger.config_requests()), (0, 1));
        assert_eq!(ledger.advertisements(), 0);
        answer.destination = MacAddress::BROADCAST;
        ledger.note(Direction::ToClient, answer.as_bytes(), Instant::now());
        assert_eq!((ledger.config_requests(), ledger.advertisements()), (1, 1));
        assert!(ledger.sector_counts().is_empty());
        let mut answer = answer.as_bytes().to_vec();
        answer.extend([0, 0, 0, 0, 16]);
        ledger.note(Direction::ToClient, &answer, Instant::now());
        assert_eq!(ledger.sector_counts(), &BTreeSet::from([16]));
    }
}
