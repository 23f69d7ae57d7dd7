//! The shelf as an input finds it: LUNs of all levels, with all kinds of rules.

use super::disk::{Content, Disk, SECTOR};
use super::plane::Shared;
use super::world::{SHELF, STATIONS as PORT_STATIONS, World};
use aoe::{Header, Key, MacAddress, ReservationKind, Shelf, Slot, Tag, VlanId};
use raid::Level;
use shelf::admin::{AccessChange, Admin, DriveSlot, LunNumber, MakeRequest, MemberChoice};
use shelf::manager::Manager;
use shelf::target::{Change, ChangeDecision, KeyedWish, PortIndex, Wish};
use std::sync::{Arc, OnceLock};

/// Sectors of a drive.
const DRIVE_SECTORS: usize = 2048;

/// Chunks are small, so that frames cross them.
const CHUNK_KIB: u32 = 16;

/// The LUNs by number: level, how many drives, whether its members are said to agree, whether it is served.
const LUNS: [(Level, u16, bool, bool); 9] = [
    (Level::Raid0, 2, true, true),
    (Level::Raid1, 2, true, true),
    (Level::Raid5, 3, true, true),
    (Level::Raid10, 4, true, true),
    (Level::Jbod, 1, true, true),
    (Level::Raid6, 4, true, true),
    (Level::Raid1, 3, false, true),
    (Level::Raid5, 4, false, false),
    (Level::Jbod, 1, true, true),
];

/// The LUN that has a mask list, that which is in a VLAN, that which is read-only, and that which has a
/// second part.
const MASKED: u8 = 1;
pub(super) const IN_VLAN: u8 = 4;
const READ_ONLY: u8 = 6;
const GROWN: u8 = 8;

/// The LUN that is reserved without keys, and that which is by key.
const RESERVED: u8 = 2;
const KEYED: u8 = 3;

/// Drives of the second part, and spares.
const GROWN_DRIVES: u16 = 3;
const SPARES: u16 = 1;

/// The VLAN.
pub(super) const VLAN: u16 = 5;

/// The stations that speak to the shelf. The last one is a group.
pub(super) const STATIONS: [MacAddress; 5] = [
    MacAddress([2, 0, 0, 0, 0, 0xa]),
    MacAddress([2, 0, 0, 0, 0, 0xb]),
    MacAddress([2, 0, 0, 0, 0, 0xc]),
    MacAddress([2, 0, 0, 0, 0, 0xd]),
    MacAddress([3, 0, 0, 0, 0, 0xe]),
];

/// How many drives there are.
pub(super) fn drives() -> u16 {
    LUNS.iter().map(|lun| lun.1).sum::<u16>() + GROWN_DRIVES + SPARES
}

pub(super) fn lun(number: u8) -> LunNumber {
    LunNumber::new(number).expect("a LUN number")
}

/// A shelf that has just started.
pub(super) fn start() -> (Shared, Manager) {
    static MADE: OnceLock<Vec<Arc<Content>>> = OnceLock::new();
    start_on(MADE.get_or_init(make))
}

fn start_on(contents: &[Arc<Content>]) -> (Shared, Manager) {
    let disk = |content| Disk::new(Arc::clone(content));
    let world = Shared::new(World::new(contents.iter().map(disk).collect()));
    let manager = world.start_manager();
    (world, manager)
}

/// Makes the LUNs, and gives what is on the drives then.
fn make() -> Vec<Arc<Content>> {
    let empty: Arc<Content> = vec![0; DRIVE_SECTORS * SECTOR].into();
    let empty = vec![empty; usize::from(drives())];
    let (world, mut manager) = start_on(&empty);
    let mut next_drive = 0;
    for (number, (level, drives, is_clean, is_online)) in (0..).zip(LUNS) {
        let request = request(number, level, next_drive..next_drive + drives, is_clean);
        next_drive += drives;
        manager.make(&request).expect("the drives are free");
        if is_online {
            manager.online(lun(number)).expect("its drives are there");
        }
    }
    let members = next_drive..next_drive + GROWN_DRIVES;
    let second = request(GROWN, Level::Raid5, members, true);
    manager.grow(&second).expect("the drives are free");
    for spare in 0..SPARES {
        let drive = DriveSlot(next_drive + GROWN_DRIVES + spare);
        manager.add_spare(drive, None, false).expect("it is free");
    }
    let masks = AccessChange::Masks {
        remove: Vec::new(),
        add: STATIONS[..2].to_vec(),
    };
    for (number, change) in [
        (MASKED, masks),
        (IN_VLAN, AccessChange::Vlan(VlanId::new(VLAN))),
        (READ_ONLY, AccessChange::ReadOnly(true)),
    ] {
        manager
            .change_access(lun(number), &change)
            .expect("the drives work");
    }
    reserve(&mut manager);
    manager
        .set_config_string(lun(0), b"fuzz")
        .expect("the drives work");
    manager.shutdown();
    let world = world.lock();
    world.drives.iter().map(Disk::content).collect()
}

/// Two stations have a LUN for themselves, two more have keys to another.
fn reserve(manager: &mut Manager) {
    let change = |number, station: usize, wish| Change {
        port: PortIndex(0),
        request: Header::request(
            PORT_STATIONS[0],
            STATIONS[station],
            Shelf(SHELF),
            Slot(number),
            0,
            Tag(0),
        ),
        lun: lun(number),
        wish,
    };
    let register = |station: usize| KeyedWish::Register {
        key: Key(station as u64),
        macs: vec![STATIONS[station]].into(),
    };
    let set = KeyedWish::Set {
        kind: ReservationKind::WriteExclusive,
        key: Key(1),
    };
    let reserve = Wish::Reserve {
        is_forced: false,
        macs: STATIONS[..2].into(),
    };
    for change in [
        change(RESERVED, 0, reserve),
        change(KEYED, 1, Wish::Keyed(register(1))),
        change(KEYED, 2, Wish::Keyed(register(2))),
        change(KEYED, 1, Wish::Keyed(set)),
    ] {
        let decision = manager.change(&change);
        assert_eq!(decision, ChangeDecision::Stored);
    }
}

fn request(number: u8, level: Level, drives: std::ops::Range<u16>, clean: bool) -> MakeRequest {
    let has_chunks = !matches!(level, Level::Jbod | Level::Raid1);
    MakeRequest {
        lun: lun(number),
        level,
        members: drives
            .map(|drive| MemberChoice::Drive(DriveSlot(drive)))
            .collect(),
        force: false,
        clean,
        chunk_kib: has_chunks.then_some(CHUNK_KIB),
        label: None,
    }
}
