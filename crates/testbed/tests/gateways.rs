//! Two gateways that mirror LUNs of two shelves by Linux md, as one builds storage of which any one box may
//! fail: a shelf is killed while a gateway writes, comes back and is made equal; then the gateway loses its
//! power while it writes, the other one takes over, and the other shelf is killed while that one writes.

mod lun;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lun::Lun;
use testbed::linux_md::{ARRAY, attribute, mismatched_sectors, reported, wait_idle};
use testbed::network::{BRIDGE, FIRST_GUEST, GuestEnd};
use testbed::{
    Client, Ledge, LedgeOptions, Namespace, Vm, VmNetwork, VmOptions, lock_vm, transcript,
};

/// A LUN of each shelf: the driver's name for it, and its address.
const LUNS: [(&str, (u16, u8)); 2] = [("e1.0", (1, 0)), ("e2.0", (2, 0))];

/// What a bit of the mirror's bitmap stands for: little of the array, so that it is seen whether only what
/// a shelf has missed is copied.
const BITMAP_CHUNK: &str = "64K";

/// Where the second gateway is joined to the network.
const SECOND_GUEST: GuestEnd = GuestEnd {
    tap: "tap1",
    address: "52:54:00:00:00:02",
};

/// Seconds after which a gateway takes a shelf that does not answer for dead: a mirror need not wait the
/// three minutes that a host without one waits.
const DEAD_SECONDS: u32 = 10;

/// More than it takes until writes go on: the time above, and the initiator's first retransmission, which
/// comes after 16.5 s.
const RECOVERY: Duration = Duration::from_secs(170);

const STEP: Duration = Duration::from_secs(150);

/// Two shelves and two gateways on one wire.
fn wires() -> Result<(VmNetwork, Namespace)> {
    let network = VmNetwork::new(9000)?;
    let other_target = network.add_target("uplink2")?;
    network.add_guest(SECOND_GUEST)?;
    Ok((network, other_target))
}

#[test]
fn a_mirror_of_two_shelves_outlives_a_shelf_and_a_gateway() -> Result<()> {
    let _lock = lock_vm()?;
    let (network, other_target) = wires()?;
    let mut shelves = shelves(&network, &other_target)?;
    let mut first = gateway(&network, FIRST_GUEST)?;
    create(&mut first)?;
    first.make_file_system()?;
    first.mount()?;
    let before = lose_shelf(&mut first, &mut shelves, 1, "first")?;
    compare(&network, &mut first)?;
    assemble(&mut first, 0)?;
    first.mount()?;
    first.verify_files("first", &before)?;

    first.start_writers("cut")?;
    first.wait_for_acknowledged(15, RECOVERY)?;
    let cut = first.acknowledged()?;
    transcript::note("power cut of the first gateway");
    drop(first);

    let mut second = gateway(&network, SECOND_GUEST)?;
    take_over(&mut second)?;
    second.verify_files("first", &before)?;
    second.verify_files("cut", &cut)?;
    lose_shelf(&mut second, &mut shelves, 0, "second")?;
    second.mount()?;
    second.verify_files("first", &before)?;
    second.verify_files("cut", &cut)?;
    second.unmount()?;
    compare(&network, &mut second)?;
    for shelf in &mut shelves {
        shelf.stop()?;
    }
    Ok(())
}

/// The half that was away is back before the second gateway looks: it is older than the other, and is not
/// believed.
#[test]
fn a_gateway_that_takes_over_does_not_believe_a_shelf_that_was_away() -> Result<()> {
    let _lock = lock_vm()?;
    let (network, other_target) = wires()?;
    let mut shelves = shelves(&network, &other_target)?;

    let mut first = gateway(&network, FIRST_GUEST)?;
    create(&mut first)?;
    first.make_file_system()?;
    first.mount()?;
    // The half that is named first is the one that is lost: no rule of order helps.
    kill_under_writes(&mut first, &mut shelves[0], "first")?;
    let files = first.acknowledged()?;
    transcript::note("power cut of the first gateway");
    drop(first);
    shelves[0].start_again()?;

    let mut second = gateway(&network, SECOND_GUEST)?;
    assemble(&mut second, 1)?;
    second.mount()?;
    second.verify_files("first", &files)?;
    take_back(&mut second, 0)?;
    second.unmount()?;
    second.check_file_system()?;
    second.mount()?;
    second.verify_files("first", &files)?;
    second.unmount()?;
    check_kernel_log(&mut second)?;
    compare(&network, &mut second)
}

/// A LUN of each shelf, of different levels.
fn shelves<'a>(network: &'a VmNetwork, other_target: &'a Namespace) -> Result<[Ledge<'a>; 2]> {
    Ok([
        shelf(Ledge::start(&network.target, options(1))?, "raid1 1.0-1")?,
        shelf(Ledge::start(other_target, options(2))?, "raid5 2.0-2")?,
    ])
}

/// Disks that outlive the daemon.
fn options(shelf: u16) -> LedgeOptions {
    LedgeOptions {
        shelf: Some(shelf),
        disks: 3,
        disk_bytes: 128 << 20,
        ..LedgeOptions::default()
    }
}

/// Has a shelf serve its LUN 0.
fn shelf<'a>(ledge: Ledge<'a>, made_of: &str) -> Result<Ledge<'a>> {
    ledge.console_ok(&format!("make 0 {made_of}"))?;
    ledge.console_ok("online 0")?;
    Ok(ledge)
}

/// Boots a gateway that sees both LUNs.
fn gateway(network: &VmNetwork, end: GuestEnd) -> Result<Client> {
    let vm = Vm::boot_at(network, end, &VmOptions::default())?;
    let mut client = Client::new(vm, LUNS[0].0).with_node(ARRAY);
    client.shell(&format!(
        "uname -r; echo {DEAD_SECONDS} > /sys/module/aoe/parameters/aoe_deadsecs"
    ))?;
    // A resync need not leave room for others.
    client.shell("echo 1000000 > /proc/sys/dev/raid/speed_limit_min")?;
    for (device, _) in LUNS {
        client.discover_device(device, RECOVERY)?;
    }
    Ok(client)
}

/// Runs mdadm; nobody makes nodes here.
fn mdadm(client: &mut Client, arguments: &str) -> Result<String> {
    client.shell(&format!("MDADM_NO_UDEV=1 mdadm {arguments} 2>&1"))
}

/// Both LUNs as mdadm's arguments.
fn nodes() -> String {
    LUNS.map(|(device, _)| format!("/dev/etherd/{device}"))
        .join(" ")
}

fn create(client: &mut Client) -> Result<()> {
    let what = "--run --metadata=1.2 --level=1 --raid-devices=2 --bitmap=internal";
    mdadm(
        client,
        &format!(
            "--create {ARRAY} {what} --bitmap-chunk={BITMAP_CHUNK} {}",
            nodes()
        ),
    )?;
    wait_idle(client.vm())
}

/// Assembles the mirror of both halves, of which md is to leave out so many.
fn assemble(client: &mut Client, left_out: u32) -> Result<()> {
    mdadm(
        client,
        &format!("--assemble --config=none {ARRAY} {}", nodes()),
    )?;
    check_degraded(client, left_out)
}

fn check_degraded(client: &mut Client, wanted: u32) -> Result<()> {
    let state = client.shell("cat /proc/mdstat")?;
    let degraded = attribute(client.vm(), "degraded")?;
    ensure!(
        degraded == wanted.to_string(),
        "degraded {degraded}:\n{state}"
    );
    Ok(())
}

/// A shelf dies under writes to a directory, which go on without it, and comes back under writes. Returns
/// the checksums of all files; they have been read back, and the file system is not mounted any more.
fn lose_shelf(
    client: &mut Client,
    shelves: &mut [Ledge<'_>; 2],
    lost: usize,
    directory: &str,
) -> Result<String> {
    let count = kill_under_writes(client, &mut shelves[lost], directory)?;
    shelves[lost].start_again()?;
    // What md holds open the driver does not look at again.
    mdadm(
        client,
        &format!("{ARRAY} --remove /dev/etherd/{}", LUNS[lost].0),
    )?;
    take_back(client, lost)?;
    let log = || shelves.iter().map(Ledge::log).collect::<String>();
    client
        .wait_for_acknowledged(count + 20, RECOVERY)
        .with_context(log)?;
    let files = client.stop_writers().with_context(log)?;
    client.unmount()?;
    client.check_file_system()?;
    client.mount()?;
    client.verify_files(directory, &files)?;
    client.unmount()?;
    check_kernel_log(client)?;
    Ok(files)
}

/// Kills a shelf while writes to a directory go on, until they go on without it. Returns how many files
/// have been acknowledged.
fn kill_under_writes(client: &mut Client, shelf: &mut Ledge<'_>, directory: &str) -> Result<usize> {
    client.start_writers(directory)?;
    client.wait_for_acknowledged(15, RECOVERY)?;
    shelf.kill()?;
    let count = client.acknowledged()?.lines().count();
    let count = client.wait_for_acknowledged(count + 40, RECOVERY)?;
    transcript::note(&format!("writes go on: {count} files acknowledged"));
    check_degraded(client, 1)?;
    Ok(count)
}

/// Has md take the half of a shelf back into the mirror.
fn take_back(client: &mut Client, lost: usize) -> Result<()> {
    let (device, _) = LUNS[lost];
    client.discover_device(device, RECOVERY)?;
    check_bitmap(client, LUNS[1 - lost].0)?;
    let told = mdadm(client, &format!("{ARRAY} --re-add /dev/etherd/{device}"))?;
    ensure!(told.contains("re-added"), "not by its bitmap: {told}");
    wait_idle(client.vm())?;
    check_degraded(client, 0)
}

/// What the other shelf has missed, as the bitmap on this one says, is something and not everything.
fn check_bitmap(client: &mut Client, device: &str) -> Result<()> {
    let report = mdadm(client, &format!("--examine-bitmap /dev/etherd/{device}"))?;
    // "1984 bits (chunks), 312 dirty (15.7%)"
    let line = reported(&report, "Bitmap");
    let numbers: Vec<u64> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [all, dirty] = numbers[..] else {
        anyhow::bail!("no bits in {report}");
    };
    ensure!(0 < dirty && dirty < all, "{line}");
    Ok(())
}

/// Errors of the shelf that is away are the mirror's business; the file system sees none.
fn check_kernel_log(client: &mut Client) -> Result<()> {
    let pattern =
        "md0.*I/O error|I/O error.*md0|EXT4-fs error|EXT4-fs warning|JBD2: Error|BUG:|hung_task";
    let found = client
        .vm()
        .run(&format!("dmesg | grep -E '{pattern}'"), STEP)?;
    ensure!(
        found.status == 1,
        "the gateway's kernel reported:\n{}",
        found.output
    );
    Ok(())
}

/// The second gateway assembles what the first left and replays its journal.
fn take_over(client: &mut Client) -> Result<()> {
    assemble(client, 0)?;
    client.mount()?;
    let log = client.shell("dmesg | grep EXT4-fs")?;
    ensure!(
        log.contains("recovery complete"),
        "nothing to replay: {log}"
    );
    Ok(())
}

/// md finds no difference between the halves of the mirror, and neither do we on the wire when it has been
/// stopped.
fn compare(network: &VmNetwork, client: &mut Client) -> Result<()> {
    let mismatched = mismatched_sectors(client.vm())?;
    ensure!(mismatched == Some(0), "{mismatched:?} sectors differ");
    let sectors = usize::try_from(number(client, "/sys/block/md0/size")?)?;
    let mut halves = Vec::new();
    for (device, _) in LUNS {
        let path = format!("/sys/block/md0/md/dev-etherd!{device}/offset");
        halves.push(number(client, &path)?);
    }
    mdadm(client, &format!("--stop {ARRAY}"))?;
    let mut contents = Vec::new();
    for ((_, address), offset) in LUNS.into_iter().zip(halves) {
        let mut lun = Lun::open(&network.client, BRIDGE, address)?;
        contents.push(lun.read(offset, sectors * 512)?);
    }
    let differs = (0..sectors).find(|&sector| {
        let range = sector * 512..(sector + 1) * 512;
        contents[0][range.clone()] != contents[1][range]
    });
    ensure!(differs.is_none(), "the halves differ at sector {differs:?}");
    ensure!(contents[0].iter().any(|byte| *byte != 0), "nothing on them");
    transcript::note(&format!("{sectors} sectors of both shelves are equal"));
    Ok(())
}

/// A number in a file of the guest.
fn number(client: &mut Client, path: &str) -> Result<u64> {
    let text = client.vm().run_ok(&format!("cat '{path}'"), STEP)?;
    let value = text.trim().parse();
    value.with_context(|| format!("{path}: {text:?}"))
}
