//! A LUN that has grown consists of several md arrays: what `ledge-recover` says of how they are joined is
//! followed, and the sectors of the LUN are found.

use super::SMALL_BYTES;
use super::client::Client;
use super::content::Content;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use testbed::paths::binary;
use testbed::process::run_ok;
use testbed::{Ledge, LedgeOptions, LinuxMd, PairNetwork, transcript};

/// Makes a LUN of three arrays of different levels, kills the shelf, and lets Linux read it.
pub(crate) fn join_and_judge() -> Result<()> {
    let network = PairNetwork::new(9000)?;
    let options = LedgeOptions {
        disks: 10,
        disk_bytes: SMALL_BYTES,
        mode: "packet".to_owned(),
        cec: false,
        ..LedgeOptions::default()
    };
    let mut ledge = Ledge::start(&network.target, options)?;
    ledge.console_ok("make 0 raid5 1.0-3")?;
    ledge.console_ok("grow -y 0 raid1 1.4-5")?;
    ledge.console_ok("grow -y 0 raid10 1.6-9")?;
    ledge.console_ok("online 0")?;
    let mut client = Client::open(&network, 0)?;
    let mut content = Content::new(0x901e, client.sectors())?;
    let blocks = content.blocks();
    client.write(&mut content, (0..blocks).step_by(3))?;
    ledge.kill()?;
    let images: Vec<PathBuf> = (0..10).map(|slot| ledge.disk_path(slot)).collect();
    let mut command = Command::new(binary("ledge-recover")?);
    command.args(images.iter().rev());
    let told = run_ok(command)?;
    transcript::record("host#", "ledge-recover", &told);
    let joined = tempfile::NamedTempFile::new()?;
    join(&told, &images, joined.path())?;
    let written = content.check_copy(joined.path())?;
    transcript::note(&format!("{written} sectors of the joined arrays are right"));
    Ok(())
}

/// Does with copies of the arrays what the `dmsetup` line does with the arrays.
fn join(told: &str, images: &[PathBuf], joined: &Path) -> Result<()> {
    let line = told.lines().find(|line| line.contains("dmsetup create"));
    let rows = line.context("no dmsetup line")?.split('\'');
    let rows: Vec<&str> = rows.filter(|part| part.contains(" linear ")).collect();
    ensure!(rows.len() == 3, "{rows:?}");
    let mut linux = LinuxMd::boot(images, 4 * SMALL_BYTES)?;
    let mut file = File::create(joined)?;
    let mut end = 0;
    for row in rows {
        let words: Vec<&str> = row.split(' ').collect();
        let [start, sectors, "linear", array, "0"] = words[..] else {
            anyhow::bail!("not a row: {row}");
        };
        let (start, sectors): (u64, u64) = (start.parse()?, sectors.parse()?);
        ensure!(start == end, "{row} does not begin at {end}");
        end += sectors;
        linux.assemble(&members(told, array, images)?, "")?;
        linux.wait_idle()?;
        let (copy, size_bytes) = linux.copy_out()?;
        ensure!(size_bytes >= sectors * 512, "{row}: {size_bytes} bytes");
        let mut bytes = Vec::new();
        File::open(copy)?
            .take(sectors * 512)
            .read_to_end(&mut bytes)?;
        file.write_all(&bytes)?;
        linux.stop()?;
    }
    ensure!(fs::metadata(joined)?.len() == end * 512, "a short copy");
    Ok(())
}

/// Which images the line for mdadm has for an array.
fn members(told: &str, array: &str, images: &[PathBuf]) -> Result<Vec<usize>> {
    let begin = format!("mdadm --assemble {array} ");
    let line = told.lines().find(|line| line.starts_with(&begin));
    let line = line.with_context(|| format!("no line for {array}"))?;
    let index = |word: &str| images.iter().position(|image| image == Path::new(word));
    let found: Vec<usize> = line.split(' ').filter_map(index).collect();
    ensure!(found.len() >= 2, "{line}");
    Ok(found)
}
