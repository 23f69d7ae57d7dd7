//! `aoeload discover`: who answers on an interface.

use crate::cli::DiscoverArgs;
use crate::connect::discover_all;
use crate::interfaces::Interfaces;
use anyhow::Result;
use initiator::Target;
use serde::Serialize;

#[derive(Serialize)]
struct TargetReport {
    target: String,
    macs: Vec<String>,
    buffer_count: u16,
    sector_count: u8,
    firmware: String,
    config_string: String,
}

#[derive(Serialize)]
struct DiscoverReport {
    /// Several are separated by commas.
    interface: String,
    targets: Vec<TargetReport>,
}

/// Lists the targets; that there are none is no failure.
pub(crate) fn discover(args: &DiscoverArgs) -> Result<bool> {
    let interfaces = Interfaces::open(&args.path)?;
    let wait_ns = (args.seconds * 1e9) as u64;
    let interface = interfaces.names();
    let targets = discover_all(interfaces, wait_ns)?;
    let report = DiscoverReport {
        interface,
        targets: targets.iter().map(describe).collect(),
    };
    if args.json {
        crate::print(&serde_json::to_string(&report)?)?;
        return Ok(true);
    }
    if report.targets.is_empty() {
        crate::complain(&format!("no target answers on {}", report.interface));
        return Ok(true);
    }
    crate::print("TARGET     MAC           BUFFERS  SECTORS  FIRMWARE  CONFIG STRING")?;
    for target in &report.targets {
        crate::print(
            format!(
                "{:<10} {:<13} {:>7}  {:>7}  {:<8}  {}",
                target.target,
                target.macs.join(","),
                target.buffer_count,
                target.sector_count,
                target.firmware,
                target.config_string
            )
            .trim_end(),
        )?;
    }
    Ok(true)
}

fn describe(target: &Target) -> TargetReport {
    TargetReport {
        target: format!("{}.{}", target.shelf, target.slot),
        macs: target.macs.iter().map(ToString::to_string).collect(),
        buffer_count: target.buffer_count,
        sector_count: target.sector_count,
        firmware: format!("{:#06x}", target.firmware),
        // Opaque bytes: what is not printable must not reach a terminal.
        config_string: target.config_string.escape_ascii().to_string(),
    }
}
