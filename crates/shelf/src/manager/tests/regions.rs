//! The write-intent bitmap through the life of a mirror: power cuts at every write, and random lives.
//!
//! Wherever power is cut, the next start resynchronises every region that may differ: those that the
//! data path was writing, and those that no pass has been over since.

use super::memory::{TEARS, Tear, Told};
use super::world::{MIB, World, number};
use crate::admin::{Admin, MakeRequest};
use crate::manager::Manager;
use proptest::prelude::*;
use raid::Level;
use raid::bitmap::Bitmap;
use raid::md::{Resync, Role};
use raid::regions::{RegionIndex, RegionMap, RegionSet};
use std::time::Duration;

const SHAPES: [(Level, usize); 2] = [(Level::Raid1, 3), (Level::Raid10, 4)];

/// A world with LUN 0 over drives of 4 MiB, 58 or 116 regions of 64 KiB, online.
fn online(level: Level, members: usize, clean: bool) -> (World, Manager) {
    let world = World::new(&vec![4 * MIB; members]);
    let mut manager = world.start();
    let drives: Vec<usize> = (0..members).collect();
    let request = world.request(0, level, &drives);
    manager.make(&MakeRequest { clean, ..request }).unwrap();
    manager.online(number(0)).unwrap();
    (world, manager)
}

fn bitmap(world: &World, index: usize) -> Bitmap {
    world.image(index).bitmap().unwrap()
}

fn set(bitmap: &Bitmap) -> Vec<u32> {
    bitmap.set().iter().map(|region| region.0).collect()
}

fn map(world: &World) -> RegionMap {
    let index = (0..world.images.len()).find(|index| world.image(*index).bitmap().is_some());
    *bitmap(world, index.unwrap()).map()
}

/// The regions that the data path is told to resynchronise; `None` for no pass.
fn resynced(world: &World) -> Option<Vec<u32>> {
    let view = world.view(0)?;
    let sync = view.parts[0].sync.clone()?;
    let regions = sync.regions.expect("never all without saying which");
    Some(regions.iter().map(|region| region.0).collect())
}

/// Lets so much time pass that whatever may be cleared is.
fn sweep(manager: &mut Manager, uptime: &mut u64) {
    *uptime += 30;
    manager.tick(Duration::from_secs(*uptime));
}

#[test]
fn bits_are_durable_on_every_member_before_the_data_path_is_told() {
    for (level, members) in SHAPES {
        let (world, mut manager) = online(level, members, true);
        manager.want_regions(number(0), 0, &[RegionIndex(8)]);
        for index in 0..members {
            assert_eq!(set(&bitmap(&world, index)), (8..16).collect::<Vec<_>>());
        }
        let told = world.log.lock().unwrap().told.clone();
        assert_eq!(told.last(), Some(&Told::Regions(number(0), 8..16, true)));
        let writes = world.power.lock().unwrap().writes;
        manager.want_regions(number(0), 0, &[RegionIndex(8)]);
        assert_eq!(world.power.lock().unwrap().writes, writes, "they are set");
        manager.want_regions(number(0), 0, &[RegionIndex(56)]);
        // Together they cost a write a member.
        let writes = world.power.lock().unwrap().writes;
        manager.want_regions(number(0), 0, &[RegionIndex(16), RegionIndex(40)]);
        let now = world.power.lock().unwrap().writes;
        assert_eq!(now - writes, members as u64);
        let told = world.log.lock().unwrap().told.clone();
        let ready = [16..24, 40..48].map(|regions| Told::Regions(number(0), regions, true));
        assert!(told.ends_with(&ready));
        let last = if level == Level::Raid1 { 57 } else { 63 };
        assert_eq!(set(&bitmap(&world, 0)).last(), Some(&last));
        // Another LUN, and a part that is not there.
        manager.want_regions(number(1), 0, &[RegionIndex(0)]);
        manager.want_regions(number(0), 1, &[RegionIndex(0)]);
        assert!(!bitmap(&world, 0).set().contains(RegionIndex(0)));
    }
}

#[test]
fn only_the_regions_that_were_written_are_resynchronised_after_a_crash() {
    for (level, members) in SHAPES {
        let (world, mut manager) = online(level, members, true);
        manager.want_regions(number(0), 0, &[RegionIndex(16)]);
        let crashed = world.fork();
        let mut manager = crashed.start();
        assert_eq!(resynced(&crashed), Some((16..24).collect()));
        assert!(crashed.view(0).unwrap().parts[0].mirrors_unsynced);
        let notices = manager.take_notices().join("\n");
        assert!(notices.contains("8 of"), "{notices}");
        // More is written, and power fails again.
        manager.want_regions(number(0), 0, &[RegionIndex(0)]);
        let crashed = crashed.fork();
        let mut manager = crashed.start();
        let both: Vec<u32> = (0..8).chain(16..24).collect();
        assert_eq!(resynced(&crashed), Some(both));
        let pass = crashed.view(0).unwrap().parts[0].sync.clone().unwrap().pass;
        manager.sync_ended(number(0), 0, pass, true);
        assert_eq!(resynced(&crashed), None);
        manager.shutdown();
        assert!(bitmap(&crashed, 0).set().is_empty());
        let world = crashed.fork();
        drop(world.start());
        assert_eq!(resynced(&world), None);
    }
}

#[test]
fn regions_without_writes_are_cleared_and_not_resynchronised() {
    let (world, mut manager) = online(Level::Raid1, 3, true);
    let mut uptime = 0;
    manager.want_regions(number(0), 0, &[RegionIndex(0)]);
    manager.want_regions(number(0), 0, &[RegionIndex(8)]);
    let mut busy = RegionSet::empty(map(&world).regions());
    busy.insert(RegionIndex(3));
    world.log.lock().unwrap().busy_regions = Some(busy);
    sweep(&mut manager, &mut uptime);
    for index in 0..3 {
        assert_eq!(set(&bitmap(&world, index)), [3]);
    }
    // Twice in the same interval looks once.
    world.log.lock().unwrap().busy_regions = None;
    manager.tick(Duration::from_secs(uptime + 29));
    assert_eq!(set(&bitmap(&world, 0)), [3]);
    sweep(&mut manager, &mut uptime);
    assert!(bitmap(&world, 0).set().is_empty());
    drop(world.fork().start());
}

#[test]
fn no_bit_is_cleared_while_a_member_is_missing() {
    let (world, mut manager) = online(Level::Raid1, 3, true);
    let mut uptime = 0;
    manager.want_regions(number(0), 0, &[RegionIndex(0)]);
    let cleared = bitmap(&world, 0).events_cleared();
    manager
        .member_failed(number(0), 0, 1, world.slot(1), "test")
        .unwrap();
    manager.want_regions(number(0), 0, &[RegionIndex(8)]);
    sweep(&mut manager, &mut uptime);
    assert!(
        world.log.lock().unwrap().candidates.is_none(),
        "not even asked"
    );
    manager.shutdown();
    let all: Vec<u32> = (0..16).collect();
    for index in [0, 2] {
        let bitmap = bitmap(&world, index);
        assert_eq!(set(&bitmap), all);
        assert!(bitmap.events_cleared() <= world.image(1).superblock().unwrap().events());
        assert!(bitmap.events_cleared() >= cleared);
        let superblock = world.image(index).superblock().unwrap();
        assert_eq!(superblock.resync(), Resync::Clean, "as md has it");
    }
    // They stay over restarts, and the survivors agree.
    let world = world.fork();
    let mut manager = world.start();
    assert_eq!(resynced(&world), None);
    assert!(!world.view(0).unwrap().parts[0].mirrors_unsynced);
    manager.shutdown();
    assert_eq!(set(&bitmap(&world, 0)), all);
}

#[test]
fn a_new_mirror_goes_on_after_a_crash_where_its_bits_were_cleared() {
    let (world, mut manager) = online(Level::Raid1, 2, false);
    let mut uptime = 0;
    let regions = map(&world).regions();
    assert_eq!(resynced(&world), Some((0..regions).collect()));
    sweep(&mut manager, &mut uptime);
    assert_eq!(
        bitmap(&world, 0).set().count(),
        regions,
        "none is synchronised"
    );
    manager.sync_reached(number(0), 0, 1, 10 * 128 + 5);
    sweep(&mut manager, &mut uptime);
    assert_eq!(
        resynced(&world.fork_started()),
        Some((10..regions).collect())
    );
    // In good order it says from where.
    manager.shutdown();
    let superblock = world.image(0).superblock().unwrap();
    assert_eq!(superblock.resync(), Resync::DirtyFrom(10 * 128 + 5));
    let world = world.fork_started();
    assert_eq!(resynced(&world), Some((10..regions).collect()));
    let sync = world.view(0).unwrap().parts[0].sync.clone().unwrap();
    assert_eq!(sync.start_lba, 10 * 128 + 5);
}

impl World {
    /// The same after a crash and a start.
    fn fork_started(&self) -> Self {
        let world = self.fork();
        drop(world.start());
        world
    }
}

/// Writes over part of the bitmap of a member.
fn damage(world: &World, index: usize, at: usize, value: u8) {
    let mut image = world.image(index);
    let place = 16 + at as u64 / 512;
    image.written.get_mut(&place).unwrap()[at % 512] = value;
}

#[test]
fn a_bitmap_that_is_not_believed_means_that_everything_may_differ() {
    let (world, mut manager) = online(Level::Raid1, 2, true);
    manager.want_regions(number(0), 0, &[RegionIndex(0)]);
    drop(manager);
    let all: Vec<u32> = (0..map(&world).regions()).collect();
    // Event count, state, magic, UUID.
    for (at, value) in [(24, 0), (48, 2), (0, 0), (8, 0xee)] {
        let one = world.fork();
        damage(&one, 1, at, value);
        drop(one.start());
        assert_eq!(resynced(&one), Some((0..8).collect()), "the other knows");
        let both = world.fork();
        damage(&both, 0, at, value);
        damage(&both, 1, at, value);
        drop(both.start());
        assert_eq!(resynced(&both), Some(all.clone()));
        for index in 0..2 {
            assert_eq!(set(&bitmap(&both, index)), all, "and the bits say so");
        }
    }
}

/// The bitmap that replaces one that is not believed has its event count in the first sector and bits in
/// others: torn between them it was believed, without the bits.
#[test]
fn a_bitmap_that_is_replaced_is_not_believed_before_it_is_complete() {
    let world = World::new(&[63 * MIB; 6]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid10, &[0, 1, 2, 3, 4, 5]);
    manager.online(number(0)).unwrap();
    drop(manager);
    let regions = map(&world).regions();
    assert!(regions > 2048, "more than fit into the first sector");
    for index in 0..6 {
        damage(&world, index, 24, 0);
    }
    let writes = world.fork_started().power.lock().unwrap().writes;
    for k in 0..writes {
        for tear in TEARS {
            let torn = world.fork();
            torn.cut_power_after(k, tear);
            drop(torn.start());
            let again = torn.fork_started();
            let resynced = resynced(&again).unwrap();
            assert_eq!(resynced.len(), regions as usize, "write {k}, {tear:?}");
        }
    }
}

#[test]
fn a_bitmap_of_a_version_that_we_cannot_keep_is_left_alone() {
    let (world, mut manager) = online(Level::Raid1, 2, true);
    manager.want_regions(number(0), 0, &[RegionIndex(0)]);
    drop(manager);
    damage(&world, 0, 4, 6);
    let before = world.image(0).written.clone();
    let world = world.fork();
    let mut manager = world.start();
    assert!(world.view(0).is_none());
    assert!(world.image(0).written == before, "nothing was written");
    let refused = manager.online(number(0)).unwrap_err().to_string();
    assert!(refused.contains("bitmap of version 6"), "{refused}");
    assert!(
        refused.contains("mdadm --grow"),
        "it says what to do: {refused}"
    );
}

#[test]
fn bits_of_a_clean_mirror_mean_nothing() {
    let (world, mut manager) = online(Level::Raid1, 2, true);
    manager.shutdown();
    damage(&world, 0, 256, 0xff);
    let world = world.fork_started();
    assert_eq!(resynced(&world), None);
    assert!(bitmap(&world, 0).set().is_empty());
}

#[test]
fn a_member_that_does_not_take_a_bit_is_given_up_and_the_write_goes_on() {
    let (world, mut manager) = online(Level::Raid1, 3, true);
    world.image(1).fails_writes = true;
    manager.want_regions(number(0), 0, &[RegionIndex(0)]);
    assert!(world.view(0).unwrap().parts[0].members[1].is_none());
    assert_eq!(set(&bitmap(&world, 2)), (0..8).collect::<Vec<_>>());
    let told = world.log.lock().unwrap().told.clone();
    let attach = told
        .iter()
        .rposition(|told| *told == Told::Attach(number(0)));
    let ready = Told::Regions(number(0), 0..8, true);
    assert_eq!(attach.map(|at| &told[at + 1]), Some(&ready));
    // Nobody takes it: the write is refused.
    world.image(0).fails_writes = true;
    world.image(2).fails_writes = true;
    manager.want_regions(number(0), 0, &[RegionIndex(8)]);
    let told = world.log.lock().unwrap().told.clone();
    assert_eq!(told.last(), Some(&Told::Regions(number(0), 8..16, false)));
    let notices = manager.take_notices().join("\n");
    assert!(notices.contains("writes are refused"), "{notices}");
    // And is asked for again.
    world.image(0).fails_writes = false;
    world.image(2).fails_writes = false;
    manager.want_regions(number(0), 0, &[RegionIndex(8)]);
    assert_eq!(set(&bitmap(&world, 0)), (0..16).collect::<Vec<_>>());
}

#[test]
fn mirrors_that_were_left_different_are_resynchronised_where_they_may_differ() {
    let (world, mut manager) = online(Level::Raid1, 2, true);
    manager.want_regions(number(0), 0, &[RegionIndex(8)]);
    world.log.lock().unwrap().mirrors_differ = true;
    manager.offline(number(0)).unwrap();
    assert_eq!(set(&bitmap(&world, 0)), (8..16).collect::<Vec<_>>());
    manager.online(number(0)).unwrap();
    assert_eq!(resynced(&world), Some((8..16).collect()));
}

/// What becomes of a mirror.
#[derive(Clone, Debug)]
enum Change {
    Want(u32),
    Sweep(Vec<u32>),
    Fail(u8),
    Offline,
    Online,
    /// In 1/16 of the LUN.
    Reached(u64),
    Ended(bool),
    Shutdown,
}

/// The regions in which members may differ, as the data path knows it.
struct Truth {
    differs: RegionSet,
    map: RegionMap,
}

impl Truth {
    /// Applies a change, which power may cut.
    fn apply(&mut self, world: &World, manager: &mut Manager, change: &Change, uptime: &mut u64) {
        let view = world.view(0);
        let sync = view.as_ref().and_then(|view| view.parts[0].sync.clone());
        match change {
            Change::Want(group) => {
                let group = RegionIndex(group % self.map.regions()).group();
                manager.want_regions(number(0), 0, &[group]);
            }
            Change::Sweep(busy) => {
                let mut set = RegionSet::empty(self.map.regions());
                for region in busy {
                    set.insert(RegionIndex(region % self.map.regions()));
                }
                world.log.lock().unwrap().busy_regions = Some(set);
                sweep(manager, uptime);
            }
            Change::Fail(member) => {
                let drive = world.slot(usize::from(*member));
                drop(manager.member_failed(number(0), 0, *member, drive, "test"));
            }
            Change::Offline => drop(manager.offline(number(0))),
            Change::Online => drop(manager.online(number(0))),
            Change::Reached(place) => {
                if let (Some(sync), Some(view)) = (sync, view) {
                    let lba = (view.capacity_sectors / 16 * place).max(sync.start_lba);
                    self.passed(&sync, lba);
                    manager.sync_reached(number(0), 0, sync.pass, lba);
                }
            }
            Change::Ended(complete) => {
                if let Some(sync) = sync {
                    if *complete {
                        self.passed(&sync, u64::MAX);
                    }
                    manager.sync_ended(number(0), 0, sync.pass, *complete);
                }
            }
            Change::Shutdown => manager.shutdown(),
        }
    }

    /// A pass has been over everything before `lba` that it was told to go over.
    fn passed(&mut self, sync: &crate::plane::SyncView, lba: u64) {
        let regions = sync.regions.as_ref().unwrap();
        for region in regions
            .iter()
            .filter(|region| self.map.end_lba(*region) <= lba)
        {
            if self.map.end_lba(region) > sync.start_lba {
                self.differs.remove(region);
            }
        }
    }

    /// Power is off: what was being written may differ.
    fn crash(&mut self, world: &World) {
        let log = world.log.lock().unwrap();
        if let Some(ready) = log.ready.get(&(number(0), 0)) {
            self.differs.insert_all(ready);
        }
    }

    /// What the disks say is enough to find all that differs.
    fn check_disks(&self, world: &World) {
        let superblocks: Vec<_> = (0..world.images.len())
            .filter_map(|index| world.image(index).superblock().map(|block| (index, block)))
            .collect();
        let newest = superblocks.iter().map(|(_, block)| block.events()).max();
        for (index, superblock) in &superblocks {
            let Some(bitmap) = world.image(*index).bitmap() else {
                continue;
            };
            let is_member = matches!(superblock.role(superblock.dev_number()), Role::Active(_))
                && Some(superblock.events() + 1) >= newest;
            let is_complete = superblock.active_devices().count() == superblocks.len();
            if is_member && is_complete && superblock.resync() == Resync::Clean {
                assert!(bitmap.set().is_empty(), "clean while a bit is set");
            }
        }
    }

    /// What is served is resynchronised wherever it may differ.
    fn check_view(&self, world: &World) {
        let Some(view) = world.view(0) else { return };
        let part = &view.parts[0];
        if part.members.iter().flatten().count() < 2 || self.differs.is_empty() {
            return;
        }
        assert!(part.mirrors_unsynced, "{:?} differ", self.differs);
        let sync = part.sync.as_ref().expect("a pass after each start");
        let regions = sync.regions.as_ref().unwrap();
        for region in self.differs.iter() {
            assert!(regions.contains(region), "{region:?} is not resynchronised");
            assert!(self.map.end_lba(region) > sync.start_lba);
        }
    }
}

/// Every change with power cut in each of its writes; then a start, with power cut in each of its own.
#[test]
fn wherever_power_is_cut_every_region_that_may_differ_is_found() {
    let history = [
        Change::Want(0),
        Change::Want(30),
        Change::Sweep(vec![1, 30]),
        Change::Reached(3),
        Change::Sweep(vec![]),
        Change::Fail(1),
        Change::Want(8),
        Change::Offline,
        Change::Online,
        Change::Shutdown,
    ];
    for (level, members) in SHAPES {
        for clean in [true, false] {
            for upto in 0..history.len() {
                cut_every_write(level, members, clean, &history[..=upto]);
            }
        }
    }
}

fn lead_up(
    level: Level,
    members: usize,
    clean: bool,
    history: &[Change],
) -> (World, Manager, Truth) {
    let (world, mut manager) = online(level, members, clean);
    let map = map(&world);
    let regions = map.regions();
    let differs = if clean {
        RegionSet::empty(regions)
    } else {
        RegionSet::full(regions)
    };
    let mut truth = Truth { differs, map };
    let mut uptime = 0;
    for change in history {
        truth.apply(&world, &mut manager, change, &mut uptime);
    }
    (world, manager, truth)
}

fn cut_every_write(level: Level, members: usize, clean: bool, history: &[Change]) {
    let (last, before) = history.split_last().unwrap();
    let writes = |history| {
        let (world, _manager, _) = lead_up(level, members, clean, history);
        world.power.lock().unwrap().writes
    };
    let count = writes(history) - writes(before);
    for k in 0..=count {
        for tear in TEARS {
            let (world, mut manager, mut truth) = lead_up(level, members, clean, before);
            world.cut_power_after(k, tear);
            truth.apply(&world, &mut manager, last, &mut 1000);
            drop(manager);
            truth.crash(&world);
            truth.check_disks(&world);
            let started = world.fork_started();
            truth.check_view(&started);
            let starts = started.power.lock().unwrap().writes;
            for second in 0..starts {
                let again = world.fork();
                again.cut_power_after(second, tear);
                drop(again.start());
                truth.check_disks(&again);
                truth.check_view(&again.fork_started());
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => any::<u32>().prop_map(Change::Want),
        3 => prop::collection::vec(any::<u32>(), 0..20).prop_map(Change::Sweep),
        1 => (0_u8..4).prop_map(Change::Fail),
        1 => Just(Change::Offline),
        2 => Just(Change::Online),
        2 => (0_u64..16).prop_map(Change::Reached),
        2 => any::<bool>().prop_map(Change::Ended),
        1 => Just(Change::Shutdown),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_happens_every_region_that_may_differ_is_found(
        shape in 0_usize..2,
        clean in any::<bool>(),
        steps in prop::collection::vec(
            (change(), prop::option::weighted(
                0.3, (0_u64..12, prop::sample::select(TEARS.to_vec())))),
            1..30),
    ) {
        let (level, members) = SHAPES[shape];
        let (mut world, mut manager, mut truth) = lead_up(level, members, clean, &[]);
        let mut uptime = 0;
        for (change, cut) in steps {
            if let Some((writes, tear)) = cut {
                let tear: Tear = tear;
                world.cut_power_after(writes, tear);
            }
            truth.apply(&world, &mut manager, &change, &mut uptime);
            truth.check_disks(&world);
            if cut.is_some() || matches!(change, Change::Shutdown) {
                truth.crash(&world);
                // Drives stay in their slots, as elements are failed by slot.
                world = world.fork();
                world.turn = 0;
                uptime = 0;
                manager = world.start();
                truth.check_view(&world);
            }
        }
    }
}
