//! What drives tell of their health, by a program in the place of `smartctl` that says what a test wants: it
//! is listed, a drive that says that it will fail is replaced by a spare while it works, and one that cannot
//! tell is left alone.

mod support;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use support::LIMIT;
use support::shelf::{Loop, Setup, check_log};
use testbed::Daemon;

const DISK_BYTES: u64 = 16 << 20;

/// Longest time for what takes some seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Answers what is in the file of the device's name; what was begun goes into a file, too.
const SMARTCTL: &str = r#"#!/bin/sh
directory=$(dirname "$0")
for device; do :; done
case " $* " in
*" -x "*) cat "$directory/$(basename "$device").json" ;;
*) echo "$*" >>"$directory/changes"; echo '{"smartctl":{"version":[7,3],"exit_status":0},"device":{"protocol":"ATA"}}' ;;
esac
"#;

const WELL: &str = r#"{"smartctl":{"version":[7,3],"exit_status":0},"device":{"protocol":"ATA"},
"smart_support":{"available":true,"enabled":true},"smart_status":{"passed":true},
"temperature":{"current":38,"op_limit_max":60},"power_on_time":{"hours":20011},
"endurance_used":{"current_percent":12}}"#;

fn tell(directory: &Path, device: &str, json: &str) -> Result<()> {
    let name = Path::new(device).file_name().context("a device")?;
    let path = directory.join(name).with_extension("json");
    // It is replaced as a whole: somebody may be reading it.
    fs::write(path.with_extension("new"), json)?;
    fs::rename(path.with_extension("new"), path)?;
    Ok(())
}

/// Asks until an answer is right.
fn until(setup: &Setup, line: &str, is_right: impl Fn(&str) -> bool) -> Result<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let told = setup.console(line)?.output;
        if is_right(&told) {
            return Ok(told);
        }
        ensure!(Instant::now() < end, "{line}: {told}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn json(setup: &Setup, line: &str) -> Result<Value> {
    let told = setup.console(line)?.success(line)?;
    Ok(serde_json::from_str(&told)?)
}

#[test]
fn a_drive_that_says_that_it_will_fail_is_replaced_while_it_works() -> Result<()> {
    let setup = Setup::new()?;
    let directory = setup.path("tools");
    fs::create_dir(&directory)?;
    let program = directory.join("smartctl");
    fs::write(&program, SMARTCTL)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let mut loops = Vec::new();
    for index in 0..3 {
        let file = setup.disk(&format!("disk{index}"), DISK_BYTES)?;
        let device = Loop::attach(&file, false)?;
        tell(&directory, &device.0, WELL)?;
        loops.push(device);
    }
    let plain = setup.disk("plain", DISK_BYTES)?;
    let mut disks: Vec<&Path> = loops.iter().map(|device| Path::new(&device.0)).collect();
    disks.push(&plain);
    setup.write_config(&disks)?;
    let mut command = setup.command()?;
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", directory.display()));
    let mut daemon = Daemon::start("ledged", command)?;
    daemon.wait_for_line("ready", LIMIT)?;

    for line in ["make 0 raid1 1.0-1", "online 0", "spare 1.2", "wait 0"] {
        setup.console(line)?.success(line)?;
    }
    until(&setup, "smartlog 1.0-2", |told| {
        told.matches("normal, 38C, on for 20011h").count() == 3
    })?;
    let refused = until(&setup, "smartlog 1.3", |told| {
        told.contains("not supported")
    })?;
    ensure!(refused == "error: 1.3: not supported\n", "{refused}");
    let life = json(&setup, "-j ssdhealth 1.0 1.3")?;
    ensure!(life["data"][0]["life_left_percent"] == 88, "{life}");
    ensure!(life["data"][1]["life_left_percent"].is_null(), "{life}");

    let failing = WELL.replace("\"passed\":true", "\"passed\":false");
    tell(&directory, &loops[1].0, &failing)?;
    // One that tests itself is asked again at once.
    setup.console("selftest short 1.1")?.success("selftest")?;
    let begun = fs::read_to_string(directory.join("changes"))?;
    ensure!(
        begun == format!("--json=c -t short {}\n", loops[1].0),
        "{begun}"
    );
    until(&setup, "smartlog 1.1", |told| {
        told.contains("threshold exceeded")
    })?;
    let listed = until(&setup, "list -l 0", |told| {
        told.lines()
            .any(|row| row.contains("0.0.1") && row.contains("normal") && row.contains("1.2"))
    })?;
    ensure!(!listed.contains("1.1\n"), "{listed}");
    let health = setup.console("health")?.success("health")?;
    ensure!(
        health.contains("drive 1.1 says by SMART that it will fail; replace it"),
        "{health}"
    );
    ensure!(setup.console("spares")?.success("spares")?.is_empty());
    daemon.wait_for_line("SMART threshold exceeded: drive 1.1", LIMIT)?;
    let log = daemon.log();
    ensure!(!log.contains("has failed"), "it worked all the time: {log}");

    check_log(&daemon.log())?;
    daemon.terminate(LIMIT)
}
