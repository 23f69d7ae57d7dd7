//! Wrong input to the daemon: each one is a clear message, never a crash, never a half-made LUN.

mod support;

use anyhow::{Result, ensure};
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use support::LIMIT;
use support::shelf::{Loop, PORT, Setup, check_log, disk, refusal};
use testbed::process::run_ok;
use testbed::{Daemon, paths};

const DISK_BYTES: u64 = 4 << 20;

/// The message names the place and the reason.
fn says(error: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(error.contains(part), "no {part:?} in: {error}");
    }
    Ok(())
}

#[test]
fn a_wrong_configuration_is_refused_with_file_line_and_reason() -> Result<()> {
    let setup = Setup::new()?;
    let two = |second: &str| format!("{PORT}{}{second}", disk(0, Path::new("/dev/null")));
    let cases = [
        ("shelv = 1\n".to_owned() + PORT, 1, "unknown field `shelv`"),
        ("shelf = 4095\n".to_owned() + PORT, 1, "shelf = 4095"),
        ("shelf = 65535\n".to_owned() + PORT, 1, "0 to 65534"),
        ("\nshelf = -1\n".to_owned() + PORT, 2, "shelf = -1"),
        ("workers = 17\n".to_owned() + PORT, 1, "workers = 17"),
        (PORT.replace("packet", "fast"), 3, "unknown mode \"fast\""),
        (
            two(&disk(0, Path::new("/dev/zero"))),
            8,
            "slot = 0 is taken by the disk of line 6",
        ),
        (
            two(&disk(1, Path::new("/dev/null"))),
            9,
            "is the disk of line 6 already",
        ),
        (
            two(&disk(1, Path::new("/dev/../dev/null"))),
            9,
            "is the disk of line 6 already",
        ),
        (
            two("[[disk]]\nslot = 1\npath = \"ram:1000\"\n"),
            9,
            "ram:1000",
        ),
        (
            two("[[disk]]\nslot = 1\npath = \"null:1G\"\n"),
            9,
            "is beside the disk of line 6",
        ),
        ("shelf = 1\n".to_owned(), 2, "no [[port]]"),
        (PORT.to_owned() + PORT, 5, "has a [[port]] already"),
        ("shelf 1\n".to_owned(), 1, ""),
        ("\u{0}\u{1}\n".to_owned(), 1, ""),
    ];
    let file = setup.path("ledge.toml").display().to_string();
    for (text, line, reason) in cases {
        let error = setup.refused_text(&text)?;
        says(&error, &[&format!("{file}:{line}: "), reason])?;
    }
    fs::remove_file(setup.path("ledge.toml"))?;
    says(&setup.refused()?, &[&file, "No such file"])?;
    fs::write(setup.path("ledge.toml"), [0xff, 0xfe, 0])?;
    says(&setup.refused()?, &[&file, "UTF-8"])
}

#[test]
fn two_names_of_one_disk_file_are_one_disk() -> Result<()> {
    let setup = Setup::new()?;
    let file = setup.disk("disk", DISK_BYTES)?;
    let link = setup.path("link");
    std::os::unix::fs::symlink(&file, &link)?;
    setup.write_config(&[&file, &link])?;
    says(
        &setup.refused()?,
        &["ledge.toml:", "is the disk of line 10 already"],
    )?;
    // A hard link is found by the claim: the second slot is down.
    let hard = setup.path("hard");
    fs::hard_link(&file, &hard)?;
    setup.write_config(&[&file, &hard])?;
    let daemon = setup.start()?;
    says(&setup.row(0)?, &["1.0", " up"])?;
    says(&setup.row(1)?, &["1.1", " down", "in use"])?;
    daemon.terminate(LIMIT)
}

#[test]
fn an_interface_that_cannot_serve_is_named_with_the_cure() -> Result<()> {
    let setup = Setup::new()?;
    for mode in ["auto", "native", "generic", "packet"] {
        let port = |name: &str| {
            let port = format!("[[port]]\ninterface = \"{name}\"\nmode = \"{mode}\"\n");
            setup.write_text(&format!("shelf = 1\n{}{port}", setup.paths()))
        };
        port("eth7")?;
        says(&setup.refused()?, &["eth7: no such network interface"])?;
        port("lo")?;
        says(&setup.refused()?, &["lo: not an Ethernet interface"])?;
        port("eth1")?;
        setup.network.target.set_link("eth1", false)?;
        says(
            &setup.refused()?,
            &["eth1: the interface is down", "ip link set eth1 up"],
        )?;
        setup.network.target.set_link("eth1", true)?;
        setup
            .network
            .target
            .ip(&["link", "set", "eth1", "mtu", "1059"])?;
        says(&setup.refused()?, &["eth1: MTU 1059 is too small", "1060"])?;
        setup
            .network
            .target
            .ip(&["link", "set", "eth1", "mtu", "9000"])?;
    }
    Ok(())
}

#[test]
fn one_port_that_works_is_enough_and_the_other_is_told() -> Result<()> {
    let setup = Setup::new()?;
    let second = PORT.replace("eth1", "eth7");
    setup.write_text(&format!("shelf = 1\n{}{PORT}{second}", setup.paths()))?;
    let daemon = setup.start()?;
    says(&daemon.log(), &["eth7: no such network interface"])?;
    let ports = setup.console("ifstat")?.success("ifstat")?;
    ensure!(ports.contains("eth1") && !ports.contains("eth7"), "{ports}");
    daemon.terminate(LIMIT)
}

/// Nothing that is written to it is kept, so it can carry no metadata.
#[test]
fn a_null_drive_makes_raw_luns_and_nothing_else() -> Result<()> {
    let setup = Setup::new()?;
    setup.write_config(&[Path::new("null:64M"), Path::new("ram:64M")])?;
    let daemon = setup.start()?;
    says(&daemon.log(), &["WARN", "what is written is dropped"])?;
    for line in ["make 0 raid0 1.0-1", "make 0 jbod 1.0", "spare 1.0"] {
        says(
            &setup.console_refused(line)?,
            &["only raw LUNs can be made of it"],
        )?;
    }
    let luns = setup.console("list")?.success("list")?;
    ensure!(luns.is_empty(), "half-made: {luns}");
    let made = setup.console("make 0 raw 1.0")?.success("make")?;
    let warning = "warning: nothing is stored: 1.0 drops what is written to it\n";
    ensure!(made == warning, "{made}");
    says(
        &setup.row(0)?,
        &["1.0 ", " up 0.0.0 null drive: nothing is stored"],
    )?;
    let health = setup.console("health")?.success("health")?;
    says(
        &health,
        &["drive 1.0 is a null drive: nothing is stored on it; "],
    )?;
    // Nothing of the refused LUN is on the other disk.
    setup.console("make 1 jbod 1.1")?.success("make")?;
    daemon.terminate(LIMIT)
}

/// A disk that cannot be used: what `show -l` says of it and what `make` does with it.
fn check_unusable(setup: &Setup, path: &Path, state: &str, reason: &str) -> Result<()> {
    let good = setup.disk("good", DISK_BYTES)?;
    setup.write_config(&[&good, path])?;
    let mut daemon = setup.start()?;
    let row = setup.row(1)?;
    let mut words = row.split_whitespace();
    let found = (words.next(), words.next(), words.next());
    ensure!(
        found == (Some("1.1"), Some("0.000GB"), Some(state)),
        "{row}"
    );
    ensure!(row.contains(reason), "{reason:?} is not in: {row}");
    for line in [
        "make 0 raid1 1.0-1",
        "make 0 jbod 1.1",
        "make 0 raw 1.1",
        "make -f 0 jbod 1.1",
    ] {
        let error = setup.console_refused(line)?;
        says(&error, &["drive 1.1 is", state, reason])?;
    }
    let luns = setup.console("list")?.success("list")?;
    ensure!(luns.is_empty(), "half-made: {luns}");
    // Nothing of the refused LUN is on the good disk.
    setup.console("make 0 jbod 1.0")?.success("make")?;
    check_log(&daemon.log())?;
    ensure!(daemon.exit_status()?.is_none(), "it has ended");
    daemon.terminate(LIMIT)
}

#[test]
fn a_missing_disk_or_no_disk_at_all_does_not_stop_the_shelf() -> Result<()> {
    let setup = Setup::new()?;
    check_unusable(&setup, &setup.path("nothing"), "missing", "")?;
    check_unusable(&setup, setup.directory.path(), "down", "directory")?;
    check_unusable(&setup, Path::new("/dev/null"), "down", "character device")?;
    let empty = setup.disk("empty", 0)?;
    check_unusable(&setup, &empty, "down", "is empty: 0 bytes")
}

#[test]
fn a_disk_that_is_too_small_is_shown_and_refused() -> Result<()> {
    let setup = Setup::new()?;
    let small = setup.disk("small", (1 << 20) - 512)?;
    let sector = setup.disk("sector", 512)?;
    setup.write_config(&[&small, &sector])?;
    let daemon = setup.start()?;
    says(&setup.row(0)?, &["1.0", "0.001GB up"])?;
    says(&setup.row(1)?, &["1.1", "0.000GB up"])?;
    let error = setup.console_refused("make 0 jbod 1.0")?;
    says(
        &error,
        &["1.0 is too small: 1048064 bytes, at least 1048576 are needed"],
    )?;
    let error = setup.console_refused("make 0 raid1 1.0-1")?;
    says(&error, &["too small"])?;
    setup.console("make 0 raw 1.1")?.success("make raw")?;
    check_log(&daemon.log())?;
    daemon.terminate(LIMIT)
}

#[test]
fn a_disk_that_somebody_else_holds_is_down() -> Result<()> {
    let setup = Setup::new()?;
    let held = setup.disk("held", DISK_BYTES)?;
    let lock = File::open(&held)?;
    lock.lock()?;
    check_unusable(&setup, &held, "down", "in use")?;
    drop(lock);

    // Another daemon.
    let other = Setup::new()?;
    other.write_config(&[&held])?;
    let holder = other.start()?;
    check_unusable(&setup, &held, "down", "in use")?;
    holder.terminate(LIMIT)
}

#[test]
fn a_mounted_or_a_read_only_block_device_is_down() -> Result<()> {
    let setup = Setup::new()?;
    let file = setup.disk("backing", 16 << 20)?;
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F"]).arg(&file);
    run_ok(mkfs)?;
    {
        let device = Loop::attach(&file, false)?;
        let mount_point = setup.path("mount");
        fs::create_dir(&mount_point)?;
        let mut mount = Command::new("mount");
        mount.arg(&device.0).arg(&mount_point);
        run_ok(mount)?;
        let checked = check_unusable(&setup, Path::new(&device.0), "down", "in use");
        let mut unmount = Command::new("umount");
        unmount.arg(&mount_point);
        run_ok(unmount)?;
        checked?;
    }
    let device = Loop::attach(&file, true)?;
    check_unusable(&setup, Path::new(&device.0), "down", "read-only")
}

#[test]
fn a_file_on_a_read_only_file_system_is_down() -> Result<()> {
    let setup = Setup::new()?;
    let mount_point = setup.path("mount");
    fs::create_dir(&mount_point)?;
    let mount = |options: &str| {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&mount_point);
        run_ok(mount)
    };
    mount("size=8m")?;
    File::create(mount_point.join("disk"))?.set_len(DISK_BYTES)?;
    mount("remount,ro")?;
    let checked = check_unusable(&setup, &mount_point.join("disk"), "down", "read-only");
    let mut unmount = Command::new("umount");
    unmount.arg(&mount_point);
    run_ok(unmount)?;
    checked
}

/// The daemon's command without the privileges of root. The directory is made readable for it.
fn unprivileged(setup: &Setup, options: &[&str]) -> Result<Command> {
    let mut command = setup.network.target.command("setpriv");
    command.args(options);
    command.arg(paths::binary("ledged")?);
    command.arg("--config").arg(setup.path("ledge.toml"));
    Ok(command)
}

#[test]
fn without_privileges_the_message_says_which_are_needed() -> Result<()> {
    let setup = Setup::new()?;
    let no_capabilities = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"];
    for mode in ["auto", "native", "generic", "packet"] {
        let port = PORT.replace("packet", mode);
        setup.write_text(&format!("shelf = 1\n{}{port}", setup.paths()))?;
        let error = refusal(&unprivileged(&setup, &no_capabilities)?)?;
        says(
            &error,
            &["eth1: not permitted to", "run as root or with CAP_NET_RAW"],
        )?;
    }
    Ok(())
}

#[test]
fn an_ordinary_user_is_told_what_it_lacks() -> Result<()> {
    let setup = Setup::new()?;
    fs::set_permissions(setup.directory.path(), fs::Permissions::from_mode(0o777))?;
    // The programs may lie where an ordinary user cannot go.
    let copy = setup.path("ledged");
    fs::copy(paths::binary("ledged")?, &copy)?;
    let disk_path = setup.disk("disk", DISK_BYTES)?;
    setup.write_config(&[&disk_path])?;
    let mut command = setup.network.target.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command
        .arg(copy)
        .arg("--config")
        .arg(setup.path("ledge.toml"));
    let mut daemon = Daemon::start("ledged", command)?;
    daemon.wait_for_line("not permitted to open a packet socket", LIMIT)?;
    let log = daemon.log();
    says(
        &log,
        &["slot 0", "may not be opened for writing by this user"],
    )?;
    check_log(&log)
}

#[test]
fn a_control_socket_in_use_is_left_alone() -> Result<()> {
    let setup = Setup::new()?;
    setup.write_config(&[])?;
    let daemon = setup.start()?;
    let error = setup.refused()?;
    says(
        &error,
        &["control.sock", "in use", "another ledged is running"],
    )?;
    setup.console("show")?.success("show")?;
    daemon.terminate(LIMIT)?;
    ensure!(
        !setup.path("control.sock").exists(),
        "the socket is still there"
    );
    Ok(())
}

#[test]
fn a_stale_control_socket_is_replaced_and_a_file_is_not() -> Result<()> {
    let setup = Setup::new()?;
    setup.write_config(&[])?;
    setup.start()?.kill()?;
    let socket = setup.path("control.sock");
    ensure!(
        fs::metadata(&socket)?.file_type().is_socket(),
        "no stale socket"
    );
    let daemon = setup.start()?;
    setup.console("show")?.success("show")?;
    let mode = fs::metadata(&socket)?.permissions().mode() & 0o777;
    ensure!(mode == 0o666, "mode {mode:o}");
    daemon.terminate(LIMIT)?;

    fs::write(&socket, "precious")?;
    says(&setup.refused()?, &["control.sock", "no socket"])?;
    ensure!(
        fs::read_to_string(&socket)? == "precious",
        "it was overwritten"
    );
    fs::remove_file(&socket)?;
    fs::create_dir(&socket)?;
    says(&setup.refused()?, &["control.sock"])?;
    ensure!(socket.is_dir(), "the directory is gone");
    Ok(())
}

#[test]
fn a_path_too_long_for_a_control_socket_is_refused() -> Result<()> {
    let setup = Setup::new()?;
    let long = setup.path(&"x".repeat(120));
    let paths = setup.paths().replace(
        &setup.path("control.sock").display().to_string(),
        &long.display().to_string(),
    );
    let error = setup.refused_text(&format!("shelf = 1\n{paths}{PORT}"))?;
    says(&error, &["control_socket"])
}

#[test]
fn a_state_directory_that_cannot_be_is_refused() -> Result<()> {
    let setup = Setup::new()?;
    setup.write_config(&[])?;
    fs::write(setup.path("state"), "a file")?;
    says(&setup.refused()?, &["state_dir", "/state"])?;
    fs::remove_file(setup.path("state"))?;
    let paths = setup.paths().replace("/state\"", "/ledge.toml/state\"");
    let error = setup.refused_text(&format!("shelf = 1\n{paths}{PORT}"))?;
    says(&error, &["state_dir", "ledge.toml/state"])?;
    let paths = setup.paths().replacen(
        &setup.path("state").display().to_string(),
        "/proc/nowhere",
        1,
    );
    let error = setup.refused_text(&format!("shelf = 1\n{paths}{PORT}"))?;
    says(&error, &["state_dir", "/proc/nowhere"])
}

#[test]
fn a_damaged_shelf_number_is_refused_with_the_cure() -> Result<()> {
    let setup = Setup::new()?;
    setup.write_config(&[])?;
    fs::create_dir(setup.path("state"))?;
    for damage in [
        &b""[..],
        b"x\n",
        b"4095\n",
        b"65535\n",
        b"-1\n",
        b"1 2\n",
        b"\0\0\0\0",
    ] {
        fs::write(setup.path("state/shelf"), damage)?;
        let error = setup.refused()?;
        says(&error, &["state/shelf", "no shelf number", "remove it"])?;
    }
    fs::write(setup.path("state/shelf"), [0xff, 0xfe])?;
    says(&setup.refused()?, &["state/shelf"])?;
    fs::write(setup.path("state/shelf"), "7\n")?;
    let daemon = setup.start()?;
    ensure!(
        setup.console("shelf")?.success("shelf")? == "7\n",
        "not taken"
    );
    says(&daemon.log(), &["shelf is 7", "the configuration says 1"])?;
    daemon.terminate(LIMIT)
}

/// What a box has fallen back to finds what the newer version has written: it serves, takes what it knows of
/// the settings, says what it does not know, and leaves it for the newer one.
#[test]
fn the_state_of_a_newer_version_is_left_to_it() -> Result<()> {
    let setup = Setup::new()?;
    let files = [setup.disk("a", 32 << 20)?, setup.disk("b", 32 << 20)?];
    setup.write_config(&[&files[0], &files[1]])?;
    let daemon = setup.start()?;
    for line in ["shelf 7", "make 0 raid1 7.0-1", "online 0"] {
        setup.console(line)?.success(line)?;
    }
    daemon.terminate(LIMIT)?;

    let written = [
        ("users", "admin admin - two-factor\n"),
        ("ratelimit", "1000000 per-drive nightly\n"),
        ("future", "of a file that this version does not have\n"),
        ("alerts", "{\"last\":9,\"epoch\":3}\n"),
    ];
    let state = setup.path("state");
    for (name, text) in written {
        fs::write(state.join(name), text)?;
    }
    let settings = state.join("settings.toml");
    fs::write(&settings, "product = \"SRX\"\ncolour = \"red\"\n")?;
    let daemon = setup.start()?;
    let listed = setup.console("list")?.success("list")?;
    says(&listed, &["online"])?;
    let health = setup.console("health")?.output;
    says(
        &health,
        &[
            "has colour, which this version does not know",
            "users: line 1",
        ],
    )?;
    setup.console("motd hello")?.success("motd")?;
    daemon.terminate(LIMIT)?;
    let kept = fs::read_to_string(&settings)?;
    says(&kept, &["SRX", "colour = \"red\"", "hello"])?;
    for (name, text) in &written[..3] {
        ensure!(fs::read_to_string(state.join(name))? == *text, "{name}");
    }
    Ok(())
}
