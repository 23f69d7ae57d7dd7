//! What the target counts. Plain numbers of one worker, published once a batch.

/// Counters of one worker's target. Each frame that is left unanswered is counted in exactly one of
/// the reasons.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Frames handed in.
    pub frames: u64,
    /// Addressed to another station.
    pub not_ours: u64,
    /// Shorter than their command needs.
    pub runts: u64,
    /// Another EtherType.
    pub not_aoe: u64,
    /// Responses of others.
    pub responses: u64,
    /// A version other than 1.
    pub bad_version: u64,
    /// Sent from a group address.
    pub multicast_source: u64,
    /// For a shelf or LUN that is not served here.
    pub no_lun: u64,
    /// From a station that the mask list of the LUN does not name. Of a frame to several LUNs, one for each.
    pub masked: u64,
    /// Without the tag of the LUN's VLAN, or with one that is not its own. As `masked`.
    pub wrong_vlan: u64,
    /// Writes to a wildcard address.
    pub wildcard_writes: u64,
    /// Dropped because all command buffers were taken.
    pub no_buffer: u64,
    /// Config tests that did not match, and changes that could not be stored: silence.
    pub config_silent: u64,
    /// Reservations that were not answered because commands of those that they shut out were still under way:
    /// the initiator asks again.
    pub reserve_waits: u64,
    /// Requests that came redirected.
    pub redirected: u64,
    /// Query Config requests answered or handed on.
    pub configs: u64,
    /// Requests about mask lists and reservations, answered or handed on.
    pub access_requests: u64,
    /// ATA commands refused because the LUN is reserved by others (error 6).
    pub reserved: u64,
    /// IDENTIFY commands.
    pub identifies: u64,
    /// Read commands admitted.
    pub reads: u64,
    /// Bytes of reads that succeeded.
    pub read_bytes: u64,
    /// Write commands admitted.
    pub writes: u64,
    /// Bytes of writes that succeeded.
    pub write_bytes: u64,
    /// Writes and steps of TRIMs that began or ended inside a sector of 4096 bytes.
    pub partial_writes: u64,
    /// TRIM commands admitted.
    pub trims: u64,
    /// Bytes of those that succeeded.
    pub trimmed_bytes: u64,
    /// Flush commands admitted.
    pub flushes: u64,
    /// Commands that another of several workers does: of frames to a wildcard address, of which each worker
    /// does its own, or that came while a LUN grew.
    pub of_others: u64,
    /// Sectors that were borrowed from other workers, by commands that touch those of several, and by passes.
    pub loans: u64,
    /// Writes that were dropped because one that overlaps, and that touches sectors of several workers, had
    /// not taken its place yet.
    pub crossings_dropped: u64,
    /// Writes that were dropped because one that overlaps, and that came in at another worker by the same
    /// queue, may be newer.
    pub stale_writes: u64,
    /// Frames that came in at a worker that is not their receiver: while a LUN grew.
    pub misdirected: u64,
    /// Commands that had to wait for an earlier one that overlaps.
    pub overlaps: u64,
    /// Of the writes admitted, those that an earlier one in flight answers: sent again, or copied on the way.
    pub duplicates: u64,
    /// Writes that had to wait for a bit of the write-intent bitmap.
    pub region_waits: u64,
    /// Writes of sectors that were on the list of bad ones, and that waited until they were off it.
    pub mend_waits: u64,
    /// Commands dropped because their LUN went offline before they could begin or were done.
    pub commands_dropped: u64,
    /// ATA commands answered with an error status.
    pub ata_errors: u64,
    /// Requests answered with an AoE error.
    pub aoe_errors: u64,
    /// Stripe writes that overwrote all they needed, or had it in memory.
    pub full_stripe_writes: u64,
    /// Stripe writes that read the rest of the stripe (reconstruct-write).
    pub rcw_writes: u64,
    /// Stripe writes that read old data and parity (read-modify-write).
    pub rmw_writes: u64,
    /// Reads of blocks that were computed from the rest of their stripe.
    pub degraded_reads: u64,
    /// Blocks that could not be read, and were written anew.
    pub blocks_repaired: u64,
    /// Stripes that had to wait for pages, or for room in the redo log.
    pub stripe_waits: u64,
    /// Groups of the redo log that were written.
    pub log_groups: u64,
    /// Drive reads that failed.
    pub drive_read_errors: u64,
    /// Drive writes and flushes that failed.
    pub drive_write_errors: u64,
}

impl Counters {
    /// Every counter with its name, in the order of the fields.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("frames", self.frames),
            ("not_ours", self.not_ours),
            ("runts", self.runts),
            ("not_aoe", self.not_aoe),
            ("responses", self.responses),
            ("bad_version", self.bad_version),
            ("multicast_source", self.multicast_source),
            ("no_lun", self.no_lun),
            ("masked", self.masked),
            ("wrong_vlan", self.wrong_vlan),
            ("wildcard_writes", self.wildcard_writes),
            ("no_buffer", self.no_buffer),
            ("config_silent", self.config_silent),
            ("reserve_waits", self.reserve_waits),
            ("redirected", self.redirected),
            ("configs", self.configs),
            ("access_requests", self.access_requests),
            ("reserved", self.reserved),
            ("identifies", self.identifies),
            ("reads", self.reads),
            ("read_bytes", self.read_bytes),
            ("writes", self.writes),
            ("write_bytes", self.write_bytes),
            ("partial_writes", self.partial_writes),
            ("trims", self.trims),
            ("trimmed_bytes", self.trimmed_bytes),
            ("flushes", self.flushes),
            ("of_others", self.of_others),
            ("loans", self.loans),
            ("crossings_dropped", self.crossings_dropped),
            ("stale_writes", self.stale_writes),
            ("misdirected", self.misdirected),
            ("overlaps", self.overlaps),
            ("duplicates", self.duplicates),
            ("region_waits", self.region_waits),
            ("mend_waits", self.mend_waits),
            ("commands_dropped", self.commands_dropped),
            ("ata_errors", self.ata_errors),
            ("aoe_errors", self.aoe_errors),
            ("full_stripe_writes", self.full_stripe_writes),
            ("rcw_writes", self.rcw_writes),
            ("rmw_writes", self.rmw_writes),
            ("degraded_reads", self.degraded_reads),
            ("blocks_repaired", self.blocks_repaired),
            ("stripe_waits", self.stripe_waits),
            ("log_groups", self.log_groups),
            ("drive_read_errors", self.drive_read_errors),
            ("drive_write_errors", self.drive_write_errors),
        ]
    }
}
