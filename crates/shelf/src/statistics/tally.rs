//! What is counted of frames and requests.

/// A struct of counters, which can be listed and added up.
macro_rules! counters {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $name {
            /// Every counter with its name, in the order of the fields.
            #[must_use]
            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field)),*]
            }

            /// Adds what another has counted.
            pub const fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

counters! {
    /// Frames of a port. The first is the sum of the others.
    pub struct FrameTally {
        /// All of them.
        frames,
        /// Addressed to another station.
        not_ours,
        /// Shorter than their command needs.
        runts,
        /// Another EtherType.
        not_aoe,
        /// Responses of others.
        responses,
        /// A version other than 1.
        bad_version,
        /// Sent from a group address.
        multicast_source,
        /// For a shelf or LUN that is not served here.
        no_lun,
        /// Requests to a LUN, or to several at once.
        to_luns,
    }
}

counters! {
    /// Requests to LUNs: what they were, and what became of them.
    pub struct Tally {
        /// Query Config requests, answered or not.
        configs,
        /// Requests about mask lists and reservations.
        access_requests,
        /// Commands of the AoE header that are not known (error 1).
        unknown_commands,
        /// IDENTIFY commands.
        identifies,
        /// Reads that were answered.
        reads,
        /// Writes that were answered.
        writes,
        /// Flushes that were answered.
        flushes,
        /// TRIMs that were answered.
        trims,
        /// SMART, CHECK POWER MODE, and ATA commands that are not supported.
        other_ata,
        /// Transfers refused with an ATA error before they began: beyond the end, longer than a frame
        /// carries, or writes of a LUN that is read only.
        refused_ata,
        /// From a station that the mask list does not name: silence.
        masked,
        /// Of another VLAN: silence.
        wrong_vlan,
        /// Refused because the LUN is reserved by others (error 6).
        reserved,
        /// Writes to a wildcard address: silence.
        wildcard_writes,
        /// Dropped because all command buffers were taken: silence.
        no_buffer,
        /// Writes that came again, the same byte for byte, while they were in flight: those are answered
        /// instead.
        duplicates,
        /// Commands that were given up because their LUN went offline: silence.
        commands_dropped,
        /// Bytes of reads that succeeded.
        read_bytes,
        /// Bytes of writes that succeeded.
        write_bytes,
        /// Commands that had to wait for an earlier one that overlaps.
        overlaps,
        /// Transfers that came before and were sent again, as far as that can be told: an estimate that errs
        /// low; `repeats.rs` has the rule.
        retransmissions,
        /// ATA commands answered with an error status.
        ata_errors,
        /// Requests answered with an AoE error.
        aoe_errors,
    }
}

impl FrameTally {
    /// With the sum of all, which is not kept while they are counted.
    pub(super) const fn with_sum(&self) -> Self {
        let frames = self.not_ours
            + self.runts
            + self.not_aoe
            + self.responses
            + self.bad_version
            + self.multicast_source
            + self.no_lun
            + self.to_luns;
        Self { frames, ..*self }
    }
}

impl Tally {
    /// All requests that were dealt with: each was one of these.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.configs
            + self.access_requests
            + self.unknown_commands
            + self.identifies
            + self.reads
            + self.writes
            + self.flushes
            + self.trims
            + self.other_ata
            + self.refused_ata
            + self.masked
            + self.wrong_vlan
            + self.reserved
            + self.wildcard_writes
            + self.no_buffer
            + self.duplicates
            + self.commands_dropped
    }

    /// Requests that were left without an answer, or refused, because of who sent them.
    #[must_use]
    pub const fn refusals(&self) -> u64 {
        self.masked + self.wrong_vlan + self.reserved
    }
}

/// What came in on a port.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PortTally {
    /// Its frames.
    pub frames: FrameTally,
    /// The requests in them.
    pub requests: Tally,
}

impl PortTally {
    /// Adds what another has counted.
    pub const fn add(&mut self, other: &Self) {
        self.frames.add(&other.frames);
        self.requests.add(&other.requests);
    }
}
