//! How frames and buffers go from one worker to another.

use super::*;
use aoe::MacAddress;
use port::{MemoryPort, TransmitError, memory_pair};

fn port(last: u8) -> MemoryPort {
    let mac = |last| MacAddress([2, 0, 0, 0, 0, last]);
    let (ours, _) = memory_pair(mac(last), mac(99), 1500, 3).unwrap();
    ours
}

/// As many as command slots, and a fourth of that.
const BUFFERS: usize = 16;
const REPLIES: usize = 4;

fn three_of(ports: Vec<Box<dyn Port>>) -> Vec<Seat> {
    seats(3, ports, 16, 4).unwrap()
}

fn frame(bytes: &[u8]) -> ReceivedFrame<'_> {
    ReceivedFrame {
        first: bytes,
        rest: &[],
    }
}

#[test]
fn frames_arrive_in_order_and_those_without_a_buffer_are_dropped_and_counted() {
    let mut seats = three_of(vec![Box::new(port(1))]);
    let to = WorkerIndex(2);
    for number in 0..BUFFERS {
        let bytes = u32::try_from(number).unwrap().to_be_bytes();
        assert!(seats[0].hand(to, &frame(&bytes)));
    }
    assert!(!seats[0].hand(to, &frame(&[0; 60])));
    // Others have buffers of their own.
    assert!(seats[1].hand(to, &frame(&[0xff; 4])));
    let peers = seats[0].peers.as_ref().unwrap();
    assert_eq!((peers.handed_over, peers.dropped), (BUFFERS as u64, 1));
    let mut taken = Vec::new();
    seats[2].take(&mut |bytes| taken.push(u32::from_be_bytes(bytes.try_into().unwrap())));
    let expected = (0..u32::try_from(BUFFERS).unwrap()).chain([u32::MAX]);
    assert!(taken.into_iter().eq(expected));
    assert!(seats[0].hand(to, &frame(&[0; 60])), "buffers came back");
    // Longer than any frame that a shelf takes.
    assert!(!seats[0].hand(to, &frame(&vec![0; BUFFER_BYTES + 1])));
}

#[test]
fn each_port_has_one_owner_who_alone_announces_and_sends() {
    let mut seats = three_of((1..=4).map(|last| Box::new(port(last)) as _).collect());
    let own: Vec<&[bool]> = seats.iter().map(|seat| &*seat.own).collect();
    assert_eq!(own[0], [true, false, false, true]);
    assert_eq!(own[1], [false, true, false, false]);
    assert_eq!(own[2], [false, false, true, false]);
    let stations = |seat: &Seat| -> Vec<MacAddress> {
        let ports = seat.ports.iter();
        ports.map(|port| port.facts().stations.first()).collect()
    };
    assert_eq!(stations(&seats[0]), stations(&seats[2]));
    // All are of one interface here: what came in by a port of another worker is answered by one's own.
    let peers = seats[2].peers.as_ref().unwrap();
    assert_eq!(peers.alias(PortIndex(0)), PortIndex(2));
    // By the port of worker 1, from worker 2, until there are no buffers.
    let mut sent = 0;
    while seats[2].ports[1].transmit(&[7; 60], &[8; 4]).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, REPLIES);
    assert_eq!(
        seats[2].ports[1].transmit(&[7; 60], &[]),
        Err(TransmitError::Full)
    );
    let Seat { peers, ports, .. } = &mut seats[1];
    let peers = peers.as_mut().unwrap();
    while let Some(post) = peers.next() {
        let Post::Reply(parcel) = post else {
            panic!("{post:?}")
        };
        assert_eq!(parcel.frame(), [&[7; 60][..], &[8; 4]].concat());
        peers.send(ports, parcel);
    }
    // The port had room for three; the other one waits, and its buffer with it.
    assert_eq!(ports[1].counters().tx_frames, 3);
    assert!(!peers.all_sent());
    assert_eq!(peers.waiting[1].len(), REPLIES - 3);
    assert!((0..3).all(|_| seats[2].ports[1].transmit(&[7; 60], &[]).is_ok()));
    assert!(seats[2].ports[1].transmit(&[7; 60], &[]).is_err());
}

#[test]
fn who_has_something_in_the_inbox_does_not_fall_asleep() {
    let mut seats = three_of(vec![Box::new(port(1))]);
    assert!(seats[1].peers.as_ref().unwrap().fall_asleep());
    assert!(seats[0].hand(WorkerIndex(1), &frame(&[1; 60])));
    let is_rung = |seat: &Seat| {
        let mut count = [0; 8];
        rustix::io::read(seat.wake.fd(), &mut count).is_ok()
    };
    assert!(is_rung(&seats[1]), "it slept, and was woken");
    assert!(!seats[1].peers.as_ref().unwrap().fall_asleep());
    assert!(seats[0].hand(WorkerIndex(1), &frame(&[1; 60])));
    assert!(!is_rung(&seats[1]), "it is awake");
}

/// A write that one worker has abandoned may land after what another one writes.
#[test]
fn a_drive_on_which_a_write_may_land_is_barred_to_the_others() {
    use shelf::target::{BufferIndex, IoOwner, Operation, Purpose};
    let io = |drive, operation| Io {
        owner: IoOwner::Command(0),
        buffer: BufferIndex(0),
        operation,
        drive: shelf::admin::DriveSlot(drive),
        sector: 0,
        sectors: 8,
        offset_sectors: 0,
        part: 0,
        member: 0,
        purpose: Purpose::Member,
        attempt: 0,
    };
    let mut seats = three_of(vec![Box::new(port(1))]);
    let write = io(3, Operation::Write);
    let barred = |seats: &[Seat], io: &Io| -> Vec<bool> {
        let peers = seats.iter().map(|seat| seat.peers.as_ref().unwrap());
        peers.map(|peers| peers.is_barred(io)).collect()
    };
    let first = seats[0].peers.as_mut().unwrap();
    first.landing_changed(&io(3, Operation::Read), false);
    first.landing_changed(&write, false);
    // Which sectors, the worker itself knows.
    assert_eq!(barred(&seats, &write), [false, true, true]);
    assert_eq!(barred(&seats, &io(3, Operation::Read)), [false; 3]);
    assert_eq!(barred(&seats, &io(2, Operation::Write)), [false; 3]);
    seats[0]
        .peers
        .as_mut()
        .unwrap()
        .landing_changed(&write, true);
    assert_eq!(barred(&seats, &write), [false; 3]);
}

/// A socket of a worker on a queue that all share.
#[derive(Debug)]
struct Socket {
    facts: PortFacts,
    /// How often it was looked at.
    looks: Arc<AtomicU32>,
}

impl Port for Socket {
    fn facts(&self) -> &PortFacts {
        &self.facts
    }

    fn look(&mut self) -> bool {
        self.looks.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn receive(&mut self, _: usize, _: &mut dyn FnMut(&ReceivedFrame<'_>)) -> usize {
        0
    }

    fn transmit(&mut self, _: &[u8], _: &[u8]) -> Result<(), TransmitError> {
        Ok(())
    }

    fn flush(&mut self) -> bool {
        false
    }

    fn refresh(&mut self) -> bool {
        false
    }

    fn take_error(&mut self) {}

    fn poll_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }

    fn counters(&self) -> port::PortCounters {
        port::PortCounters::default()
    }
}

#[test]
fn sockets_of_a_queue_are_one_port_of_which_each_worker_has_its_own() {
    let looks: Vec<_> = (0..3).map(|_| Arc::new(AtomicU32::new(0))).collect();
    let socket = |(sharer, looks): (u8, &Arc<AtomicU32>)| {
        let facts = PortFacts {
            interface: "shared".to_owned(),
            sharer: Some(sharer),
            ..port(7).facts().clone()
        };
        let looks = Arc::clone(looks);
        Box::new(Socket { facts, looks }) as Box<dyn Port>
    };
    let sockets = (0..3).zip(&looks).map(socket);
    let ports = std::iter::once(Box::new(port(1)) as _).chain(sockets);
    let mut seats = three_of(ports.chain([Box::new(port(2)) as _]).collect());
    for (worker, seat) in (0u8..).zip(&mut seats) {
        assert_eq!(seat.ports.len(), 3);
        // The second port is that of the second worker: it alone announces.
        let own: Vec<bool> = (0..3).map(|port| port == worker).collect();
        assert_eq!(&*seat.own, own);
        assert_eq!(seat.ports[1].facts().sharer, Some(worker));
        let peers = seat.peers.as_ref().unwrap();
        assert_eq!(peers.alias(PortIndex(1)), PortIndex(1));
        let mut target = Target::of_worker(
            &[shelf::target::PortView::single(MacAddress::BROADCAST, 1500); 3],
            shelf::target::BufferPlan {
                commands: 16,
                pages: 16,
                records: 4,
            },
            seat.place,
        );
        for (index, at) in (0u8..).zip(&mut seat.ports) {
            peers.look(&mut target, PortIndex(index), &mut **at);
        }
        let count = looks[usize::from(worker)].load(Ordering::Relaxed);
        assert_eq!(count, 1, "only the shared one is looked at");
    }
}
