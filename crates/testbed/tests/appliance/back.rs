//! The way back by hand in the machine: what was set with either version holds with the other, also what
//! only one of them knows; a version that is gone back to and does not come up gives way. And the clock,
//! which is set by hand, and then by a server of the network.
//!
//! The two versions are the same programs under two numbers: what the older does not know is written by the
//! test.
//!
//! **Invariant**: a version is kept from coming up by cuts of the power after its try was counted on the
//! boot partition.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testbed::appliance::{Appliance, VERSION, next_version};
use testbed::daemon::Daemon;
use testbed::network::BRIDGE;
use testbed::process::run;
use testbed::{lock_vm, transcript};

use super::updates::{good, serves, set_up_mirror, wait_for_kernel};
use super::{ANSWER, BOOT, MTU, PORT, PROMPT, Site, WORK, answers};

/// What the clock is set to by hand.
const DAY: &str = "2031-05-06";

/// The time server, and the machine.
const SERVER: &str = "192.168.7.1";

/// How long a boot loader that has counted a try is left to finish that.
const COUNTED: Duration = Duration::from_secs(3);

/// Answers every question for the time; argument: its address.
const TIME_SERVER: &str = r#"
import socket, struct, sys, time
door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
door.bind((sys.argv[1], 123))
print("answers", flush=True)
while True:
    asked, who = door.recvfrom(512)
    since_1900 = time.time() + 2208988800
    now = struct.pack("!II", int(since_1900), int(since_1900 % 1 * 2**32))
    head = struct.pack("!BBBb", 0x24, 1, asked[2], -20) + bytes(8) + b"LOCL"
    door.sendto(head + now + asked[40:48] + now + now, who)
"#;

/// The machine gets an address; argument: the state partition.
const ADDRESS: &str = r#"
printf '[Match]\nType=ether\n[Link]\nMTUBytes=9000\n[Network]\nAddress=192.168.7.2/24\nLinkLocalAddressing=no\n' >"$1.address"
debugfs -w -R "write $1.address etc/network/10-address.network" "$1" 2>/dev/null
rm "$1.address"
debugfs -R 'cat etc/network/10-address.network' "$1" 2>/dev/null | grep -q 192.168.7.2
"#;

/// What the older version finds: a setting that it does not know, and another configuration of the daemon.
const CHANGES: &str = r#"
debugfs -R 'cat lib/ledge/settings.toml' "$1" 2>/dev/null >"$1.settings"
grep -q 'of the newer' "$1.settings"
sed -i '1i of_the_newer_alone = 5' "$1.settings"
printf 'state_dir = "/var/lib/ledge"\ncontrol_socket = "/run/ledge/control.sock"\n' >"$1.toml"
printf '[[port]]\ninterface = "%s"\ncec = true\nmode = "packet"\n[discover]\ndisks = "auto"\n' INTERFACE >>"$1.toml"
chmod 644 "$1.settings" "$1.toml"
debugfs -w -f - "$1" >/dev/null 2>&1 <<EOF
rm lib/ledge/settings.toml
write $1.settings lib/ledge/settings.toml
set_inode_field lib/ledge/settings.toml uid 992
set_inode_field lib/ledge/settings.toml gid 992
write $1.toml etc/ledge/ledge.toml
EOF
rm "$1.settings" "$1.toml"
debugfs -R 'cat lib/ledge/settings.toml' "$1" 2>/dev/null | grep -q of_the_newer_alone
debugfs -R 'cat etc/ledge/ledge.toml' "$1" 2>/dev/null | grep -q packet
"#;

/// After the older version has changed a setting, too.
const KEPT: &str = r#"
debugfs -R 'cat lib/ledge/settings.toml' "$1" 2>/dev/null >"$1.settings"
cat "$1.settings"
grep -q '^of_the_newer_alone = 5$' "$1.settings"
grep -q 'of the older again' "$1.settings"
"#;

/// The clock without a network: it is set by hand, and that of the hardware with it.
fn set_clock_by_hand(site: &Site, appliance: &mut Appliance) -> Result<()> {
    site.wait("ntp", ANSWER, |said| {
        said.contains("no time service is switched on")
    })?;
    let line = format!("ntp {SERVER}");
    site.wait(&line, ANSWER, |said| said.contains("has no IP address"))?;
    let line = format!("date {DAY} 07:08:09");
    site.wait(&line, ANSWER, |said| !said.contains("error"))?;
    site.wait("date", ANSWER, |said| said.contains(DAY))?;
    let deadline = Instant::now() + ANSWER;
    while appliance.day_of_hardware_clock()? != DAY {
        ensure!(Instant::now() < deadline, "the hardware has another day");
        thread::sleep(Duration::from_secs(1));
    }
    transcript::note(&format!("the clock of the hardware is at {DAY}"));
    Ok(())
}

/// A server that knows what time it is.
fn start_time_server(site: &Site) -> Result<Daemon> {
    let address = format!("{SERVER}/24");
    site.network
        .client
        .ip(&["address", "add", &address, "dev", BRIDGE])?;
    let mut command = site.network.client.command("python3");
    command.args(["-c", TIME_SERVER, SERVER]);
    let mut server = Daemon::start("the time server", command)?;
    server.wait_for_line("answers", Duration::from_secs(30))?;
    Ok(server)
}

/// The clock goes on over a restart, and then after the server's.
fn keep_clock_by_server(site: &Site) -> Result<()> {
    site.wait("date", ANSWER, |said| said.contains(DAY))?;
    let line = format!("ntp {SERVER}");
    site.wait(&line, ANSWER, |said| !said.contains("error"))?;
    is_synchronized(site)
}

fn is_synchronized(site: &Site) -> Result<()> {
    let by = "the clock is synchronized; by systemd-timesyncd";
    site.wait("ntp", WORK, |said| said.contains(by))?;
    let mut today = Command::new("date");
    today.args(["-u", "+%F"]);
    let today = run(today, ANSWER)?.success("date")?;
    site.wait("date", ANSWER, |said| said.contains(today.trim()))
        .map(drop)
}

/// Which version runs, which is in the other slot, and which starts next.
fn versions(site: &Site, [running, other, next]: [&str; 3]) -> Result<()> {
    let lines = [
        format!("version {running} runs"),
        format!("version {other} is in the other slot"),
        format!("version {next} runs after reboot"),
    ];
    site.wait("update", ANSWER, |said| {
        let said: Vec<&str> = said.lines().map(str::trim_end).collect();
        lines.iter().all(|line| said.contains(&line.as_str()))
    })
    .map(drop)
}

/// The names of the kernels of a machine that is off, or that writes none.
fn has_kernels(site: &Site, mut wanted: [String; 2]) -> Result<()> {
    wanted.sort();
    let mut kernels = site.machine.kernels()?;
    kernels.sort();
    transcript::note(&format!("kernels: {kernels:?}"));
    ensure!(kernels == wanted, "{kernels:?} instead of {wanted:?}");
    Ok(())
}

/// Starts that end in a power cut, each when its try is counted: how many are left, and done.
fn cut_tries(site: &Site, version: &str, counts: &[&str]) -> Result<()> {
    for count in counts {
        let appliance = site.machine.switch_on(&site.network.client, PORT, MTU)?;
        wait_for_kernel(site, &format!("ledge_{version}+{count}.efi"))?;
        thread::sleep(COUNTED);
        drop(appliance);
        transcript::note(&format!("power cut of version {version} at +{count}"));
    }
    Ok(())
}

/// On the newer version: what -n tells, no, and yes.
fn goes_back(site: &Site, appliance: &mut Appliance) -> Result<()> {
    let next = next_version();
    versions(site, [&next, VERSION, &next])?;
    let would = format!("would have version {VERSION}");
    appliance.type_line("update -nb")?;
    appliance.expect(&would, WORK)?;
    appliance.type_line("update -b")?;
    appliance.expect("[n]: ", ANSWER)?;
    appliance.type_line("n")?;
    appliance.expect("action canceled", ANSWER)?;
    has_kernels(
        site,
        [format!("ledge_{VERSION}.efi"), format!("ledge_{next}.efi")],
    )?;
    appliance.type_line("update -b")?;
    appliance.expect("[n]: ", ANSWER)?;
    appliance.type_line("y")?;
    appliance.expect("runs after a reboot", WORK)?;
    versions(site, [&next, VERSION, VERSION])?;
    let image = format!("image {VERSION} in the other slot");
    site.wait("release", ANSWER, |said| said.contains(&image))?;
    has_kernels(
        site,
        [
            format!("ledge_{VERSION}+3.efi"),
            format!("ledge_{next}+0-100.efi"),
        ],
    )
}

/// The interface of the port, as `ifstat` names it.
fn interface(site: &Site) -> Result<String> {
    let said = site.wait("ifstat", ANSWER, |said| said.contains(" 9000 "))?;
    let mut rows = said.lines().filter(|line| line.contains(" 9000 "));
    let name = rows
        .next()
        .and_then(|row| row.split_whitespace().next().map(str::to_owned));
    Ok(name.unwrap_or_default())
}

/// Switched off in good order, to start again.
fn restart(site: &Site, appliance: Appliance) -> Result<()> {
    site.cec("reboot -f")?;
    appliance.wait_for_end(BOOT)
}

/// The older version in its third try, which is kept: with everything that was set with the newer one.
fn older_has_it_all(site: &Site) -> Result<()> {
    let next = next_version();
    serves(site)?;
    wait_for_kernel(site, &format!("ledge_{VERSION}.efi"))?;
    versions(site, [VERSION, &next, VERSION])?;
    site.wait("motd", ANSWER, |said| said.contains("of the newer"))?;
    let said = site.wait("health", ANSWER, |said| said.contains("of_the_newer_alone"))?;
    ensure!(!said.contains("did not come up"), "{said}");
    site.wait("ifstat", ANSWER, |said| said.contains("packet"))?;
    is_synchronized(site)?;
    site.wait("motd of the older again", ANSWER, |said| {
        !said.contains("error")
    })
    .map(drop)
}

#[test]
fn one_goes_back_by_hand_and_on_again() -> Result<()> {
    let _lock = lock_vm()?;
    let mut site = Site::new()?;
    let next = next_version();
    let (older, newer) = (format!("ledge_{VERSION}"), format!("ledge_{next}"));
    site.machine.fill_stick(&[&good()?])?;
    let _server = start_time_server(&site)?;
    let mut appliance = set_up_mirror(&site)?;
    answers(
        &mut appliance,
        "update -b",
        &["has no version to go back to"],
    )?;
    site.cec("motd of the older")?;
    set_clock_by_hand(&site, &mut appliance)?;
    appliance.type_line(&format!("update -r ledge-{next}.update"))?;
    appliance.wait_for_end(BOOT)?;

    // As its battery keeps it.
    site.machine.set_clock(Some(&format!("{DAY}T08:00:00")));
    site.machine.change_state(ADDRESS)?;
    let mut appliance = site.boot(PROMPT)?;
    serves(&site)?;
    wait_for_kernel(&site, &format!("{newer}.efi"))?;
    site.wait("motd", ANSWER, |said| said.contains("of the older"))?;
    keep_clock_by_server(&site)?;
    site.cec("motd of the newer")?;
    let changes = CHANGES.replace("INTERFACE", &interface(&site)?);
    goes_back(&site, &mut appliance)?;
    restart(&site, appliance)?;

    site.machine.set_clock(None);
    site.machine.change_state(&changes)?;
    cut_tries(&site, VERSION, &["2-1", "1-2"])?;
    let mut appliance = site.boot(PROMPT)?;
    older_has_it_all(&site)?;
    appliance.type_line("update -bfr")?;
    appliance.wait_for_end(BOOT)?;
    site.machine.change_state(KEPT)?;
    has_kernels(&site, [format!("{newer}+3.efi"), format!("{older}.efi")])?;

    let mut appliance = site.boot(PROMPT)?;
    serves(&site)?;
    wait_for_kernel(&site, &format!("{newer}.efi"))?;
    site.wait("motd", ANSWER, |said| said.contains("of the older again"))?;
    appliance.type_line("update -bfr")?;
    appliance.wait_for_end(BOOT)?;
    cut_tries(&site, VERSION, &["2-1", "1-2", "0-3"])?;
    gives_way(&site)
}

/// The version gone back to has no tries left: the newer one is there again, is kept, and says so.
fn gives_way(site: &Site) -> Result<()> {
    let next = next_version();
    let mut appliance = site.boot(PROMPT)?;
    serves(site)?;
    let told = format!("version {VERSION} did not come up in three tries: version {next} runs");
    site.wait("health", ANSWER, |said| said.contains(&told))?;
    wait_for_kernel(site, &format!("ledge_{next}.efi"))?;
    answers(&mut appliance, "update -b", &["did not come up"])?;
    appliance.type_line("halt -f")?;
    appliance.wait_for_end(BOOT)?;
    has_kernels(
        site,
        [
            format!("ledge_{VERSION}+0-3.efi"),
            format!("ledge_{next}.efi"),
        ],
    )?;
    // What was cut has left nothing that would be in the way of an update.
    site.machine.check_boot_partition()
}
