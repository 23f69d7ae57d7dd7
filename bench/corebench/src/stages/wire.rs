//! Stages of a port: an AF_XDP socket on a veth pair between namespaces of their own, so as root.
//!
//! What the kernel does is in the nanoseconds, and in no count of instructions.

use super::{SECTORS, Stage, UNITS};
use crate::frame::{FRAME_BYTES, write_request};
use anyhow::{Context, Result, ensure};
use aoe::{ATA_FRAME_BYTES, SECTOR_BYTES};
use port::{
    BufferMemory, ETHERTYPE_AOE, Opening, Port, RawSocket, RequestedMode, SharedMemory, open_as,
};
use std::hint::black_box;
use testbed::network::{CLIENT_INTERFACE, PairNetwork, TARGET_INTERFACE};

/// Frames that a worker takes or sends in a turn, and a veth holds.
const TURN_FRAMES: usize = 64;

/// How often it is asked whether there is more, before it is taken for lost.
const ASKED_MAX: usize = 1_000_000;

const BLOCK_BYTES: usize = SECTORS as usize * SECTOR_BYTES;

/// A port and whoever speaks to it.
struct Wire {
    // Fields drop in order: sockets before their namespaces.
    port: Box<dyn Port>,
    peer: RawSocket,
    buffers: BufferMemory,
    _network: PairNetwork,
}

impl Wire {
    fn new() -> Result<Self> {
        let network = PairNetwork::new(9000)?;
        let (memory, buffers) = SharedMemory::new(TURN_FRAMES * BLOCK_BYTES)?;
        let mut ports = network.target.enter(|| {
            let opening = Opening {
                mode: RequestedMode::Native,
                memory: &|_| Some(&memory),
                ..Opening::default()
            };
            Ok(open_as(TARGET_INTERFACE, &opening)?)
        })?;
        let peer = network
            .client
            .enter(|| Ok(RawSocket::open(CLIENT_INTERFACE, ETHERTYPE_AOE)?))?;
        Ok(Self {
            port: ports.pop().context("an interface has a queue")?,
            peer,
            buffers,
            _network: network,
        })
    }
}

/// From the ring to whoever takes frames.
pub(super) struct Receive {
    wire: Wire,
    frame: [u8; FRAME_BYTES],
    frame_bytes: usize,
}

impl Receive {
    pub(super) fn new() -> Result<Self> {
        let mut frame = [0; FRAME_BYTES];
        Ok(Self {
            wire: Wire::new()?,
            frame_bytes: write_request(&mut frame, 0, false, 0, SECTORS).max(60),
            frame,
        })
    }
}

impl Stage for Receive {
    fn units(&self) -> usize {
        TURN_FRAMES
    }

    fn prepare(&mut self) -> Result<()> {
        for _ in 0..TURN_FRAMES {
            self.wire.peer.send(&self.frame[..self.frame_bytes])?;
        }
        Ok(())
    }

    fn run(&mut self) -> usize {
        let (mut received, mut asked) = (0, 0);
        while received < TURN_FRAMES && asked < ASKED_MAX {
            asked += 1;
            let mut take = |frame: &port::ReceivedFrame<'_>| {
                received += usize::from(black_box(frame.len_bytes()) >= ATA_FRAME_BYTES);
            };
            self.wire.port.receive(TURN_FRAMES, &mut take);
        }
        received
    }
}

/// The replies to reads, from the buffers into the ring and out of it; a kernel that does not say when it is
/// done with them copies them.
pub(super) struct Transmit {
    wire: Wire,
    header: [u8; ATA_FRAME_BYTES],
}

impl Transmit {
    pub(super) fn new() -> Result<Self> {
        let wire = Wire::new()?;
        let mut frame = [0; FRAME_BYTES];
        write_request(&mut frame, 0, false, 0, SECTORS);
        let mut header = [0; ATA_FRAME_BYTES];
        header.copy_from_slice(&frame[..ATA_FRAME_BYTES]);
        // To whoever listens there.
        header[..6].copy_from_slice(&wire.peer.mac().0);
        Ok(Self { wire, header })
    }

    /// Sends what a turn sends; how many were sent.
    fn turn(&mut self) -> usize {
        let Wire { port, buffers, .. } = &mut self.wire;
        let lends = port.lends();
        let mut sent = 0;
        for (place, token) in (0..TURN_FRAMES).zip(0..) {
            let payload = place * BLOCK_BYTES..(place + 1) * BLOCK_BYTES;
            let queued = if lends {
                port.transmit_lent(&self.header, payload, token)
            } else {
                port.transmit(&self.header, &buffers[payload])
            };
            sent += usize::from(queued.is_ok());
        }
        port.flush();
        let (mut returned, mut asked) = (0, 0);
        while lends && returned < sent && asked < ASKED_MAX {
            asked += 1;
            while port.next_returned().is_some() {
                returned += 1;
            }
            if returned < sent {
                port.flush();
            }
        }
        if lends { returned } else { sent }
    }
}

impl Stage for Transmit {
    fn prepare(&mut self) -> Result<()> {
        let dropped = self.wire.port.counters().tx_invalid;
        ensure!(dropped == 0, "{dropped} frames were not taken");
        Ok(())
    }

    fn run(&mut self) -> usize {
        (0..UNITS / TURN_FRAMES).map(|_| self.turn()).sum()
    }
}
