//! The states of a target whose I/O succeeds: every order in which it may be completed.

use super::crash::{Open, Pieces, State, States, ways_of_record};
use super::{Base, Known, PLAN, frame_of};
use crate::content::SECTOR;
use crate::worker;
use aoe::{AtaRegisters, Header};
use shelf::shard::Place;
use shelf::target::{Action, Io, IoOwner, Operation, PortIndex, Target};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use zerocopy::FromBytes;

/// A target whose I/O is completed by hand.
struct Bench<'a> {
    base: &'a Base,
    target: Target,
    arena: Vec<u8>,
    pending: Vec<(Io, Vec<u8>)>,
    /// What is durable beyond the base.
    durable: BTreeMap<(usize, u64), [u8; SECTOR]>,
    known: Known,
    now_ns: u64,
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Choice {
    /// The next write arrives.
    Deliver,
    /// Everything in flight of an owner, the n-th that has something, is done.
    Complete(usize),
}

impl<'a> Bench<'a> {
    fn replay(base: &'a Base, path: &[Choice]) -> Result<Self, String> {
        let mut bench = Self {
            base,
            target: worker::new_target(PLAN, Place::ALONE, false),
            arena: vec![0; PLAN.total_sectors() * SECTOR],
            pending: Vec::new(),
            durable: BTreeMap::new(),
            known: Known::default(),
            now_ns: 0,
        };
        let mut actions = Vec::new();
        bench.target.attach(Arc::clone(&base.view), &mut actions);
        bench.carry_out(actions)?;
        for choice in path {
            match *choice {
                Choice::Deliver => bench.deliver()?,
                Choice::Complete(owner) => bench.complete(owner)?,
            }
        }
        Ok(bench)
    }

    fn owners(&self) -> Vec<IoOwner> {
        let mut owners = Vec::new();
        for (io, _) in &self.pending {
            if !owners.contains(&io.owner) {
                owners.push(io.owner);
            }
        }
        owners
    }

    fn choices(&self) -> Vec<Choice> {
        let mut choices: Vec<Choice> = (0..self.owners().len()).map(Choice::Complete).collect();
        if usize::from(self.known.sent) < self.base.case.commands() {
            choices.push(Choice::Deliver);
        }
        choices
    }

    fn deliver(&mut self) -> Result<(), String> {
        let frame = frame_of(&self.base.case, self.known.sent);
        self.known.send();
        let mut actions = Vec::new();
        let port = PortIndex(0);
        let admitted = self.target.receive(port, &frame, frame.len(), &mut actions);
        let admitted = admitted.ok_or("a write was not admitted")?;
        let (command, start) = (admitted.command, admitted.place(&PLAN).start);
        let payload = &frame[aoe::ATA_FRAME_BYTES..];
        self.arena[start..start + payload.len()].copy_from_slice(payload);
        let mut arena = worker::Arena {
            bytes: &mut self.arena,
            plan: PLAN,
        };
        self.target.filled(command, &mut arena, &mut actions);
        self.carry_out(actions)
    }

    /// Completes everything of an owner.
    fn complete(&mut self, owner: usize) -> Result<(), String> {
        let owner = self.owners()[owner];
        let is_its = |(io, _): &(Io, Vec<u8>)| io.owner == owner;
        let mut its: Vec<(Io, Vec<u8>)> = Vec::new();
        while let Some(index) = self.pending.iter().position(is_its) {
            its.push(self.pending.remove(index));
        }
        let last = its.len() - 1;
        for (index, (io, data)) in its.iter().enumerate() {
            self.land(io, data);
            let mut actions = Vec::new();
            self.target.complete(io, true, &mut actions);
            if index < last && !actions.is_empty() {
                return Err(format!(
                    "something follows from one of several I/Os: {io:?}, {actions:?}"
                ));
            }
            self.carry_out(actions)?;
        }
        Ok(())
    }

    fn land(&mut self, io: &Io, data: &[u8]) {
        let disk = usize::from(io.drive.0);
        match io.operation {
            Operation::Flush => {}
            Operation::WriteZeroes => unreachable!("nobody trims"),
            Operation::Write => {
                for (sector, bytes) in (io.sector..).zip(data.as_chunks::<SECTOR>().0) {
                    self.durable.insert((disk, sector), *bytes);
                }
            }
            Operation::Read => {
                let range = PLAN.bytes_of(&worker::span(io));
                let out = &mut self.arena[range];
                for (sector, bytes) in (io.sector..).zip(out.as_chunks_mut::<SECTOR>().0) {
                    match self.durable.get(&(disk, sector)) {
                        Some(durable) => *bytes = *durable,
                        None => bytes.copy_from_slice(self.base.disks[disk].get(sector)),
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, mut actions: Vec<Action>) -> Result<(), String> {
        loop {
            for action in std::mem::take(&mut actions) {
                self.act(action)?;
            }
            if self.target.has_stripe_work() {
                // Nothing waits for more of its stripe.
                self.now_ns += 10_000_000;
                let mut memory = worker::Arena {
                    bytes: &mut self.arena,
                    plan: PLAN,
                };
                self.target
                    .stripe_step(self.now_ns, false, &mut memory, &mut actions);
            } else if actions.is_empty() {
                return Ok(());
            }
        }
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Io(io) => {
                let data = if io.operation == Operation::Write {
                    self.arena[PLAN.bytes_of(&worker::span(&io))].to_vec()
                } else {
                    Vec::new()
                };
                self.pending.push((io, data));
            }
            Action::Reply(reply) => {
                if let Some(command) = reply.command {
                    self.target.sent(command);
                }
                let (header, registers) = parse(&reply.head);
                if registers.command_status & ata::status::FAILURE_BITS != 0 {
                    return Err(format!("a write failed: {registers:?}"));
                }
                self.known.answered |= 1 << header.tag.get();
            }
            Action::Settled { .. } => {}
            other => return Err(format!("nobody asked for {other:?}")),
        }
        Ok(())
    }

    /// Tells states apart: by everything that the target knows and that is in flight or durable.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", self.target).hash(&mut hasher);
        for (io, data) in &self.pending {
            format!("{io:?}").hash(&mut hasher);
            data.hash(&mut hasher);
        }
        (&self.durable, self.known).hash(&mut hasher);
        hasher.finish()
    }

    /// What the disks may hold now.
    fn state(&self, pieces: &mut Pieces) -> State {
        let mut durable = Vec::new();
        for (&(disk, sector), data) in &self.durable {
            durable.push(((disk, sector), pieces.number((disk, sector, *data))));
        }
        let records = self.pending.iter().filter(|(io, _)| is_record(io)).count();
        let mut open: Vec<Open> = Vec::new();
        for (io, data) in &self.pending {
            let disk = usize::from(io.drive.0);
            let mut all = Vec::new();
            for (sector, data) in (io.sector..).zip(data.as_chunks::<SECTOR>().0) {
                all.push(((disk, sector), pieces.number((disk, sector, *data))));
            }
            if is_record(io) {
                open.push(ways_of_record(&all, records <= 2));
            } else {
                open.extend(all.into_iter().map(|one| vec![Vec::new(), vec![one]]));
            }
        }
        State {
            durable,
            open,
            failed: 0,
        }
    }
}

/// All states.
pub(super) fn states(base: &Base) -> Result<States, String> {
    let mut states = States::default();
    let mut seen = HashSet::new();
    let mut paths: Vec<Vec<Choice>> = vec![Vec::new()];
    while let Some(path) = paths.pop() {
        let bench = Bench::replay(base, &path)?;
        if !seen.insert(bench.fingerprint()) {
            continue;
        }
        let state = bench.state(&mut states.pieces);
        states.add(state, bench.known);
        for choice in bench.choices() {
            let mut next = path.clone();
            next.push(choice);
            paths.push(next);
        }
    }
    states.count = seen.len() as u64;
    Ok(states)
}

fn parse(head: &[u8]) -> (&Header, &AtaRegisters) {
    let (header, rest) = Header::ref_from_prefix(head).expect("a reply has a header");
    let (registers, _) = AtaRegisters::ref_from_prefix(rest).expect("a reply has registers");
    (header, registers)
}

/// Whether an I/O writes a record of the redo log.
pub(super) const fn is_record(io: &Io) -> bool {
    matches!(
        (io.owner, io.operation),
        (IoOwner::Group(_), Operation::Write)
    )
}
