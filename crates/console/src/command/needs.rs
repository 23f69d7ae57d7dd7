//! Who may use a command: asked in one place, before anything is done.

use super::Invocation;
use crate::host::Role;

/// Who may use a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Everybody: it changes nothing.
    Reader,
    /// Administrators only.
    Admin,
    /// Administrators, and everybody in a form that only lists.
    AdminUnless(Lists),
}

/// The form in which a command only lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lists {
    /// Without operands and `-c`.
    WithoutOperands,
    /// `set` of what concerns nobody but the session.
    OwnSession,
    /// All operands are numbers, and there is no `-c`.
    NumbersOnly,
    /// There is one operand at most, and no `-c`.
    OneNumber,
    /// Nothing but perhaps the word `status`, and numbers.
    StatusOrNumbers,
    /// With `-l`.
    Long,
    /// No option has a value.
    WithoutValues,
    /// All operands are names of drives.
    NamesOnly,
}

impl Invocation {
    /// What its caller must be.
    #[must_use]
    pub fn needs(&self) -> Role {
        match self.command.needs {
            Needs::Reader => Role::Reader,
            Needs::AdminUnless(form) if form.is_of(self) => Role::Reader,
            Needs::Admin | Needs::AdminUnless(_) => Role::Admin,
        }
    }
}

impl Lists {
    fn is_of(self, invocation: &Invocation) -> bool {
        let Invocation {
            options, operands, ..
        } = invocation;
        let numbers = |words: &[String]| {
            words
                .iter()
                .all(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
        };
        match self {
            Self::WithoutOperands => operands.is_empty() && !options.clean && !options.back,
            Self::OwnSession => operands.len() <= 1 || operands[0] == "batch",
            Self::NumbersOnly => numbers(operands) && !options.clean,
            Self::OneNumber => operands.len() <= 1 && !options.clean,
            Self::StatusOrNumbers => match operands.as_slice() {
                [word, rest @ ..] if word == "status" => numbers(rest),
                all => numbers(all),
            },
            Self::Long => options.long,
            Self::WithoutValues => options.values.is_empty(),
            Self::NamesOnly => operands.iter().all(|word| word.contains('.')),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::parse;
    use crate::host::Role;
    use crate::lexer;

    #[test]
    fn listing_is_for_everybody_and_changing_for_administrators() {
        let needs = |line: &str| {
            parse(&lexer::split(line).unwrap())
                .unwrap()
                .unwrap()
                .needs()
        };
        for line in [
            "show -l",
            "shelf",
            "ratelimit",
            "spare",
            "mask",
            "mask 0-3",
            "reservations 0",
            "readonly",
            "readonly 0",
            "confstr 0",
            "scrub",
            "scrub 0 1",
            "scrub status",
            "scrub status 0",
            "restore -l",
            "restore -l 2",
            "when",
            "motd",
            "set",
            "set product",
            "set batch on",
            "syslog",
            "date",
            "ntp",
            "restoreconfig",
            "exit",
        ] {
            assert_eq!(needs(line), Role::Reader, "{line}");
        }
        for line in [
            "make 0 jbod 1.0",
            "shelf 2",
            "ratelimit 0",
            "spare 1.0",
            "spare -l 0 1.0",
            "mask 0 +001004012e81",
            "mask clear 0",
            "mask 0 -001004012e81",
            "reservations -c 0",
            "readonly on 0",
            "readonly 0 off",
            "confstr 0 ''",
            "confstr -c 0",
            "scrub start",
            "scrub stop 0",
            "scrub status start",
            "scrub every 7 0",
            "restore",
            "restore 2",
            "motd hello",
            "motd -c",
            "set product SRX",
            "syslog off",
            "restoreconfig -n saved",
            "date 2026-11-27 01:10:03",
            "ntp off",
            "reboot",
            "online 0",
        ] {
            assert_eq!(needs(line), Role::Admin, "{line}");
        }
    }
}
