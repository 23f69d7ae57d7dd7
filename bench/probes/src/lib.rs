//! Probes in the kernel for the load tests: AoE frames that it drops and why, exceptions of XDP programs, and
//! how long drives take. The programs are `bpf/losses.bpf.c`.
//!
//! Invariants:
//! * everything is counted in the kernel, from [`Probes::attach`] on; here it is only read;
//! * the probes see the whole machine: every network namespace, every drive;
//! * they are gone when [`Probes`] is dropped, or the process ends, however it does.
//!
//! Needs root (CAP_BPF and CAP_PERFMON) and a kernel with BPF tracing and BTF; no tracefs.
#![forbid(unsafe_code)]

mod btf;
mod latency;
mod names;
mod namespace;

pub use latency::DriveLatency;
pub use namespace::{InterfaceId, NamespacePath};

use aya::maps::{MapData, MapError, PerCpuArray, PerCpuHashMap};
use aya::programs::{BtfTracePoint, ProgramError};
use aya::{Btf, BtfError, Ebpf, EbpfError};
use std::error::Error;
use std::fmt;

/// The object, aligned as an ELF parser wants it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/losses.bpf.o"));

/// The programs of the object and the tracepoint of each.
const PROGRAMS: [(&str, &str); 5] = [
    ("frame_dropped", "kfree_skb"),
    ("xdp_excepted", "xdp_exception"),
    ("xdp_not_redirected", "xdp_redirect_err"),
    ("request_issued", "block_rq_issue"),
    ("request_completed", "block_rq_complete"),
];

/// A key of the map `losses`: `struct loss`.
type LossKey = [u32; 6];

/// Why the probes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ProbesError {
    /// The kernel tells nothing of its types.
    #[error("the kernel has no BTF ({})", chain(.0))]
    Btf(#[from] BtfError),
    /// The object was refused.
    #[error("the probes cannot be loaded ({})", chain(.0))]
    Load(#[from] EbpfError),
    /// A program was refused: there is no such tracepoint, or no right to use it.
    #[error("no probe on tracepoint {tracepoint} ({})", chain(.source))]
    Attach {
        /// Which.
        tracepoint: &'static str,
        /// Why.
        source: ProgramError,
    },
    /// What was counted cannot be read.
    #[error("the counts of the probes cannot be read ({})", chain(.0))]
    Read(#[from] MapError),
    /// The object lacks something: it and this file do not belong together.
    #[error("the probes have no {0}")]
    Missing(&'static str),
}

/// An error and its causes, in one line: the message of a verifier is long, and its end says what is wrong.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line.lines().last().unwrap_or_default().to_owned()
}

/// What became of frames.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LossKind {
    /// The kernel dropped a request.
    Request,
    /// The kernel dropped a response.
    Response,
    /// The kernel dropped a frame, a request or a response, that the interface had to send.
    Sent,
    /// The kernel dropped a frame, a request or a response, that the interface received.
    Received,
    /// An XDP program aborted, or its verdict could not be carried out.
    XdpException,
    /// The socket that an XDP program chose did not take a frame.
    XdpRedirect,
}

/// Frames that were lost in the same way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// The interface that the frames were at.
    pub interface: InterfaceId,
    /// What became of them.
    pub kind: LossKind,
    /// The name that the kernel has for that, such as `FULL_RING`.
    pub reason: String,
    /// The function of the kernel that dropped them, if it tells.
    pub place: Option<String>,
    /// How many.
    pub frames: u64,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        self.place
            .as_ref()
            .map_or(Ok(()), |place| write!(f, " in {place}"))
    }
}

/// What the probes have seen since they were attached.
#[derive(Clone, Default, Debug)]
pub struct Seen {
    /// Frames that were lost.
    pub losses: Vec<Loss>,
    /// The latency of each drive and kind of operation.
    pub drives: Vec<DriveLatency>,
    /// What happened and found no room in the maps of the probes.
    pub uncounted: u64,
}

/// The probes, at work.
#[derive(Debug)]
pub struct Probes {
    loaded: Ebpf,
}

impl Probes {
    /// Loads and attaches all probes.
    ///
    /// # Errors
    /// Where the kernel or permissions cannot: nothing stays attached then.
    pub fn attach() -> Result<Self, ProbesError> {
        let btf = Btf::from_sys_fs()?;
        let mut loaded = Ebpf::load(OBJECT)?;
        for (name, tracepoint) in PROGRAMS {
            let refused = |source| ProbesError::Attach { tracepoint, source };
            let program = loaded.program_mut(name).ok_or(ProbesError::Missing(name))?;
            let program: &mut BtfTracePoint = program.try_into().map_err(refused)?;
            program.load(tracepoint, &btf).map_err(refused)?;
            program.attach().map_err(refused)?;
        }
        Ok(Self { loaded })
    }

    /// What has been seen so far.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn seen(&self) -> Result<Seen, ProbesError> {
        let losses: PerCpuHashMap<&MapData, LossKey, u64> =
            PerCpuHashMap::try_from(self.map("losses")?)?;
        let latencies: PerCpuHashMap<&MapData, latency::Key, u64> =
            PerCpuHashMap::try_from(self.map("latencies")?)?;
        let uncounted: PerCpuArray<&MapData, u64> = PerCpuArray::try_from(self.map("uncounted")?)?;
        Ok(Seen {
            losses: read_losses(&counts(&losses)?),
            drives: latency::drives(&counts(&latencies)?),
            uncounted: uncounted.get(&0, 0)?.iter().sum(),
        })
    }

    fn map(&self, name: &'static str) -> Result<&aya::maps::Map, ProbesError> {
        self.loaded.map(name).ok_or(ProbesError::Missing(name))
    }
}

/// Everything in a map, with the sums over the processors.
fn counts<K: aya::Pod>(
    map: &PerCpuHashMap<&MapData, K, u64>,
) -> Result<Vec<(K, u64)>, ProbesError> {
    let entries = map
        .iter()
        .map(|entry| entry.map(|(key, values)| (key, values.iter().sum())));
    Ok(entries.collect::<Result<_, _>>()?)
}

fn read_losses(counted: &[(LossKey, u64)]) -> Vec<Loss> {
    if counted.is_empty() {
        return Vec::new();
    }
    let names = names::Names::of_this_kernel();
    let mut losses = Vec::with_capacity(counted.len());
    for &([kind, namespace, index, code, place_low, place_high], frames) in counted {
        let (kind, reason) = match kind {
            0 => (LossKind::Request, names.drop_reason(code)),
            1 => (LossKind::Response, names.drop_reason(code)),
            2 => (LossKind::Sent, names.drop_reason(code)),
            3 => (LossKind::Received, names.drop_reason(code)),
            4 => (LossKind::XdpException, names::xdp_action(code)),
            _ => (LossKind::XdpRedirect, names::error(code)),
        };
        losses.push(Loss {
            interface: InterfaceId { namespace, index },
            kind,
            reason,
            place: names.function(u64::from(place_high) << 32 | u64::from(place_low)),
            frames,
        });
    }
    losses.sort_by(|a, b| (a.interface, a.kind, &a.reason).cmp(&(b.interface, b.kind, &b.reason)));
    losses
}
