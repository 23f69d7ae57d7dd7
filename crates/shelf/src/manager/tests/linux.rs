//! What `mdadm --examine` says of the members of LUNs that the manager made and changed.

use super::world::{MIB, World, number};
use crate::admin::{Admin, DriveSlot, ElementId};
use raid::Level;
use std::os::unix::fs::FileExt;
use std::process::Command;

/// Examines one drive.
fn examine(world: &World, index: usize) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    let image = world.image(index);
    file.as_file().set_len(image.sectors * 512).unwrap();
    for (sector, bytes) in &image.written {
        file.as_file().write_all_at(bytes, sector * 512).unwrap();
    }
    let output = ["/usr/sbin/mdadm", "/sbin/mdadm", "mdadm"]
        .iter()
        .find_map(|mdadm| {
            Command::new(mdadm)
                .arg("--examine")
                .arg(file.path())
                .output()
                .ok()
        })
        .expect("mdadm is not installed; install it with: apt-get install -y mdadm");
    String::from_utf8(output.stdout).unwrap()
}

/// What Linux sees of a member that is rebuilt, of the drive that it replaces, and of a spare.
#[test]
fn mdadm_follows_a_rebuild() {
    let world = World::new(&[2 * MIB; 5]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid5, &[0, 1, 2]);
    manager.online(number(0)).unwrap();
    manager.add_spare(world.slot(3), None, false).unwrap();
    let check = |index: usize, expected: &[&str]| {
        let report = examine(&world, index);
        for words in ["- correct"].iter().chain(expected) {
            assert!(
                report.contains(words),
                "drive {index}, no {words:?} in:\n{report}"
            );
        }
    };
    check(3, &["Device Role : spare", "Name : 1:spare"]);
    let element = ElementId {
        lun: number(0),
        part: 0,
        member: 1,
    };
    manager.fail(element).unwrap();
    check(
        0,
        &[
            "Raid Level : raid5",
            "Layout : left-symmetric",
            "Array State : A.A",
        ],
    );
    manager.replace(element, world.slot(3), false).unwrap();
    let sync = world.view(0).unwrap().parts[0].sync.clone().unwrap();
    manager.sync_reached(number(0), 0, sync.pass, 4 * 256);
    check(
        3,
        &[
            "Device Role : Active device 1",
            "Recovery Offset : 512 sectors",
        ],
    );
    check(2, &["Array State : AAA"]);
    world.finish_pass(&mut manager, 0);
    assert!(!examine(&world, 3).contains("Recovery Offset"));
    check(3, &["Feature Map : 0x1", "Array State : AAA", "Name : 1:0"]);
}

#[test]
fn mdadm_follows_the_life_of_a_lun() {
    let world = World::new(&[2 * MIB, 100 * MIB, 2 * MIB, 100 * MIB]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid10, &[0, 1, 2, 3]);
    let check = |index: usize, expected: &[&str]| {
        let report = examine(&world, index);
        for words in ["- correct", "Name : 1:0", "Raid Level : raid10"]
            .iter()
            .chain(expected)
        {
            assert!(
                report.contains(words),
                "drive {index}, no {words:?} in:\n{report}"
            );
        }
    };
    let roles = [
        "Active device 0",
        "Active device 2",
        "Active device 1",
        "Active device 3",
    ];
    for (index, role) in roles.iter().enumerate() {
        check(index, &["State : clean", role, "Array State : AAAA"]);
    }
    manager.online(number(0)).unwrap();
    check(3, &["State : active"]);
    // Element 1 has md role 2.
    manager
        .member_failed(number(0), 0, 1, DriveSlot(1), "Input/output error")
        .unwrap();
    check(3, &["State : active", "Array State : AA.A"]);
    manager.shutdown();
    check(0, &["State : clean", "Array State : AA.A"]);
    manager.remove(number(0), false).unwrap();
    for index in 0..4 {
        assert!(!examine(&world, index).contains("Magic"));
    }
}
