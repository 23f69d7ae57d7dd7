//! Drives that do not answer, and answer again.

use super::memory::TEARS;
use super::world::{MIB, World, number, seen};
use crate::admin::{Admin, AdminError, DriveSlot, ElementId, ElementState};
use crate::manager::{Manager, MemberFailure};
use crate::patience::DriveHealth;
use crate::target::ChangeDecision;
use aoe::ConfigCommand;
use raid::Level;
use std::time::Duration;

use ElementState::{Failed, Normal, Replaced};

/// LUN 0, online, on all drives but the last.
fn online(level: Level, members: usize) -> (World, Manager) {
    let world = World::new(&vec![2 * MIB; members + 1]);
    let mut manager = world.start();
    let drives: Vec<usize> = (0..members).collect();
    world.make(&mut manager, 0, level, &drives);
    manager.online(number(0)).unwrap();
    drop(manager.take_notices());
    (world, manager)
}

fn id(member: u8) -> ElementId {
    crate::admin::PartId::first(number(0)).element(member)
}

fn states(manager: &Manager) -> Vec<ElementState> {
    let elements = &seen(manager).luns[0].elements;
    elements.iter().map(|(_, state, _)| *state).collect()
}

fn hangs(world: &World, manager: &mut Manager, member: u8) {
    let drive = world.slot(usize::from(member));
    let failure = manager
        .member_hangs(number(0), 0, member, drive, "not answered")
        .unwrap();
    assert_eq!(failure, MemberFailure::GivenUp);
}

fn set_health(world: &World, drive: usize, health: DriveHealth) {
    let slot = world.slot(drive);
    world.log.lock().unwrap().health.insert(slot, health);
}

const BUSY: DriveHealth = DriveHealth {
    is_suspect: true,
    abandoned_ios: 3,
    oldest_ns: 12_000_000_000,
};

fn tick(manager: &mut Manager, seconds: u64) {
    manager.tick(Duration::from_secs(seconds));
}

#[test]
fn a_member_that_hangs_is_taken_back_when_its_drive_answers_and_nothing_is_outstanding() {
    for (level, members) in [
        (Level::Raid1, 2),
        (Level::Raid10, 4),
        (Level::Raid5, 3),
        (Level::Raid6, 4),
    ] {
        let (world, mut manager) = online(level, members);
        manager.want_regions(number(0), 0, &[raid::regions::RegionIndex(0)]);
        tick(&mut manager, 100);
        set_health(&world, 1, BUSY);
        hangs(&world, &mut manager, 1);
        assert_eq!(states(&manager)[1], Failed);
        for seconds in 101..120 {
            tick(&mut manager, seconds);
            assert_eq!(states(&manager)[1], Failed, "{level}: {seconds}");
        }
        set_health(&world, 1, DriveHealth::default());
        world.image(1).is_silent = true;
        tick(&mut manager, 120);
        assert_eq!(states(&manager)[1], Failed, "it does not answer a read");
        world.image(1).is_silent = false;
        tick(&mut manager, 121);
        assert_eq!(states(&manager)[1], Replaced);
        // Only what it lacks is written to it.
        let view = world.view(0).unwrap();
        let sync = view.parts[0].sync.clone().unwrap();
        let regions = view.parts[0].regions.as_ref().unwrap().map.regions();
        let concerned = sync.regions.expect("only some regions");
        assert!(concerned.count() < regions || regions <= 8, "{level}");
        world.finish_pass(&mut manager, 0);
        assert_eq!(states(&manager), vec![Normal; members]);
    }
}

#[test]
fn a_drive_is_left_alone_for_a_while_and_after_three_times_in_an_hour() {
    let (world, mut manager) = online(Level::Raid1, 2);
    let mut now = 1000;
    for _ in 0..3 {
        tick(&mut manager, now);
        hangs(&world, &mut manager, 0);
        tick(&mut manager, now + 4);
        assert_eq!(states(&manager)[0], Failed);
        tick(&mut manager, now + 5);
        assert_eq!(states(&manager)[0], Replaced);
        world.finish_pass(&mut manager, 0);
        now += 100;
    }
    tick(&mut manager, now);
    hangs(&world, &mut manager, 0);
    drop(manager.take_notices());
    tick(&mut manager, now + 5);
    assert_eq!(
        manager.take_notices(),
        [
            "WARNING: element 0.0.0 was taken back 3 times within an hour and does not answer again: \
          replace its drive, or take it back with: unfail 0.0.0"
        ]
    );
    tick(&mut manager, now + 5000);
    assert_eq!(states(&manager)[0], Failed);
    assert_eq!(states(&world.fork().start())[0], Failed, "nor by a restart");
    manager.unfail(id(0)).unwrap();
    world.finish_pass(&mut manager, 0);
    // Another hour, another try.
    hangs(&world, &mut manager, 0);
    tick(&mut manager, now + 5005);
    assert_eq!(states(&manager)[0], Replaced);
}

#[test]
fn a_restart_takes_back_who_was_awaited() {
    let (world, mut manager) = online(Level::Raid5, 3);
    hangs(&world, &mut manager, 2);
    tick(&mut manager, 1);
    drop(manager);
    assert_eq!(states(&world.fork().start())[2], Replaced);
}

#[test]
fn whom_the_administrator_failed_stays_failed() {
    let (world, mut manager) = online(Level::Raid1, 3);
    manager.fail(id(1)).unwrap();
    // An I/O of before.
    hangs(&world, &mut manager, 1);
    tick(&mut manager, 600);
    assert_eq!(states(&manager)[1], Failed);
}

#[test]
fn a_spare_waits_two_minutes_for_a_member_that_may_return() {
    let (world, mut manager) = online(Level::Raid1, 2);
    tick(&mut manager, 1000);
    manager.add_spare(world.slot(2), None, false).unwrap();
    set_health(&world, 1, BUSY);
    hangs(&world, &mut manager, 1);
    tick(&mut manager, 1119);
    assert_eq!(states(&manager)[1], Failed);
    tick(&mut manager, 1120);
    assert_eq!(states(&manager)[1], Replaced);
    assert!(manager.spares().is_empty());
    // Its drive is another's now.
    set_health(&world, 1, DriveHealth::default());
    tick(&mut manager, 2000);
    let elements = &seen(&manager).luns[0].elements;
    assert_eq!(elements[1].2.as_deref(), Some("drive2"));
}

#[test]
fn a_drive_with_io_outstanding_is_taken_for_nothing() {
    let (world, mut manager) = online(Level::Raid1, 2);
    manager.fail(id(1)).unwrap();
    for drive in [1, 2] {
        set_health(&world, drive, BUSY);
    }
    let refused = |result: Result<(), AdminError>, drive: &str| {
        assert_eq!(
            result.unwrap_err().to_string(),
            format!(
                "{drive} has I/O outstanding since 12 s: 3 that were given up may still land; when it has answered, \
                 try again, or restart the machine with the drive pulled"
            )
        );
    };
    refused(manager.unfail(id(1)), "1.1");
    refused(manager.replace(id(1), DriveSlot(2), true), "1.2");
    refused(manager.add_spare(DriveSlot(2), None, true), "1.2");
    refused(manager.make(&world.request(5, Level::Jbod, &[2])), "1.2");
    set_health(&world, 1, DriveHealth::default());
    manager.unfail(id(1)).unwrap();
}

#[test]
fn a_member_that_does_not_answer_the_administration_is_given_up_and_taken_back() {
    let (world, mut manager) = online(Level::Raid10, 4);
    world.image(2).is_silent = true;
    let stored = manager.config_command(number(0), ConfigCommand::ForceSet, b"x");
    assert_eq!(stored, ChangeDecision::Stored);
    assert_eq!(states(&manager), [Normal, Normal, Failed, Normal]);
    tick(&mut manager, 10);
    world.image(2).is_silent = false;
    tick(&mut manager, 15);
    assert_eq!(states(&manager), [Normal, Normal, Replaced, Normal]);
}

#[test]
fn slow_drives_are_told_and_shown() {
    let (_, mut manager) = online(Level::Raid1, 2);
    manager.drive_suspect(DriveSlot(1), true);
    let note = |manager: &Manager| manager.drives()[1].note.clone();
    assert_eq!(
        note(&manager).as_deref(),
        Some("slow: it takes a second and more to answer")
    );
    manager.drive_suspect(DriveSlot(1), false);
    assert_eq!(note(&manager), None);
    assert_eq!(
        manager.take_notices(),
        [
            "WARNING: drive 1.1 has not answered for a second; reads go elsewhere while they can",
            "drive 1.1 answers in time again"
        ]
    );
}

/// At each cut the member is as before, failed, or taken back; and the others serve.
#[test]
fn a_member_is_given_up_and_taken_back_whatever_the_power() {
    for (level, members) in [(Level::Raid1, 2), (Level::Raid6, 4)] {
        let life = |world: &World| {
            let mut manager = world.start();
            let drive = world.slot(1);
            drop(manager.member_hangs(number(0), 0, 1, drive, "not answered"));
            tick(&mut manager, 1);
            tick(&mut manager, 10);
            states(&manager)[1]
        };
        let (world, manager) = online(level, members);
        drop(manager);
        let base = world.fork();
        let whole = base.fork();
        assert_eq!(life(&whole), Replaced);
        let writes = whole.power.lock().unwrap().writes;
        for k in 0..writes {
            for tear in TEARS {
                let world = base.fork();
                world.cut_power_after(k, tear);
                life(&world);
                let seen = seen(&world.fork().start());
                assert!(seen.luns[0].online, "write {k} of {writes}, {tear:?}");
            }
        }
    }
}
