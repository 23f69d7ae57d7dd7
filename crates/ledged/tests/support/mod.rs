//! What the tests of the daemon share: a shelf with its wire, the wire's other end, and small tools.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod capture;
pub(crate) mod censor;
pub(crate) mod load;
pub(crate) mod mix;
pub(crate) mod script;
pub(crate) mod shelf;
pub(crate) mod wire;

use anyhow::Result;
use std::time::Duration;
use testbed::{Ledge, LedgeOptions, PairNetwork};

/// Far more than anything here takes: a test that waits so long has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// How long a silence must last to be taken for one. Answers come within a millisecond; the rest
/// is for a busy machine.
pub(crate) const SILENCE: Duration = Duration::from_millis(200);

/// The modes that work on a veth pair.
pub(crate) const MODES: [&str; 3] = ["native", "generic", "packet"];

/// Where [`with_lun`] serves its LUN.
pub(crate) const E10: (u16, u8) = (1, 0);

/// Every shelf and every LUN.
pub(crate) const ANY: (u16, u8) = (0xffff, 0xff);

/// A few small memory disks, and this mode.
pub(crate) fn memory_disks(mode: &str) -> LedgeOptions {
    LedgeOptions {
        disks: 4,
        disk_bytes: 4 << 20,
        memory_disks: true,
        mode: mode.to_owned(),
        ..LedgeOptions::default()
    }
}

/// Files instead of memory.
pub(crate) fn file_disks(mode: &str) -> LedgeOptions {
    LedgeOptions {
        memory_disks: false,
        ..memory_disks(mode)
    }
}

/// A shelf whose first two disks are a mirror, served as LUN 0.
pub(crate) fn with_lun<'a>(network: &'a PairNetwork, options: LedgeOptions) -> Result<Ledge<'a>> {
    let ledge = Ledge::start(&network.target, options)?;
    ledge.console_ok("make 0 raid1 1.0-1")?;
    ledge.console_ok("online 0")?;
    Ok(ledge)
}
