//! Arrays that Linux made, taken over by a shelf: it serves every sector, and what it then writes Linux
//! reads again.

use super::client::Client;
use super::judge::check_running;
use super::linux_made::{DISK_BYTES, Fate, LinuxArray};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;
use testbed::linux_md::{examine, reported};
use testbed::{Ledge, LedgeOptions, LinuxMd, PairNetwork, transcript};

/// Takes over each array in a shelf of its own, reads it, writes to it, and leaves the images where they
/// were. Those that must be refused are left out of what is returned.
pub(crate) fn import(arrays: Vec<LinuxArray>) -> Result<Vec<LinuxArray>> {
    let network = PairNetwork::new(9000)?;
    let mut imported = Vec::new();
    let mut wrong = String::new();
    for mut array in arrays {
        let name = array.recipe.name();
        transcript::note(&name);
        match serve(&network, &mut array) {
            Ok(true) => imported.push(array),
            Ok(false) => {}
            Err(error) => wrong += &format!("\n{name}: {error:#}"),
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(imported)
}

/// Gives whether the shelf took it.
fn serve(network: &PairNetwork, array: &mut LinuxArray) -> Result<bool> {
    // A disk that failed is not given to the shelf, which would ask for it to be put away.
    let failed = array.recipe.failed();
    let images = array.images.iter().enumerate();
    let images = images.filter(|(index, _)| !failed.contains(index));
    let images: Vec<&PathBuf> = images.map(|(_, image)| image).collect();
    let options = LedgeOptions {
        disks: u8::try_from(images.len())?,
        disk_bytes: DISK_BYTES,
        mode: "packet".to_owned(),
        cec: false,
        ..LedgeOptions::default()
    };
    let report = examine(images[0])?;
    let uuid = reported(&report, "Array UUID").to_owned();
    let mut ledge = Ledge::start(&network.target, options)?;
    ledge.stop()?;
    for (slot, image) in (0..).zip(&images) {
        fs::rename(image, ledge.disk_path(slot))?;
    }
    ledge.start_again()?;
    ledge.console_ok("restore -l")?;
    let restored = ledge.console(&format!("restore {uuid} 0"))?;
    let is_taken = restored.status == 0;
    if array.must_be_refused() {
        ensure!(!is_taken, "taken, though md has to resynchronise it first");
    } else {
        ensure!(is_taken, "refused: {}", restored.output);
        ledge.console_ok("online 0")?;
        let mut client = Client::open(network, 0)?;
        let written = client.check(&array.content)?;
        transcript::note(&format!("{written} sectors written by Linux are right"));
        let blocks = array.content.blocks();
        client.write(&mut array.content, (0..blocks).step_by(23))?;
        client.check(&array.content)?;
    }
    ledge.stop()?;
    for (slot, image) in (0..).zip(&images) {
        fs::rename(ledge.disk_path(slot), image)?;
    }
    Ok(is_taken)
}

/// Gives the arrays back to Linux.
pub(crate) fn give_back(arrays: &[LinuxArray]) -> Result<()> {
    let disks: Vec<PathBuf> = arrays.iter().flat_map(|a| a.images.clone()).collect();
    let largest = arrays.iter().map(|a| a.content.sectors()).max();
    let mut linux = LinuxMd::boot(&disks, largest.context("no arrays")? * 512)?;
    let mut first_disk = 0;
    for array in arrays {
        let name = array.recipe.name();
        transcript::note(&name);
        let end = first_disk + array.images.len();
        let members: Vec<usize> = (first_disk..end).collect();
        let lacking = match array.recipe.fate {
            _ if array.recipe.level == 0 => None,
            Fate::Degraded(count) => Some(u8::try_from(count)?),
            _ => Some(0),
        };
        linux.assemble(&members, "").with_context(|| name.clone())?;
        check_running(&mut linux, &array.content, lacking).with_context(|| name)?;
        linux.stop()?;
        first_disk = end;
    }
    Ok(())
}
