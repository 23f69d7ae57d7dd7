//! The command line. `crates/manual` makes the manual page from it.

use aoe::{Shelf, Slot};
use clap::{Args, FromArgMatches, Subcommand, ValueEnum};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

const ABOUT: &str = "Reads and writes against any ATA-over-Ethernet target: IOPS, throughput, \
                     latency percentiles, verification";
const AFTER_HELP: &str = "Writes overwrite the LUN. Exit code: 0 all good, 1 errors, lost commands \
                          or wrong data, 2 usage.";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Request {
    /// No subcommand: run a load.
    Load(LoadArgs),
    /// A subcommand.
    Command(Command),
}

impl Request {
    /// Parses a command line whose first word is the program's name.
    pub(crate) fn parse<I, T>(words: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        let matches = command().try_get_matches_from(words)?;
        if matches.subcommand_name().is_some() {
            Command::from_arg_matches(&matches).map(Self::Command)
        } else {
            LoadArgs::from_arg_matches(&matches).map(Self::Load)
        }
    }
}

/// The options of a load, or a subcommand in their place.
pub(crate) fn command() -> clap::Command {
    let command = clap::Command::new("aoeload");
    Command::augment_subcommands(LoadArgs::augment_args(command))
        .about(ABOUT)
        .after_help(AFTER_HELP)
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(false)
        .arg_required_else_help(false)
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the targets that answer on an interface
    Discover(DiscoverArgs),
    /// Find the highest rate that loses nothing
    Search(SearchArgs),
}

/// How frames reach the target.
#[derive(Clone, Debug, Args)]
pub(crate) struct PathArgs {
    /// Network interface that leads to the target. Given several times: what answers on several is loaded
    /// over all of them, and over all of its addresses, in turn, as Linux does
    #[arg(long, value_name = "IF", required = true)]
    pub(crate) interface: Vec<String>,
    /// Send through so many queues of each interface, in turn; needs --backend xdp. On veth the queue is
    /// the one that the frame arrives at on the other side
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) queues: u16,
    /// xdp takes every AoE frame of the interface away from the kernel: not beside AoE disks that
    /// are in use there
    #[arg(long, value_enum, default_value_t = Backend::Packet)]
    pub(crate) backend: Backend,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// AF_XDP sockets: native mode, or generic mode where the driver has no other
    Xdp,
    /// AF_PACKET with mapped rings: any interface, beside anything
    Packet,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) path: PathArgs,
    /// Shelf and slot of the target, such as 1.0 or e1.0. Given several times: each target has a window
    /// and a random stream of its own, and the same part of the rate
    #[arg(long, value_name = "S.L", required = true)]
    pub(crate) target: Vec<TargetAddress>,
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
    /// Commands per second, all targets together, whether they keep up or not; latency then counts from
    /// the time at which a command was due. Without it, a new command follows each answer
    #[arg(long, value_name = "IOPS", value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
    /// How long to measure
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = parse_seconds)]
    pub(crate) seconds: f64,
    /// How long to run before that
    #[arg(long, value_name = "N", default_value_t = 0.5, value_parser = parse_seconds)]
    pub(crate) warmup: f64,
    /// Stamp every sector that is written and check every one that is read. Written blocks are
    /// read back at the end; --op read checks what a former run left
    #[arg(long)]
    pub(crate) verify: bool,
    /// When to send a command again: adaptive, never, or after so many milliseconds
    #[arg(long, value_name = "WHEN", default_value = "adaptive")]
    pub(crate) retransmit: RetransmitArg,
    /// Seconds without an answer after which a command counts as lost
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = parse_seconds)]
    pub(crate) deadline: f64,
    /// Write latencies to a file, an interval for every second, in the HdrHistogram log format
    /// (nanoseconds; mixed loads have tags read and write beside the sum)
    #[arg(long, value_name = "FILE")]
    pub(crate) histogram: Option<PathBuf>,
    /// Count in the kernel where frames are lost, and how long drives take: auto does without where that
    /// cannot be, on fails then. Costs some tenths of a microsecond for each request to a drive, and for each
    /// frame that AF_PACKET receives
    #[arg(long, value_enum, default_value_t = ProbesArg::Auto)]
    pub(crate) probes: ProbesArg,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
    /// Compare throughput with a wire of this speed, in Mb/s, not with the interface's own; and with
    /// 10GbE in any case
    #[arg(long, value_name = "MBIT", value_parser = parse_rate)]
    pub(crate) line_rate: Option<f64>,
    /// Print one JSON object, with what happened second by second in it, and no progress bar
    #[arg(long)]
    pub(crate) json: bool,
}

/// Who else tells where frames are lost.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct WatchArgs {
    /// The other end of the interface's wire, if it is on this machine, so that losses on the wire are told
    /// from those of the target; with several interfaces, one for each, in their order
    #[arg(long, value_name = "[NAMESPACE:]IF")]
    pub(crate) peer_interface: Vec<PeerInterface>,
    /// Control socket of ledged, if that is the target, so that what its ports and the shelf itself have
    /// dropped is told
    #[arg(long, value_name = "PATH")]
    pub(crate) shelf_socket: Option<PathBuf>,
}

/// Whether there are probes in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProbesArg {
    Auto,
    On,
    Off,
}

/// An interface, perhaps of another network namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PeerInterface {
    /// As `ip netns` has it, or a path.
    pub(crate) namespace: Option<String>,
    pub(crate) interface: String,
}

impl fmt::Display for PeerInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}:{}", self.interface),
            None => f.write_str(&self.interface),
        }
    }
}

impl FromStr for PeerInterface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, interface) = match text.rsplit_once(':') {
            Some((namespace, interface)) => (Some(namespace.to_owned()), interface),
            None => (None, text),
        };
        if interface.is_empty() || namespace.as_deref() == Some("") {
            return Err(format!("{text:?}: expected an interface, or NAMESPACE:IF"));
        }
        Ok(Self {
            namespace,
            interface: interface.to_owned(),
        })
    }
}

/// What the commands look like.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShapeArgs {
    /// What to do; writes overwrite the LUN
    #[arg(long, value_enum, default_value_t = OperationArg::Read)]
    pub(crate) op: OperationArg,
    /// Percentage of reads of --op mixed
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) mix: u8,
    /// Bytes per command, a multiple of 512; by default the most that every target takes
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) size: Option<u64>,
    /// Commands outstanding to each target; by default its Buffer Count, at most 64, for each of the ways
    /// to it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) depth: Option<u16>,
    /// Blocks in random order (default)
    #[arg(long, conflicts_with = "sequential")]
    pub(crate) random: bool,
    /// Blocks one after the other
    #[arg(long)]
    pub(crate) sequential: bool,
    /// Use only so much of each LUN, from its start
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) range: Option<u64>,
    /// Makes the choice of operations and blocks repeatable
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OperationArg {
    Read,
    Write,
    Mixed,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DiscoverArgs {
    #[command(flatten)]
    pub(crate) path: PathArgs,
    /// How long to wait for answers
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = parse_seconds)]
    pub(crate) seconds: f64,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(crate) path: PathArgs,
    /// Shelf and slot of the target, such as 1.0 or e1.0. Given several times: each target has a window
    /// and a random stream of its own, and the same part of the rate
    #[arg(long, value_name = "S.L", required = true)]
    pub(crate) target: Vec<TargetAddress>,
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
    /// How long each trial measures
    #[arg(long, value_name = "N", default_value_t = 5.0, value_parser = parse_seconds)]
    pub(crate) seconds: f64,
    /// How long each trial runs before that
    #[arg(long, value_name = "N", default_value_t = 0.5, value_parser = parse_seconds)]
    pub(crate) warmup: f64,
    /// Stop when the result is known to so many percent
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = parse_rate)]
    pub(crate) resolution: f64,
    /// Count in the kernel where frames are lost. As this costs something for each frame, it lowers the rate
    /// that is found
    #[arg(long, value_enum, default_value_t = ProbesArg::Off)]
    pub(crate) probes: ProbesArg,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
    /// Compare throughput with a wire of this speed, in Mb/s, not with the interface's own; and with
    /// 10GbE in any case
    #[arg(long, value_name = "MBIT", value_parser = parse_rate)]
    pub(crate) line_rate: Option<f64>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// The address of one target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TargetAddress {
    pub(crate) shelf: Shelf,
    pub(crate) slot: Slot,
}

impl fmt::Display for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.shelf, self.slot)
    }
}

impl FromStr for TargetAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a shelf and a slot, such as 1.0");
        let (shelf, slot) = text
            .strip_prefix('e')
            .unwrap_or(text)
            .split_once('.')
            .ok_or_else(wrong)?;
        let address = Self {
            shelf: Shelf(shelf.parse().map_err(|_| wrong())?),
            slot: Slot(slot.parse().map_err(|_| wrong())?),
        };
        if address.shelf == Shelf::ANY || address.slot == Slot::ANY {
            return Err("65535 and 255 stand for any shelf and slot: name one target".to_owned());
        }
        Ok(address)
    }
}

/// When to send a command again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RetransmitArg {
    Adaptive,
    Never,
    Milliseconds(u32),
}

impl FromStr for RetransmitArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "adaptive" => Ok(Self::Adaptive),
            "never" => Ok(Self::Never),
            _ => text
                .parse()
                .ok()
                .filter(|ms| *ms > 0)
                .map(Self::Milliseconds)
                .ok_or_else(|| format!("{text:?}: expected adaptive, never or milliseconds")),
        }
    }
}

/// Bytes, with an optional binary unit: 8192, 8K, 8KiB, 1G.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(format!("unknown unit {unit:?}: expected K, M, G or T")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{text:?} is not a number of bytes"))?;
    number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("{text:?} is out of range"))
}

/// A time in seconds: from nothing to a year.
fn parse_seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| format!("{text:?} is not a number of seconds"))?;
    if (0.0..=31_536_000.0).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{text:?} is out of range"))
    }
}

/// A number above 0 and not absurdly large.
fn parse_rate(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| format!("{text:?} is not a number"))?;
    if number > 0.0 && number <= 1e9 {
        Ok(number)
    } else {
        Err(format!("{text:?} is out of range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn the_documented_command_line_parses() {
        let line = "aoeload --interface veth0 --target 1.0 --op mixed --size 8192 --depth 32 \
                    --rate 1000 --seconds 5 --sequential --verify --json --backend xdp --line-rate 25000";
        let Ok(Request::Load(load)) = Request::parse(line.split_whitespace()) else {
            panic!("it asks for a load");
        };
        assert_eq!(load.target, ["1.0".parse().unwrap()]);
        assert_eq!(load.shape.size, Some(8192));
        assert_eq!(load.path.backend, Backend::Xdp);
        assert_eq!(load.line_rate, Some(25_000.0));
        for (line, json) in [
            ("aoeload discover --interface veth0", false),
            ("aoeload discover --interface veth0 --json", true),
        ] {
            let Ok(Request::Command(Command::Discover(discover))) =
                Request::parse(line.split_whitespace())
            else {
                panic!("it asks for a search");
            };
            assert_eq!(discover.json, json);
        }
    }

    #[test]
    fn several_targets_are_taken_in_their_order() {
        for start in ["aoeload", "aoeload search"] {
            let line = format!("{start} --interface veth0 --target 1.1 --target e1.0");
            let target = match Request::parse(line.split_whitespace()).unwrap() {
                Request::Load(load) => load.target,
                Request::Command(Command::Search(search)) => search.target,
                other => panic!("{other:?}"),
            };
            let names: Vec<String> = target.iter().map(ToString::to_string).collect();
            assert_eq!(names, ["1.1", "1.0"]);
        }
    }

    #[test]
    fn interfaces_and_the_other_ends_of_their_wires_are_taken_in_their_order() {
        let line = "aoeload --interface veth0 --interface veth1 --queues 2 --target 1.0 \
                    --peer-interface shelf:eth0 --peer-interface eth1 --probes on";
        let Ok(Request::Load(load)) = Request::parse(line.split_whitespace()) else {
            panic!("it asks for a load");
        };
        assert_eq!(load.path.interface, ["veth0", "veth1"]);
        assert_eq!((load.path.queues, load.probes), (2, ProbesArg::On));
        let peers: Vec<_> = load
            .watch
            .peer_interface
            .iter()
            .map(|peer| (peer.namespace.as_deref(), peer.interface.as_str()))
            .collect();
        assert_eq!(peers, [(Some("shelf"), "eth0"), (None, "eth1")]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_refused() {
        for line in [
            "aoeload",
            "aoeload --interface veth0",
            "aoeload --target 1.0",
            "aoeload discover",
            "aoeload --interface veth0 --target 65535.0",
            "aoeload --interface veth0 --target 1.255",
            "aoeload --interface veth0 --target 1",
            "aoeload --interface veth0 --target 1.0 --random --sequential",
            "aoeload --interface veth0 --target 1.0 --depth 0",
            "aoeload --interface veth0 --target 1.0 --rate 0",
            "aoeload --interface veth0 --target 1.0 --seconds NaN",
            "aoeload --interface veth0 --target 1.0 --size 8Q",
            "aoeload --interface veth0 --target 1.0 --line-rate 0",
            "aoeload --interface veth0 --target 1.0 --queues 0",
            "aoeload --interface veth0 --target 1.0 --peer-interface :eth0",
            "aoeload --interface veth0 --target 1.0 --peer-interface shelf:",
        ] {
            let result = Request::parse(line.split_whitespace());
            assert_eq!(result.unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn bytes_take_binary_units() {
        for (text, bytes) in [("512", 512), ("8K", 8192), ("8KiB", 8192), ("1g", 1 << 30)] {
            assert_eq!(parse_bytes(text), Ok(bytes));
        }
        for text in ["", "0", "K", "8 K", "99999999999999999999", "16777216T"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
