//! Updates of the image in the machine: what is not for it is refused, a version that does not come up gives
//! way to the one before, and whenever the power is cut the box serves afterwards.
//!
//! **Invariant**: moments of an update are not waited for by the clock but seen on the disks of a machine
//! that is held, so that a cut hits the same step however busy the machine of the test is.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use testbed::appliance::{Appliance, DISKS, Machine, Partition, VERSION, artifact, next_version};
use testbed::network::BRIDGE;
use testbed::process::{CommandOutput, run};
use testbed::{lock_vm, paths, transcript};

use super::{ANSWER, BOOT, MTU, PORT, PROMPT, SHELF, Site, WORK};

/// Tries that the boot loader gives a new version.
const TRIES: u32 = 3;

/// How often the boot disk is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Bytes that are compared to see that a place of a slot was written.
const PLACE_BYTES: usize = 4096;

/// What no update has at such a place.
const UNWRITTEN: [u8; PLACE_BYTES] = [0xa5; PLACE_BYTES];

/// What `aoeload` says of a target that did not answer within its time: to Query Config, or to IDENTIFY.
const SILENT: &str = "no answer to ";

/// The longest time that a console takes for a command on a machine that gets to run.
const PROMPT_ANSWER: Duration = Duration::from_secs(1);

/// A shelf with a mirror of two disks, which is enough to see whether it serves. More of them would only make
/// each of the many starts longer.
pub(super) fn set_up_mirror(site: &Site) -> Result<Appliance> {
    for disk in &DISKS[2..] {
        fs::remove_file(site.machine.path(disk))?;
    }
    let mut appliance = site.boot("SR shelf unset> ")?;
    appliance.type_line(&format!("shelf {SHELF}"))?;
    appliance.expect("shelf number is 7", ANSWER)?;
    site.wait("show -l", ANSWER, |said| said.contains("7.1"))?;
    site.cec("make 0 raid1 7.0-1")?;
    site.cec("online 0")?;
    serves(site)?;
    Ok(appliance)
}

/// The LUN is online, and is found and read by an initiator. That one asks for five seconds, in which an
/// emulated machine may not get to run at all: then its console does not either, and it is asked again. A
/// target that keeps silent while the console answers is what must not be.
pub(super) fn serves(site: &Site) -> Result<()> {
    site.wait("list", ANSWER, |said| said.contains("online"))?;
    let deadline = Instant::now() + ANSWER;
    loop {
        let (said, answers) = read_beside_console(site)?;
        if said.status == 0 || !said.output.contains(SILENT) || Instant::now() >= deadline {
            return said.success("aoeload").map(drop);
        }
        let mut all = String::new();
        for line in ["aoestats", "list -l", "ifstat -a", "sysstat", "health"] {
            all += &site.cec(line)?;
        }
        let was_starved = answers.len() < 3 || answers.iter().any(|took| *took > PROMPT_ANSWER);
        ensure!(
            was_starved,
            "{}; the console answered in {answers:?}: {all}",
            said.output
        );
        transcript::note(&format!("the machine does not get to run: {answers:?}"));
    }
}

/// Reads the LUN for a second. Gives what came of it, and how long the console took for each of the commands
/// that it was given meanwhile.
fn read_beside_console(site: &Site) -> Result<(CommandOutput, Vec<Duration>)> {
    let mut read = site.network.client.command(paths::binary("aoeload")?);
    let target = format!("{SHELF}.0");
    read.args(["--interface", BRIDGE, "--target", &target, "--op", "read"]);
    read.args(["--size", "4096", "--depth", "1", "--seconds", "1"]);
    read.args(["--backend", "packet"]);
    let mut answers = Vec::new();
    thread::scope(|scope| {
        let reading = scope.spawn(|| run(read, ANSWER));
        while !reading.is_finished() {
            let asked = Instant::now();
            site.cec("uptime")?;
            answers.push(asked.elapsed());
        }
        let said = reading.join().map_err(|_| anyhow!("a panic"))??;
        Ok((said, answers))
    })
}

/// Waits until a kernel of this name is on the boot partition.
pub(super) fn wait_for_kernel(site: &Site, name: &str) -> Result<()> {
    let deadline = Instant::now() + WORK;
    loop {
        let kernels = site.machine.kernels()?;
        if kernels.iter().any(|kernel| kernel == name) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no {name}, but {kernels:?}");
        thread::sleep(Duration::from_secs(1));
    }
}

/// The files that the story brings on a stick.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        fs::create_dir(directory.path().join("parts"))?;
        let files = Self { directory };
        files.script(UNPACK, &[])?;
        Ok(files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a script of bash in the directory, to which these are known: `$good`, the update of the next
    /// version, unpacked in `parts`, `$sign`, the signer, `$keys`, `$next`, and the words that it is given.
    fn script(&self, script: &str, words: &[&str]) -> Result<()> {
        let mut command = Command::new("bash");
        let sign = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/image/sign.sh");
        command
            .current_dir(self.directory.path())
            .env("good", good()?)
            .env("running", artifact(&format!("ledge-{VERSION}.update"))?)
            .env("sign", sign)
            .env("keys", artifact("keys")?)
            .env("next", next_version())
            .env("now", VERSION)
            .args(["-euo", "pipefail", "-c", script, "bash"])
            .args(words);
        run(command, Duration::from_secs(600))?
            .success(script)
            .map(drop)
    }

    /// Rightly signed, with this version; the script changes the parts, of which it finds a copy here.
    fn spoilt(&self, name: &str, version: &str, change: &str) -> Result<PathBuf> {
        self.script(&SPOIL.replace("CHANGE", change), &[name, version])?;
        Ok(self.path(name))
    }
}

/// The update of the next version.
pub(super) fn good() -> Result<PathBuf> {
    artifact(&format!("ledge-{}.update", next_version()))
}

const UNPACK: &str = r#"tar -C parts -xf "$good""#;

/// Arguments: the file, its version.
const SPOIL: &str = r#"
rm -rf work && cp -r parts work && cd work
CHANGE
for part in kernel.efi root.verity; do
    sum=$(sha256sum <"$part" | cut -d ' ' -f 1)
    sed -i "s/^\(part=$part \).*/\1$(stat -c %s "$part") $sum/" manifest
done
sed -i "s/^version=.*/version=$2/" manifest
"$sign" "$keys/update.key" "$keys/update.pem" . "../$1"
"#;

/// Its hashes are not those of its root, so that nothing starts from it.
const WRONG_HASHES: &str =
    r#"head -c "$(stat -c %s root.verity)" /dev/zero >zeroes; mv zeroes root.verity"#;

/// It starts, but its daemon never does; nor does it get the usual time to become healthy. The command line
/// of its kernel keeps its length: objcopy changes no section of a program for UEFI.
const SICK: &str = r#"
there='systemd\.default_timeout_start_sec=300 panic=30'
instead='systemd.mask=ledged.service ledge.trial=120   '
LC_ALL=C sed -i "s/$there/$instead/" kernel.efi
LC_ALL=C grep -qaF "$instead" kernel.efi
[ "$(stat -c %s kernel.efi)" = "$(stat -c %s ../parts/kernel.efi)" ]
"#;

/// Makes updates with parts of a byte, which are refused before anybody looks at those.
const REFUSED: &str = r#"
mkdir tiny other && "$sign" --new-key other
tiny() {
    for part in kernel.efi root.verity root.squashfs; do printf x >"tiny/$part"; done
    sed "$2" parts/manifest >tiny/manifest
    "$sign" "${3:-$keys}/update.key" "${3:-$keys}/update.pem" tiny "$1.update"
}
tiny foreign "" other
tiny same "s/^version=.*/version=$now/"
tiny older "s/^version=.*/version=0.0.1/"
tiny root "s/^roothash=.*/$(tar -xOf "$running" manifest | grep ^roothash=)/"
tiny product "s/^product=.*/product=edge/"
tiny arm "s/^architecture=.*/architecture=aarch64/"
tiny damaged ""
tar -C tiny -cf unsigned.update manifest kernel.efi root.verity root.squashfs
head -c 100000000 "$good" >short.update
"#;

/// The files of [`REFUSED`], and one that is not there, each with a word of why.
const REASONS: [(&str, &str); 10] = [
    ("foreign.update", "not signed by whom"),
    ("unsigned.update", "is no update"),
    ("same.update", "runs already"),
    ("older.update", "is older than"),
    ("root.update", "has the same root as"),
    ("product.update", "is for the product edge"),
    ("arm.update", "is for the architecture aarch64"),
    ("damaged.update", "is damaged in kernel.efi"),
    ("short.update", "is truncated"),
    ("none.update", "on no USB stick"),
];

/// Updates to a version that does not come up, and waits for the one before to be there by itself.
fn falls_back(
    site: &Site,
    mut appliance: Appliance,
    version: &str,
    file: &str,
    each: &str,
) -> Result<Appliance> {
    let start = Instant::now();
    appliance.type_line(&format!("update -r {file}"))?;
    appliance.expect("runs after a reboot", WORK)?;
    transcript::note(&format!(
        "{file}: written after {} s",
        start.elapsed().as_secs()
    ));
    appliance.wait_for_end(BOOT)?;
    for try_number in 1..=TRIES {
        let start = Instant::now();
        appliance = site.machine.switch_on(&site.network.client, PORT, MTU)?;
        if !each.is_empty() {
            appliance.expect(each, BOOT)?;
        }
        appliance.wait_for_end(BOOT)?;
        let seconds = start.elapsed().as_secs();
        transcript::note(&format!("{file}: try {try_number} ended after {seconds} s"));
    }
    let failed = format!("ledge_{version}+0-{TRIES}.efi");
    let kernels = site.machine.kernels()?;
    ensure!(kernels.contains(&failed), "{kernels:?}");
    let appliance = site.boot(PROMPT)?;
    serves(site)?;
    let runs = format!("version {VERSION} runs");
    let told = format!("version {version} did not come up");
    for line in ["update", "health"] {
        site.wait(line, ANSWER, |said| {
            said.contains(&told) && said.contains(&runs)
        })?;
    }
    Ok(appliance)
}

#[test]
fn a_version_that_does_not_come_up_gives_way_to_the_one_before() -> Result<()> {
    let _lock = lock_vm()?;
    let site = Site::new()?;
    let files = Files::new()?;
    let (never, sick) = (format!("{VERSION}.2"), format!("{VERSION}.3"));
    let broken = files.spoilt("broken.update", &never, WRONG_HASHES)?;
    let masked = files.spoilt("sick.update", &sick, SICK)?;
    files.script(REFUSED, &[])?;
    let refused = REASONS.map(|(file, _)| files.path(file));
    let good = good()?;
    let mut stick: Vec<&Path> = vec![&good, &broken, &masked];
    stick.extend(
        refused
            .iter()
            .filter(|file| file.exists())
            .map(PathBuf::as_path),
    );
    site.machine.fill_stick(&stick)?;

    let mut appliance = set_up_mirror(&site)?;
    for (file, reason) in REASONS {
        appliance.type_line(&format!("update {file}"))?;
        appliance.expect(reason, WORK)?;
    }
    let appliance = falls_back(&site, appliance, &never, "broken.update", "")?;
    let unhealthy = "did not come up healthy in time";
    let mut appliance = falls_back(&site, appliance, &sick, "sick.update", unhealthy)?;

    // One that is good is kept, and its tries are over.
    let next = next_version();
    appliance.type_line(&format!("update -r ledge-{next}.update"))?;
    appliance.wait_for_end(BOOT)?;
    let appliance = site.boot(PROMPT)?;
    is_kept(&site, appliance)
}

/// The next version runs, serves and stays.
fn is_kept(site: &Site, appliance: Appliance) -> Result<()> {
    let next = next_version();
    serves(site)?;
    wait_for_kernel(site, &format!("ledge_{next}.efi"))?;
    let runs = format!("version {next} runs");
    let is_new = |said: &str| said.lines().any(|line| line.trim_end() == runs);
    site.wait("update", ANSWER, is_new)?;
    site.wait("health", WORK, |said| said.contains("ok"))?;
    transcript::note("power cut of the version that was kept");
    drop(appliance);
    let _appliance = site.boot(PROMPT)?;
    serves(site)?;
    site.wait("update", ANSWER, is_new).map(drop)
}

/// When the power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// So many tenths of the file have been read, to be verified.
    Verifying(u32),
    /// So many tenths of the root are on the disk.
    Root(u32),
    /// The last of the hashes is on the disk.
    Hashes,
    /// A partition has the name by which the new kernel finds it.
    Named(&'static str),
    /// The kernel is on the boot partition, under a name that does not start.
    KernelWritten,
    /// The kernel has its name.
    KernelNamed,
}

const MOMENTS: [Moment; 10] = [
    Moment::Verifying(1),
    Moment::Verifying(6),
    Moment::Root(0),
    Moment::Root(5),
    Moment::Root(10),
    Moment::Hashes,
    Moment::Named("ledge-root-b"),
    Moment::Named("ledge-verity-b"),
    Moment::KernelWritten,
    Moment::KernelNamed,
];

/// What an update changes on the boot disk.
struct Watched {
    files: Files,
    root: Partition,
    hashes: Partition,
    root_hash: String,
    /// Bytes of the stick that were read before.
    read_before: u64,
}

impl Watched {
    /// Looks at a machine before its update.
    fn new(machine: &Machine, read_before: u64) -> Result<Self> {
        let files = Files::new()?;
        let manifest = fs::read_to_string(files.path("parts/manifest"))?;
        let mut lines = manifest.lines();
        let root_hash = lines.find_map(|line| line.strip_prefix("roothash="));
        let hashes = machine.partition("ledge-verity-b")?;
        Ok(Self {
            root: machine.partition("ledge-root-b")?.context("slot b")?,
            hashes: hashes.context("slot b")?,
            root_hash: root_hash.context("roothash")?.to_owned(),
            files,
            read_before,
        })
    }

    /// A place of slot b, and what the update has there: partition, part, offset.
    fn place(&self, moment: Moment) -> Result<Option<(u64, Vec<u8>)>> {
        let (partition, part, tenths) = match moment {
            Moment::Root(tenths) => (&self.root, "root.squashfs", tenths),
            Moment::Hashes => (&self.hashes, "root.verity", 10),
            _ => return Ok(None),
        };
        let file = File::open(self.files.path("parts").join(part))?;
        let last = file.metadata()?.len() / PLACE_BYTES as u64 - 1;
        let offset = last * u64::from(tenths) / 10 * PLACE_BYTES as u64;
        let mut content = vec![0; PLACE_BYTES];
        file.read_exact_at(&mut content, offset)?;
        Ok(Some((partition.start + offset, content)))
    }

    /// Writes what no update has to the places that will be looked at: nothing uses their slot.
    fn prepare(&self, machine: &Machine) -> Result<()> {
        let disk = File::options().write(true).open(machine.path("boot"))?;
        for moment in MOMENTS {
            if let Some((offset, _)) = self.place(moment)? {
                disk.write_all_at(&UNWRITTEN, offset)?;
            }
        }
        Ok(())
    }

    /// Whether the moment has come, by what is on the disk.
    fn is_on_disk(&self, machine: &Machine, moment: Moment) -> Result<bool> {
        if let Some((offset, content)) = self.place(moment)? {
            let mut found = vec![0; PLACE_BYTES];
            File::open(machine.path("boot"))?.read_exact_at(&mut found, offset)?;
            return Ok(found == content);
        }
        let kernel = format!("ledge_{}+{TRIES}.efi", next_version());
        match moment {
            Moment::Named(name) => {
                let half = if name == "ledge-root-b" { 0 } else { 32 };
                let digits = &self.root_hash[half..half + 32];
                let found = machine.partition(name)?.context(name)?;
                Ok(found.uuid.replace('-', "") == digits)
            }
            Moment::KernelWritten => {
                let kernels = machine.kernels()?;
                Ok(kernels.iter().any(|name| name.starts_with(&kernel)))
            }
            Moment::KernelNamed => Ok(machine.kernels()?.contains(&kernel)),
            _ => Ok(false),
        }
    }

    /// Lets the update go on until the moment has come, and holds the machine there.
    fn hold_at(&self, site: &Site, appliance: &mut Appliance, moment: Moment) -> Result<()> {
        let deadline = Instant::now() + WORK;
        let bytes = fs::metadata(good()?)?.len();
        loop {
            thread::sleep(LOOK);
            appliance.hold()?;
            let has_come = match moment {
                Moment::Verifying(tenths) => {
                    let read = appliance.bytes_read("stick")? - self.read_before;
                    read >= bytes * u64::from(tenths) / 10
                }
                _ => self.is_on_disk(&site.machine, moment)?,
            };
            if has_come {
                return Ok(());
            }
            appliance.go_on()?;
            ensure!(Instant::now() < deadline, "{moment:?} does not come");
        }
    }

    /// The machine after a power cut at each of the moments of an update. Each is cut at its own: what comes
    /// next has not come yet.
    fn cuts(&self, site: &Site, appliance: &mut Appliance) -> Result<Vec<Machine>> {
        let start = Instant::now();
        let mut cuts = Vec::new();
        for (number, moment) in MOMENTS.into_iter().enumerate() {
            self.hold_at(site, appliance, moment)?;
            let cut = site.machine.cut()?;
            appliance.go_on()?;
            let of_next = MOMENTS.get(number + 1).copied();
            let is_late = of_next.map_or(Ok(false), |next| self.is_on_disk(&cut, next))?;
            ensure!(!is_late, "{moment:?} and {of_next:?} came at once");
            transcript::note(&format!(
                "cut {} at {moment:?} after {} s: {:?}",
                number + 1,
                start.elapsed().as_secs(),
                cut.kernels()?
            ));
            cuts.push(cut);
        }
        Ok(cuts)
    }
}

/// Switches on what the power was cut of: it serves, with the new version only if the kernel of that may
/// have been there.
fn comes_up(site: &Site, moment: Moment) -> Result<()> {
    let start = Instant::now();
    let appliance = site.boot(PROMPT)?;
    serves(site)?;
    let said = site.cec("update")?.replace('\r', "");
    let runs = |version: &str| said.contains(&format!("version {version} runs\n"));
    let (is_old, is_new) = (runs(VERSION), runs(&next_version()));
    transcript::note(&format!(
        "after {moment:?} it serves within {} s, with the {} version",
        start.elapsed().as_secs(),
        if is_new { "new" } else { "old" }
    ));
    match moment {
        Moment::KernelNamed => ensure!(is_new, "{moment:?}: {said}"),
        _ => ensure!(is_old, "{moment:?}: {said}"),
    }
    if is_new {
        return is_kept(site, appliance);
    }
    if moment == Moment::KernelWritten {
        return updates_after_all(site, appliance);
    }
    Ok(())
}

/// What was left half-way is no obstacle for the next update, and nothing of it is left.
fn updates_after_all(site: &Site, mut appliance: Appliance) -> Result<()> {
    appliance.type_line(&format!("update -n ledge-{}.update", next_version()))?;
    appliance.expect("would write version", WORK)?;
    appliance.type_line(&format!("update -r ledge-{}.update", next_version()))?;
    appliance.wait_for_end(BOOT)?;
    site.machine.check_boot_partition()?;
    is_kept(site, site.boot(PROMPT)?)
}

#[test]
fn whenever_the_power_is_cut_during_an_update_the_box_serves() -> Result<()> {
    let _lock = lock_vm()?;
    let mut site = Site::new()?;
    let good = good()?;
    site.machine.fill_stick(&[&good])?;
    let mut appliance = set_up_mirror(&site)?;
    let watched = Watched::new(&site.machine, appliance.bytes_read("stick")?)?;
    watched.prepare(&site.machine)?;
    appliance.type_line(&format!("update ledge-{}.update", next_version()))?;
    let cuts = watched.cuts(&site, &mut appliance)?;
    appliance.expect("runs after a reboot", WORK)?;
    drop(appliance);
    for (moment, cut) in MOMENTS.into_iter().zip(cuts).rev() {
        site.machine = cut;
        if moment == Moment::KernelWritten {
            site.machine.fill_stick(&[&good])?;
        }
        comes_up(&site, moment)?;
    }
    Ok(())
}
