//! A configuration that has changed, taken over while the shelf serves.
//!
//! Invariants:
//! * a file that is wrong changes nothing;
//! * no frame is dropped: what is not changed goes on as it is, and what is added or taken out is so beside
//!   it;
//! * what cannot be taken over is named each time, until a restart.

use crate::config::{self, Config, Live};
use crate::door::reception::Reception;
use crate::interfaces;
use crate::plug::{SlotChange, SlotChanges};
use crate::ports::Ports;

/// What a running shelf can change of itself.
pub(crate) struct Reload {
    /// What it runs with.
    running: Config,
    reception: Reception,
    ports: Ports,
    slots: SlotChanges,
}

impl Reload {
    /// Of a shelf that was started with a configuration.
    pub(crate) const fn new(
        running: Config,
        reception: Reception,
        ports: Ports,
        slots: SlotChanges,
    ) -> Self {
        Self {
            running,
            reception,
            ports,
            slots,
        }
    }

    /// Reads the file again, takes over what can be, and tells the log what that was.
    pub(crate) fn run(&mut self) {
        let path = self.running.path.clone();
        let mut new = match config::load(&path) {
            Ok(new) => new,
            Err(error) => {
                tracing::error!(
                    "the configuration is not taken over, nothing has changed: {error}"
                );
                return;
            }
        };
        // What has come by itself is what it runs with, too; nothing more comes by itself meanwhile.
        self.running.ports.extend(self.ports.begin_changes());
        self.take_over(&mut new);
        self.ports.end_changes(&self.running.written_ports);
    }

    fn take_over(&mut self, new: &mut Config) {
        for problem in interfaces::name_all(new) {
            tracing::error!("{problem}");
        }
        let changes = self.running.changes_to(new);
        if changes.live.is_empty() && changes.restart.is_empty() {
            tracing::info!("{}: nothing has changed", self.running.path.display());
        }
        for live in &changes.live {
            match self.apply(live) {
                Ok(()) => {
                    self.running.take_over(live);
                    tracing::info!("taken over: {live}");
                }
                Err(reason) => tracing::error!("not taken over: {live}: {reason}"),
            }
        }
        if !changes.restart.is_empty() {
            let keys = changes.restart.join("; ");
            tracing::warn!("needs a restart, and is as it was until then: {keys}");
        }
    }

    fn apply(&self, live: &Live) -> Result<(), String> {
        match live {
            Live::Groups(groups) => self.reception.set_groups(groups.clone()),
            Live::CecIdle(limit) => self.reception.set_idle_limit(*limit),
            Live::Cec(interface, is_enabled) => {
                return self.reception.cec.follow(interface, *is_enabled);
            }
            Live::CecAllow(interface, stations) => self.reception.cec.admit(interface, stations),
            Live::Pace(interface, pace) => {
                if !self.ports.set_pace(interface, *pace) {
                    return Err("it had no limit".to_owned());
                }
            }
            // They hold from the end of the changes on.
            Live::Newcomers(_) => {}
            Live::PortNew(port) => self.ports.add(port),
            Live::PortGone(interface) => return self.ports.remove(interface),
            Live::DiskNew(disk) => return self.slots.make(SlotChange::Add(disk.clone())),
            Live::DiskGone(slot) => return self.slots.make(SlotChange::Remove(*slot)),
            Live::DiskPath(disk) => return self.slots.make(SlotChange::Path(disk.clone())),
            Live::FindDisks => {
                let named = self.running.disks.clone();
                return self.slots.make(SlotChange::Find(named));
            }
        }
        Ok(())
    }
}
