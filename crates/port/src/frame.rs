//! A received frame as the kernel gave it: one piece, or several for jumbo frames.

/// One received frame, borrowed from the receive ring.
///
/// The first segment holds at least the first 60 bytes or the whole frame; jumbo frames go on in
/// `rest`. Segment boundaries carry no meaning.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedFrame<'a> {
    /// The start of the frame: the Ethernet header and what follows it.
    pub first: &'a [u8],
    /// The rest of the frame, in order.
    pub rest: &'a [&'a [u8]],
}

impl ReceivedFrame<'_> {
    /// Length of the whole frame in bytes, Ethernet header included.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.first.len() + self.rest.iter().map(|segment| segment.len()).sum::<usize>()
    }

    /// Copies bytes from `offset` on into `target` across segment boundaries. Returns how many were
    /// copied: fewer than `target` holds when the frame ends first.
    pub fn copy_to(&self, offset: usize, target: &mut [u8]) -> usize {
        let mut skip = offset;
        let mut done = 0;
        for segment in std::iter::once(&self.first).chain(self.rest) {
            let Some(from) = segment.get(skip..) else {
                skip -= segment.len();
                continue;
            };
            skip = 0;
            let count = from.len().min(target.len() - done);
            target[done..done + count].copy_from_slice(&from[..count]);
            done += count;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn copying_out_equals_slicing_the_joined_frame(
            segments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..6),
            offset in 0usize..260,
            room in 0usize..260,
        ) {
            let joined: Vec<u8> = segments.concat();
            let slices: Vec<&[u8]> = segments.iter().map(Vec::as_slice).collect();
            let frame = ReceivedFrame { first: slices[0], rest: &slices[1..] };
            prop_assert_eq!(frame.len_bytes(), joined.len());

            let mut target = vec![0xee; room];
            let copied = frame.copy_to(offset, &mut target);
            let expected = joined.get(offset..).unwrap_or(&[]);
            let expected = &expected[..expected.len().min(room)];
            prop_assert_eq!(&target[..copied], expected);
            prop_assert!(target[copied..].iter().all(|&byte| byte == 0xee));
        }
    }
}
