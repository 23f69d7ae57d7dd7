//! A box that exists in memory only, for tests of consoles.

use console::host::{
    BoxFacts, Caller, Consoles, CpuTimes, DoorKind, HostError, Machine, Power, Role, Settings,
    SettingsStore,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The box. Its time stands still until a test moves it.
#[derive(Debug)]
pub(crate) struct FakeHost {
    pub(crate) settings: Settings,
    /// Why settings cannot be stored.
    pub(crate) store_fault: Option<String>,
    pub(crate) now: Duration,
    /// Whether the firmware tells what the box is.
    pub(crate) has_firmware: bool,
    /// Whether somebody could stop it.
    pub(crate) has_power: bool,
    /// How it was stopped.
    pub(crate) stopped: Option<Power>,
    pub(crate) is_debugging: bool,
    pub(crate) sent: Vec<String>,
    pub(crate) saved: BTreeMap<String, String>,
    /// The files of the bundle that was written last.
    pub(crate) bundle: Vec<(String, String)>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            store_fault: None,
            now: Duration::ZERO,
            has_firmware: true,
            has_power: true,
            stopped: None,
            is_debugging: false,
            sent: Vec::new(),
            saved: BTreeMap::new(),
            bundle: Vec::new(),
        }
    }
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

impl FakeHost {
    fn fault(&self) -> Result<(), HostError> {
        self.store_fault
            .as_ref()
            .map_or(Ok(()), |fault| Err(HostError::Io(fault.clone())))
    }
}

impl SettingsStore for FakeHost {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn change_settings(&mut self, settings: Settings) -> Result<(), HostError> {
        self.fault()?;
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

    fn facts(&self) -> BoxFacts {
        let cpu = CpuTimes {
            user: 1000,
            system: 200,
            idle: 30_000,
            io_wait: 40,
            interrupts: 5,
        };
        BoxFacts {
            model: self.has_firmware.then(|| "Storage 2000".to_owned()),
            serial: self.has_firmware.then(|| "SN-0042".to_owned()),
            hostname: "shelf1".to_owned(),
            kernel: "6.12.37".to_owned(),
            uptime_seconds: 273_906,
            daemon_uptime_seconds: 3_661,
            load: ["0.10", "0.20", "0.30"].map(str::to_owned),
            memory_total_bytes: 8 << 30,
            memory_available_bytes: 7 << 30,
            daemon_resident_bytes: 150 << 20,
            cpus: vec![cpu; 2],
        }
    }

    fn local_time(&self, unix_seconds: u64, zone: Option<&str>) -> Result<String, HostError> {
        let zone = zone.unwrap_or("UTC");
        if !self.timezones().iter().any(|known| known == zone) {
            let text = format!("unknown time zone {zone}; timezone -l lists all");
            return Err(HostError::Refused(text));
        }
        Ok(format!("second {unix_seconds} {zone}"))
    }

    fn timezones(&self) -> Vec<String> {
        ["Europe/Berlin", "UTC"].map(str::to_owned).to_vec()
    }

    fn power(&mut self, what: Power) -> Result<(), HostError> {
        if !self.has_power {
            let text = "there is no systemd here that could; do it where the machine is run";
            return Err(HostError::Refused(text.to_owned()));
        }
        self.stopped = Some(what);
        Ok(())
    }

    fn is_debugging(&self) -> bool {
        self.is_debugging
    }

    fn set_debugging(&mut self, on: bool) -> Result<(), HostError> {
        self.is_debugging = on;
        Ok(())
    }

    fn send_syslog(&mut self, text: &str) -> Result<(), HostError> {
        if self.settings.syslog.is_none() {
            let text = "there is no syslog target; set one with: syslog ADDRESS";
            return Err(HostError::Refused(text.to_owned()));
        }
        self.sent.push(text.to_owned());
        Ok(())
    }

    fn write_bundle(&mut self, files: &[(String, String)]) -> Result<String, HostError> {
        self.fault()?;
        files.clone_into(&mut self.bundle);
        Ok("/var/lib/ledge/sos/bundle.tar".to_owned())
    }

    fn saved(&self) -> Result<Vec<String>, HostError> {
        Ok(self.saved.keys().cloned().collect())
    }

    fn load(&self, name: &str) -> Result<String, HostError> {
        let text = self.saved.get(name).cloned();
        text.ok_or_else(|| HostError::Refused(format!("no configuration is saved as {name}")))
    }

    fn save(&mut self, name: &str, text: &str) -> Result<(), HostError> {
        self.fault()?;
        self.saved.insert(name.to_owned(), text.to_owned());
        Ok(())
    }
}

impl Consoles for FakeHost {}
