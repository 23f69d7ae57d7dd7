//! The live core, data path and administration together, over drives in memory: mostly valid frames of all
//! commands from several stations on several ports, while drives are done in any order and fail, ports are
//! full, time goes by and the administrator changes things.
//!
//! Checked: no I/O goes outside of the members of the LUN that was asked, and no two writes to a sector go to
//! a drive at a time; nothing reads beyond a frame; who must not be answered is not, and who must be at once
//! is; every frame that leaves is well formed, answers what was asked, once, and carries nothing but what
//! was written or zeros; what is read is what was written last; every command that was admitted comes to
//! its end; memory is bounded.

mod disk;
mod frame;
mod operator;
mod oracle;
mod plane;
mod reply;
mod request;
mod rules;
mod scene;
mod world;

use arbitrary::{Arbitrary, Unstructured};
use frame::{Again, FrameStep, Frames};
use operator::Order;
use plane::Shared;
use shelf::admin::{Admin, LunNumber};
use shelf::manager::Manager;
use std::time::Duration;

/// Steps of an input that are done.
const STEPS_MAX: usize = 400;

/// Messages to the administration after which it deals with them by itself.
const MESSAGES_MAX: usize = 12;

#[derive(Arbitrary, Debug)]
enum Step {
    /// A frame arrives.
    Frame(FrameStep),
    /// One that came before comes again, on some port.
    Again { back: u8, port: u8, how: Again },
    /// Any bytes at all.
    Bytes { port: u8, bytes: Vec<u8> },
    /// Drives are done with some I/Os; writes that fail leave so much.
    Complete { count: u8, pick: u8, left: u8 },
    /// Everything that is under way comes to its end.
    Settle,
    /// Reads, or writes, of a drive fail.
    Fail { drive: u8, reads: u8, writes: u8 },
    /// A drive fails altogether, or not any more.
    Break { drive: u8, is_broken: bool },
    /// A sector of a drive cannot be read any more.
    Spoil { drive: u8, sector: u16 },
    /// A drive is slow to answer, or well again.
    Suspect { drive: u8, is_suspect: bool },
    /// The administration deals with what it was told.
    Administrate,
    /// Time goes by.
    Wait { milliseconds: u8 },
    /// The administration looks at what is due.
    Tick { seconds: u8 },
    /// A port has no room, or has room again.
    Port { port: u8, is_full: bool },
    /// A port serves another MTU.
    Mtu { port: u8, mtu: u8 },
    /// Everything says where it is.
    Advertise,
    /// The administrator gives a command.
    Order(Order),
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut data = Unstructured::new(data);
    let mut shelf = Shelf::start();
    for _ in 0..STEPS_MAX {
        // One after the other to the end of the input: so changes of it stay local.
        match Step::arbitrary(&mut data) {
            Ok(step) if !data.is_empty() => shelf.step(&step),
            _ => break,
        }
    }
    shelf.end();
}

/// A shelf and who uses it.
struct Shelf {
    world: Shared,
    manager: Manager,
    frames: Frames,
    uptime: Duration,
}

impl Shelf {
    fn start() -> Self {
        let (world, manager) = scene::start();
        let mut shelf = Self {
            world,
            manager,
            frames: Frames::default(),
            uptime: Duration::ZERO,
        };
        shelf.learn_rules();
        shelf
    }

    fn step(&mut self, step: &Step) {
        let received = matches!(
            step,
            Step::Frame(_) | Step::Again { .. } | Step::Bytes { .. }
        );
        self.act(step);
        let messages = {
            let world = &mut *self.world.lock();
            world.carry_out();
            world.turn(received);
            world.reports.len() + world.changes.len()
        };
        if messages > MESSAGES_MAX {
            self.administrate();
        }
    }

    fn act(&mut self, step: &Step) {
        match step {
            Step::Frame(step) => {
                let frame = self.frames.make(step, &self.world.lock().views);
                self.deliver(step.port, &frame);
            }
            Step::Again { back, port, how } => {
                if let Some(frame) = self.frames.again(*back, *how) {
                    self.deliver(*port, &frame);
                }
            }
            Step::Bytes { port, bytes } => self.deliver(*port, bytes),
            Step::Settle => {
                self.world.lock().run_until(|world| !world.is_busy());
            }
            Step::Administrate => self.administrate(),
            Step::Tick { seconds } => {
                self.uptime += Duration::from_secs(u64::from(*seconds));
                self.administrate();
                self.manager.tick(self.uptime);
                self.learn_rules();
            }
            Step::Order(order) => {
                operator::prepare(order, &mut self.world.lock());
                operator::carry_out(order, &mut self.manager);
                self.learn_rules();
            }
            other => self.world.lock().act_on(other),
        }
    }

    fn deliver(&mut self, port: u8, frame: &[u8]) {
        let frame = &frame[..frame.len().min(frame::FRAME_BYTES_MAX)];
        let port = port % u8::try_from(world::PORTS.len()).unwrap_or(1);
        self.world.lock().deliver(port, frame);
    }

    /// The administration deals with everything that it was told.
    fn administrate(&mut self) {
        loop {
            let report = self.world.lock().reports.pop_front();
            let Some(report) = report else { break };
            // What it could not do it says again in its answers to the data path.
            let _ = self.manager.hear(&report);
        }
        self.learn_rules();
        let change = self.world.lock().changes.pop_front();
        if let Some(change) = change {
            let decision = self.manager.change(&change);
            self.learn_rules();
            {
                let world = &mut *self.world.lock();
                let actions = &mut world.actions;
                world.target.change_done(&change, decision, actions);
                world.carry_out();
            }
            self.administrate();
        }
    }

    /// What the administration says of its LUNs is what frames have to meet from now on.
    fn learn_rules(&mut self) {
        self.manager.take_notices();
        let luns = self.manager.luns();
        let world = &mut *self.world.lock();
        let rules = |status| {
            let view = world.views.get(&status_number(status))?;
            Some(rules::Rules::of(status, view))
        };
        world.rules = luns.iter().filter_map(rules).collect();
        for lun in std::mem::take(&mut world.advertise) {
            world.target.advertise(lun, &mut world.actions);
        }
        world.carry_out();
    }

    /// Everything comes to its end; what was written is read once more.
    fn end(&mut self) {
        self.settle();
        let opening = operator::opening(&self.world.lock().rules);
        for order in opening {
            operator::prepare(&order, &mut self.world.lock());
            operator::carry_out(&order, &mut self.manager);
            self.learn_rules();
        }
        let written = self.world.lock().oracle.written();
        for (lun, lba) in written {
            let frame = self.frames.read_back(lun, lba);
            self.deliver(0, &frame);
            self.settle();
        }
        self.manager.shutdown();
        let world = &mut *self.world.lock();
        world.send_kept();
        world.check_end();
    }

    /// Until nobody has anything to do; a failure may lead to another one, but not for ever.
    fn settle(&mut self) {
        for _ in 0..64 {
            self.world.lock().run_until(|world| !world.is_busy());
            self.administrate();
            let world = &mut *self.world.lock();
            let is_done = world.reports.is_empty() && world.changes.is_empty() && !world.is_busy();
            if is_done && !world.turn(false) {
                return;
            }
        }
    }
}

const fn status_number(status: &shelf::admin::LunStatus) -> LunNumber {
    status.lun
}
