//! The argument of command 4, Keyed Reserve/Release (AoE 1.2, as Coraid's shelves have it).
//!
//! ```text
//! 24 RCmd
//! register  25 NMacs   26 zero    28 key          36 MACs
//! set       25 RType   26 zero    28 key
//! replace   25 RType   26 RFlags  28 target key   36 replacement key
//! response  25 RType   26 NKeys   28 zero   32 generation   36 owner   44 keys
//! ```

use crate::MacAddress;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Command code of Keyed Reserve/Release.
pub const COMMAND_KEYED: u8 = 4;

/// Length of the header and the fixed part of a response: where the keys begin.
pub const KEYED_FRAME_BYTES: usize = crate::HEADER_BYTES + size_of::<KeyedStatus>();

/// RFlags: replace the name of a key instead of taking over from it.
const FLAG_NO_PREEMPT: u8 = 0x01;

/// What a holder of a key registers under. 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Key(pub u64);

impl Key {
    /// No key: unregisters, or releases.
    pub const NONE: Self = Self(0);
}

/// Who may do what while a LUN is reserved by key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReservationKind {
    /// The owner reads and writes, others do neither.
    Exclusive,
    /// The owner writes, all read.
    WriteExclusive,
    /// There is an owner; all that are registered read and write.
    ExclusiveRegistrants,
    /// There is an owner; all that are registered write, all read.
    WriteExclusiveRegistrants,
    /// There is no owner; all that are registered read and write.
    ExclusiveGroup,
    /// There is no owner; all that are registered write, all read.
    WriteExclusiveGroup,
}

impl ReservationKind {
    /// Decodes RType.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Exclusive,
            1 => Self::WriteExclusive,
            2 => Self::ExclusiveRegistrants,
            3 => Self::WriteExclusiveRegistrants,
            4 => Self::ExclusiveGroup,
            5 => Self::WriteExclusiveGroup,
            _ => return None,
        })
    }

    /// RType of this kind.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether one key owns the reservation.
    #[must_use]
    pub const fn has_owner(self) -> bool {
        !matches!(self, Self::ExclusiveGroup | Self::WriteExclusiveGroup)
    }

    /// Whether the stations of every key have the rights of the owner.
    #[must_use]
    pub const fn is_of_registrants(self) -> bool {
        !matches!(self, Self::Exclusive | Self::WriteExclusive)
    }

    /// Whether everybody may read.
    #[must_use]
    pub const fn is_readable_by_all(self) -> bool {
        matches!(
            self,
            Self::WriteExclusive | Self::WriteExclusiveRegistrants | Self::WriteExclusiveGroup
        )
    }
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyedCommand<'a> {
    /// Tell keys and owner.
    Status,
    /// Change something.
    Change(KeyedChange<&'a [MacAddress]>),
    /// A code that nobody defined, or an argument that the frame does not hold.
    Malformed,
}

/// What is to be changed; stations as a list of some kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyedChange<Macs> {
    /// Register stations under a key; under none, unregister them.
    Register {
        /// The key.
        key: Key,
        /// The stations.
        macs: Macs,
    },
    /// Reserve for a key; for none, release.
    Set {
        /// Who may do what.
        kind: ReservationKind,
        /// The key.
        key: Key,
    },
    /// Give a key another name.
    Rename {
        /// The key as it is.
        target: Key,
        /// The key as it shall be.
        replacement: Key,
    },
    /// Unregister the stations of a key, and take its place if it is the owner's.
    Preempt {
        /// Who may do what from then on.
        kind: ReservationKind,
        /// The key that goes; none for all others where there is no owner.
        target: Key,
        /// The key that takes its place.
        replacement: Key,
    },
    /// Forget all keys.
    Reset,
}

impl<Macs> KeyedChange<Macs> {
    /// Its RCmd.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Register { .. } => 1,
            Self::Set { .. } => 2,
            Self::Rename { .. } | Self::Preempt { .. } => 3,
            Self::Reset => 4,
        }
    }

    /// The same with a list of another kind.
    pub fn map<Others>(self, list: impl FnOnce(Macs) -> Others) -> KeyedChange<Others> {
        match self {
            Self::Register { key, macs } => KeyedChange::Register {
                key,
                macs: list(macs),
            },
            Self::Set { kind, key } => KeyedChange::Set { kind, key },
            Self::Rename {
                target,
                replacement,
            } => KeyedChange::Rename {
                target,
                replacement,
            },
            Self::Preempt {
                kind,
                target,
                replacement,
            } => KeyedChange::Preempt {
                kind,
                target,
                replacement,
            },
            Self::Reset => KeyedChange::Reset,
        }
    }
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawRegister {
    command: u8,
    count: u8,
    reserved: [u8; 2],
    key: U64,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawSet {
    command: u8,
    kind: u8,
    flags: u8,
    reserved: u8,
    key: U64,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawReplace {
    of: RawSet,
    replacement: U64,
}

/// The fixed part of a response.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct KeyedStatus {
    /// RCmd of the request.
    pub command: u8,
    /// RType of the reservation.
    pub kind: u8,
    /// How many keys follow.
    pub keys: U16,
    /// Zero.
    pub reserved: U32,
    /// Counts changes of the registrations.
    pub generation: U32,
    /// The key that owns the reservation; 0 for none.
    pub owner: U64,
}

const _: () = assert!(size_of::<RawRegister>() == 12 && size_of::<RawReplace>() == 20);
const _: () = assert!(size_of::<KeyedStatus>() == 20 && KEYED_FRAME_BYTES == 44);

impl<'a> KeyedCommand<'a> {
    /// Decodes an argument of at least one byte.
    pub(crate) fn parse(argument: &'a [u8]) -> Self {
        let change = match argument.first() {
            Some(0) => return Self::Status,
            Some(1) => parse_register(argument),
            Some(2) => parse_set(argument),
            Some(3) => parse_replace(argument),
            Some(4) => Some(KeyedChange::Reset),
            _ => None,
        };
        change.map_or(Self::Malformed, Self::Change)
    }
}

fn parse_register(argument: &[u8]) -> Option<KeyedChange<&[MacAddress]>> {
    let (fixed, rest) = RawRegister::ref_from_prefix(argument).ok()?;
    let key = Key(fixed.key.get());
    let macs = entries(rest, fixed.count)?;
    Some(KeyedChange::Register { key, macs })
}

fn parse_set<Macs>(argument: &[u8]) -> Option<KeyedChange<Macs>> {
    let (fixed, _) = RawSet::ref_from_prefix(argument).ok()?;
    let kind = ReservationKind::from_code(fixed.kind)?;
    let key = Key(fixed.key.get());
    Some(KeyedChange::Set { kind, key })
}

fn parse_replace<Macs>(argument: &[u8]) -> Option<KeyedChange<Macs>> {
    let (fixed, _) = RawReplace::ref_from_prefix(argument).ok()?;
    let kind = ReservationKind::from_code(fixed.of.kind)?;
    let target = Key(fixed.of.key.get());
    let replacement = Key(fixed.replacement.get());
    Some(if fixed.of.flags & FLAG_NO_PREEMPT == 0 {
        KeyedChange::Preempt {
            kind,
            target,
            replacement,
        }
    } else {
        KeyedChange::Rename {
            target,
            replacement,
        }
    })
}

/// The first `count` entries of a list, if that many are there (conformance rows 53, 62, 130).
pub(crate) fn entries<T: FromBytes + KnownLayout + Immutable + Unaligned>(
    bytes: &[u8],
    count: u8,
) -> Option<&[T]> {
    let (entries, _) = <[T]>::ref_from_prefix_with_elems(bytes, usize::from(count)).ok()?;
    Some(entries)
}
