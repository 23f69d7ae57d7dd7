//! What a shelf of ours has counted itself, asked on its control socket.
//!
//! A way leads to the ports of the shelf whose stations answer on it. A socket of a shelf that has none of
//! these stations is that of another one, and is refused; so are two interfaces that lead to one port, whose
//! frames nobody tells apart.

use super::Sight;
use crate::connect::Connection;
use anyhow::{Context, Result, bail, ensure};
use console::protocol::{self, Greeting, PromptKind, Request, Response};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the daemon may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Counters of a port's ring whose rise is a frame that was lost on its way to the shelf.
const RECEIVING: [&str; 5] = [
    "rx_dropped",
    "rx_ring_full",
    "rx_invalid",
    "rx_other_host",
    "aoe_to_kernel",
];
/// Those of frames that were lost when the shelf had sent them.
const SENDING: [&str; 1] = ["tx_invalid"];
/// Counters, by layer, of frames that the shelf leaves without an answer, or gives one answer for several.
const SILENT: [(&str, &[&str]); 3] = [
    ("ring", &["tx_too_long"]),
    (
        "shelf",
        &[
            "not_ours",
            "runts",
            "not_aoe",
            "responses",
            "bad_version",
            "multicast_source",
            "no_lun",
        ],
    ),
    (
        "requests",
        &[
            "masked",
            "wrong_vlan",
            "wildcard_writes",
            "no_buffer",
            "duplicates",
            "commands_dropped",
        ],
    ),
];
/// The same of the whole shelf: it tells no port of them.
const SILENT_OF_ALL: [&str; 4] = [
    "stale_frames",
    "crossings_dropped",
    "handovers_dropped",
    "replies_dropped",
];

/// Counters by name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What the shelf has counted on the ports that a way leads to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct TargetCounters {
    /// Frames that its sockets have received, and that it has given to them.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Why frames were lost on the way to it, in it, and on the way from it.
    pub(crate) receiving: Counts,
    pub(crate) silent: Counts,
    pub(crate) sending: Counts,
}

/// What has risen between two readings.
pub(super) fn rises(before: &Counts, after: &Counts) -> Vec<Sight> {
    let risen = after.iter().filter_map(|(what, count)| {
        let frames = count.saturating_sub(before.get(what).copied().unwrap_or_default());
        (frames > 0).then(|| Sight {
            what: what.clone(),
            frames,
        })
    });
    risen.collect()
}

/// A shelf that is asked, and which of its ports each way leads to.
#[derive(Debug)]
pub(crate) struct Shelf {
    path: PathBuf,
    /// By interface of ours: names of ports.
    ports: Vec<Vec<String>>,
}

impl Shelf {
    /// Asks the shelf for its ports.
    pub(crate) fn find(path: &Path, connection: &Connection) -> Result<Self> {
        let ports = Door::open(path)?.ask("ifstat -a -j")?;
        let count = connection.interfaces.count();
        let mut found = vec![Vec::new(); count];
        for way in connection.endpoints.iter().flat_map(|one| &one.ways) {
            let station = way.route.destination.to_string();
            let Some(name) = port_with(&ports, &station) else {
                bail!(
                    "the shelf at {} has no port with the address {station}: it is not the target",
                    path.display()
                );
            };
            let known: &mut Vec<String> = &mut found[way.interface];
            if !known.contains(&name) {
                known.push(name);
            }
        }
        let mut all: Vec<&String> = found.iter().flatten().collect();
        all.sort_unstable();
        if let Some(twice) = all.windows(2).find(|pair| pair[0] == pair[1]) {
            bail!(
                "two interfaces lead to port {} of the shelf at {}: its counters do not tell them apart",
                twice[0],
                path.display()
            );
        }
        let path = path.to_owned();
        Ok(Self { path, ports: found })
    }

    /// What it has counted so far, by interface of ours.
    pub(crate) fn read(&self) -> Result<Vec<TargetCounters>> {
        let mut door = Door::open(&self.path)?;
        let ports = door.ask("ifstat -a -j")?;
        let sums = door.ask("aoestats -a -j")?;
        let read = self.ports.iter().map(|names| read(names, &ports, &sums));
        read.collect()
    }
}

/// The port that answers from a station.
fn port_with(ports: &Value, station: &str) -> Option<String> {
    let has = |port: &&Value| {
        let addresses = port["addresses"].as_array();
        addresses.is_some_and(|all| all.iter().any(|one| one == station))
    };
    let found = ports.as_array()?.iter().find(has)?;
    found["name"].as_str().map(str::to_owned)
}

/// The counters of these ports.
fn read(names: &[String], ports: &Value, sums: &Value) -> Result<TargetCounters> {
    let mut target = TargetCounters::default();
    let of = |port: &Value, layer: &str, name: &str| {
        let count = port["counters"][layer][name].as_u64();
        count.with_context(|| format!("the shelf does not tell its counter {layer} {name}"))
    };
    for name in names {
        let all = ports.as_array().context("the shelf lists no ports")?;
        let port = all.iter().find(|port| port["name"] == name.as_str());
        let port = port.with_context(|| format!("the shelf has lost its port {name}"))?;
        target.received += of(port, "ring", "rx_frames")?;
        target.sent += of(port, "ring", "tx_frames")?;
        for (counts, names) in [
            (&mut target.receiving, RECEIVING.as_slice()),
            (&mut target.sending, SENDING.as_slice()),
        ] {
            for name in names {
                *counts.entry(format!("shelf's ring {name}")).or_default() +=
                    of(port, "ring", name)?;
            }
        }
        for (layer, names) in SILENT {
            for name in names {
                let what = format!("shelf's {layer} {name}");
                *target.silent.entry(what).or_default() += of(port, layer, name)?;
            }
        }
    }
    let rows = sums.as_array().context("the shelf lists no sums")?.iter();
    for row in rows.filter(|row| row["port"].is_null() && row["lun"].is_null()) {
        let name = row["name"].as_str().unwrap_or_default();
        if SILENT_OF_ALL.contains(&name) {
            let count = row["value"].as_u64().context("a counter is no number")?;
            *target.silent.entry(format!("shelf's {name}")).or_default() += count;
        }
    }
    Ok(target)
}

/// A connection to the daemon.
struct Door {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Door {
    fn open(path: &Path) -> Result<Self> {
        let unreachable = || format!("no ledged answers at {}", path.display());
        let writer = UnixStream::connect(path).with_context(unreachable)?;
        writer.set_read_timeout(Some(TIMEOUT))?;
        let mut reader = BufReader::new(writer.try_clone()?);
        let greeting: Option<Greeting> = protocol::read(&mut reader).with_context(unreachable)?;
        let greeting = greeting.with_context(unreachable)?;
        ensure!(
            greeting.protocol == protocol::VERSION && greeting.prompt.kind == PromptKind::Command,
            "ledged {} at {} takes no commands from aoeload: take both from one release",
            greeting.version,
            path.display()
        );
        Ok(Self { reader, writer })
    }

    /// The data of a command's JSON document.
    fn ask(&mut self, line: &str) -> Result<Value> {
        let asked = format!("{line} on the control socket");
        protocol::write(&mut self.writer, &Request::Line(line.to_owned()))
            .with_context(|| asked.clone())?;
        let response: Option<Response> =
            protocol::read(&mut self.reader).with_context(|| asked.clone())?;
        let response = response.with_context(|| format!("{asked}: no answer"))?;
        let mut document: Value =
            serde_json::from_str(&response.output).with_context(|| asked.clone())?;
        ensure!(response.ok, "{asked}: {}", response.output.trim());
        Ok(document["data"].take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ports(received: u64, dropped: u64) -> Value {
        let mut ring = json!({"rx_frames": received, "tx_frames": 90, "tx_too_long": 0});
        for name in RECEIVING.iter().chain(&SENDING) {
            ring[*name] = json!(0);
        }
        ring["rx_ring_full"] = json!(dropped);
        let zeroes = |names: &[&str]| -> Value {
            names
                .iter()
                .map(|n| (*n, 0))
                .collect::<BTreeMap<_, _>>()
                .into_value()
        };
        let counters =
            json!({"ring": ring, "shelf": zeroes(SILENT[1].1), "requests": zeroes(SILENT[2].1)});
        json!([{"name": "eth1", "addresses": ["00100401abcd"], "counters": counters}])
    }

    /// A map as JSON.
    trait IntoValue {
        fn into_value(self) -> Value;
    }

    impl IntoValue for BTreeMap<&str, i32> {
        fn into_value(self) -> Value {
            serde_json::to_value(self).unwrap()
        }
    }

    #[test]
    fn a_port_is_found_by_its_station_and_its_rises_are_told_by_name() {
        let sums = json!([
            {"group": "worker", "lun": null, "port": null, "name": "stale_frames", "value": 4},
            {"group": "LUN 0", "lun": 0, "port": null, "name": "crossings_dropped", "value": 4}
        ]);
        let before = ports(100, 1);
        assert_eq!(port_with(&before, "00100401abcd").as_deref(), Some("eth1"));
        assert_eq!(port_with(&before, "00100401abce"), None);
        let names = ["eth1".to_owned()];
        let before = read(&names, &before, &json!([])).unwrap();
        let after = read(&names, &ports(150, 8), &sums).unwrap();
        assert_eq!((after.received - before.received, after.sent), (50, 90));
        let told = |sights: Vec<Sight>| -> Vec<String> {
            sights.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            told(rises(&before.receiving, &after.receiving)),
            ["shelf's ring rx_ring_full 7"]
        );
        assert_eq!(
            told(rises(&before.silent, &after.silent)),
            ["shelf's stale_frames 4"]
        );
        assert_eq!(told(rises(&after.silent, &after.silent)), [""; 0]);
    }

    #[test]
    fn a_shelf_that_tells_less_than_is_needed_is_refused() {
        let mut less = ports(1, 0);
        less[0]["counters"]["requests"] = json!({});
        let error = read(&["eth1".to_owned()], &less, &json!([])).unwrap_err();
        assert!(error.to_string().contains("requests masked"), "{error}");
    }
}
