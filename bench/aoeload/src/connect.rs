//! The ways to a target: interfaces, discovery, IDENTIFY.

use crate::cli::{PathArgs, TargetAddress};
use crate::interfaces::{Interface, Interfaces};
use anyhow::{Context, Result, anyhow, bail};
use aoe::{MacAddress, Shelf, Slot, Tag};
use initiator::{Discovery, Identity, IdentityQuery, Route, Target};
use port::{ReceivedFrame, TransmitError};
use std::time::{Duration, Instant};

/// How often a question without an answer is asked again.
const ASK_INTERVAL_NS: u64 = 200_000_000;
/// How often to ask before giving up: a Linux bridge forwards nothing for a few seconds after start.
const ASK_MAX: u64 = 25;
/// How often to ask on the other interfaces when one has an answer.
const ASK_OTHERS_MAX: u64 = 5;
/// How long to wait for the other addresses of a target when one has answered.
const SETTLE_NS: u64 = 10_000_000;
/// How long to rest between two looks at the ports while waiting for an answer.
const IDLE: Duration = Duration::from_micros(200);

/// Nanoseconds since the program's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now_ns(&self) -> u64 {
        // 64 bits of nanoseconds last for 584 years.
        self.0.elapsed().as_nanos() as u64
    }
}

/// A target, and the ways to it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Never empty: one for each address of the target that answered, and each interface on which it did.
    pub(crate) ways: Vec<Way>,
    /// What all of its addresses take.
    pub(crate) target: Target,
    pub(crate) identity: Identity,
    /// Interfaces on which it does not answer.
    pub(crate) silent: Vec<String>,
}

/// One way to a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) interface: usize,
    pub(crate) route: Route,
}

impl Endpoint {
    /// The address of the target.
    pub(crate) fn address(&self) -> TargetAddress {
        TargetAddress {
            shelf: self.target.shelf,
            slot: self.target.slot,
        }
    }
}

/// Open interfaces and what is known of the targets behind them.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) interfaces: Interfaces,
    pub(crate) clock: Clock,
    /// In the order of the command line.
    pub(crate) endpoints: Vec<Endpoint>,
}

impl Connection {
    pub(crate) fn open(path: &PathArgs, addresses: &[TargetAddress]) -> Result<Self> {
        let interfaces = Interfaces::open(path)?;
        Self::establish(interfaces, Clock::start(), addresses)
            .with_context(|| format!("on {}", path.interface.join(", ")))
    }

    /// Finds the targets through open interfaces.
    pub(crate) fn establish(
        interfaces: Interfaces,
        clock: Clock,
        addresses: &[TargetAddress],
    ) -> Result<Self> {
        let mut asking = Asking { interfaces, clock };
        let endpoints = addresses
            .iter()
            .map(|&address| {
                let found = asking.find(address);
                found.with_context(|| format!("target {address}"))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            interfaces: asking.interfaces,
            clock,
            endpoints,
        })
    }
}

/// All targets that answer within `wait_ns`, on any of the interfaces.
pub(crate) fn discover_all(interfaces: Interfaces, wait_ns: u64) -> Result<Vec<Target>> {
    let mut asking = Asking {
        interfaces,
        clock: Clock::start(),
    };
    let mut discovery = Discovery::new(Shelf::ANY, Slot::ANY, fresh_tag());
    // Twice, because a broadcast may be lost like any other frame.
    for _ in 0..2 {
        for interface in 0..asking.interfaces.count() {
            let request = discovery.request(asking.station(interface)?);
            asking.send(interface, &request)?;
        }
        asking.wait(wait_ns / 2, &mut |_, frame| {
            discovery.receive(frame);
            None::<()>
        });
    }
    Ok(discovery.targets().to_vec())
}

/// Questions before a load.
struct Asking {
    interfaces: Interfaces,
    clock: Clock,
}

impl Asking {
    /// Finds a target on all interfaces and asks it what it is.
    fn find(&mut self, address: TargetAddress) -> Result<Endpoint> {
        let answers = self.search(address)?;
        let mut ways = Vec::new();
        // The addresses of each interface, in turn.
        let most = answers.iter().flatten().map(|target| target.macs.len());
        for place in 0..most.max().unwrap_or_default() {
            for (interface, answer) in answers.iter().enumerate() {
                let Some(&destination) = answer.as_ref().and_then(|target| target.macs.get(place))
                else {
                    continue;
                };
                let route = Route {
                    source: self.station(interface)?,
                    destination,
                    shelf: address.shelf,
                    slot: address.slot,
                };
                ways.push(Way { interface, route });
            }
        }
        let silent = self.interfaces.each().zip(&answers);
        let silent = silent.filter(|(_, answer)| answer.is_none());
        let silent = silent.map(|(one, _)| one.facts().interface.clone());
        let silent: Vec<String> = silent.collect();
        Ok(Endpoint {
            identity: self.identify(&ways)?,
            target: merge(answers.into_iter().flatten())?,
            ways,
            silent,
        })
    }

    /// What answers for an address, on each interface.
    fn search(&mut self, address: TargetAddress) -> Result<Vec<Option<Target>>> {
        let count = self.interfaces.count();
        let fresh = || Discovery::new(address.shelf, address.slot, fresh_tag());
        let mut searches: Vec<_> = (0..count).map(|_| fresh()).collect();
        let answered = |searches: &[Discovery]| {
            let found = searches.iter().filter(|one| !one.targets().is_empty());
            found.count()
        };
        let mut turns = 0;
        for turn in 1..=ASK_MAX {
            turns = turn;
            for (interface, search) in searches.iter().enumerate() {
                if search.targets().is_empty() {
                    let request = search.request(self.station(interface)?);
                    self.send(interface, &request)?;
                }
            }
            self.wait(ASK_INTERVAL_NS, &mut |interface, frame| {
                searches[interface].receive(frame);
                (answered(&searches) == count).then_some(())
            });
            let found = answered(&searches);
            if found == count || (found > 0 && turn >= ASK_OTHERS_MAX) {
                break;
            }
        }
        if answered(&searches) == 0 {
            bail!("no answer to Query Config: `aoeload discover` lists who answers");
        }
        // What was asked again is answered again, perhaps as late as that.
        let settle_ns = if turns > 1 {
            ASK_INTERVAL_NS
        } else {
            SETTLE_NS
        };
        self.wait(settle_ns, &mut |interface, frame| {
            searches[interface].receive(frame);
            None::<()>
        });
        let found = searches.iter().map(|one| one.targets().first().cloned());
        Ok(found.collect())
    }

    /// Asks through each way what the target is: it must be the same one.
    fn identify(&mut self, ways: &[Way]) -> Result<Identity> {
        let mut known: Option<Identity> = None;
        for way in ways {
            let identity = self.ask_identity(*way)?;
            match &known {
                Some(first) if *first != identity => bail!(
                    "two LUNs with this address: {} with serial number {}, and {} with {} on {}",
                    first.model,
                    first.serial,
                    identity.model,
                    identity.serial,
                    way.route.destination
                ),
                _ => known = Some(identity),
            }
        }
        known.context("an answer without sender")
    }

    fn ask_identity(&mut self, way: Way) -> Result<Identity> {
        let query = IdentityQuery::new(way.route, fresh_tag());
        for asked in 1..=ASK_MAX {
            self.send(way.interface, &query.request())?;
            let answer = self.wait(ASK_INTERVAL_NS, &mut |_, frame| query.receive(frame));
            let Some(identity) = answer else { continue };
            // Each time that it was asked it is answered: what comes late is no frame of the load.
            let mut late = asked - 1;
            if late > 0 {
                self.wait(ASK_INTERVAL_NS, &mut |_, frame| {
                    late -= u64::from(query.receive(frame).is_some());
                    (late == 0).then_some(())
                });
            }
            return Ok(identity?);
        }
        Err(anyhow!(
            "no answer to IDENTIFY, though it answers Query Config"
        ))
    }

    /// Our address on an interface.
    fn station(&self, interface: usize) -> Result<MacAddress> {
        let found = self.interfaces.each().nth(interface);
        let facts = found.map(Interface::facts).context("no such interface")?;
        Ok(facts.stations.first())
    }

    fn send(&mut self, interface: usize, request: &[u8]) -> Result<()> {
        let sent = self.interfaces.transmit(interface, request, &[]);
        self.interfaces.flush();
        match sent {
            // The interface takes nothing now: as good as lost, and asked again.
            Ok(()) | Err(TransmitError::Full) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn wait<T>(
        &mut self,
        wait_ns: u64,
        answer: &mut dyn FnMut(usize, &ReceivedFrame<'_>) -> Option<T>,
    ) -> Option<T> {
        let end_ns = self.clock.now_ns() + wait_ns;
        let mut found = None;
        while found.is_none() && self.clock.now_ns() < end_ns {
            self.interfaces.receive(&mut |interface, frame, _| {
                if found.is_none() {
                    found = answer(interface, frame);
                }
                false
            });
            self.interfaces.flush();
            std::thread::sleep(IDLE);
        }
        found
    }
}

/// What all of these answers allow.
fn merge(answers: impl Iterator<Item = Target>) -> Result<Target> {
    let merged = answers.reduce(|mut all, one| {
        all.buffer_count = all.buffer_count.min(one.buffer_count);
        all.sector_count = all.sector_count.min(one.sector_count);
        all.macs.extend(one.macs);
        all
    });
    merged.context("no answer")
}

/// A tag that no former run of ours used lately, and that no advertisement has: never 0.
pub(crate) fn fresh_tag() -> Tag {
    Tag((fresh_number() as u32 & 0x7fff_ffff).max(1))
}

/// A number that differs from run to run: the time.
pub(crate) fn fresh_number() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}
