//! A box that exists in memory only, for tests of consoles.

use console::host::{
    AlertStatus, Caller, CecStatus, ConsoleStatus, Consoles, DoorKind, HostError, LogEntry,
    Machine, Role, Settings, SettingsStore, Trouble, UserStatus,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The box. Its time stands still until a test moves it.
#[derive(Debug, Default)]
pub(crate) struct FakeHost {
    pub(crate) settings: Settings,
    /// Why settings cannot be stored.
    pub(crate) store_fault: Option<String>,
    pub(crate) now: Duration,
    pub(crate) consoles: Vec<ConsoleStatus>,
    pub(crate) users: BTreeMap<String, (Role, Option<String>)>,
    pub(crate) cec: Vec<CecStatus>,
    pub(crate) log: Vec<LogEntry>,
    pub(crate) acknowledged: BTreeMap<u64, String>,
    pub(crate) alerts_open: u64,
    pub(crate) troubles: Vec<Trouble>,
}

/// Somebody who may do everything.
pub(crate) fn administrator() -> Caller {
    Caller {
        user: "root".to_owned(),
        role: Role::Admin,
        door: DoorKind::Socket,
        address: String::new(),
    }
}

impl SettingsStore for FakeHost {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn change_settings(&mut self, settings: Settings) -> Result<(), HostError> {
        if let Some(fault) = &self.store_fault {
            return Err(HostError::Io(fault.clone()));
        }
        self.settings = settings;
        Ok(())
    }
}

impl Machine for FakeHost {
    fn now(&self) -> Duration {
        self.now
    }

    fn unix_seconds(&self) -> u64 {
        1_800_000_000 + self.now.as_secs()
    }
}

impl Consoles for FakeHost {
    fn consoles(&self) -> Vec<ConsoleStatus> {
        self.consoles.clone()
    }

    fn kick(&mut self, id: u64, _by: &Caller) -> Result<(), HostError> {
        let before = self.consoles.len();
        self.consoles.retain(|console| console.id != id);
        if self.consoles.len() == before {
            return Err(HostError::Refused(format!("no console {id} is open")));
        }
        Ok(())
    }

    fn users(&self) -> Result<Vec<UserStatus>, HostError> {
        let status = |(name, (role, password)): (&String, &(Role, Option<String>))| UserStatus {
            name: name.clone(),
            role: *role,
            has_password: password.is_some(),
        };
        Ok(self.users.iter().map(status).collect())
    }

    fn add_user(&mut self, name: &str, role: Role) -> Result<(), HostError> {
        self.users.insert(name.to_owned(), (role, None));
        Ok(())
    }

    fn remove_user(&mut self, name: &str) -> Result<(), HostError> {
        match self.users.remove(name) {
            Some(_) => Ok(()),
            None => Err(HostError::Refused(format!("user {name} does not exist"))),
        }
    }

    fn set_role(&mut self, name: &str, role: Role) -> Result<(), HostError> {
        self.user(name)?.0 = role;
        Ok(())
    }

    fn is_password(&self, name: &str, password: &str) -> bool {
        let user = self.users.get(name);
        user.is_some_and(|(_, stored)| stored.as_deref() == Some(password))
    }

    fn set_password(&mut self, name: &str, password: &str, _by: &Caller) -> Result<(), HostError> {
        self.user(name)?.1 = Some(password.to_owned());
        Ok(())
    }

    fn cec(&self) -> Vec<CecStatus> {
        self.cec.clone()
    }

    fn set_cec(&mut self, interface: &str, is_enabled: bool) -> Result<(), HostError> {
        let mut ports = self.cec.iter_mut();
        let port = ports.find(|port| port.interface == interface);
        let port = port
            .ok_or_else(|| HostError::Refused(format!("interface {interface} does not exist")))?;
        port.is_enabled = is_enabled;
        Ok(())
    }

    fn log(&self, count: usize) -> (Vec<LogEntry>, u64) {
        let skipped = self.log.len().saturating_sub(count);
        (self.log[skipped..].to_vec(), self.log.len() as u64)
    }

    fn log_from(&self, position: u64) -> (Vec<LogEntry>, u64) {
        self.log(self.log.len() - usize::try_from(position).unwrap_or(usize::MAX))
    }

    fn alerts(&mut self, troubles: &[Trouble]) -> Vec<AlertStatus> {
        let alert = |(id, trouble): (u64, &Trouble)| AlertStatus {
            id,
            since_unix_seconds: 1_800_000_000,
            subject: trouble.subject.clone(),
            problem: trouble.problem.clone(),
            advice: trouble.advice.clone(),
            acknowledged_by: self.acknowledged.get(&id).cloned(),
        };
        let alerts: Vec<AlertStatus> = (1..).zip(troubles).map(alert).collect();
        self.alerts_open = alerts.len() as u64;
        alerts
    }

    fn acknowledge(&mut self, id: u64, by: &Caller) -> Result<(), HostError> {
        if id == 0 || id > self.alerts_open {
            return Err(HostError::Refused(format!("no alert {id} is open")));
        }
        self.acknowledged.insert(id, by.user.clone());
        Ok(())
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.troubles.clone()
    }
}

impl FakeHost {
    fn user(&mut self, name: &str) -> Result<&mut (Role, Option<String>), HostError> {
        let user = self.users.get_mut(name);
        user.ok_or_else(|| HostError::Refused(format!("user {name} does not exist")))
    }
}
