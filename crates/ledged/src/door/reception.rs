//! What all doors share: who may come in, who is in, and the log of it.
//!
//! Nothing here is behind the lock of the administration, so that somebody can log in, and is known to be
//! there, while a command of somebody else takes its time.

use super::accounts::Accounts;
use super::alerts::Alerts;
use super::audit::AuditLog;
use super::cec_ports::CecPorts;
use super::peer::Groups;
use super::registry::Registry;
use crate::config::Config;
use crate::store::StateDir;
use console::events::Event;
use console::host::{Caller, DoorKind, EntryKind, LogEntry, Trouble};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What all doors share.
#[derive(Clone)]
pub(crate) struct Reception {
    /// The open consoles.
    pub(crate) registry: Registry,
    /// The Ethernet console, port by port.
    pub(crate) cec: CecPorts,
    terms: Arc<Mutex<Terms>>,
    accounts: Arc<Mutex<Accounts>>,
    audit: Arc<Mutex<AuditLog>>,
    alerts: Arc<Mutex<Alerts>>,
    /// What was wrong with the machine when it started.
    of_start: Arc<[Trouble]>,
}

/// What the configuration says of consoles, and may change.
struct Terms {
    groups: Groups,
    idle_limit: Option<Duration>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reception {
    /// Reads what is known from the state directory. What cannot be read is told of, and keeps nobody from
    /// the data.
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        let accounts = Accounts::open(&config.state_dir);
        if let Some(trouble) = accounts.trouble() {
            tracing::error!("{trouble}");
        }
        let audit = AuditLog::open(&config.state_dir);
        if let Some(trouble) = audit.trouble() {
            tracing::error!("{trouble}");
        }
        let mut of_start = crate::image::troubles_of_start();
        let settings = StateDir::open(&config.state_dir)?.settings_trouble();
        of_start.extend(settings.map(|(problem, advice)| Trouble {
            subject: "settings".to_owned(),
            problem,
            advice: advice.to_owned(),
        }));
        for trouble in &of_start {
            tracing::error!("{}: {}", trouble.subject, trouble.problem);
        }
        Ok(Self {
            of_start: of_start.into(),
            registry: Registry::default(),
            cec: CecPorts::new(config)?,
            terms: Arc::new(Mutex::new(Terms {
                groups: config.groups.clone(),
                idle_limit: config.cec_idle,
            })),
            accounts: Arc::new(Mutex::new(accounts)),
            audit: Arc::new(Mutex::new(audit)),
            alerts: Arc::new(Mutex::new(Alerts::open(&config.state_dir))),
        })
    }

    /// Who may use the control socket.
    pub(crate) fn groups(&self) -> Groups {
        lock(&self.terms).groups.clone()
    }

    /// Changes who may; whoever is in stays in.
    pub(crate) fn set_groups(&self, groups: Groups) {
        lock(&self.terms).groups = groups;
    }

    /// After this time without a key a console is logged out; `None` for never.
    pub(crate) fn idle_limit(&self) -> Option<Duration> {
        lock(&self.terms).idle_limit
    }

    /// Changes that time. It holds for consoles that are open from their next key on, at the latest.
    pub(crate) fn set_idle_limit(&self, limit: Option<Duration>) {
        lock(&self.terms).idle_limit = limit;
    }

    /// Who may log in.
    pub(crate) fn accounts(&self) -> MutexGuard<'_, Accounts> {
        lock(&self.accounts)
    }

    /// The log.
    pub(crate) fn audit(&self) -> MutexGuard<'_, AuditLog> {
        lock(&self.audit)
    }

    /// The problems that are open.
    pub(crate) fn alerts(&self) -> MutexGuard<'_, Alerts> {
        lock(&self.alerts)
    }

    /// Notes what somebody did.
    pub(crate) fn note(&self, kind: EntryKind, session: u64, who: &Caller, did: Deed) {
        self.audit().add(LogEntry {
            time: now(),
            kind,
            session: Some(session),
            user: Some(who.user.clone()),
            role: Some(who.role.name().to_owned()),
            door: Some(who.door.name().to_owned()),
            address: Some(who.address.clone()),
            text: did.text,
            answers: did.answers,
            ok: did.ok,
            result: did.result,
        });
    }

    /// Notes that somebody did not get in.
    pub(crate) fn note_refusal(&self, session: Option<u64>, user: &str, address: &str, why: &str) {
        self.audit().add(LogEntry {
            time: now(),
            kind: EntryKind::Login,
            session,
            user: Some(user.to_owned()),
            role: None,
            door: Some(DoorKind::Ethernet.name().to_owned()),
            address: Some(address.to_owned()),
            text: "log-in refused".to_owned(),
            answers: Vec::new(),
            ok: false,
            result: why.to_owned(),
        });
    }

    /// Tells every console, and the log.
    pub(crate) fn publish(&self, event: Event) {
        self.audit().add(LogEntry {
            time: now(),
            kind: EntryKind::Event,
            session: None,
            user: None,
            role: None,
            door: None,
            address: None,
            text: event.text.clone(),
            answers: Vec::new(),
            ok: true,
            result: event.severity.name().to_owned(),
        });
        tracing::info!("{}: {}", event.tag, event.text);
        self.registry.publish(&Arc::new(event));
    }

    /// What is wrong with the consoles themselves and with the clock, and was with the machine and the
    /// settings when it started.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = self.of_start.to_vec();
        let mut tell = |subject: &str, problem: Option<&str>, advice: &str| {
            troubles.extend(problem.map(|problem| Trouble {
                subject: subject.to_owned(),
                problem: problem.to_owned(),
                advice: advice.to_owned(),
            }));
        };
        let advice =
            "nobody is kept from working, but what is done is not logged: make room in state_dir";
        tell("the log", self.audit().trouble(), advice);
        let advice = "the Ethernet console lets nobody in: use ledge on the box";
        tell("users", self.accounts().trouble(), advice);
        let advice = "acknowledgements are lost at the next restart: make room in state_dir";
        tell("alerts", self.alerts().trouble(), advice);
        let advice = "cecenable or cecdisable";
        tell(
            "the Ethernet console",
            self.cec.trouble().as_deref(),
            advice,
        );
        troubles.extend(console::clock_trouble(crate::daemon::unix_seconds()));
        troubles
    }
}

/// What somebody did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deed {
    /// The command line, or what happened.
    pub(crate) text: String,
    /// The answers to its questions, but for secret ones.
    pub(crate) answers: Vec<String>,
    /// Whether it was done.
    pub(crate) ok: bool,
    /// Why not.
    pub(crate) result: String,
}

fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}
