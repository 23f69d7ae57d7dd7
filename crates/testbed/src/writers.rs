//! Background writers on the client, and the list of what the target has acknowledged to them.
//!
//! The list is in the guest's memory, so it can be read while the target is away.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::client::{Client, MOUNT_POINT, STEP_TIMEOUT};
use crate::transcript;

/// Background writers ("guest-writer.sh"); more than one, so that the target is never idle while one
/// of them computes a checksum.
const WRITERS: [&str; 4] = ["a", "b", "c", "bulk"];

const WRITER_SCRIPT: &str = include_str!("guest-writer.sh");

impl Client {
    /// Starts writers that create files in a new `directory`, each file with fsync, and list what
    /// has been acknowledged.
    ///
    /// # Errors
    /// They cannot be started.
    pub fn start_writers(&mut self, directory: &str) -> Result<()> {
        let path = format!("{MOUNT_POINT}/{directory}");
        let upload = format!("cat > /run/writer <<'END'\n{WRITER_SCRIPT}END\n");
        self.vm.run_ok(&upload, STEP_TIMEOUT)?;
        let writers = WRITERS.join(" ");
        let command = format!(
            "mkdir {path} && rm -f /run/acknowledged /run/writer.*; \
             for name in {writers}; do \
             touch /run/writer.running.$name; sh /run/writer {path} $name >/dev/null 2>&1 & done"
        );
        self.shell(&command)?;
        Ok(())
    }

    /// Checksums of the files whose fsync has returned so far. Works while the target is away, as
    /// the list is in the guest's memory.
    ///
    /// # Errors
    /// A writer has met an error: then the client's I/O did not continue by itself.
    pub fn acknowledged(&mut self) -> Result<String> {
        let command = "touch /run/writer.failed /run/acknowledged; cat /run/writer.failed";
        let failed = self.vm.run_ok(command, STEP_TIMEOUT)?;
        if !failed.is_empty() {
            let kernel_log = self.vm.run("dmesg | tail -n 20", STEP_TIMEOUT)?.output;
            bail!("a writer failed:\n{failed}{kernel_log}");
        }
        self.vm.run_ok("cat /run/acknowledged", STEP_TIMEOUT)
    }

    /// Waits until at least `count` files have been acknowledged, and returns how many.
    ///
    /// # Errors
    /// A writer fails, or there are fewer after `timeout`.
    pub fn wait_for_acknowledged(&mut self, count: usize, timeout: Duration) -> Result<usize> {
        let deadline = Instant::now() + timeout;
        loop {
            let files = self.acknowledged()?.lines().count();
            if files >= count {
                return Ok(files);
            }
            if Instant::now() >= deadline {
                let driver = self.vm.run(
                    "dmesg | tail -n 20; cat /sys/kernel/debug/aoe/*",
                    STEP_TIMEOUT,
                )?;
                let seconds = timeout.as_secs();
                bail!(
                    "{files} of {count} files acknowledged after {seconds} s\n{}",
                    driver.output
                );
            }
            thread::sleep(Duration::from_millis(300));
        }
    }

    /// Checks that nothing is acknowledged while the target is away.
    ///
    /// # Errors
    /// Files were acknowledged by nobody, or a writer failed.
    pub fn check_stalled(&mut self) -> Result<usize> {
        // Answers that had left the target before it died arrive within this second.
        thread::sleep(Duration::from_secs(1));
        let before = self.acknowledged()?.lines().count();
        thread::sleep(Duration::from_secs(3));
        let after = self.acknowledged()?.lines().count();
        ensure!(
            before == after,
            "{} files acknowledged by nobody",
            after - before
        );
        transcript::note(&format!(
            "the target is away; {after} files acknowledged, writers wait"
        ));
        Ok(after)
    }

    /// Lets the writers finish their current file, and returns the checksums of all files.
    ///
    /// # Errors
    /// A writer has failed, or they do not end.
    pub fn stop_writers(&mut self) -> Result<String> {
        // A pattern would be expanded first, and ls fails for a writer that ends before ls looks at it.
        let command = "touch /run/writer.stop; \
                       while ls /run | grep -q '^writer\\.running\\.'; do sleep 0.1; done";
        self.vm.run_ok(command, STEP_TIMEOUT)?;
        self.acknowledged()
    }
}
