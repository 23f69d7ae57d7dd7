//! Starting and ending the shelf.

use crate::administration::Administration;
use crate::config::{Config, PortConfig};
use crate::door;
use crate::door::reception::Reception;
use crate::events;
use crate::hardware::Hardware;
use crate::host::{Machinery, Premises};
use crate::log::Log;
use crate::plug::Slots;
use crate::ports::{self, Ports};
use crate::reload::Reload;
use crate::store::StateDir;
use crate::threads::spawn;
use crate::{sandbox, watchdog};
use anyhow::Context;
use console::events::Watcher;
use disk::DriveRoom;
use engine::{Paces, Spin, WorkerOptions, Workers};
use shelf::admin::Admin;
use shelf::manager::{Manager, Parts};
use shelf::patience::Limits;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// Commands that the worker holds at a time: 16 initiators with a full window each (conformance row 111), and
/// those that are kept for LUNs and stations with few.
const COMMANDS: u16 = 1280;

/// How often the administration is told the time: a spare takes the place of a failed member within it.
const TICK: Duration = Duration::from_secs(1);

/// How often it is looked for problems.
const ALERTS: Duration = Duration::from_secs(10);

/// A running shelf.
pub(crate) struct Daemon {
    administration: Administration,
    workers: Workers,
    socket: door::socket::Door,
    ending: watchdog::Ending,
}

impl Daemon {
    /// Starts everything. What stops the start is told; a drive that is missing does not.
    pub(crate) fn start(config: &Config, log: Log) -> anyhow::Result<(Self, Reload)> {
        let state = StateDir::open(&config.state_dir)?;
        let reception = Reception::open(config)?;
        let hardware = Hardware::default();
        let machinery = Machinery::new(
            state.clone(),
            log,
            config.text.clone(),
            reception.clone(),
            hardware.clone(),
        );
        let number = shelf_number(config, &state)?;
        // Before drives and ports are touched: another shelf may be running with them.
        let socket = door::socket::Door::bind(&config.control_socket)?;
        sandbox::lock_memory();
        sandbox::enter(config)?;
        machinery.log().send()?;
        let (slots, slot_changes, opened) = Slots::open(config, &state);
        let numbers = config.finds_disks.then(|| state.clone());
        let room = Slots::room(config);
        let memories = engine::worker_memories(COMMANDS, config.workers);
        let (shared, memories): (Vec<_>, Vec<_>) =
            memories.context("memory for buffers")?.into_iter().unzip();
        let opened_ports = ports::open_first(config, &shared)?;
        let (ports, statuses) = (opened_ports.queues, opened_ports.statuses);
        let spreaders = ports.iter().filter_map(|port| port.spreader()).collect();
        let paces = paces_of(config);
        tell_of_spin(config.spin);
        let seats =
            engine::seats(config.workers, ports, COMMANDS, room.slots).context("eventfd")?;
        let start = |(index, (seat, memory))| {
            let options = worker_options(config, index, &paces, room);
            engine::spawn(options, seat, memory, opened.drives.clone(), pin)
                .map_err(|reason| anyhow::anyhow!("worker {index} does not start: {reason}"))
        };
        let handles = seats.into_iter().zip(memories).enumerate().map(start);
        let workers = Workers::new(handles.collect::<anyhow::Result<_>>()?).spreading_by(spreaders);
        let manager = Manager::start(Parts {
            shelf: number,
            drives: opened.slots,
            ports: statuses,
            plane: Box::new(workers.clone()),
            store: Box::new(state),
            now_unix_seconds: Box::new(unix_seconds),
            new_uuid: Box::new(Uuid::new_v4),
        });
        let administration = Administration::new(manager);
        drop(administration.lock());
        let parts = ports::Parts {
            memories: shared,
            paces,
            workers: workers.clone(),
            administration: administration.clone(),
            cec: reception.cec.clone(),
        };
        let ports = Ports::of(config, opened_ports.failures, parts);
        hear_workers(&workers, &administration)?;
        let timed = (administration.clone(), reception.clone(), hardware.clone());
        spawn("timer", move || timer(&timed.0, &timed.1, &timed.2))?;
        follow(slots, ports.clone(), (&administration, &workers))?;
        hardware.serve(&administration, config.smart_interval, numbers)?;
        let premises = Premises::new(administration.clone(), machinery);
        socket.serve(&reception, &premises)?;
        door::ethernet::serve(&reception, &premises)?;
        let daemon = Self {
            administration,
            workers,
            socket,
            ending: watchdog::Ending::default(),
        };
        let reload = Reload::new(config.clone(), reception, ports, slot_changes);
        Ok((daemon, reload))
    }

    /// Tells whoever started us that the shelf serves.
    pub(crate) fn announce_ready(&self) -> anyhow::Result<()> {
        let manager = self.administration.lock();
        let shelf = manager
            .shelf()
            .map_or_else(|| "unset".to_owned(), |shelf| shelf.to_string());
        let (all, online) = (
            manager.luns().len(),
            manager.luns().iter().filter(|l| l.online).count(),
        );
        let text = format!(
            "ready: shelf {shelf}, {} drives, {all} LUNs, {online} online",
            manager.drives().len(),
        );
        tracing::info!("{text}");
        print_line(&format!("ledged {text}"));
        drop(manager);
        let status = format!("shelf {shelf}, {all} LUNs, {online} online");
        let states = [
            sd_notify::NotifyState::Ready,
            sd_notify::NotifyState::Status(&status),
        ];
        sd_notify::notify(&states).context("sd_notify")?;
        watchdog::start(self.workers.heartbeats(), self.ending.clone())?;
        Ok(())
    }

    /// Ends in good order: no new commands, what is in flight is answered, LUNs are marked clean.
    pub(crate) fn stop(self) {
        drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
        self.ending.begin();
        drop(self.socket);
        self.administration.lock().shutdown();
        self.workers.stop();
        tracing::info!("ended; everything acknowledged is durable");
    }
}

/// Has drives and interfaces followed that come and go.
fn follow(
    slots: Slots,
    ports: Ports,
    (administration, workers): (&Administration, &Workers),
) -> anyhow::Result<()> {
    let (administration, workers) = (administration.clone(), workers.clone());
    spawn("plug", move || slots.follow(&administration, &workers))?;
    spawn("ports", move || ports.follow())
}

/// Has what workers report carried to the administration.
fn hear_workers(workers: &Workers, administration: &Administration) -> anyhow::Result<()> {
    for (index, receiver) in workers.event_receivers().into_iter().enumerate() {
        let (workers, administration) = (workers.clone(), administration.clone());
        spawn("events", move || {
            events::run(&receiver, (&workers, index), &administration);
        })?;
    }
    Ok(())
}

/// How fast the stations of each port are sent to.
fn paces_of(config: &Config) -> Paces {
    let pace = |port: &PortConfig| (port.interface.clone(), port.pace_mbit_per_second);
    Paces::new(&config.ports.iter().map(pace).collect::<Vec<_>>())
}

/// Logs what a worker does that has nothing to do.
fn tell_of_spin(spin: Spin) {
    match spin {
        Spin::For(time) => tracing::info!("idle: polls for {time:?}, then sleeps"),
        Spin::Always => tracing::info!("idle: polls for ever"),
    }
}

/// How a worker is set up.
fn worker_options(config: &Config, index: usize, paces: &Paces, room: DriveRoom) -> WorkerOptions {
    WorkerOptions {
        index,
        paces: paces.clone(),
        core: config.cores.get(index).copied(),
        spin: config.spin,
        commands: COMMANDS,
        room,
        limits: Limits {
            give_up_ns: u64::try_from(config.disk_timeout.as_nanos()).unwrap_or(u64::MAX),
        },
        prepare: sandbox::of_worker(config.sandbox),
    }
}

/// Tells the administration the time, for what is due by it, and every console what has happened, until the
/// process ends.
fn timer(administration: &Administration, reception: &Reception, hardware: &Hardware) {
    let start = Instant::now();
    let mut watcher = Watcher::default();
    let mut looked = None;
    let mut announced = None;
    loop {
        let (happened, mut troubles, shelf) = {
            let mut manager = administration.lock();
            manager.tick(start.elapsed());
            let happened = watcher.look(&*manager, unix_seconds());
            let troubles = is_due(&mut looked).then(|| console::open_troubles(&*manager));
            (happened, troubles, manager.shelf())
        };
        // Whoever sets the number by another door.
        if announced != Some(shelf) {
            announced = Some(shelf);
            reception.cec.set_shelf(shelf);
        }
        for event in happened {
            reception.publish(event);
        }
        if let Some(troubles) = &mut troubles {
            troubles.extend(reception.troubles());
            troubles.extend(hardware.troubles());
            reception.alerts().update(troubles, unix_seconds());
        }
        std::thread::sleep(TICK);
    }
}

/// Whether it is time to look for problems, so that each has the number and the time of when it began.
fn is_due(looked: &mut Option<Instant>) -> bool {
    let is_due = looked.is_none_or(|at| at.elapsed() >= ALERTS);
    if is_due {
        *looked = Some(Instant::now());
    }
    is_due
}

/// The number that the command `shelf` set last; before it was ever used, that of the configuration.
fn shelf_number(config: &Config, state: &StateDir) -> anyhow::Result<Option<aoe::Shelf>> {
    let stored = state.shelf()?;
    if let (Some(stored), Some(configured)) = (stored, config.shelf)
        && stored != configured
    {
        tracing::warn!(
            "shelf is {stored}, set by the command `shelf`; the configuration says {configured}"
        );
    }
    Ok(stored.or(config.shelf))
}

fn pin(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The one line on standard output. Nobody may be listening there.
fn print_line(text: &str) {
    use std::io::Write;
    let mut stdout = std::io::stdout();
    drop(writeln!(stdout, "{text}").and_then(|()| stdout.flush()));
}
