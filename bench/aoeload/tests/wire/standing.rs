//! A target on AF_XDP that stands still: its rings fill, and what finds no room is told from what it has.

#![allow(
    clippy::unwrap_used,
    reason = "the functions around the tests are tests, too"
)]

use crate::bench::Bench;
use crate::losses::{TARGET, TARGET_RECEIVES, can_probe, lost, seen, watched, way};
use aoe::{AtaRegisters, MacAddress, Request, Shelf, Slot};
use ata::{IdentifySpec, Outcome};
use port::{Port, RequestedMode};
use probes::NamespacePath;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use zerocopy::IntoBytes;

/// How many reads are answered before it stands still.
const READS: usize = 5000;

/// Serves LUN 1.0 on one interface for so many reads; then keeps its sockets and looks at them no more.
struct Target {
    ports: Vec<Box<dyn Port>>,
    address: MacAddress,
    reads: usize,
}

impl Target {
    fn serve(&mut self, stop: &AtomicBool) {
        let mut frames: Vec<Vec<u8>> = Vec::new();
        while self.reads < READS && !stop.load(Ordering::Relaxed) {
            for port in &mut self.ports {
                port.receive(16, &mut |frame| {
                    let mut bytes = vec![0; frame.len_bytes()];
                    frame.copy_to(0, &mut bytes);
                    frames.push(bytes);
                });
                for frame in frames.drain(..) {
                    self.reads += usize::from(answer(port.as_mut(), self.address, &frame));
                }
                port.flush();
            }
        }
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Stops the target, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Answers a request; whether it was a read.
fn answer(port: &mut dyn Port, address: MacAddress, frame: &[u8]) -> bool {
    let Ok(parsed) = aoe::request::parse(frame) else {
        return false;
    };
    let (header, request) = (parsed.header, parsed.request);
    let reply = header.reply(address, Shelf(1), Slot(0));
    let mut bytes = reply.as_bytes().to_vec();
    let (data, is_read) = match request {
        Request::Config { .. } => {
            bytes.extend_from_slice(&[0, 64, 0, 1, 16, 0x10, 0, 0]);
            (Vec::new(), false)
        }
        Request::Ata(registers) => {
            let (data, is_read) = execute(registers);
            let response = registers.response(Outcome::Success.status(), Outcome::Success.error());
            bytes.extend_from_slice(response.as_bytes());
            (data, is_read)
        }
        _ => return false,
    };
    // What finds no room is sent again by the other side.
    port.transmit(&bytes, &data).is_ok() && is_read
}

/// The data of a command, and whether it is a read: all others are IDENTIFY.
fn execute(registers: &AtaRegisters) -> (Vec<u8>, bool) {
    if registers.command_status == ata::opcode::READ_EXT {
        return (vec![0; 512 * usize::from(registers.count)], true);
    }
    let spec = IdentifySpec {
        sectors: 1 << 16,
        serial: "STANDING",
        firmware: "1",
        model: "Stands still",
        solid_state: true,
        wwn: None,
        is_aligned: true,
        trims: false,
    };
    (spec.build().to_vec(), false)
}

#[test]
fn full_rings_of_a_target_that_stands_still_are_told_from_what_it_has() {
    if !can_probe() {
        return;
    }
    for mode in [RequestedMode::Native, RequestedMode::Generic] {
        let bench = Bench::new(9000);
        let (stop, (opened, ready)) = (AtomicBool::new(false), mpsc::channel());
        thread::scope(|scope| {
            let stop = &stop;
            let _stop = Stop(stop);
            let namespace = NamespacePath::named(&bench.namespace('t'));
            scope.spawn(move || {
                let open = || port::open("t0", mode).map_err(io::Error::other);
                let ports = namespace.within(open).unwrap();
                let address = ports[0].facts().stations.first();
                opened.send(()).unwrap();
                let reads = 0;
                Target {
                    ports,
                    address,
                    reads,
                }
                .serve(stop);
            });
            ready.recv().unwrap();
            let options = "--size 512 --seconds 2 --retransmit 1 --deadline 1";
            let (code, report) = bench.load(&watched(&bench, options));
            assert_eq!(code, 1, "{report}");
            let way = way(&report);
            let lost = lost(way);
            let [(TARGET_RECEIVES, dropped), (TARGET, kept)] = lost.as_slice() else {
                panic!("{way:#}");
            };
            let redirected = seen(way, TARGET_RECEIVES, "XDP redirection: ");
            assert_eq!(redirected, *dropped, "{way:#}");
            assert!(*dropped > 0 && *kept > 0, "{way:#}");
        });
    }
}
