//! The box as the consoles see it: [`console::host::Host`].

use crate::administration::Administration;
use crate::clock::SystemClock;
use crate::door::reception::Reception;
use crate::hardware::Hardware;
use crate::image::Image;
use crate::log::Log;
use crate::machine;
use crate::store::StateDir;
use console::host::{
    BoxFacts, Caller, Checks, Clock, ClockStatus, Deed, DriveFacts, HostError, ImageVersions,
    Machine, Power, Sensors, Settings, SettingsStore, SlotLed, Task, TimeSource, UpdateId,
    UpdateState, UpdateTo, World,
};
use shelf::admin::Admin;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What all doors share: the shelf and the box.
#[derive(Clone)]
pub(crate) struct Premises {
    administration: Administration,
    host: Arc<Mutex<Machinery>>,
}

/// Both of them, locked.
pub(crate) struct Entered<'a> {
    // The order of the fields is that of the locks, backwards.
    host: MutexGuard<'a, Machinery>,
    manager: crate::administration::Guard<'a>,
}

impl Premises {
    /// Shares the shelf and the box.
    pub(crate) fn new(administration: Administration, host: Machinery) -> Self {
        Self {
            administration,
            host: Arc::new(Mutex::new(host)),
        }
    }

    /// Locks the shelf, then the box: nobody does it the other way round.
    pub(crate) fn enter(&self) -> Entered<'_> {
        let manager = self.administration.lock();
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        Entered { host, manager }
    }
}

impl Entered<'_> {
    /// What commands of a caller act on.
    pub(crate) fn world<'a>(&'a mut self, who: &'a Caller) -> World<'a> {
        World {
            admin: &mut *self.manager,
            host: &mut *self.host,
            who,
        }
    }

    /// The shelf, as consoles see it.
    pub(crate) fn admin(&self) -> &dyn Admin {
        &*self.manager
    }
}

/// The box.
pub(crate) struct Machinery {
    state: StateDir,
    /// What all doors share.
    pub(crate) reception: Reception,
    /// Drives, slots and sensors.
    pub(crate) hardware: Hardware,
    settings: Settings,
    /// Why the settings that are stored cannot be used. They are not written over.
    damage: Option<String>,
    start: Instant,
    image: Image,
    log: Log,
    is_debugging: bool,
    /// The text of the configuration file.
    config: String,
    clock: SystemClock,
}

impl Machinery {
    /// Reads the settings. Damaged ones are told of, and do not keep the shelf from serving.
    pub(crate) fn new(
        state: StateDir,
        log: Log,
        config: String,
        reception: Reception,
        hardware: Hardware,
    ) -> Self {
        let (settings, damage) = match state.settings() {
            Ok(settings) => (settings, None),
            Err(reason) => {
                tracing::error!("{reason}; the defaults hold until then");
                (Settings::default(), Some(reason))
            }
        };
        log.set_target(settings.syslog);
        hardware.show_spares(settings.spare_leds);
        let clock = SystemClock::default();
        if let Err(error) = clock.restore(&settings.ntp) {
            tracing::error!("time servers: {error}");
        }
        Self {
            state,
            reception,
            hardware,
            settings,
            damage,
            start: Instant::now(),
            image: Image::open(),
            log,
            is_debugging: false,
            config,
            clock,
        }
    }
}

impl Machinery {
    /// The log.
    pub(crate) const fn log(&self) -> &Log {
        &self.log
    }
}

impl Checks for Machinery {
    fn check(&self, deed: &Deed<'_>) -> Result<(), HostError> {
        match *deed {
            Deed::Settings(_) => self.expect_settings(),
            Deed::SetClock(unix_seconds) => self.clock.may_be_set(unix_seconds),
            Deed::TimeSource(source) => {
                self.expect_settings()?;
                self.clock.may_be_kept(source)
            }
            Deed::Power(_) => machine::may_be_stopped(),
            Deed::Update(to) => self.image.check(to),
            Deed::Syslog => self.syslog_target().map(drop),
            // Nothing but a file or the log itself could be in the way.
            Deed::Debugging(_) | Deed::Bundle | Deed::Save(_) => Ok(()),
            _ => self.check_consoles(deed),
        }
    }
}

impl Machinery {
    /// Refuses to write over settings that cannot be read.
    fn expect_settings(&self) -> Result<(), HostError> {
        match &self.damage {
            Some(reason) => Err(HostError::Io(reason.clone())),
            None => Ok(()),
        }
    }

    fn syslog_target(&self) -> Result<SocketAddr, HostError> {
        self.settings.syslog.ok_or_else(|| {
            let text = "there is no syslog target; set one with: syslog ADDRESS";
            HostError::Refused(text.to_owned())
        })
    }
}

impl SettingsStore for Machinery {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn change_settings(&mut self, settings: Settings) -> Result<(), HostError> {
        self.check(&Deed::Settings(&settings))?;
        self.state.save_settings(&settings).map_err(HostError::Io)?;
        self.log.set_target(settings.syslog);
        self.hardware.show_spares(settings.spare_leds);
        self.settings = settings;
        Ok(())
    }
}

impl Clock for Machinery {
    fn clock(&self) -> Result<ClockStatus, HostError> {
        self.clock.status()
    }

    fn parse_time(&self, text: &str, zone: Option<&str>) -> Result<u64, HostError> {
        crate::clock::parse_time(text, zone)
    }

    fn set_clock(&mut self, unix_seconds: u64) -> Result<(), HostError> {
        self.clock.set(unix_seconds)
    }

    fn set_time_source(&mut self, source: &TimeSource) -> Result<(), HostError> {
        self.check(&Deed::TimeSource(source))?;
        let before = self.settings.clone();
        let settings = Settings {
            ntp: source.clone(),
            ..before.clone()
        };
        // What is stored and not done would be done at the next start: that is taken back. The other way
        // round nobody would know.
        self.change_settings(settings)?;
        let done = self.clock.keep(source);
        if done.is_err() {
            self.change_settings(before)?;
        }
        done
    }
}

impl Machine for Machinery {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn unix_seconds(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    fn facts(&self) -> BoxFacts {
        machine::facts(self.start.elapsed())
    }

    fn drive_facts(&self, path: &str) -> DriveFacts {
        machine::drive_facts(path)
    }

    fn temperatures(&self, paths: &[String]) -> Vec<Option<i32>> {
        machine::temperatures(paths)
    }

    fn local_time(&self, unix_seconds: u64, zone: Option<&str>) -> Result<String, HostError> {
        machine::local_time(unix_seconds, zone)
    }

    fn timezones(&self) -> Vec<String> {
        machine::timezones()
    }

    fn power(&mut self, what: Power) -> Result<(), HostError> {
        machine::power(what)
    }

    fn image(&self) -> Result<ImageVersions, HostError> {
        self.image.versions()
    }

    fn begin_update(&mut self, to: UpdateTo<'_>, is_plan: bool) -> Result<UpdateId, HostError> {
        self.image.begin(to, is_plan)
    }

    fn update_state(&self, update: UpdateId) -> UpdateState {
        self.image.update_state(update)
    }

    fn is_debugging(&self) -> bool {
        self.is_debugging
    }

    fn set_debugging(&mut self, on: bool) -> Result<(), HostError> {
        self.log.set_debugging(on).map_err(HostError::Io)?;
        self.is_debugging = on;
        Ok(())
    }

    fn send_syslog(&mut self, text: &str) -> Result<(), HostError> {
        let target = self.syslog_target()?;
        crate::log::send_now(target, text)
            .map_err(|error| HostError::Io(format!("syslog {target}: {error}")))
    }

    fn write_bundle(&mut self, files: &[(String, String)]) -> Result<Option<String>, HostError> {
        let now = self.unix_seconds();
        let time = jiff::Timestamp::from_second(i64::try_from(now).unwrap_or(0))
            .map_err(|error| HostError::Io(error.to_string()))?;
        let name = format!("ledge-{}", time.strftime("%Y%m%dT%H%M%SZ"));
        let mut all = files.to_vec();
        all.push(("ledge.toml".to_owned(), self.config.clone()));
        all.push(("log.txt".to_owned(), self.log.text()));
        let directory = self.state.path("sos");
        let written = crate::bundle::write(&directory, &name, now, &all);
        let written = written
            .map_err(|error| error.to_string())
            .map(|path| Some(path.display().to_string()));
        written.map_err(|error| HostError::Io(format!("{}: {error}", directory.display())))
    }

    fn saved(&self) -> Result<Vec<String>, HostError> {
        self.state.saved().map_err(HostError::Io)
    }

    fn load(&self, name: &str) -> Result<String, HostError> {
        match self.state.load(name) {
            Ok(Some(text)) => Ok(text),
            Ok(None) => {
                let text = format!("no configuration is saved as {name}");
                Err(HostError::Refused(text))
            }
            Err(error) => Err(HostError::Io(error)),
        }
    }

    fn save(&mut self, name: &str, text: &str) -> Result<(), HostError> {
        self.state.save(name, text).map_err(HostError::Io)
    }
}

impl console::host::Hardware for Machinery {
    fn smart_fault(&self) -> Option<String> {
        self.hardware.smart_fault()
    }

    fn begin(&mut self, task: Task) -> Result<u64, HostError> {
        self.hardware.begin(task)
    }

    fn finished(&mut self, number: u64) -> Option<Result<(), HostError>> {
        self.hardware.finished(number)
    }

    fn leds(&self) -> Result<Vec<SlotLed>, HostError> {
        self.hardware.leds()
    }

    fn sensors(&self) -> Sensors {
        self.hardware.sensors()
    }
}
