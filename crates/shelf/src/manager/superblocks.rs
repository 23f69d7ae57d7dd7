//! What the superblocks of drives say, for administrators.

use super::Manager;
use super::import::md_uuid;
use crate::admin::{DriveSlot, SuperblockStatus};
use raid::md::{Role, Superblock};

impl Manager {
    /// What the superblock of a drive says that is a member in use, a replacement, or a spare.
    pub(super) fn superblock_of(&self, drive: DriveSlot) -> Option<SuperblockStatus> {
        let members = self.raids.values().flat_map(|raid| &raid.members);
        let mut superblocks = members.flat_map(|member| {
            let own = member.drive().zip(member.metadata());
            let twin = member.twin().map(|twin| (twin.drive, &twin.metadata));
            own.into_iter().chain(twin)
        });
        let is_wanted = |(on, _): &(DriveSlot, _)| *on == drive;
        let of_member = superblocks.find(is_wanted);
        let of_member = of_member.map(|(_, metadata)| status(&metadata.superblock));
        of_member.or_else(|| {
            let spare = self.spares.iter().find(|spare| spare.drive == drive)?;
            Some(status(spare.superblock()))
        })
    }
}

fn status(superblock: &Superblock) -> SuperblockStatus {
    let role = match superblock.role(superblock.dev_number()) {
        Role::Active(role) => Some(role),
        Role::Spare | Role::Faulty | Role::Other(_) => None,
    };
    SuperblockStatus {
        version: "1.2",
        array: md_uuid(superblock.set_uuid()),
        device: md_uuid(superblock.device_uuid()),
        device_number: superblock.dev_number(),
        role,
        events: superblock.events(),
    }
}
