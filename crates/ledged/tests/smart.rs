//! What drives tell of their health, by a program in the place of `smartctl` that says what a test wants: it
//! is listed, a drive that says twice that it will fail is replaced by a spare while it works, one that
//! cannot tell is left alone; who hangs, talks nonsense or is not there holds nobody up.

mod support;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::LIMIT;
use support::shelf::{Loop, Setup, check_log};
use testbed::Daemon;

const DISK_BYTES: u64 = 16 << 20;

/// Longest time for what takes some seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Answers what is in the file of the device's name, and waits while there is one that holds it, or hangs for
/// good; what was begun goes into a file, too. As the real one it ends with an error when it cannot read its
/// drive database, here the directory of it.
const SMARTCTL: &str = r#"#!/bin/sh
ls /var/lib/smartmontools >/dev/null || exit 1
directory=$(dirname "$0")
for device; do :; done
name=$(basename "$device")
case " $* " in
*" -x "*)
    text=$(cat "$directory/$name.json")
    echo "$name" >>"$directory/asked"
    if [ "$text" = hang ]; then
        echo $$ >>"$directory/hanging"
        ls -l /proc/$$/fd >"$directory/files"
        exec sleep 600
    fi
    while [ -e "$directory/$name.hold" ]; do sleep 0.1; done
    echo "$text" ;;
*) echo "$*" >>"$directory/changes"; echo '{"smartctl":{"version":[7,3],"exit_status":0},"device":{"protocol":"ATA"}}' ;;
esac
"#;

/// In the place of `ledctl`: what it is told goes into a file. As the real one it does nothing, and ends with
/// this status without a word, when it cannot write its log.
const LEDCTL: &str = r#"#!/bin/sh
log=/var/log/ledctl.log
for word; do
    case $word in --log=*) log=${word#*=} ;; esac
done
true >>"$log" || exit 40
echo "$*" >>"$(dirname "$0")/leds"
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

/// Programs in the place of those of the system, in a directory of their own.
fn tools(setup: &Setup) -> Result<PathBuf> {
    let directory = setup.path("tools");
    fs::create_dir(&directory)?;
    for (name, text) in [("smartctl", SMARTCTL), ("ledctl", LEDCTL)] {
        let program = directory.join(name);
        fs::write(&program, text)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    Ok(directory)
}

/// The daemon, which finds these programs first.
fn start(setup: &Setup, tools: &Path) -> Result<Daemon> {
    let mut command = setup.command()?;
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", tools.display()));
    let mut daemon = Daemon::start("ledged", command)?;
    daemon.wait_for_line("ready", LIMIT)?;
    Ok(daemon)
}

/// Disks that the kernel knows, with what each tells.
fn devices(setup: &Setup, tools: &Path, texts: &[&str]) -> Result<Vec<Loop>> {
    let mut loops = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let file = setup.disk(&format!("disk{index}"), DISK_BYTES)?;
        let device = Loop::attach(&file, false)?;
        tell(tools, &device.0, text)?;
        loops.push(device);
    }
    Ok(loops)
}

/// Waits until a file that programs write holds something.
fn until_written(path: &Path, is_right: impl Fn(&str) -> bool) -> Result<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if is_right(&text) {
            return Ok(text);
        }
        ensure!(Instant::now() < end, "{}: {text}", path.display());
        std::thread::sleep(Duration::from_millis(100));
    }
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
    let directory = tools(&setup)?;
    let loops = devices(&setup, &directory, &[WELL; 3])?;
    let plain = setup.disk("plain", DISK_BYTES)?;
    let mut disks: Vec<&Path> = loops.iter().map(|device| Path::new(&device.0)).collect();
    disks.push(&plain);
    setup.write_config(&disks)?;
    let mut daemon = start(&setup, &directory)?;

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
        begun == format!("--json=co -t short {}\n", loops[1].0),
        "{begun}"
    );
    until(&setup, "smartlog 1.1", |told| {
        told.contains("threshold exceeded")
    })?;
    let listed = setup.console("disks -s 1.0-1")?.success("disks")?;
    ensure!(
        listed.matches("threshold exceeded").count() == 1,
        "{listed}"
    );
    // For what it has said once nothing is done; it is asked again.
    ensure!(
        !daemon.log().contains("is to replace 0.0.1"),
        "{}",
        daemon.log()
    );
    let listed = until(&setup, "list -l 0", |told| {
        told.lines()
            .any(|row| row.contains("0.0.1") && row.contains("normal") && row.contains("1.2"))
    })?;
    ensure!(!listed.contains("1.1\n"), "{listed}");
    let asked = fs::read_to_string(directory.join("asked"))?;
    let name = loops[1].0.trim_start_matches("/dev/");
    let times = asked.lines().filter(|line| *line == name).count();
    ensure!(times == 3, "well, and failing two times: {asked}");
    for line in ["health", "alerts"] {
        let told = until(&setup, line, |told| {
            told.contains("drive 1.1 says by SMART that it will fail; replace it")
        });
        told.with_context(|| line.to_owned())?;
    }
    ensure!(setup.console("spares")?.success("spares")?.is_empty());
    daemon.wait_for_line("SMART threshold exceeded: drive 1.1", LIMIT)?;
    let log = daemon.log();
    ensure!(!log.contains("has failed"), "it worked all the time: {log}");

    the_led_shows_it_until_it_is_well(&setup, &directory, &loops[1].0)?;

    check_log(&daemon.log())?;
    daemon.terminate(LIMIT)
}

fn the_led_shows_it_until_it_is_well(setup: &Setup, directory: &Path, device: &str) -> Result<()> {
    let leds = directory.join("leds");
    let shows = |pattern: &str| {
        let row = format!("--log=/dev/null --listed-only {pattern}={device}");
        let of_it = format!("={device}");
        until_written(&leds, |text| {
            text.lines().rfind(|row| row.ends_with(&of_it)) == Some(&row)
        })
    };
    shows("failure")?;
    tell(directory, device, WELL)?;
    setup.console("selftest abort 1.1")?.success("selftest")?;
    shows("normal")?;
    Ok(())
}

#[test]
fn a_program_that_hangs_or_talks_nonsense_holds_nobody_up() -> Result<()> {
    let setup = Setup::new()?;
    let directory = tools(&setup)?;
    let loops = devices(&setup, &directory, &["hang", "Segmentation fault", WELL])?;
    let disks: Vec<&Path> = loops.iter().map(|device| Path::new(&device.0)).collect();
    setup.write_config(&disks)?;
    let daemon = start(&setup, &directory)?;
    let hanging = until_written(&directory.join("hanging"), |text| text.ends_with('\n'))?;
    // While it hangs everything goes on, and it has nothing of ours.
    for line in [
        "make 0 raid1 1.0-1",
        "online 0",
        "health",
        "smartlog 1.2",
        "slotled",
    ] {
        let told = setup.console(line)?;
        ensure!(
            told.status == 0 || told.output.starts_with("error: 1.2: it was not asked yet"),
            "{line}: {}",
            told.output
        );
    }
    let files = until_written(&directory.join("files"), |text| text.contains(" -> "))?;
    for ours in ["socket:", "anon_inode", "/dev/loop", "bpf"] {
        ensure!(!files.contains(ours), "{files}");
    }
    until(&setup, "smartlog 1.0", |told| {
        told == "error: 1.0: smartctl did not answer within 45 s\n"
    })?;
    let pid = hanging.trim();
    ensure!(
        !Path::new("/proc").join(pid).exists(),
        "{pid} is not killed"
    );
    until(&setup, "smartlog 1.1", |told| {
        told.starts_with("error: 1.1: smartctl did not answer properly: no JSON")
    })?;
    until(&setup, "smartlog 1.2", |told| told.contains("normal, 38C"))?;
    let listed = setup.console("list -l 0")?.success("list")?;
    ensure!(listed.contains("normal"), "{listed}");

    check_log(&daemon.log())?;
    daemon.terminate(LIMIT)
}

#[test]
fn what_a_disk_told_that_was_pulled_meanwhile_counts_for_nobody() -> Result<()> {
    let setup = Setup::new()?;
    let directory = tools(&setup)?;
    let loops = devices(&setup, &directory, &[WELL, WELL])?;
    let link = setup.path("bay");
    symlink(&loops[0].0, &link)?;
    let failing = WELL.replace("\"passed\":true", "\"passed\":false");
    tell(&directory, "bay", &failing)?;
    let hold = directory.join("bay.hold");
    fs::write(&hold, "")?;
    setup.write_config(&[&link])?;
    let daemon = start(&setup, &directory)?;
    until_written(&directory.join("asked"), |text| text == "bay\n")?;
    tell(&directory, "bay", WELL)?;
    let other = setup.path("other");
    symlink(&loops[1].0, &other)?;
    fs::rename(&other, &link)?;
    fs::remove_file(&hold)?;
    until(&setup, "smartlog 1.0", |told| told.contains("normal, 38C"))?;
    let log = daemon.log();
    ensure!(!log.contains("SMART"), "{log}");

    check_log(&log)?;
    daemon.terminate(LIMIT)
}

#[test]
fn that_drives_cannot_be_asked_is_told_and_ends_when_they_can() -> Result<()> {
    let setup = Setup::new()?;
    let directory = tools(&setup)?;
    let loops = devices(&setup, &directory, &[WELL])?;
    setup.write_config(&[Path::new(&loops[0].0)])?;
    // What somebody writes to cannot be run.
    let busy = fs::File::options()
        .append(true)
        .open(directory.join("smartctl"))?;
    let daemon = start(&setup, &directory)?;
    let problem = "health of drives (SMART) is not known: smartctl cannot be run: Text file busy";
    for line in ["health", "alerts"] {
        until(&setup, line, |told| told.contains(problem))?;
    }
    let refused = setup.console_refused("smartlog 1.0")?;
    ensure!(
        refused.starts_with("error: 1.0: smartctl cannot be run"),
        "{refused}"
    );
    drop(busy);
    until(&setup, "smartlog 1.0", |told| told.contains("normal, 38C"))?;
    for line in ["health", "alerts"] {
        until(&setup, line, |told| !told.contains(problem))?;
    }
    check_log(&daemon.log())?;
    daemon.terminate(LIMIT)?;

    let config = fs::read_to_string(setup.path("ledge.toml"))?;
    setup.write_text(&format!("smart_interval_minutes = 0\n{config}"))?;
    let daemon = start(&setup, &directory)?;
    let refused = setup.console_refused("smartlog 1.0")?;
    let never = "error: 1.0: drives are not asked for their health: smart_interval_minutes is 0";
    ensure!(refused == never, "{refused}");
    ensure!(setup.console("health")?.success("health")?.trim() == "ok");
    daemon.terminate(LIMIT)
}
