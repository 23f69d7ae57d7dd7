//! Jobs on files and memory.

use super::*;
use crate::DriveSpec;
use shelf::admin::DriveSlot;
use shelf::job::{Extract, JobEnd, JobKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

const MIB: usize = 1 << 20;
const LONG: Duration = Duration::from_secs(300);

fn open(path: &Path) -> Arc<Drive> {
    Arc::new(Drive::open(&DriveSpec::Path(path.into())).unwrap())
}

fn filled(bytes: usize) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all_at(&vec![0xa5; bytes], 0).unwrap();
    file
}

fn run_to_end(drive: &Arc<Drive>, kind: JobKind) -> JobReport {
    let job = Job::new(kind, drive.size_sectors(), drive.unit());
    let mut thread = JobThread::start(drive, job, None, Pace::default()).unwrap();
    assert!(thread.join(LONG));
    thread.report()
}

#[test]
fn an_erased_file_reads_as_zeroes_whatever_the_way() {
    for way in [Zeroing::Deallocate, Zeroing::ZeroRange, Zeroing::Write] {
        let file = filled(20 * MIB + 512);
        let drive = open(file.path());
        while drive.zeroing() < way {
            drive.give_up_zeroing(drive.zeroing());
        }
        let report = run_to_end(&drive, JobKind::Erase);
        assert_eq!(report.progress.end, Some(JobEnd::Complete), "{way:?}");
        assert_eq!(report.progress.bad.sectors(), 0);
        let content = std::fs::read(file.path()).unwrap();
        assert_eq!(content.len(), 20 * MIB + 512, "{way:?}: its size stays");
        assert!(content.iter().all(|byte| *byte == 0), "{way:?}");
        assert!(report.way.is_some());
    }
}

#[test]
fn memory_is_erased_and_tested_too() {
    let size_bytes = 9 * MIB as u64;
    let drive = Arc::new(Drive::open(&DriveSpec::Ram { size_bytes }).unwrap());
    for kind in [JobKind::WriteTest, JobKind::ReadTest, JobKind::Erase] {
        let report = run_to_end(&drive, kind);
        assert_eq!(report.progress.end, Some(JobEnd::Complete), "{kind}");
        assert_eq!(report.progress.bad.sectors(), 0, "{kind}");
        let mut content = vec![1; 9 * MIB];
        let Medium::Ram(ram) = drive.medium() else {
            panic!()
        };
        ram.read(0, &mut content);
        let is_erased = content.iter().all(|byte| *byte == 0);
        assert_eq!(is_erased, kind == JobKind::Erase, "{kind}");
    }
}

/// What somebody else writes between the two passes is noticed by the sector.
#[test]
fn a_write_test_notices_what_does_not_read_as_it_was_written() {
    let file = filled(4 * MIB);
    let drive = open(file.path());
    let mut job = Job::new(JobKind::WriteTest, drive.size_sectors(), drive.unit());
    let mut buffer = Pages::new_zeroed(TRANSFER_BYTES / PAGE_BYTES).unwrap();
    while let Some(step) = job.next() {
        if step.kind == StepKind::Flush && job.progress().last_reason.is_none() {
            // A sector that landed elsewhere.
            let mut other = [0; 512];
            fill_pattern(77, &mut other);
            file.as_file().write_all_at(&other, 3000 * 512).unwrap();
            file.as_file().sync_all().unwrap();
        }
        let end = carry_out(&drive, step, &mut buffer);
        job.ended(end, Duration::ZERO);
    }
    assert_eq!(
        job.progress().bad.ranges(),
        std::slice::from_ref(&(3000..3001))
    );
    let reason = job.progress().last_reason.as_deref();
    assert_eq!(reason, Some("it does not read as it was written"));
}

#[test]
fn a_job_that_is_stopped_has_ended_when_it_says_so() {
    let file = filled(64 * MIB);
    let drive = open(file.path());
    let pace = Pace {
        bytes_per_second: 1 << 20,
        is_gentle: false,
    };
    let job = Job::new(JobKind::ReadTest, drive.size_sectors(), drive.unit());
    let mut thread = JobThread::start(&drive, job, None, pace).unwrap();
    assert!(!thread.join(Duration::from_millis(1)), "it takes a minute");
    thread.stop();
    assert!(thread.join(LONG));
    let report = thread.report();
    assert_eq!(report.progress.end, Some(JobEnd::Stopped));
    assert!(report.progress.done_sectors < report.progress.total_sectors);
}

#[test]
fn another_pace_counts_at_once() {
    let file = filled(4 * MIB);
    let drive = open(file.path());
    let crawling = Pace {
        bytes_per_second: 1,
        is_gentle: false,
    };
    let job = Job::new(JobKind::ReadTest, drive.size_sectors(), drive.unit());
    let mut thread = JobThread::start(&drive, job, None, crawling).unwrap();
    assert!(!thread.join(Duration::from_millis(100)), "it takes weeks");
    thread.set_pace(Pace::default());
    assert!(thread.join(LONG));
    let report = thread.report();
    assert_eq!(report.progress.end, Some(JobEnd::Complete));
}

/// Files and memory, onto one another, also onto what is larger.
#[test]
fn a_drive_is_copied_onto_another_one_of_any_kind() {
    let content: Vec<u8> = (0..3 * MIB + 512)
        .map(|at| u8::try_from((at / 512 + at) % 251).unwrap())
        .collect();
    let spec = DriveSpec::Ram {
        size_bytes: content.len() as u64,
    };
    let ram_source = Arc::new(Drive::open(&spec).unwrap());
    let Medium::Ram(ram) = ram_source.medium() else {
        panic!()
    };
    ram.write(0, &content);
    let file = filled(content.len());
    file.as_file().write_all_at(&content, 0).unwrap();
    for source in [ram_source, open(file.path())] {
        let larger = filled(content.len() + 4096);
        let spec = DriveSpec::Ram {
            size_bytes: content.len() as u64,
        };
        for drive in [open(larger.path()), Arc::new(Drive::open(&spec).unwrap())] {
            let kind = JobKind::Extract(Extract::of(DriveSlot(0)));
            let job = Job::new(kind, source.size_sectors(), drive.unit());
            let from: Box<dyn JobSource> = Box::new(Source::new(&source));
            let mut thread = JobThread::start(&drive, job, Some(from), Pace::default()).unwrap();
            assert!(thread.join(LONG));
            assert_eq!(thread.report().progress.end, Some(JobEnd::Complete));
            let mut copied = vec![0; content.len()];
            match drive.medium() {
                Medium::Ram(ram) => ram.read(0, &mut copied),
                _ => copied = std::fs::read(larger.path()).unwrap(),
            }
            assert!(copied.starts_with(&content));
            assert!(copied[content.len()..].iter().all(|byte| *byte == 0xa5));
        }
    }
}

/// No medium of a test machine is bad: the reads of some sectors are made to fail here, between job and
/// drive.
#[test]
fn a_condition_writes_zeroes_where_it_could_not_read_and_nowhere_else() {
    const BAD: std::ops::Range<u64> = 800..808;
    let file = filled(4 * MIB + 512);
    let ram = DriveSpec::Ram {
        size_bytes: 4 * MIB as u64,
    };
    for drive in [open(file.path()), Arc::new(Drive::open(&ram).unwrap())] {
        let mut buffer = Pages::new_zeroed(TRANSFER_BYTES / PAGE_BYTES).unwrap();
        if let Medium::Ram(ram) = drive.medium() {
            ram.write(0, &vec![0xa5; 4 * MIB]);
        }
        let mut job = Job::new(JobKind::CONDITION, drive.size_sectors(), drive.unit());
        let mut is_written = false;
        while let Some(step) = job.next() {
            let covers = step.sector < BAD.end && step.sector + step.sectors > BAD.start;
            let end = if step.kind == StepKind::Read && covers && !is_written {
                StepEnd::Failed("Medium error".to_owned())
            } else {
                is_written |= step.kind == StepKind::Rewrite;
                carry_out(&drive, step, &mut buffer)
            };
            job.ended(end, Duration::ZERO);
        }
        let progress = job.progress();
        assert_eq!(progress.end, Some(JobEnd::Complete));
        let rewritten = progress.rewritten.ranges();
        assert_eq!(rewritten, std::slice::from_ref(&BAD));
        let mut content = std::fs::read(file.path()).unwrap();
        if let Medium::Ram(ram) = drive.medium() {
            content = vec![0; 4 * MIB];
            ram.read(0, &mut content);
        }
        for (sector, bytes) in (0..).zip(content.chunks(512)) {
            let wanted = if BAD.contains(&sector) { 0 } else { 0xa5 };
            assert!(bytes.iter().all(|byte| *byte == wanted), "{sector}");
        }
    }
}

#[test]
fn a_null_drive_ends_every_job() {
    let size_bytes = 4 * MIB as u64;
    let drive = Arc::new(Drive::open(&DriveSpec::Null { size_bytes }).unwrap());
    let report = run_to_end(&drive, JobKind::Erase);
    assert!(matches!(report.progress.end, Some(JobEnd::Failed(_))));
}
