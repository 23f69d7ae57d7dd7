//! A record of everything on an interface of the client, by tcpdump.

use super::LIMIT;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testbed::requirements::program;
use testbed::{Daemon, PairNetwork};

/// How a file of pcap's format begins where numbers are little-endian: as on every machine that we run on.
const MAGIC: [u8; 4] = [0xd4, 0xc3, 0xb2, 0xa1];
/// Lengths of what precedes the first record and each record's frame.
const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;

/// Frames are cut to this, which none of them reaches; and what the kernel keeps of those that are not
/// written yet. Left alone, tcpdump takes 2 MiB in places of 256 KiB: the ninth of a burst is lost.
const SNAPSHOT_BYTES: &str = "16384";
const BUFFER_KIB: &str = "32768";

/// A capture that goes on.
#[derive(Debug)]
pub(crate) struct Capture {
    // Fields drop in order: the program before the directory of its file.
    tcpdump: Daemon,
    record: Record,
}

/// What was captured.
#[derive(Debug)]
pub(crate) struct Record(TempDir);

impl Capture {
    /// Records AoE frames, tagged and not, from now on.
    pub(crate) fn start(network: &PairNetwork, interface: &str) -> Result<Self> {
        let record = Record(tempfile::Builder::new().prefix("ledge-").tempdir()?);
        let mut command = network.client.command(program("tcpdump")?);
        // As root to the end, or it could not write into a directory of ours; frame by frame, so that the
        // file has at every moment all that there was.
        command.args(["-i", interface, "-Z", "root", "-U", "--immediate-mode"]);
        command.args(["-s", SNAPSHOT_BYTES, "-B", BUFFER_KIB]);
        command.arg("-w").arg(record.path());
        command.arg("ether proto 0x88a2 or (vlan and ether proto 0x88a2)");
        let mut tcpdump = Daemon::start("tcpdump", command)?;
        tcpdump.wait_for_line("listening on", LIMIT)?;
        Ok(Self { tcpdump, record })
    }

    /// Waits until a frame of a kind has been captured.
    pub(crate) fn wait_for(&self, is_wanted: impl Fn(&[u8]) -> bool) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !self.record.frames()?.iter().any(|frame| is_wanted(frame)) {
            ensure!(Instant::now() < deadline, "no such frame on the wire");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends it; nothing may be missing from it.
    pub(crate) fn stop(self) -> Result<Record> {
        let dropped = self
            .tcpdump
            .terminate_saying("packets dropped by kernel", LIMIT)?;
        ensure!(dropped.starts_with("0 "), "{dropped}");
        Ok(self.record)
    }
}

impl Record {
    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("frames.pcap")
    }

    /// The frames, without one of which only a part has been written yet.
    pub(crate) fn frames(&self) -> Result<Vec<Vec<u8>>> {
        let file = fs::read(self.path()).context("the record")?;
        let Some((header, mut rest)) = file.split_at_checked(FILE_HEADER_BYTES) else {
            return Ok(Vec::new());
        };
        ensure!(header.starts_with(&MAGIC), "another format: {header:02x?}");
        let mut frames = Vec::new();
        while let Some((header, behind)) = rest.split_at_checked(RECORD_HEADER_BYTES) {
            // Bytes captured and bytes on the wire.
            let [captured, original] = [8, 12].map(|at| {
                let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
                u32::from_le_bytes(bytes) as usize
            });
            ensure!(captured == original, "a frame was cut to {captured} bytes");
            let Some((frame, behind)) = behind.split_at_checked(captured) else {
                break;
            };
            frames.push(frame.to_vec());
            rest = behind;
        }
        Ok(frames)
    }

    /// A record of these frames instead.
    pub(crate) fn of_frames(&self, frames: &[Vec<u8>]) -> Result<Self> {
        let made = Self(tempfile::Builder::new().prefix("ledge-").tempdir()?);
        let mut file = fs::read(self.path()).context("the record")?;
        file.truncate(FILE_HEADER_BYTES);
        for frame in frames {
            let length = u32::try_from(frame.len())?.to_le_bytes();
            file.extend_from_slice(&[0; RECORD_HEADER_BYTES / 2]);
            file.extend_from_slice(&[length, length].concat());
            file.extend_from_slice(frame);
        }
        fs::write(made.path(), file).context("the record")?;
        Ok(made)
    }
}
