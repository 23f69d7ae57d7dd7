//! The slot writer of the image over files: what is not signed, not whole or not for this machine changes
//! nothing; what is goes into the slot that is not in use; and wherever it is cut off, the version that
//! runs can still be started, and a new one only if it is whole.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use testbed::process::{CommandOutput, run};

#[path = "update/back.rs"]
mod back;

const LIMIT: Duration = Duration::from_secs(120);
const SLOT_BYTES: u64 = 4 << 20;
const ROOT_HASH: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

/// The parts of an update, and how long they are here.
const PARTS: [(&str, usize); 3] = [
    ("kernel.efi", 300_000),
    ("root.verity", 70_000),
    ("root.squashfs", 3_000_000),
];

/// A machine made of files: version 1.2 runs from slot a.
struct Machine {
    directory: TempDir,
}

impl Machine {
    fn new() -> Result<Self> {
        let machine = Self {
            directory: tempfile::tempdir()?,
        };
        for directory in ["run", "lib", "esp/EFI/Linux", "parts"] {
            fs::create_dir_all(machine.path(directory))?;
        }
        shell(&format!(
            "{} --new-key {}",
            recipe("sign.sh").display(),
            machine.path("keys").display()
        ))?;
        fs::copy(
            machine.path("keys/update.pem"),
            machine.path("lib/update.pem"),
        )?;
        let image = "product=ledge\narchitecture=x86_64\nversion=1.2\n";
        fs::write(machine.path("lib/image"), image)?;
        fs::write(machine.path("run/running"), "a\n")?;
        fs::write(machine.path("run/disk"), "none\n")?;
        fs::write(machine.path("run/roothash"), "ff".repeat(32) + "\n")?;
        fs::write(
            machine.path("esp/EFI/Linux/ledge_1.2.efi"),
            "the kernel that runs",
        )?;
        fs::write(
            machine.path("esp/EFI/Linux/ledge_1.1.efi"),
            "the one before",
        )?;
        for (number, name) in ["root-a", "verity-a", "root-b", "verity-b"]
            .into_iter()
            .enumerate()
        {
            let slot = machine.path(&format!("slot-{name}"));
            fs::write(
                &slot,
                vec![b'0' + u8::try_from(number)?; usize::try_from(SLOT_BYTES)?],
            )?;
            symlink(&slot, machine.path(&format!("run/{name}")))?;
            fs::write(
                machine.path(&format!("run/number-{name}")),
                format!("{}\n", number + 1),
            )?;
        }
        machine.partition()?;
        Ok(machine)
    }

    /// A table of four partitions, which the writer gives UUIDs.
    fn partition(&self) -> Result<()> {
        let table = self.path("table");
        fs::File::create(&table)?.set_len(16 << 20)?;
        symlink(&table, self.path("run/table"))?;
        let script = "label: gpt\\nsize=2M\\nsize=2M\\nsize=2M\\nsize=2M\\n";
        shell(&format!(
            "printf '{script}' | sfdisk --quiet {}",
            table.display()
        ))
        .map(drop)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// An update of this version, of which `change` may spoil the manifest before it is signed.
    fn update(&self, version: &str, change: impl Fn(&str) -> String) -> Result<PathBuf> {
        let parts = self.path("parts");
        let mut manifest = format!(
            "format=1\nproduct=ledge\narchitecture=x86_64\nversion={version}\nroothash={ROOT_HASH}\n"
        );
        for (seed, (name, bytes)) in PARTS.into_iter().enumerate() {
            let content: Vec<u8> = (0..bytes)
                .map(|at| ((at * (seed + 3)) >> 4) as u8)
                .collect();
            fs::write(parts.join(name), content)?;
            let sum = shell(&format!("sha256sum < {}", parts.join(name).display()))?;
            let sum = sum.split_whitespace().next().context("sum")?;
            manifest.push_str(&format!("part={name} {bytes} {sum}\n"));
        }
        fs::write(parts.join("manifest"), change(&manifest))?;
        let file = self.path("new.update");
        self.sign(&file)?;
        Ok(file)
    }

    fn sign(&self, file: &Path) -> Result<()> {
        let [key, certificate, parts] =
            ["keys/update.key", "keys/update.pem", "parts"].map(|name| self.path(name));
        let words = [
            &recipe("sign.sh"),
            &key,
            &certificate,
            &parts,
            &file.to_path_buf(),
        ];
        let line: Vec<String> = words
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        shell(&line.join(" ")).map(drop)
    }

    fn writer(&self, words: &[&str]) -> Command {
        let mut command = Command::new(recipe("root").join("usr/lib/ledge/update"));
        for (option, directory) in [("--run", "run"), ("--lib", "lib"), ("--esp", "esp")] {
            command.arg(option).arg(self.path(directory));
        }
        command.args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Result<CommandOutput> {
        run(self.writer(words), LIMIT)
    }

    /// Everything that an update may change, and what it must not.
    fn content(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        for name in [
            "slot-root-a",
            "slot-verity-a",
            "slot-root-b",
            "slot-verity-b",
            "table",
        ] {
            files.push((name.to_owned(), fs::read(self.path(name))?));
        }
        let mut kernels: Vec<_> =
            fs::read_dir(self.path("esp/EFI/Linux"))?.collect::<Result<_, _>>()?;
        kernels.sort_by_key(fs::DirEntry::file_name);
        for kernel in kernels {
            let name = kernel.file_name().to_string_lossy().into_owned();
            files.push((name, fs::read(kernel.path())?));
        }
        Ok(files)
    }

    /// Refuses `file` for a reason that names `reason`, and changes nothing.
    fn refuses(&self, file: &Path, reason: &str) -> Result<()> {
        let before = self.content()?;
        for words in [vec![], vec!["-n"]] {
            let words = [words, vec![file.to_str().context("path")?]].concat();
            let CommandOutput { output, status } = self.run(&words)?;
            let last = output.lines().last().unwrap_or_default();
            ensure!(
                status == 1 && last.starts_with("error: ") && last.contains(reason),
                "{reason:?} was expected of {}: {output}",
                file.display()
            );
            ensure!(self.content()? == before, "something was changed: {reason}");
        }
        Ok(())
    }

    /// Whether the loader finds the version that runs, and what it may find beside it.
    fn is_bootable(&self) -> Result<()> {
        let content = self.content()?;
        let of = |name: &str| {
            content
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, bytes)| bytes)
        };
        ensure!(of("ledge_1.2.efi").is_some_and(|kernel| kernel == b"the kernel that runs"));
        for (name, digit) in [("slot-root-a", b'0'), ("slot-verity-a", b'1')] {
            ensure!(
                of(name).is_some_and(|slot| slot.iter().all(|byte| *byte == digit)),
                "{name} was written"
            );
        }
        let names = content.iter().map(|(name, _)| name.as_str());
        let kernels: Vec<&str> = names.filter(|name| name.ends_with(".efi")).collect();
        if kernels.contains(&"ledge_1.3+3.efi") {
            self.holds_the_update()?;
        }
        let known = ["ledge_1.1.efi", "ledge_1.2.efi", "ledge_1.3+3.efi"];
        ensure!(
            kernels.iter().all(|name| known.contains(name)),
            "{kernels:?}"
        );
        Ok(())
    }

    /// Slot b, its UUIDs and the new kernel are as the update has them.
    fn holds_the_update(&self) -> Result<()> {
        let part = |name: &str| fs::read(self.path("parts").join(name));
        let starts = |file: &str, name: &str| -> Result<bool> {
            Ok(fs::read(self.path(file))?.starts_with(&part(name)?))
        };
        ensure!(starts("slot-root-b", "root.squashfs")? && starts("slot-verity-b", "root.verity")?);
        ensure!(fs::read(self.path("esp/EFI/Linux/ledge_1.3+3.efi"))? == part("kernel.efi")?);
        let table = shell(&format!("sfdisk -d {}", self.path("table").display()))?.to_lowercase();
        ensure!(
            table.contains("00112233-4455-6677-8899-aabbccddeeff"),
            "{table}"
        );
        ensure!(
            table.contains("01234567-89ab-cdef-0123-456789abcdef"),
            "{table}"
        );
        Ok(())
    }
}

/// A file of the recipe of the image.
fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/image")
        .join(name)
}

fn shell(line: &str) -> Result<String> {
    let mut command = Command::new("bash");
    command.args(["-ec", &format!("PATH=$PATH:/usr/sbin:/sbin; {line}")]);
    run(command, LIMIT)?.success(line)
}

fn unchanged(manifest: &str) -> String {
    manifest.to_owned()
}

#[test]
fn an_update_goes_into_the_slot_that_is_not_in_use() -> Result<()> {
    let machine = Machine::new()?;
    let file = machine.update("1.3", unchanged)?;
    let file = file.to_str().context("path")?;

    let before = machine.content()?;
    let dry = machine.run(&["-n", file])?.success("-n")?;
    ensure!(
        dry.contains("ok: would write version 1.3 into slot b"),
        "{dry}"
    );
    ensure!(machine.content()? == before, "-n changed something");

    // As the repair of the boot partition makes it of what no file had.
    let found = machine.path("esp/FSCK0000.REC");
    fs::write(&found, "half of a kernel")?;
    let said = machine.run(&[file])?.success("update")?;
    ensure!(!found.exists(), "it keeps its room");
    ensure!(
        said.ends_with("ok: version 1.3 is in slot b and runs after a reboot\n"),
        "{said}"
    );
    machine.holds_the_update()?;
    machine.is_bootable()?;
    ensure!(
        !machine.path("esp/EFI/Linux/ledge_1.1.efi").exists(),
        "its root is gone"
    );
    let status = machine.run(&["--status"])?.output;
    ensure!(
        status == "running 1.2\nother 1.3\nnext 1.3\nok: version 1.2 runs\n",
        "{status}"
    );

    // What the boot loader makes of it when it was tried three times in vain.
    let kernels = machine.path("esp/EFI/Linux");
    fs::rename(
        kernels.join("ledge_1.3+3.efi"),
        kernels.join("ledge_1.3+0-3.efi"),
    )?;
    let status = machine.run(&["--status"])?.output;
    ensure!(
        status == "running 1.2\nnext 1.2\nfailed 1.3\nok: version 1.2 runs\n",
        "{status}"
    );
    // The box says so, too.
    machine.run(&["--tell"])?.success("--tell")?;
    let troubles = fs::read_to_string(machine.path("run/troubles"))?;
    let fields: Vec<&str> = troubles.trim_end().split('\t').collect();
    ensure!(
        fields.len() == 3
            && fields[0] == "version 1.3"
            && fields[1] == "did not come up in three tries: version 1.2 runs",
        "{troubles}"
    );
    // And it may be written again.
    machine.run(&[file])?.success("update")?;
    machine.holds_the_update()
}

#[test]
fn what_is_not_for_this_machine_changes_nothing() -> Result<()> {
    let machine = Machine::new()?;
    for (from, to, reason) in [
        ("product=ledge", "product=edge", "for the product edge"),
        ("=x86_64", "=aarch64", "for the architecture aarch64"),
        ("version=1.3", "version=1.2", "1.2 runs already"),
        ("version=1.3", "version=1.1.9", "1.1.9 is older than 1.2"),
        ("format=1", "format=2", "format 2"),
        ("version=1.3", "version=../../x", "makes no sense"),
        ("part=root.verity", "part=root.other", "without root.verity"),
    ] {
        let file = machine.update("1.3", |manifest| manifest.replacen(from, to, 1))?;
        machine.refuses(&file, reason)?;
    }
    // The root that runs, by another version.
    let hash = ROOT_HASH.to_owned();
    fs::write(machine.path("run/roothash"), format!("{hash}\n"))?;
    let file = machine.update("1.3", unchanged)?;
    machine.refuses(&file, "same root as version 1.2")?;
    fs::remove_file(machine.path("run/roothash"))?;
    machine.refuses(&file, "not known which root")?;
    fs::write(machine.path("run/roothash"), "ff".repeat(32) + "\n")?;
    // A slot that is too small.
    fs::File::options()
        .write(true)
        .open(machine.path("slot-root-b"))?
        .set_len(1 << 20)?;
    let file = machine.update("1.3", unchanged)?;
    machine.refuses(&file, "has room for")?;
    // A file removed there may share its room with one that is needed.
    fs::write(machine.path("run/esp-damaged"), "")?;
    fs::File::options()
        .write(true)
        .open(machine.path("slot-root-b"))?
        .set_len(SLOT_BYTES)?;
    machine.refuses(&file, "boot partition is damaged")?;
    fs::remove_file(machine.path("run/esp-damaged"))?;
    fs::remove_file(machine.path("run/running"))?;
    machine.refuses(&file, "not known which slot")?;
    // Nothing of this has a place on a machine without a boot disk, and a file is not even looked for.
    fs::write(
        machine.path("run/cmdline"),
        format!("quiet ledge.roothash={ROOT_HASH}\n"),
    )?;
    machine.refuses(&machine.path("nothing"), "started over the network")
}

/// Then the other slot has what the machine falls back to.
#[test]
fn a_version_on_trial_takes_no_update() -> Result<()> {
    let machine = Machine::new()?;
    let file = machine.update("1.3", unchanged)?;
    let kernels = machine.path("esp/EFI/Linux");
    let [kept, tried] = ["ledge_1.2.efi", "ledge_1.2+1-2.efi"].map(|name| kernels.join(name));
    fs::rename(&kept, &tried)?;
    machine.refuses(&file, "is on trial")?;
    fs::rename(&tried, &kept)?;
    let file = file.to_str().context("path")?;
    machine.run(&[file])?.success("update").map(drop)
}

#[test]
fn what_is_not_signed_or_not_whole_changes_nothing() -> Result<()> {
    let machine = Machine::new()?;
    let good = machine.update("1.3", unchanged)?;
    let bytes = fs::read(&good)?;
    let bad = machine.path("bad.update");

    for length in [
        0,
        1,
        511,
        512,
        1024,
        2048,
        5000,
        bytes.len() / 2,
        bytes.len() - 200_000,
    ] {
        fs::write(&bad, &bytes[..length])?;
        machine.refuses(&bad, "truncated")?;
    }
    // A byte within each member: its header is 512 bytes before its content.
    for name in [
        "manifest",
        "manifest.cms",
        "kernel.efi",
        "root.verity",
        "root.squashfs",
    ] {
        let header = bytes
            .chunks(512)
            .position(|block| block.starts_with(name.as_bytes()) && block[name.len()] == 0)
            .context("header")?;
        let mut spoilt = bytes.clone();
        spoilt[(header + 1) * 512 + 100] ^= 1;
        fs::write(&bad, spoilt)?;
        let reason = if name.starts_with("manifest") {
            "not signed"
        } else {
            "damaged in"
        };
        machine.refuses(&bad, reason)?;
    }
    machine.refuses(&machine.path("nothing"), "no such file")?;

    // Somebody else's signature.
    fs::rename(machine.path("keys"), machine.path("old"))?;
    shell(&format!(
        "{} --new-key {}",
        recipe("sign.sh").display(),
        machine.path("keys").display()
    ))?;
    machine.sign(&bad)?;
    machine.refuses(&bad, "not signed")
}

/// The writer and all that it has started are stopped at some moment, as by a power cut.
#[test]
fn a_power_cut_leaves_the_version_that_runs() -> Result<()> {
    let machine = Machine::new()?;
    let file = machine.update("1.3", unchanged)?;
    let file = file.to_str().context("path")?;
    let start = Instant::now();
    machine.run(&[file])?.success("update")?;
    let whole = start.elapsed();

    for cut in 0..20 {
        let mut command = Command::new("setsid");
        let writer = machine.writer(&[file]);
        command
            .arg("--wait")
            .arg(writer.get_program())
            .args(writer.get_args());
        let mut child = command.stdout(Stdio::null()).spawn()?;
        thread::sleep(whole * cut / 18);
        // `setsid` makes a group of its own; the writer's own children are in it.
        shell(&format!(
            "for pid in $(pgrep -P {0}) {0}; do kill -9 -- -$pid 2>/dev/null || kill -9 $pid 2>/dev/null || true; done",
            child.id()
        ))?;
        child.wait()?;
        machine
            .is_bootable()
            .with_context(|| format!("cut {cut}"))?;
    }
    // Whatever was left half-way is no obstacle.
    machine.run(&[file])?.success("update")?;
    machine.holds_the_update()
}
