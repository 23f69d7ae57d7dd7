//! What `ledge` and `cec` share.
#![forbid(unsafe_code)]

pub mod screen;
pub mod terminal;
