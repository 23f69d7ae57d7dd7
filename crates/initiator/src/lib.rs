//! The client side of ATA over Ethernet: finds targets, keeps a window of commands on the wire,
//! sends again what got no answer, and checks what comes back.
//!
//! * [`discovery`] asks who is there and collects the answers ([`Target`]);
//! * [`identity`] asks one target what it is ([`Identity`]);
//! * [`trim`] has it deallocate ranges ([`TrimQuery`]);
//! * [`commands`] is the window of outstanding reads and writes ([`Commands`]), with [`rto`] as its
//!   idea of when an answer is overdue;
//! * [`stamp`] writes and examines self-describing sectors; [`model`] knows which of them may be on
//!   the target; [`check`] compares the two.
//!
//! Invariants:
//! * nothing here does I/O or looks at a clock: frames and the time in nanoseconds come in, frames
//!   to send go out;
//! * a window allocates when it is made and never again;
//! * a command ends exactly once: answered, refused, or lost after its deadline.
//!
//! What it does not do: choose what to read or write, or follow a target that moves. Sources: AoEr11,
//! ATA8-ACS.
#![forbid(unsafe_code)]

pub mod check;
pub mod commands;
pub mod discovery;
pub mod identity;
pub mod model;
pub mod rto;
pub mod stamp;
pub mod trim;
mod wire;

pub use check::{CheckCounters, Checker, Mismatch, MismatchKind};
pub use commands::{
    CommandError, CommandFrame, CommandId, Commands, Counters, Event, Expired, Finished, Operation,
    Route, WindowSpec,
};
pub use discovery::{Discovery, Target};
pub use identity::{Identity, IdentityError, IdentityQuery};
pub use model::{Generation, GenerationModel};
pub use rto::{Retransmission, RoundTrip};
pub use stamp::{RunId, SectorFault, Stamp};
pub use trim::TrimQuery;
