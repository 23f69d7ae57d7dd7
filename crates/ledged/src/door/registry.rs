//! The open consoles of all doors.
//!
//! Invariants: a number is never used twice; a console is in the table exactly as long as its [`Place`]
//! lives; whoever is told of an event or kicked is told through what its door has given, which never waits.

use console::events::Event;
use console::host::{ConsoleStatus, DoorKind, Role};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What a door is told about one of its consoles.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// Something has happened.
    Event(Arc<Event>),
    /// It is to end, for this reason.
    End(String),
}

type Tell = Box<dyn Fn(Told) + Send>;

/// The open consoles.
#[derive(Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    last: u64,
    consoles: BTreeMap<u64, Console>,
}

struct Console {
    door: DoorKind,
    user: Option<(String, Role)>,
    address: String,
    since_unix_seconds: u64,
    typed_at: Instant,
    running: Option<String>,
    tell: Tell,
}

/// A console's place in the table, until it is dropped.
pub(crate) struct Place {
    registry: Registry,
    id: u64,
}

impl Registry {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a console. `tell` must not wait.
    pub(crate) fn enter(&self, door: DoorKind, address: &str, tell: Tell) -> Place {
        let mut table = self.table();
        table.last += 1;
        let id = table.last;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let console = Console {
            door,
            user: None,
            address: address.to_owned(),
            since_unix_seconds: since.map_or(0, |since| since.as_secs()),
            typed_at: Instant::now(),
            running: None,
            tell,
        };
        table.consoles.insert(id, console);
        drop(table);
        Place {
            registry: self.clone(),
            id,
        }
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<ConsoleStatus> {
        let status = |(id, console): (&u64, &Console)| ConsoleStatus {
            id: *id,
            door: console.door,
            user: console.user.clone(),
            address: console.address.clone(),
            since_unix_seconds: console.since_unix_seconds,
            idle: console.typed_at.elapsed(),
            running: console.running.clone(),
        };
        self.table().consoles.iter().map(status).collect()
    }

    /// Ends a console.
    pub(crate) fn end(&self, id: u64, reason: &str) -> Result<(), String> {
        let table = self.table();
        (table.find(id)?.tell)(Told::End(reason.to_owned()));
        Ok(())
    }

    /// Whether there is a console of this number.
    pub(crate) fn find(&self, id: u64) -> Result<(), String> {
        self.table().find(id).map(drop)
    }

    /// Ends the consoles of a user of the Ethernet console, but for the one at this address.
    pub(crate) fn end_user(&self, name: &str, but: &str, reason: &str) {
        for console in self.table().consoles.values() {
            let is_of_user = console.user.as_ref().is_some_and(|(user, _)| user == name);
            if is_of_user && console.door == DoorKind::Ethernet && console.address != but {
                (console.tell)(Told::End(reason.to_owned()));
            }
        }
    }

    /// Tells everybody who has logged in.
    pub(crate) fn publish(&self, event: &Arc<Event>) {
        for console in self.table().consoles.values() {
            if console.user.is_some() {
                (console.tell)(Told::Event(Arc::clone(event)));
            }
        }
    }
}

impl Table {
    fn find(&self, id: u64) -> Result<&Console, String> {
        let found = self.consoles.get(&id);
        found.ok_or_else(|| format!("no console {id} is open"))
    }
}

impl Place {
    /// The number.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Somebody has logged in, or out.
    pub(crate) fn set_user(&self, user: Option<(String, Role)>) {
        self.change(|console| console.user = user);
    }

    /// Something was typed.
    pub(crate) fn typed(&self) {
        self.change(|console| console.typed_at = Instant::now());
    }

    /// A command is running, or no more.
    pub(crate) fn set_running(&self, line: Option<String>) {
        self.change(|console| console.running = line);
    }

    fn change(&self, change: impl FnOnce(&mut Console)) {
        if let Some(console) = self.registry.table().consoles.get_mut(&self.id) {
            change(console);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.table().consoles.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::unbounded;

    #[test]
    fn consoles_come_are_told_and_go() {
        let registry = Registry::default();
        let (sender, told) = unbounded();
        let tell = move |told| drop(sender.send(told));
        let place = registry.enter(DoorKind::Ethernet, "020000000001 on eth1", Box::new(tell));
        let other = registry.enter(DoorKind::Socket, "pid 7", Box::new(|_| {}));
        assert_eq!((place.id(), other.id()), (1, 2));
        let event = Arc::new(Event {
            unix_seconds: 0,
            severity: console::events::Severity::Notice,
            tag: "X".to_owned(),
            text: "x".to_owned(),
        });
        registry.publish(&event);
        assert!(told.is_empty(), "nobody has logged in");
        place.set_user(Some(("ann".to_owned(), Role::Reader)));
        place.set_running(Some("when -w".to_owned()));
        registry.publish(&event);
        assert!(matches!(told.try_recv(), Ok(Told::Event(_))));
        let rows = registry.list();
        assert_eq!(rows[0].user, Some(("ann".to_owned(), Role::Reader)));
        assert_eq!(rows[0].running.as_deref(), Some("when -w"));
        registry.end_user("ann", "020000000001 on eth1", "not this one");
        registry.end_user("bob", "", "nor this one");
        assert!(registry.end(1, "ended by root").is_ok() && registry.end(3, "").is_err());
        assert!(matches!(told.try_recv(), Ok(Told::End(why)) if why == "ended by root"));
        drop(place);
        assert_eq!(registry.list().len(), 1);
        let third = registry.enter(DoorKind::Socket, "", Box::new(|_| {}));
        assert_eq!(third.id(), 3);
    }
}
