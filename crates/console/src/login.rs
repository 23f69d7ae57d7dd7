//! Log-in of those who come in over the Ethernet, as a machine without I/O: lines in, questions out.
//!
//! ```text
//!            several users      name            password right
//! (begun) ----------------> USER ----> PASSWORD --------------> in
//!     |                                 ^  | wrong: again, three times
//!     |  one user                       |  v then over
//!     +---------------------------------+--+
//!     |  nobody has a password: everybody is the administrator, and is told so
//!     +-----------------------------------------------------------> in
//! ```
//!
//! Invariants:
//! * Nobody is in without a password that somebody else has found right ([`Step::Check`]), unless nobody has
//!   one at all. Passwords are neither compared here, nor kept, nor part of anything that is said.
//! * Whoever has failed waits, by station ([`Lockout`]), however many sessions are opened meanwhile: what is
//!   typed until then is not even checked.
//! * What is said to a wrong name is what is said to a wrong password.

mod lockout;

pub use lockout::Lockout;

use crate::editor::Mode;
use crate::host::Role;
use aoe::MacAddress;
use core::time::Duration;

/// The user that there always is.
pub const ADMIN: &str = "admin";

/// Wrong passwords after which a session is ended.
pub const ATTEMPTS_MAX: u32 = 3;

/// What is asked for. Tools for Coraid's shelves look for the word.
const PASSWORD: &str = "Password: ";

/// What is said at each log-in as long as it is true.
const OPEN: &str =
    "no password is set: whoever reaches this port is an administrator; set one with: passwd\n";

/// What there is to know of those who may log in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Nobody has a password.
    pub is_open: bool,
    /// There are others beside [`ADMIN`], so that a name is asked for.
    pub has_several: bool,
}

/// What comes next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Something is asked, after `output` has been said.
    Ask {
        /// Lines end in `\n`.
        output: String,
        /// The question.
        prompt: String,
        /// How the answer is to be typed.
        mode: Mode,
    },
    /// Whether the line that was typed is the password of this user: the answer goes to [`Login::checked`].
    Check {
        /// The name, as it was typed.
        user: String,
    },
    /// Somebody is in.
    In {
        /// What is to be said first.
        output: String,
        /// Who.
        user: String,
        /// With which rights.
        role: Role,
        /// With a password, if there are any.
        by_password: bool,
    },
    /// It is over.
    End {
        /// The last words.
        output: String,
    },
}

/// Somebody who has not come in.
#[derive(Debug)]
pub struct Login {
    station: MacAddress,
    attempts: u32,
    asked: Asked,
}

/// What was asked for last.
#[derive(Debug)]
enum Asked {
    Name,
    /// The password of this user.
    Password(String),
}

impl Login {
    /// Somebody has come to the door, or is back at it.
    #[must_use]
    pub fn new(station: MacAddress) -> Self {
        Self {
            station,
            attempts: 0,
            asked: Asked::Password(ADMIN.to_owned()),
        }
    }

    /// The first step: in at once while nobody has a password, else the first question.
    pub fn begin(&mut self, output: String, standing: Standing) -> Step {
        if standing.is_open {
            return Step::In {
                output: format!("{output}{OPEN}"),
                user: ADMIN.to_owned(),
                role: Role::Admin,
                by_password: false,
            };
        }
        self.ask_anew(output, standing)
    }

    /// The question that is open.
    #[must_use]
    pub fn ask(&self, output: String) -> Step {
        let (prompt, mode) = match &self.asked {
            Asked::Name => (format!("User [{ADMIN}]: "), Mode::Answer),
            Asked::Password(_) => (PASSWORD.to_owned(), Mode::Secret),
        };
        Step::Ask {
            output,
            prompt,
            mode,
        }
    }

    /// Takes a line.
    pub fn line(
        &mut self,
        now: Duration,
        lockout: &Lockout,
        line: &str,
        standing: Standing,
    ) -> Step {
        match &self.asked {
            Asked::Name => {
                let name = line.trim();
                let name = if name.is_empty() { ADMIN } else { name };
                self.asked = Asked::Password(name.to_owned());
                self.ask(String::new())
            }
            Asked::Password(_) if line.is_empty() => self.ask_anew(String::new(), standing),
            Asked::Password(user) => {
                let wait = lockout.wait(now, self.station);
                if !wait.is_zero() {
                    return self.ask_anew(format!("wait {} s\n", seconds(wait)), standing);
                }
                Step::Check { user: user.clone() }
            }
        }
    }

    /// Takes the answer to [`Step::Check`]: the role of the user, if the password was right.
    pub fn checked(
        &mut self,
        now: Duration,
        lockout: &mut Lockout,
        role: Option<Role>,
        standing: Standing,
    ) -> Step {
        if let (Some(role), Asked::Password(user)) = (role, &self.asked) {
            lockout.succeeded(self.station);
            return Step::In {
                output: String::new(),
                user: user.clone(),
                role,
                by_password: true,
            };
        }
        let wait = lockout.failed(now, self.station);
        self.attempts += 1;
        let mut output = "wrong name or password\n".to_owned();
        if wait > Duration::from_secs(1) {
            output.push_str(&format!("wait {} s\n", seconds(wait)));
        }
        if self.attempts >= ATTEMPTS_MAX {
            return Step::End { output };
        }
        self.ask_anew(output, standing)
    }

    /// Begins again with the first question.
    fn ask_anew(&mut self, output: String, standing: Standing) -> Step {
        self.asked = if standing.has_several {
            Asked::Name
        } else {
            Asked::Password(ADMIN.to_owned())
        };
        self.ask(output)
    }
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_millis()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATION: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const LOCKED: Standing = Standing {
        is_open: false,
        has_several: false,
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn asks(step: &Step, question: &str) -> bool {
        matches!(step, Step::Ask { prompt, .. } if prompt == question)
    }

    #[test]
    fn as_long_as_nobody_has_a_password_everybody_is_in_and_told_so() {
        let open = Standing {
            is_open: true,
            has_several: false,
        };
        let step = Login::new(STATION).begin(String::new(), open);
        let Step::In {
            output,
            user,
            by_password,
            ..
        } = step
        else {
            panic!("{step:?}");
        };
        assert!(output.contains("no password is set"));
        assert_eq!((user.as_str(), by_password), (ADMIN, false));
    }

    #[test]
    fn a_name_is_asked_for_when_there_are_several() {
        let several = Standing {
            has_several: true,
            ..LOCKED
        };
        let (mut login, lockout) = (Login::new(STATION), Lockout::default());
        assert!(asks(&login.begin(String::new(), several), "User [admin]: "));
        for (name, user) in [(" ann ", "ann"), ("", ADMIN)] {
            let step = login.line(at(0), &lockout, name, several);
            assert!(asks(&step, "Password: "), "{step:?}");
            let step = login.line(at(0), &lockout, "secret", several);
            assert_eq!(step, Step::Check { user: user.into() });
            let step = login.line(at(0), &lockout, "", several);
            assert!(asks(&step, "User [admin]: "), "{step:?}");
        }
    }

    #[test]
    fn three_wrong_passwords_end_it_and_each_has_to_be_waited_for() {
        let (mut login, mut lockout) = (Login::new(STATION), Lockout::default());
        login.begin(String::new(), LOCKED);
        let check = Step::Check {
            user: ADMIN.to_owned(),
        };
        let mut now = at(0);
        for wait in [1, 2] {
            assert_eq!(login.line(now, &lockout, "guess", LOCKED), check);
            let step = login.checked(now, &mut lockout, None, LOCKED);
            assert!(asks(&step, "Password: "), "{step:?}");
            let early = now + at(wait) - Duration::from_millis(1);
            let step = login.line(early, &lockout, "right", LOCKED);
            assert!(
                matches!(&step, Step::Ask { output, .. } if output == "wait 1 s\n"),
                "{step:?}"
            );
            now += at(wait);
        }
        assert_eq!(login.line(now, &lockout, "guess", LOCKED), check);
        let step = login.checked(now, &mut lockout, None, LOCKED);
        assert!(
            matches!(&step, Step::End { output } if output == "wrong name or password\nwait 4 s\n")
        );
        // Another session of the station has to wait, too; who is right then has nothing to wait for.
        let mut again = Login::new(STATION);
        let step = again.line(now, &lockout, "right", LOCKED);
        assert!(matches!(&step, Step::Ask { output, .. } if output == "wait 4 s\n"));
        now += at(4);
        assert_eq!(again.line(now, &lockout, "right", LOCKED), check);
        let step = again.checked(now, &mut lockout, Some(Role::Admin), LOCKED);
        assert!(matches!(
            step,
            Step::In {
                by_password: true,
                ..
            }
        ));
        assert_eq!(lockout.wait(now, STATION), Duration::ZERO);
    }
}
