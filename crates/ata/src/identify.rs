//! The answer to IDENTIFY DEVICE: 256 little-endian words (ATA8-ACS), with what AoE initiators look
//! at filled in (conformance rows 68 to 80).

use crate::trim;

/// What a LUN tells about itself.
#[derive(Clone, Copy, Debug)]
pub struct IdentifySpec<'a> {
    /// Size in 512-byte sectors; below 2^48.
    pub sectors: u64,
    /// Serial number, at most 20 ASCII characters; longer ones are cut.
    pub serial: &'a str,
    /// Firmware revision, at most 8.
    pub firmware: &'a str,
    /// Model, at most 40.
    pub model: &'a str,
    /// Whether nothing rotates (word 217).
    pub solid_state: bool,
    /// World wide name, if it has one.
    pub wwn: Option<u64>,
    /// Whether its first sector is the first of a block of 4096 bytes of its drives (word 209).
    pub is_aligned: bool,
    /// Whether TRIM works, and what was trimmed reads as zeroes (words 69, 105, 169).
    pub trims: bool,
}

/// Word 69: what was trimmed reads the same every time, and as zeroes.
const ZEROES_AFTER_TRIM: u16 = 1 << 14 | 1 << 5;

/// Heads, and sectors of a track, of the geometry that disks have told since they had none.
const HEADS: u16 = 16;
const TRACK_SECTORS: u16 = 63;
/// Most cylinders of it.
const CYLINDERS_MAX: u16 = 16383;

/// Words 84 and 87: valid, and there is a world wide name.
const WITHOUT_NAME: u16 = 0x4000;
const WITH_NAME: u16 = 0x4100;

/// Largest number of sectors that 28 bits can address.
const LBA28_SECTORS_MAX: u64 = 0x0fff_ffff;

impl IdentifySpec<'_> {
    /// The 512 bytes.
    #[must_use]
    pub fn build(&self) -> [u8; 512] {
        let mut words = Words([0; 512]);
        words.set(0, 0x0040); // a fixed ATA device
        words.text(10, 10, self.serial);
        words.text(23, 4, self.firmware);
        words.text(27, 20, self.model);
        words.set(47, 0x8000);
        words.set(49, 0x0200); // LBA; 9front refuses a device without it (row 75)
        words.set(50, 0x4000);
        words.set(53, 0x0007);
        words.geometry(self.sectors);
        words.number(60, 2, self.sectors.min(LBA28_SECTORS_MAX)); // row 72
        if self.trims {
            words.set(69, ZEROES_AFTER_TRIM); // row 103
            words.set(105, u16::from(trim::BLOCKS_MAX));
            words.set(169, 0x0001);
        }
        words.set(80, 0x01f0); // up to ATA8
        // No write cache (word 82 and 85 bit 5 clear): an answered write is durable (row 78).
        words.set(82, 0x0001); // SMART (row 79)
        words.set(83, 0x7400); // valid, LBA48, both FLUSH commands (row 74)
        let named = self.wwn.map_or(WITHOUT_NAME, |_| WITH_NAME);
        words.set(84, named);
        words.set(85, 0x0001);
        words.set(86, 0x3400);
        words.set(87, named);
        words.set(93, 0x400b);
        words.number(100, 4, self.sectors); // row 73
        words.set(106, 0x6003); // eight logical sectors to a physical one
        for (word, value) in (108..).zip(self.wwn.unwrap_or(0).to_be_bytes().chunks_exact(2)) {
            words.set(word, u16::from_be_bytes([value[0], value[1]]));
        }
        words.set(119, 0x4000);
        words.set(120, 0x4000);
        if self.is_aligned {
            words.set(209, 0x4000);
        }
        words.set(217, u16::from(self.solid_state));
        words.seal();
        words.0
    }
}

struct Words([u8; 512]);

impl Words {
    fn set(&mut self, word: usize, value: u16) {
        self.0[word * 2..word * 2 + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn number(&mut self, word: usize, words: usize, value: u64) {
        self.0[word * 2..(word + words) * 2].copy_from_slice(&value.to_le_bytes()[..words * 2]);
    }

    /// Cylinders, heads and sectors, as they are by default (words 1, 3, 6) and now (54 to 56), and what they
    /// make together (57 and 58).
    fn geometry(&mut self, sectors: u64) {
        let of_cylinder = u64::from(HEADS) * u64::from(TRACK_SECTORS);
        let cylinders = (sectors / of_cylinder).min(u64::from(CYLINDERS_MAX));
        for (at, value) in [(1, cylinders), (3, HEADS.into()), (6, TRACK_SECTORS.into())] {
            self.number(at, 1, value);
        }
        for (at, value) in (54..).zip([cylinders, HEADS.into(), TRACK_SECTORS.into()]) {
            self.number(at, 1, value);
        }
        self.number(57, 2, cylinders * of_cylinder);
    }

    /// Two characters to a word, the first in the high byte, padded with spaces (row 76).
    fn text(&mut self, word: usize, words: usize, text: &str) {
        let field = &mut self.0[word * 2..(word + words) * 2];
        field.fill(b' ');
        let printable = text.bytes().map(|b| {
            if b.is_ascii_graphic() || b == b' ' {
                b
            } else {
                b'?'
            }
        });
        for (index, byte) in printable.take(words * 2).enumerate() {
            field[index ^ 1] = byte;
        }
    }

    /// Word 255: signature, and the checksum that makes all bytes sum to zero (row 80).
    fn seal(&mut self) {
        self.0[510] = 0xa5;
        let sum = self.0[..511]
            .iter()
            .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        self.0[511] = sum.wrapping_neg();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(data: &[u8; 512], index: usize) -> u16 {
        u16::from_le_bytes([data[index * 2], data[index * 2 + 1]])
    }

    /// A disk that is aligned, and does not TRIM.
    fn spec(sectors: u64) -> IdentifySpec<'static> {
        IdentifySpec {
            sectors,
            serial: "ABC",
            firmware: "0.1.0",
            model: "Ledge raid10",
            solid_state: false,
            wwn: Some(0x3123_4567_89ab_cdef),
            is_aligned: true,
            trims: false,
        }
    }

    fn build(sectors: u64) -> [u8; 512] {
        spec(sectors).build()
    }

    #[test]
    fn row_103_trim_is_told_where_it_works() {
        assert_eq!([69, 105, 169].map(|at| word(&build(8), at)), [0; 3]);
        let spec = IdentifySpec {
            trims: true,
            ..spec(8)
        };
        let words = [69, 105, 169].map(|at| word(&spec.build(), at));
        assert_eq!(words, [0x4020, 2, 1]);
    }

    #[test]
    fn rows_72_and_73_capacity_words() {
        for (sectors, low) in [
            (2048, 2048),
            (0x0fff_ffff, 0x0fff_ffff),
            (1 << 40, 0x0fff_ffff),
        ] {
            let data = build(sectors);
            let lba28 = u32::from(word(&data, 60)) | u32::from(word(&data, 61)) << 16;
            assert_eq!(u64::from(lba28), low);
            let lba48 = (0..4).fold(0, |n, i| n | u64::from(word(&data, 100 + i)) << (16 * i));
            assert_eq!(lba48, sectors);
            assert_eq!(word(&data, 103), 0);
        }
    }

    #[test]
    fn rows_74_75_78_79_feature_words() {
        let data = build(8);
        assert_eq!(word(&data, 83) & 0xc400, 0x4400);
        assert_ne!(word(&data, 86) & 0x0400, 0);
        assert_ne!(word(&data, 49) & 0x0200, 0);
        assert_eq!(word(&data, 85) & 0x0020, 0);
        assert_eq!((word(&data, 82) & 0x0001, word(&data, 85) & 0x0001), (1, 1));
    }

    #[test]
    fn the_name_and_the_geometry() {
        let data = build(8);
        assert_eq!((word(&data, 84), word(&data, 87)), (0x4100, 0x4100));
        let name = [108, 109, 110, 111].map(|at| word(&data, at));
        assert_eq!(name, [0x3123, 0x4567, 0x89ab, 0xcdef]);
        for (sectors, cylinders) in [(1007, 0), (2048, 2), (1 << 40, 16383)] {
            let data = build(sectors);
            let words = [1, 3, 6, 54, 55, 56].map(|at| word(&data, at));
            assert_eq!(words, [cylinders, 16, 63, cylinders, 16, 63]);
            let all = u32::from(word(&data, 57)) | u32::from(word(&data, 58)) << 16;
            assert_eq!(all, u32::from(cylinders) * 1008);
        }
    }

    #[test]
    fn file_systems_are_told_to_keep_to_blocks_of_4096_bytes() {
        // Eight logical sectors to a physical one; the first begins one, where that is so.
        let data = build(8);
        assert_eq!(
            [106, 117, 118, 209].map(|at| word(&data, at)),
            [0x6003, 0, 0, 0x4000]
        );
        let spec = IdentifySpec {
            is_aligned: false,
            ..spec(8)
        };
        assert_eq!([106, 209].map(|at| word(&spec.build(), at)), [0x6003, 0]);
    }

    #[test]
    fn row_76_strings_are_swapped_and_padded_with_spaces() {
        let data = build(8);
        assert_eq!(&data[20..24], b"BA C");
        assert!(data[24..40].iter().all(|b| *b == b' '));
        assert_eq!(&data[54..60], b"eLgd e");
    }

    #[test]
    fn row_80_all_bytes_sum_to_zero() {
        assert_eq!(
            build(12345)
                .iter()
                .fold(0u8, |sum, byte| sum.wrapping_add(*byte)),
            0
        );
    }
}
