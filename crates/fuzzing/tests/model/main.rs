//! Random commands on the console of a shelf, against a simple model of what they mean.
//!
//! After each line:
//! * a refused command has changed nothing, but for the operands before the one that was refused;
//! * an accepted one has changed what the model says, and nothing else;
//! * it can be undone by a command that the model knows, after which everything that can be seen is as
//!   before; or it was confirmed; or it is one of those few of which [`Undo::OneWay`] says why it is not;
//! * an answer other than the right one has changed nothing.
//!
//! Restarts, in good order or by a power cut, change nothing.

mod command;
mod model;
mod stories;
mod two_admins;

use aoe::MacAddress;
use command::{Command, command, wrong_line};
use console::{Next, Session};
use fuzzing::lines::house::{Disk, House, State};
use model::{Expect, Model, Undo};
use proptest::prelude::*;
use shelf::admin::{DriveRole, ElementState, LunNumber, LunStatus};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Sectors of a MiB.
const MIB: u64 = 2048;

/// The slots; the last two are of no use without force, and of no use at all.
const DRIVES: u16 = 9;

pub(crate) fn house() -> House {
    let mut disks: Vec<Disk> = (0..7)
        .map(|index| Disk {
            sectors: 2 * MIB + index * 128,
            foreign: None,
        })
        .collect();
    disks.push(Disk {
        sectors: 2 * MIB,
        foreign: Some("an ext4 file system"),
    });
    disks.push(Disk {
        sectors: 64,
        foreign: None,
    });
    House::new(&disks)
}

#[derive(Clone, Debug)]
enum Step {
    /// A command, and what its question is answered with first.
    Command(Command, &'static str),
    Wrong(String),
    /// A host reserves a LUN for itself.
    Reserve(u8),
    Passes,
    Restart {
        is_orderly: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let denials = vec!["n", "", "yes", "N", "Y Y", "0 0", "x", "remove", "-1"];
    prop_oneof![
        14 => (command(), prop::sample::select(denials)).prop_map(|(command, no)| Step::Command(command, no)),
        3 => wrong_line().prop_map(Step::Wrong),
        1 => (0_u8..4).prop_map(Step::Reserve),
        1 => Just(Step::Passes),
        1 => any::<bool>().prop_map(|is_orderly| Step::Restart { is_orderly }),
    ]
}

/// A shelf and its model.
struct Bench {
    house: House,
    session: Session,
    model: Model,
    log: Vec<String>,
}

/// The right answer to a question: what it asks to be typed, or yes.
pub(crate) fn consent(question: &str) -> String {
    let typed = question.split_once("type ").map(|(_, rest)| rest);
    let typed = typed.and_then(|rest| rest.split([' ', ',']).next());
    typed.unwrap_or("y").to_owned()
}

/// What differs after a start that followed a power cut is only that mirrors may have to be compared. The
/// order of a mask list means nothing.
fn comparable(mut state: State) -> State {
    for lun in &mut state.luns {
        lun.access.masks.sort_unstable();
    }
    for part in state.luns.iter_mut().flat_map(|lun| &mut lun.parts) {
        part.state.initing = false;
    }
    without_former(state)
}

/// Which of several drives that have been an element is called the failed one, and which a former one, may be
/// another after a start: none of them is in use.
fn without_former(mut state: State) -> State {
    let mut failed = BTreeSet::new();
    for part in state.luns.iter_mut().flat_map(|lun| &mut lun.parts) {
        for element in &mut part.elements {
            if element.state == ElementState::Failed {
                failed.extend(element.drive.take());
                element.size_bytes = 0;
            }
        }
    }
    for drive in &mut state.drives {
        let words = ["a former", "removed LUN"];
        let is_former = matches!(&drive.role, DriveRole::Foreign(what)
            if words.iter().any(|word| what.starts_with(word)));
        if is_former || failed.contains(&drive.slot) {
            drive.role = DriveRole::Foreign("a former element".to_owned());
        }
    }
    state
}

/// Types a line and consents to everything. Gives whether it was accepted, and whether it asked.
pub(crate) fn type_line(house: &mut House, line: &str) -> (bool, bool, String) {
    let mut session = Session::default();
    let mut reply = house.line(&mut session, line);
    let mut was_asked = false;
    let mut output = reply.output.clone();
    while let Next::Answer { prompt, .. } = &reply.next {
        was_asked = true;
        reply = house.line(&mut session, &consent(prompt));
        output.push_str(&reply.output);
    }
    (reply.ok, was_asked, output)
}

/// Whether every LUN is still there, with all that it had.
fn keeps_data(before: &State, after: &State) -> bool {
    before.luns.iter().all(|old| {
        let mut luns = after.luns.iter();
        let is_kept =
            |new: &LunStatus| new.serial == old.serial && new.size_bytes >= old.size_bytes;
        luns.any(is_kept)
    })
}

impl Bench {
    fn new() -> Self {
        Self {
            house: house(),
            session: Session::default(),
            model: Model::new(),
            log: Vec::new(),
        }
    }

    fn act(&mut self, step: &Step) {
        self.log.push(format!("{step:?}"));
        match step {
            Step::Command(command, denial) => self.command(command, denial),
            Step::Wrong(line) => self.wrong(line),
            Step::Reserve(lun) => {
                let lun = LunNumber::new(*lun).expect("a number of a LUN");
                self.house.reserve(lun, MacAddress([2, 0, 0, 0, 1, 1]));
            }
            Step::Passes => {
                let before = self.house.state();
                self.house.finish_passes();
                let after = self.house.state();
                assert_eq!(before.limit, after.limit);
                self.model.scrubs_end(&after);
                self.follow();
            }
            Step::Restart { is_orderly } => self.restart(*is_orderly),
        }
        self.check_model();
    }

    fn wrong(&mut self, line: &str) {
        let before = self.house.state();
        let reply = self.house.line(&mut self.session, line);
        assert!(!reply.ok, "{line} was accepted: {:#?}", self.log);
        assert_eq!(reply.next, Next::Command, "{line}");
        let told = ["error: ", "usage: "];
        assert!(
            told.iter().any(|told| reply.output.contains(told)),
            "{line}: {}",
            reply.output
        );
        assert_eq!(self.house.state(), before, "{line}: {:#?}", self.log);
    }

    fn command(&mut self, command: &Command, denial: &str) {
        if command.forgets_ejected(&self.model) {
            return;
        }
        let line = command.line(&self.model);
        let before = self.house.state();
        self.deny(&line, denial);
        let plan = self.plan(&line);
        let done = type_line(&mut self.house, &line);
        self.check_plan(&line, &plan, &before, &done);
        self.judge(command, &line, &before, done);
    }

    /// Types it on a copy of the shelf, and gives a wrong answer if it asks.
    fn deny(&self, line: &str, denial: &str) {
        let mut fork = self.house.fork();
        let state = fork.state();
        let mut session = Session::default();
        let reply = fork.line(&mut session, line);
        if !matches!(reply.next, Next::Answer { .. }) {
            return;
        }
        assert_eq!(
            fork.state(),
            state,
            "{line} did something before its question"
        );
        let reply = fork.line(&mut session, denial);
        assert!(!reply.ok && reply.next == Next::Command, "{line}: {denial}");
        assert_eq!(fork.state(), state, "{line}: {denial:?} changed something");
    }

    /// What the line with `-n` says. It changes nothing, neither on the drives nor for the hosts.
    fn plan(&mut self, line: &str) -> (bool, String) {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let before = self.house.state();
        let (durable, served) = (self.house.fingerprint(), self.house.served());
        let reply = self
            .house
            .line(&mut self.session, &format!("{name} -n {rest}"));
        assert_eq!(reply.next, Next::Command, "{line}");
        assert_eq!(self.house.state(), before, "{line}: {:#?}", self.log);
        assert_eq!(self.house.fingerprint(), durable, "{line}: {:#?}", self.log);
        let now = self.house.served();
        let is_same = now.len() == served.len()
            && now
                .iter()
                .zip(&served)
                .all(|(now, before)| Arc::ptr_eq(now, before));
        assert!(
            is_same,
            "{line}: the workers were told something: {:#?}",
            self.log
        );
        (reply.ok, reply.output)
    }

    /// A plan is refused exactly when the command is, in the same words, and says that nothing would change
    /// exactly when nothing does.
    fn check_plan(
        &self,
        line: &str,
        (plan_ok, plan): &(bool, String),
        before: &State,
        (ok, _, output): &(bool, bool, String),
    ) {
        let problems = |text: &str| -> Vec<String> {
            let words = ["error: ", "usage: ", "skipping: "];
            let is_one = |line: &&str| words.iter().any(|word| line.starts_with(word));
            text.lines().filter(is_one).map(str::to_owned).collect()
        };
        let told = format!("{line}: {plan}; done: {output} {:#?}", self.log);
        assert_eq!(plan_ok, ok, "{told}");
        assert_eq!(problems(plan), problems(output), "{told}");
        if plan == "would change nothing\n" {
            assert_eq!(self.house.state(), *before, "{told}");
        }
        if self.house.state() != *before {
            assert!(plan.contains("would "), "{told}");
        }
    }

    fn judge(
        &mut self,
        command: &Command,
        line: &str,
        before: &State,
        (ok, was_asked, output): (bool, bool, String),
    ) {
        let after = self.house.state();
        let told = format!("{line}\n{output}\n{:#?}\n{:#?}", self.log, self.model);
        match command.expect(&self.model) {
            Expect::Done(model) => {
                assert!(ok, "refused: {told}");
                self.check_undo(command, before, was_asked);
                self.model = model;
            }
            Expect::Refused => {
                assert!(!ok, "accepted: {told}");
                assert_eq!(after, *before, "refused: {told}");
            }
            Expect::Partly(model) => {
                assert!(!ok, "accepted: {told}");
                self.model = model;
            }
            Expect::May(model) if ok => {
                self.check_undo(command, before, was_asked);
                self.model = model;
                self.follow();
            }
            Expect::May(_) => assert_eq!(after, *before, "refused: {told}"),
        }
        assert!(
            ok || output.contains("error: ") || output.contains("usage: "),
            "{told}"
        );
    }

    /// What the drives say of elements is taken as it is: all else must be as the model has it.
    fn follow(&mut self) {
        self.model.follow(&self.house.state());
    }

    /// Undoes what was done in a copy of the shelf.
    fn check_undo(&self, command: &Command, before: &State, was_asked: bool) {
        if self.house.state() == *before {
            return;
        }
        let lines = match command.undo(&self.model) {
            Undo::Lines(lines) => lines,
            Undo::NotHere => return,
            Undo::OneWay(reason) => {
                let after = self.house.state();
                assert!(keeps_data(before, &after), "{command:?}: {reason}");
                return;
            }
            Undo::Confirmed => {
                assert!(was_asked || command.is_forced(), "{command:?} did not ask");
                return;
            }
        };
        let mut fork = self.house.fork();
        for line in &lines {
            let (ok, _, output) = type_line(&mut fork, line);
            assert!(
                ok,
                "{command:?} is undone by {line}: {output} {:#?}",
                self.log
            );
        }
        if command.needs_passes() {
            fork.finish_passes();
        }
        let now = comparable(fork.state());
        assert_eq!(
            now,
            comparable(before.clone()),
            "{command:?} undone by {lines:?}: {:#?}",
            self.log
        );
    }

    fn restart(&mut self, is_orderly: bool) {
        let before = self.house.state();
        self.house.restart(is_orderly);
        self.session = Session::default();
        let after = self.house.state();
        if self.model.ejected.is_empty() {
            let view = if is_orderly {
                without_former
            } else {
                comparable
            };
            assert_eq!(view(after), view(before), "{:#?}", self.log);
        }
        self.model.restore();
        self.follow();
    }

    fn check_model(&mut self) {
        let seen = Model::of(&self.house.state(), &self.model);
        self.model.used.clone_from(&seen.used);
        assert_eq!(seen, self.model, "{:#?}", self.log);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_is_reversible_or_confirmed(
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let mut bench = Bench::new();
        for step in &steps {
            bench.act(step);
        }
        bench.act(&Step::Restart { is_orderly: true });
        bench.act(&Step::Restart { is_orderly: false });
    }

    /// What the fuzzer does for as long as it is let, for a few seconds.
    #[test]
    fn lines_of_any_bytes_find_nothing(data in prop::collection::vec(any::<u8>(), 0..1024)) {
        fuzzing::lines::run(&data);
    }
}
