//! Other stations that have the address of a LUN of ours.
//!
//! Two disks under one address are mixed up by initiators, without a word. So a LUN does not go online while
//! somebody else answers for it, and when somebody does later, it is told. Ports are asked before a LUN is
//! served and once a minute.

use super::Manager;
use super::lun::Lun;
use crate::admin::{AdminError, LunNumber};
use crate::plane::Impostor;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often it is asked who else is there.
const INTERVAL: Duration = Duration::from_mins(1);

/// After so long without an answer the other one is taken for gone.
const MEMORY: Duration = Duration::from_secs(150);

/// Who else has addresses of ours.
#[derive(Clone, Debug, Default)]
pub(super) struct Impostors {
    /// By LUN, and when it was heard last.
    known: BTreeMap<LunNumber, (Impostor, Duration)>,
    next_probe: Duration,
}

impl Impostors {
    /// What is wrong with the address of a LUN.
    pub(super) fn trouble(&self, shelf: u16, lun: LunNumber) -> Option<String> {
        let (other, _) = self.known.get(&lun)?;
        Some(format!(
            "{} on {} answers for {shelf}.{lun}, too: initiators mix up the two; give one of the shelves \
             another number (shelf), or the LUN",
            other.mac, other.interface
        ))
    }
}

impl Manager {
    /// Another station answered for a LUN.
    pub fn impostor_seen(&mut self, impostor: Impostor) {
        let (lun, now) = (impostor.lun, self.uptime);
        let before = self.impostors.known.get(&lun).map(|(other, _)| other.mac);
        let is_news = before != Some(impostor.mac);
        self.impostors.known.insert(lun, (impostor, now));
        if let Some(trouble) = self.impostor_trouble(lun).filter(|_| is_news) {
            self.notices.push(format!("ALARM: LUN {lun}: {trouble}"));
        }
    }

    /// Who else answers for a LUN, and what to do.
    pub(super) fn impostor_trouble(&self, lun: LunNumber) -> Option<String> {
        self.impostors.trouble(self.shelf?.0, lun)
    }

    /// Asks who else has the addresses of LUNs that are to go online; waits for answers.
    pub(super) fn look_for_impostors(&mut self, luns: &[LunNumber]) {
        let Some(shelf) = self.shelf.filter(|_| !luns.is_empty()) else {
            return;
        };
        for lun in luns {
            self.impostors.known.remove(lun);
        }
        for impostor in self.plane.find_impostors(shelf, luns) {
            self.impostor_seen(impostor);
        }
    }

    /// A LUN is to go online by command.
    ///
    /// # Errors
    /// When somebody else answers for it.
    pub(super) fn refuse_impostor(&mut self, lun: LunNumber) -> Result<(), AdminError> {
        if !self.lun(lun).is_ok_and(|lun| !lun.is_live()) {
            return Ok(());
        }
        self.look_for_impostors(&[lun]);
        match self.impostor_trouble(lun) {
            Some(trouble) => Err(AdminError::AddressTaken(trouble)),
            None => Ok(()),
        }
    }

    /// Asks once a minute who else is there, and serves what waited for somebody who is gone.
    pub(super) fn watch_impostors(&mut self) {
        if self.uptime < self.impostors.next_probe {
            return;
        }
        self.impostors.next_probe = self.uptime + INTERVAL;
        let Some(shelf) = self.shelf else { return };
        let wanted = |lun: &Lun<'_>| lun.is_live() || lun.record().online;
        let luns: Vec<LunNumber> = Lun::all(&self.raids)
            .filter(wanted)
            .map(|lun| lun.number())
            .collect();
        if !luns.is_empty() {
            self.plane.probe(shelf, &luns);
        }
        let now = self.uptime;
        let is_gone = |heard: &Duration| now.saturating_sub(*heard) > MEMORY;
        let known = self.impostors.known.iter();
        let gone: Vec<LunNumber> = known
            .filter(|(_, (_, heard))| is_gone(heard))
            .map(|(lun, _)| *lun)
            .collect();
        for lun in gone {
            self.impostors.known.remove(&lun);
            self.notices
                .push(format!("LUN {lun}: nobody else answers for it any more"));
            self.serve_again(lun);
        }
    }
}
