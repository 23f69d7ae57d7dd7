//! Linux' AoE driver as it is used, in short: growth, several addresses of a port, and two bad paths of which
//! one is cut. The long set is `make test-vm`.

mod linux;

use anyhow::Result;
use linux::paths::Cut;
use testbed::Faults;

/// Conformance rows 114 and 126.
#[test]
fn a_lun_grows_under_a_mounted_file_system_and_while_it_is_closed() -> Result<()> {
    linux::growth::growth()
}

#[test]
fn a_port_of_several_addresses_has_a_window_for_each() -> Result<()> {
    linux::stations::stations()
}

/// Conformance rows 123 and 124.
#[test]
fn io_goes_on_when_one_of_two_paths_that_lose_frames_is_cut() -> Result<()> {
    let faults = [11, 12].map(|seed| Faults::one_in(300, seed));
    linux::paths::two_paths("raid10 1.0-3", &[(1, Cut::Silence)], &faults)
}
