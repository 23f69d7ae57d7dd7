//! Drives that do not answer.
//!
//! A member whose drive keeps silent is given up as one that fails ([`super::failure`]), durably on the
//! survivors. But it holds all that was written before, and the drive may answer some day: then it is
//! taken back, and only what it lacks by the write-intent bitmap is written to it. That it is awaited is
//! in the record, as of members that were away at a start, so that a restart takes it back, too.
//!
//! Invariants:
//! * a drive on which I/O that was given up may still land is not taken for anything: it would overwrite
//!   what is written after it;
//! * a member is taken back a few times an hour at most; then it is left to the administrator.
//!
//! How it survives a crash: the failure is recorded first, then that the member is awaited. Between the two a
//! restart finds a failed member, which waits for the administrator.

use super::drives::Usage;
use super::raid::Member;
use super::{LunNumber, Manager, MemberFailure};
use crate::admin::{AdminError, DriveSlot, ElementId, PartId};
use crate::patience::DriveHealth;
use raid::layout::SUPERBLOCK_SECTOR;
use raid::md::raw::BLOCK_BYTES;
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::record::Record;
use std::time::Duration;

/// How long a drive is left alone before it is asked whether it is well.
const PAUSE: Duration = Duration::from_secs(5);

/// How long no spare takes the place of a member that may return.
const SPARE_GRACE: Duration = Duration::from_mins(2);

/// How often a member is taken back by itself within [`RETURNS_WINDOW`].
const RETURNS_MAX: usize = 3;

/// See [`RETURNS_MAX`].
const RETURNS_WINDOW: Duration = Duration::from_hours(1);

/// A drive that kept silent.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    drive: DriveSlot,
    /// When it was noticed last, or was to be taken back last and was not.
    since: Duration,
    /// It is to be taken back when it answers.
    is_awaited: bool,
    /// When it was taken back.
    returns: Vec<Duration>,
}

impl Silence {
    pub(super) const fn drive(&self) -> DriveSlot {
        self.drive
    }
}

impl Manager {
    /// The data path has given up waiting for an I/O of a member. As [`Manager::member_failed`]; but the
    /// member may return.
    ///
    /// # Errors
    /// As [`Manager::member_failed`].
    pub(super) fn member_hangs(
        &mut self,
        number: LunNumber,
        part: u8,
        member: u8,
        drive: DriveSlot,
        reason: &str,
    ) -> Result<MemberFailure, AdminError> {
        let id = PartId { lun: number, part }.element(member);
        // One that the administrator has failed stays so.
        let is_in_use = self.member(id).is_ok_and(Member::is_in_use);
        let failure = self.member_failed(number, part, member, drive, reason)?;
        if is_in_use && failure == MemberFailure::GivenUp {
            self.note_silence(drive);
        }
        Ok(failure)
    }

    /// A drive has become slow to answer, or is well again.
    pub fn drive_suspect(&mut self, drive: DriveSlot, is_suspect: bool) {
        let name = self.drive_name(drive);
        // Several workers tell of it.
        let entry = self.drives.get_mut(drive);
        if let Some(entry) = entry.filter(|entry| entry.is_slow != is_suspect) {
            entry.is_slow = is_suspect;
            self.notices.push(if is_suspect {
                format!(
                    "WARNING: drive {name} has not answered for a second; reads go elsewhere while they can"
                )
            } else {
                format!("drive {name} answers in time again")
            });
        }
    }

    fn note_silence(&mut self, drive: DriveSlot) {
        let since = self.uptime;
        match self.silences.iter_mut().find(|known| known.drive == drive) {
            Some(known) if known.is_awaited => {}
            Some(known) => (known.since, known.is_awaited) = (since, true),
            None => self.silences.push(Silence {
                drive,
                since,
                is_awaited: true,
                returns: Vec::new(),
            }),
        }
    }

    /// Takes back members whose drives answer again.
    pub(super) fn take_back_silent(&mut self) {
        if self.is_stopping {
            return;
        }
        for drive in self.drives.take_silent() {
            self.note_silence(drive);
        }
        for index in 0..self.silences.len() {
            if self.silences[index].is_awaited {
                self.await_silent(index);
            }
        }
    }

    fn await_silent(&mut self, index: usize) {
        let Silence { drive, since, .. } = self.silences[index];
        let Some(id) = self.failed_element(drive) else {
            self.silences[index].is_awaited = false;
            return;
        };
        let now = self.uptime;
        let returns = &mut self.silences[index].returns;
        returns.retain(|taken| now < *taken + RETURNS_WINDOW);
        if returns.len() >= RETURNS_MAX {
            self.silences[index].is_awaited = false;
            self.set_awaited(id, false);
            self.notices.push(format!(
                "WARNING: element {id} was taken back {RETURNS_MAX} times within an hour and does not answer again: \
                 replace its drive, or take it back with: unfail {id}"
            ));
            return;
        }
        self.set_awaited(id, true);
        if now < since + PAUSE || !self.answers(drive) {
            return;
        }
        match self.rebuild(id, drive, false) {
            Ok(()) => {
                let silence = &mut self.silences[index];
                silence.is_awaited = false;
                silence.returns.push(now);
                let name = self.drive_name(drive);
                self.notices.push(format!(
                    "drive {name} answers again; element {id} is taken back"
                ));
            }
            Err(error) => {
                self.silences[index].since = now;
                self.notices.push(format!(
                    "element {id} answers again, and is not used: {error}"
                ));
            }
        }
    }

    /// The failed element that a drive was.
    fn failed_element(&self, drive: DriveSlot) -> Option<ElementId> {
        let Usage::Element(id) = self.drives.get(drive)?.usage else {
            return None;
        };
        let raid = self.raids.get(&id.raid())?;
        let member = raid.members.get(usize::from(id.member))?;
        matches!(member, Member::Failed { drive: of } if *of == drive).then_some(id)
    }

    /// Records whether an element that failed is taken back by itself.
    pub(super) fn set_awaited(&mut self, id: ElementId, is_awaited: bool) {
        let Some(raid) = self.raids.get(&id.raid()) else {
            return;
        };
        if raid.record.away.contains(&id.member) == is_awaited {
            return;
        }
        let mut record: Record = raid.record.clone();
        record.away.retain(|element| *element != id.member);
        record.away.extend(is_awaited.then_some(id.member));
        if let Err(error) = self.record(id.raid(), record) {
            self.notices.push(error.to_string());
        }
    }

    /// Whether a drive answers, and nothing of what it was asked before is open.
    fn answers(&mut self, drive: DriveSlot) -> bool {
        let is_quiet = |health: DriveHealth| {
            #[cfg(feature = "planted")]
            if planted::is(Bug::LateWritesForgotten) {
                return true;
            }
            health.abandoned_ios == 0 && !health.is_suspect
        };
        self.plane.drive_health(drive).is_ok_and(is_quiet)
            && self
                .drives
                .read(drive, SUPERBLOCK_SECTOR, &mut [0; BLOCK_BYTES])
                .is_ok()
    }

    /// Whether a spare is to wait, because the member that it would replace may return.
    pub(super) fn may_return(&self, id: ElementId) -> bool {
        self.plugs.was_pulled_lately(id, self.uptime)
            || self.silences.iter().any(|silence| {
                silence.is_awaited
                    && self.uptime < silence.since + SPARE_GRACE
                    && self.failed_element(silence.drive) == Some(id)
            })
    }

    /// Refuses a drive on which I/O that was given up may still land.
    pub(super) fn expect_quiet(&self, drive: DriveSlot) -> Result<(), AdminError> {
        #[cfg(feature = "planted")]
        if planted::is(Bug::LateWritesForgotten) {
            return Ok(());
        }
        let name = self.drive_name(drive);
        match self.plane.drive_health(drive) {
            Ok(health) if health.abandoned_ios == 0 => Ok(()),
            Ok(health) => Err(AdminError::IoOutstanding {
                drive: name,
                ios: health.abandoned_ios,
                seconds: health.oldest_ns / 1_000_000_000,
            }),
            Err(reason) => Err(AdminError::Io(format!(
                "whether I/O is outstanding on {name} is not known: {reason}"
            ))),
        }
    }
}
