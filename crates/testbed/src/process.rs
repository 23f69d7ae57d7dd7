//! Commands with a time limit. Their output is read by threads all the time, so that a talkative
//! one never blocks on a full pipe.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// How often a wait looks at a child that says nothing.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// What a command printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Standard output, then standard error (the guest mixes them in order of writing).
    pub output: String,
    /// The exit status; 128 + signal for a command that a signal ended.
    pub status: i32,
}

impl CommandOutput {
    /// The output of a command that must have succeeded.
    ///
    /// # Errors
    /// The status is not 0; quotes `command` and what it printed.
    pub fn success(self, command: &str) -> Result<String> {
        if self.status != 0 {
            bail!(
                "`{command}` failed with status {}:\n{}",
                self.status,
                self.output
            );
        }
        Ok(self.output)
    }
}

/// Runs a command to its end with a pipe as its input, which ends after `input`. One that does not read all
/// of it may end all the same. There is no time limit.
///
/// # Errors
/// It cannot be started, or its output cannot be read.
pub fn feed(mut command: Command, input: &[u8]) -> Result<Output> {
    let name = describe(&command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{name}`"))?;
    let mut pipe = child.stdin.take().context("stdin of the child")?;
    // It has ended, or does not want more: its status and output say which.
    drop(pipe.write_all(input));
    drop(pipe);
    child
        .wait_with_output()
        .with_context(|| format!("cannot read what `{name}` says"))
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started, or is still running after `timeout` (it is killed then).
pub fn run(mut command: Command, timeout: Duration) -> Result<CommandOutput> {
    let name = describe(&command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{name}`"))?;
    let stdout = read_all(child.stdout.take().context("stdout of the child")?);
    let stderr = read_all(child.stderr.take().context("stderr of the child")?);
    let ended = wait_until(&mut child, timeout)?;
    if ended.is_none() {
        child
            .kill()
            .with_context(|| format!("cannot kill `{name}`"))?;
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{name}`"))?;
    if ended.is_none() {
        bail!(
            "`{name}` was still running after {} s and was killed",
            timeout.as_secs()
        );
    }
    let mut bytes = stdout
        .join()
        .map_err(|_| anyhow!("reading `{name}` failed"))?;
    bytes.extend(
        stderr
            .join()
            .map_err(|_| anyhow!("reading `{name}` failed"))?,
    );
    Ok(CommandOutput {
        output: to_text(&bytes),
        status: status_code(status),
    })
}

/// Runs a command that must succeed within a minute, and returns its output.
///
/// # Errors
/// It cannot be started, takes longer, or fails.
pub fn run_ok(command: Command) -> Result<String> {
    let name = describe(&command);
    run(command, Duration::from_secs(60))?.success(&name)
}

/// The command line as one would type it.
pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

pub(crate) fn to_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn status_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Collects a pipe; ends when the last writer has closed it.
fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Err(error) = pipe.read_to_end(&mut bytes) {
            bytes.extend(format!("\n[reading the output failed: {error}]\n").into_bytes());
        }
        bytes
    })
}

/// Waits for the child's end, at most `timeout`.
pub(crate) fn wait_until(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a child")? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_command_reports_both_streams_and_its_status() {
        let output = run(shell("echo out; echo err >&2; exit 3"), LIMIT).unwrap();
        assert_eq!(
            output,
            CommandOutput {
                output: "out\nerr\n".into(),
                status: 3
            }
        );
        let error = output.success("it").unwrap_err().to_string();
        assert!(
            error.contains("status 3") && error.contains("err"),
            "{error}"
        );
    }

    #[test]
    fn a_command_that_hangs_is_killed() {
        let error = run(shell("exec sleep 1000"), Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("still running"), "{error}");
    }
}
