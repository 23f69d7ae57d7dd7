//! What commands may ask of the doors: [`Consoles`].

use super::accounts::{ADMIN, Change};
use crate::host::Machinery;
use console::host::{
    AlertStatus, Caller, CecStatus, ConsoleStatus, Consoles, Deed, HostError, LogEntry, Machine,
    Role, Trouble, UserStatus,
};

impl Machinery {
    /// Whether something about consoles would be done.
    pub(crate) fn check_consoles(&self, deed: &Deed<'_>) -> Result<(), HostError> {
        let accounts = self.reception.accounts();
        let checked = match *deed {
            Deed::Kick(id) => self.reception.registry.find(id),
            Deed::AddUser(name, role) => accounts.check_change(&Change::Add(name, role)),
            Deed::RemoveUser(name) => accounts.check_change(&Change::Remove(name)),
            Deed::SetRole(name, role) => accounts.check_change(&Change::SetRole(name, role)),
            Deed::SetCec(interface, on) => self.reception.cec.check(interface, on),
            Deed::Acknowledge(id) => self.reception.alerts().check(id),
            _ => Ok(()),
        };
        checked.map_err(HostError::Refused)
    }
}

impl Consoles for Machinery {
    fn consoles(&self) -> Vec<ConsoleStatus> {
        self.reception.registry.list()
    }

    fn kick(&mut self, id: u64, by: &Caller) -> Result<(), HostError> {
        let reason = format!("ended by {}", by.user);
        let ended = self.reception.registry.end(id, &reason);
        ended.map_err(HostError::Refused)
    }

    fn users(&self) -> Result<Vec<UserStatus>, HostError> {
        let users = self.reception.accounts().list().map_err(HostError::Io)?;
        let status = |(name, role, has_password)| UserStatus {
            name,
            role,
            has_password,
        };
        Ok(users.into_iter().map(status).collect())
    }

    fn add_user(&mut self, name: &str, role: Role) -> Result<(), HostError> {
        let added = self.reception.accounts().change(&Change::Add(name, role));
        added.map_err(HostError::Refused)
    }

    fn remove_user(&mut self, name: &str) -> Result<(), HostError> {
        let removed = self.reception.accounts().change(&Change::Remove(name));
        removed.map_err(HostError::Refused)?;
        self.reception.registry.end_user(name, "", "user removed");
        Ok(())
    }

    fn set_role(&mut self, name: &str, role: Role) -> Result<(), HostError> {
        let set = self
            .reception
            .accounts()
            .change(&Change::SetRole(name, role));
        set.map_err(HostError::Refused)?;
        self.reception
            .registry
            .end_user(name, "", "your role has changed: log in again");
        Ok(())
    }

    fn is_password(&self, name: &str, password: &str) -> bool {
        let check = self.reception.accounts().check(name);
        check.verify(password).is_some()
    }

    fn set_password(&mut self, name: &str, password: &str, by: &Caller) -> Result<(), HostError> {
        let was_open = self.reception.accounts().is_open();
        let set = self.reception.accounts().set_password(name, password);
        set.map_err(HostError::Refused)?;
        // Whoever came in without one was let in as this user.
        let names = if was_open {
            [name, ADMIN]
        } else {
            [name, name]
        };
        let reason = "the password has changed: log in again";
        for name in names {
            self.reception.registry.end_user(name, &by.address, reason);
        }
        Ok(())
    }

    fn cec(&self) -> Vec<CecStatus> {
        self.reception.cec.status()
    }

    fn set_cec(&mut self, interface: &str, is_enabled: bool) -> Result<(), HostError> {
        let set = self.reception.cec.set(interface, is_enabled);
        set.map_err(HostError::Refused)
    }

    fn log(&self, count: usize) -> (Vec<LogEntry>, u64) {
        self.reception.audit().last(count)
    }

    fn log_from(&self, position: u64) -> (Vec<LogEntry>, u64) {
        self.reception.audit().from(position)
    }

    fn alerts(&mut self, troubles: &[Trouble]) -> Vec<AlertStatus> {
        let now = self.unix_seconds();
        self.reception.alerts().update(troubles, now)
    }

    fn acknowledge(&mut self, id: u64, by: &Caller) -> Result<(), HostError> {
        let noted = self.reception.alerts().acknowledge(id, &by.user);
        noted.map_err(HostError::Refused)
    }

    fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = self.reception.troubles();
        troubles.extend(self.hardware.troubles());
        troubles
    }
}
