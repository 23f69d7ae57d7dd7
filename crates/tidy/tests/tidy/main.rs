//! Checks on the source tree itself: what ARCHITECTURE.md says of it must be true.
//!
//! Each test gathers everything it objects to, as `file:line: what, and what to do`, before it
//! fails. The checks read files only; [`tree`] finds them, [`lexer`] tells code from comments and
//! strings, so that neither can hide code or be mistaken for it.
#![forbid(unsafe_code)]

mod direction;
mod lexer;
mod locks;
mod purity;
mod rows;
mod style;
mod tree;
mod unsafe_code;

/// Fails with one objection a line.
fn no_objections(objections: &[String]) {
    assert!(
        objections.is_empty(),
        "{} objections:\n{}",
        objections.len(),
        objections.join("\n")
    );
}
