//! Another shelf with our number.

use super::memory::Told;
use super::world::{MIB, World, number, seen};
use crate::admin::{Admin, AdminError};
use crate::plane::Impostor;
use aoe::MacAddress;
use raid::Level;
use std::time::Duration;

fn impostor(lun: u8) -> Impostor {
    Impostor {
        lun: number(lun),
        interface: "eth1".to_owned(),
        mac: MacAddress([2, 0, 0, 0, 0, 0x77]),
    }
}

#[test]
fn row_117_a_lun_does_not_go_online_while_somebody_else_answers_for_it() {
    let world = World::new(&[2 * MIB; 2]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Jbod, &[0]);
    world.make(&mut manager, 1, Level::Jbod, &[1]);
    world.log.lock().unwrap().impostors = vec![impostor(0)];
    let refused = manager.online(number(0)).unwrap_err();
    let AdminError::AddressTaken(text) = &refused else {
        panic!("{refused}")
    };
    assert!(
        text.contains("020000000077 on eth1 answers for 1.0, too"),
        "{text}"
    );
    assert!(world.view(0).is_none());
    assert_eq!(manager.luns()[0].trouble.as_ref(), Some(text));
    assert!(
        manager
            .take_notices()
            .iter()
            .any(|n| n.starts_with("ALARM: LUN 0"))
    );
    manager.online(number(1)).unwrap();
    // The other one is switched off.
    world.log.lock().unwrap().impostors.clear();
    manager.online(number(0)).unwrap();
    assert_eq!(manager.luns()[0].trouble, None);
}

#[test]
fn row_117_a_start_waits_until_nobody_else_answers() {
    let world = World::new(&[2 * MIB; 2]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Jbod, &[0]);
    manager.online(number(0)).unwrap();
    manager.shutdown();
    let world = world.fork();
    world.log.lock().unwrap().impostors = vec![impostor(0)];
    let mut manager = world.start();
    assert!(world.view(0).is_none());
    let probes = |world: &World| {
        let log = world.log.lock().unwrap();
        log.told
            .iter()
            .filter(|told| matches!(told, Told::Probe(_)))
            .count()
    };
    let before = probes(&world);
    for seconds in 1..=140 {
        manager.tick(Duration::from_secs(seconds));
        if seconds % 60 == 5 {
            manager.impostor_seen(impostor(0));
        }
    }
    assert_eq!(probes(&world), before + 3, "it is asked once a minute");
    assert!(!seen(&manager).luns[0].online && world.view(0).is_none());
    manager.tick(Duration::from_secs(400));
    assert!(seen(&manager).luns[0].online && world.view(0).is_some());
    assert_eq!(manager.luns()[0].trouble, None);
    // One that comes later is told once, and does not stop us.
    manager.take_notices();
    manager.impostor_seen(impostor(0));
    manager.impostor_seen(impostor(0));
    let alarms = manager.take_notices();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(world.view(0).is_some());
    assert!(manager.luns()[0].trouble.is_some());
}
