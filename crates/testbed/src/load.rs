//! A load that verifies itself: Debian's fio on the client's device, writing with many sizes at once and
//! reading everything back, in rounds ("guest-load.sh").
//!
//! **Invariants**
//! - Every byte that a round writes is read back in it and compared; [`Client::finish_load`] fails when
//!   the figures say otherwise.
//! - The device is used as it is, without a file system and without the guest's cache.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::client::{Client, STEP_TIMEOUT};
use crate::transcript;

const LOAD_SCRIPT: &str = include_str!("guest-load.sh");

/// Time between looks at the guest: each one takes emulated processor time from the load.
const LOOK: Duration = Duration::from_secs(2);

/// A load of some length.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// No round begins after so many seconds.
    pub seconds: u32,
    /// What each of the four jobs writes in a round, in MiB. The device has four times that at least.
    pub job_mib: u32,
}

impl Load {
    /// The job file: sectors and odd lengths, pages, a stream, and a mixture up to 1 MiB, at once. Some
    /// verify while they write, so that reads and writes are mixed; all do when they have written.
    fn job_file(self) -> String {
        let mib = self.job_mib;
        let jobs = [
            ("small", "bsrange=512-8k\niodepth=16\nverify_backlog=64"),
            ("page", "bs=4k\niodepth=32"),
            ("stream", "rw=write\nbs=256k\niodepth=4"),
            (
                "mixed",
                "bssplit=4k/40:16k/30:128k/20:1m/10\niodepth=8\nverify_backlog=16",
            ),
        ];
        let mut text = format!(
            "[global]\nioengine=libaio\ndirect=1\nthread=1\nrw=randwrite\nverify=crc32c\nverify_fatal=1\n\
             group_reporting=1\nclat_percentiles=0\nsize={mib}m\n"
        );
        for (number, (name, options)) in (0..).zip(jobs) {
            let offset = number * mib;
            text += &format!("[{name}]\noffset={offset}m\n{options}\n");
        }
        text
    }
}

/// What a load did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Rounds that ended.
    pub rounds: u32,
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes read back and compared.
    pub verified_bytes: u64,
    /// Commands of both kinds, before the driver cuts them into frames.
    pub commands: u64,
    /// The longest that a command took.
    pub slowest: Duration,
}

impl LoadReport {
    fn add(&mut self, round: &str) -> Result<()> {
        let parsed: Value = serde_json::from_str(round).context("fio's report")?;
        let jobs = parsed["jobs"].as_array().context("jobs of fio's report")?;
        for job in jobs {
            ensure!(job["error"] == 0, "fio reports error {}", job["error"]);
            let figure = |path: &str| {
                let found = job.pointer(path).and_then(Value::as_u64);
                found.with_context(|| format!("fio's report has no {path}"))
            };
            self.written_bytes += figure("/write/io_bytes")?;
            self.verified_bytes += figure("/read/io_bytes")?;
            self.commands += figure("/write/total_ios")? + figure("/read/total_ios")?;
            let slowest = figure("/write/lat_ns/max")?.max(figure("/read/lat_ns/max")?);
            self.slowest = self.slowest.max(Duration::from_nanos(slowest));
        }
        self.rounds += 1;
        Ok(())
    }
}

impl Client {
    /// Starts a load on the device.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_load(&mut self, load: Load) -> Result<()> {
        for (name, text) in [
            ("load", LOAD_SCRIPT),
            ("load.job", load.job_file().as_str()),
        ] {
            let upload = format!("cat > /run/{name} <<'END'\n{text}END\n");
            self.vm.run_ok(&upload, STEP_TIMEOUT)?;
        }
        let (device, seconds) = (self.device_path(), load.seconds);
        self.shell(&format!(
            "cd /run; rm -f load.stop load.failed load.rounds load.[0-9]*; touch load.running; \
             sh load {device} {seconds} >/dev/null 2>&1 &"
        ))?;
        Ok(())
    }

    /// How many rounds have ended. Works while the target is away.
    ///
    /// # Errors
    /// The load has met an error: I/O failed or a byte was wrong.
    pub fn load_rounds(&mut self) -> Result<u32> {
        let command = "cd /run; [ ! -e load.failed ] || cat load.failed; cat load.rounds 2>/dev/null || echo 0";
        let output = self.vm.run_ok(command, STEP_TIMEOUT)?;
        match output.trim().parse() {
            Ok(rounds) => Ok(rounds),
            Err(_) => bail!("the load failed:\n{output}{:?}", self.driver_messages()?),
        }
    }

    /// Waits until at least `rounds` have ended.
    ///
    /// # Errors
    /// The load fails, or has not got there after `timeout`; quotes what the driver says of itself.
    pub fn wait_for_rounds(&mut self, rounds: u32, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        while self.load_rounds()? < rounds {
            if Instant::now() >= deadline {
                let driver = self
                    .vm
                    .run("cat /sys/kernel/debug/aoe/*; dmesg | tail", STEP_TIMEOUT)?;
                bail!(
                    "no {rounds} rounds after {} s\n{}",
                    timeout.as_secs(),
                    driver.output
                );
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Lets the current round be the last.
    ///
    /// # Errors
    /// The guest has died.
    pub fn end_load(&mut self) -> Result<()> {
        self.vm.run_ok("touch /run/load.stop", STEP_TIMEOUT)?;
        Ok(())
    }

    /// Waits for the end of the load, and verifies once more what its last round has written.
    ///
    /// # Errors
    /// A command failed, a byte was wrong, or the load has not ended after `timeout`.
    pub fn finish_load(&mut self, timeout: Duration) -> Result<LoadReport> {
        let deadline = Instant::now() + timeout;
        while self
            .vm
            .run("[ -e /run/load.running ]", STEP_TIMEOUT)?
            .status
            == 0
        {
            ensure!(
                Instant::now() < deadline,
                "the load is still running after {} s",
                timeout.as_secs()
            );
            thread::sleep(LOOK);
        }
        let mut report = LoadReport::default();
        for round in 1..=self.load_rounds()? {
            let text = self
                .vm
                .run_ok(&format!("cat /run/load.{round}"), STEP_TIMEOUT)?;
            report.add(&text)?;
        }
        ensure!(
            report.written_bytes > 0 && report.written_bytes == report.verified_bytes,
            "not everything was verified: {report:?}"
        );
        transcript::note(&format!("{report:?}"));
        self.verify_load(report.rounds)?;
        Ok(report)
    }

    /// Reads everything that the last round has written once more, without writing. `round` is its number.
    ///
    /// # Errors
    /// A command fails or a byte is wrong; quotes what fio says.
    pub fn verify_load(&mut self, round: u32) -> Result<()> {
        let device = self.device_path();
        self.shell(&format!(
            "fio --verify_only=1 --randseed={round} --filename={device} --output-format=terse /run/load.job \
             >/run/load.messages 2>&1 || {{ cat /run/load.messages; exit 1; }}"
        ))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_lie_beside_one_another() {
        let load = Load {
            seconds: 1,
            job_mib: 12,
        };
        let text = load.job_file();
        for expected in [
            "size=12m",
            "[small]\noffset=0m\n",
            "[mixed]\noffset=36m\n",
            "verify=crc32c",
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn reports_add_up_and_an_error_is_one() {
        let report = r#"{"jobs": [{"error": 0,
            "read": {"io_bytes": 30, "total_ios": 3, "lat_ns": {"max": 7}},
            "write": {"io_bytes": 20, "total_ios": 2, "lat_ns": {"max": 9}}}]}"#;
        let mut sum = LoadReport::default();
        sum.add(report).unwrap();
        sum.add(report).unwrap();
        let expected = LoadReport {
            rounds: 2,
            written_bytes: 40,
            verified_bytes: 60,
            commands: 10,
            slowest: Duration::from_nanos(9),
        };
        assert_eq!(sum, expected);
        assert!(
            sum.add(&report.replace(r#""error": 0"#, r#""error": 5"#))
                .is_err()
        );
        assert!(sum.add("{}").is_err());
    }
}
