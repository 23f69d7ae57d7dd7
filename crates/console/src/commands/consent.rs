//! Changes that cannot be undone, though no data is lost by them: `grow`, `reservations -c`, `users remove`,
//! and `saveconfig` over a saved configuration; `offline` of what hosts use, whose file systems may not
//! get over it; and `update -b`, after which another version runs. They ask once, for all of it; but not
//! where a script types: without a keyboard at `ledge`, and in batch mode.

use super::meanwhile::{KnownDrive, KnownLun};
use super::{GoingBack, Outcome, Pending, gigabytes};
use crate::host::{Deed, HostError, World};
use crate::problem::Problem;
use crate::report::Report;
use shelf::admin::{
    AccessChange, AccessStatus, Admin, AdminError, LunNumber, LunStatus, MakeRequest, MemberChoice,
};
use shelf::observe::Initiator;
use std::time::Duration;

/// A change that waits for its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Consent {
    /// A LUN is to have another RAID.
    Grow {
        /// What was asked for.
        request: MakeRequest,
        lun: Box<KnownLun>,
        drives: Vec<KnownDrive>,
    },
    /// LUNs are to go offline, some of which are in use.
    Offline {
        /// What was asked for.
        words: Vec<String>,
        luns: Vec<KnownLun>,
    },
    /// Reservations are to be cleared.
    ClearReservations(Vec<(LunNumber, AccessStatus)>),
    /// A user is to be removed, and the password with it.
    RemoveUser(String),
    /// A saved configuration is to be replaced by the present one.
    Overwrite(String),
    /// Another version of the image is to run after a reboot.
    GoBack(Box<GoingBack>),
}

/// Asks whether a LUN is to grow, if it could.
pub(super) fn grow(admin: &mut dyn Admin, request: MakeRequest) -> Result<Outcome, AdminError> {
    let lun = Box::new(KnownLun::now(request.lun, admin));
    let grown = try_grow(admin, &request)?;
    let slots = request.members.iter().filter_map(|member| match member {
        MemberChoice::Drive(slot) => Some(*slot),
        MemberChoice::Missing => None,
    });
    let drives = slots.map(|slot| KnownDrive::now(slot, admin)).collect();
    let before = lun.status().map_or(0, |status| status.size_bytes);
    let mut report = Report::default();
    report.line(format!(
        "Request to grow LUN {} by a {} of {} members, from {}GB to {}GB; no LUN shrinks again",
        request.lun,
        request.level,
        request.members.len(),
        gigabytes(before),
        gigabytes(grown)
    ));
    Ok(ask(
        report,
        Consent::Grow {
            request,
            lun,
            drives,
        },
    ))
}

/// How large the LUN would be.
fn try_grow(admin: &mut dyn Admin, request: &MakeRequest) -> Result<u64, AdminError> {
    let mut grown = Err(AdminError::NoSuchLun(request.lun));
    admin.rehearse(&mut |copy| {
        grown = copy.grow(request).map(|()| {
            let luns = copy.luns();
            let lun = luns.iter().find(|lun| lun.lun == request.lun);
            lun.map_or(0, |lun| lun.size_bytes)
        });
    });
    grown
}

/// A host that was not heard for longer than this is taken not to use its LUNs any more.
const IN_USE: Duration = Duration::from_secs(60);

/// Most hosts that a question names for a LUN.
const NAMED_MAX: usize = 8;

/// Asks whether LUNs are to go offline, if hosts use one of them. A word that names no LUN ends what is
/// done, so that only those before it count.
pub(super) fn offline(admin: &dyn Admin, words: &[String]) -> Option<Outcome> {
    let all = admin.luns();
    let named: Vec<&LunStatus> = words
        .iter()
        .map_while(|word| super::luns::named(&all, word).ok())
        .collect();
    let initiators = admin.initiators().known;
    let mut report = Report::default();
    for lun in named.iter().filter(|lun| lun.online) {
        let hosts: Vec<&Initiator> = initiators
            .iter()
            .filter(|host| is_in_use(lun.lun, host))
            .collect();
        if !hosts.is_empty() {
            let hosts = hosts_line(&hosts);
            report.line(format!(
                "Request to take LUN {} offline, which is in use by {hosts}",
                lun.lun
            ));
        }
    }
    if report.is_empty() {
        return None;
    }
    let luns = named.iter().map(|lun| KnownLun::now(lun.lun, admin));
    let luns = luns.collect();
    let words = words.to_vec();
    Some(ask(report, Consent::Offline { words, luns }))
}

/// Whether a host uses a LUN: it has asked it for something, was heard lately, and does more than to look
/// who is there. When it was heard is known for all its LUNs together: rather one question too many.
fn is_in_use(lun: LunNumber, host: &Initiator) -> bool {
    let of = &host.statistics;
    let tally = &of.tally;
    let transfers = tally.reads + tally.writes + tally.flushes + tally.trims;
    let commands = transfers + tally.identifies + tally.other_ata;
    of.luns.contains(&lun) && of.last_seen < IN_USE && commands > 0
}

/// `020000000001 (eth1, heard 2 s ago)`, those first that were heard last.
fn hosts_line(hosts: &[&Initiator]) -> String {
    let mut hosts = hosts.to_vec();
    hosts.sort_by_key(|host| (host.statistics.last_seen, host.statistics.mac));
    let named = hosts.iter().take(NAMED_MAX).map(|host| {
        let (mac, seconds) = (host.statistics.mac, host.statistics.last_seen.as_secs());
        format!("{mac} ({}, heard {seconds} s ago)", host.interface)
    });
    let mut words: Vec<String> = named.collect();
    if hosts.len() > NAMED_MAX {
        words.push(format!("and {} more: initiators", hosts.len() - NAMED_MAX));
    }
    words.join(", ")
}

/// Asks whether the reservations of LUNs are to be cleared.
pub(super) fn clear_reservations(luns: &[&LunStatus]) -> Outcome {
    let mut report = Report::default();
    for LunStatus { lun, access, .. } in luns {
        let (stations, keys) = (access.reserved.len(), access.keys.len());
        report.line(format!(
            "Request to clear the reservations of LUN {lun}: {stations} stations, {keys} keys"
        ));
    }
    let held = luns.iter().map(|lun| (lun.lun, lun.access.clone()));
    ask(report, Consent::ClearReservations(held.collect()))
}

/// Asks whether a user is to be removed, if that could be.
pub(super) fn remove_user(world: &World<'_>, name: &str) -> Result<Outcome, HostError> {
    world.host.check(&Deed::RemoveUser(name))?;
    let mut report = Report::default();
    report.line(format!("Request to remove user {name}, and the password"));
    Ok(ask(report, Consent::RemoveUser(name.to_owned())))
}

/// Asks whether a saved configuration is to be replaced.
pub(super) fn overwrite(name: &str) -> Outcome {
    let mut report = Report::default();
    report.line(format!("Request to replace the configuration {name}"));
    ask(report, Consent::Overwrite(name.to_owned()))
}

/// Asks whether another version is to run, which `line` names; and with so many LUNs online, whether to
/// reboot.
pub(super) fn go_back(line: String, online: Option<usize>, going: GoingBack) -> Outcome {
    let mut report = Report::default();
    report.line(line);
    if let Some(online) = online {
        let noun = if online == 1 { "LUN" } else { "LUNs" };
        report.line(format!("Request to reboot with {online} {noun} online"));
    }
    ask(report, Consent::GoBack(Box::new(going)))
}

fn ask(report: Report, consent: Consent) -> Outcome {
    Outcome {
        report,
        pending: Some(Pending::Consent(consent)),
        ..Outcome::default()
    }
}

impl Consent {
    pub(super) fn question(&self) -> String {
        match self {
            Self::Grow { request, .. } => {
                format!("'n' to cancel, or 'y' to grow LUN {} [n]: ", request.lun)
            }
            Self::Offline { words, .. } => {
                let noun = if words.len() == 1 { "LUN" } else { "LUNs" };
                format!(
                    "'n' to cancel, or 'y' to take {noun} {} offline [n]: ",
                    words.join(" ")
                )
            }
            Self::ClearReservations(_) => "'n' to cancel, or 'y' to clear them [n]: ".to_owned(),
            Self::RemoveUser(name) => format!("'n' to cancel, or 'y' to remove {name} [n]: "),
            Self::Overwrite(name) => format!("'n' to cancel, or 'y' to replace {name} [n]: "),
            Self::GoBack(going) => going.question(),
        }
    }

    pub(super) fn answer(self, world: &mut World<'_>, answer: &str) -> Outcome {
        if !matches!(answer.trim(), "y" | "Y") {
            return Report::from(Problem::Canceled).into();
        }
        match self.change(world) {
            Some(what) => Report::from(Problem::Meanwhile(what)).into(),
            None => self.go(world),
        }
    }

    /// What is not as it was when it was asked.
    fn change(&self, world: &World<'_>) -> Option<String> {
        let admin = &*world.admin;
        match self {
            Self::Grow { lun, drives, .. } => lun
                .change(admin)
                .or_else(|| drives.iter().find_map(|drive| drive.change(admin))),
            Self::Offline { luns, .. } => luns.iter().find_map(|lun| lun.change(admin)),
            Self::ClearReservations(held) => {
                let luns = admin.luns();
                held.iter().find_map(|(number, before)| {
                    let Some(lun) = luns.iter().find(|lun| lun.lun == *number) else {
                        return Some(format!("LUN {number} does not exist any more"));
                    };
                    (!holds_same(before, &lun.access))
                        .then(|| format!("the reservations of LUN {number} are others"))
                })
            }
            // A user that is gone is told as such, and what is written is what there is then.
            Self::RemoveUser(_) | Self::Overwrite(_) => None,
            Self::GoBack(going) => going.change(world),
        }
    }

    /// Does it.
    pub(super) fn go(self, world: &mut World<'_>) -> Outcome {
        let mut report = Report::default();
        let admin = &mut *world.admin;
        match self {
            Self::Grow { request, .. } => super::luns::grown(&mut report, admin, &request),
            Self::Offline { words, .. } => super::luns::go_offline(&mut report, admin, &words),
            Self::ClearReservations(held) => {
                let words: Vec<String> = held.iter().map(|(lun, _)| lun.to_string()).collect();
                super::luns::each(&mut report, &words, |lun| {
                    admin.change_access(lun, &AccessChange::ClearReservations)
                });
            }
            Self::RemoveUser(name) => {
                if let Err(error) = world.host.remove_user(&name) {
                    report.fail(error, &[]);
                }
            }
            Self::Overwrite(name) => super::configuration::write(&mut report, world, &name),
            Self::GoBack(going) => return going.go(world),
        }
        report.into()
    }
}

fn holds_same(before: &AccessStatus, now: &AccessStatus) -> bool {
    let held = |access: &AccessStatus| {
        let AccessStatus {
            reserved,
            reservation,
            owner,
            generation,
            keys,
            ..
        } = access.clone();
        (reserved, reservation, owner, generation, keys)
    };
    held(before) == held(now)
}
