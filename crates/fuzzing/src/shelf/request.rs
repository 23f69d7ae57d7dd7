//! What a frame says, read a second time: by other code than the shelf's, and only as far as what is to be
//! expected of the shelf depends on it.

use aoe::MacAddress;

/// A request that some target must look at.
pub(super) struct Seen<'a> {
    /// The station that sent the frame.
    pub(super) sender: MacAddress,
    /// The number in its tag.
    pub(super) vlan: Option<u16>,
    /// Whom it is for.
    pub(super) shelf: u16,
    pub(super) slot: u8,
    /// Whom the answer is for, and the address that it comes from: that of the redirected message, if it
    /// carries one.
    pub(super) asker: MacAddress,
    pub(super) from_shelf: u16,
    pub(super) from_slot: u8,
    pub(super) tag: u32,
    pub(super) command: u8,
    pub(super) argument: &'a [u8],
}

const ANY_SHELF: u16 = 0xffff;
const ANY_SLOT: u8 = 0xff;
const REDIRECT: u8 = 0xf1;

/// EtherType, version and flags, error, shelf, slot, command, tag.
const REST: usize = 12;

fn mac(bytes: &[u8]) -> MacAddress {
    let mut mac = [0; 6];
    mac.copy_from_slice(&bytes[..6]);
    MacAddress(mac)
}

fn word(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

impl<'a> Seen<'a> {
    /// What a frame says to the station `own`; nothing if that must keep silent (conformance rows 1 to 4, 18,
    /// 22, 24).
    pub(super) fn read(frame: &'a [u8], own: MacAddress) -> Option<Self> {
        let (addresses, rest) = frame.split_at_checked(12)?;
        let (to, sender) = (mac(addresses), mac(&addresses[6..]));
        let is_tagged = rest.len() >= 4 && matches!(word(rest), 0x8100 | 0x88a8);
        let vlan = is_tagged.then(|| word(&rest[2..]) & 0xfff);
        let rest = if is_tagged { &rest[4..] } else { rest };
        let (head, mut argument) = rest.split_at_checked(REST)?;
        if !is_request(head, sender) || (to != own && to != MacAddress::BROADCAST) {
            return None;
        }
        let (mut asker, mut inner) = (sender, head);
        if head[7] == REDIRECT {
            let (addresses, rest) = argument.split_at_checked(12)?;
            asker = mac(&addresses[6..]);
            (inner, argument) = rest.split_at_checked(REST)?;
            if !is_request(inner, asker) {
                return None;
            }
        }
        let needed = match inner[7] {
            0 => 12,
            2 | 0xf0 => 4,
            3 => 2,
            4 => 1,
            _ => 0,
        };
        (argument.len() >= needed).then(|| Self {
            sender,
            vlan,
            shelf: word(&head[4..]),
            slot: head[6],
            asker,
            from_shelf: word(&inner[4..]),
            from_slot: inner[6],
            tag: u32::from_be_bytes([inner[8], inner[9], inner[10], inner[11]]),
            command: inner[7],
            argument,
        })
    }

    /// Whether it is for a LUN (conformance rows 10 to 12).
    pub(super) fn is_for(&self, shelf: u16, slot: u8) -> bool {
        (self.shelf == shelf || self.shelf == ANY_SHELF)
            && (self.slot == slot || self.slot == ANY_SLOT)
    }

    /// Whether it may be for several.
    pub(super) fn is_wildcard(&self) -> bool {
        self.shelf == ANY_SHELF || self.slot == ANY_SLOT
    }

    /// The address that an answer of a LUN comes from.
    pub(super) fn answer_address(&self, shelf: u16, slot: u8) -> (u16, u8) {
        let from_shelf = if self.from_shelf == ANY_SHELF {
            shelf
        } else {
            self.from_shelf
        };
        let from_slot = if self.from_slot == ANY_SLOT {
            slot
        } else {
            self.from_slot
        };
        (from_shelf, from_slot)
    }

    /// The registers and the data of an ATA command.
    pub(super) fn ata(&self) -> Option<Ata<'a>> {
        if self.command != 0 {
            return None;
        }
        let (registers, data) = self.argument.split_at_checked(12)?;
        let lba = &registers[4..10];
        let lba48 = (0..6).fold(0, |sum, byte| sum | u64::from(lba[byte]) << (8 * byte));
        let opcode = registers[3];
        let is_28 = matches!(opcode, 0x20 | 0x30);
        Some(Ata {
            opcode,
            count: registers[2],
            lba: if is_28 { lba48 & 0x0fff_ffff } else { lba48 },
            registers,
            data,
        })
    }
}

fn is_request(head: &[u8], sender: MacAddress) -> bool {
    word(head) == 0x88a2 && head[2] >> 4 == 1 && head[2] & 8 == 0 && !sender.is_multicast()
}

/// An ATA command.
pub(super) struct Ata<'a> {
    pub(super) opcode: u8,
    pub(super) count: u8,
    pub(super) lba: u64,
    pub(super) registers: &'a [u8],
    pub(super) data: &'a [u8],
}

impl Ata<'_> {
    pub(super) fn reads(&self) -> bool {
        matches!(self.opcode, 0x20 | 0x24)
    }

    pub(super) fn writes(&self) -> bool {
        matches!(self.opcode, 0x30 | 0x34)
    }

    pub(super) fn flushes(&self) -> bool {
        matches!(self.opcode, 0xe7 | 0xea)
    }

    /// DATA SET MANAGEMENT: what of it is served is not looked at here, only what it may change.
    pub(super) fn manages(&self) -> bool {
        self.opcode == 0x06
    }

    /// The ranges that DATA SET MANAGEMENT names: first sector and how many.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        let entry = |bytes: &[u8; 8]| {
            let entry = u64::from_le_bytes(*bytes);
            (entry & 0xffff_ffff_ffff, entry >> 48)
        };
        self.data.as_chunks::<8>().0.iter().map(entry)
    }
}
