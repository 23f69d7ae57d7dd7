//! Line-rate equivalents: which part of what a wire can carry has been moved.
//!
//! A frame takes more of the wire than its data: headers, padding, checksum, preamble and the gap to the
//! next frame. Frames that were sent again are left out. Interfaces without a wire, such as veth, have no
//! clock that would hold frames back: there these figures are equivalents, and may be above 100 %.

use crate::connect::Connection;
use crate::plan::Plan;
use aoe::{ATA_FRAME_BYTES, FRAME_BYTES_MIN};
use serde::Serialize;
use std::fmt;

/// Frame check sequence, preamble with start of frame, and the gap between frames.
const AROUND_BYTES: usize = 4 + 8 + 12;
/// The wire that everything is compared with.
const TEN_GBE_MBIT: f64 = 10_000.0;

/// Bytes of the wire's time that a frame with so many bytes of data takes.
pub(crate) const fn wire_bytes(data_bytes: usize) -> usize {
    let frame_bytes = ATA_FRAME_BYTES + data_bytes;
    let padded_bytes = if frame_bytes < FRAME_BYTES_MIN {
        FRAME_BYTES_MIN
    } else {
        frame_bytes
    };
    padded_bytes + AROUND_BYTES
}

/// A wire to compare with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Line {
    name: &'static str,
    mbit_per_s: f64,
}

/// The wires to compare with: 10 Gigabit Ethernet, and the one that was named or else the interface's own,
/// or those of all interfaces together, if their drivers tell the speed.
pub(crate) fn lines(connection: &Connection, plan: &Plan) -> Vec<Line> {
    let own = match (plan.line_rate_mbit, connection.interfaces.speed_mbit()) {
        (Some(mbit), _) => Some(("--line-rate", mbit)),
        (None, Some(mbit)) => Some(("interface", f64::from(mbit))),
        (None, None) => None,
    };
    [Some(("10GbE", TEN_GBE_MBIT)), own]
        .into_iter()
        .flatten()
        .map(|(name, mbit_per_s)| Line { name, mbit_per_s })
        .collect()
}

/// Commands per second, of one size.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Traffic {
    pub(crate) size_bytes: usize,
    pub(crate) reads: f64,
    pub(crate) writes: f64,
}

impl Traffic {
    /// Bits per second of the wire's time for `data` frames with data and `bare` ones without.
    fn bits(&self, data: f64, bare: f64) -> f64 {
        8.0 * (data * wire_bytes(self.size_bytes) as f64 + bare * wire_bytes(0) as f64)
    }

    /// What that is on each of these wires.
    pub(crate) fn on(&self, lines: &[Line]) -> Vec<LineShare> {
        lines.iter().map(|line| self.on_line(line)).collect()
    }

    fn on_line(&self, line: &Line) -> LineShare {
        let bits_per_s = line.mbit_per_s * 1e6;
        let percent = |bits: f64| bits * 100.0 / bits_per_s;
        // The answer to a read has the data, as has the request of a write.
        let received_percent = percent(self.bits(self.reads, self.writes));
        let sent_percent = percent(self.bits(self.writes, self.reads));
        LineShare {
            of: line.name,
            mbit_per_s: line.mbit_per_s,
            frames_per_s_max: bits_per_s / self.bits(1.0, 0.0),
            received_percent,
            sent_percent,
            percent: received_percent.max(sent_percent),
        }
    }
}

/// Which part of a wire was used. Field names are part of the interface of `--json`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct LineShare {
    /// `10GbE`, `interface` or `--line-rate`.
    of: &'static str,
    mbit_per_s: f64,
    /// Frames with data of this size that the wire carries in one direction; a command has one.
    frames_per_s_max: f64,
    received_percent: f64,
    sent_percent: f64,
    /// Of the busier direction.
    percent: f64,
}

/// The short form, behind a figure.
pub(crate) fn short(shares: &[LineShare]) -> String {
    let mut text = String::new();
    for share in distinct(shares) {
        let separator = if text.is_empty() { "" } else { ", " };
        text += &format!("{separator}{:.1} % of {}", share.percent, share.name());
    }
    text
}

/// Those with a speed of their own: an interface of 10 Gb/s is told once.
pub(crate) fn distinct(shares: &[LineShare]) -> impl Iterator<Item = &LineShare> {
    let known = |index: usize, speed: f64| {
        shares[..index]
            .iter()
            .any(|share| (share.mbit_per_s - speed).abs() < 0.5)
    };
    let fresh = move |(index, share): &(usize, &LineShare)| !known(*index, share.mbit_per_s);
    shares.iter().enumerate().filter(fresh).map(|pair| pair.1)
}

impl LineShare {
    fn name(&self) -> String {
        match self.of {
            "10GbE" => self.of.to_owned(),
            _ => format!("{} Mb/s", self.mbit_per_s),
        }
    }
}

impl fmt::Display for LineShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} carries {:.0} such frames/s each way: received {:.1} %, sent {:.1} %",
            self.name(),
            self.frames_per_s_max,
            self.received_percent,
            self.sent_percent
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [Line; 2] = [
        Line {
            name: "10GbE",
            mbit_per_s: TEN_GBE_MBIT,
        },
        Line {
            name: "interface",
            mbit_per_s: 1000.0,
        },
    ];

    fn shares(size_bytes: usize, reads: f64, writes: f64) -> Vec<LineShare> {
        let traffic = Traffic {
            size_bytes,
            reads,
            writes,
        };
        traffic.on(&LINES)
    }

    #[test]
    fn ten_gigabit_ethernet_carries_what_the_arithmetic_of_the_protocol_says() {
        for (size_bytes, frames) in [
            (512, 2_185_315),
            (1024, 1_153_137),
            (4096, 300_770),
            (8192, 151_478),
            (8704, 142_629),
        ] {
            let share = shares(size_bytes, 0.0, 0.0)[0];
            assert_eq!(share.frames_per_s_max.round() as u64, frames);
            let full = shares(size_bytes, share.frames_per_s_max, 0.0)[0];
            assert!((full.percent - 100.0).abs() < 1e-9, "{full:?}");
        }
        assert_eq!(wire_bytes(0), 84);
    }

    #[test]
    fn each_direction_has_the_data_of_one_kind_and_the_bare_frames_of_the_other() {
        // 512-byte reads at line rate: 1.47 Gb/s of requests go the other way.
        let read = shares(512, 2_185_315.0, 0.0)[0];
        assert!((read.sent_percent - 14.7).abs() < 0.05, "{read:?}");
        let write = shares(512, 0.0, 2_185_315.0)[0];
        assert!((write.received_percent - 14.7).abs() < 0.05, "{write:?}");
        // Half and half, both directions full.
        let mixed = shares(8192, 299_904.0 / 2.0, 299_904.0 / 2.0)[0];
        assert!((mixed.received_percent - 100.0).abs() < 0.001, "{mixed:?}");
        assert!((mixed.sent_percent - 100.0).abs() < 0.001, "{mixed:?}");
    }

    #[test]
    fn every_wire_is_told_of_once() {
        let shares = shares(8192, 15_147.8, 0.0);
        assert_eq!(short(&shares), "10.0 % of 10GbE, 100.0 % of 1000 Mb/s");
        let twice = [shares[0], shares[0]];
        assert_eq!(short(&twice), "10.0 % of 10GbE");
        assert_eq!(
            shares[0].to_string(),
            "10GbE carries 151478 such frames/s each way: received 10.0 %, sent 0.1 %"
        );
    }
}
