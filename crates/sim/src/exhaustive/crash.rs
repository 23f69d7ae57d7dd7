//! Crashes: what the disks may hold when the power goes, and which of that makes a difference to whoever
//! recovers them.
//!
//! For each set of losses there is a tree: at each of its nodes a sector is looked at, and how it goes on
//! depends on what is there; each leaf is the course of a recovery. A state goes down all branches that the
//! sectors allow which are open in it. Where no recovery has been yet, one is made; its course is the branch.

use super::recovery::{Reads, Recovery};
use super::{Base, Coverage, Known};
use crate::content::SECTOR;
use crate::disk::DiskSector;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A sector's content, by its number among all of the case.
pub(super) type Piece = u16;

/// A sector of a disk, and what is there.
pub(super) type Landed = (DiskSector, Piece);

/// The ways in which something in flight may have landed, on one disk: at first, not at all.
pub(super) type Open = Vec<Vec<Landed>>;

/// All sectors that are written anywhere in a case.
#[derive(Default, Debug)]
pub(super) struct Pieces {
    pub(super) list: Vec<(usize, u64, [u8; SECTOR])>,
    numbers: HashMap<(usize, u64, [u8; SECTOR]), Piece>,
}

impl Pieces {
    pub(super) fn number(&mut self, piece: (usize, u64, [u8; SECTOR])) -> Piece {
        *self.numbers.entry(piece).or_insert_with(|| {
            self.list.push(piece);
            Piece::try_from(self.list.len() - 1).expect("a case writes few sectors")
        })
    }
}

/// What the disks hold and may hold.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct State {
    /// What is durable beyond the base.
    pub(super) durable: Vec<Landed>,
    /// What may have landed over it.
    pub(super) open: Vec<Open>,
    /// Members that failed a write and have to be done without, as bits.
    pub(super) failed: u8,
}

impl State {
    /// What is left of it.
    fn without(&self, lost: u8) -> Self {
        let is_left = |((disk, _), _): &Landed| lost >> disk & 1 == 0;
        let is_open = |open: &&Open| open.iter().flatten().all(is_left) && open.len() > 1;
        Self {
            durable: self.durable.iter().copied().filter(is_left).collect(),
            open: self.open.iter().filter(is_open).cloned().collect(),
            failed: 0,
        }
    }

    /// Every sector that it says something about.
    fn sectors(&self) -> impl Iterator<Item = DiskSector> {
        let open = self.open.iter().flatten().flatten();
        self.durable.iter().chain(open).map(|(sector, _)| *sector)
    }

    fn crashes(&self) -> u64 {
        let ways = self.open.iter().map(|ways| ways.len() as u64);
        ways.fold(1, u64::saturating_mul)
    }
}

/// All states of a case, and what clients may have known in each.
#[derive(Default, Debug)]
pub(super) struct States {
    pub(super) pieces: Pieces,
    all: BTreeMap<State, BTreeSet<Known>>,
    /// States of the target; of some the disks are the same.
    pub(super) count: u64,
}

impl States {
    pub(super) fn add(&mut self, state: State, known: Known) {
        self.all.entry(state).or_default().insert(known);
    }

    /// What may be left when these are lost.
    fn without(&self, base: &Base, lost: u8) -> BTreeMap<State, BTreeSet<Known>> {
        let mut left: BTreeMap<State, BTreeSet<Known>> = BTreeMap::new();
        let can_be_lost = |state: &State| base.losses(state.failed).contains(&lost);
        for (state, known) in self.all.iter().filter(|(state, _)| can_be_lost(state)) {
            left.entry(state.without(lost)).or_default().extend(known);
        }
        left
    }
}

/// The ways in which a record, all of which a checksum covers, may have landed: whatever lacks a sector
/// is the same to who reads it. Nothing, everything, and each sector missing, or, if not all are to be
/// tried, the first or the last.
pub(super) fn ways_of_record(all: &[Landed], tries_each: bool) -> Open {
    let mut ways = vec![Vec::new(), all.to_vec()];
    for missing in 0..all.len() {
        if all.len() > 1 && (tries_each || missing == 0 || missing + 1 == all.len()) {
            let mut way = all.to_vec();
            way.remove(missing);
            ways.push(way);
        }
    }
    if all.is_empty() {
        ways.truncate(1);
    }
    ways
}

/// Recovers everything that may be left of any state.
pub(super) fn recover_all(base: &Base, states: &States) -> Result<Coverage, String> {
    let mut coverage = Coverage {
        states: states.count,
        ..Coverage::default()
    };
    let watched = states.all.keys().flat_map(State::sectors).collect();
    let mut recovery = Recovery::new(base, watched);
    for lost in base.losses(0) {
        let mut tree = Tree::default();
        for (state, known) in states.without(base, lost) {
            coverage.crashes = coverage.crashes.saturating_add(state.crashes());
            Walk {
                pieces: &states.pieces,
                lost,
                known: &known,
                chosen: vec![None; state.open.len()],
                state: &state,
                looked_at: Vec::new(),
                tree: &mut tree,
                recovery: &mut recovery,
            }
            .go(ROOT)?;
        }
        coverage.courses += tree.courses.len() as u64;
    }
    coverage.recoveries = recovery.count;
    Ok(coverage)
}

/// Where all courses begin.
const ROOT: usize = 0;

enum Node {
    /// Nobody has been here.
    Unknown,
    /// A sector is looked at; what follows when this is there, nothing for the content of the base.
    Look(DiskSector, BTreeMap<Option<Piece>, usize>),
    /// The end, with the number of the course.
    End(usize),
}

/// What recoveries look at, when some disks are lost.
struct Tree {
    nodes: Vec<Node>,
    courses: Vec<Reads>,
    /// What was judged already.
    judged: HashSet<(usize, Known)>,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            nodes: vec![Node::Unknown],
            courses: Vec::new(),
            judged: HashSet::new(),
        }
    }
}

impl Tree {
    /// The node after one where this was found.
    fn next(&mut self, node: usize, found: Option<Piece>) -> usize {
        let new = self.nodes.len();
        let Node::Look(_, next) = &mut self.nodes[node] else {
            return node;
        };
        let child = *next.entry(found).or_insert(new);
        if child == new {
            self.nodes.push(Node::Unknown);
        }
        child
    }
}

/// The way of a state through the tree.
struct Walk<'w, 'a> {
    pieces: &'w Pieces,
    lost: u8,
    state: &'w State,
    known: &'w BTreeSet<Known>,
    /// The way in which each open thing landed, if it matters yet.
    chosen: Vec<Option<usize>>,
    looked_at: Vec<DiskSector>,
    tree: &'w mut Tree,
    recovery: &'w mut Recovery<'a>,
}

impl Walk<'_, '_> {
    /// Goes on from a node, in all ways.
    fn go(&mut self, node: usize) -> Result<(), String> {
        if matches!(self.tree.nodes[node], Node::Unknown) {
            self.recover(node)?;
        }
        let sector = match self.tree.nodes[node] {
            Node::Look(sector, _) => sector,
            Node::End(course) => return self.judge(course),
            Node::Unknown => return Err("a recovery left no course".to_owned()),
        };
        self.looked_at.push(sector);
        let open = self.undecided(sector);
        if let Some(open) = open {
            for way in 0..self.state.open[open].len() {
                self.chosen[open] = Some(way);
                // Another open thing may lie over the same sector.
                if self.undecided(sector).is_some() {
                    self.looked_at.pop();
                    self.go(node)?;
                    self.looked_at.push(sector);
                } else {
                    let next = self.tree.next(node, self.found(sector));
                    self.go(next)?;
                }
            }
            self.chosen[open] = None;
        } else {
            let next = self.tree.next(node, self.found(sector));
            self.go(next)?;
        }
        self.looked_at.pop();
        Ok(())
    }

    /// What is open, not decided, and may have landed on a sector.
    fn undecided(&self, sector: DiskSector) -> Option<usize> {
        let open = self.state.open.iter().zip(&self.chosen);
        open.into_iter().position(|(ways, chosen)| {
            chosen.is_none() && ways.iter().flatten().any(|(place, _)| *place == sector)
        })
    }

    /// What is on a sector, as far as it is decided.
    fn found(&self, sector: DiskSector) -> Option<Piece> {
        let is_it = |(place, _): &&Landed| *place == sector;
        let mut all = self.landed();
        all.reverse();
        all.iter().find(is_it).map(|(_, piece)| *piece)
    }

    /// Everything that is on the disks; what is not decided has not landed.
    fn landed(&self) -> Vec<Landed> {
        let mut landed = self.state.durable.clone();
        for (ways, chosen) in self.state.open.iter().zip(&self.chosen) {
            landed.extend(&ways[chosen.unwrap_or(0)]);
        }
        landed
    }

    /// Recovers what is on the disks, and adds the course to the tree.
    fn recover(&mut self, node: usize) -> Result<(), String> {
        let landed = self.landed();
        let contents: Vec<_> = landed
            .iter()
            .map(|(_, piece)| &self.pieces.list[usize::from(*piece)])
            .collect();
        let (course, looked_at) = self.recovery.course(self.lost, &contents);
        let course = course.map_err(|text| self.describe(&text))?;
        let Some(rest) = looked_at.strip_prefix(self.looked_at.as_slice()) else {
            let text = format!("{looked_at:?} were looked at, not {:?}", self.looked_at);
            return Err(self.describe(&text));
        };
        let mut node = node;
        for &sector in rest {
            self.tree.nodes[node] = Node::Look(sector, BTreeMap::new());
            node = self.tree.next(node, self.found(sector));
        }
        self.tree.nodes[node] = Node::End(self.tree.courses.len());
        self.tree.courses.push(course);
        Ok(())
    }

    fn judge(&mut self, course: usize) -> Result<(), String> {
        for known in self.known {
            if self.tree.judged.insert((course, *known)) {
                self.recovery
                    .judge(&self.tree.courses[course], known)
                    .map_err(|text| self.describe(&format!("{text}; {known:?}")))?;
            }
        }
        Ok(())
    }

    fn describe(&self, text: &str) -> String {
        let landed: Vec<DiskSector> = self.landed().into_iter().map(|(place, _)| place).collect();
        format!(
            "without disks {:#b}, with sectors {landed:?}, known {:?}: {text}",
            self.lost, self.known
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Case, states};
    use super::*;
    use raid::Level;

    /// Every crash on its own comes to what its course in the tree says.
    fn compare(case: &Case) {
        let base = Base::new(case);
        let states = states::states(&base).unwrap();
        let watched: HashSet<_> = states.all.keys().flat_map(State::sectors).collect();
        let mut recovery = Recovery::new(&base, watched);
        let mut compared = 0;
        for lost in base.losses(0) {
            let mut tree = Tree::default();
            for (state, known) in states.without(&base, lost) {
                let mut walk = Walk {
                    pieces: &states.pieces,
                    lost,
                    known: &known,
                    chosen: vec![None; state.open.len()],
                    state: &state,
                    looked_at: Vec::new(),
                    tree: &mut tree,
                    recovery: &mut recovery,
                };
                walk.go(ROOT).unwrap();
                for number in 0..state.crashes() {
                    let mut rest = number;
                    for (chosen, ways) in walk.chosen.iter_mut().zip(&state.open) {
                        let len = ways.len() as u64;
                        *chosen = usize::try_from(rest % len).ok();
                        rest /= len;
                    }
                    let mut node = ROOT;
                    let course = loop {
                        match walk.tree.nodes[node] {
                            Node::Look(sector, _) => {
                                let found = walk.found(sector);
                                node = walk.tree.next(node, found);
                            }
                            Node::End(course) => break course,
                            Node::Unknown => panic!("a crash was left out"),
                        }
                    };
                    let landed = walk.landed();
                    let piece = |(_, piece): &Landed| &states.pieces.list[usize::from(*piece)];
                    let contents: Vec<_> = landed.iter().map(piece).collect();
                    let (alone, _) = walk.recovery.course(lost, &contents);
                    assert_eq!(alone.unwrap(), walk.tree.courses[course]);
                    compared += 1;
                }
            }
        }
        assert!(compared > 10, "{compared}");
    }

    #[test]
    fn crashes_come_to_what_their_course_says() {
        compare(&Case::new(Level::Raid1, 3, &[(0, 2), (1, 1)]));
        compare(&Case::new(Level::Raid10, 4, &[(127, 2)]));
        compare(&Case::new(Level::Raid5, 3, &[(0, 1)]));
        compare(&Case {
            away: 1,
            ..Case::new(Level::Raid6, 4, &[(0, 1)])
        });
    }
}
