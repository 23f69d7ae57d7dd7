//! Where receive chunks go, and where sent ones come from: the fill ring and the completion ring of a queue.
//!
//! A socket that has its queue for itself uses them as it likes. Sockets that share a queue use each ring one
//! at a time: whoever finds it in use goes on without it, and tries again in its next turn. So nobody ever
//! waits for another worker, whatever holds that one up: it keeps its own chunks until then, and gets what
//! comes back for it a turn later. What another socket has sent is handed to it through a queue.
//!
//! Invariants:
//! - no call waits, nor makes a system call: the locks are only tried;
//! - what comes back for a socket comes in the order of the completion ring: only who has that ring puts
//!   anything into the queues, and takes out what lies in its own before it goes on with the ring;
//! - a queue has room for all that its socket can have sent.

use super::shared::PortArea;
use super::umem::Ring;
use crossbeam::queue::ArrayQueue;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

/// The fill ring and the completion ring, as a socket has them.
pub(super) enum Supply {
    Own {
        fill: Ring<u64>,
        completion: Ring<u64>,
    },
    Shared {
        common: Arc<Common>,
        /// Which of the sockets.
        own: usize,
    },
}

/// What the sockets of a queue have in common.
pub(super) struct Common {
    fill: Mutex<Ring<u64>>,
    completion: Mutex<Ring<u64>>,
    /// For each socket what has come back for it, and others have found.
    sent: Box<[ArrayQueue<u64>]>,
}

/// The ring, unless another socket is using it.
fn unless_used(ring: &Mutex<Ring<u64>>) -> Option<MutexGuard<'_, Ring<u64>>> {
    match ring.try_lock() {
        Ok(ring) => Some(ring),
        // A ring is whole whenever it is let go.
        Err(TryLockError::Poisoned(ring)) => Some(ring.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

fn put(fill: &mut Ring<u64>, chunks: &mut Vec<u64>) {
    let count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    let room = fill.room(count).min(count) as usize;
    for chunk in chunks.drain(..room) {
        fill.write(chunk);
    }
    fill.publish();
}

impl Supply {
    /// For so many sockets, each of which sends at most so many pieces at a time.
    pub(super) fn among(
        fill: Ring<u64>,
        completion: Ring<u64>,
        sockets: usize,
        pieces: usize,
    ) -> Vec<Self> {
        if sockets == 1 {
            return vec![Self::Own { fill, completion }];
        }
        let common = Arc::new(Common {
            fill: Mutex::new(fill),
            completion: Mutex::new(completion),
            sent: (0..sockets).map(|_| ArrayQueue::new(pieces)).collect(),
        });
        let of = |own| Self::Shared {
            common: Arc::clone(&common),
            own,
        };
        (0..sockets).map(of).collect()
    }

    pub(super) const fn is_shared(&self) -> bool {
        matches!(self, Self::Shared { .. })
    }

    /// Puts chunks on the fill ring, if nobody else is using it.
    pub(super) fn refill(&mut self, chunks: &mut Vec<u64>) {
        match self {
            Self::Own { fill, .. } => put(fill, chunks),
            Self::Shared { common, .. } => {
                if let Some(mut fill) = unless_used(&common.fill) {
                    put(&mut fill, chunks);
                }
            }
        }
    }

    /// Whether the driver waits for a call to take chunks from the fill ring. Who is using the ring asks,
    /// too.
    pub(super) fn fill_needs_wakeup(&self) -> bool {
        match self {
            Self::Own { fill, .. } => fill.needs_wakeup(),
            Self::Shared { common, .. } => {
                unless_used(&common.fill).is_some_and(|fill| fill.needs_wakeup())
            }
        }
    }

    /// The next that has come back on a ring of its own.
    pub(super) fn next_sent(&mut self) -> Option<u64> {
        match self {
            Self::Own { completion, .. } => completion.read(),
            Self::Shared { .. } => None,
        }
    }

    /// The kernel may use the places of what was taken by [`Supply::next_sent`].
    pub(super) fn release_sent(&self) {
        if let Self::Own { completion, .. } = self {
            completion.release();
        }
    }

    /// Takes what has come back on a shared ring for a socket, as many addresses as there is room for; how
    /// many. With fewer there are no more now.
    pub(super) fn reclaim(&self, area: &PortArea, addresses: &mut [u64]) -> usize {
        match self {
            Self::Own { .. } => 0,
            Self::Shared { common, own } => common.reclaim(*own, area, addresses),
        }
    }
}

impl Common {
    fn reclaim(&self, own: usize, area: &PortArea, addresses: &mut [u64]) -> usize {
        let completion = unless_used(&self.completion);
        let mut count = 0;
        while let Some(place) = addresses.get_mut(count)
            && let Some(address) = self.sent[own].pop()
        {
            *place = address;
            count += 1;
        }
        let Some(mut completion) = completion else {
            return count;
        };
        let mut any = false;
        while let Some(place) = addresses.get_mut(count)
            && let Some(address) = completion.read()
        {
            any = true;
            let socket = area.socket_of(usize::try_from(address).unwrap_or(usize::MAX));
            if socket == own {
                *place = address;
                count += 1;
            } else if let Some(queue) = self.sent.get(socket) {
                // There is room for all that the kernel was given.
                let is_kept = queue.push(address).is_ok();
                debug_assert!(is_kept, "{address:#x} came back twice");
            }
        }
        if any {
            completion.release();
        }
        count
    }
}
