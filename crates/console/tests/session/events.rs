//! What every console is told of, and that nothing else is.

use console::events::{Event, Severity, Watcher};
use shelf::admin::{DriveSlot, DriveState, ElementState};
use shelf::job::JobEnd;

/// A shelf with a mirror of slots 0 and 1, and one who has looked at it.
struct Watched {
    bench: super::Bench,
    watcher: Watcher,
}

impl Watched {
    fn new() -> Self {
        let mut bench = Self {
            bench: super::Bench::new(),
            watcher: Watcher::default(),
        };
        assert!(bench.look().is_empty(), "what was there is no event");
        bench.run("make 0 raid1 1.0-1");
        bench.look();
        bench
    }

    fn run(&mut self, line: &str) {
        self.bench.silent(line);
    }

    fn look(&mut self) -> Vec<String> {
        let events = self.watcher.look(&self.bench.shelf, 7);
        assert!(events.iter().all(|event| event.unix_seconds == 7));
        let line =
            |event: &Event| format!("{} {} {}", event.severity.code(), event.tag, event.text);
        events.iter().map(line).collect()
    }

    fn set(&mut self, member: usize, state: ElementState, slot: Option<u16>) {
        let element = &mut self.bench.shelf.luns[0].parts[0].elements[member];
        element.state = state;
        element.drive = slot.map(DriveSlot);
    }
}

#[test]
fn the_life_of_a_lun_is_told() {
    let mut bench = Watched::new();
    bench.run("online 0");
    assert_eq!(bench.look(), ["5 LUN_ONLINE LUN 1.0 online"]);
    assert!(bench.look().is_empty(), "once");
    bench.run("make 1 jbod 1.5");
    assert_eq!(bench.look(), ["5 LUN_CREATED LUN 1.1 created"]);
    bench.run("offline 0");
    bench.run("remove -f 0");
    assert_eq!(bench.look(), ["5 LUN_REMOVED LUN 1.0 removed"]);
    bench.bench.shelf.luns[0].trouble = Some("no\nluck".to_owned());
    assert_eq!(bench.look(), ["1 LUN_TROUBLE LUN 1.1: noluck"]);
    bench.bench.shelf.luns[0].trouble = None;
    assert_eq!(bench.look().len(), 1);
}

#[test]
fn a_member_that_fails_and_is_rebuilt_is_told_of() {
    let mut bench = Watched::new();
    bench.set(1, ElementState::Failed, Some(1));
    assert_eq!(
        bench.look(),
        ["1 DRIVE_FAILURE drive 1.1 (device 0.0.1) has failed"]
    );
    bench.set(1, ElementState::Replaced, Some(4));
    let begun = "2 DRIVE_RECOVERY_STARTED beginning recovery of drive 1.4 (device 0.0.1)";
    assert_eq!(bench.look(), [begun]);
    bench.set(1, ElementState::Normal, Some(4));
    let complete = "5 DRIVE_RECOVERY_COMPLETED recovery complete: drive 1.4 (device 0.0.1)";
    assert_eq!(bench.look(), [complete]);
    bench.set(1, ElementState::Missing, None);
    assert_eq!(
        bench.look(),
        ["1 DRIVE_FAILURE drive 1.4 (device 0.0.1) is missing"]
    );
    bench.set(1, ElementState::Replaced, Some(5));
    bench.look();
    bench.set(1, ElementState::Failed, Some(5));
    let aborted = "2 DRIVE_RECOVERY_ABORTED aborted recovery of drive 1.5 (device 0.0.1)";
    assert_eq!(bench.look(), [aborted]);
}

#[test]
fn a_replacement_of_a_member_that_works_is_told_of() {
    let mut bench = Watched::new();
    let mut twin = bench.bench.shelf.luns[0].parts[0].elements[1].clone();
    (twin.is_replacement, twin.state, twin.drive) =
        (true, ElementState::Replaced, Some(DriveSlot(6)));
    bench.bench.shelf.luns[0].parts[0].elements.push(twin);
    let begun = "2 DRIVE_RECOVERY_STARTED beginning recovery of drive 1.6 (device 0.0.1)";
    assert_eq!(bench.look(), [begun]);
    let twin = bench.bench.shelf.luns[0].parts[0].elements.pop().unwrap();
    bench.set(1, ElementState::Normal, Some(6));
    let complete = "5 DRIVE_RECOVERY_COMPLETED recovery complete: drive 1.6 (device 0.0.1)";
    assert_eq!(bench.look(), [complete]);
    bench.bench.shelf.luns[0].parts[0].elements.push(twin);
    bench.set(1, ElementState::Normal, Some(1));
    bench.look();
    bench.bench.shelf.luns[0].parts[0].elements.pop();
    let aborted = "2 DRIVE_RECOVERY_ABORTED aborted recovery of drive 1.6 (device 0.0.1)";
    assert_eq!(bench.look(), [aborted]);
}

#[test]
fn raids_drives_ports_and_spares_are_told_of() {
    let mut bench = Watched::new();
    bench.bench.shelf.luns[0].parts[0].state.initing = true;
    assert_eq!(
        bench.look(),
        ["4 PARITY_STARTED beginning building parity: 0.0"]
    );
    bench.bench.shelf.luns[0].parts[0].state.initing = false;
    bench.bench.shelf.luns[0].parts[0].state.failed = true;
    let failed = [
        "1 RAID_FAILURE unrecoverable failure on raid 0.0",
        "5 PARITY_COMPLETED building parity complete: 0.0",
    ];
    assert_eq!(bench.look(), failed);
    bench.bench.shelf.drives[9].state = DriveState::Down;
    bench.bench.shelf.drives[9].note = Some("no answer".to_owned());
    assert_eq!(bench.look(), ["2 DRIVE_DOWN drive 1.9 is down: no answer"]);
    bench.bench.shelf.ports[0].has_link = false;
    assert_eq!(bench.look(), ["2 PORT_DOWN port eth1 has no link"]);
    bench.bench.shelf.ports[0].has_link = true;
    assert_eq!(bench.look(), ["5 PORT_UP port eth1 has a link"]);
    let port = bench.bench.shelf.ports.remove(0);
    assert_eq!(
        bench.look(),
        ["4 PORT_CLOSED port eth1 is closed, or its interface is gone"]
    );
    bench.bench.shelf.ports.insert(0, port);
    assert_eq!(bench.look(), ["5 PORT_OPENED port eth1 is open"]);
    bench.run("spare 1.12");
    assert_eq!(bench.look(), ["5 SPARE_ADD spare 1.12 added"]);
    bench.run("rmspare 1.12");
    assert_eq!(
        bench.look(),
        ["5 SPARE_REMOVE spare 1.12 is no longer in the pool"]
    );
    assert!(Severity::Alert < Severity::Notice);
}

#[test]
fn jobs_on_drives_are_told_from_begin_to_end() {
    use super::golden::work;
    let mut bench = Watched::new();
    bench.bench.good("disktest -r 1.8-9");
    bench.bench.good("erase -f 1.10");
    assert_eq!(
        bench.look(),
        [
            "5 DRIVE_JOB_STARTED beginning read test of drive 1.8",
            "5 DRIVE_JOB_STARTED beginning read test of drive 1.9",
            "5 DRIVE_JOB_STARTED beginning erase of drive 1.10",
        ]
    );
    assert!(bench.look().is_empty(), "once");
    let shelf = &mut bench.bench.shelf;
    work(shelf, 8, 100, &[], Some(JobEnd::Complete));
    work(shelf, 9, 100, &[7, 8], Some(JobEnd::Complete));
    let gone = "the drive is gone".to_owned();
    work(shelf, 10, 50, &[], Some(JobEnd::Failed(gone)));
    assert_eq!(
        bench.look(),
        [
            "5 DRIVE_JOB_COMPLETED read test of drive 1.8 complete",
            "2 DRIVE_JOB_BAD_SECTORS read test of drive 1.9 complete: 2 bad sectors",
            "2 DRIVE_JOB_FAILED erase of drive 1.10 failed: the drive is gone",
        ]
    );
    assert!(bench.look().is_empty(), "once");
    // One that began and ended between two looks.
    bench.bench.good("disktest -wf 1.8");
    work(&mut bench.bench.shelf, 8, 20, &[], Some(JobEnd::Stopped));
    assert_eq!(
        bench.look(),
        [
            "5 DRIVE_JOB_STARTED beginning write test of drive 1.8",
            "4 DRIVE_JOB_STOPPED write test of drive 1.8 was stopped",
        ]
    );
}
