//! Initiators that change config strings, mask lists and reservations, over administration and data path
//! together, against a small model of what the protocol says.

use super::world::{MIB, World, number};
use crate::admin::{AccessChange, Admin, AdminError};
use crate::manager::Manager;
use crate::target::{Action, BufferPlan, PortIndex, PortView, Target};
use aoe::{AtaRegisters, Header, MacAddress, Shelf, Slot, Tag, VlanId};
use proptest::prelude::*;
use raid::Level;
use zerocopy::IntoBytes;

const PORT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

/// The initiators.
const HOSTS: [MacAddress; 3] = [
    MacAddress([2, 0, 0, 0, 0, 0xa]),
    MacAddress([2, 0, 0, 0, 0, 0xb]),
    MacAddress([2, 0, 0, 0, 0, 0xc]),
];

/// A shelf with LUN 0, and its data path.
struct Bench {
    world: World,
    manager: Manager,
    target: Target,
}

impl Bench {
    fn new(level: Level, drives: usize) -> Self {
        let world = World::new(&vec![2 * MIB; drives]);
        let mut manager = world.start();
        let members: Vec<usize> = (0..drives).collect();
        world.make(&mut manager, 0, level, &members);
        manager.online(number(0)).unwrap();
        Self::serve(world, manager)
    }

    /// The disks move to another machine.
    fn restart(self) -> Self {
        let world = self.world.fork();
        let manager = world.start();
        Self::serve(world, manager)
    }

    fn serve(world: World, manager: Manager) -> Self {
        let port = PortView::single(PORT_MAC, 9000);
        let plan = BufferPlan {
            commands: 8,
            pages: 8,
            records: 4,
        };
        let target = Target::new(&[port], plan);
        let mut bench = Self {
            world,
            manager,
            target,
        };
        bench.attach();
        bench
    }

    /// The data path follows the administration.
    fn attach(&mut self) {
        let view = self.world.view(0).expect("the LUN is served");
        self.target.attach(view, &mut Vec::new());
    }

    /// Sends a request and gives the answer, if there is one.
    fn ask(&mut self, host: usize, command: u8, argument: &[u8]) -> Option<Vec<u8>> {
        let header = Header::request(PORT_MAC, HOSTS[host], Shelf(1), Slot(0), command, Tag(5));
        let frame = [header.as_bytes(), argument].concat();
        let mut actions = Vec::new();
        let admitted = self
            .target
            .receive(PortIndex(0), &frame, frame.len(), &mut actions);
        assert_eq!(admitted, None, "no data is moved here");
        let mut replies = Vec::new();
        while let Some(action) = actions.pop() {
            match action {
                Action::Change(change) => {
                    let decision = self.manager.change(&change);
                    self.attach();
                    self.target.change_done(&change, decision, &mut actions);
                }
                Action::Reply(reply) => {
                    let head = &reply.head[..reply.head_bytes];
                    replies.push([head, reply.body.shared()].concat());
                }
                other => panic!("nobody asked for {other:?}"),
            }
        }
        assert!(replies.len() <= 1);
        replies.pop()
    }

    fn config(&mut self, host: usize, command: u8, string: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
        let length = u16::try_from(string.len()).unwrap().to_be_bytes();
        let fixed = [0, 0, 0, 0, 0, 0x10 | command, length[0], length[1]];
        self.ask(host, 1, &[&fixed, string, rest].concat())
    }
}

/// What an answer says: the error code and what is told of the list or the string.
type Answer = Option<(u8, Vec<u8>)>;

fn answer(reply: Option<Vec<u8>>, from: usize) -> Answer {
    reply.map(|reply| (reply[15], reply[from..].to_vec()))
}

/// What an initiator does.
#[derive(Clone, Debug)]
enum Step {
    Config(u8, Vec<u8>, Vec<u8>),
    Mask(Vec<(u8, usize)>),
    MaskRead,
    Reserve(u8, Vec<usize>),
    Ata(u8),
    Restart,
}

fn any_step() -> impl Strategy<Value = (usize, Step)> {
    let string = || prop::collection::vec(0_u8..2, 0..3);
    let hosts = prop::collection::vec(0_usize..3, 0..4);
    let directives =
        prop::collection::vec((prop_oneof![9 => 0_u8..3, 1 => 3_u8..9], 0_usize..3), 0..4);
    let step = prop_oneof![
        4 => (0_u8..8, string(), string()).prop_map(|(command, one, two)| Step::Config(command, one, two)),
        2 => directives.prop_map(Step::Mask),
        1 => Just(Step::MaskRead),
        3 => (0_u8..4, hosts).prop_map(|(command, hosts)| Step::Reserve(command, hosts)),
        4 => prop::sample::select(vec![0x20, 0x24, 0x30, 0x34, 0xec, 0xe5, 0x99]).prop_map(Step::Ata),
        1 => Just(Step::Restart),
    ];
    (0_usize..3, step)
}

/// What the protocol says, as short as can be.
#[derive(Default)]
struct Model {
    string: Vec<u8>,
    masks: Vec<usize>,
    reserved: Vec<usize>,
}

impl Model {
    fn config(&mut self, command: u8, string: &[u8], replacement: &[u8]) -> Answer {
        let error = match command {
            1 if self.string != string => return None,
            2 if !self.string.starts_with(string) => return None,
            0..=2 => 0,
            3 if self.string.is_empty() || self.string == string => {
                self.string = string.to_vec();
                0
            }
            4 => {
                self.string = string.to_vec();
                0
            }
            5 if self.string == string || self.string == replacement => {
                self.string = replacement.to_vec();
                0
            }
            3 | 5 => 4,
            _ => 2,
        };
        Some((error, self.string.clone()))
    }

    fn mask(&mut self, directives: &[(u8, usize)]) -> Answer {
        for (index, (command, host)) in (0..).zip(directives) {
            match command {
                0 => {}
                1 if self.masks.contains(host) => {}
                1 => self.masks.push(*host),
                2 => self.masks.retain(|known| known != host),
                _ => return Some((0, vec![2, index])),
            }
        }
        self.mask_list()
    }

    fn mask_list(&self) -> Answer {
        let mut told = vec![0, u8::try_from(self.masks.len()).unwrap()];
        for host in &self.masks {
            told.extend_from_slice(&[0, 0]);
            told.extend_from_slice(&HOSTS[*host].0);
        }
        Some((0, told))
    }

    fn reserve(&mut self, requester: usize, command: u8, list: &[usize]) -> Answer {
        let may = self.reserved.is_empty() || self.reserved.contains(&requester);
        let error = match command {
            0 => 0,
            1 if may || self.reserved == list => {
                self.reserved = list.to_vec();
                0
            }
            2 => {
                self.reserved = list.to_vec();
                0
            }
            1 => 6,
            _ => 2,
        };
        let mut told = vec![u8::try_from(self.reserved.len()).unwrap()];
        told.extend(self.reserved.iter().flat_map(|host| HOSTS[*host].0));
        Some((error, told))
    }

    /// Error code, and status where there is one.
    fn ata(&self, requester: usize, opcode: u8) -> (u8, u8) {
        let is_harmless = matches!(opcode, 0xec | 0xe5);
        let may = self.reserved.is_empty() || self.reserved.contains(&requester);
        match (is_harmless, may) {
            (true, _) => (0, 0x40),
            (false, false) => (6, 0),
            // A range that no LUN has, or an opcode.
            (false, true) => (0, 0x41),
        }
    }
}

/// Does a step on both, and compares what is answered.
fn check(
    bench: &mut Bench,
    model: &mut Model,
    host: usize,
    step: &Step,
) -> Result<(), TestCaseError> {
    let is_masked = !model.masks.is_empty() && !model.masks.contains(&host);
    let (found, wanted) = match step {
        Step::Config(command, one, two) => {
            let length = u16::try_from(two.len()).unwrap().to_be_bytes();
            let rest = [&length[..], two].concat();
            let found = answer(bench.config(host, *command, one, &rest), 32);
            (
                found,
                (!is_masked)
                    .then(|| model.config(*command, one, two))
                    .flatten(),
            )
        }
        Step::Mask(directives) => {
            let mut argument = vec![0, 1, 0, u8::try_from(directives.len()).unwrap()];
            for (command, host) in directives {
                argument.extend_from_slice(&[0, *command]);
                argument.extend_from_slice(&HOSTS[*host].0);
            }
            let found = answer(bench.ask(host, 2, &argument), 26);
            (
                found,
                (!is_masked).then(|| model.mask(directives)).flatten(),
            )
        }
        Step::MaskRead => {
            let found = answer(bench.ask(host, 0xf0, &[0, 0, 0, 9]), 26);
            (found, (!is_masked).then(|| model.mask_list()).flatten())
        }
        Step::Reserve(command, hosts) => {
            let mut argument = vec![*command, u8::try_from(hosts.len()).unwrap()];
            argument.extend(hosts.iter().flat_map(|host| HOSTS[*host].0));
            let found = answer(bench.ask(host, 3, &argument), 25);
            (
                found,
                (!is_masked)
                    .then(|| model.reserve(host, *command, hosts))
                    .flatten(),
            )
        }
        Step::Ata(opcode) => {
            let registers = AtaRegisters::extended(*opcode, false, 0xffff_ffff_fff0, 1);
            let argument = [registers.as_bytes(), &[0; 512]].concat();
            let reply = bench.ask(host, 0, &argument);
            let found = reply.map(|reply| (reply[15], vec![reply.get(27).copied().unwrap_or(0)]));
            let wanted = model.ata(host, *opcode);
            (found, (!is_masked).then(|| (wanted.0, vec![wanted.1])))
        }
        Step::Restart => (None, None),
    };
    prop_assert_eq!(found, wanted, "{} {:?}", host, step);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn rows_33_to_38_and_41_42_47_to_50_54_56_to_61_hosts_meet_what_the_protocol_says(
        steps in prop::collection::vec(any_step(), 1..40),
    ) {
        let mut bench = Bench::new(Level::Raid1, 2);
        let mut model = Model::default();
        for (host, step) in steps {
            if matches!(step, Step::Restart) {
                bench = bench.restart();
            }
            check(&mut bench, &mut model, host, &step)?;
            if model.masks.len() == 1 {
                // Nobody but one host could go on.
                let lun = number(0);
                bench.manager.change_access(lun, &AccessChange::ClearMasks).unwrap();
                bench.attach();
                model.masks.clear();
            }
        }
    }
}

#[test]
fn row_46_of_two_that_race_one_wins() {
    let mut bench = Bench::new(Level::Raid1, 2);
    // Both were admitted before either was decided.
    let mut changes = Vec::new();
    for (host, string) in [(0, b"one"), (1, b"two")] {
        let header = Header::request(PORT_MAC, HOSTS[host], Shelf(1), Slot(0), 1, Tag(5));
        let fixed = [0, 0, 0, 0, 0, 0x13, 0, 3];
        let frame = [header.as_bytes(), &fixed, string].concat();
        bench
            .target
            .receive(PortIndex(0), &frame, frame.len(), &mut changes);
    }
    let decisions: Vec<_> = changes
        .iter()
        .map(|action| match action {
            Action::Change(change) => bench.manager.change(change),
            other => panic!("{other:?}"),
        })
        .collect();
    use crate::target::ChangeDecision as D;
    assert_eq!(decisions, [D::Stored, D::Present]);
}

#[test]
fn rules_move_with_the_disks_and_grow_with_the_lun() {
    let mut bench = Bench::new(Level::Raid1, 2);
    let lun = number(0);
    let add = AccessChange::Masks {
        remove: vec![HOSTS[2]],
        add: vec![HOSTS[0], HOSTS[1], HOSTS[0]],
    };
    let vlan = VlanId::new(77);
    for change in [add, AccessChange::Vlan(vlan), AccessChange::ReadOnly(true)] {
        bench.manager.change_access(lun, &change).unwrap();
    }
    bench.manager.set_config_string(lun, b"text").unwrap();
    let status = |bench: &Bench| bench.manager.luns()[0].access.clone();
    let before = status(&bench);
    assert_eq!(before.masks, HOSTS[..2]);
    assert_eq!((before.vlan, before.is_read_only), (vlan, true));
    let bench = bench.restart();
    assert_eq!(status(&bench), before);
    let view = bench.world.view(0).unwrap();
    assert_eq!((view.access.vlan, view.access.is_read_only), (vlan, true));
    assert_eq!(view.config_string, b"text");
}

#[test]
fn a_label_moves_with_the_disks_and_goes_when_it_is_taken_away() {
    let mut bench = Bench::new(Level::Raid1, 2);
    let lun = number(0);
    let label = |bench: &Bench| bench.manager.luns()[0].label.clone();
    let sixteen = "sechzehn Zeichen";
    bench.manager.set_label(lun, Some(sixteen)).unwrap();
    assert_eq!(label(&bench).as_deref(), Some(sixteen));
    let refused = |bench: &mut Bench, text| bench.manager.set_label(lun, Some(text));
    for wrong in ["", "siebzehn Zeichen!"] {
        assert_eq!(refused(&mut bench, wrong), Err(AdminError::LabelLength));
    }
    assert_eq!(
        refused(&mut bench, "a\u{1b}[2J"),
        Err(AdminError::LabelUnprintable)
    );
    let mut bench = bench.restart();
    assert_eq!(label(&bench).as_deref(), Some(sixteen));
    bench.manager.set_label(lun, None).unwrap();
    let bench = bench.restart();
    assert_eq!(label(&bench), None);
    let mut raw = Bench::new(Level::Raw, 1);
    let lost = raw.manager.set_label(lun, Some("a"));
    assert_eq!(lost, Err(AdminError::NotRecorded(lun)));
    let nobody = raw.manager.set_label(number(9), None);
    assert_eq!(nobody, Err(AdminError::NoSuchLun(number(9))));
}

#[test]
fn rules_that_would_be_lost_or_that_are_wrong_are_refused() {
    let mut bench = Bench::new(Level::Raw, 1);
    let lun = number(0);
    let read_only = AccessChange::ReadOnly(true);
    let refused = bench.manager.change_access(lun, &read_only);
    assert_eq!(refused, Err(AdminError::NotRecorded(lun)));
    let argument = [&[1, 1], &HOSTS[0].0[..]].concat();
    assert_eq!(answer(bench.ask(0, 3, &argument), 25), Some((2, vec![0])));
    let nobody = bench.manager.change_access(number(9), &read_only);
    assert_eq!(nobody, Err(AdminError::NoSuchLun(number(9))));
    let mut bench = Bench::new(Level::Raid1, 2);
    let masks = |add| AccessChange::Masks {
        remove: Vec::new(),
        add,
    };
    let group = masks(vec![MacAddress::BROADCAST]);
    let refused = bench.manager.change_access(lun, &group);
    assert_eq!(refused, Err(AdminError::WrongMask(MacAddress::BROADCAST)));
    let many: Vec<_> = (0..256_u16)
        .map(|last| MacAddress([2, 0, 0, 1, last.to_be_bytes()[0], last.to_be_bytes()[1]]))
        .collect();
    let refused = bench.manager.change_access(lun, &masks(many));
    assert_eq!(refused, Err(AdminError::MaskListFull(lun)));
    assert!(bench.manager.luns()[0].access.masks.is_empty());
}

#[test]
fn row_61_what_a_broken_disk_did_not_take_is_not_answered() {
    let mut bench = Bench::new(Level::Raid0, 2);
    bench.world.image(1).fails_writes = true;
    let argument = [&[1, 1], &HOSTS[0].0[..]].concat();
    assert_eq!(bench.ask(0, 3, &argument), None);
    bench.world.image(1).fails_writes = false;
    let told = [&[1], &HOSTS[0].0[..]].concat();
    assert_eq!(
        answer(bench.ask(0, 3, &argument), 25),
        Some((0, told.clone()))
    );
    assert_eq!(
        answer(bench.ask(0, 3, &argument), 25),
        Some((0, told.clone()))
    );
    let clear = AccessChange::ClearReservations;
    assert_eq!(answer(bench.ask(1, 3, &[1, 0]), 25), Some((6, told)));
    bench.manager.change_access(number(0), &clear).unwrap();
    bench.attach();
    assert_eq!(answer(bench.ask(1, 3, &[0, 0]), 25), Some((0, vec![0])));
}
