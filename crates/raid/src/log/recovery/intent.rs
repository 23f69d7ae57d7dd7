//! Intents: rounds that overwrite a range of every present member, of which the log has checksums.
//!
//! * All data can be read: whatever mixture of old and new it is, it is what was written, so parity is
//!   computed from it.
//! * Data is lost, but as many blocks as there are data columns are new: they say everything.
//! * Else it cannot be told whether the others are old, or a mixture, from which a lost block would be
//!   computed as something that nobody ever wrote. The data that is there stays as it is, what is lost
//!   is unreadable, and parity is bad. If all of what is lost is of absent members, the stripe is consistent
//!   all the same: what is lost is what parity says, the first that there is; one that is left over is
//!   computed anew. So it can be written like any other, if what is lost is kept from clients
//!   ([`crate::lost`]).

use super::{
    LoggedRaid, MemberIo, MemberRange, RecoveryError, Report, Round, SECTOR_BYTES, failed, present,
};
#[cfg(test)]
use super::{Planted, is_planted};
use crate::bad_blocks::BadRange;
use crate::geometry::RowLayout;
use crate::parity::{self, ParityError, Role, Wanted};

/// The range of one stripe.
struct Stripe {
    layout: RowLayout,
    /// By element; `None` is absent.
    content: Vec<Option<Vec<u8>>>,
    /// Whether an element holds what the round wrote.
    is_new: Vec<bool>,
    /// Whether an element held what it should before.
    is_synced: Vec<bool>,
}

/// Settles an intent whose range begins at a member sector.
pub(super) fn settle<M: MemberIo>(
    raid: &LoggedRaid<'_>,
    io: &mut M,
    round: &Round,
    start: u64,
    report: &mut Report,
) -> Result<(), RecoveryError<M::Error>> {
    report.slices_checked += 1;
    let stripe = read(raid, io, round, start)?;
    let computed = if stripe.has_all_data() {
        stripe.parity()
    } else if stripe.is_decided() {
        stripe.decode()
    } else {
        stripe.give_up(start, round.range_sectors, report);
        stripe.define()
    };
    // A range is whole sectors, equally long on all members, and no more is lost than can be.
    let Ok(computed) = computed else {
        return Err(RecoveryError::Raid("a stripe of it cannot be computed"));
    };
    let mut is_repaired = false;
    for (element, bytes) in computed {
        let Some(member) = &raid.members[usize::from(element)] else {
            continue;
        };
        if stripe.content[usize::from(element)].as_ref() != Some(&bytes) {
            let home = member.data_offset_sectors + start;
            io.write(element, home, &bytes)
                .map_err(failed(element, home))?;
            is_repaired = true;
        }
    }
    report.slices_repaired += usize::from(is_repaired);
    Ok(())
}

fn read<M: MemberIo>(
    raid: &LoggedRaid<'_>,
    io: &mut M,
    round: &Round,
    start: u64,
) -> Result<Stripe, RecoveryError<M::Error>> {
    let members = raid.members.len();
    let row = raid.geometry.row_of(start);
    let Some(layout) = raid.geometry.row_layout(row) else {
        return Err(RecoveryError::Raid("its level has no parity"));
    };
    let mut stripe = Stripe {
        layout,
        content: vec![None; members],
        is_new: vec![false; members],
        is_synced: vec![false; members],
    };
    let range = BadRange {
        sector: start,
        sectors: u64::from(round.range_sectors),
    };
    for (element, member) in present(raid) {
        let mut bytes = vec![0; usize::from(round.range_sectors) * SECTOR_BYTES];
        let sector = member.data_offset_sectors + start;
        io.read(element, sector, &mut bytes)
            .map_err(failed(element, sector))?;
        let index = usize::from(element);
        let part = round.parts.get(&element);
        stripe.is_new[index] = part.is_some_and(|part| part.entry.is_content(&bytes));
        let is_bad = raid
            .bad_blocks
            .iter()
            .any(|(of, bad)| *of == element && bad.overlaps(&range));
        stripe.is_synced[index] = range.end() <= member.synced_sectors && !is_bad;
        stripe.content[index] = Some(bytes);
    }
    Ok(stripe)
}

impl Stripe {
    fn data(&self) -> impl Iterator<Item = u8> + Clone + use<> {
        let layout = self.layout;
        (0..layout.columns()).map(move |column| layout.data(column))
    }

    fn has(&self, element: u8) -> bool {
        let index = usize::from(element);
        self.content[index].is_some() && (self.is_synced[index] || self.is_new[index])
    }

    fn has_all_data(&self) -> bool {
        self.data().all(|element| self.has(element))
    }

    /// Whether the new blocks say everything.
    fn is_decided(&self) -> bool {
        #[cfg(test)]
        if is_planted(Planted::GuessesMixtures) {
            return true;
        }
        let new = self.is_new.iter().filter(|is_new| **is_new).count();
        new >= usize::from(self.layout.columns())
    }

    /// P and Q of the data.
    fn parity(&self) -> Result<Vec<(u8, Vec<u8>)>, ParityError> {
        let data: Vec<&[u8]> = self
            .data()
            .filter_map(|element| self.content[usize::from(element)].as_deref())
            .collect();
        let len = data.first().map_or(0, |block| block.len());
        let (mut p, mut q) = (vec![0; len], vec![0; len]);
        let Some(q_element) = self.layout.q() else {
            parity::xor_parity(&data, &mut p)?;
            return Ok(vec![(self.layout.p(), p)]);
        };
        parity::pq_parity(&data, &mut p, &mut q)?;
        Ok(vec![(self.layout.p(), p), (q_element, q)])
    }

    /// Everything that is not new, from what is.
    fn decode(&self) -> Result<Vec<(u8, Vec<u8>)>, ParityError> {
        let new = |element: u8| {
            let index = usize::from(element);
            self.content[index]
                .as_deref()
                .filter(|_| self.is_new[index])
        };
        #[cfg(test)]
        let new = |element: u8| {
            let index = usize::from(element);
            let guessed = is_planted(Planted::GuessesMixtures);
            let content = self.content[index].as_deref();
            new(element).or_else(|| content.filter(|_| guessed))
        };
        let data: Vec<Option<&[u8]>> = self.data().map(new).collect();
        let p = new(self.layout.p());
        let q = self.layout.q().and_then(new);
        let len = self.content.iter().flatten().map(Vec::len).next();
        let mut computed: Vec<(u8, Vec<u8>)> = (0..self.layout.members())
            .filter(|element| new(*element).is_none())
            .map(|element| (element, vec![0; len.unwrap_or(0)]))
            .collect();
        let mut wanted: Vec<Wanted<'_>> = computed
            .iter_mut()
            .map(|(element, bytes)| Wanted {
                role: self.layout.role(*element),
                out: bytes,
            })
            .collect();
        parity::recover(&data, p, q, &mut wanted)?;
        Ok(computed)
    }

    /// The parity that is left over when what absent members lack is defined by the others. None when
    /// members that are there lack something.
    fn define(&self) -> Result<Vec<(u8, Vec<u8>)>, ParityError> {
        let content = |element: u8| self.content[usize::from(element)].as_deref();
        let lost: Vec<u8> = self.data().filter(|element| !self.has(*element)).collect();
        let is_absent = |element: &u8| content(*element).is_none();
        let (p, q) = (content(self.layout.p()), self.layout.q());
        let Some((q_element, _)) = q.and_then(|q| Some((q, content(q)?))) else {
            return Ok(Vec::new());
        };
        if p.is_none() || lost.len() != 1 || !lost.iter().all(is_absent) {
            return Ok(Vec::new());
        }
        let len = p.map_or(0, <[u8]>::len);
        let mut defined = vec![0; len];
        let data: Vec<Option<&[u8]>> = self.data().map(content).collect();
        let mut wanted = [Wanted {
            role: self.layout.role(lost[0]),
            out: &mut defined,
        }];
        parity::recover(&data, p, None, &mut wanted)?;
        let data: Vec<&[u8]> = data
            .into_iter()
            .map(|block| block.unwrap_or(&defined))
            .collect();
        let (mut p, mut q) = (vec![0; len], vec![0; len]);
        parity::pq_parity(&data, &mut p, &mut q)?;
        Ok(vec![(q_element, q)])
    }

    fn give_up(&self, start: u64, sectors: u16, report: &mut Report) {
        for element in 0..self.layout.members() {
            let range = MemberRange {
                element,
                member_sector: start,
                sectors,
            };
            match self.layout.role(element) {
                Role::Data(_) if !self.has(element) => report.unreadable.push(range),
                Role::P | Role::Q if self.content[usize::from(element)].is_some() => {
                    report.bad_parity.push(range);
                }
                _ => {}
            }
        }
    }
}
