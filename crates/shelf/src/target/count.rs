//! Events that are counted in two places: in the sums of the target, and by port, LUN and initiator.

use super::{Asked, Command, Kind, Target};
use crate::order::CommandIndex;
use crate::statistics::{Answered, AnsweredKind, Tally, Who};
use aoe::{Header, MacAddress};
use zerocopy::FromBytes;

impl Command {
    /// Whom to count it for.
    pub(super) fn who(&self) -> Who {
        Who {
            port: self.port,
            lun: self.lun,
            mac: self
                .header()
                .map_or(MacAddress::default(), |header| header.source),
        }
    }

    fn header(&self) -> Option<&Header> {
        Header::ref_from_prefix(&self.head)
            .ok()
            .map(|(header, _)| header)
    }

    fn tag(&self) -> u32 {
        self.header().map_or(0, |header| header.tag.get())
    }
}

impl Target {
    /// A command is answered.
    pub(super) fn count_answered(&mut self, index: CommandIndex, is_success: bool) {
        let command = &self.commands[usize::from(index)];
        let kind = match command.kind {
            Kind::Read => AnsweredKind::Read,
            Kind::Write => AnsweredKind::Write,
            Kind::Trim => AnsweredKind::Trim,
            Kind::Flush | Kind::Sync(_) => AnsweredKind::Flush,
        };
        let who = command.who();
        self.statistics.answered(Answered {
            who,
            lba: command.lba + u64::from(command.skip()),
            latency_ns: self.statistics.now_ns().saturating_sub(command.since_ns),
            tag: command.tag(),
            sectors: u8::try_from(command.own_sectors()).unwrap_or(u8::MAX),
            kind,
            is_success,
        });
        if !is_success {
            self.count_ata_error(who);
        }
    }

    /// A write is the same as one before it that is not answered: it was sent again. The one before it will
    /// not be answered.
    pub(super) fn count_duplicate(&mut self, index: CommandIndex, original: CommandIndex) {
        self.counters.duplicates += 1;
        let [again, first] = [index, original].map(|index| self.commands[usize::from(index)].who());
        self.statistics.count(first, |tally| tally.duplicates += 1);
        let add = |tally: &mut Tally| tally.retransmissions += 1;
        self.statistics.count(again, add);
    }

    pub(super) fn count_access_request(&mut self, asked: Asked<'_>) {
        self.counters.access_requests += 1;
        let add = |tally: &mut Tally| tally.access_requests += 1;
        self.statistics.count(asked.who(), add);
    }

    pub(super) fn count_other_ata(&mut self, asked: Asked<'_>) {
        let add = |tally: &mut Tally| tally.other_ata += 1;
        self.statistics.count(asked.who(), add);
    }

    #[cold]
    pub(super) fn count_refused_ata(&mut self, asked: Asked<'_>) {
        let add = |tally: &mut Tally| tally.refused_ata += 1;
        self.statistics.count(asked.who(), add);
    }

    /// All command slots, or places for the ranges of a TRIM, are taken: the initiator asks again.
    #[cold]
    pub(super) fn count_no_buffer(&mut self, asked: Asked<'_>) {
        self.counters.no_buffer += 1;
        let add = |tally: &mut Tally| tally.no_buffer += 1;
        self.statistics.count(asked.who(), add);
    }

    #[cold]
    pub(super) fn count_ata_error(&mut self, who: Who) {
        self.counters.ata_errors += 1;
        self.statistics.count(who, |tally| tally.ata_errors += 1);
    }

    #[cold]
    pub(super) fn count_aoe_error(&mut self, asked: Asked<'_>) {
        self.counters.aoe_errors += 1;
        let add = |tally: &mut Tally| tally.aoe_errors += 1;
        self.statistics.count(asked.who(), add);
    }

    /// A command is given up. Steps of passes have nobody to count them for.
    #[cold]
    pub(super) fn count_dropped(&mut self, index: CommandIndex) {
        self.counters.commands_dropped += 1;
        let command = &self.commands[usize::from(index)];
        if !matches!(command.kind, Kind::Sync(_)) {
            let add = |tally: &mut Tally| tally.commands_dropped += 1;
            self.statistics.count(command.who(), add);
        }
    }
}
