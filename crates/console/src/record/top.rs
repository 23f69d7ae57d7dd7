//! The JSON of `top`: one look at everything that goes on.

use super::statistics::RatesRecord;
use serde::Serialize;

/// What goes on. Rates are over `seconds`, but for those of initiators, which are over one. What is told by
/// two looks, a while apart, is `null` at the first one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct TopRecord {
    /// `null` while it has none.
    pub(crate) shelf: Option<u16>,
    pub(crate) date: String,
    pub(crate) unix_seconds: u64,
    /// Since the shelf was started.
    pub(crate) daemon_seconds: u64,
    pub(crate) seconds: u64,
    /// How many problems there are: `health` tells them.
    pub(crate) problems: usize,
    /// The first of them; `ok` if there is none.
    pub(crate) health: String,
    pub(crate) workers: Vec<WorkerRecord>,
    pub(crate) luns: Vec<LunLoadRecord>,
    pub(crate) initiators: Vec<InitiatorLoadRecord>,
    pub(crate) drives: Vec<DriveLoadRecord>,
    pub(crate) ports: Vec<PortLoadRecord>,
}

/// A worker. Its three shares are of its time, and come to 1000.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct WorkerRecord {
    pub(crate) worker: usize,
    pub(crate) busy_permille: Option<u64>,
    pub(crate) polling_permille: Option<u64>,
    pub(crate) sleeping_permille: Option<u64>,
    pub(crate) frames_per_s: Option<u64>,
    pub(crate) commands_per_s: Option<u64>,
    pub(crate) sleeps_per_s: Option<u64>,
    pub(crate) slots_used: usize,
    pub(crate) slots: usize,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct LunLoadRecord {
    pub(crate) lun: u8,
    /// `online` or `offline`.
    pub(crate) status: &'static str,
    /// The worst of its RAIDs.
    pub(crate) state: String,
    pub(crate) label: Option<String>,
    #[serde(flatten)]
    pub(crate) rates: RatesRecord,
    /// Of reads and writes.
    pub(crate) mean_us: u64,
    pub(crate) max_us: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct InitiatorLoadRecord {
    pub(crate) mac: String,
    pub(crate) port: String,
    pub(crate) luns: Vec<u8>,
    pub(crate) ops_per_s: u64,
    pub(crate) bytes_per_s: u64,
    /// Since the start: an estimate.
    pub(crate) resent: u64,
    pub(crate) refused: u64,
    pub(crate) last_seen_s: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct DriveLoadRecord {
    pub(crate) drive: String,
    /// `up`, `down` or `missing`.
    pub(crate) state: &'static str,
    /// The element that it is, `spare`, or empty.
    pub(crate) role: String,
    #[serde(flatten)]
    pub(crate) rates: RatesRecord,
    /// Of reads and writes.
    pub(crate) mean_us: u64,
    pub(crate) max_us: u64,
    /// How many I/Os it had at a time, on average, in hundredths.
    pub(crate) queue_hundredths: u64,
    /// How much of the time it had any. With several workers an estimate: each has it at times of its own.
    pub(crate) busy_permille: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct PortLoadRecord {
    pub(crate) name: String,
    /// `null` when the kernel does not say.
    pub(crate) up: Option<bool>,
    pub(crate) speed_mbps: Option<u32>,
    pub(crate) rx_bits_per_s: Option<u64>,
    pub(crate) tx_bits_per_s: Option<u64>,
    pub(crate) rx_frames_per_s: Option<u64>,
    pub(crate) tx_frames_per_s: Option<u64>,
    /// Frames that interface, kernel and shelf had no room for, since the start.
    pub(crate) drops: u64,
    pub(crate) drops_per_s: Option<u64>,
}
