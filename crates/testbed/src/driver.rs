//! What Linux' AoE driver says of itself: its window and its counters for each path, in debugfs, and
//! what it sent again or did not expect, in `/dev/etherd/err`.

use anyhow::{Context, Result, ensure};

use crate::client::{Client, STEP_TIMEOUT};
use crate::transcript;

/// The driver's view of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverState {
    /// Average round trip, in microseconds.
    pub round_trip_us: u64,
    /// Mean deviation of it.
    pub deviation_us: u64,
    /// One for each station that has answered for the device.
    pub paths: Vec<DriverPath>,
}

/// One station of the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverPath {
    /// Its address, twelve digits.
    pub mac: String,
    /// Frames on their way.
    pub outstanding: u32,
    /// The window.
    pub window: u32,
    /// How much the driver distrusts it: 0, or it was silent for long.
    pub taint: u32,
    /// Reads sent to it.
    pub reads: u64,
    /// Writes sent to it.
    pub writes: u64,
    /// The client's interfaces that reach it.
    pub interfaces: Vec<String>,
}

/// Reads `/sys/kernel/debug/aoe/eX.Y`.
///
/// # Errors
/// A line has not the shape that the driver gives it.
pub fn parse_state(text: &str) -> Result<DriverState> {
    let mut state = DriverState::default();
    for line in text.lines() {
        let line = line.trim();
        parse_line(line, &mut state).with_context(|| format!("{line:?}"))?;
    }
    ensure!(!state.paths.is_empty(), "no path in {text:?}");
    Ok(state)
}

fn parse_line(line: &str, state: &mut DriverState) -> Result<()> {
    let Some((name, value)) = line.split_once(':') else {
        let path = state.paths.last_mut().context("interfaces of no path")?;
        path.interfaces = line.split(',').map(|word| word.trim().to_owned()).collect();
        return Ok(());
    };
    let value = value.trim();
    if name == "rttavg" {
        let words: Vec<&str> = value.split_whitespace().collect();
        let [average, "rttdev:", deviation] = words[..] else {
            anyhow::bail!("round trips");
        };
        state.round_trip_us = average.parse()?;
        state.deviation_us = deviation.parse()?;
        return Ok(());
    }
    if name.len() == 12 && name.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        let mut numbers = value.split(':');
        let mut next = || {
            numbers
                .next()
                .context("numbers of a path")?
                .parse()
                .context("number")
        };
        state.paths.push(DriverPath {
            mac: name.to_owned(),
            outstanding: next()?,
            window: next()?,
            ..DriverPath::default()
        });
        return Ok(());
    }
    let Some(path) = state.paths.last_mut() else {
        return Ok(());
    };
    match name {
        "taint" => path.taint = value.parse()?,
        "r" => path.reads = value.parse()?,
        "w" => path.writes = value.parse()?,
        // What belongs to the next path comes before its address.
        _ => {}
    }
    Ok(())
}

/// One message of `/dev/etherd/err`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverMessage {
    /// A command was sent again.
    Retransmit {
        /// Tag under which it was sent before.
        old: u32,
        /// Tag under which it was sent again.
        new: u32,
        /// The driver's clock then.
        jiffies: u64,
    },
    /// Anything else, e.g. an answer to a tag that was given up.
    Other(String),
}

impl DriverMessage {
    /// How long the driver had waited, in its own ticks: a tag's lower half is the clock when it was made.
    #[must_use]
    pub fn waited_jiffies(&self) -> Option<u64> {
        match *self {
            Self::Retransmit { old, jiffies, .. } => {
                Some(jiffies.wrapping_sub(u64::from(old)) & 0xffff)
            }
            Self::Other(_) => None,
        }
    }
}

/// Reads lines of `/dev/etherd/err`.
///
/// # Errors
/// A retransmission has not the shape that the driver gives it.
pub fn parse_messages(text: &str) -> Result<Vec<DriverMessage>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| parse_message(line).with_context(|| format!("{line:?}")))
        .collect()
}

fn parse_message(line: &str) -> Result<DriverMessage> {
    let mut words = line.split_whitespace();
    if words.next() != Some("retransmit") {
        return Ok(DriverMessage::Other(line.to_owned()));
    }
    let value_of = |name: &str| {
        let found = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name));
        found.with_context(|| format!("no {name}"))
    };
    let (old, jiffies) = value_of("oldtag=")?.split_once('@').context("no time")?;
    let new = value_of("newtag=")?;
    Ok(DriverMessage::Retransmit {
        old: u32::from_str_radix(old, 16)?,
        new: u32::from_str_radix(new, 16)?,
        jiffies: u64::from_str_radix(jiffies, 16)?,
    })
}

impl Client {
    /// What the driver says of the device now.
    ///
    /// # Errors
    /// The driver does not know the device, or says it in another way.
    pub fn driver_state(&mut self) -> Result<DriverState> {
        let command = format!("cat /sys/kernel/debug/aoe/{}", self.device());
        parse_state(&self.shell(&command)?)
    }

    /// From now on keeps the driver's messages: it has room for 100 itself.
    ///
    /// # Errors
    /// The guest has died.
    pub fn keep_driver_messages(&mut self) -> Result<()> {
        let command = "[ -c /dev/etherd/err ] && cat /dev/etherd/err >/run/etherd.err 2>&1 &";
        self.vm.run_ok(command, STEP_TIMEOUT)?;
        Ok(())
    }

    /// The driver's messages since [`Client::keep_driver_messages`].
    ///
    /// # Errors
    /// They are not kept, or not in the shape that the driver gives them.
    pub fn driver_messages(&mut self) -> Result<Vec<DriverMessage>> {
        let kept = "pidof cat >/dev/null || { echo 'nobody reads /dev/etherd/err'; exit 1; }";
        let command = format!("{kept}; cat /run/etherd.err");
        let messages = parse_messages(&self.vm.run_ok(&command, STEP_TIMEOUT)?)?;
        let retransmits = messages
            .iter()
            .filter(|m| m.waited_jiffies().is_some())
            .count();
        transcript::note(&format!(
            "/dev/etherd/err: {retransmits} retransmissions, {} other messages",
            messages.len() - retransmits
        ));
        Ok(messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_read_from_debugfs() {
        let text = "rttavg: 812 rttdev: 90\nnskbpool: 0\nkicked: 0\nmaxbcnt: 8192\nref: 1\nfalloc: 64\n\
                    ffree: 00000000d6e4b5b1\n525400010001:2:32:64\n\tssthresh:32\n\ttaint:0\n\tr:10\n\tw:20\n\
                    \teth0\nfalloc: 3\nffree: 0000000000000000\n525400010002:0:1:64\n\tssthresh:1\n\
                    \ttaint:3\n\tr:5\n\tw:6\n\teth0,eth1\n";
        let state = parse_state(text).unwrap();
        assert_eq!((state.round_trip_us, state.deviation_us), (812, 90));
        let [first, second] = &state.paths[..] else {
            panic!("{state:?}")
        };
        assert_eq!((first.outstanding, first.window, first.taint), (2, 32, 0));
        assert_eq!((first.reads, first.writes), (10, 20));
        assert_eq!(first.interfaces, ["eth0"]);
        assert_eq!((second.taint, second.reads), (3, 5));
        assert_eq!(second.interfaces, ["eth0", "eth1"]);
        assert!(parse_state("rttavg: 1 rttdev: 2\n").is_err());
    }

    #[test]
    fn messages_are_read_from_the_error_device() {
        let text = "     retransmit e1.0 oldtag=00120f01@00010f23 newtag=00130f24 s=525400000001 d=02 nout=1\n\
                    unexpected rsp e1.0    tag=00120f01@00010f30 s=02 d=525400000001\n";
        let messages = parse_messages(text).unwrap();
        let first = DriverMessage::Retransmit {
            old: 0x0012_0f01,
            new: 0x0013_0f24,
            jiffies: 0x0001_0f23,
        };
        assert_eq!(messages[0], first);
        assert_eq!(messages[0].waited_jiffies(), Some(0x22));
        assert!(matches!(&messages[1], DriverMessage::Other(text) if text.contains("unexpected")));
        assert!(parse_messages("retransmit e1.0 oldtag=zz").is_err());
    }
}
