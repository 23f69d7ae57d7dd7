//! The command line. `crates/manual` makes the manual page from it.

use clap::Parser;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
What a command lists goes to the standard output, lines that begin with error:, usage: or skipping: to the
standard error. With a command the exit status is 0 if it was done, else 1; so it is for commands that are
piped in.

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
}

impl Arguments {
    /// The words of the command as the one line that the shelf's console takes apart again.
    pub(crate) fn line(&self) -> String {
        console::lexer::join(&self.command)
    }
}
