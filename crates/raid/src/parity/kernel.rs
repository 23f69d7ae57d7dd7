//! The choice of the code that does the arithmetic.

use super::field::Factor;
use super::scalar;
use crate::checksum;
#[cfg(target_arch = "x86_64")]
use crate::simd;
use std::fmt;
use std::sync::OnceLock;

/// The code that does the arithmetic: one for each generation of processors, all with the same
/// result.
///
/// A value of this type exists only for code that the processor can run, so whoever has one may use
/// it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Code);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Simd(simd::Extension),
}

/// A member of a stripe that a kernel reads, if it is there.
pub(crate) trait Column {
    /// Its content.
    fn bytes(&self) -> Option<&[u8]>;
}

impl Column for &[u8] {
    #[inline(always)]
    fn bytes(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl Column for Option<&[u8]> {
    #[inline(always)]
    fn bytes(&self) -> Option<&[u8]> {
        *self
    }
}

/// One result of [`Kernel::solve`].
#[derive(Debug)]
pub(crate) struct Output<'a> {
    /// Where it goes.
    pub(crate) bytes: &'a mut [u8],
    /// How often the difference in P is in it.
    pub(crate) p_factor: &'static Factor,
    /// How often the difference in Q is in it.
    pub(crate) q_factor: &'static Factor,
}

impl Output<'_> {
    /// The same result without the first `count` bytes.
    fn after(&mut self, count: usize) -> Output<'_> {
        Output {
            bytes: &mut self.bytes[count..],
            ..*self
        }
    }
}

impl Kernel {
    /// The fastest that this processor has. It is looked up once.
    #[must_use]
    pub fn best() -> Self {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| Self::available()[0])
    }

    /// Every one that this processor has, fastest first; the portable one is always there.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let scalar = std::iter::once(Self(Code::Scalar));
        #[cfg(target_arch = "x86_64")]
        {
            let simd = simd::Extension::available().map(|extension| Self(Code::Simd(extension)));
            simd.chain(scalar).collect()
        }
        #[cfg(not(target_arch = "x86_64"))]
        scalar.collect()
    }

    /// Its name: `gfni-avx512`, `avx512`, `avx2` or `scalar`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            Code::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Code::Simd(extension) => extension.name(),
        }
    }

    /// The sum of the columns and `extra`, from `start` on, as much as `out` takes.
    pub(crate) fn sum<C: Column>(
        self,
        data: &[C],
        extra: Option<&[u8]>,
        start: usize,
        out: &mut [u8],
    ) {
        let done = match self.0 {
            Code::Scalar => 0,
            #[cfg(target_arch = "x86_64")]
            Code::Simd(extension) => extension.sum(data, extra, start, out),
        };
        scalar::sum(data, extra, start + done, &mut out[done..]);
    }

    /// P and Q of the columns.
    pub(crate) fn pq<C: Column>(self, data: &[C], p: &mut [u8], q: &mut [u8]) {
        let done = match self.0 {
            Code::Scalar => 0,
            #[cfg(target_arch = "x86_64")]
            Code::Simd(extension) => extension.pq(data, p, q),
        };
        scalar::pq(data, done, &mut p[done..], &mut q[done..]);
    }

    /// With dP the sum of `p` and P of the columns from `start` on, and dQ likewise: multiples of dP
    /// and dQ as each output wants them. There are one or two outputs, equally long.
    pub(crate) fn solve<C: Column>(
        self,
        data: &[C],
        p: Option<&[u8]>,
        q: Option<&[u8]>,
        start: usize,
        outputs: &mut [Output<'_>],
    ) {
        let done = match self.0 {
            Code::Scalar => 0,
            #[cfg(target_arch = "x86_64")]
            Code::Simd(extension) => extension.solve(data, p, q, start, outputs),
        };
        match outputs {
            [one] => scalar::solve(data, p, q, start + done, &mut [one.after(done)]),
            [one, two] => {
                let rest = &mut [one.after(done), two.after(done)];
                scalar::solve(data, p, q, start + done, rest);
            }
            _ => debug_assert!(false, "{} outputs", outputs.len()),
        }
    }

    /// The checksum of content with a key as long; see [`checksum`].
    pub(crate) fn checksum(self, content: &[u8], key: &[u8]) -> u64 {
        let (sum, done) = match self.0 {
            Code::Scalar => (0, 0),
            #[cfg(target_arch = "x86_64")]
            Code::Simd(extension) => extension.checksum(content, key),
        };
        sum.wrapping_add(checksum::portable(&content[done..], &key[done..]))
    }

    /// P and Q of the blocks, and with a key as long as one the checksums of data, P and Q, which are not
    /// more blocks than a RAID has members.
    pub(crate) fn parity_and_checksums(
        self,
        data: &[&[u8]],
        p: &mut [u8],
        mut q: Option<&mut [u8]>,
        key: &[u8],
        checksums: &mut [u64],
    ) {
        checksums.fill(0);
        let done = match self.0 {
            Code::Scalar => 0,
            #[cfg(target_arch = "x86_64")]
            Code::Simd(extension) => {
                extension.parity_and_checksums(data, p, q.as_deref_mut(), key, checksums)
            }
        };
        match q.as_deref_mut() {
            Some(q) => scalar::pq(data, done, &mut p[done..], &mut q[done..]),
            None => scalar::sum(data, None, done, &mut p[done..]),
        }
        let parity = [Some(&*p), q.as_deref()];
        let blocks = data.iter().copied().chain(parity.into_iter().flatten());
        for (checksum, block) in checksums.iter_mut().zip(blocks) {
            let rest = checksum::portable(&block[done..], &key[done..]);
            *checksum = checksum.wrapping_add(rest);
        }
    }

    /// Adds `old` + `new` to `p`, and the multiple of it to `q`.
    pub(crate) fn delta(
        self,
        old: &[u8],
        new: &[u8],
        factor: &Factor,
        p: Option<&mut [u8]>,
        q: Option<&mut [u8]>,
    ) {
        match self.0 {
            Code::Scalar => scalar::delta(old, new, factor, p, q),
            #[cfg(target_arch = "x86_64")]
            Code::Simd(extension) => {
                let (mut p, mut q) = (p, q);
                let done = extension.delta(old, new, factor, p.as_deref_mut(), q.as_deref_mut());
                let (p, q) = (p.map(|p| &mut p[done..]), q.map(|q| &mut q[done..]));
                scalar::delta(&old[done..], &new[done..], factor, p, q);
            }
        }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({})", self.name())
    }
}
