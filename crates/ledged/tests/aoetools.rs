//! Debian's aoetools against the daemon (conformance row 127): clean output, nothing else.

mod support;

use anyhow::{Context, Result, ensure};
use std::time::Duration;
use support::{LIMIT, MODES};
use testbed::network::CLIENT_INTERFACE;
use testbed::process::{CommandOutput, run};
use testbed::requirements::program;
use testbed::{Ledge, LedgeOptions, PairNetwork};

/// A shelf with two LUNs online.
fn shelf<'a>(network: &'a PairNetwork, mode: &str) -> Result<Ledge<'a>> {
    let options = LedgeOptions {
        disks: 3,
        disk_bytes: 8 << 20,
        memory_disks: true,
        mode: mode.to_owned(),
        ..LedgeOptions::default()
    };
    let ledge = Ledge::start(&network.target, options)?;
    ledge.console_ok("make 0 raid1 1.0-1")?;
    ledge.console_ok("make 5 jbod 1.2")?;
    ledge.console_ok("online 0 5")?;
    Ok(ledge)
}

/// Runs a tool in the client's namespace.
fn tool(network: &PairNetwork, name: &str, arguments: &str) -> Result<CommandOutput> {
    let mut command = network.client.command(program(name)?);
    command.args(arguments.split_whitespace());
    run(command, LIMIT).with_context(|| format!("{name} {arguments}"))
}

fn clean(network: &PairNetwork, name: &str, arguments: &str) -> Result<String> {
    tool(network, name, arguments)?.success(&format!("{name} {arguments}"))
}

/// Conformance row 127.
#[test]
fn aoeping_finds_the_lun_and_reads_its_identity() -> Result<()> {
    for mode in MODES {
        let network = PairNetwork::new(9000)?;
        let _ledge = shelf(&network, mode)?;
        let quiet = clean(&network, "aoeping", "-s 10 1 0 eth0")?;
        ensure!(quiet.is_empty(), "{mode}: {quiet}");
        let verbose = clean(&network, "aoeping", "-v -s 10 1 5 eth0")?;
        ensure!(verbose.contains("found e1.5 with mac"), "{mode}: {verbose}");
        let fields = clean(&network, "aoeping", "-I -s 10 1 0 eth0")?;
        for field in ["serial_number: ", "firmware_rev: ", "model: "] {
            let line = fields
                .lines()
                .find(|line| line.trim_start().starts_with(field));
            let line = line.with_context(|| format!("no {field:?} in {fields}"))?;
            let value = line.split(": ").nth(1).unwrap_or_default();
            ensure!(!value.trim().is_empty(), "{mode}: {fields}");
        }
        let dump = clean(&network, "aoeping", "-i -s 10 1 0 eth0")?;
        ensure!(dump.contains("device identify response:"), "{mode}: {dump}");
        // A LUN that is not there: nothing answers, and the tool's alarm ends it.
        let absent = tool(&network, "aoeping", "-s 1 1 9 eth0")?;
        ensure!(absent.status == 142, "{mode}: {absent:?}");
    }
    Ok(())
}

/// What `aoeping -S` prints of the registers of an answer.
fn register<'a>(output: &'a str, name: &str) -> Result<&'a str> {
    let of_name = |line: &'a str| line.trim_start().strip_prefix(name)?.strip_prefix(": ");
    let value = output.lines().find_map(of_name);
    value.with_context(|| format!("no {name} in {output}"))
}

/// Conformance rows 102 and 127.
#[test]
fn aoeping_asks_for_the_health() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let ledge = shelf(&network, "native")?;
    for (command, log, has_data) in [
        ("read_data", "0x00", true),
        ("read_log:0", "0x00", true),
        ("read_log:1", "0x01", true),
        ("read_log:6", "0x06", true),
        ("enable", "0x00", false),
        ("return_status", "0x00", false),
    ] {
        let output = clean(&network, "aoeping", &format!("-S {command} -s 10 1 0 eth0"))?;
        ensure!(
            register(&output, "Status")? == "0x40",
            "{command}: {output}"
        );
        ensure!(
            register(&output, "Features")? == "0x00",
            "{command}: {output}"
        );
        ensure!(register(&output, "LBA Low")? == log, "{command}: {output}");
        ensure!(
            register(&output, "LBA Mid")? == "0x4f",
            "{command}: {output}"
        );
        ensure!(
            register(&output, "LBA High")? == "0xc2",
            "{command}: {output}"
        );
        ensure!(
            output.contains("SMART data:") == has_data,
            "{command}: {output}"
        );
        // Nothing but a title and six registers, and a title and 32 rows of bytes.
        let lines = if has_data { 7 + 1 + 32 } else { 7 };
        ensure!(output.lines().count() == lines, "{command}: {output}");
    }
    // A host does not switch off what others look at, and there is nothing to test or to keep.
    for command in ["disable", "offline_immediate:0", "read_log:9"] {
        let output = tool(&network, "aoeping", &format!("-S {command} -s 10 1 0 eth0"))?;
        ensure!(output.status == 1, "{command}: {output:?}");
        let told = output.output.trim_end();
        ensure!(
            told == "SMART command aborted on target.",
            "{command}: {told}"
        );
    }
    // The status is that of the LUN.
    ledge.console_ok("fail 0.0.1")?;
    let output = clean(&network, "aoeping", "-S return_status -s 10 1 0 eth0")?;
    ensure!(register(&output, "Status")? == "0x40", "{output}");
    ensure!(register(&output, "LBA Mid")? == "0xf4", "{output}");
    ensure!(register(&output, "LBA High")? == "0x2c", "{output}");
    Ok(())
}

/// Conformance row 127.
#[test]
fn aoecfg_reads_sets_and_tests_the_string() -> Result<()> {
    for mode in MODES {
        let network = PairNetwork::new(1500)?;
        let _ledge = shelf(&network, mode)?;
        let run = |arguments: &str| {
            clean(
                &network,
                "aoecfg",
                &format!("{arguments} 1 0 {CLIENT_INTERFACE}"),
            )
        };
        ensure!(run("-c read")?.trim().is_empty());
        ensure!(run("-c set -s first")?.trim() == "first", "{mode}");
        ensure!(
            run("-c set -s first")?.trim() == "first",
            "{mode}: the same again"
        );
        let refused = run("-c set -s second")?;
        ensure!(refused.contains('*'), "{mode}: not refused: {refused}");
        ensure!(run("-c test -s first")?.trim() == "first", "{mode}");
        ensure!(run("-c prefix -s fi")?.trim() == "first", "{mode}");
        // Silence takes a second each time to be one, and is the same in every mode.
        let silent_ones = ["-c test -s fir", "-c prefix -s x"];
        for silent in silent_ones.iter().filter(|_| mode == MODES[0]) {
            let output = tool(
                &network,
                "aoecfg",
                &format!("{silent} -t 1 1 0 {CLIENT_INTERFACE}"),
            )?;
            ensure!(
                output.output.trim().is_empty(),
                "{mode}: {silent}: {output:?}"
            );
        }
        ensure!(run("-c fset -s second")?.trim() == "second", "{mode}");
        ensure!(run("")?.trim() == "second", "{mode}");
        // Without an address every LUN answers, until the time is over.
        let all = clean(&network, "aoecfg", "-c read -t 1")?;
        let mut lines: Vec<&str> = all.lines().map(str::trim_end).collect();
        lines.sort_unstable();
        ensure!(lines == ["1.0\tsecond", "1.5"], "{mode}: {all:?}");
    }
    Ok(())
}

/// Conformance row 127.
#[test]
fn aoe_sancheck_finds_nothing_to_complain_about() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let _ledge = shelf(&network, "native")?;
    // It reads /sys/class/net, which shows the interfaces of the namespace it was mounted in.
    let script = format!(
        "mount -t sysfs sysfs /sys && {} eth0",
        program("aoe-sancheck")?.display()
    );
    let mut command = network.client.command("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    let output = run(command, Duration::from_secs(30))?.success("aoe-sancheck")?;
    ensure!(output.contains("Probing...done."), "{output}");
    for device in ["e1.0", "e1.5"] {
        let row = output.lines().find(|line| line.starts_with(device));
        let words: Vec<&str> = row
            .with_context(|| output.clone())?
            .split_whitespace()
            .collect();
        ensure!(words[1..] == ["1", "8192", "eth0"], "{output}");
    }
    // Warnings are indented.
    ensure!(
        !output.lines().any(|line| line.starts_with("   ")),
        "{output}"
    );
    Ok(())
}
