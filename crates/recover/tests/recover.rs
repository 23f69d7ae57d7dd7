//! `ledge-recover` on image files of a shelf that died in a write.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use aoe::Shelf;
use disk::{Drive, DriveSpec, MetadataHandle};
use raid::Level;
use raid::bad_blocks::BadRange;
use raid::log::{EntryPlace, RecordIdentity, RecordWriter};
use raid::md::{Resync, Superblock};
use raid::regions::RegionSet;
use shelf::admin::{Admin, DriveSlot, LunNumber, MakeRequest, MemberChoice};
use shelf::manager::{Manager, Parts, ShelfStore};
use shelf::observe::Observe;
use shelf::patience::DriveHealth;
use shelf::plane::{CounterGroup, DataPlane, Detached, Impostor, LunView, RateLimit, RunningPass};
use shelf::target::MendTicket;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

const MEMBERS: usize = 4;
const NEW: u8 = 0xd7;
/// Where data begins on a small disk.
const DATA: u64 = 768 * 512;

struct Images {
    _dir: tempfile::TempDir,
    paths: Vec<PathBuf>,
    view: Arc<LunView>,
}

struct Plane(Arc<Mutex<Option<Arc<LunView>>>>);

impl Observe for Plane {}

impl DataPlane for Plane {
    fn attach(&mut self, view: Arc<LunView>) -> Result<(), String> {
        *self.0.lock().unwrap() = Some(view);
        Ok(())
    }

    fn detach(&mut self, _: LunNumber) -> Result<Detached, String> {
        Ok(Detached::default())
    }

    fn regions_ready(&mut self, _: LunNumber, _: u8, _: Range<u32>, _: bool) -> Result<(), String> {
        Ok(())
    }

    fn take_idle_regions(
        &mut self,
        _: LunNumber,
        _: u8,
        candidates: Arc<RegionSet>,
    ) -> Result<RegionSet, String> {
        Ok((*candidates).clone())
    }

    fn set_bad_blocks(&mut self, _: DriveSlot, _: Arc<[BadRange]>) -> Result<(), String> {
        Ok(())
    }

    fn bad_sectors_settled(&mut self, _: MendTicket, _: bool) -> Result<(), String> {
        Ok(())
    }

    fn set_rate_limit(&mut self, _: RateLimit) -> Result<(), String> {
        Ok(())
    }

    fn drive_health(&self, _: DriveSlot) -> Result<DriveHealth, String> {
        Ok(DriveHealth::default())
    }

    fn advertise(&mut self, _: LunNumber) {}

    fn probe(&mut self, _: Shelf, _: &[LunNumber]) {}

    fn find_impostors(&mut self, _: Shelf, _: &[LunNumber]) -> Vec<Impostor> {
        Vec::new()
    }

    fn counters(&self) -> Vec<CounterGroup> {
        Vec::new()
    }

    fn passes(&self) -> Vec<RunningPass> {
        Vec::new()
    }
}

struct Store;

impl ShelfStore for Store {
    fn save_shelf(&mut self, _: aoe::Shelf) -> Result<(), String> {
        Ok(())
    }

    fn removed_sets(&mut self) -> Result<Vec<Uuid>, String> {
        Ok(Vec::new())
    }

    fn add_removed_set(&mut self, _: Uuid) -> Result<(), String> {
        Ok(())
    }

    fn rate_limit(&mut self) -> Result<RateLimit, String> {
        Ok(RateLimit::NONE)
    }

    fn save_rate_limit(&mut self, _: RateLimit) -> Result<(), String> {
        Ok(())
    }
}

/// A raid5 that was served from image files. With `orderly` it was stopped; else power failed.
fn served(orderly: bool) -> Images {
    served_from(MEMBERS, orderly)
}

/// A program that is being started holds, until it runs, the files that other tests have open, with their
/// claims: images are open, and programs are started, by one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`served`], from so many images; the LUN has grown by a mirror of those that the raid5 does not need.
fn served_from(disks: usize, orderly: bool) -> Images {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..disks)
        .map(|index| dir.path().join(format!("disk{index}")))
        .collect();
    let mut drives = Vec::new();
    for (slot, path) in (0..).map(DriveSlot).zip(&paths) {
        std::fs::File::create(path)
            .unwrap()
            .set_len(4 << 20)
            .unwrap();
        let drive = Drive::open(&DriveSpec::Path(path.clone())).unwrap();
        let handle = MetadataHandle::new(Arc::new(drive));
        drives.push(shelf::manager::Drive {
            slot,
            path: path.display().to_string(),
            model: "file".to_owned(),
            note: None,
            drive: Ok(Box::new(handle)),
            foreign: None,
        });
    }
    let view = Arc::new(Mutex::new(None));
    let mut manager = Manager::start(Parts {
        shelf: Some(aoe::Shelf(1)),
        drives,
        ports: Vec::new(),
        plane: Box::new(Plane(Arc::clone(&view))),
        store: Box::new(Store),
        now_unix_seconds: Box::new(|| 1_700_000_000),
        new_uuid: Box::new(Uuid::new_v4),
    });
    let lun = LunNumber::new(0).unwrap();
    let request = |level, slots: Range<u16>| MakeRequest {
        lun,
        level,
        members: slots
            .map(|slot| MemberChoice::Drive(DriveSlot(slot)))
            .collect(),
        force: false,
        clean: true,
        chunk_kib: None,
        label: None,
    };
    let first_part = u16::try_from(MEMBERS).unwrap();
    manager.make(&request(Level::Raid5, 0..first_part)).unwrap();
    manager.online(lun).unwrap();
    if disks > MEMBERS {
        let all = u16::try_from(disks).unwrap();
        manager
            .grow(&request(Level::Raid1, first_part..all))
            .unwrap();
    }
    if orderly {
        manager.shutdown();
    }
    drop(manager);
    let view = view.lock().unwrap().take().unwrap();
    Images {
        _dir: dir,
        paths,
        view,
    }
}

impl Images {
    /// A write to element 0 and P of the first row, element 3, that is in the log and nowhere else.
    fn log_a_write(&self) {
        let part = &self.view.parts[0];
        let log = part.log.unwrap();
        let tags: Vec<u32> = part
            .members
            .iter()
            .map(|member| member.unwrap().log_tag)
            .collect();
        for element in [0, 3] {
            let member = part.members[usize::from(element)].unwrap();
            let mut record = vec![0; usize::from(log.parameters.slot_sectors()) * 512];
            let mut writer = RecordWriter::new(4, log.parameters.slot_sectors());
            let place = EntryPlace {
                member_sector: 0,
                range_start: 0,
                range_sectors: 1,
                participants: 0b1001,
            };
            writer.add_redo(&mut record, &place, &[NEW; 512]).unwrap();
            let identity = RecordIdentity {
                set_uuid: log.set_uuid,
                epoch: log.parameters.epoch(),
                group: 1,
                element,
                tags: &tags,
            };
            let bytes = writer.finish(&mut record, &identity);
            let sector = log.parameters.record_sector(member.log_area, 1);
            self.open(element.into())
                .write_all_at(&record[..bytes], sector * 512)
                .unwrap();
        }
    }

    fn open(&self, index: usize) -> std::fs::File {
        let mut options = std::fs::OpenOptions::new();
        options
            .read(true)
            .write(true)
            .open(&self.paths[index])
            .unwrap()
    }

    fn byte(&self, index: usize, offset: u64) -> u8 {
        let mut byte = [0];
        self.open(index).read_exact_at(&mut byte, offset).unwrap();
        byte[0]
    }

    fn homes(&self) -> [u8; MEMBERS] {
        [0, 1, 2, 3].map(|index| self.byte(index, DATA))
    }

    fn resync(&self, index: usize) -> Resync {
        let mut block = [0; 4096];
        self.open(index).read_exact_at(&mut block, 4096).unwrap();
        Superblock::decode(&block).unwrap().resync()
    }

    fn recover(&self, options: &[&str], disks: &[usize]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ledge-recover"));
        command
            .args(options)
            .args(disks.iter().map(|index| &self.paths[*index]))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let alone = alone();
        let child = command.spawn().unwrap();
        drop(alone);
        child.wait_with_output().unwrap()
    }
}

fn text(output: &Output) -> String {
    let both = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8(both).unwrap()
}

#[test]
fn an_interrupted_write_is_completed_and_the_array_is_clean() {
    let images = served(false);
    images.log_a_write();
    let shown = images.recover(&["-n"], &[3, 1, 0, 2]);
    assert!(shown.status.success(), "{}", text(&shown));
    assert!(
        text(&shown).contains("would write 1 slices"),
        "{}",
        text(&shown)
    );
    assert_eq!(images.homes(), [0; 4]);
    assert_eq!(images.resync(0), Resync::DirtyFrom(0));

    let done = images.recover(&[], &[3, 1, 0, 2]);
    assert!(done.status.success(), "{}", text(&done));
    assert_eq!(images.homes(), [NEW, 0, 0, NEW]);
    for index in 0..MEMBERS {
        assert_eq!(images.resync(index), Resync::Clean);
    }
    let text_done = text(&done);
    assert!(
        text_done.contains("wrote 1 slices from the redo log"),
        "{text_done}"
    );
    assert!(
        text_done.contains("mdadm --assemble /dev/md/shelf1-lun0 --uuid="),
        "{text_done}"
    );
    assert!(!text_done.contains("--run"), "{text_done}");

    let again = images.recover(&[], &[0, 1, 2, 3]);
    assert!(
        text(&again).contains("stopped in good order"),
        "{}",
        text(&again)
    );
}

#[test]
fn disks_that_are_missing_have_to_be_given_up_by_name() {
    let images = served(false);
    images.log_a_write();
    let refused = images.recover(&[], &[1, 2, 3]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("elements 0.0.0 are not among the disks"),
        "{}",
        text(&refused)
    );
    assert_eq!(images.homes(), [0; 4]);

    let done = images.recover(&["--degraded"], &[1, 2, 3]);
    assert!(done.status.success(), "{}", text(&done));
    assert_eq!(images.homes(), [0, 0, 0, NEW]);
    assert!(text(&done).contains("--run"), "{}", text(&done));
    assert_eq!(images.resync(1), Resync::Clean);
}

#[test]
fn an_array_that_was_stopped_is_not_touched() {
    let images = served(true);
    let before: Vec<Vec<u8>> = images
        .paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    let done = images.recover(&[], &[0, 1, 2, 3]);
    assert!(done.status.success(), "{}", text(&done));
    let after: Vec<Vec<u8>> = images
        .paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    assert!(before == after);
}

/// The row that `dmsetup` gets for each array is where the shelf had its data.
#[test]
fn a_lun_of_several_arrays_can_be_joined() {
    let images = served_from(MEMBERS + 2, false);
    let parts = &images.view.parts;
    let ends = parts.iter().map(|part| part.geometry.capacity_sectors());
    let [first, second] = ends.collect::<Vec<_>>()[..] else {
        panic!("two parts")
    };
    let done = images.recover(&[], &[5, 0, 4, 1, 2, 3]);
    assert!(done.status.success(), "{}", text(&done));
    let told = text(&done);
    let arrays = told.matches("mdadm --assemble /dev/md/shelf1-lun0").count();
    assert_eq!(arrays, 2, "{told}");
    let command = format!(
        "printf '%s\\n' '0 {first} linear /dev/md/shelf1-lun0 0' \
         '{first} {second} linear /dev/md/shelf1-lun0.1 0' | dmsetup create shelf1-lun0"
    );
    assert_eq!(told.lines().last(), Some(command.as_str()), "{told}");

    for (disks, missing) in [
        (&[0, 1, 2, 3][..], "part 1 of LUN '1:0', array "),
        (&[4, 5], "'1:0.1' is part 1 of a LUN"),
    ] {
        let partly = images.recover(&[], disks);
        assert_eq!(partly.status.code(), Some(1));
        let told = text(&partly);
        assert!(told.contains(missing), "{told}");
        assert!(told.contains("mdadm --assemble"), "{told}");
        assert!(!told.contains("dmsetup"), "{told}");
    }
}

#[test]
fn wrong_disks_are_refused() {
    let images = served(true);
    let twice = images.recover(&[], &[0, 1, 1]);
    assert_eq!(twice.status.code(), Some(1));
    assert!(text(&twice).contains("is given twice"), "{}", text(&twice));
    let claimed = Drive::open(&DriveSpec::Path(images.paths[2].clone())).unwrap();
    let in_use = images.recover(&[], &[0, 1, 2, 3]);
    assert_eq!(in_use.status.code(), Some(1));
    assert!(text(&in_use).contains("is in use"), "{}", text(&in_use));
    drop(claimed);
    let too_few = images.recover(&[], &[0, 1]);
    assert_eq!(too_few.status.code(), Some(1));
    assert!(
        text(&too_few).contains("NOT RECOVERED"),
        "{}",
        text(&too_few)
    );
    let _alone = alone();
    let none = Command::new(env!("CARGO_BIN_EXE_ledge-recover"))
        .output()
        .unwrap();
    assert_eq!(none.status.code(), Some(2));
}
