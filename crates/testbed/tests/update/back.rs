//! The way back by hand: what the other slot has starts next if it is whole, and whatever comes of that,
//! and wherever it is cut off, the boot loader finds a version that starts.

use std::cmp::Reverse;
use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use testbed::process::{CommandOutput, run};

use super::{LIMIT, Machine, ROOT_HASH, SLOT_BYTES, shell, unchanged};

/// Bytes of the root in the other slot.
const ROOT_BYTES: usize = 1 << 20;

/// What stops the writer right after it has given a kernel another name for the so many-th time.
const CUT: &str = r#"
mv() {
    command mv "$@"
    printf x >>"$COUNT"
    [ "$(wc -c <"$COUNT")" -lt "$AT" ] || kill -9 $$
}
"#;

/// Version 1.2 runs from slot a and was kept; slot b has version 1.1, whole, with a kernel that names its
/// root.
fn machine() -> Result<Machine> {
    let machine = Machine::new()?;
    let (root, hashes) = (machine.path("root"), machine.path("hashes"));
    let content: Vec<u8> = (0..ROOT_BYTES).map(|at| (at >> 3) as u8).collect();
    fs::write(&root, content)?;
    let said = shell(&format!(
        "veritysetup format {} {}",
        root.display(),
        hashes.display()
    ))?;
    let mut lines = said.lines();
    let hash = lines.find_map(|line| line.strip_prefix("Root hash:"));
    let hash = hash.context("root hash")?.trim().to_owned();
    for (from, slot) in [(&root, "slot-root-b"), (&hashes, "slot-verity-b")] {
        let mut bytes = fs::read(from)?;
        bytes.resize(usize::try_from(SLOT_BYTES)?, 0);
        fs::write(machine.path(slot), bytes)?;
    }
    name_slot(&machine, &hash)?;
    write_kernel(&machine, "ledge_1.1.efi", &hash)?;
    Ok(machine)
}

/// Gives the partitions of slot b the UUIDs of a root hash.
fn name_slot(machine: &Machine, hash: &str) -> Result<()> {
    let table = machine.path("table");
    for (number, half) in [(3, &hash[..32]), (4, &hash[32..])] {
        let uuid = uuid::Uuid::parse_str(half)?;
        let table = table.display();
        shell(&format!(
            "sfdisk --quiet --part-uuid {table} {number} {uuid}"
        ))?;
    }
    Ok(())
}

fn write_kernel(machine: &Machine, name: &str, hash: &str) -> Result<()> {
    let text = format!("code\0root=/dev/mapper/root roothash={hash} rootfstype=squashfs\0code");
    Ok(fs::write(machine.path("esp/EFI/Linux").join(name), text)?)
}

fn kernels(machine: &Machine) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for kernel in fs::read_dir(machine.path("esp/EFI/Linux"))? {
        names.push(kernel?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// What systemd-boot makes of these names: those without tries come last, and the newest first.
fn starts(names: &[String]) -> Result<(String, String)> {
    let of = |name: &String| -> Result<(bool, Reverse<Vec<u32>>, String)> {
        let stem = name.strip_suffix(".efi").context("kernel")?;
        let (_, stem) = stem.split_once('_').context("kernel")?;
        let (version, tries) = stem.split_once('+').unwrap_or((stem, "-"));
        let digits: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
        let is_over = tries.split('-').next() == Some("0");
        Ok((is_over, Reverse(digits?), version.to_owned()))
    };
    let mut sorted = Vec::new();
    for name in names {
        let (is_over, digits, version) = of(name)?;
        sorted.push((is_over, digits, version, name.clone()));
    }
    sorted.sort();
    let first = sorted.into_iter().next().context("no kernel")?;
    Ok((first.2, first.3))
}

/// The boot loader counts the try of what starts.
fn count(machine: &Machine) -> Result<String> {
    let (version, name) = starts(&kernels(machine)?)?;
    let stem = name.strip_suffix(".efi").context("kernel")?;
    if let Some((stem, tries)) = stem.split_once('+') {
        let (left, done) = tries.split_once('-').unwrap_or((tries, "0"));
        let (left, done): (u32, u32) = (left.parse()?, done.parse()?);
        let name = format!("{stem}+{}-{}.efi", left.saturating_sub(1), done + 1);
        rename(machine, &format!("{stem}+{tries}.efi"), &name)?;
    }
    Ok(version)
}

fn rename(machine: &Machine, from: &str, to: &str) -> Result<()> {
    let kernels = machine.path("esp/EFI/Linux");
    Ok(fs::rename(kernels.join(from), kernels.join(to))?)
}

/// The version that has started.
fn runs(machine: &Machine, version: &str) -> Result<()> {
    let image = format!("product=ledge\narchitecture=x86_64\nversion={version}\n");
    fs::write(machine.path("lib/image"), image)?;
    let slot = if version == "1.1" { "b\n" } else { "a\n" };
    Ok(fs::write(machine.path("run/running"), slot)?)
}

/// What is started is kept when it is healthy.
fn bless(machine: &Machine, version: &str) -> Result<()> {
    let names = kernels(machine)?;
    let start = format!("ledge_{version}+");
    let found = names.iter().find(|name| name.starts_with(&start));
    rename(
        machine,
        found.context("nothing to keep")?,
        &format!("ledge_{version}.efi"),
    )
}

fn back(machine: &Machine, said: &str) -> Result<()> {
    let output = machine.run(&["--back"])?.success("--back")?;
    ensure!(output == format!("ok: {said}\n"), "{output}");
    Ok(())
}

fn status(machine: &Machine) -> Result<String> {
    machine.run(&["--status"])?.success("--status")
}

/// Refuses to go back for a reason that names `reason`, and changes nothing.
fn refuses(machine: &Machine, reason: &str) -> Result<()> {
    let before = machine.content()?;
    for words in [&["-n", "--back"][..], &["--back"]] {
        let CommandOutput { output, status } = machine.run(words)?;
        ensure!(
            status == 1 && output.starts_with("error: ") && output.contains(reason),
            "{reason:?} was expected: {output}"
        );
        ensure!(
            machine.content()? == before,
            "something was changed: {reason}"
        );
    }
    Ok(())
}

#[test]
fn the_other_version_starts_next_and_stays_until_one_goes_back_again() -> Result<()> {
    let machine = machine()?;
    let before = machine.content()?;
    let dry = machine.run(&["-n", "--back"])?.success("-n")?;
    ensure!(
        dry == "ok: would have version 1.1 of slot b run after a reboot\n",
        "{dry}"
    );
    ensure!(machine.content()? == before, "-n changed something");

    back(&machine, "version 1.1 of slot b runs after a reboot")?;
    ensure!(kernels(&machine)? == ["ledge_1.1+3.efi", "ledge_1.2+0-100.efi"]);
    ensure!(
        status(&machine)? == "running 1.2\nother 1.1\nnext 1.1\nok: version 1.2 runs\n",
        "{}",
        status(&machine)?
    );
    // Who thinks better of it stays, as if nothing had been.
    let dry = machine.run(&["-n", "--back"])?.success("-n")?;
    ensure!(dry == "ok: would have version 1.2, which runs, run after a reboot, too\n");
    back(
        &machine,
        "version 1.2, which runs, runs after a reboot, too",
    )?;
    ensure!(
        machine.content()? == before,
        "{:?} is not as it was",
        kernels(&machine)?
    );

    back(&machine, "version 1.1 of slot b runs after a reboot")?;
    ensure!(count(&machine)? == "1.1");
    runs(&machine, "1.1")?;
    // Until it is kept, it can only restart to fall back.
    refuses(&machine, "version 1.1 is on trial")?;
    bless(&machine, "1.1")?;
    for _ in 0..3 {
        ensure!(count(&machine)? == "1.1", "it does not stay");
    }
    ensure!(status(&machine)? == "running 1.1\nother 1.2\nnext 1.1\nok: version 1.1 runs\n");
    machine.run(&["--tell"])?.success("--tell")?;
    ensure!(
        !machine.path("run/troubles").exists(),
        "nothing is wrong with 1.2"
    );
    Ok(())
}

/// And forwards again: the newer one is in the slot that 1.1 has as its other one.
#[test]
fn who_has_gone_back_can_go_on() -> Result<()> {
    let machine = machine()?;
    // The slots change places, so that the newer one is the one whose root is there.
    for (from, to) in [
        ("ledge_1.1.efi", "ledge_1.3+0-100.efi"),
        ("ledge_1.2.efi", "ledge_1.2.efi"),
    ] {
        rename(&machine, from, to)?;
    }
    back(&machine, "version 1.3 of slot b runs after a reboot")?;
    ensure!(kernels(&machine)? == ["ledge_1.2.efi", "ledge_1.3+3.efi"]);
    // It has three tries, and then 1.2 is there as ever.
    for version in ["1.3", "1.3", "1.3", "1.2", "1.2"] {
        ensure!(count(&machine)? == version, "{:?}", kernels(&machine)?);
    }
    refuses(&machine, "version 1.3 did not come up in three tries")
}

/// The version gone back to gives way to the newer one, which is kept again; and that is not restarted
/// because the health of it takes long, too: nothing is left that could start instead.
#[test]
fn a_version_gone_back_to_that_does_not_come_up_gives_way() -> Result<()> {
    let machine = machine()?;
    back(&machine, "version 1.1 of slot b runs after a reboot")?;
    for version in ["1.1", "1.1", "1.1", "1.2", "1.2"] {
        ensure!(count(&machine)? == version, "{:?}", kernels(&machine)?);
        let CommandOutput { status, .. } = machine.run(&["--resort"])?;
        ensure!(status == 1 || version == "1.2", "1.1 has 1.2");
    }
    machine.run(&["--resort"])?.success("--resort")?;
    let on_trial = "running 1.2\nnext 1.2\nfailed 1.1\ntrial 1.2\nok: version 1.2 runs\n";
    ensure!(status(&machine)? == on_trial, "{}", status(&machine)?);
    refuses(&machine, "version 1.2 is on trial")?;
    bless(&machine, "1.2")?;
    ensure!(kernels(&machine)? == ["ledge_1.1+0-3.efi", "ledge_1.2.efi"]);
    let text = "running 1.2\nnext 1.2\nfailed 1.1\nok: version 1.2 runs\n";
    ensure!(status(&machine)? == text, "{}", status(&machine)?);
    machine.run(&["--tell"])?.success("--tell")?;
    let told = fs::read_to_string(machine.path("run/troubles"))?;
    ensure!(
        told.starts_with("version 1.1\tdid not come up in three tries: version 1.2 runs\t"),
        "{told}"
    );
    refuses(&machine, "version 1.1 did not come up in three tries")?;
    let CommandOutput { status, .. } = machine.run(&["--resort"])?;
    ensure!(status == 1, "what is kept is no last resort");
    Ok(())
}

/// What is in its last try does not say of itself that it did not come up.
#[test]
fn a_version_in_its_last_try_has_not_failed() -> Result<()> {
    let machine = Machine::new()?;
    rename(&machine, "ledge_1.2.efi", "ledge_1.2+0-3.efi")?;
    machine.run(&["--tell"])?.success("--tell")?;
    ensure!(!machine.path("run/troubles").exists(), "it runs");
    let said = status(&machine)?;
    ensure!(
        said == "running 1.2\nother 1.1\nnext 1.1\ntrial 1.2\nok: version 1.2 runs\n",
        "{said}"
    );
    Ok(())
}

#[test]
fn an_update_after_going_back_starts_the_new_one() -> Result<()> {
    let machine = machine()?;
    back(&machine, "version 1.1 of slot b runs after a reboot")?;
    let file = machine.update("1.3", unchanged)?;
    let file = file.to_str().context("path")?;
    // Before the reboot: what was to be gone back to is written over, and what runs is what is fallen back
    // to.
    machine.run(&[file])?.success("update")?;
    ensure!(kernels(&machine)? == ["ledge_1.2.efi", "ledge_1.3+3.efi"]);
    machine.holds_the_update()?;
    // An update that has not started yet can be left, too, and taken up again.
    back(
        &machine,
        "version 1.2, which runs, runs after a reboot, too",
    )?;
    ensure!(kernels(&machine)? == ["ledge_1.2.efi", "ledge_1.3+0-100.efi"]);
    ensure!(count(&machine)? == "1.2");
    refuses(&machine, "does not tell its root")?;

    // After it, from the version gone back to.
    let machine = self::machine()?;
    back(&machine, "version 1.1 of slot b runs after a reboot")?;
    count(&machine)?;
    bless(&machine, "1.1")?;
    runs(&machine, "1.1")?;
    let file = machine.update("1.3", unchanged)?;
    let file = file.to_str().context("path")?;
    let said = machine.run(&[file])?.success("update")?;
    ensure!(
        said.contains("ok: version 1.3 is in slot a and runs"),
        "{said}"
    );
    ensure!(kernels(&machine)? == ["ledge_1.1.efi", "ledge_1.3+3.efi"]);
    ensure!(status(&machine)? == "running 1.1\nother 1.3\nnext 1.3\nok: version 1.1 runs\n");
    ensure!(count(&machine)? == "1.3");
    Ok(())
}

#[test]
fn what_is_not_whole_is_not_gone_back_to() -> Result<()> {
    let machine = machine()?;
    let spoil = |slot: &str, offset: u64| -> Result<()> {
        let path = machine.path(slot);
        let file = fs::File::options().read(true).write(true).open(path)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset)?;
        Ok(file.write_all_at(&[byte[0] ^ 1], offset)?)
    };
    // A byte in the middle of the root, its last one, and one of a hash. Each is mended by spoiling it again.
    for (slot, offset) in [
        ("slot-root-b", 500_000),
        ("slot-root-b", ROOT_BYTES as u64 - 1),
        ("slot-verity-b", 4096 + 7),
    ] {
        spoil(slot, offset)?;
        refuses(&machine, "the root of version 1.1 in slot b is damaged")?;
        spoil(slot, offset)?;
    }
    for (file, text, reason) in [
        ("run/esp-damaged", "", "boot partition is damaged"),
        ("run/running", "", "not known which slot"),
        (
            "run/cmdline",
            "quiet ledge.roothash=00\n",
            "over the network",
        ),
    ] {
        let path = machine.path(file);
        let before = fs::read(&path).ok();
        fs::write(&path, text)?;
        refuses(&machine, reason)?;
        match before {
            Some(before) => fs::write(&path, before)?,
            None => fs::remove_file(&path)?,
        }
    }
    let kernel = fs::read(machine.path("esp/EFI/Linux/ledge_1.1.efi"))?;
    fs::write(machine.path("esp/EFI/Linux/ledge_1.1.efi"), "half of it")?;
    refuses(&machine, "kernel of version 1.1 does not tell its root")?;
    write_kernel(&machine, "ledge_1.1.efi", ROOT_HASH)?;
    refuses(&machine, "slot b does not have the root of version 1.1")?;
    fs::remove_file(machine.path("esp/EFI/Linux/ledge_1.1.efi"))?;
    refuses(&machine, "slot b has no version to go back to")?;
    fs::write(machine.path("esp/EFI/Linux/ledge_1.1+0-3.efi"), &kernel)?;
    refuses(&machine, "version 1.1 did not come up in three tries")?;
    fs::remove_file(machine.path("esp/EFI/Linux/ledge_1.1+0-3.efi"))?;
    fs::write(machine.path("esp/EFI/Linux/ledge_1.1.efi"), &kernel)?;
    rename(&machine, "ledge_1.2.efi", "ledge_1.2+2-1.efi")?;
    refuses(&machine, "version 1.2 is on trial")?;
    rename(&machine, "ledge_1.2+2-1.efi", "ledge_1.2.efi")?;
    // All of it was the reason.
    back(&machine, "version 1.1 of slot b runs after a reboot")
}

/// By the door through which the daemon asks.
#[test]
fn the_daemon_may_ask_for_it() -> Result<()> {
    let machine = machine()?;
    let ask = |line: &str| -> Result<String> {
        let mut door = Command::new("bash");
        let words: Vec<String> = machine
            .writer(&["--door"])
            .get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        door.args(["-c", "printf '%s\\n' \"$0\" | \"$@\"", line]);
        door.arg(machine.writer(&[]).get_program()).args(words);
        Ok(run(door, LIMIT)?.output)
    };
    let said = ask("check-back")?;
    ensure!(said.contains("ok: would have version 1.1"), "{said}");
    ensure!(kernels(&machine)? == ["ledge_1.1.efi", "ledge_1.2.efi"]);
    let said = ask("back")?;
    ensure!(said.contains("ok: version 1.1 of slot b"), "{said}");
    ensure!(kernels(&machine)? == ["ledge_1.1+3.efi", "ledge_1.2+0-100.efi"]);
    Ok(())
}

/// The power is cut right after each change of a name: something starts, and one can go back afterwards.
#[test]
fn a_power_cut_on_the_way_back_leaves_a_version_that_starts() -> Result<()> {
    // Going back, and staying after all: two names each.
    for (steps, at) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let machine = machine()?;
        for _ in 1..steps {
            machine.run(&["--back"])?.success("--back")?;
        }
        let functions = machine.path("cut.sh");
        fs::write(&functions, CUT)?;
        let mut writer = machine.writer(&["--back"]);
        writer.env("BASH_ENV", &functions);
        writer.env("COUNT", machine.path("count"));
        writer.env("AT", at.to_string());
        let CommandOutput { output, .. } = run(writer, LIMIT)?;
        ensure!(!output.contains("ok:"), "it was not cut: {output}");
        let names = kernels(&machine)?;
        ensure!(names.len() == 2, "{names:?}");
        let (version, _) = starts(&names)?;
        let wanted = match (steps, at) {
            (1, 2) => "1.1",
            _ => "1.2",
        };
        ensure!(version == wanted, "{steps}, {at}: {names:?}");
        if version == "1.2" {
            // It has its name that needs no tries.
            ensure!(names.contains(&"ledge_1.2.efi".to_owned()), "{names:?}");
            back(&machine, "version 1.1 of slot b runs after a reboot")?;
        }
        ensure!(kernels(&machine)? == ["ledge_1.1+3.efi", "ledge_1.2+0-100.efi"]);
    }
    Ok(())
}
