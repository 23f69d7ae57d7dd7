//! The shelf command language: parse, plan, act, render.
//!
//! The language is that of the Coraid SR and SRX 6 consoles, with the names of SRX 7 as aliases:
//! administrators, scripts and monitoring plug-ins know it. One line takes this way:
//!
//! 1. [`lexer`]: the line becomes words; `1.0-15` becomes sixteen of them.
//! 2. [`command`]: the first word picks a row of the command table, the row says which options and
//!    how many operands are right.
//! 3. `commands`: one module per group of commands plans and acts on the
//!    [`host::World`]: the shelf through [`shelf::admin::Admin`], the box through [`host::Host`]. Who may use
//!    a command is a property of its row, asked in one place.
//! 4. `report` and `record`: what happened becomes text, or one JSON document (`-j`).
//!
//! [`Session`] drives this for one console, and keeps the question that waits for an answer.
//! [`Editor`] turns the bytes of a raw terminal into lines; [`protocol`] is what `ledge` and the
//! daemon say to one another over the control socket; [`login`] lets those in who come over the Ethernet.
//!
//! Invariants:
//! * Sans-I/O: no file, clock, thread or logger. The front end moves the bytes.
//! * Nothing is decided here about drives and LUNs that the shelf can decide itself. The console
//!   refuses only what it cannot express, and what it must know before it asks a question.
//! * A question is bound to what it was asked about: a LUN that was removed and made again in the
//!   meantime is not removed by the old answer.
//! * Success of a change is silent. Whatever failed is told in a line that begins with `error: `,
//!   and what was not tried because of it in a line that begins with `skipping: `.
//! * No byte of input panics, and no line expands to more than [`lexer::MAX_WORDS`] words.
#![forbid(unsafe_code)]
#![deny(clippy::cast_possible_truncation)]

pub mod command;
pub mod complete;
pub mod editor;
pub mod events;
pub mod host;
pub mod lexer;
pub mod login;
pub mod protocol;
pub mod session;
pub mod terminal;

mod commands;
mod names;
mod options;
mod problem;
mod record;
mod rehearsal;
mod report;

/// What the manual page tells beside the command table.
pub mod help {
    pub use crate::commands::SERIES;
}

pub use commands::{clock_trouble, open_troubles};
pub use editor::{Editor, Event};
pub use options::SessionOptions;
pub use report::error_document;
pub use session::{Next, Reply, Session};
