//! How large frames may be.

/// The AoE sector: always 512 bytes.
pub const SECTOR_BYTES: usize = 512;

/// Length of addresses and EtherType. An MTU does not count them.
pub const ETHERNET_HEADER_BYTES: usize = 14;

/// Shortest frame handed to the wire, without FCS. Shorter ones are padded with zeros, because
/// veth, tap and bridges do not pad and aoetools drop shorter replies (conformance row 19).
pub const FRAME_BYTES_MIN: usize = 60;

/// How many sectors of data fit a frame on a path with this MTU. Subtracts the Ethernet header from
/// an MTU that does not contain it, as every initiator does: the sizes must agree.
#[must_use]
pub const fn sectors_per_frame(mtu_bytes: usize) -> usize {
    mtu_bytes.saturating_sub(crate::ATA_FRAME_BYTES) / SECTOR_BYTES
}

/// The Sector Count that a target advertises on a path with this MTU: 16, 8, 2 or 1, so that frames
/// are aligned to 4 KiB where they can be (conformance row 29). 17 sectors would fit an MTU of
/// 9000, but would misalign nearly every frame of a Linux initiator.
#[must_use]
pub const fn advertised_sector_count(mtu_bytes: usize) -> u8 {
    match sectors_per_frame(mtu_bytes) {
        16.. => 16,
        8..=15 => 8,
        2..=7 => 2,
        1 => 1,
        0 => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_29_sector_count_by_mtu() {
        for (mtu, count) in [
            (547, 0),
            (548, 1),
            (1500, 2),
            (4131, 2),
            (4132, 8),
            (8227, 8),
            (8228, 16),
            (9000, 16),
            (16420, 16),
        ] {
            assert_eq!(advertised_sector_count(mtu), count, "MTU {mtu}");
        }
    }
}
