//! The administrator.

use super::rules::Rules;
use super::scene::{STATIONS, VLAN, drives, lun};
use super::world::World;
use aoe::VlanId;
use arbitrary::Arbitrary;
use shelf::admin::{AccessChange, Admin, DriveSlot, ElementId, ScrubAction, ScrubRepair};
use shelf::manager::Manager;

/// A command of the administrator.
#[derive(Arbitrary, Debug)]
pub(super) struct Order {
    lun: u8,
    what: What,
}

#[derive(Arbitrary, Debug)]
enum What {
    Online,
    Offline,
    ReadOnly(bool),
    Vlan(bool),
    ClearMasks,
    Mask { station: u8, is_added: bool },
    ClearReservations,
    ConfigString(Vec<u8>),
    Fail { part: bool, element: u8 },
    Unfail { part: bool, element: u8 },
    Replace { part: bool, element: u8, drive: u8 },
    Spare { drive: u8 },
    Scrub(Scrub),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Scrub {
    Start,
    Repair,
    Policy(bool),
    Stop,
    Pause,
    Resume,
}

/// LUNs that there are.
const LUNS: u8 = 9;

impl Order {
    fn element(&self, part: bool, element: u8) -> ElementId {
        let (lun, part) = (lun(self.lun % LUNS), u8::from(part));
        ElementId {
            lun,
            part,
            member: element % 4,
        }
    }
}

fn drive(number: u8) -> DriveSlot {
    DriveSlot(u16::from(number) % drives())
}

/// What the world is to know before a command is carried out.
pub(super) fn prepare(order: &Order, world: &mut World) {
    if matches!(
        order.what,
        What::Fail { .. } | What::Unfail { .. } | What::Replace { .. }
    ) {
        world.excused.insert(order.lun % LUNS);
    }
    if let What::Vlan(is_in) = order.what {
        let of = |rules: &&mut Rules| rules.number == order.lun % LUNS;
        if let Some(rules) = world.rules.iter_mut().find(of) {
            rules.next_vlan = Some(is_in.then_some(VLAN));
        }
    }
}

/// Carries out a command. Many are refused, as they must be.
pub(super) fn carry_out(order: &Order, manager: &mut Manager) {
    let number = lun(order.lun % LUNS);
    let mut access = |change| manager.change_access(number, &change);
    let _ = match &order.what {
        What::Online => manager.online(number),
        What::Offline => manager.offline(number),
        What::ReadOnly(is_read_only) => access(AccessChange::ReadOnly(*is_read_only)),
        What::Vlan(is_in) => access(AccessChange::Vlan(VlanId::new(VLAN).filter(|_| *is_in))),
        What::ClearMasks => access(AccessChange::ClearMasks),
        What::Mask { station, is_added } => {
            let station = vec![STATIONS[usize::from(*station) % STATIONS.len()]];
            let (remove, add) = if *is_added {
                (Vec::new(), station)
            } else {
                (station, Vec::new())
            };
            access(AccessChange::Masks { remove, add })
        }
        What::ClearReservations => access(AccessChange::ClearReservations),
        What::ConfigString(string) => manager.set_config_string(number, string),
        What::Fail { part, element } => manager.fail(order.element(*part, *element)),
        What::Unfail { part, element } => manager.unfail(order.element(*part, *element)),
        What::Replace {
            part,
            element,
            drive: other,
        } => manager.replace(order.element(*part, *element), drive(*other), false),
        What::Spare { drive: other } => manager.add_spare(drive(*other), None, false),
        What::Scrub(scrub) => manager.scrub(number, action(*scrub)),
    };
}

const fn action(scrub: Scrub) -> ScrubAction {
    match scrub {
        Scrub::Start => ScrubAction::Start,
        Scrub::Repair => ScrubAction::Repair,
        Scrub::Policy(true) => ScrubAction::Policy(ScrubRepair::All),
        Scrub::Policy(false) => ScrubAction::Policy(ScrubRepair::Report),
        Scrub::Stop => ScrubAction::Stop,
        Scrub::Pause => ScrubAction::Pause,
        Scrub::Resume => ScrubAction::Resume,
    }
}

/// Opens every LUN to everybody, so that it can be read.
pub(super) fn opening(rules: &[Rules]) -> Vec<Order> {
    let orders = |rules: &Rules| {
        let all = [
            What::ClearMasks,
            What::ClearReservations,
            What::Vlan(false),
            What::Online,
        ];
        let lun = rules.number;
        all.map(|what| Order { lun, what })
    };
    rules.iter().flat_map(orders).collect()
}
