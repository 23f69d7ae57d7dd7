//! The image in an emulated machine: it boots unattended into a shelf over the six disks of the machine, its
//! console answers on the serial line and from outside, a Linux host uses a LUN while disks are pulled and
//! put in, a restart and a power cut lose nothing, and whatever comes of an update, the box serves.

use std::fs::{self, File};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::appliance::{Appliance, DISKS, Machine, VERSION, artifact, cec};
use testbed::network::{BRIDGE, GuestEnd};
use testbed::{Client, Vm, VmNetwork, VmOptions, lock_vm, transcript};

#[path = "appliance/network.rs"]
mod network;
#[path = "appliance/updates.rs"]
mod updates;

const MTU: u16 = 9000;
const SHELF: u16 = 7;
const DEVICE: &str = "e7.0";
const PROMPT: &str = "SR shelf 7> ";

/// Where the shelf is joined to the network of its client.
const PORT: GuestEnd = GuestEnd {
    tap: "shelf0",
    address: "52:54:00:00:02:01",
};

/// From power to prompt. An idle machine takes two minutes of emulation for it.
const BOOT: Duration = Duration::from_secs(1800);

/// One answer of a console.
const ANSWER: Duration = Duration::from_secs(120);

/// A rebuild, or an update.
const WORK: Duration = Duration::from_secs(1200);

/// The shelf's machine on the network.
struct Site {
    network: VmNetwork,
    machine: Machine,
}

impl Site {
    fn new() -> Result<Self> {
        let network = VmNetwork::new(MTU)?;
        network.add_guest(PORT)?;
        let machine = Machine::new(&artifact(&format!("ledge-{VERSION}.img"))?)?;
        Ok(Self { network, machine })
    }

    /// Switches the machine on, and waits until the console's prompt is there by itself.
    fn boot(&self, prompt: &str) -> Result<Appliance> {
        let mut appliance = self.machine.switch_on(&self.network.client, PORT, MTU)?;
        appliance.expect(prompt, BOOT)?;
        transcript::note(&format!("{prompt}came by itself"));
        Ok(appliance)
    }

    /// A command over Ethernet, and what comes back.
    fn cec(&self, line: &str) -> Result<String> {
        Ok(cec(&self.network.client, BRIDGE, SHELF, line)?.output)
    }

    /// Repeats a command over Ethernet until its answer is as wanted.
    fn wait(&self, line: &str, limit: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let output = self.cec(line)?;
            if wanted(&output) {
                return Ok(output);
            }
            ensure!(Instant::now() < deadline, "{line}: {output}");
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// Waits until the LUN is whole.
    fn wait_for_normal(&self) -> Result<()> {
        self.wait("list -l", WORK, |said| said.contains("raid6 normal"))
            .map(drop)
    }
}

/// The first start: no number yet, six disks, the number is set on the serial line, and a LUN over all disks
/// is made from outside.
fn set_up(site: &Site) -> Result<Appliance> {
    let mut appliance = site.boot("SR shelf unset> ")?;
    appliance.type_line("show -l")?;
    let last = format!("unset.{}", DISKS.len() - 1);
    appliance.expect(&last, ANSWER)?;
    appliance.type_line(&format!("shelf {SHELF}"))?;
    appliance.expect("shelf number is 7", ANSWER)?;
    site.wait("show -l", ANSWER, |said| said.contains("7.5"))?;
    site.cec("make 0 raid6 7.0-5")?;
    site.cec("online 0")?;
    site.wait("list", ANSWER, |said| said.contains("online"))?;
    site.wait("ifstat", ANSWER, |said| said.contains(" 9000 "))?;
    Ok(appliance)
}

/// A Linux host that has mounted a file system on the LUN.
fn client(site: &Site) -> Result<Client> {
    let mut client = Client::new(Vm::boot(&site.network, &VmOptions::default())?, DEVICE);
    // The machine takes minutes to start; the driver would give up before.
    client.shell("echo 7200 > /sys/module/aoe/parameters/aoe_deadsecs")?;
    let device = client.discover(ANSWER)?;
    ensure!(device.payload_bytes == 8192, "{device:?}");
    client.make_file_system()?;
    client.mount()?;
    Ok(client)
}

/// A disk is pulled and put back; another one is put in as a spare, and takes the place of a third.
fn pull_and_insert(site: &Site, appliance: &mut Appliance) -> Result<()> {
    let [first, second, ..] = DISKS;
    appliance.pull(first)?;
    site.wait("list -l", WORK, |said| said.contains("degraded"))?;
    appliance.insert(first, first, &site.machine.path(first))?;
    site.wait_for_normal()?;

    let spare = site.machine.path("spare");
    let bytes = fs::metadata(site.machine.path(first))?.len();
    File::create(&spare)?.set_len(bytes)?;
    appliance.insert("spare", "free", &spare)?;
    site.wait("show -l", WORK, |said| said.contains("7.6"))?;
    site.cec("spare 7.6")?;
    appliance.pull(second)?;
    site.wait("list -l", WORK, |said| {
        said.contains("7.6") && said.contains("raid6 normal")
    })
    .map(drop)
}

#[test]
fn the_image_becomes_a_shelf_that_a_linux_host_uses() -> Result<()> {
    let _lock = lock_vm()?;
    let site = Site::new()?;
    let mut appliance = set_up(&site)?;
    let mut client = client(&site)?;
    let checksums = client.write_files("files", 10, 256)?;

    client.start_writers("writing")?;
    client.wait_for_acknowledged(10, WORK)?;
    pull_and_insert(&site, &mut appliance)?;

    site.cec("reboot -f")?;
    appliance.wait_for_end(BOOT)?;
    let appliance = site.boot(PROMPT)?;
    site.wait("list", ANSWER, |said| said.contains("online"))?;
    let before = client.acknowledged()?.lines().count();
    let before = client.wait_for_acknowledged(before + 10, WORK)?;

    transcript::note("power cut of the shelf");
    drop(appliance);
    let _appliance = site.boot(PROMPT)?;
    client.wait_for_acknowledged(before + 10, WORK)?;
    let acknowledged = client.stop_writers()?;
    client.unmount()?;
    client.check_file_system()?;
    client.mount()?;
    client.verify_files("files", &checksums)?;
    client.verify_files("writing", &acknowledged)?;
    client.check_kernel_log()
}

/// What is on data disks, to see that nothing has changed it.
fn contents(site: &Site) -> Result<Vec<Vec<u8>>> {
    let read = |disk: &str| fs::read(site.machine.path(disk)).context("disk");
    DISKS.into_iter().map(read).collect()
}

/// Boots with a state in which the shelf has lost its number, and expects what the console says of it.
fn boot_told(site: &Site, prompt: &str, told: &[&str]) -> Result<Appliance> {
    let mut appliance = site.machine.switch_on(&site.network.client, PORT, MTU)?;
    for text in told {
        appliance.expect(text, BOOT)?;
    }
    appliance.expect(prompt, BOOT)?;
    Ok(appliance)
}

#[test]
fn whatever_is_wrong_the_box_comes_up_and_says_so() -> Result<()> {
    let _lock = lock_vm()?;
    let site = Site::new()?;
    let mut bios = site.machine.switch_on_without_uefi()?;
    bios.expect("starts by UEFI only", ANSWER)?;
    drop(bios);

    let appliance = set_up(&site)?;
    site.wait_for_normal()?;
    site.cec("offline -f 0")?;
    site.cec("halt -f")?;
    appliance.wait_for_end(BOOT)?;

    // A configuration of a newer version, and a state partition without room: it serves, and says so.
    site.machine.change_state(NEWER_AND_FULL)?;
    let appliance = boot_told(&site, PROMPT, &["takes no files", "unknown field `future`"])?;
    let said = site.cec("health")?;
    ensure!(
        said.contains("unknown field `future`") && said.contains("takes no files"),
        "{said}"
    );
    site.wait("list -l", ANSWER, |said| said.contains("raid6 normal"))?;
    drop(appliance);

    // All disks swapped around: LUNs do not depend on places.
    let (first, last) = (DISKS[0], DISKS[DISKS.len() - 1]);
    for (from, to) in [(first, "swap"), (last, first), ("swap", last)] {
        fs::rename(site.machine.path(from), site.machine.path(to))?;
    }
    let appliance = site.boot(PROMPT)?;
    site.wait("list -l", ANSWER, |said| said.contains("raid6 normal"))?;
    drop(appliance);

    // A state partition that nobody can read, and is left as it is; no disk is changed.
    let before = contents(&site)?;
    site.machine.change_state(
        "dd if=/dev/urandom of=\"$1\" bs=1M count=64 conv=notrunc status=none; sha256sum <\"$1\" >\"$1.sum\"",
    )?;
    let appliance = boot_told(
        &site,
        "SR shelf unset> ",
        &["the state partition is damaged"],
    )?;
    drop(appliance);
    site.machine
        .change_state("sha256sum --check --quiet <(sed \"s,-,$1,\" \"$1.sum\")")?;
    ensure!(contents(&site)? == before, "a data disk was changed");

    // No disks at all.
    for disk in DISKS {
        fs::remove_file(site.machine.path(disk))?;
    }
    boot_told(&site, "SR shelf unset> ", &[]).map(drop)
}

const NEWER_AND_FULL: &str = r#"
echo 'future = 1' >"$1.toml"
debugfs -w -R "write $1.toml etc/ledge/ledge.toml" "$1" 2>/dev/null
head -c 2000000000 /dev/zero >"$1.fill"
debugfs -w -R "write $1.fill fill" "$1" 2>/dev/null || true
rm "$1.fill"
"#;
