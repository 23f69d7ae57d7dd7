//! The image without a boot disk: the firmware fetches it over the network, and the state is on a partition
//! of a data disk that is there for it, or in memory.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::appliance::{Appliance, DISKS, Machine, VERSION, artifact, cec};
use testbed::network::BRIDGE;
use testbed::process::run;
use testbed::{VmNetwork, lock_vm, transcript};

use super::{ANSWER, BOOT, MTU, PORT, SHELF};

/// The machine, its network, and what it starts.
struct Diskless {
    network: VmNetwork,
    machine: Machine,
    program: PathBuf,
}

impl Diskless {
    /// Switches the machine on, and waits for the prompt to be there by itself.
    fn boot(&self, prompt: &str) -> Result<Appliance> {
        let place = (&self.network.client, PORT, MTU);
        let mut appliance = self.machine.switch_on_from_network(&self.program, place)?;
        appliance.expect(prompt, BOOT)?;
        transcript::note(&format!("{prompt}came by itself, over the network"));
        Ok(appliance)
    }
}

#[test]
fn a_machine_without_a_boot_disk_starts_over_the_network() -> Result<()> {
    let _lock = lock_vm()?;
    let network = VmNetwork::new(MTU)?;
    network.add_guest(PORT)?;
    let site = Diskless {
        network,
        machine: Machine::without_boot_disk()?,
        program: artifact(&format!("pxe/ledge-{VERSION}.efi"))?,
    };
    let mut appliance = site.boot("SR shelf unset> ")?;
    for (line, answer) in [
        ("show -l", "unset.1"),
        ("health", "started over the network"),
        ("update x.update", "started over the network"),
    ] {
        appliance.type_line(line)?;
        appliance.expect(answer, ANSWER)?;
    }
    drop(appliance);

    // With a place for its state it is who it was.
    let mut make = Command::new("bash");
    make.args(["-euo", "pipefail", "-c", STATE, "bash"])
        .arg(site.machine.path(DISKS[1]));
    run(make, Duration::from_secs(60))?.success(STATE)?;
    let mut appliance = site.boot("SR shelf 7> ")?;
    let said = cec(&site.network.client, BRIDGE, SHELF, "health")?.output;
    ensure!(!said.contains("over the network"), "{said}");
    // The disk with the state is none of the shelf's.
    let shown = cec(&site.network.client, BRIDGE, SHELF, "show")?.output;
    let rows = shown.lines().filter(|line| line.starts_with("7."));
    ensure!(rows.count() == 1, "{shown}");
    appliance.type_line("motd kept")?;
    appliance.type_line("halt -f")?;
    appliance.wait_for_end(BOOT)?;
    let mut read = Command::new("bash");
    read.args(["-euo", "pipefail", "-c", READ, "bash"])
        .arg(site.machine.path(DISKS[1]));
    let kept = run(read, Duration::from_secs(60))?.success(READ)?;
    ensure!(kept.contains("kept"), "{kept}");
    Ok(())
}

/// Argument: the disk, of 256 MiB.
const STATE: &str = r#"
PATH=$PATH:/usr/sbin:/sbin
tree=$(mktemp -d)
mkdir -p "$tree/lib/ledge"
echo 7 >"$tree/lib/ledge/shelf"
printf 'label: gpt\nstart=2048, size=409600, type=linux, name=ledge-state\n' | sfdisk --quiet "$1"
mke2fs -q -F -t ext4 -d "$tree" -E offset=1048576 "$1" 200M
rm -r "$tree"
"#;

/// Argument: the disk.
const READ: &str = r#"
PATH=$PATH:/usr/sbin:/sbin
debugfs -R 'cat lib/ledge/settings.toml' "$1?offset=1048576" 2>/dev/null
"#;
