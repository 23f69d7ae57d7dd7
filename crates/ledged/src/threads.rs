//! Threads by name.

use anyhow::Context;
use std::thread;

/// Starts a named thread.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .with_context(|| format!("thread {name}"))?;
    Ok(())
}
