//! Discovery: what a shelf says of itself, and the collecting of such offers.
//!
//! The text of an offer is the shelf number in decimal (`-1` when unset), one blank, and a free
//! name that ends at byte 0x01 or at the end of the payload.

use crate::frame::{ConnectionTag, Frame, Kind, PAYLOAD_BYTES_MAX, Payload};
use aoe::{MacAddress, Shelf};

/// Offers that a probe keeps; more would only come from a broken or hostile station.
pub const OFFERS_MAX: usize = 1000;

/// Sequence number of our probes. Shelves echo it, and an open session takes only an offer with
/// number 0 as the request to connect again: a probe does not disturb it.
const PROBE_SEQUENCE: u8 = 1;

/// How a shelf introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    text: Vec<u8>,
}

impl Identity {
    /// `shelf` is `None` while no number is set. Control characters of `name` are left out, since
    /// they would end the name early, and what does not fit one frame is cut.
    #[must_use]
    pub fn new(shelf: Option<Shelf>, name: &str) -> Self {
        let number = shelf.map_or(-1, |shelf| i32::from(shelf.0));
        let name = name.chars().filter(|c| !c.is_control());
        let mut text = format!("{number} ").into_bytes();
        for c in name {
            if text.len() + c.len_utf8() > PAYLOAD_BYTES_MAX {
                break;
            }
            text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Self { text }
    }

    /// The payload of an offer.
    #[must_use]
    pub fn payload(&self) -> Payload<'_> {
        Payload::prefix_of(&self.text)
    }
}

/// One shelf that answered a probe, at one of its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Shelf number; -1 when the shelf has none yet.
    pub shelf: i32,
    /// Free text, may be empty.
    pub name: String,
    /// The port that answered.
    pub mac: MacAddress,
}

impl Offer {
    /// Reads the offer in `frame`; `None` if it is none or has no number.
    #[must_use]
    pub fn from_frame(frame: &Frame<'_>) -> Option<Self> {
        if frame.kind != Kind::Offer || frame.source.is_multicast() {
            return None;
        }
        let text = frame.payload.bytes();
        let text = text.split(|byte| *byte == 1).next().unwrap_or(text);
        let sign = usize::from(text.first() == Some(&b'-'));
        let digits = text[sign..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        let (number, rest) = text.split_at(sign + digits);
        let shelf = core::str::from_utf8(number).ok()?.parse().ok()?;
        let name = match rest {
            [b' ' | b'\t', name @ ..] => name,
            name => name,
        };
        Some(Self {
            shelf,
            name: String::from_utf8_lossy(name).into_owned(),
            mac: frame.source,
        })
    }
}

/// Collects offers. How long it listens is its owner's business.
#[derive(Debug)]
pub struct Probe {
    mac: MacAddress,
    offers: Vec<Offer>,
}

impl Probe {
    /// A probe from the interface with address `mac`.
    #[must_use]
    pub const fn new(mac: MacAddress) -> Self {
        Self {
            mac,
            offers: Vec::new(),
        }
    }

    /// The frame that asks all shelves to introduce themselves.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        Frame {
            destination: MacAddress::BROADCAST,
            source: self.mac,
            kind: Kind::Discover,
            tag: ConnectionTag(0),
            sequence: PROBE_SEQUENCE,
            payload: Payload::EMPTY,
        }
        .encode()
    }

    /// Takes a received frame; returns the offer if it is a new one. Broadcast offers announce
    /// something to others and do not count.
    pub fn receive(&mut self, bytes: &[u8]) -> Option<&Offer> {
        let frame = Frame::parse(bytes).ok()?;
        let offer = Offer::from_frame(&frame)?;
        let known = self.offers.iter().any(|other| other.mac == offer.mac);
        if frame.destination != self.mac || known || self.offers.len() == OFFERS_MAX {
            return None;
        }
        self.offers.push(offer);
        self.offers.last()
    }

    /// All offers, sorted by shelf number, the ports of one shelf in the order of their answers.
    #[must_use]
    pub fn into_offers(mut self) -> Vec<Offer> {
        self.offers.sort_by_key(|offer| offer.shelf);
        self.offers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn offer_from(source: MacAddress, destination: MacAddress, text: &[u8]) -> Vec<u8> {
        Frame {
            destination,
            source,
            kind: Kind::Offer,
            tag: ConnectionTag(0),
            sequence: 0,
            payload: Payload::prefix_of(text),
        }
        .encode()
    }

    fn shelf_and_name(text: &[u8]) -> Option<(i32, String)> {
        let bytes = offer_from(MacAddress([2; 6]), CLIENT, text);
        Offer::from_frame(&Frame::parse(&bytes).unwrap()).map(|offer| (offer.shelf, offer.name))
    }

    #[test]
    fn the_text_of_an_offer_is_number_separator_name() {
        for (text, shelf, name) in [
            (&b"7 rack two"[..], 7, "rack two"),
            (b"7\tlec", 7, "lec"),
            (b"-1 ", -1, ""),
            (b"65534", 65534, ""),
            (b"3 name\x01rest", 3, "name"),
        ] {
            assert_eq!(shelf_and_name(text), Some((shelf, name.to_owned())));
        }
        for text in [&b""[..], b"name", b"-", b"99999999999", b"\x01"] {
            assert_eq!(shelf_and_name(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_identity_is_read_back_without_its_control_characters() {
        let identity = Identity::new(Some(Shelf(12)), "top\u{1} shelf\n");
        assert_eq!(
            shelf_and_name(identity.payload().bytes()),
            Some((12, "top shelf".to_owned()))
        );
        let long = Identity::new(None, &"\u{20ac}".repeat(200));
        assert!(long.payload().bytes().len() > 250);
        assert!(core::str::from_utf8(long.payload().bytes()).is_ok());
    }

    #[test]
    fn a_probe_counts_each_unicast_offer_once_and_sorts_by_shelf() {
        let mut probe = Probe::new(CLIENT);
        let first = offer_from(MacAddress([2; 6]), CLIENT, b"9 nine");
        assert!(probe.receive(&first).is_some());
        assert!(probe.receive(&first).is_none());
        let second = offer_from(MacAddress([4; 6]), CLIENT, b"1 one");
        assert!(probe.receive(&second).is_some());
        let broadcast = offer_from(MacAddress([6; 6]), MacAddress::BROADCAST, b"2 two");
        assert!(probe.receive(&broadcast).is_none());
        let shelves: Vec<i32> = probe.into_offers().iter().map(|o| o.shelf).collect();
        assert_eq!(shelves, [1, 9]);
    }
}
