//! Resynchronisation: what the data path reports of its passes over the mirrors.
//!
//! While a LUN is served its superblocks say "dirty from the start", since any write may be in flight
//! when the power goes. How far a pass is becomes durable when the LUN goes offline in good order, so
//! that the next pass goes on from there; after a crash it goes over the regions whose bits are set in
//! the write-intent bitmap, and those behind it were cleared meanwhile.

use super::{LunNumber, Manager};

impl Manager {
    /// Everything before `lba` agrees now.
    pub fn sync_reached(&mut self, number: LunNumber, pass: u64, lba: u64) {
        if let Some(lun) = self
            .luns
            .get_mut(&number)
            .filter(|lun| lun.sync_pass == pass)
        {
            lun.sync_from = lba;
        }
    }

    /// A pass has come to its end. If it was complete the mirrors agree, and reads may use all of
    /// them; else the LUN stays as it is until it goes online the next time.
    pub fn sync_ended(&mut self, number: LunNumber, pass: u64, complete: bool) {
        let Some(lun) = self
            .luns
            .get_mut(&number)
            .filter(|lun| lun.sync_pass == pass)
        else {
            return;
        };
        if !lun.is_live || !lun.is_unsynced {
            return;
        }
        if complete {
            lun.is_unsynced = false;
            lun.unsynced_regions = None;
            lun.sync_from = 0;
            self.notices
                .push(format!("LUN {number}: the mirrors are synchronised"));
        } else {
            lun.is_sync_stopped = true;
            self.notices.push(format!(
                "LUN {number}: the mirrors could not be synchronised: some sectors can be read from none"
            ));
        }
        if let Err(error) = self.attach_if_live(number) {
            self.notices.push(error.to_string());
        }
    }
}
