//! What the daemon does to its interface, and leaves of it: everybody else's traffic passes, and
//! nothing stays behind, however the daemon ends.

mod support;

use anyhow::{Context, Result, ensure};
use aoe::SECTOR_BYTES;
use ata::opcode;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use support::shelf::{Setup, check_log, disk, ledged_in, refusal};
use support::wire::{Ata, Wire};
use support::{E10, LIMIT, MODES, file_disks, with_lun};
use testbed::ledge::SANDBOX;
use testbed::process::feed;
use testbed::requirements::program;
use testbed::{Daemon, PairNetwork, paths};

/// A pair whose ends have addresses: 192.0.2.1 is the target.
fn with_addresses() -> Result<PairNetwork> {
    let network = PairNetwork::new(9000)?;
    let (target, client) = (&network.target, &network.client);
    target.ip(&["address", "add", "192.0.2.1/24", "dev", "eth1"])?;
    client.ip(&["address", "add", "192.0.2.2/24", "dev", "eth0"])?;
    Ok(network)
}

/// Pings the target from the client, and back, with small and with jumbo packets; none is lost.
fn check_ping(network: &PairNetwork) -> Result<()> {
    let busybox = program("busybox")?.display().to_string();
    for (from, to) in [
        (&network.client, "192.0.2.1"),
        (&network.target, "192.0.2.2"),
    ] {
        for size in ["56", "8900"] {
            let arguments = ["ping", "-c", "2", "-i", "0.1", "-W", "5", "-s", size, to];
            let output = from.run(&busybox, &arguments)?;
            ensure!(output.contains(" 0% packet loss"), "{output}");
        }
    }
    Ok(())
}

/// Whether an XDP program is on the target's interface.
fn has_xdp(network: &PairNetwork) -> Result<bool> {
    let link = network.target.ip(&["-details", "link", "show", "eth1"])?;
    Ok(link.contains("xdp"))
}

#[test]
fn other_traffic_passes_before_and_after_a_kill_native() -> Result<()> {
    other_traffic_passes("native")
}

#[test]
fn other_traffic_passes_before_and_after_a_kill_generic() -> Result<()> {
    other_traffic_passes("generic")
}

#[test]
fn other_traffic_passes_before_and_after_a_kill_packet() -> Result<()> {
    other_traffic_passes("packet")
}

/// While the shelf serves, after it was killed, and after it ended.
fn other_traffic_passes(mode: &str) -> Result<()> {
    let network = with_addresses()?;
    let mut wire = Wire::open(&network)?;
    let mut ledge = with_lun(&network, file_disks(mode))?;
    for clean in [false, true] {
        ensure!(
            has_xdp(&network)? == (mode != "packet"),
            "xdp while serving"
        );
        wire.discover(E10)?;
        check_ping(&network).context("serving")?;
        check_log(&ledge.log())?;
        if clean {
            ledge.stop()?;
        } else {
            ledge.kill()?;
        }
        ensure!(!has_xdp(&network)?, "an XDP program is left");
        check_ping(&network).context("after the end")?;
        ledge.start_again().context("start after the end")?;
    }
    wire.discover(E10)?;
    Ok(())
}

#[test]
fn a_start_right_after_a_kill_under_load_succeeds() -> Result<()> {
    for mode in MODES {
        let network = PairNetwork::new(9000)?;
        let mut ledge = with_lun(&network, file_disks(mode))?;
        for _ in 0..5 {
            under_load(&network, || {
                ledge.kill()?;
                ledge.start_again()
            })
            .with_context(|| mode.to_owned())?;
            Wire::open(&network)?.discover(E10)?;
            check_log(&ledge.log())?;
        }
    }
    Ok(())
}

/// Does something while an initiator writes as fast as the wire takes it.
fn under_load<T>(network: &PairNetwork, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut wire = Wire::open(network)?;
    let to = wire.discover(E10)?;
    let (stop, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let load = scope.spawn(|| -> Result<()> {
            let mut lba = 0;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..64 {
                    let ata = Ata {
                        opcode: opcode::WRITE_EXT,
                        lba,
                        count: 16,
                    };
                    let frame = wire.ata_frame(to, E10, ata, &[0x77; 16 * SECTOR_BYTES]);
                    wire.send(&frame)?;
                    lba = (lba + 16) % 4096;
                }
                while wire.receive(Duration::from_millis(1))?.is_some() {
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(())
        });
        while answers.load(Ordering::Relaxed) < 256 && !load.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        let result = work();
        stop.store(true, Ordering::Relaxed);
        let loaded = load
            .join()
            .map_err(|_| anyhow::anyhow!("the load panicked"))?;
        loaded.context("load").and(result)
    })
}

#[test]
fn sigterm_ends_cleanly_under_load_and_marks_the_lun_clean() -> Result<()> {
    for mode in MODES {
        let setup = Setup::new()?;
        let disks = [
            setup.disk("disk0", 16 << 20)?,
            setup.disk("disk1", 16 << 20)?,
        ];
        let text: String = (0..)
            .zip(&disks)
            .map(|(slot, path)| disk(slot, path))
            .collect();
        let port = format!("[[port]]\ninterface = \"eth1\"\nmode = \"{mode}\"\n");
        setup.write_text(&format!("shelf = 1\n{}{port}{text}", setup.paths()))?;
        let daemon = setup.start()?;
        setup.console("make -c 0 raid1 1.0-1")?.success("make")?;
        setup.console("online 0")?.success("online")?;
        // Its own promise: no request takes longer than a few seconds to settle.
        under_load(&setup.network, || daemon.terminate(Duration::from_secs(5)))
            .with_context(|| mode.to_owned())?;
        ensure!(
            !setup.path("control.sock").exists(),
            "{mode}: the socket is left"
        );
        for disk in &disks {
            let mut examine = Command::new(program("mdadm")?);
            examine.arg("--examine").arg(disk);
            let report = testbed::process::run_ok(examine)?;
            ensure!(report.contains("State : clean"), "{mode}: {report}");
        }
    }
    Ok(())
}

#[test]
fn the_ethernet_console_answers_in_every_mode() -> Result<()> {
    for mode in MODES {
        let network = PairNetwork::new(1500)?;
        let ledge = with_lun(&network, file_disks(mode))?;
        let mut probe = network.client.command(paths::binary("cec")?);
        probe.args(["-p", "-w", "1", "eth0"]);
        let offers = testbed::process::run_ok(probe)?;
        let row = offers
            .lines()
            .find(|line| line.split_whitespace().any(|word| word == "1"));
        ensure!(row.is_some(), "{mode}: {offers}");

        let output = piped(&network, "show -l\nlist\n")?;
        ensure!(output.contains("SR shelf 1> "), "{mode}: {output}");
        for row in ["1.0", "1.1"] {
            let found = output
                .lines()
                .any(|line| line.trim_start().starts_with(row) && line.contains("GB up 0.0."));
            ensure!(found, "{mode}: no row {row} in {output}");
        }
        ensure!(
            output
                .lines()
                .any(|line| line.trim().ends_with("GB online")),
            "{mode}: {output}"
        );
        let log = ledge.log();
        ensure!(log.contains("cec session"), "{log}");
        check_log(&log)?;
    }
    Ok(())
}

/// Commands through `cec` from the client; what it prints.
fn piped(network: &PairNetwork, input: &str) -> Result<String> {
    let cec = paths::binary("cec")?.display().to_string();
    let mut command = network.client.command("timeout");
    command.args(["20", &cec, "-s", "1", "-w", "2", "eth0"]);
    let output = feed(command, input.as_bytes())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{}: {text}{complaint}",
        output.status
    );
    Ok(text)
}

#[test]
fn a_second_shelf_on_the_same_interface_is_refused_and_harms_nobody() -> Result<()> {
    for mode in ["native", "generic"] {
        let network = PairNetwork::new(9000)?;
        let mut wire = Wire::open(&network)?;
        let ledge = with_lun(&network, file_disks(mode))?;
        for second in ["native", "generic"] {
            let directory = tempfile::tempdir()?;
            let config = directory.path().join("ledge.toml");
            let place = directory.path().display();
            let text = format!(
                "shelf = 2\nstate_dir = \"{place}/state\"\ncontrol_socket = \"{place}/c\"\n{SANDBOX}\
                 [[port]]\ninterface = \"eth1\"\nmode = \"{second}\"\n"
            );
            std::fs::write(&config, text)?;
            let error = refusal(&ledged_in(&network.target, &config)?)?;
            let named = error.contains("another") && error.contains("eth1");
            ensure!(named, "{mode}, {second}: {error}");
            wire.discover(E10)
                .with_context(|| format!("{mode}, after {second}"))?;
        }
        check_log(&ledge.log())?;
    }
    Ok(())
}

#[test]
fn row_120_the_shelf_serves_again_after_the_link_was_down() -> Result<()> {
    for mode in MODES {
        let network = PairNetwork::new(9000)?;
        let mut ledge = with_lun(&network, file_disks(mode))?;
        for (namespace, interface) in [(&network.client, "eth0"), (&network.target, "eth1")] {
            namespace.set_link(interface, false)?;
            thread::sleep(Duration::from_millis(300));
            namespace.set_link(interface, true)?;
            let mut wire = Wire::open(&network)?;
            let to = wire
                .discover(E10)
                .with_context(|| format!("{mode}, {interface}: {}", ledge.log()))?;
            wire.write(to, E10, 8, &[9; SECTOR_BYTES])?;
            ensure!(wire.read(to, E10, 8, 1)? == [9; SECTOR_BYTES]);
        }
        check_log(&ledge.log())?;
        ledge.stop().with_context(|| mode.to_owned())?;
    }
    Ok(())
}

#[test]
fn rows_30_and_120_a_change_of_the_mtu_is_followed_and_advertised() -> Result<()> {
    for mode in MODES {
        let network = PairNetwork::new(9000)?;
        let mut ledge = with_lun(&network, file_disks(mode))?;
        let mut wire = Wire::open(&network)?;
        for (mtu, sectors) in [("1500", 2), ("5000", 8), ("9000", 16)] {
            wire.drain()?;
            network.target.ip(&["link", "set", "eth1", "mtu", mtu])?;
            let advertisement = wire
                .receive(LIMIT)?
                .with_context(|| format!("{mode}, MTU {mtu}: {}", ledge.log()))?;
            ensure!(
                advertisement.config()?.0.sector_count == sectors,
                "{mode}, MTU {mtu}"
            );
            let to = wire.discover(E10)?;
            wire.write(to, E10, 8, &[7; SECTOR_BYTES])?;
            ensure!(wire.read(to, E10, 8, 1)? == [7; SECTOR_BYTES]);
            ensure!(
                ledge.console_ok("ifstat")?.contains(mtu),
                "{mode}, MTU {mtu}"
            );
        }
        check_log(&ledge.log())?;
        ledge.stop().with_context(|| mode.to_owned())?;
    }
    Ok(())
}

#[test]
fn an_interface_that_disappears_is_no_panic() -> Result<()> {
    for mode in MODES {
        let network = PairNetwork::new(9000)?;
        let config = tempfile::tempdir()?;
        let place = config.path().display();
        let text = format!(
            "shelf = 1\nstate_dir = \"{place}/state\"\ncontrol_socket = \"{place}/c\"\n{SANDBOX}\
             [[port]]\ninterface = \"eth1\"\nmode = \"{mode}\"\ncec = true\n"
        );
        let file = config.path().join("ledge.toml");
        std::fs::write(&file, text)?;
        let command = ledged_in(&network.target, &file)?;
        let mut daemon = Daemon::start("ledged", command)?;
        daemon.wait_for_line("ready", LIMIT)?;
        network.target.ip(&["link", "delete", "eth1"])?;
        thread::sleep(Duration::from_millis(500));
        check_log(&daemon.log())?;
        let lines = daemon.log().lines().count();
        ensure!(lines < 100, "{mode}: the log is flooded: {lines} lines");
        daemon.terminate(LIMIT).with_context(|| mode.to_owned())?;
    }
    Ok(())
}
