//! An enclosure for disks that tells of itself (SES-3): its bays, which SAS address is in each, and their
//! LEDs. The kernel of an emulated machine finds it at a SAS adapter, as a device of its own.
//!
//! **Invariants**
//! - It lights what it is told to light, and nothing by itself.
//! - Its bays are the first of its elements, as SES-3 wants it, and as the kernel counts on: with a sensor
//!   before them Linux 6.12 lights the LED of another bay.
//! - What the kernel writes must be a whole control page of this configuration; anything else is refused, as
//!   a real enclosure refuses it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};

use crate::iscsi::{Answer, Target, Unit};
use crate::netns::Namespace;

/// The type of an element that is a bay: "array device slot" (SES-3, 7.2.3).
const ARRAY_DEVICE_SLOT: u8 = 0x17;

/// And of one that is a temperature sensor.
const TEMPERATURE_SENSOR: u8 = 0x04;

/// SAS, as descriptors name the protocol of a port.
const PROTOCOL_SAS: u8 = 6;

/// Sense: ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE.
const UNKNOWN_COMMAND: Answer = Answer::Refused(5, 0x20, 0);

/// Sense: ILLEGAL REQUEST, INVALID FIELD IN CDB.
const WRONG_COMMAND: Answer = Answer::Refused(5, 0x24, 0);

/// Sense: ILLEGAL REQUEST, INVALID FIELD IN PARAMETER LIST.
const WRONG_PAGE: Answer = Answer::Refused(5, 0x26, 0);

/// A bay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bay {
    /// The number that the enclosure gives it.
    pub number: u8,
    /// The name that the enclosure gives it.
    pub name: String,
    /// The SAS address of the disk in it.
    pub disk: Option<u64>,
    /// Whether the enclosure tells its number while no disk is in it. Those that do not mark all that they
    /// know of it as invalid.
    pub tells_empty: bool,
}

/// An LED that is lit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lit {
    /// The one that helps to find the bay of this number.
    Locate(u8),
    /// The one for a fault.
    Fault(u8),
}

/// An enclosure. Its bays are in the order of its elements, which need not be that of their numbers.
#[derive(Debug, Clone)]
pub struct Enclosure(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Its logical identifier, and its SAS address.
    address: u64,
    bays: Vec<(Bay, Leds)>,
    /// Control pages that were written.
    writes: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Leds {
    locate: bool,
    fault: bool,
}

impl Enclosure {
    /// An enclosure with these bays, dark.
    #[must_use]
    pub fn new(address: u64, bays: Vec<Bay>) -> Self {
        let bays = bays.into_iter().map(|bay| (bay, Leds::default()));
        Self(Arc::new(Mutex::new(State {
            address,
            bays: bays.collect(),
            writes: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a disk of this SAS address into a bay, or takes it out.
    ///
    /// # Errors
    /// There is no such bay.
    pub fn place(&self, number: u8, disk: Option<u64>) -> Result<()> {
        let mut state = self.lock();
        let mut bays = state.bays.iter_mut().map(|(bay, _)| bay);
        let bay = bays.find(|bay| bay.number == number);
        bay.with_context(|| format!("bay {number}"))?.disk = disk;
        Ok(())
    }

    /// What is lit, in the order of the bays' elements.
    #[must_use]
    pub fn lit(&self) -> Vec<Lit> {
        let state = self.lock();
        let of = |(bay, leds): &(Bay, Leds)| {
            [
                leds.locate.then_some(Lit::Locate(bay.number)),
                leds.fault.then_some(Lit::Fault(bay.number)),
            ]
        };
        state.bays.iter().flat_map(of).flatten().collect()
    }

    /// How often LEDs were written.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// Makes it a device of an emulated machine that runs in this namespace.
    ///
    /// # Errors
    /// The namespace has no loopback.
    pub fn attach(&self, namespace: &Namespace) -> Result<AttachedEnclosure> {
        Ok(AttachedEnclosure(Target::start(namespace, self.clone())?))
    }
}

/// An enclosure that emulated machines of a namespace can have, until it is dropped.
#[derive(Debug)]
pub struct AttachedEnclosure(Target);

impl AttachedEnclosure {
    /// It as the emulator names what is behind a device: the `drive` of a `scsi-generic` has this name.
    #[must_use]
    pub fn block_device(&self, name: &str) -> String {
        self.0.block_device(name)
    }
}

impl Unit for Enclosure {
    fn run(&mut self, command: &[u8; 16], data: &[u8]) -> Answer {
        let state = &mut *self.lock();
        let length = usize::from(u16::from_be_bytes([command[3], command[4]]));
        match command[0] {
            // TEST UNIT READY.
            0x00 => Answer::Good(Vec::new()),
            // REQUEST SENSE: there is none.
            0x03 => cut(
                vec![0x70, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                command[4],
            ),
            // INQUIRY.
            0x12 => match state.inquiry(command[1] & 1 != 0, command[2]) {
                Some(mut page) => {
                    page.truncate(length);
                    Answer::Good(page)
                }
                None => WRONG_COMMAND,
            },
            // MODE SENSE (6): a header, and no page.
            0x1a => cut(vec![3, 0, 0, 0], command[4]),
            // RECEIVE DIAGNOSTIC RESULTS, of the page that is named.
            0x1c => match state.page(command[2]).filter(|_| command[1] & 1 != 0) {
                Some(mut page) => {
                    page.truncate(length);
                    Answer::Good(page)
                }
                None => WRONG_COMMAND,
            },
            // SEND DIAGNOSTIC: a page.
            0x1d if command[1] & 0x10 == 0 || length != data.len() => WRONG_COMMAND,
            0x1d => state.control(data),
            // REPORT LUNS: the one.
            0xa0 => Answer::Good([&[0, 0, 0, 8, 0, 0, 0, 0][..], &[0; 8]].concat()),
            _ => UNKNOWN_COMMAND,
        }
    }
}

fn cut(mut data: Vec<u8>, most: u8) -> Answer {
    data.truncate(usize::from(most));
    Answer::Good(data)
}

/// The lengths here are of some dozen bays.
fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

/// A diagnostic page: its code, its length, the generation of the configuration, and what it tells.
fn diagnostic(code: u8, second: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = short(body.len() + 4);
    [&[code, second, high, low, 0, 0, 0, 0][..], body].concat()
}

impl State {
    /// What it is (SPC-4, 6.4.2), and its pages about names (7.8).
    fn inquiry(&self, is_vital: bool, page: u8) -> Option<Vec<u8>> {
        const ENCLOSURE: u8 = 0x0d;
        let vital = |body: &[u8]| {
            let [high, low] = short(body.len());
            [&[ENCLOSURE, page, high, low][..], body].concat()
        };
        let address = self.address.to_be_bytes();
        match (is_vital, page) {
            (false, 0) => {
                // Of SPC-4; it has enclosure services.
                let mut bytes = vec![ENCLOSURE, 0, 6, 2, 31, 0, 0x40, 0];
                bytes.extend_from_slice(b"LEDGE   TEST ENCLOSURE  0001");
                Some(bytes)
            }
            (true, 0) => Some(vital(&[0, 0x80, 0x83])),
            (true, 0x80) => Some(vital(b"ENC0")),
            // Of the unit, and of its port.
            (true, 0x83) => Some(vital(
                &[
                    &[0x01, 0x03, 0, 8][..],
                    &address,
                    &[PROTOCOL_SAS << 4 | 1, 0x93, 0, 8],
                    &address,
                ]
                .concat(),
            )),
            _ => None,
        }
    }

    /// A diagnostic page (SES-3, 6.1).
    fn page(&self, code: u8) -> Option<Vec<u8>> {
        match code {
            0x00 => Some(vec![0, 0, 0, 5, 0, 1, 2, 7, 0x0a]),
            0x01 => Some(self.configuration()),
            0x02 => Some(diagnostic(2, 0, &self.status())),
            0x07 => Some(diagnostic(7, 0, &self.names())),
            0x0a => Some(diagnostic(0x0a, 0, &self.additional())),
            _ => None,
        }
    }

    /// How many elements of which type there are.
    fn configuration(&self) -> Vec<u8> {
        let count = u8::try_from(self.bays.len()).unwrap_or(u8::MAX);
        let mut body = vec![0x11, 0, 2, 36];
        body.extend_from_slice(&self.address.to_be_bytes());
        body.extend_from_slice(b"LEDGE   TEST ENCLOSURE  0001");
        body.extend_from_slice(&[ARRAY_DEVICE_SLOT, count, 0, 4]);
        body.extend_from_slice(&[TEMPERATURE_SENSOR, 1, 0, 4]);
        body.extend_from_slice(b"BAYSHEAT");
        diagnostic(1, 0, &body)
    }

    /// How each element is: all bays together first, then each, then the sensor.
    fn status(&self) -> Vec<u8> {
        let mut body = vec![0; 4];
        for (bay, leds) in &self.bays {
            // OK, or not installed.
            let code = if bay.disk.is_some() { 1 } else { 5 };
            let (ident, fault) = (u8::from(leds.locate) << 1, u8::from(leds.fault) << 5);
            body.extend_from_slice(&[code, 0, ident, fault]);
        }
        // 25 °C, from -20 on.
        body.extend_from_slice(&[0, 0, 0, 0, 1, 0, 45, 0]);
        body
    }

    fn names(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let bays = self.bays.iter().map(|(bay, _)| bay.name.as_str());
        let all = ["all bays"].into_iter().chain(bays);
        for name in all.chain(["all sensors", "air"]) {
            let [high, low] = short(name.len());
            body.extend_from_slice(&[0, 0, high, low]);
            body.extend_from_slice(name.as_bytes());
        }
        body
    }

    /// Number of each bay, and the address of what is in it.
    fn additional(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (index, (bay, _)) in (0..=u8::MAX).zip(&self.bays) {
            if bay.disk.is_none() && !bay.tells_empty {
                body.extend_from_slice(&[0x80 | 0x10 | PROTOCOL_SAS, 2, 0, index]);
                continue;
            }
            // One phy, and it is none of an expander.
            body.extend_from_slice(&[0x10 | PROTOCOL_SAS, 34, 0, index, 1, 0, 0, bay.number]);
            let (kind, protocols) = if bay.disk.is_some() {
                (0x10, 0x08)
            } else {
                (0, 0)
            };
            body.extend_from_slice(&[kind, 0, 0, protocols]);
            body.extend_from_slice(&self.address.to_be_bytes());
            body.extend_from_slice(&bay.disk.unwrap_or(0).to_be_bytes());
            body.extend_from_slice(&[index, 0, 0, 0, 0, 0, 0, 0]);
        }
        body
    }

    /// Sets the LEDs of the bays that are selected.
    fn control(&mut self, page: &[u8]) -> Answer {
        let status = diagnostic(2, 0, &self.status());
        // The same head, but for the byte of flags.
        let is_whole = page.len() == status.len() && page[0] == 2 && page[2..8] == status[2..8];
        if !is_whole {
            return WRONG_PAGE;
        }
        // Behind the head and the element for all bays.
        for ((_, leds), element) in self.bays.iter_mut().zip(page[12..].chunks_exact(4)) {
            if element[0] & 0x80 != 0 {
                leds.locate = element[2] & 0x02 != 0;
                leds.fault = element[3] & 0x20 != 0;
            }
        }
        self.writes += 1;
        Answer::Good(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enclosure() -> Enclosure {
        let bay = |number: u8, disk| Bay {
            number,
            name: format!("Bay {number}"),
            disk,
            tells_empty: number != 3,
        };
        Enclosure::new(
            0x5000_0001,
            vec![bay(2, Some(0x5000_c500)), bay(1, None), bay(3, None)],
        )
    }

    fn receive(enclosure: &mut Enclosure, page: u8) -> Vec<u8> {
        let mut command = [0; 16];
        command[..5].copy_from_slice(&[0x1c, 1, page, 4, 0]);
        match enclosure.run(&command, &[]) {
            Answer::Good(data) => data,
            refused @ Answer::Refused(..) => panic!("{refused:?}"),
        }
    }

    fn send(enclosure: &mut Enclosure, page: &[u8]) -> Answer {
        let mut command = [0; 16];
        let [high, low] = short(page.len());
        command[..5].copy_from_slice(&[0x1d, 0x10, 0, high, low]);
        enclosure.run(&command, page)
    }

    #[test]
    fn pages_say_how_long_they_are() {
        let mut enclosure = enclosure();
        for page in [0, 1, 2, 7, 0x0a] {
            let bytes = receive(&mut enclosure, page);
            let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
            assert_eq!((bytes[0], bytes.len()), (page, length + 4));
        }
    }

    #[test]
    fn only_bays_that_are_selected_change() {
        let mut enclosure = enclosure();
        let mut page = receive(&mut enclosure, 2);
        let first = 12;
        page[first..first + 4].copy_from_slice(&[0x80, 0, 0x02, 0]);
        page[first + 8..first + 12].copy_from_slice(&[0x80, 0, 0, 0x20]);
        assert_eq!(send(&mut enclosure, &page), Answer::Good(Vec::new()));
        assert_eq!(enclosure.lit(), [Lit::Locate(2), Lit::Fault(3)]);
        let mut page = receive(&mut enclosure, 2);
        assert_eq!(page[first + 2], 0x02);
        page[first + 8] = 0x80;
        page[first + 11] = 0;
        page[first + 2] = 0;
        assert_eq!(send(&mut enclosure, &page), Answer::Good(Vec::new()));
        assert_eq!(enclosure.lit(), [Lit::Locate(2)]);
        assert_eq!(enclosure.writes(), 2);
    }

    #[test]
    fn a_control_page_of_another_shape_is_refused() {
        let mut enclosure = enclosure();
        let page = receive(&mut enclosure, 2);
        assert_eq!(send(&mut enclosure, &page[..page.len() - 4]), WRONG_PAGE);
        let mut other = page.clone();
        other[7] = 1;
        assert_eq!(
            send(&mut enclosure, &other),
            WRONG_PAGE,
            "another configuration"
        );
        let names = receive(&mut enclosure, 7);
        assert_eq!(send(&mut enclosure, &names), WRONG_PAGE);
        assert_eq!(enclosure.writes(), 0);
    }

    #[test]
    fn a_bay_tells_what_is_in_it_and_an_empty_one_no_address() {
        let mut enclosure = enclosure();
        let page = receive(&mut enclosure, 0x0a);
        let (first, second, third) = (&page[8..44], &page[44..80], &page[80..]);
        assert_eq!((first[0], first[7]), (0x16, 2));
        assert_eq!(first[20..28], 0x5000_c500_u64.to_be_bytes());
        assert_eq!((second[0], second[7]), (0x16, 1));
        assert_eq!(second[20..28], [0; 8]);
        assert_eq!(third, [0x96, 2, 0, 2], "it tells nothing");
        enclosure.place(3, Some(7)).unwrap();
        let page = receive(&mut enclosure, 0x0a);
        assert_eq!((page[80], page[87]), (0x16, 3));
        assert!(enclosure.place(9, None).is_err());
    }
}
