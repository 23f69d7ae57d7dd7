//! Requests as they come from a port.

use aoe::{ATA_FRAME_BYTES, AtaRegisters, Header, MacAddress, SECTOR_BYTES, Shelf, Slot, Tag};
use zerocopy::IntoBytes;

/// Room for a jumbo frame.
pub(crate) const FRAME_BYTES: usize = 9216;

/// The station that is asked, and the one that asks.
pub(crate) const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

const WRITE_EXT: u8 = 0x34;
const READ_EXT: u8 = 0x24;

/// Makes a frame a request to a LUN, and returns its length. The data of a write is what lies there.
pub(crate) fn write_request(
    frame: &mut [u8],
    lun: u8,
    is_write: bool,
    lba: u64,
    sectors: u8,
) -> usize {
    let header = Header::request(MAC, CLIENT, Shelf(1), Slot(lun), 0, Tag(1));
    let opcode = if is_write { WRITE_EXT } else { READ_EXT };
    let registers = AtaRegisters::extended(opcode, is_write, lba, sectors);
    let header_bytes = size_of::<Header>();
    frame[..header_bytes].copy_from_slice(header.as_bytes());
    frame[header_bytes..ATA_FRAME_BYTES].copy_from_slice(registers.as_bytes());
    let payload = if is_write {
        usize::from(sectors) * SECTOR_BYTES
    } else {
        0
    };
    ATA_FRAME_BYTES + payload
}

/// Numbers without a pattern, the same in every run: Marsaglia's xorshift, with as long a period as anybody
/// needs.
#[derive(Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
