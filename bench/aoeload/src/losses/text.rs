//! Losses and ports for people.

use super::watch::{DriveReport, LossReport, PortReport, Watched};
use super::{Frames, Layer, Sight, WayLosses};
use std::fmt;

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ports.len() > 1 {
            for port in &self.ports {
                write!(f, "\n{port}")?;
            }
        }
        write!(f, "\n{}", self.losses)
    }
}

impl fmt::Display for PortReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} queue {} ({}): sent {} frames, {:.1} MB; received {} frames, {:.1} MB; full {} times",
            self.interface,
            self.queue,
            self.mode,
            self.sent_frames,
            self.sent_bytes as f64 / 1e6,
            self.received_frames,
            self.received_bytes as f64 / 1e6,
            self.full
        )
    }
}

impl fmt::Display for LossReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "losses, layer by layer: {} sent, {} answered, {} of them late, {} never; probes in the kernel: {}",
            self.sent, self.answered, self.late, self.never_answered, self.probes
        )?;
        if self.never_sent > 0 {
            write!(
                f,
                "\ngenerator: {} due and never sent, its windows being full",
                self.never_sent
            )?;
        }
        for way in &self.ways {
            write!(f, "\n{way}")?;
        }
        let wires = self.ways.iter().flat_map(|way| &way.layers);
        let mut wires = wires.filter(|layer| layer.layer.starts_with("wire"));
        if wires.any(|layer| layer.lost > 0) {
            for sight in &self.elsewhere {
                write!(f, "\n  elsewhere: {sight}")?;
            }
        }
        for drive in &self.drives {
            write!(f, "\n{drive}")?;
        }
        if self.uncounted > 0 {
            write!(
                f,
                "\nthe probes had no room to count {} events",
                self.uncounted
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for WayLosses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.interface, self.frames)?;
        let mut nothing = true;
        for layer in &self.layers {
            if layer.lost != 0 {
                nothing = false;
                write!(f, "\n  {layer}")?;
            }
        }
        if nothing {
            write!(f, "; none lost")?;
        }
        Ok(())
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frames sent {}", self.sent)?;
        let between = [
            ("left", self.left),
            ("arrived", self.arrived),
            ("received by the shelf", self.target_received),
            ("sent by it", self.target_sent),
            ("answered", self.answered),
            ("came back", self.came_back),
        ];
        for (name, count) in between {
            if let Some(count) = count {
                write!(f, ", {name} {count}")?;
            }
        }
        write!(f, ", received {}, answers {}", self.received, self.answers)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layer, self.lost)?;
        for (index, sight) in self.seen.iter().enumerate() {
            let separator = if index == 0 { "; seen as: " } else { ", " };
            write!(f, "{separator}{sight}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.frames)
    }
}

impl fmt::Display for DriveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "drive {}, {}: {} requests, latency us: p50 below {:.0}, p99 below {:.0}, max below {:.0}",
            self.drive,
            self.operation,
            self.requests,
            self.p50_below_us,
            self.p99_below_us,
            self.max_below_us
        )
    }
}
