//! What the tests of the daemon share: a shelf with its wire, the wire's other end, and small tools.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod shelf;
pub(crate) mod wire;

pub(crate) use shelf::{Setup, ledged_in};
pub(crate) use wire::Wire;

use std::time::Duration;

/// Far more than anything here takes: a test that waits so long has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// How long a silence must last to be taken for one. Answers come within a millisecond; the rest
/// is for a busy machine.
pub(crate) const SILENCE: Duration = Duration::from_millis(200);

/// The modes that work on a veth pair.
pub(crate) const MODES: [&str; 3] = ["native", "generic", "packet"];
