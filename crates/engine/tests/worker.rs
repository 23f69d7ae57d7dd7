//! A real worker between ports in memory and a drive in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what went wrong by panicking"
)]

mod rig;

use aoe::{AtaRegisters, MacAddress};
use engine::{FromWorker, Spin, Workers};
use port::{MemoryPort, Port, PortCounters, PortFacts, ReceivedFrame, TransmitError, memory_pair};
use raid::bad_blocks::BadRange;
use raid::{Geometry, Level};
use rig::{
    CLIENT, LIMIT, PORT, Start, counter, frame, is_answered, lun, mirror, next_answer, read_frame,
    send, start,
};
use shelf::admin::DriveSlot;
use shelf::plane::DataPlane;
use shelf::target::Report;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

#[test]
fn a_port_without_room_does_not_hold_up_the_others() {
    let other = MacAddress([2, 0, 0, 0, 0, 2]);
    let (ours, mut full) = memory_pair(PORT, CLIENT, 1500, 4).unwrap();
    let (others, mut free) = memory_pair(other, CLIENT, 1500, 4).unwrap();
    let workers = start(vec![Box::new(ours), Box::new(others)]);
    // Nobody takes the answers of the first port.
    for _ in 0..8 {
        send(&mut full, &frame(PORT, 1, &[0; 8]));
    }
    while counter(&workers, "transmit_waits") == 0 {
        thread::yield_now();
    }
    send(&mut free, &frame(other, 1, &[0; 8]));
    assert!(is_answered(&mut free));
    for _ in 0..8 {
        assert!(
            is_answered(&mut full),
            "what waited leaves when there is room"
        );
    }
    workers.stop();
}

#[test]
fn a_worker_that_takes_turns_has_a_heartbeat_and_one_that_has_ended_has_none() {
    let (ours, _client) = memory_pair(PORT, CLIENT, 1500, 4).unwrap();
    let workers = start(vec![Box::new(ours)]);
    let heartbeats = workers.heartbeats();
    let before = heartbeats.counts();
    assert_eq!(before.len(), 1);
    // Asleep as it is: nobody sends anything.
    while heartbeats.counts() == before {
        thread::yield_now();
    }
    workers.stop();
    let last = heartbeats.counts();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(heartbeats.counts(), last);
}

#[test]
fn a_config_answer_does_not_wait_behind_data_for_room() {
    let (ours, mut client) = memory_pair(PORT, CLIENT, 1500, 4).unwrap();
    let workers = start(vec![Box::new(ours)]);
    // Four answers fill the wire, four more wait.
    for lba in 0..8 {
        send(&mut client, &read_frame(lba));
    }
    while counter(&workers, "transmit_waits") < 4 {
        thread::yield_now();
    }
    send(&mut client, &frame(PORT, 1, &[0; 8]));
    while counter(&workers, "transmit_waits") < 5 {
        thread::yield_now();
    }
    let commands: Vec<u8> = (0..9).map(|_| next_answer(&mut client).0).collect();
    assert_eq!(commands, [0, 0, 0, 0, 1, 0, 0, 0, 0]);
    workers.stop();
}

fn write_to_mirror(port: &mut MemoryPort, workers: &Workers) {
    let mut argument = AtaRegisters::extended(0x34, true, 0, 1).as_bytes().to_vec();
    argument.resize(12 + 512, 7);
    send(port, &frame(PORT, 0, &argument));
    while counter(workers, "drive_write_errors") == 0 {
        thread::yield_now();
    }
}

#[test]
fn detach_and_stop_end_although_a_member_failed_and_nobody_decided_about_it() {
    for detach in [true, false] {
        let (ours, mut client) = memory_pair(PORT, CLIENT, 1500, 64).unwrap();
        let mut workers = start(vec![Box::new(ours)]);
        write_to_mirror(&mut client, &workers);
        let (done, wait) = mpsc::channel();
        thread::spawn(move || {
            let detached = detach.then(|| workers.detach(lun()).unwrap());
            workers.stop();
            done.send(detached.map(|detached| detached.mirrors_differ))
                .unwrap();
        });
        let differ = wait.recv_timeout(LIMIT).expect("it hangs");
        assert_eq!(differ, detach.then_some(true));
    }
}

#[test]
fn row_112_a_flood_of_config_changes_is_bounded_and_does_not_hide_a_failure() {
    let (ours, mut client) = memory_pair(PORT, CLIENT, 1500, 64).unwrap();
    let workers = start(vec![Box::new(ours)]);
    let mut argument = vec![0, 0, 0, 0, 0, 0x14, 4, 0];
    argument.resize(8 + 1024, b'x');
    for _ in 0..2000 {
        send(&mut client, &frame(PORT, 1, &argument));
    }
    write_to_mirror(&mut client, &workers);
    assert!(counter(&workers, "configs_dropped") > 1900);
    let events: Vec<FromWorker> = workers.event_receivers()[0].try_iter().collect();
    let is_change = |event: &&FromWorker| matches!(event, FromWorker::Change(_));
    assert_eq!(events.iter().filter(is_change).count(), 16);
    assert!(
        events
            .iter()
            .any(|event| matches!(event, FromWorker::Report(Report::MemberError { .. })))
    );
    // Each decision makes room for one more.
    for event in &events {
        if let FromWorker::Change(change) = event {
            workers.change_done(0, change, shelf::target::ChangeDecision::Silence);
        }
    }
    send(&mut client, &frame(PORT, 1, &argument));
    let again = workers.event_receivers()[0].recv_timeout(LIMIT);
    assert!(matches!(again, Ok(FromWorker::Change(_))), "{again:?}");
    workers.stop();
}

/// Bad sectors are not read, and are reported when they were written.
#[test]
fn bad_sectors_are_not_read_until_they_are_written() {
    let (ours, mut client) = memory_pair(PORT, CLIENT, 1500, 64).unwrap();
    let mut workers = start(vec![Box::new(ours)]);
    let mut view = (*mirror()).clone();
    view.parts[0].geometry = Geometry::new(Level::Jbod, 1, 128, 1024).unwrap();
    view.parts[0].members.truncate(1);
    let (sector, sectors) = (9, 2);
    let bad = BadRange { sector, sectors };
    workers.set_bad_blocks(DriveSlot(0), [bad].into()).unwrap();
    workers.attach(Arc::new(view)).unwrap();
    let request = |opcode: u8, lba: u64| {
        let writes = opcode == 0x34;
        let mut argument = AtaRegisters::extended(opcode, writes, lba, 1)
            .as_bytes()
            .to_vec();
        argument.resize(12 + if writes { 512 } else { 0 }, 7);
        frame(PORT, 0, &argument)
    };
    let answer = |client: &mut MemoryPort| {
        let end = Instant::now() + LIMIT;
        let mut status = None;
        while status.is_none() && Instant::now() < end {
            client.receive(1, &mut |frame| status = frame.first.get(27).copied());
        }
        status.expect("an answer")
    };
    let mut status = |opcode: u8, lba: u64| {
        send(&mut client, &request(opcode, lba));
        answer(&mut client)
    };
    assert_eq!(status(0x24, 8), 0x40);
    assert_eq!(status(0x24, 9), 0x41);
    assert_eq!(status(0x34, 8), 0x40);
    send(&mut client, &request(0x34, 10));
    let events = &workers.event_receivers()[0];
    let ticket = loop {
        let event = events.recv_timeout(LIMIT).expect("it is reported");
        if let FromWorker::Report(Report::BadSectorsWritten { range, ticket, .. }) = event {
            assert_eq!(range.sector, 10);
            break ticket.expect("the write waits");
        }
    };
    // Whoever reads it waits behind the write, and that for the administration.
    send(&mut client, &request(0x24, 10));
    thread::sleep(Duration::from_millis(20));
    client.receive(1, &mut |_| panic!("the administration decides"));
    workers
        .set_bad_blocks(DriveSlot(0), Arc::default())
        .unwrap();
    workers.bad_sectors_settled(ticket, true).unwrap();
    assert_eq!(answer(&mut client), 0x40, "the write");
    assert_eq!(answer(&mut client), 0x40, "the read");
    workers.stop();
}

/// A port whose owner is stopped in the middle of a turn when it is told to.
#[derive(Debug)]
struct PausingPort {
    port: MemoryPort,
    pauses: Arc<AtomicBool>,
    pause: Duration,
}

impl Port for PausingPort {
    fn facts(&self) -> &PortFacts {
        self.port.facts()
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&ReceivedFrame<'_>)) -> usize {
        let frames = self.port.receive(budget, sink);
        if self.pauses.swap(false, Ordering::SeqCst) {
            thread::sleep(self.pause);
        }
        frames
    }

    fn transmit(&mut self, header: &[u8], payload: &[u8]) -> Result<(), TransmitError> {
        self.port.transmit(header, payload)
    }

    fn flush(&mut self) -> bool {
        self.port.flush()
    }

    fn refresh(&mut self) -> bool {
        self.port.refresh()
    }

    fn take_error(&mut self) {
        self.port.take_error();
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.port.poll_fd()
    }

    fn counters(&self) -> PortCounters {
        self.port.counters()
    }
}

/// A worker with one port, and its other end; told to, it is paused for so long.
fn pausing(pause: Duration) -> (Workers, MemoryPort, impl Fn()) {
    let (ours, client) = memory_pair(PORT, CLIENT, 1500, 64).unwrap();
    let pauses = Arc::new(AtomicBool::new(false));
    let port = PausingPort {
        port: ours,
        pauses: Arc::clone(&pauses),
        pause,
    };
    let workers = start(vec![Box::new(port)]);
    let begin = move || {
        pauses.store(true, Ordering::SeqCst);
        while pauses.load(Ordering::SeqCst) {
            thread::yield_now();
        }
    };
    (workers, client, begin)
}

/// How often a worker sleeps in the gaps between some requests.
fn sleeps_with(spin: Spin) -> u64 {
    let (ours, mut client) = memory_pair(PORT, CLIENT, 1500, 4).unwrap();
    let start = Start {
        spin,
        ..Start::default()
    };
    let workers = start.start(vec![Box::new(ours)]);
    for lba in 0..10 {
        send(&mut client, &read_frame(lba));
        assert_eq!(u64::from(next_answer(&mut client).1), lba);
        thread::sleep(Duration::from_millis(20));
    }
    let sleeps = counter(&workers, "sleeps");
    workers.stop();
    sleeps
}

#[test]
fn a_worker_without_work_sleeps_when_it_has_polled_for_its_budget() {
    for micros in [0, 50] {
        let sleeps = sleeps_with(Spin::For(Duration::from_micros(micros)));
        assert!(sleeps > 0, "{micros} us");
    }
}

#[test]
fn a_worker_does_not_sleep_before_its_budget_is_used_up_or_when_it_polls_always() {
    for spin in [Spin::For(Duration::from_secs(3600)), Spin::Always] {
        assert_eq!(sleeps_with(spin), 0, "{spin:?}");
    }
}

#[test]
fn row_109_what_arrived_while_the_worker_was_paused_is_not_done() {
    let (workers, mut client, begin_pause) = pausing(Duration::from_millis(1500));
    begin_pause();
    for _ in 0..3 {
        send(&mut client, &frame(PORT, 1, &[0; 8]));
    }
    while counter(&workers, "stale_frames") == 0 {
        thread::yield_now();
    }
    assert_eq!(counter(&workers, "stale_frames"), 3);
    assert_eq!(client.receive(1, &mut |_| {}), 0, "no answer");
    send(&mut client, &frame(PORT, 1, &[0; 8]));
    assert!(is_answered(&mut client), "service goes on");
    workers.stop();
}

#[test]
fn what_arrived_before_a_lun_was_online_is_not_done() {
    let (mut workers, mut client, begin_pause) = pausing(Duration::from_millis(300));
    workers.detach(lun()).unwrap();
    // The worker looks at its messages first: both are there when it goes on.
    begin_pause();
    send(&mut client, &frame(PORT, 1, &[0; 8]));
    workers.attach(mirror()).unwrap();
    let (stale, unserved) = (
        counter(&workers, "stale_frames"),
        counter(&workers, "no_lun"),
    );
    assert_eq!(stale + unserved, 1);
    assert_eq!(client.receive(1, &mut |_| {}), 0, "no answer");
    workers.stop();
}
