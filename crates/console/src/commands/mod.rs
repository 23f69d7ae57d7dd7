//! The commands: each plans and acts on the [`World`] and reports.

mod access;
mod alerts;
mod cec;
mod clock;
mod configuration;
mod consent;
mod consoles;
mod drives;
mod fixed;
mod hardware;
mod health;
mod help;
mod jobs;
mod labels;
mod log;
mod luns;
mod machine;
mod meanwhile;
mod members;
mod modes;
mod ratelimit;
mod remove;
mod restore;
mod scrub;
mod setsize;
mod shelf_number;
mod spares;
mod statistics;
mod syslog;
mod system;
mod tables;
mod terminal;
mod top;
mod update;
mod users;
mod wait;
mod when;

pub(crate) use access::is_mask;
pub use clock::clock_trouble;
pub(crate) use consent::Consent;
pub(crate) use hardware::Tasks;
pub use health::open_troubles;
pub use help::SERIES;
pub(crate) use jobs::{Destruction, state_of as job_state};
pub(crate) use log::Following;
pub(crate) use luns::MISSING;
pub(crate) use machine::{REBOOT_STEP, Stop};
pub(crate) use remove::Removal;
pub(crate) use shelf_number::ShelfChange;
pub(crate) use terminal::terminal;
pub(crate) use top::{Top, top};
pub(crate) use update::{GoingBack, Updating};
pub(crate) use users::PasswordChange;
pub(crate) use wait::Waiting;
pub(crate) use when::{job_seconds_left, percent, rate_of};

use crate::command::{BoxVerb, Invocation, Verb};
use crate::host::Power;
use crate::host::World;
use crate::options::{Modes, SessionOptions};
use crate::rehearsal::{Rehearsal, RehearsalHost, Steps};
use crate::report::Report;
use crate::terminal::Terminal;
use std::time::Duration;

/// A plan that waits for the answer to a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Pending {
    Removal(Removal),
    Destruction(Destruction),
    ShelfChange(ShelfChange),
    PasswordChange(PasswordChange),
    Stop(Stop),
    Consent(Consent),
}

/// A command that is not over and looks again after some time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Watch {
    Wait(Waiting),
    /// A listing that is shown anew.
    View(Box<Invocation>),
    Log(Following),
    Hardware(Tasks),
    Update(Updating),
    Top(Box<Top>),
}

/// How often a listing is shown anew.
const VIEW_PERIOD: Duration = Duration::from_secs(1);

impl Watch {
    /// Looks again.
    pub(crate) fn go_on(
        self,
        world: &mut World<'_>,
        session: &SessionOptions,
        terminal: &Terminal,
    ) -> Outcome {
        match self {
            Self::Wait(waiting) => waiting.go_on(world),
            Self::View(invocation) => view(*invocation, world, session),
            Self::Log(following) => following.go_on(world),
            Self::Hardware(tasks) => tasks.go_on(world, Report::default()),
            Self::Update(updating) => updating.go_on(world),
            Self::Top(top) => top.go_on(world, terminal),
        }
    }

    /// Whether it has the screen for itself, and takes keys.
    pub(crate) fn is_screen(&self) -> bool {
        matches!(self, Self::Top(top) if top.is_screen())
    }
}

/// Where a command stands after a line.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Outcome {
    /// What is to be said now.
    pub(crate) report: Report,
    /// The question that is open, if the command is not done.
    pub(crate) pending: Option<Pending>,
    /// When to look again, if the command is not over.
    pub(crate) watch: Option<(Duration, Watch)>,
}

impl Outcome {
    /// Goes on where it would only be asked because something cannot be undone ([`Consent`]): scripts were
    /// written by somebody who knew.
    pub(crate) fn without_consent(self, world: &mut World<'_>) -> Self {
        match self.pending {
            Some(Pending::Consent(consent)) => consent.go(world),
            _ => self,
        }
    }
}

impl From<Report> for Outcome {
    fn from(report: Report) -> Self {
        Self {
            report,
            ..Self::default()
        }
    }
}

impl Pending {
    /// The question as it is put. Scripts know it by the default in brackets at its end.
    pub(crate) fn question(&self) -> String {
        match self {
            Self::Removal(removal) => removal.question(),
            Self::Destruction(destruction) => destruction.question(),
            Self::ShelfChange(change) => change.question(),
            Self::PasswordChange(change) => change.question(),
            Self::Stop(stop) => stop.question(),
            Self::Consent(consent) => consent.question(),
        }
    }

    /// Whether the answer must not be seen while it is typed, nor be kept anywhere.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self, Self::PasswordChange(_))
    }

    /// Goes on as after an answer that consents to all of it, in a rehearsal.
    fn consent(self, world: &mut World<'_>) -> Outcome {
        match self {
            Self::Removal(removal) => removal.consent(world.admin),
            Self::Destruction(destruction) => destruction.consent(world.admin),
            Self::ShelfChange(change) => change.apply(world.admin),
            Self::Stop(stop) => stop.go(world),
            Self::PasswordChange(change) => change.rehearse(),
            Self::Consent(consent) => consent.go(world),
        }
    }

    /// Goes on with an answer, if the plan still fits the shelf.
    pub(crate) fn answer(self, world: &mut World<'_>, answer: &str) -> Outcome {
        match self {
            Self::Removal(removal) => removal.answer(world.admin, answer),
            Self::Destruction(destruction) => destruction.answer(world.admin, answer),
            Self::ShelfChange(change) => change.answer(world.admin, answer),
            Self::PasswordChange(change) => change.answer(world, answer),
            Self::Stop(stop) => stop.answer(world, answer),
            Self::Consent(consent) => consent.answer(world, answer),
        }
    }
}

/// Shows a listing now and again later, until it fails or nobody wants it any more.
fn view(invocation: Invocation, world: &mut World<'_>, session: &SessionOptions) -> Outcome {
    let mut once = invocation.clone();
    once.options.watch = false;
    let mut outcome = run_once(&once, world, session, &mut Modes::default());
    if outcome.report.is_ok() {
        if outcome.report.is_empty() {
            outcome.report.line("nothing is going on");
        }
        outcome.report.line("any key ends this");
        outcome.watch = Some((VIEW_PERIOD, Watch::View(Box::new(invocation))));
    }
    outcome
}

/// Runs a command until it is done or asks.
pub(crate) fn run(
    invocation: &Invocation,
    world: &mut World<'_>,
    session: &SessionOptions,
    modes: &mut Modes,
) -> Outcome {
    if invocation.options.plan && invocation.command.is_planned() {
        return rehearse(invocation, world, session, modes);
    }
    if invocation.options.watch {
        return view(invocation.clone(), world, session);
    }
    run_once(invocation, world, session, modes)
}

/// Runs a command once, in earnest.
fn run_once(
    invocation: &Invocation,
    world: &mut World<'_>,
    session: &SessionOptions,
    modes: &mut Modes,
) -> Outcome {
    match invocation.command.verb {
        Verb::Hardware(verb) => hardware::run(verb, invocation, world),
        _ => run_of_shelf(invocation, world, session, modes),
    }
}

/// Runs one that is not about drives themselves.
fn run_of_shelf(
    invocation: &Invocation,
    world: &mut World<'_>,
    session: &SessionOptions,
    modes: &mut Modes,
) -> Outcome {
    let Invocation {
        command,
        name,
        options,
        operands,
    } = invocation;
    let mut report = Report::default();
    let admin = &mut *world.admin;
    match command.verb {
        Verb::Show => drives::show(&mut report, world, invocation),
        Verb::Make => luns::make(&mut report, admin, options, operands),
        Verb::Grow => return luns::grow(admin, options, operands),
        Verb::Jbod => luns::jbod(&mut report, admin, options.force, operands),
        Verb::List if *name == "luns" => tables::luns(&mut report, admin, options.long, operands),
        Verb::List => luns::list(&mut report, admin, options.long, operands),
        Verb::Online if operands.is_empty() => luns::list_served(&mut report, admin, true),
        Verb::Online => luns::each(&mut report, operands, |lun| admin.online(lun)),
        Verb::Offline => return luns::offline(admin, command.usage, options, operands),
        Verb::Remove | Verb::Eject => {
            return remove::remove(command.verb, name, admin, options.force, operands);
        }
        Verb::Shelf => return shelf_number::shelf(admin, options.force, operands),
        Verb::Ifstat => statistics::ifstat(&mut report, admin, options.long),
        Verb::When => when::when(&mut report, admin),
        Verb::Wait => return wait::wait(world, options, operands),
        Verb::Cecenable => cec::switch(&mut report, world, true, operands),
        Verb::Cecdisable => cec::switch(&mut report, world, false, operands),
        Verb::Cecstat => cec::stat(&mut report, world, options.long, operands),
        Verb::Sessions => consoles::sessions(&mut report, world),
        Verb::Kick => consoles::kick(&mut report, world, operands),
        Verb::Passwd => return users::passwd(world, operands),
        Verb::Users => return users::users(world, options, operands),
        Verb::Log => return log::log(world, options),
        Verb::History => log::history(&mut report, world, options),
        Verb::Alerts => alerts::alerts(&mut report, world, operands),
        Verb::Scrub => scrub::scrub(&mut report, admin, operands),
        Verb::Restore => restore::restore(&mut report, admin, options.long, operands),
        Verb::Health => health::health(&mut report, world),
        Verb::Fail if options.replacement => {
            members::each(&mut report, operands, |id| admin.fail_replacement(id));
        }
        Verb::Fail => members::each(&mut report, operands, |id| admin.fail(id)),
        Verb::Unfail => members::each(&mut report, operands, |id| admin.unfail(id)),
        Verb::Replace => members::replace(&mut report, admin, options.force, operands),
        Verb::Spare => spares::spare(&mut report, admin, options, operands),
        Verb::Spares => tables::spares(&mut report, admin),
        Verb::Rmspare => spares::rmspare(&mut report, admin, options.force, operands),
        Verb::Mask => access::mask(&mut report, admin, operands),
        Verb::Rmmask => access::clear_masks(&mut report, admin, operands),
        Verb::Reservations => return access::reservations(admin, options, operands),
        Verb::Setvlan => access::set_vlan(&mut report, admin, operands),
        Verb::Clrvlan => access::change_vlan(&mut report, admin, None, operands),
        Verb::Vlans => access::vlans(&mut report, admin, operands),
        Verb::Readonly => access::readonly(&mut report, admin, operands),
        Verb::Confstr => access::confstr(&mut report, admin, options, operands),
        Verb::Ratelimit => ratelimit::ratelimit(&mut report, admin, options.long, operands),
        Verb::Aoestats => statistics::aoestats(&mut report, admin, options.long),
        Verb::Iostats => statistics::iostats(&mut report, admin, options, operands),
        Verb::Initiators => statistics::initiators(&mut report, admin, options.long, operands),
        Verb::Label => labels::label(&mut report, admin, operands),
        Verb::Unlabel => labels::unlabel(&mut report, admin, operands),
        Verb::Scan => drives::scan(&mut report, admin),
        Verb::OfDrive(verb) => return jobs::of_drives(verb, admin, options, operands),
        Verb::Box(verb) => return run_of_box(verb, invocation, world, session, modes),
        Verb::Release => system::release(&mut report, world, session),
        Verb::Help => help::help(&mut report, operands),
        // These are of the session, which does them, or above.
        Verb::Terminal | Verb::Events | Verb::Top | Verb::Exit | Verb::Hardware(_) => {}
    }
    report.into()
}

/// Tells what a command would do, by running it on a shelf and a box that only take notes. Questions are
/// answered with yes.
fn rehearse(
    invocation: &Invocation,
    world: &mut World<'_>,
    session: &SessionOptions,
    modes: &Modes,
) -> Outcome {
    // The plan of a script is its lines: it tells them itself.
    let is_script = invocation.command.verb == Verb::Box(BoxVerb::Restoreconfig);
    let mut invocation = invocation.clone();
    invocation.options.plan = is_script;
    invocation.options.letters.retain(|letter| *letter != 'n');
    let steps = Steps::default();
    let mut report = Report::default();
    let (host, who) = (&mut *world.host, world.who);
    let mut new_modes = *modes;
    world.admin.rehearse(&mut |copy| {
        let mut stage = World {
            admin: &mut Rehearsal::new(copy, &steps),
            host: &mut RehearsalHost::new(&mut *host, &steps),
            who,
        };
        let outcome = run_once(&invocation, &mut stage, session, &mut new_modes);
        report = match outcome.pending {
            Some(pending) => pending.consent(&mut stage).report,
            None => outcome.report,
        };
    });
    for step in steps.take().into_iter().filter(|_| !is_script) {
        report.would(step);
    }
    if new_modes.batch != modes.batch {
        report.would("change how commands of this session end");
    }
    if report.is_empty() {
        report.would("change nothing");
    }
    report.into()
}

/// Runs a command about the box.
fn run_of_box(
    verb: BoxVerb,
    invocation: &Invocation,
    world: &mut World<'_>,
    session: &SessionOptions,
    modes: &mut Modes,
) -> Outcome {
    let Invocation {
        options, operands, ..
    } = invocation;
    let mut report = Report::default();
    let admin = &mut *world.admin;
    match verb {
        BoxVerb::IoMode | BoxVerb::FlushCacheStat | BoxVerb::LunFailGuard => {
            fixed::list(&mut report, verb, admin, operands);
        }
        BoxVerb::FlushCacheEnable | BoxVerb::LunFailGuardEnable => {
            fixed::affirm(&mut report, admin, operands);
        }
        BoxVerb::FlushCacheDisable | BoxVerb::LunFailGuardDisable => {
            fixed::refuse(&mut report, verb, operands);
        }
        BoxVerb::SetIoMode => fixed::set_io_mode(&mut report, admin, operands),
        // Everything that was acknowledged is durable, and what was configured, too.
        BoxVerb::Sync => {}
        BoxVerb::LunSerial => machine::lun_serial(&mut report, admin, operands),
        BoxVerb::Mtu => machine::mtu(&mut report, admin, operands),
        BoxVerb::Date => clock::date(&mut report, world, operands),
        BoxVerb::Ntp => clock::ntp(&mut report, world, operands),
        BoxVerb::Timezone => machine::timezone(&mut report, world, options.long, operands),
        BoxVerb::Uptime => machine::uptime(&mut report, world),
        BoxVerb::Model => machine::model(&mut report, world),
        BoxVerb::Serial => machine::serial(&mut report, world),
        BoxVerb::Sysstat => machine::sysstat(&mut report, world),
        BoxVerb::Debug => machine::debug(&mut report, world, operands),
        BoxVerb::Motd => machine::motd(&mut report, world, options, operands),
        BoxVerb::Update => return update::update(world, options, operands),
        BoxVerb::Reboot => return machine::stop(world, Power::Reboot, options.force),
        BoxVerb::Halt => return machine::stop(world, Power::Halt, options.force),
        BoxVerb::Syslog => syslog::syslog(&mut report, world, operands),
        BoxVerb::Syslogtest => syslog::test(&mut report, world, operands),
        BoxVerb::Saveconfig => return configuration::save(world, options, operands),
        BoxVerb::Restoreconfig => {
            let is_plan = options.plan;
            configuration::restore(&mut report, world, session, is_plan, operands);
        }
        BoxVerb::Sos => {
            if let Err(error) = configuration::bundle(&mut report, world, session) {
                report.fail(error, &[]);
            }
        }
        BoxVerb::Set => modes::set(&mut report, world, modes, operands),
        BoxVerb::Expertmode => modes::expert(&mut report, modes),
    }
    report.into()
}

/// A size as the console shows it: decimal gigabytes, cut to megabytes.
pub(crate) fn gigabytes(size_bytes: u64) -> String {
    let megabytes = size_bytes / 1_000_000;
    format!("{}.{:03}", megabytes / 1000, megabytes % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_and_cut_to_megabytes() {
        assert_eq!(gigabytes(0), "0.000");
        assert_eq!(gigabytes(999_999), "0.000");
        assert_eq!(gigabytes(4_000_787_030_016), "4000.787");
        assert_eq!(gigabytes(u64::MAX), "18446744073.709");
    }
}
