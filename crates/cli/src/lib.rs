//! What `ledge` and `cec` share.
#![forbid(unsafe_code)]

pub mod terminal;
