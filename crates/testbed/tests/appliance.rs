//! The image in an emulated machine: it boots unattended into a shelf over the six disks of the machine, its
//! console answers on the serial line and from outside, a Linux host uses a LUN, and a restart and a power
//! cut lose nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::appliance::{Appliance, DISKS, Machine, artifact, cec};
use testbed::network::{BRIDGE, GuestEnd};
use testbed::{Client, Vm, VmNetwork, VmOptions, lock_vm, transcript};

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
const BOOT: Duration = Duration::from_secs(1200);

/// One answer of a console.
const ANSWER: Duration = Duration::from_secs(120);

/// The shelf's machine on the network.
struct Site<'a> {
    network: &'a VmNetwork,
    machine: Machine,
}

impl Site<'_> {
    /// Switches the machine on, and waits until the console's prompt is there by itself.
    fn boot(&self, prompt: &str) -> Result<Appliance> {
        let mut appliance = self.machine.switch_on(&self.network.client, PORT, MTU)?;
        appliance.expect(prompt, BOOT)?;
        transcript::note(&format!("{prompt}came by itself"));
        Ok(appliance)
    }

    /// A command over Ethernet, which must have an answer with `expected` in it.
    fn cec(&self, line: &str, expected: &str) -> Result<String> {
        let output = cec(&self.network.client, BRIDGE, SHELF, line)?.output;
        ensure!(output.contains(expected), "{line}: {output}");
        Ok(output)
    }
}

/// The first start: no number yet, six disks, and the number is set on the serial line.
fn set_up(site: &Site<'_>) -> Result<Appliance> {
    let mut appliance = site.boot("SR shelf unset> ")?;
    appliance.type_line("show -l")?;
    let last = format!("unset.{}", DISKS.len() - 1);
    appliance.expect(&last, ANSWER)?;
    appliance.type_line(&format!("shelf {SHELF}"))?;
    appliance.expect("shelf number is 7", ANSWER)?;
    appliance.expect(PROMPT, ANSWER)?;
    Ok(appliance)
}

#[test]
fn the_image_becomes_a_shelf_that_a_linux_host_uses() -> Result<()> {
    let _lock = lock_vm()?;
    let network = VmNetwork::new(MTU)?;
    network.add_guest(PORT)?;
    let site = Site {
        network: &network,
        machine: Machine::new(&artifact(None, "img")?)?,
    };
    let mut appliance = set_up(&site)?;

    site.cec("show -l", "7.5")?;
    site.cec("make 0 raid6 7.0-5", "created")?;
    site.cec("online 0", "online")?;
    site.cec("ifstat", "9000")?;

    let mut client = Client::new(Vm::boot(&network, &VmOptions::default())?, DEVICE);
    // The machine takes minutes to start; the driver would give up before.
    client.shell("echo 3600 > /sys/module/aoe/parameters/aoe_deadsecs")?;
    let device = client.discover(ANSWER)?;
    ensure!(device.payload_bytes == 8192, "{device:?}");
    client.make_file_system()?;
    client.mount()?;
    let checksums = client.write_files("files", 10, 256)?;
    client.unmount()?;

    site.cec("reboot -f", "")?;
    appliance.expect("BdsDxe: starting", BOOT)?;
    appliance.expect(PROMPT, BOOT)?;
    site.cec("list", "online")?;
    client.mount()?;
    client.verify_files("files", &checksums)?;

    client.start_writers("writing")?;
    let before = client.wait_for_acknowledged(10, BOOT)?;
    transcript::note("power cut of the shelf");
    drop(appliance);
    let _appliance = site.boot(PROMPT)?;
    client.wait_for_acknowledged(before + 10, BOOT)?;
    let acknowledged = client.stop_writers()?;
    client.unmount()?;
    client.check_file_system()?;
    client.mount()?;
    client.verify_files("files", &checksums)?;
    client.verify_files("writing", &acknowledged)?;
    client.check_kernel_log()
}
