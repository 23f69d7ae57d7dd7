//! A shelf with drives in memory, and consoles on it.

use super::memory::{Durable, Image, MemoryDrive, MemoryStore, QuietPlane, Shared, Views};
use super::premises::{FakeHost, administrator};
use aoe::{Header, MacAddress, Shelf, Slot, Tag};
use console::host::{Caller, Role, Settings, World};
use console::protocol::{Request, Response};
use console::{Reply, Session};
use shelf::admin::{
    Admin, DriveSlot, DriveStatus, ElsewhereStatus, LunNumber, LunStatus, RateLimit, SpareStatus,
};
use shelf::manager::{Drive, Manager, NoDrive, Parts};
use shelf::plane::LunView;
use shelf::target::{Change, ChangeDecision, PassEvent, PortIndex, Report, Wish};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Everything that an administrator can see, and that outlives a restart unless it is said where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// The number.
    pub shelf: Option<Shelf>,
    /// Every slot.
    pub drives: Vec<DriveStatus>,
    /// Every LUN.
    pub luns: Vec<LunStatus>,
    /// Every spare.
    pub spares: Vec<SpareStatus>,
    /// What is there of other shelves.
    pub elsewhere: Vec<ElsewhereStatus>,
    /// The limit of passes.
    pub limit: RateLimit,
    /// What is set on consoles.
    pub settings: Settings,
}

/// A drive to put into a slot.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    /// Its size.
    pub sectors: u64,
    /// What a prober of signatures finds on it.
    pub foreign: Option<&'static str>,
}

/// A shelf and what it stands on.
pub struct House {
    durable: Shared<Durable>,
    views: Shared<Views>,
    manager: Manager,
    host: FakeHost,
    admin: Caller,
    reader: Caller,
}

impl std::fmt::Debug for House {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("House")
            .field("manager", &self.manager)
            .finish_non_exhaustive()
    }
}

impl House {
    /// Shelf 1 with these drives.
    #[must_use]
    pub fn new(disks: &[Disk]) -> Self {
        let image = |disk: &Disk| Image::new(disk.sectors, disk.foreign);
        let durable = Durable::new(disks.iter().map(image).collect(), 1);
        Self::open(durable, Settings::default())
    }

    fn open(durable: Durable, settings: Settings) -> Self {
        let durable = Shared::new(durable);
        let views = Shared::new(Views::new());
        let admin = administrator();
        let reader = Caller {
            user: "guest".to_owned(),
            role: Role::Reader,
            ..administrator()
        };
        Self {
            manager: start(&durable, &views),
            durable,
            views,
            host: FakeHost {
                settings,
                ..FakeHost::default()
            },
            admin,
            reader,
        }
    }

    /// The same drives and settings in another box: as after a power cut of this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::open(self.durable.lock().clone(), self.host.settings.clone())
    }

    /// The daemon stops, in good order or not, and starts again.
    pub fn restart(&mut self, is_orderly: bool) {
        if is_orderly {
            self.manager.shutdown();
        }
        *self = self.fork();
    }

    /// A line of an administrator.
    pub fn line(&mut self, session: &mut Session, line: &str) -> Reply {
        let mut world = World {
            admin: &mut self.manager,
            host: &mut self.host,
            who: &self.admin,
        };
        session.line(&mut world, line)
    }

    /// A line of somebody who may only look.
    pub fn look(&mut self, line: &str) -> Reply {
        let mut world = World {
            admin: &mut self.manager,
            host: &mut self.host,
            who: &self.reader,
        };
        Session::default().line(&mut world, line)
    }

    /// Everything that can be seen.
    #[must_use]
    pub fn state(&self) -> State {
        State {
            shelf: self.manager.shelf(),
            drives: self.manager.drives(),
            luns: self.manager.luns(),
            spares: self.manager.spares(),
            elsewhere: self.manager.elsewhere(None),
            limit: self.manager.rate_limit(),
            settings: self.host.settings.clone(),
        }
    }

    /// What is on the drives and in the state directory, as a number that changes with it.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.durable.lock().fingerprint()
    }

    /// The LUNs that are served, as the workers know them.
    #[must_use]
    pub fn served(&self) -> Vec<Arc<LunView>> {
        self.views.lock().values().cloned().collect()
    }

    /// All passes come to their end, and found nothing; those that begin then, too.
    pub fn finish_passes(&mut self) {
        // A rebuild, then a scrub that waited for it.
        for _ in 0..4 {
            let views: Vec<_> = self.views.lock().values().cloned().collect();
            for view in views {
                for (part, of) in (0..).zip(&view.parts) {
                    if let Some(sync) = &of.sync {
                        self.manager.hear(&Report::Pass {
                            lun: view.lun,
                            part,
                            pass: sync.pass,
                            event: PassEvent::Ended { complete: true },
                        });
                    }
                }
            }
        }
    }

    /// So much time has gone by since the start.
    pub fn tick(&mut self, uptime: Duration) {
        self.manager.tick(uptime);
    }

    /// A drive is pulled or put back, as the next start finds.
    pub fn set_present(&mut self, index: usize, is_present: bool) {
        self.durable.lock().images[index].is_present = is_present;
    }

    /// Jobs on drives go no further from now on.
    pub fn hold_jobs(&mut self) {
        self.durable.lock().holds_jobs = true;
    }

    /// One request of the control socket, by an administrator.
    pub fn request(&mut self, session: &mut Session, request: &Request) -> Response {
        let mut world = World {
            admin: &mut self.manager,
            host: &mut self.host,
            who: &self.admin,
        };
        session.request(&mut world, request)
    }

    /// What a console shows before the next line.
    pub fn prompt(&mut self, session: &Session) -> String {
        session.prompt(&World {
            admin: &mut self.manager,
            host: &mut self.host,
            who: &self.admin,
        })
    }

    /// A host reserves a LUN for itself; whether that was stored.
    pub fn reserve(&mut self, lun: LunNumber, station: MacAddress) -> bool {
        let shelf = self.manager.shelf().unwrap_or(Shelf(0));
        let slot = Slot(lun.get());
        let decision = self.manager.change(&Change {
            port: PortIndex(0),
            request: Header::request(station, station, shelf, slot, 3, Tag(1)),
            lun,
            wish: Wish::Reserve {
                is_forced: true,
                macs: [station].into(),
            },
        });
        decision == ChangeDecision::Stored
    }

    /// What happened that nobody was told as an answer.
    pub fn notices(&mut self) -> Vec<String> {
        self.manager.take_notices()
    }
}

/// Starts the administration on what is durable.
fn start(durable: &Shared<Durable>, views: &Shared<Views>) -> Manager {
    let drive = |(index, image): (usize, &Image)| Drive {
        slot: DriveSlot(u16::try_from(index).unwrap_or(u16::MAX)),
        path: format!("drive{index}"),
        model: "memory".to_owned(),
        note: None,
        drive: if image.is_present {
            Ok(Box::new(MemoryDrive {
                durable: durable.clone(),
                index,
            }))
        } else {
            Err(NoDrive::Missing)
        },
        foreign: if image.is_member() {
            Some("a linux_raid_member signature".to_owned())
        } else {
            image.foreign.map(str::to_owned)
        },
    };
    let images = durable.lock().images.clone();
    let shelf = durable.lock().shelf;
    let (clock, uuids) = (durable.clone(), durable.clone());
    Manager::start(Parts {
        shelf,
        drives: images.iter().enumerate().map(drive).collect(),
        ports: Vec::new(),
        plane: Box::new(QuietPlane(views.clone())),
        store: Box::new(MemoryStore(durable.clone())),
        now_unix_seconds: Box::new(move || {
            let mut durable = clock.lock();
            durable.now += 1;
            durable.now
        }),
        new_uuid: Box::new(move || {
            let mut durable = uuids.lock();
            durable.uuids += 1;
            Uuid::from_u64_pair(durable.uuids, 1)
        }),
    })
}
