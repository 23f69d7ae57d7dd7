//! The command line. `crates/manual` makes the manual page from it.

use clap::Parser;
use std::ffi::OsString;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
What a command lists goes to the standard output, lines that begin with error:, usage: or skipping: to the
standard error. With a command the exit status is 0 if it was done, else 1; so it is for commands that are
piped in.

LOGIN SHELL
  With ledge as the shell of a user (in /etc/passwd) that user is at the console of the shelf after logging in
  by ssh, on a serial line or on the screen, and nowhere else: there is no way to other programs or files from
  there. ssh user@box 'list -l' runs one command. Who may do what is a matter of groups: ledged(8).

SEE ALSO
  ledge-console(7), cec(8), ledged(8)";

/// Runs console commands of a Ledge storage shelf. `ledge help` lists them; without a command it is
/// an interactive console.
#[derive(Debug, Parser)]
#[command(name = "ledge", version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Control socket of the daemon
    #[arg(long, value_name = "PATH", default_value = "/run/ledge/control.sock")]
    pub(crate) socket: PathBuf,

    /// Answer in JSON
    #[arg(short = 'j', long)]
    pub(crate) json: bool,

    /// The command and its arguments, such as: make 0 raid10 1.0-15
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(crate) command: Vec<String>,

    /// Whether it is somebody's login shell.
    #[arg(skip)]
    pub(crate) is_shell: bool,

    /// A command line that is given to a shell as a whole.
    #[arg(skip)]
    pub(crate) script: Option<String>,
}

impl Arguments {
    /// Reads the command line, of a login shell too: a name that begins with `-`, or `-c COMMAND`. Such a
    /// one has no options: who has no other shell must not choose whose socket it talks to.
    pub(crate) fn read(mut words: impl Iterator<Item = OsString>) -> Self {
        let all: Vec<OsString> = words.by_ref().collect();
        let name = all.first().map(|name| name.to_string_lossy().into_owned());
        let is_login = name.is_some_and(|name| name.starts_with('-'));
        match all.get(1..).unwrap_or_default() {
            [flag, command] if flag == "-c" => Self::shell(Some(command)),
            [flag, rest @ ..] if flag == "-c" && !rest.is_empty() => Self::shell(rest.first()),
            _ if is_login => Self::shell(None),
            _ => Self::parse_from(all),
        }
    }

    fn shell(command: Option<&OsString>) -> Self {
        let mut arguments = Self::parse_from(["ledge"]);
        arguments.is_shell = true;
        arguments.script = command.map(|command| command.to_string_lossy().into_owned());
        arguments
    }

    /// The words of the command as the one line that the shelf's console takes apart again.
    pub(crate) fn line(&self) -> String {
        match &self.script {
            Some(script) => script.clone(),
            None => console::lexer::join(&self.command),
        }
    }

    /// Whether there is one command, and not a conversation.
    pub(crate) fn has_command(&self) -> bool {
        self.script.is_some() || !self.command.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Arguments {
        Arguments::read(words.iter().map(OsString::from))
    }

    #[test]
    fn a_login_shell_has_no_options() {
        for words in [
            &["-ledge"][..],
            &["-ledge", "--socket", "/tmp/x"],
            &["-ledge", "-j"],
        ] {
            let arguments = read(words);
            assert!(arguments.is_shell && !arguments.has_command() && !arguments.json);
            assert_eq!(arguments.socket, PathBuf::from("/run/ledge/control.sock"));
        }
        for words in [
            &["ledge", "-c", "list -l"][..],
            &["-ledge", "-c", "list -l", "x"],
        ] {
            let arguments = read(words);
            assert!(arguments.is_shell && arguments.has_command());
            assert_eq!(arguments.line(), "list -l");
        }
    }

    #[test]
    fn everything_else_is_a_command_line() {
        let arguments = read(&[
            "ledge", "--socket", "/s", "make", "-c", "0", "raid1", "1.0-1",
        ]);
        assert!(!arguments.is_shell && arguments.has_command());
        assert_eq!(arguments.line(), "make -c 0 raid1 1.0-1");
        assert!(!read(&["ledge"]).has_command());
    }
}
