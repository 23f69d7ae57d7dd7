//! The part of a run whose instructions `bench/instructions.py` counts.

/// Does the work that is counted. Valgrind finds it by its name and counts what happens in it: neither what
/// comes before nor what comes after.
#[inline(never)]
pub(crate) fn measured_part(work: &mut dyn FnMut()) {
    work();
}
