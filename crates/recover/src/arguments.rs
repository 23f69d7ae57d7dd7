//! The command line. `crates/manual` makes the manual page from it.

use clap::Parser;
use std::path::PathBuf;

/// Makes the disks of a dead Ledge shelf ready for mdadm.
///
/// Give it all disks of one or several LUNs. It replays the redo logs of raid5 and raid6 LUNs, writes clean
/// md superblocks where parity is then known to match, and prints for each array the mdadm command that
/// assembles it. Arrays that were stopped in good order, and those of other levels, are not changed: their
/// command is printed, too. For a LUN of several arrays (`grow`) a dmsetup command follows that joins them.
#[derive(Debug, Parser)]
#[command(name = "ledge-recover", version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Only show what would be done; nothing is written
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Go on without members that are not among the disks; they are marked as failed. Only for disks
    /// that are lost for good: what is written without them they will not have
    #[arg(long)]
    pub(crate) degraded: bool,

    /// Disks, or images of disks, in any order
    #[arg(required = true, value_name = "DISK")]
    pub(crate) disks: Vec<PathBuf>,
}

const AFTER_HELP: &str = "\
Disks must not be in use: not mounted, not in an array that is assembled, not served by ledged. They are
opened exclusively. A disk that Linux wrote to as a member of an array since the shelf died is left as
Linux left it: its redo log is void.

Interrupted, also by a loss of power, it can be run again.

EXAMPLES
  ledge-recover -n /dev/sd[b-k]     what would be done
  ledge-recover /dev/sd[b-k]        does it, and prints lines such as
      mdadm --assemble /dev/md/shelf1-lun0 --uuid=a1b2c3d4:... /dev/sdb /dev/sdc ...

EXIT STATUS
  0  every array can be assembled, and every LUN of several arrays joined
  1  an array was not recovered or is missing, a disk could not be opened, or no array was found
  2  wrong arguments

To run it on machines with other libraries, build it static:
  RUSTFLAGS='-C target-feature=+crt-static' \\
    cargo build --release -p recover --target x86_64-unknown-linux-gnu

SEE ALSO
  mdadm(8), dmsetup(8), ledged(8)";
