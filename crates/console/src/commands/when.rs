//! `when`: how far the long jobs are.

use crate::record::Record;
use crate::report::Report;
use shelf::admin::Admin;
use shelf::plane::RunningPass;

const SECTOR_BYTES: u64 = 512;

/// Lists the jobs that are running, in the form of SRX 6: `L.P percent rate KBps H:MM:SS left`.
pub(super) fn when(report: &mut Report, admin: &dyn Admin) {
    for pass in admin.passes() {
        let place = pass.progress;
        let bytes_per_s = rate(&pass);
        let left_bytes = (place.total_sectors - place.done_sectors) * SECTOR_BYTES;
        let seconds_left = left_bytes.checked_div(bytes_per_s);
        let percent = percent(place.done_sectors, place.total_sectors);
        let line = format!(
            "{}.{} {percent}% {}.{:02} KBps {} left",
            place.lun,
            place.part,
            bytes_per_s / 1000,
            bytes_per_s % 1000 / 10,
            seconds_left.map_or_else(|| "?:??:??".to_owned(), clock),
        );
        let record = Record::Pass {
            lun: place.lun.get(),
            part: place.part,
            job: "resync",
            done_bytes: place.done_sectors * SECTOR_BYTES,
            total_bytes: place.total_sectors * SECTOR_BYTES,
            bytes_per_s,
            seconds_left,
        };
        report.row(line, record);
    }
}

/// Bytes a second since the job began.
fn rate(pass: &RunningPass) -> u64 {
    let bytes = u128::from(pass.progress.done_sectors - pass.progress.begun_sectors)
        * u128::from(SECTOR_BYTES);
    let per_second = (bytes * 1000).checked_div(pass.elapsed.as_millis());
    u64::try_from(per_second.unwrap_or(0)).unwrap_or(u64::MAX)
}

/// Percent with two decimals, cut: 100 only when all is done.
fn percent(done: u64, total: u64) -> String {
    let hundredths = (u128::from(done) * 10_000)
        .checked_div(u128::from(total))
        .unwrap_or(0);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn clock(seconds: u64) -> String {
    format!(
        "{}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}
