//! Linux' AoE driver as it is used, at length. `make test-vm` runs this with the kernels of Debian 12 and 13;
//! `make test` has the short set.

mod linux;

use anyhow::Result;
use linux::paths::Cut;
use linux::restart::End;
use testbed::Faults;

const MIRROR: &str = "raid10 1.0-3";
const PARITY: &str = "raid6 1.0-5";

/// Conformance row 123.
#[test]
fn no_byte_is_wrong_when_a_mirrors_wire_loses_repeats_and_delays_frames() -> Result<()> {
    linux::lossy::lossy(MIRROR, 1000, 1, 60)
}

/// Conformance row 123.
#[test]
fn no_byte_is_wrong_when_a_paritys_wire_loses_repeats_and_delays_frames() -> Result<()> {
    linux::lossy::lossy(PARITY, 1000, 2, 60)
}

/// Conformance row 125.
#[test]
fn io_waits_while_the_shelf_restarts_under_load() -> Result<()> {
    let ends = [End::Stop, End::Kill, End::Kill, End::Stop];
    linux::restart::restart(MIRROR, &ends, &[Faults::NONE])
}

/// Conformance row 125.
#[test]
fn io_waits_while_a_shelf_with_parity_dies_under_load() -> Result<()> {
    let ends = [End::Kill, End::Stop, End::Kill];
    linux::restart::restart(PARITY, &ends, &[Faults::NONE])
}

/// Conformance rows 123 and 125.
#[test]
fn a_shelf_with_parity_dies_again_and_again_behind_two_bad_wires() -> Result<()> {
    let ends = [End::Kill, End::Kill, End::Stop, End::Kill, End::Kill];
    linux::restart::restart(
        PARITY,
        &ends,
        &[Faults::one_in(200, 5), Faults::one_in(100, 6)],
    )
}

/// Conformance row 124.
#[test]
fn io_goes_on_when_one_of_two_paths_is_cut() -> Result<()> {
    let cuts = [
        (1, Cut::Link),
        (0, Cut::Silence),
        (0, Cut::Link),
        (1, Cut::Silence),
    ];
    linux::paths::two_paths(MIRROR, &cuts, &[Faults::NONE; 2])
}

#[test]
fn nothing_is_sent_again_because_of_a_shelf_with_mirrors() -> Result<()> {
    linux::quiet::quiet(MIRROR, 30)
}

#[test]
fn nothing_is_sent_again_because_of_a_shelf_with_parity() -> Result<()> {
    linux::quiet::quiet(PARITY, 30)
}

#[test]
fn a_wrong_byte_is_found() -> Result<()> {
    linux::quiet::wrong_byte()
}
