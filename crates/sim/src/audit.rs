//! What the disks may hold, beside what clients read.
//!
//! * No superblock that counts says clean while members differ.
//! * A view without a member is served only when the survivors are two events ahead of it, and call it
//!   failed.
//! * When a pass is complete, or a LUN was stopped in good order, mirrors and parity agree.

use crate::content::SECTOR;
use crate::disk::SimDisk;
use crate::plane::superblock;
use crate::world::World;
use raid::Geometry;
use raid::md::{Resync, Role, Superblock};
use raid::parity::{Verdict, Wanted, check_parity, recover, xor_parity};
use shelf::admin::DriveSlot;
use shelf::plane::{LunView, MemberView};
use std::sync::Arc;

/// A member of a LUN: its disk and where its data begin.
pub type Place<'a> = Option<(&'a SimDisk, u64)>;

impl World {
    /// Whether the present view says that mirrors agree.
    pub(crate) fn is_synced(&self) -> bool {
        let view = self.view.as_ref();
        view.is_some_and(|view| view.parts.iter().all(|part| !part.mirrors_unsynced))
    }

    /// A member goes, comes or cannot read.
    pub(crate) fn redundancy_changes(&mut self) {
        if !self.is_synced() {
            self.oracle.redundancy_changed(self.initial_agrees);
        }
        self.redundancy_settled();
    }

    /// Reads that were sent before now may have seen another copy than those that are sent later.
    pub(crate) const fn redundancy_settled(&mut self) {
        self.changed_at = self.now;
    }

    /// The administration has decided on a view: notes what it says.
    pub(crate) fn change_view(&mut self, view: Arc<LunView>) {
        let disk_of = |drive: DriveSlot| self.slots[usize::from(drive.0)];
        let member = |member: &Option<MemberView>| {
            let member = (*member)?;
            Some((disk_of(member.drive)?, member.in_sync))
        };
        let members: Vec<_> = view.parts[0].members.iter().map(member).collect();
        if members != self.members {
            for (place, (disk, _)) in self
                .placement
                .iter_mut()
                .zip(&members)
                .filter_map(|(p, m)| Some((p, (*m)?)))
            {
                *place = disk;
            }
            self.members = members;
            self.members_change();
            self.redundancy_changes();
        }
        self.view = Some(view);
        self.initial_agrees |= self.is_synced();
    }

    /// A view is about to be served: whoever is not in it must have been left behind durably.
    pub(crate) fn check_view(&mut self, view: &LunView) {
        let part = &view.parts[0];
        if !part.geometry.level().is_redundant() {
            return;
        }
        let blocks: Vec<_> = self.disks.iter().map(superblock).collect();
        let mut used = vec![None; blocks.len()];
        for member in part.members.iter().flatten() {
            if let Some(disk) = self.slots[usize::from(member.drive.0)] {
                used[disk] = Some(member.in_sync);
            }
        }
        for twin in part.twins.iter().flatten() {
            if let Some(disk) = self.slots[usize::from(twin.drive.0)] {
                used[disk] = Some(false);
            }
        }
        let mut objection = None;
        for (out, out_block) in blocks.iter().enumerate() {
            // A device that joins, or is a spare, was never served.
            let claims = |block: &&Superblock| !block.is_spare() && block.recovery().is_none();
            let Some(out_block) = out_block.as_ref().filter(claims) else {
                continue;
            };
            if used[out].is_some() {
                continue;
            }
            for (index, block) in blocks.iter().enumerate() {
                let Some(block) = block.as_ref().filter(|_| used[index] == Some(true)) else {
                    continue;
                };
                let is_behind = block.events() >= out_block.events() + 2;
                let role = block.role(out_block.dev_number());
                if !is_behind || matches!(role, Role::Active(_)) {
                    objection = Some(format!(
                        "disk {out} is left out with {} events while disk {index} has {} and calls it {role:?}",
                        out_block.events(),
                        block.events(),
                    ));
                }
            }
        }
        if let Some(text) = objection {
            self.fail(text);
        }
    }

    /// The power is off: whether a superblock that counts says clean although members differ.
    pub fn audit_clean_marks(&mut self, geometry: &Geometry) {
        if !geometry.level().is_redundant() || self.oracle.has_taint() {
            return;
        }
        let blocks: Vec<_> = self.disks.iter().map(superblock).collect();
        let Some(freshest) = freshest(&blocks) else {
            return;
        };
        if freshest.resync() != Resync::Clean {
            return;
        }
        let mut members: Vec<Place<'_>> = vec![None; usize::from(geometry.members())];
        for (disk, block) in self.disks.iter().zip(&blocks) {
            let Some(block) = block.as_ref().filter(|block| block.recovery().is_none()) else {
                continue;
            };
            let keeps_up = block.events() + 1 >= freshest.events();
            if let Role::Active(role) = freshest.role(block.dev_number())
                && keeps_up
                && let Some(element) = geometry.element_of_md_role(role)
            {
                members[usize::from(element)] = Some((disk, block.data_offset_sectors()));
            }
        }
        if let Some(text) = differing(geometry, &members) {
            self.fail(format!("the superblocks say clean, but {text}"));
        }
    }

    /// Nothing is in flight and the view says that members agree: whether they do.
    pub fn audit_members(&mut self) {
        let Some(view) = self.view.clone().filter(|_| !self.oracle.has_taint()) else {
            return;
        };
        let part = &view.parts[0];
        let place = |member: &Option<MemberView>| {
            let member = member.filter(|member| member.in_sync)?;
            let disk = self.slots[usize::from(member.drive.0)]?;
            Some((&self.disks[disk], member.data_offset_sectors))
        };
        let members: Vec<Place<'_>> = part.members.iter().map(place).collect();
        if let Some(text) = differing(&part.geometry, &members) {
            self.fail(text);
        }
    }
}

/// The superblock that counts: the one with the most events that is not a spare's.
pub(crate) fn freshest(blocks: &[Option<Superblock>]) -> Option<&Superblock> {
    let members = blocks.iter().flatten().filter(|block| !block.is_spare());
    members.max_by_key(|block| block.events())
}

/// The first place at which present members do not agree. What cannot be read is not compared.
#[must_use]
pub fn differing(geometry: &Geometry, members: &[Place<'_>]) -> Option<String> {
    if geometry.parity_count() > 0 {
        let present: Option<Vec<(&SimDisk, u64)>> = members.iter().copied().collect();
        return bad_parity(geometry, &present?);
    }
    for set in geometry.mirror_sets() {
        let mut present = set
            .into_iter()
            .filter_map(|element| Some((element, (*members.get(usize::from(element))?)?)));
        let Some((first, one)) = present.next() else {
            continue;
        };
        for (second, other) in present {
            if let Some(sector) = first_difference(geometry, one, other) {
                return Some(format!(
                    "elements {first} and {second} differ in sector {sector} of their data"
                ));
            }
        }
    }
    None
}

/// The first place at which parity does not match the data. Nothing can be said while a member is absent.
fn bad_parity(geometry: &Geometry, members: &[(&SimDisk, u64)]) -> Option<String> {
    let chunk = u64::from(geometry.chunk_sectors());
    for sector in 0..geometry.member_sectors() / chunk * chunk {
        let block = |element: u8| {
            let (disk, offset) = members[usize::from(element)];
            Some(disk.get(offset + sector))
        };
        let is_unreadable = members
            .iter()
            .any(|(disk, offset)| disk.is_bad(offset + sector));
        if !is_unreadable && !is_parity_right(geometry, sector, &block) {
            return Some(format!("parity is wrong in sector {sector} of the members"));
        }
    }
    None
}

/// Whether the parity of a member sector matches; `block` gives the sector of an element that is there. Where
/// as many are away as there are parities nothing can be said.
pub(crate) fn is_parity_right<'a>(
    geometry: &Geometry,
    sector: u64,
    block: &impl Fn(u8) -> Option<&'a [u8]>,
) -> bool {
    let Some(layout) = geometry.row_layout(geometry.row_of(sector)) else {
        return true;
    };
    let away = |element: &u8| block(*element).is_none();
    let lost: Vec<u8> = (0..geometry.members()).filter(away).collect();
    if lost.len() >= usize::from(geometry.parity_count()) {
        return true;
    }
    let columns = 0..layout.columns();
    let data: Vec<Option<&[u8]>> = columns.map(|column| block(layout.data(column))).collect();
    let (p, q) = (block(layout.p()), layout.q().and_then(block));
    // One block that is lost is given by all but Q, or, if it is Q, needed by nobody. Then all must agree.
    let mut given = vec![0; SECTOR];
    if let Some(&element) = lost.first().filter(|lost| Some(**lost) != layout.q()) {
        let role = layout.role(element);
        let out = &mut given;
        // Without P there is nothing but Q to compute from, which is to be judged.
        let computed = if element == layout.p() {
            let data: Vec<&[u8]> = data.iter().copied().flatten().collect();
            xor_parity(&data, out)
        } else {
            recover(&data, p, None, &mut [Wanted { role, out }])
        };
        if computed.is_err() {
            return false;
        }
    }
    let data: Vec<&[u8]> = data.iter().map(|one| one.unwrap_or(&given)).collect();
    check_parity(&data, p.unwrap_or(&given), q) == Ok(Verdict::Consistent)
}

fn first_difference(
    geometry: &Geometry,
    one: (&SimDisk, u64),
    other: (&SimDisk, u64),
) -> Option<u64> {
    let data = |(disk, offset): (&SimDisk, u64)| {
        let start = usize::try_from(offset).unwrap_or(0) * SECTOR;
        let len = usize::try_from(geometry.member_sectors()).unwrap_or(0) * SECTOR;
        start..(start + len).min(disk.medium().len())
    };
    let (a, b) = (&one.0.medium()[data(one)], &other.0.medium()[data(other)]);
    if a == b {
        return None;
    }
    let is_readable = |sector: u64| {
        let is_bad = |(disk, offset): (&SimDisk, u64)| disk.is_bad(offset + sector);
        !is_bad(one) && !is_bad(other)
    };
    let sectors = a
        .as_chunks::<SECTOR>()
        .0
        .iter()
        .zip(b.as_chunks::<SECTOR>().0);
    let mut differing = (0u64..).zip(sectors).filter(|(_, (a, b))| a != b);
    differing
        .find(|(sector, _)| is_readable(*sector))
        .map(|(sector, _)| sector)
}
