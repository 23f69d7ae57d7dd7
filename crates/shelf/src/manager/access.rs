//! Who may use a LUN: changes by initiators and by the administrator.
//!
//! As config strings: what is answered is durable on every member of the LUN's first RAID, and holds in the
//! data path.

use super::{LunNumber, Manager};
use crate::access::decide;
use crate::admin::{AccessChange, AccessStatus, AdminError, KeyStatus, PartId, check_label};
use crate::target::{Change, ChangeDecision, Wish};
use aoe::{ConfigCommand, Key, MacAddress, ReservationKind};
use raid::record::{AccessRecord, Record, STATIONS_MAX, Station};

impl Manager {
    /// A request of an initiator that changes what is recorded of a LUN. What is stored is durable on every
    /// member, and holds in the data path, when this returns.
    pub fn change(&mut self, change: &Change) -> ChangeDecision {
        let (lun, requester) = (change.lun, change.request.source);
        match &change.wish {
            Wish::Config {
                command: ConfigCommand::TestAndReplace,
                string,
                replacement,
            } => self.replace_config_string(lun, string, replacement),
            Wish::Config {
                command, string, ..
            } => self.config_command(lun, *command, string),
            Wish::Masks(directives) => {
                self.decide_access(lun, |record| decide::edit_masks(record, directives))
            }
            Wish::Reserve { is_forced, macs } => self.decide_access(lun, |record| {
                decide::reserve(record, requester, *is_forced, macs)
            }),
            Wish::Keyed(wish) => {
                self.decide_access(lun, |record| decide::keyed(record, requester, wish))
            }
        }
    }

    fn decide_access(
        &mut self,
        number: LunNumber,
        decide: impl FnOnce(&mut AccessRecord) -> ChangeDecision,
    ) -> ChangeDecision {
        let Ok(lun) = self.lun(number) else {
            return ChangeDecision::Silence;
        };
        let mut access = lun.record().access.clone();
        let decision = decide(&mut access);
        match self.store_access(number, access) {
            Ok(()) => decision,
            Err(AdminError::NotRecorded(_)) => ChangeDecision::BadArgument,
            Err(error) => {
                let notice = format!("access to LUN {number} could not be changed: {error}");
                self.notices.push(notice);
                ChangeDecision::Silence
            }
        }
    }

    /// Makes rules durable and lets them hold.
    fn store_access(&mut self, number: LunNumber, access: AccessRecord) -> Result<(), AdminError> {
        let lun = self.lun(number)?;
        let (present, is_live) = (&lun.record().access, lun.is_live());
        if *present == access {
            return Ok(());
        }
        if !lun.is_recorded() {
            return Err(AdminError::NotRecorded(number));
        }
        let is_seen_anew = present.vlan != access.vlan;
        let record = Record {
            access,
            ..lun.record().clone()
        };
        let stored = self.record(PartId::first(number), record);
        // Also after an error: the round may have given up a member.
        let attached = self.attach_if_live(number);
        stored.and(attached)?;
        if is_live && is_seen_anew {
            self.plane.advertise(number);
        }
        Ok(())
    }

    pub(super) fn change_access_of(
        &mut self,
        number: LunNumber,
        change: &AccessChange,
    ) -> Result<(), AdminError> {
        let mut access = self.lun(number)?.record().access.clone();
        match change {
            AccessChange::Masks { remove, add } => {
                access
                    .masks
                    .retain(|known| !remove.contains(&MacAddress(known.0)));
                for mac in add {
                    if mac.is_multicast() {
                        return Err(AdminError::WrongMask(*mac));
                    }
                    if !access.masks.contains(&Station(mac.0)) {
                        access.masks.push(Station(mac.0));
                    }
                }
                if access.masks.len() > STATIONS_MAX {
                    return Err(AdminError::MaskListFull(number));
                }
            }
            AccessChange::ClearMasks => access.masks.clear(),
            AccessChange::ClearReservations => {
                access.reserved.clear();
                let keyed = &mut access.keyed;
                let is_there = !keyed.keys.is_empty();
                keyed.keys.clear();
                (keyed.kind, keyed.owner) = (0, None);
                keyed.generation = keyed.generation.wrapping_add(u32::from(is_there));
            }
            AccessChange::Vlan(vlan) => access.vlan = vlan.map(aoe::VlanId::get),
            AccessChange::ReadOnly(is_read_only) => access.read_only = *is_read_only,
        }
        self.store_access(number, access)
    }

    pub(super) fn change_config_string(
        &mut self,
        number: LunNumber,
        string: &[u8],
    ) -> Result<(), AdminError> {
        self.lun(number)?;
        match self.config_command(number, ConfigCommand::ForceSet, string) {
            ChangeDecision::Stored => Ok(()),
            ChangeDecision::BadArgument => Err(AdminError::ConfigStringTooLong(string.len())),
            _ => {
                let reason = self.notices.last().cloned().unwrap_or_default();
                Err(AdminError::Io(reason))
            }
        }
    }
}

impl Manager {
    /// Labels a LUN. Nothing of that reaches the data path.
    pub(super) fn change_label(
        &mut self,
        number: LunNumber,
        label: Option<&str>,
    ) -> Result<(), AdminError> {
        label.map_or(Ok(()), check_label)?;
        let lun = self.lun(number)?;
        if lun.record().label.as_deref() == label {
            return Ok(());
        }
        if !lun.is_recorded() {
            return Err(AdminError::NotRecorded(number));
        }
        let record = Record {
            label: label.map(str::to_owned),
            ..lun.record().clone()
        };
        let stored = self.record(PartId::first(number), record);
        // Also after an error: the round may have given up a member.
        let attached = self.attach_if_live(number);
        stored.and(attached)
    }
}

/// What is told of the rules of a LUN.
pub(super) fn status(record: &AccessRecord) -> AccessStatus {
    let mac = |station: &Station| MacAddress(station.0);
    let keyed = &record.keyed;
    let key = |key: &raid::record::KeyRecord| KeyStatus {
        key: Key(key.key),
        stations: key.stations.iter().map(mac).collect(),
    };
    AccessStatus {
        masks: record.masks.iter().map(mac).collect(),
        reserved: record.reserved.iter().map(mac).collect(),
        reservation: ReservationKind::from_code(keyed.kind)
            .filter(|_| crate::access::is_reserved_by_key(keyed)),
        owner: keyed.owner.map(Key),
        generation: keyed.generation,
        keys: keyed.keys.iter().map(key).collect(),
        vlan: record.vlan.and_then(aoe::VlanId::new),
        is_read_only: record.read_only,
    }
}
