//! What the target asks its surroundings to do.

use super::loan::PeerMessage;
use super::{BufferIndex, Span};
use crate::access::AccessList;
use crate::ids::{DriveSlot, LunNumber};
use crate::order::CommandIndex;
use crate::plane::LunView;
use crate::shard::WorkerIndex;
use aoe::vlan::TAG_BYTES;
use aoe::{
    ConfigCommand, FRAME_BYTES_MIN, Header, KeyedChange, MacAddress, MaskDirective, MaskError,
    SECTOR_BYTES, StationAddresses,
};
use raid::bad_blocks::BadRange;
use raid::regions::RegionIndex;
use std::fmt;
use std::sync::Arc;

/// Index of a port in the order of [`super::Target::new`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PortIndex(pub u8);

/// A port as the target needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortView {
    /// Addresses that replies come from.
    pub stations: StationAddresses,
    /// MTU: it bounds the Sector Count.
    pub mtu_bytes: usize,
    /// Frames that nobody asked for leave by it. Of several queues of an interface one has that task.
    pub announces: bool,
    /// Its queue has a socket for each worker, and frames come in at their receiver:
    /// [`crate::shard::Place::receiver`].
    pub is_shared: bool,
}

impl PortView {
    /// What stands in the place of a port that was taken out: nothing comes in there, nobody is told of
    /// anything by it, and its MTU bounds nothing.
    pub const ABSENT: Self = Self::single(MacAddress([0; 6]), u16::MAX as usize);

    /// A port that is the only queue of its interface, with one address.
    #[must_use]
    pub const fn single(mac: MacAddress, mtu_bytes: usize) -> Self {
        Self {
            stations: StationAddresses::single(mac),
            mtu_bytes,
            announces: true,
            is_shared: false,
        }
    }
}

/// What to do with a drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Read into the buffer.
    Read,
    /// Write from the buffer; complete only when durable.
    Write,
    /// Write zeroes, and let the drive deallocate the sectors if it reads them as zeroes then; complete only
    /// when durable. Of no buffer, and longer than one.
    WriteZeroes,
    /// Make everything written before durable.
    Flush,
}

/// Whom an I/O is done for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoOwner {
    /// A command.
    Command(CommandIndex),
    /// A slice of a part with parity.
    Slice(u16),
    /// A group of the redo log.
    Group(u16),
}

/// Which device of a member an I/O is for, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// The member does its work.
    Member,
    /// Its twin, which is to take its place, is written as it is.
    Twin,
    /// The member is written anew what it could not read. It is known to others, and nobody waits.
    Repair,
}

/// One I/O. Handed back unchanged to [`super::Target::complete`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Io {
    /// Whom it is done for.
    pub owner: IoOwner,
    /// The buffer that it fills or is written from.
    pub buffer: BufferIndex,
    /// What to do.
    pub operation: Operation,
    /// The drive.
    pub drive: DriveSlot,
    /// First sector on the drive.
    pub sector: u64,
    /// Sectors; 0 for a flush.
    pub sectors: u32,
    /// Where its data begins in the buffer, in sectors.
    pub offset_sectors: u32,
    /// Part of the LUN.
    pub part: u8,
    /// Member of the part.
    pub member: u8,
    /// Which of its devices, and why.
    pub purpose: Purpose,
    /// For a read: how many copies failed before.
    pub attempt: u8,
}

impl Operation {
    /// Whether it changes sectors.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(self, Self::Write | Self::WriteZeroes)
    }
}

impl fmt::Display for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = match self.operation {
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::WriteZeroes => "write of zeroes",
            Operation::Flush => "flush",
        };
        let Self {
            sector, sectors, ..
        } = self;
        write!(f, "{operation} of {sectors} sectors at sector {sector}")
    }
}

impl Io {
    /// Its sectors on its drive.
    #[must_use]
    pub fn range(&self) -> BadRange {
        BadRange {
            sector: self.sector,
            sectors: u64::from(self.sectors),
        }
    }
}

/// A write that is not answered before sectors that it has written are off the list of bad ones. Handed back
/// to [`super::Target::bad_sectors_settled`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MendTicket {
    /// The worker whose write it is.
    pub(super) worker: WorkerIndex,
    pub(super) owner: IoOwner,
    /// Which write of the owner: one that was planned anew waits for other sectors.
    pub(super) stamp: u64,
}

#[cfg(test)]
impl MendTicket {
    /// One of a write that does not matter.
    pub(crate) const fn any() -> Self {
        Self {
            worker: WorkerIndex(0),
            owner: IoOwner::Command(0),
            stamp: 1,
        }
    }
}

/// What follows the header bytes of a reply.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// Data of a read: in the buffer of the command, or where it lies in memory already.
    Data(Span),
    /// The IDENTIFY data of the LUN.
    Identify(Arc<LunView>),
    /// The config string of the LUN.
    ConfigString(Arc<LunView>),
    /// A page that is the same for every LUN.
    Page(&'static [u8; 512]),
    /// The first entries of a list that says who may use the LUN.
    Access(Arc<LunView>, AccessList, u8),
}

impl Body {
    /// The bytes, but for those of a read, which lie in memory.
    #[must_use]
    pub fn shared(&self) -> &[u8] {
        match self {
            Self::Empty | Self::Data(_) => &[],
            Self::Identify(view) => view.identify.as_slice(),
            Self::ConfigString(view) => &view.config_string,
            Self::Page(page) => page.as_slice(),
            Self::Access(view, list, entries) => view.access.bytes(*list, *entries),
        }
    }
}

/// Longest head of a reply: of a short frame with a tag, the whole.
pub const REPLY_HEAD_BYTES: usize = FRAME_BYTES_MIN + TAG_BYTES;

/// A frame to send. Shorter than 60 bytes, it is padded with zeros by the port.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Where to send it.
    pub port: PortIndex,
    /// Header, with a tag if the LUN is of a VLAN, and fixed argument; the first `head_bytes` count.
    pub head: [u8; REPLY_HEAD_BYTES],
    /// Length of the head: 32 for a config reply, 36 for an ATA reply, and four more with a tag.
    pub head_bytes: usize,
    /// What follows.
    pub body: Body,
    /// The command that this answers. Its buffer, and what the body names, are free after
    /// [`super::Target::sent`]. A reply that cannot be sent at once goes through [`super::Target::keep`].
    pub command: Option<CommandIndex>,
}

impl Reply {
    /// Whom it goes to.
    #[must_use]
    pub const fn destination(&self) -> MacAddress {
        let [a, b, c, d, e, f, ..] = self.head;
        MacAddress([a, b, c, d, e, f])
    }

    /// Bytes of the frame before padding.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        let body_bytes = match &self.body {
            Body::Data(span) => span.sectors as usize * SECTOR_BYTES,
            shared => shared.shared().len(),
        };
        self.head_bytes + body_bytes
    }
}

/// A request that changes what is recorded of a LUN: decided and stored by the administration,
/// answered through [`super::Target::change_done`].
#[derive(Clone, Debug)]
pub struct Change {
    /// Where it came from.
    pub port: PortIndex,
    /// Header of the request, with the address that the answer comes from.
    pub request: Header,
    /// The LUN.
    pub lun: LunNumber,
    /// What to do.
    pub wish: Wish,
}

/// What an initiator wants to be changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// The config string.
    Config {
        /// Whether the one that is there counts.
        command: ConfigCommand,
        /// The string of the request.
        string: Box<[u8]>,
        /// The second string of test-and-replace.
        replacement: Box<[u8]>,
    },
    /// The mask list, by directives.
    Masks(Box<[MaskDirective]>),
    /// The reservation without keys.
    Reserve {
        /// Whoever holds it.
        is_forced: bool,
        /// The stations.
        macs: Box<[MacAddress]>,
    },
    /// Keys, or the reservation by key.
    Keyed(KeyedWish),
}

/// Keys, or the reservation by key, to be changed.
pub type KeyedWish = KeyedChange<Box<[MacAddress]>>;

/// How the administration decided a [`Change`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeDecision {
    /// It is stored, or was so already.
    Stored,
    /// A different string is present (error 4).
    Present,
    /// The LUN is reserved by others (error 6).
    Reserved,
    /// A directive of a mask list cannot be carried out; those before it are stored.
    BadDirective {
        /// Why.
        error: MaskError,
        /// Which.
        index: u8,
    },
    /// The argument is not acceptable (error 2).
    BadArgument,
    /// It could not be made durable, or the LUN is gone: silence, the initiator asks again.
    Silence,
}

/// What a scrub has found, since it began or went on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ScrubFinding {
    /// Sectors that do not agree.
    pub mismatched_sectors: u64,
    /// How many of them are written anew. Whoever fails that is failed.
    pub repaired_sectors: u64,
    /// The last member that must be wrong, where that can be told (RAID 6), and the member sector.
    pub wrong: Option<(u8, u64)>,
}

/// A sector that nobody can give, and who lacks it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lacking {
    /// The sector, on each member.
    pub member_sector: u64,
    /// How many: the unit of the LUN.
    pub sectors: u32,
    /// The members that were to get it, as bits.
    pub elements: u64,
    /// The elements whose twins were to get it, as bits.
    pub twins: u64,
}

/// What the administration is to hear of: [`crate::manager::Manager::hear`].
#[derive(Clone, Copy, Debug)]
pub enum Report {
    /// A member failed an I/O. For a redundant LUN a new view must be attached in answer: the
    /// command that met the failure waits for it.
    MemberError {
        /// The LUN.
        lun: LunNumber,
        /// The I/O that failed.
        io: Io,
    },
    /// A member has not answered an I/O for so long that it is taken to hang. Answered as
    /// [`Report::MemberError`].
    MemberHangs {
        /// The LUN.
        lun: LunNumber,
        /// The I/O that was abandoned.
        io: Io,
    },
    /// Writes wait for regions of a part whose bits are not durable: the administration is to make them so,
    /// and to report to [`super::Target::regions_ready`].
    WantRegions {
        /// The LUN.
        lun: LunNumber,
        /// The part.
        part: u8,
        /// The first of a group of [`raid::regions::REGION_GROUP`].
        group: RegionIndex,
    },
    /// Sectors that were bad have been written: the administration is to take them from the list of their
    /// drive, durably, and to report to [`super::Target::bad_sectors_settled`] if a write waits for that.
    BadSectorsWritten {
        /// The drive.
        drive: DriveSlot,
        /// What was written.
        range: BadRange,
        /// The write that waits.
        ticket: Option<MendTicket>,
    },
    /// Lost sectors of an element have been written, and all of it is at home: the administration is to take
    /// them from the list of what is lost, durably, to attach a view that says so, and to report to
    /// [`super::Target::bad_sectors_settled`].
    LostWritten {
        /// The LUN.
        lun: LunNumber,
        /// The part.
        part: u8,
        /// The element.
        element: u8,
        /// Its sectors.
        range: BadRange,
        /// The epoch of the redo log in which that was.
        epoch: u64,
        /// The write that waits.
        ticket: MendTicket,
    },
    /// A pass over the members of a part has met something.
    Pass {
        /// The LUN.
        lun: LunNumber,
        /// The part.
        part: u8,
        /// The pass.
        pass: u64,
        /// What it has met.
        event: PassEvent,
    },
}

/// What a pass over members has met.
#[derive(Clone, Copy, Debug)]
pub enum PassEvent {
    /// Everything before this sector of the part is synchronised: a place to go on from after a restart.
    Reached(u64),
    /// A scrub has found members that do not agree.
    Found(ScrubFinding),
    /// A resynchronisation has met a sector that nobody can give. Devices that were to get it hold
    /// something else there: the administration is to note that durably, and to attach a view that
    /// counts the report in [`crate::plane::SyncView::noted`], or that ends the pass. The step waits for
    /// it.
    Unreadable(Lacking),
    /// It has come to the end of its part.
    Ended {
        /// Whether every range was read and written; if not, its members are not in sync.
        complete: bool,
    },
}

/// What the target asks for.
#[derive(Clone, Debug)]
pub enum Action {
    /// Do an I/O and report it to [`super::Target::complete`].
    Io(Io),
    /// Send a frame and report it to [`super::Target::sent`] if it answers a command.
    Reply(Reply),
    /// Change what is recorded of a LUN and report to [`super::Target::change_done`].
    Change(Change),
    /// Tell another worker. What was said to it before must arrive before.
    Peer {
        /// Whom.
        to: WorkerIndex,
        /// What.
        message: PeerMessage,
    },
    /// Tell the administration.
    Report(Report),
    /// Another station answers for the address of a LUN.
    Impostor {
        /// The LUN.
        lun: LunNumber,
        /// The port that it was heard on.
        port: PortIndex,
        /// Its address.
        mac: MacAddress,
    },
    /// The last attach or detach of a LUN has taken effect.
    Settled {
        /// The LUN.
        lun: LunNumber,
        /// A write to mirrors was answered with a fault since the LUN was attached first: some may
        /// hold it and others not.
        mirrors_differ: bool,
        /// Writes were cut short whose content is in the redo log: see [`crate::plane::Detached`].
        is_log_pending: bool,
    },
}
