//! The image in an emulated machine: it boots unattended into a shelf over the six disks of the machine, its
//! console answers on the serial line and from outside, a Linux host uses a LUN while disks are pulled and
//! put in, a restart and a power cut lose nothing, and whatever comes of an update, the box serves.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use raid::layout::MemberLayout;
use raid::md::superblock::{NewMember, Resync, Superblock};
use raid::{Geometry, Level};
use testbed::appliance::{Appliance, DISKS, MORE_DISKS, Machine, VERSION, artifact, cec};
use testbed::network::{BRIDGE, GuestEnd};
use testbed::process::run;
use testbed::{Client, Vm, VmNetwork, VmOptions, lock_vm, transcript};

#[path = "appliance/back.rs"]
mod back;
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
        let mut pause = Duration::from_secs(1);
        loop {
            let output = self.cec(line)?;
            if wanted(&output) {
                return Ok(output);
            }
            ensure!(Instant::now() < deadline, "{line}: {output}");
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(8));
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

/// What the daemon, which is no root, is told by others: of NVMe and SATA drives by its helper, of versions
/// by the image. `reboot` is of that kind, too. SAS drives are not asked for here: the emulator's `megasas`
/// refuses TEST UNIT READY, without which `smartctl` asks nothing else (`enclosure` has the test of that).
fn asks_of_others(site: &Site) -> Result<()> {
    for drive in ["7.0", "7.2"] {
        let line = format!("smartlog {drive}");
        site.wait(&line, WORK, |said| said.contains("normal,"))?;
    }
    let runs = format!("version {VERSION} runs");
    site.wait("update", ANSWER, |said| said.contains(&runs))
        .map(drop)
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
    asks_of_others(&site)?;
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

/// What is on the disks of these names, as sums of their bytes, to see that nothing has changed it.
fn contents(site: &Site, disks: &[&str]) -> Result<BTreeSet<String>> {
    let sum = |disk: &&str| {
        let mut command = Command::new("sha256sum");
        command.arg("--").arg(site.machine.path(disk));
        let said = run(command, Duration::from_secs(300))?.success("sha256sum")?;
        let sum = said.split_whitespace().next().context("sha256sum")?;
        Ok(sum.to_owned())
    };
    let sums = disks.iter().map(sum).collect::<Result<BTreeSet<_>>>()?;
    ensure!(sums.len() == disks.len(), "some disks have the same bytes");
    Ok(sums)
}

/// Switches the machine on, and expects what the console says before its prompt.
fn boot_told(site: &Site, prompt: &str, told: &[&str]) -> Result<Appliance> {
    let mut appliance = site.machine.switch_on(&site.network.client, PORT, MTU)?;
    let said = appliance.expect(prompt, BOOT)?;
    for text in told {
        ensure!(
            said.contains(text),
            "the console does not say {text:?}: {said}"
        );
    }
    transcript::note(&format!("{prompt}came by itself, after:\n{said}"));
    Ok(appliance)
}

/// A command on the serial line, whose answer has these texts, in this order.
fn answers(appliance: &mut Appliance, line: &str, texts: &[&str]) -> Result<()> {
    appliance.type_line(line)?;
    let mut said = String::new();
    for text in texts {
        said += &appliance.expect(text, ANSWER)?;
        said += text;
    }
    transcript::note(&said);
    Ok(())
}

/// Disks that somebody else has written: a member of an array of Linux, and a file system.
fn add_foreign_disks(site: &Site) -> Result<()> {
    const BYTES: u64 = 256 << 20;
    let [array, system] = MORE_DISKS.map(|disk| site.machine.path(disk));
    let layout = MemberLayout::new(BYTES / 512, 0)?;
    let geometry = Geometry::new(Level::Raid1, 2, 0, layout.data_sectors)?;
    let superblock = Superblock::new(&NewMember {
        set_uuid: uuid::Uuid::from_u128(0xaaaa),
        device_uuid: uuid::Uuid::from_u128(0xbbbb),
        name: "nas:data",
        created_unix_seconds: 1_700_000_000,
        geometry: &geometry,
        layout,
        element: 0,
        resync: Resync::Clean,
    });
    let file = File::create(array)?;
    file.set_len(BYTES)?;
    file.write_all_at(&superblock.encode(), 4096)?;
    File::create(&system)?.set_len(BYTES)?;
    let mut format = Command::new("/usr/sbin/mkfs.ext4");
    format.args(["-q", "-F", "-L", "theirs"]).arg(system);
    run(format, Duration::from_secs(60))?.success("mkfs.ext4")?;
    Ok(())
}

/// A clock at 1970, of which the firmware makes 2070: the box becomes a shelf as any other, and says that
/// its times are wrong.
fn first_start_without_a_clock(site: &mut Site) -> Result<()> {
    site.machine.set_clock(Some("1970-01-01"));
    let appliance = set_up(site)?;
    site.machine.set_clock(None);
    let said = site.cec("health")?;
    ensure!(
        said.contains("the clock of this machine was at 2070-01-01"),
        "{said}"
    );
    site.wait_for_normal()?;
    site.cec("offline -f 0")?;
    site.cec("halt -f")?;
    appliance.wait_for_end(BOOT)
}

/// A configuration of a newer version, a state partition without room, all disks swapped around, and disks
/// of others: it serves with what it knows, says all that, and writes on no disk.
fn start_with_all_at_once(site: &Site) -> Result<()> {
    let mut disks = DISKS.to_vec();
    disks.extend(MORE_DISKS);
    let last = DISKS.len() - 1;
    for (from, to) in [
        (DISKS[0], "swap"),
        (DISKS[last], DISKS[0]),
        ("swap", DISKS[last]),
    ] {
        fs::rename(site.machine.path(from), site.machine.path(to))?;
    }
    add_foreign_disks(site)?;
    let before = contents(site, &disks)?;
    site.machine.change_state(NEWER_AND_FULL)?;
    let mut appliance = boot_told(site, PROMPT, &["takes no files", "unknown field `future`"])?;
    let said = site.cec("health")?;
    for text in ["takes no files", "unknown field `future`"] {
        ensure!(said.contains(text), "{said}");
    }
    // LUNs do not depend on places.
    site.wait("list -l", ANSWER, |said| said.contains("raid6 normal"))?;
    let said = site.cec("show -l")?;
    for text in ["nas:data", "ext4 file system"] {
        ensure!(said.contains(text), "{said}");
    }
    // What is somebody's is not taken, whoever asks.
    answers(&mut appliance, "make 1 jbod 7.6", &["md array", "use -f"])?;
    answers(&mut appliance, "make 1 jbod 7.7", &["ext4", "use -f"])?;
    drop(appliance);
    ensure!(contents(site, &disks)? == before, "a data disk was changed");
    Ok(())
}

/// A state partition that nobody can read, and disks of which too few are left: both are said, and left as
/// they are.
fn start_with_too_little(site: &Site) -> Result<()> {
    let (gone, left) = DISKS.split_at(3);
    let before = contents(site, left)?;
    for disk in gone {
        fs::remove_file(site.machine.path(disk))?;
    }
    site.machine.change_state(
        "dd if=/dev/urandom of=\"$1\" bs=1M count=64 conv=notrunc status=none; sha256sum <\"$1\" >\"$1.sum\"",
    )?;
    let told = ["the state partition is damaged"];
    let mut appliance = boot_told(site, "SR shelf unset> ", &told)?;
    // It does not know its number, and whose LUN that is; told that, it knows what is missing.
    answers(&mut appliance, "show -l", &["LUN 0 of shelf 7"])?;
    answers(&mut appliance, "shelf 7", &["shelf number is 7"])?;
    answers(&mut appliance, "list -l", &["raid6 ", "failed"])?;
    answers(&mut appliance, "health", &["too many elements are missing"])?;
    answers(&mut appliance, "online 0", &["cannot go online"])?;
    drop(appliance);
    site.machine
        .change_state("sha256sum --check --quiet <(sed \"s,-,$1,\" \"$1.sum\")")?;
    ensure!(contents(site, left)? == before, "a data disk was changed");
    Ok(())
}

#[test]
fn whatever_is_wrong_the_box_comes_up_and_says_so() -> Result<()> {
    let _lock = lock_vm()?;
    let mut site = Site::new()?;
    let mut bios = site.machine.switch_on_without_uefi()?;
    bios.expect("starts by UEFI only", ANSWER)?;
    drop(bios);

    first_start_without_a_clock(&mut site)?;
    start_with_all_at_once(&site)?;
    start_with_too_little(&site)?;

    // No disks at all.
    for disk in DISKS.into_iter().chain(MORE_DISKS) {
        let path = site.machine.path(disk);
        if path.exists() {
            fs::remove_file(path)?;
        }
    }
    let mut appliance = boot_told(&site, "SR shelf unset> ", &[])?;
    answers(&mut appliance, "make 0 jbod 0", &["error:"])?;
    // Switched off in order at last; what the power cuts before have left is repaired.
    appliance.type_line("halt -f")?;
    appliance.wait_for_end(BOOT)?;
    site.machine.check_boot_partition()
}

/// Zeroes would be holes, and fill nothing; what is too long fills all that there is.
const NEWER_AND_FULL: &str = r#"
echo 'future = 1' >"$1.toml"
debugfs -w -R "write $1.toml etc/ledge/ledge.toml" "$1" 2>/dev/null
{ yes || true; } | head -c 2000000000 >"$1.fill"
debugfs -w -R "write $1.fill fill" "$1" 2>/dev/null || true
rm "$1.fill"
dumpe2fs -h "$1" 2>/dev/null | grep '^Free blocks: *0$' >/dev/null
"#;
