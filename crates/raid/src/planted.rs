//! Known bugs that tests build in to see whether the simulator finds them. Only with the feature `planted`,
//! which no program has.
//!
//! The bug is that of the thread, so that tests with different ones run side by side.

use std::cell::Cell;

/// A change for the worse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// A write is answered when the first mirror holds it.
    AckBeforeDurable,
    /// A write that a member failed is answered before the failure is recorded.
    AckBeforeFailureRecorded,
    /// A write of sectors that are on the list of bad ones is answered before they are off it.
    AckBeforeMended,
    /// A LUN is served without having been marked dirty.
    CleanWhileServed,
    /// A LUN that is stopped is marked clean although its mirrors are not known to agree.
    CleanWhileUnsynced,
    /// A member that missed changes is taken for as good as the others.
    StaleMemberAccepted,
    /// Survivors of a failure go only one event ahead of who failed.
    OneEventAhead,
    /// A pass over mirrors reads another member than clients do.
    ResyncFromWrongMirror,
    /// A pass over mirrors is complete when half of it is done.
    PassEndsEarly,
    /// Steps of a pass do not wait for writes of the same range, nor these for them.
    StepsOutOfOrder,
    /// A TRIM goes to the first mirror only.
    TrimOfOneMirror,
    /// A TRIM is answered when its first step is done.
    TrimEndsEarly,
    /// Overlapping commands do not wait for each other.
    OverlapIgnored,
    /// Writes inside one sector of a drive do not wait for each other.
    EdgesUnlocked,
    /// Commands that touch sectors of several workers, and passes, do not wait until these have lent them.
    LoanNotAwaited,
    /// Workers that share a queue take in writes whatever others that came later have done.
    ArrivalIgnored,
    /// Reads use all mirrors although they are not known to agree.
    UnsyncedReadsBalanced,
    /// Writes go to the first mirror only until the pass is done.
    UnsyncedWritesToOneMirror,
    /// A sector that one mirror cannot read is not read from the other.
    ReadErrorIsFinal,
    /// Parts with parity write home without a redo log.
    NoLog,
    /// The redo log is not replayed after a crash.
    LogNotReplayed,
    /// Recovery does not begin a new epoch: records of former runs count.
    EpochNotCounted,
    /// Content of the redo log is replayed whatever its checksum says.
    TornContentAccepted,
    /// A slot of the redo log is written again while its last group is not retired.
    SlotsReusedTooEarly,
    /// Q is not written.
    QNotWritten,
    /// Clients are given lost sectors as parity defines them.
    LostGiven,
    /// A scrub finds nothing.
    ScrubFindsNothing,
    /// A scrub names the member beside the one that is wrong.
    ScrubNamesOther,
    /// A member that is being rebuilt is read as if it held everything.
    RebuildingMemberRead,
    /// A member is recorded as rebuilt when its rebuild has begun.
    CheckpointAhead,
    /// A member that comes back is taken to have missed nothing.
    LackForgotten,
    /// A drive is used again although writes that were given up may still land on it.
    LateWritesForgotten,
    /// Writes of initiators do not go to the device that is to take the place of a mirror.
    TwinNotWritten,
    /// A device that is to take the place of a member takes it when half of it is copied.
    TwinTakenTooEarly,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 34] = [
        Self::AckBeforeDurable,
        Self::AckBeforeFailureRecorded,
        Self::AckBeforeMended,
        Self::CleanWhileServed,
        Self::CleanWhileUnsynced,
        Self::StaleMemberAccepted,
        Self::OneEventAhead,
        Self::ResyncFromWrongMirror,
        Self::PassEndsEarly,
        Self::StepsOutOfOrder,
        Self::TrimOfOneMirror,
        Self::TrimEndsEarly,
        Self::OverlapIgnored,
        Self::EdgesUnlocked,
        Self::LoanNotAwaited,
        Self::ArrivalIgnored,
        Self::UnsyncedReadsBalanced,
        Self::UnsyncedWritesToOneMirror,
        Self::ReadErrorIsFinal,
        Self::NoLog,
        Self::LogNotReplayed,
        Self::EpochNotCounted,
        Self::TornContentAccepted,
        Self::SlotsReusedTooEarly,
        Self::QNotWritten,
        Self::LostGiven,
        Self::ScrubFindsNothing,
        Self::ScrubNamesOther,
        Self::RebuildingMemberRead,
        Self::CheckpointAhead,
        Self::LackForgotten,
        Self::LateWritesForgotten,
        Self::TwinNotWritten,
        Self::TwinTakenTooEarly,
    ];

    /// Whether only parts with parity can have it.
    #[must_use]
    pub const fn is_of_parity(self) -> bool {
        matches!(
            self,
            Self::NoLog
                | Self::LogNotReplayed
                | Self::EpochNotCounted
                | Self::TornContentAccepted
                | Self::SlotsReusedTooEarly
                | Self::QNotWritten
                | Self::LostGiven
                | Self::ScrubNamesOther
        )
    }
}

thread_local! {
    static PRESENT: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Builds a bug into everything that this thread does, or takes it out.
pub fn plant(bug: Option<Bug>) {
    PRESENT.set(bug);
}

/// Whether this bug is there.
#[must_use]
pub fn is(bug: Bug) -> bool {
    PRESENT.get() == Some(bug)
}
