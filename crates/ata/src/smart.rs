//! SMART (opcode 0xB0): what is told of the health of a LUN (conformance row 102).
//!
//! The attributes of disks mean nothing for a LUN, so there are none. What counts is the status: a LUN that
//! lacks redundancy it was made with is one that may fail. Every subcommand is answered with a page of 512
//! bytes, also those that have nothing to tell, and those that are aborted: aoeping ends without a word when
//! there is none.

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Smart {
    /// SMART READ DATA.
    ReadData,
    /// SMART READ THRESHOLDS.
    ReadThresholds,
    /// SMART READ LOG, with the address of one that there is.
    ReadLog(Log),
    /// SMART ENABLE OPERATIONS: they are.
    Enable,
    /// SMART RETURN STATUS.
    ReturnStatus,
}

/// A log that there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Log {
    /// Which logs there are.
    Directory,
    /// Errors: none.
    SummaryError,
    /// Self-tests: none.
    SelfTest,
}

/// A page of data.
pub type Page = [u8; 512];

/// What LBA1 and LBA2 must hold, and hold in the answer for a LUN that is well.
const SIGNATURE: [u8; 2] = [0x4f, 0xc2];
/// What they hold in the answer for one that is not.
const SIGNATURE_FAILING: [u8; 2] = [0xf4, 0x2c];

static DATA: Page = page(&[(0, 0x10), (368, 0x03), (370, 0x01)], true);
static THRESHOLDS: Page = page(&[(0, 0x10)], true);
/// The version, and a length in sectors for each of the other two: addresses 1 and 6.
static DIRECTORY: Page = page(&[(0, 1), (2, 1), (12, 1)], false);
static ERRORS: Page = page(&[(0, 1)], true);
static SELF_TESTS: Page = page(&[(0, 1)], true);
/// The data of an answer that has nothing to tell.
pub static EMPTY_PAGE: Page = [0; 512];

impl Smart {
    /// Decodes the registers; `None` for what is not supported.
    #[must_use]
    pub const fn decode(feature: u8, lba: [u8; 6]) -> Option<Self> {
        if lba[1] != SIGNATURE[0] || lba[2] != SIGNATURE[1] {
            return None;
        }
        Some(match (feature, lba[0]) {
            (0xd0, _) => Self::ReadData,
            (0xd1, _) => Self::ReadThresholds,
            (0xd5, 0) => Self::ReadLog(Log::Directory),
            (0xd5, 1) => Self::ReadLog(Log::SummaryError),
            (0xd5, 6) => Self::ReadLog(Log::SelfTest),
            (0xd8, _) => Self::Enable,
            (0xda, _) => Self::ReturnStatus,
            _ => return None,
        })
    }

    /// The data of the answer.
    #[must_use]
    pub const fn page(self) -> &'static Page {
        match self {
            Self::ReadData => &DATA,
            Self::ReadThresholds => &THRESHOLDS,
            Self::ReadLog(Log::Directory) => &DIRECTORY,
            Self::ReadLog(Log::SummaryError) => &ERRORS,
            Self::ReadLog(Log::SelfTest) => &SELF_TESTS,
            Self::Enable | Self::ReturnStatus => &EMPTY_PAGE,
        }
    }

    /// The LBA registers of the answer, for a LUN that is well or not.
    #[must_use]
    pub const fn answer(self, lba: [u8; 6], is_well: bool) -> [u8; 6] {
        let mut lba = lba;
        if matches!(self, Self::ReturnStatus) && !is_well {
            [lba[1], lba[2]] = SIGNATURE_FAILING;
        }
        lba
    }
}

/// A page with these bytes, and with the checksum that makes all of them sum to zero.
const fn page(bytes: &[(usize, u8)], is_summed: bool) -> Page {
    let mut page = [0; 512];
    let (mut index, mut sum) = (0, 0_u8);
    while index < bytes.len() {
        let (at, byte) = bytes[index];
        page[at] = byte;
        sum = sum.wrapping_add(byte);
        index += 1;
    }
    if is_summed {
        page[511] = sum.wrapping_neg();
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: [u8; 6] = [0, 0x4f, 0xc2, 0xa0, 0, 0];

    #[test]
    fn row_102_pages_sum_to_zero() {
        for (feature, log) in [(0xd0, 0), (0xd1, 0), (0xd5, 1), (0xd5, 6)] {
            let mut lba = ASKED;
            lba[0] = log;
            let page = Smart::decode(feature, lba).unwrap().page();
            assert_ne!(page[0], 0);
            assert_eq!(
                page.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)),
                0
            );
        }
    }

    #[test]
    fn row_102_only_the_status_tells_of_the_health() {
        for feature in 0..=255 {
            let Some(smart) = Smart::decode(feature, ASKED) else {
                assert!(![0xd0, 0xd1, 0xd5, 0xd8, 0xda].contains(&feature));
                continue;
            };
            assert_eq!(smart.answer(ASKED, true), ASKED);
            let failing = smart.answer(ASKED, false) == [0, 0xf4, 0x2c, 0xa0, 0, 0];
            assert_eq!(failing, feature == 0xda);
            assert_eq!(
                Smart::decode(feature, [0; 6]),
                None,
                "without the signature"
            );
        }
        assert_eq!(Smart::decode(0xd5, [9, 0x4f, 0xc2, 0, 0, 0]), None);
    }
}
