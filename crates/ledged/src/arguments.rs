//! The command line. `crates/manual` makes the manual page from it.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Where the configuration is, unless the command line says otherwise.
const DEFAULT_PATH: &str = "/etc/ledge/ledge.toml";

const AFTER_HELP: &str = "\
Logs go to the standard error; LEDGE_LOG chooses what (error, warn, info, debug, or by module). It prints one
line with `ready` when it serves, tells systemd so, and ends on SIGTERM with everything durable. On SIGHUP it
reads its configuration again, takes over what it can while it serves, and logs what needs a restart.

SEE ALSO
  ledge(8), ledge-console(7), cec(8), ledge-recover(8)";

/// The Ledge storage shelf: serves disks as ATA-over-Ethernet LUNs
#[derive(Parser, Debug)]
#[command(name = "ledged", version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// Check the configuration file and end
    #[arg(long)]
    pub(crate) check: bool,
    /// Answer one question of a daemon without rights, by the socket on standard input: for systemd
    #[arg(long, hide = true, value_name = "WHICH")]
    pub(crate) helper: Option<Helper>,
    /// Ask the helper for drives for something, and stand for the program that it runs
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true, value_name = "WORD")]
    pub(crate) ask: Vec<String>,
}

/// Whom something is asked of. Each has what it needs, and not what the other needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Helper {
    /// Sockets, and the machine itself.
    System,
    /// Drives and their slots.
    Drives,
}
