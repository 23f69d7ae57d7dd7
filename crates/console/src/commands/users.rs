//! `users` and `passwd`: who may log in to the Ethernet console.

use super::{Outcome, Pending, consent};
use crate::command::Options;
use crate::host::{DoorKind, HostError, Role, World};
use crate::problem::Problem;
use crate::record::Record;
use crate::record::consoles::UserRecord;
use crate::report::Report;
use std::fmt;

/// Whose password is set when somebody has no account of that name, as those who come by the control socket.
const ADMIN: &str = "admin";

/// A password that is being set. None of its text is ever told.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PasswordChange {
    user: String,
    stage: Stage,
}

#[derive(Clone, PartialEq, Eq)]
enum Stage {
    Old,
    New,
    Again(String),
}

impl fmt::Debug for PasswordChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordChange")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Lists users, or changes them. A password that is gone does not come back: removal asks.
pub(super) fn users(world: &mut World<'_>, options: &Options, operands: &[String]) -> Outcome {
    let words: Vec<&str> = operands.iter().map(String::as_str).collect();
    let mut report = Report::default();
    let is_removal = matches!(words[..], ["remove", _]);
    if options.force && !is_removal {
        return Report::from(Problem::Usage(USAGE)).into();
    }
    let host = &mut *world.host;
    let done = match words[..] {
        [] => {
            list(&mut report, world);
            return report.into();
        }
        ["add", name, role] => parse_role(role).and_then(|role| host.add_user(name, role)),
        ["remove", name] if options.force => host.remove_user(name),
        ["remove", name] => {
            let asked = consent::remove_user(world, name);
            return asked.unwrap_or_else(|error| Report::from(Problem::Host(error)).into());
        }
        ["role", name, role] => parse_role(role).and_then(|role| host.set_role(name, role)),
        _ => return Report::from(Problem::Usage(USAGE)).into(),
    };
    if let Err(error) = done {
        report.fail(Problem::Host(error), &[]);
    }
    report.into()
}

const USAGE: &str =
    "users [-f] [add user admin|read-only | remove user | role user admin|read-only]";

fn parse_role(word: &str) -> Result<Role, HostError> {
    let roles = [Role::Admin, Role::Reader];
    let role = roles.into_iter().find(|role| role.name() == word);
    role.ok_or_else(|| {
        HostError::Refused(format!("{word} is no role; there are admin and read-only"))
    })
}

fn list(report: &mut Report, world: &World<'_>) {
    let users = match world.host.users() {
        Ok(users) => users,
        Err(error) => return report.fail(Problem::Host(error), &[]),
    };
    if !users.is_empty() {
        report.line(format!("{:<16} {:<9} PASSWORD", "USER", "ROLE"));
    }
    for user in users {
        let password = if user.has_password { "set" } else { "none" };
        let line = format!("{:<16} {:<9} {password}", user.name, user.role);
        let record = UserRecord {
            user: user.name,
            role: user.role.name(),
            has_password: user.has_password,
        };
        report.row(line, Record::User(record));
    }
}

/// Begins to set a password: one's own, or as an administrator that of somebody else.
pub(super) fn passwd(world: &World<'_>, operands: &[String]) -> Outcome {
    let users = match world.host.users() {
        Ok(users) => users,
        Err(error) => return Report::from(Problem::Host(error)).into(),
    };
    let own = users.iter().find(|user| user.name == world.who.user);
    let named = operands.first().map(String::as_str);
    let name = named.unwrap_or_else(|| own.map_or(ADMIN, |own| own.name.as_str()));
    // Who came by the control socket is another kind of user, even with the same name.
    let is_own = world.who.door == DoorKind::Ethernet && name == world.who.user;
    if !is_own && world.who.role < Role::Admin {
        let problem = Problem::NotAllowed("passwd of another user", world.who.user.clone());
        return Report::from(problem).into();
    }
    let Some(user) = users.iter().find(|user| user.name == name) else {
        let text = format!("user {name} does not exist");
        return Report::from(Problem::Host(HostError::Refused(text))).into();
    };
    // The one who has forgotten it has the control socket.
    let stage = if is_own && user.has_password {
        Stage::Old
    } else {
        Stage::New
    };
    let user = name.to_owned();
    ask(PasswordChange { user, stage })
}

fn ask(change: PasswordChange) -> Outcome {
    Outcome {
        pending: Some(Pending::PasswordChange(change)),
        ..Outcome::default()
    }
}

impl PasswordChange {
    /// The question as it is put.
    pub(super) fn question(&self) -> String {
        let user = &self.user;
        match self.stage {
            Stage::Old => format!("Old Password of {user}: "),
            Stage::New => format!("New Password of {user}: "),
            Stage::Again(_) => format!("New Password of {user} again: "),
        }
    }

    /// What the command would do; nobody types a password for that.
    pub(super) fn rehearse(&self) -> Outcome {
        let mut report = Report::default();
        report.would(format!("ask for a new password of {}", self.user));
        report.into()
    }

    /// Goes on with what was typed; nothing changes the password.
    pub(super) fn answer(self, world: &mut World<'_>, answer: &str) -> Outcome {
        let refuse =
            |text: &str| Report::from(Problem::Host(HostError::Refused(text.to_owned()))).into();
        if answer.is_empty() {
            return Report::from(Problem::Canceled).into();
        }
        let stage = match self.stage {
            Stage::Old if !world.host.is_password(&self.user, answer) => {
                return refuse("that is not the old password");
            }
            Stage::Old => Stage::New,
            Stage::New => Stage::Again(answer.to_owned()),
            Stage::Again(first) if first != answer => return refuse("the two are not the same"),
            Stage::Again(first) => {
                return match world.host.set_password(&self.user, &first, world.who) {
                    Ok(()) => Outcome::default(),
                    Err(error) => Report::from(Problem::Host(error)).into(),
                };
            }
        };
        ask(Self { stage, ..self })
    }
}
