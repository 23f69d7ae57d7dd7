//! What Coraid's shelves let one choose and this one does in one way only, for reasons that are told:
//! `iomode`, `setiomode`, `flushcachestat`, `flushcacheenable`, `flushcachedisable`, `lunfailguard`,
//! `lunfailguardenable`, `lunfailguarddisable`, `sync`.
//!
//! Scripts may list them, and ask for what is so anyway. To ask for something else is an error.

use super::luns::named;
use crate::command::BoxVerb;
use crate::problem::Problem;
use crate::record::Record;
use crate::report::Report;
use shelf::admin::{Admin, LunStatus};

/// What is always so.
#[derive(Clone, Copy)]
struct Fixed {
    /// Width of the column of the LUN.
    lun_width: usize,
    /// Name of the column.
    title: &'static str,
    /// The word for what is so.
    word: &'static str,
    /// Why it cannot be otherwise.
    because: &'static str,
}

const IO_MODE: Fixed = Fixed {
    lun_width: 5,
    title: "MODE",
    word: "random",
    because: "LUNs are always in mode random: there is no read-ahead, drives are read as initiators ask",
};

const FLUSH_CACHE: Fixed = Fixed {
    lun_width: 7,
    title: "FLUSHCACHE",
    word: "enabled",
    because: "FLUSH CACHE is always honoured: a write is acknowledged only when it is on stable storage",
};

const FAIL_GUARD: Fixed = Fixed {
    lun_width: 7,
    title: "FAILGUARD",
    word: "enabled",
    because: "the guard is always there: an element that its RAID cannot do without is never failed",
};

/// What a command is about.
fn of(verb: BoxVerb) -> Fixed {
    match verb {
        BoxVerb::FlushCacheStat | BoxVerb::FlushCacheEnable | BoxVerb::FlushCacheDisable => {
            FLUSH_CACHE
        }
        BoxVerb::LunFailGuard | BoxVerb::LunFailGuardEnable | BoxVerb::LunFailGuardDisable => {
            FAIL_GUARD
        }
        _ => IO_MODE,
    }
}

/// Lists what is so, for all LUNs or those that are named.
pub(super) fn list(report: &mut Report, verb: BoxVerb, admin: &dyn Admin, words: &[String]) {
    let fixed = of(verb);
    let luns = admin.luns();
    let (title, width) = (fixed.title, fixed.lun_width);
    let row = |report: &mut Report, lun: &LunStatus| {
        if report.is_empty() {
            report.line(format!("{:<width$} {title:>10}", "LUN"));
        }
        let name = lun.lun.to_string();
        let record = Record::Fixed {
            lun: lun.lun.get(),
            setting: title.to_ascii_lowercase(),
            value: fixed.word,
        };
        report.row(format!("{name:<width$} {:>10}", fixed.word), record);
    };
    if words.is_empty() {
        luns.iter().for_each(|lun| row(report, lun));
    }
    for (index, word) in words.iter().enumerate() {
        match named(&luns, word) {
            Ok(lun) => row(report, lun),
            Err(problem) => return report.fail(problem, &words[index + 1..]),
        }
    }
}

/// Asks for what is so: nothing is to be done, but the LUNs must be there.
pub(super) fn affirm(report: &mut Report, admin: &dyn Admin, words: &[String]) {
    let luns = admin.luns();
    for (index, word) in words.iter().enumerate() {
        if let Err(problem) = named(&luns, word) {
            return report.fail(problem, &words[index + 1..]);
        }
    }
}

/// Asks for what cannot be.
pub(super) fn refuse(report: &mut Report, verb: BoxVerb, words: &[String]) {
    report.fail(Problem::Fixed(of(verb).because), words);
}

/// `setiomode random|sequential LUN ...`.
pub(super) fn set_io_mode(report: &mut Report, admin: &dyn Admin, words: &[String]) {
    match words {
        [mode, luns @ ..] if mode == IO_MODE.word => affirm(report, admin, luns),
        [mode, luns @ ..] if mode == "sequential" => refuse(report, BoxVerb::SetIoMode, luns),
        [mode, luns @ ..] => report.fail(Problem::InvalidMode(mode.clone()), luns),
        [] => {}
    }
}
