//! What a target is: IDENTIFY DEVICE and its answer (ATA8-ACS, IDENTIFY DEVICE data).

use crate::commands::Route;
use aoe::ata::COMMAND_ATA;
use aoe::{ATA_FRAME_BYTES, AtaRegisters, ETHERTYPE, HEADER_BYTES, Header, SECTOR_BYTES, Tag};
use port::ReceivedFrame;
use zerocopy::{FromBytes, IntoBytes};

/// What IDENTIFY DEVICE told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Size in 512-byte sectors.
    pub sectors: u64,
    /// Whether the target takes 48-bit commands.
    pub lba48: bool,
    /// Model, without the padding.
    pub model: String,
    /// Serial number, without the padding.
    pub serial: String,
    /// Firmware revision, without the padding.
    pub firmware: String,
    /// Most blocks of ranges that a TRIM may bring; 0 where there is none, or what is trimmed does not read
    /// as zeroes.
    pub trim_blocks_max: u16,
}

/// Why an answer to IDENTIFY is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdentityError {
    /// The target answered with an AoE error.
    #[error("the target refuses IDENTIFY with AoE error {0}")]
    Refused(u8),
    /// The target answered with a failed ATA status.
    #[error("the target fails IDENTIFY with ATA status {status:#04x}, error {error:#04x}")]
    Failed {
        /// Status register.
        status: u8,
        /// Error register.
        error: u8,
    },
    /// The answer holds fewer than 512 bytes of data.
    #[error("the answer to IDENTIFY has {len_bytes} bytes instead of 548")]
    Short {
        /// Length of the answer.
        len_bytes: usize,
    },
}

/// Word 83: 48-bit commands supported; with its validity bits 15:14, which must read 01.
const WORD_83_LBA48: u16 = 0x0400;
const WORD_83_VALID_MASK: u16 = 0xc000;
const WORD_83_VALID: u16 = 0x4000;

/// Word 169: TRIM. Word 69: what was trimmed reads the same every time, and as zeroes.
const WORD_169_TRIM: u16 = 0x0001;
const WORD_69_ZEROES: u16 = 0x4020;

impl Identity {
    /// Decodes the 512 bytes.
    #[must_use]
    pub fn parse(data: &[u8; SECTOR_BYTES]) -> Self {
        let word = |index: usize| u16::from_le_bytes([data[index * 2], data[index * 2 + 1]]);
        let number = |first: usize, words: usize| {
            (0..words).fold(0, |sum, i| sum | (u64::from(word(first + i)) << (16 * i)))
        };
        let features = word(83);
        let lba48 = features & WORD_83_VALID_MASK == WORD_83_VALID && features & WORD_83_LBA48 != 0;
        let trims = word(169) & WORD_169_TRIM != 0 && word(69) & WORD_69_ZEROES == WORD_69_ZEROES;
        Self {
            trim_blocks_max: if trims { word(105) } else { 0 },
            sectors: if lba48 { number(100, 4) } else { number(60, 2) },
            lba48,
            model: text(&data[54..94]),
            serial: text(&data[20..40]),
            firmware: text(&data[46..54]),
        }
    }
}

/// Two characters to a word, the first in the high byte; what is not printable shows as `?`.
fn text(field: &[u8]) -> String {
    let swapped = (0..field.len()).map(|index| field[index ^ 1]);
    let printable = swapped.map(|byte| match byte {
        0 => ' ',
        b' '..=b'~' => char::from(byte),
        _ => '?',
    });
    printable.collect::<String>().trim().to_owned()
}

/// One IDENTIFY exchange with one target.
#[derive(Clone, Copy, Debug)]
pub struct IdentityQuery {
    route: Route,
    tag: Tag,
}

impl IdentityQuery {
    /// Asks the target at the end of `route`; `tag` marks the request.
    #[must_use]
    pub fn new(route: Route, tag: Tag) -> Self {
        Self { route, tag }
    }

    /// The request. It may be sent any number of times.
    #[must_use]
    pub fn request(&self) -> [u8; ATA_FRAME_BYTES] {
        let registers = AtaRegisters {
            flags: 0,
            feature_error: 0,
            count: 1,
            command_status: ata::opcode::IDENTIFY,
            lba: [0, 0, 0, 0xa0, 0, 0],
            reserved: [0; 2],
        };
        let mut frame = [0; ATA_FRAME_BYTES];
        let header = self.route.header(COMMAND_ATA, self.tag);
        frame[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        frame[HEADER_BYTES..].copy_from_slice(registers.as_bytes());
        frame
    }

    /// Takes in a received frame; `None` when it is not the answer.
    ///
    /// # Errors
    /// The target refuses the command, fails it, or sends less than a sector.
    pub fn receive(&self, frame: &ReceivedFrame<'_>) -> Option<Result<Identity, IdentityError>> {
        let (header, rest) = Header::ref_from_prefix(frame.first).ok()?;
        let ours = header.ethertype.get() == ETHERTYPE
            && header.is_response()
            && header.command == COMMAND_ATA
            && header.tag.get() == self.tag.0
            && self.route.is_from(header);
        if !ours {
            return None;
        }
        if let Some(code) = header.error_code() {
            return Some(Err(IdentityError::Refused(code)));
        }
        let mut data = [0; SECTOR_BYTES];
        let short = IdentityError::Short {
            len_bytes: frame.len_bytes(),
        };
        let Ok((registers, _)) = AtaRegisters::ref_from_prefix(rest) else {
            return Some(Err(short));
        };
        let (status, error) = (registers.command_status, registers.feature_error);
        if status & ata::status::FAILURE_BITS != 0 {
            return Some(Err(IdentityError::Failed { status, error }));
        }
        if frame.copy_to(ATA_FRAME_BYTES, &mut data) < SECTOR_BYTES {
            return Some(Err(short));
        }
        Some(Ok(Identity::parse(&data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aoe::{MacAddress, Shelf, Slot};
    use ata::IdentifySpec;

    const ROUTE: Route = Route {
        source: MacAddress([2, 0, 0, 0, 0, 1]),
        destination: MacAddress([4, 0, 0, 0, 0, 1]),
        shelf: Shelf(1),
        slot: Slot(2),
    };

    fn answer(query: &IdentityQuery, data: &[u8]) -> Vec<u8> {
        let request = query.request();
        let (header, _) = Header::ref_from_prefix(&request).unwrap();
        let reply = header.reply(ROUTE.destination, ROUTE.shelf, ROUTE.slot);
        let mut bytes = reply.as_bytes().to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 0x40, 0, 0, 0, 0xa0, 0, 0, 0, 0]);
        bytes.extend_from_slice(data);
        bytes
    }

    fn receive(query: &IdentityQuery, bytes: &[u8]) -> Option<Result<Identity, IdentityError>> {
        let (first, rest) = bytes.split_at(bytes.len().min(60));
        query.receive(&ReceivedFrame {
            first,
            rest: &[rest],
        })
    }

    #[test]
    fn what_a_shelf_builds_reads_back() {
        let spec = IdentifySpec {
            sectors: 1 << 33,
            serial: "LG0001",
            firmware: "0.1.0",
            model: "Ledge raid10",
            solid_state: true,
            wwn: None,
            is_aligned: true,
            trims: true,
        };
        let query = IdentityQuery::new(ROUTE, Tag(77));
        let identity = receive(&query, &answer(&query, &spec.build())).unwrap();
        assert_eq!(
            identity,
            Ok(Identity {
                sectors: 1 << 33,
                lba48: true,
                model: "Ledge raid10".to_owned(),
                serial: "LG0001".to_owned(),
                firmware: "0.1.0".to_owned(),
                trim_blocks_max: 2,
            })
        );
    }

    #[test]
    fn a_device_without_48_bit_commands_tells_its_size_in_words_60_and_61() {
        let mut data = [0; 512];
        data[120..124].copy_from_slice(&0x0123_4567u32.to_le_bytes());
        data[200..204].copy_from_slice(&[0xff; 4]);
        let identity = Identity::parse(&data);
        assert_eq!((identity.sectors, identity.lba48), (0x0123_4567, false));
        assert_eq!(identity.trim_blocks_max, 0);
    }

    #[test]
    fn refusals_are_told_apart() {
        let query = IdentityQuery::new(ROUTE, Tag(77));
        let good = answer(&query, &[0; 512]);
        let mut refused = good.clone();
        refused[14] |= 0x04;
        refused[15] = 3;
        assert_eq!(
            receive(&query, &refused),
            Some(Err(IdentityError::Refused(3)))
        );
        let mut failed = good.clone();
        failed[25] = 0x04;
        failed[27] = 0x41;
        let expected = IdentityError::Failed {
            status: 0x41,
            error: 0x04,
        };
        assert_eq!(receive(&query, &failed), Some(Err(expected)));
        let short = IdentityError::Short { len_bytes: 547 };
        assert_eq!(receive(&query, &good[..547]), Some(Err(short)));
    }

    #[test]
    fn other_frames_are_left_alone() {
        let query = IdentityQuery::new(ROUTE, Tag(77));
        let good = answer(&query, &[0; 512]);
        for (index, value) in [
            (11, 9),
            (13, 0),
            (14, 0x10),
            (17, 2),
            (18, 3),
            (19, 1),
            (23, 0),
        ] {
            let mut bytes = good.clone();
            bytes[index] = value;
            assert_eq!(receive(&query, &bytes), None, "byte {index}");
        }
    }
}
