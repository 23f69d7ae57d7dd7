//! The rig proves itself: the Linux kernel's initiator in a virtual machine against Debian's vblade.

use std::fs::File;
use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::network::TARGET_INTERFACE;
use testbed::{Client, PairNetwork, Vm, VmNetwork, VmOptions, lock_vm, transcript, vblade};

const DISK_BYTES: u64 = 512 << 20;

#[test]
fn a_linux_client_uses_vblade_and_survives_its_death() -> Result<()> {
    let _lock = lock_vm()?;
    let network = VmNetwork::new(9000)?;
    let directory = tempfile::tempdir()?;
    let disk = directory.path().join("disk");
    File::create(&disk)?.set_len(DISK_BYTES)?;
    let target = vblade::start(&network.target, TARGET_INTERFACE, 1, 2, &disk)?;

    let mut client = Client::new(Vm::boot(&network, &VmOptions::default())?, "e1.2");
    client.shell("uname -r; aoe-version")?;
    let device = client.discover(Duration::from_secs(60))?;
    // vblade offers as many sectors as fit behind its headers: 17 at this MTU.
    ensure!(
        device.payload_bytes == 17 * 512,
        "payload {} bytes",
        device.payload_bytes
    );
    ensure!(
        device.interfaces == "eth0",
        "interfaces {}",
        device.interfaces
    );
    ensure!(
        (device.size_gb - 0.536).abs() < 0.001,
        "size {} GB",
        device.size_gb
    );

    client.shell("aoe-sancheck eth0")?;

    client.make_file_system()?;
    client.mount()?;
    let checksums = client.write_files("before", 20, 256)?;
    client.unmount()?;
    client.mount()?;
    client.verify_files("before", &checksums)?;

    client.start_writers("during")?;
    client.wait_for_acknowledged(10, Duration::from_secs(60))?;
    transcript::note("kill -9 of vblade");
    target.kill()?;
    let count = client.check_stalled()?;
    let target = vblade::start(&network.target, TARGET_INTERFACE, 1, 2, &disk)?;
    client.wait_for_acknowledged(count + 20, Duration::from_secs(150))?;
    let acknowledged = client.stop_writers()?;
    client.unmount()?;
    client.check_file_system()?;
    client.mount()?;
    client.verify_files("during", &acknowledged)?;
    client.unmount()?;
    client.check_kernel_log()?;
    target.kill()
}

#[test]
fn a_pair_network_carries_frames_between_its_namespaces() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    network
        .target
        .ip(&["address", "add", "192.0.2.1/24", "dev", "eth1"])?;
    network
        .client
        .ip(&["address", "add", "192.0.2.2/24", "dev", "eth0"])?;
    let link = network.client.ip(&["-oneline", "link", "show", "eth0"])?;
    ensure!(
        link.contains("mtu 9000") && link.contains("state UP"),
        "{link}"
    );
    let addresses = network
        .client
        .ip(&["-6", "address", "show", "dev", "eth0"])?;
    ensure!(addresses.is_empty(), "IPv6 is on: {addresses}");
    let neighbours = "exec 3<>/dev/tcp/192.0.2.1/9";
    // Nobody listens: a refusal, unlike a time-out, has come over the wire.
    let mut refused = network.client.command("timeout");
    refused.args(["10", "bash", "-c", neighbours]);
    let output = testbed::process::run(refused, Duration::from_secs(20))?;
    ensure!(output.output.contains("refused"), "{}", output.output);
    Ok(())
}

#[test]
fn a_dropped_namespace_takes_its_processes_with_it() -> Result<()> {
    let namespace = testbed::Namespace::new("drop")?;
    let (name, path) = (namespace.name().to_owned(), namespace.path());
    let mut sleeper = namespace.command("sleep").arg("1000").spawn()?;
    while namespace.processes()?.is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(namespace);
    ensure!(!path.exists(), "{name} is still there");
    ensure!(!sleeper.wait()?.success(), "the process ended by itself");
    Ok(())
}

#[test]
fn a_thread_inside_a_namespace_sees_only_its_interfaces() -> Result<()> {
    let network = PairNetwork::new(1500)?;
    let listed = || Ok(std::fs::read_to_string("/proc/thread-self/net/dev")?);
    let inside = network.target.enter(listed)?;
    ensure!(
        inside.contains("eth1:") && !inside.contains("eth0:"),
        "{inside}"
    );
    let outside = listed()?;
    ensure!(
        !outside.contains("eth1:"),
        "the test's own thread has moved: {outside}"
    );
    Ok(())
}
