//! Conformance rows 47 to 65, 96 and 119: masks, reservations, redirected messages, tags.

use super::super::{Action, Change, ChangeDecision, PortView, Wish};
use super::rig::{CLIENT_MAC, PORT_MAC, Rig, ata, frame, header, lun, outcome, view, write};
use super::statistics::assert_sums_agree;
use crate::access::Access;
use crate::plane::LunView;
use aoe::{MacAddress, MaskDirective, MaskError};
use raid::Level;
use raid::record::{AccessRecord, KeyRecord, KeyedRecord, Station};
use zerocopy::IntoBytes;

const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x77]);

fn with(record: &AccessRecord) -> LunView {
    LunView {
        access: Access::of(record),
        ..view(0, Level::Jbod, 1)
    }
}

fn reserved(stations: &[MacAddress]) -> AccessRecord {
    AccessRecord {
        reserved: stations.iter().map(|mac| Station(mac.0)).collect(),
        ..AccessRecord::default()
    }
}

fn masked(stations: &[MacAddress]) -> AccessRecord {
    AccessRecord {
        masks: stations.iter().map(|mac| Station(mac.0)).collect(),
        ..AccessRecord::default()
    }
}

fn of_vlan(vlan: u16) -> AccessRecord {
    AccessRecord {
        vlan: Some(vlan),
        ..AccessRecord::default()
    }
}

fn tagged(control: u16, frame: &[u8]) -> Vec<u8> {
    [
        &frame[..12],
        &[0x81, 0],
        &control.to_be_bytes(),
        &frame[12..],
    ]
    .concat()
}

fn change(rig: &mut Rig) -> Change {
    match rig.events.pop() {
        Some(Action::Change(change)) => change,
        other => panic!("{other:?}"),
    }
}

fn answer(rig: &mut Rig, change: &Change, decision: ChangeDecision) -> Vec<Vec<u8>> {
    let mut actions = Vec::new();
    rig.target.change_done(change, decision, &mut actions);
    rig.absorb(actions);
    rig.sent.drain(..).map(|(_, frame)| frame).collect()
}

/// One request of every command there is.
fn requests() -> Vec<Vec<u8>> {
    let mut requests: Vec<_> = (0..=255_u8)
        .filter(|command| *command != 0xf1)
        .map(|command| frame(&header(command), &[0; 40]))
        .collect();
    requests.extend(
        [0x20, 0x24, 0x30, 0x34, 0xe5, 0xe7, 0xea, 0xec]
            .map(|opcode| ata(opcode, 0, 0, 1, &[7; 512])),
    );
    requests
}

#[test]
fn row_54_others_than_those_on_the_mask_list_get_silence() {
    let mut rig = Rig::new([with(&masked(&[OTHER]))]);
    let count = requests().len();
    for request in requests() {
        assert!(rig.ask(&request).is_empty(), "{request:02x?}");
    }
    assert_eq!(rig.target.counters().masked, count as u64);
    assert!(rig.events.is_empty() && rig.drives[0].iter().all(|byte| *byte == 0));
    rig.attach(with(&masked(&[OTHER, CLIENT_MAC])));
    for request in requests() {
        assert_eq!(rig.ask(&request).len(), 1, "{request:02x?}");
    }
}

#[test]
fn row_55_only_those_on_the_mask_list_get_advertisements() {
    let mut rig = Rig::new([with(&masked(&[OTHER, CLIENT_MAC]))]);
    let mut actions = Vec::new();
    rig.target.advertise(lun(0), &mut actions);
    rig.absorb(actions);
    let told: Vec<_> = rig
        .sent
        .iter()
        .map(|(_, frame)| frame[..12].to_vec())
        .collect();
    let to = |mac: MacAddress| [mac.0, PORT_MAC.0].concat();
    assert_eq!(told, [to(OTHER), to(CLIENT_MAC)]);
    for (_, frame) in &rig.sent {
        assert_eq!(frame[14..24], [0x18, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    }
}

#[test]
fn rows_47_to_53_mask_lists_on_the_wire() {
    let mut rig = Rig::new([with(&AccessRecord::default())]);
    for command in [2, 0xf0] {
        let ask = |argument: &[u8]| frame(&header(command), argument);
        let reply = rig.ask_one(&ask(&[0xff, 0, 9, 255]));
        assert_eq!(
            (reply[14], &reply[24..28], reply.len()),
            (0x18, &[0, 0, 0, 0][..], 60)
        );
        for wrong in [&[0, 9, 0, 0][..], &[0, 1, 0, 5, 0, 1, 2, 0, 0, 0, 0, 1]] {
            let reply = rig.ask_one(&ask(wrong));
            assert_eq!((reply[14], reply[15], reply[23]), (0x1c, 2, 0x21));
            assert!(rig.events.is_empty(), "nothing is changed");
        }
        let edit = [
            0, 1, 0, 2, 0, 1, 2, 0, 0, 0, 0, 9, 0, 7, 2, 0, 0, 0, 0, 0x77,
        ];
        assert!(rig.ask(&ask(&edit)).is_empty(), "not before it is durable");
        let asked = change(&mut rig);
        let directives: Box<[MaskDirective]> = [(1, CLIENT_MAC), (7, OTHER)]
            .map(|(command, mac)| MaskDirective {
                reserved: 0,
                command,
                mac,
            })
            .into();
        assert_eq!(asked.wish, Wish::Masks(directives));
        let error = MaskError::BadDirective;
        let [reply] = &answer(
            &mut rig,
            &asked,
            ChangeDecision::BadDirective { error, index: 1 },
        )[..] else {
            panic!("one answer")
        };
        assert_eq!(
            (reply[14], reply[19], &reply[24..28]),
            (0x18, command, &[0, 1, 2, 1][..])
        );
        assert!(reply[28..].iter().all(|byte| *byte == 0));
        rig.attach(with(&masked(&[CLIENT_MAC, OTHER])));
        rig.events.clear();
        let [reply] = &answer(&mut rig, &asked, ChangeDecision::Stored)[..] else {
            panic!("one answer")
        };
        assert_eq!(reply[24..28], [0, 1, 0, 2]);
        assert_eq!(
            reply[28..44],
            [0, 0, 2, 0, 0, 0, 0, 9, 0, 0, 2, 0, 0, 0, 0, 0x77]
        );
        assert!(answer(&mut rig, &asked, ChangeDecision::Silence).is_empty());
        rig.attach(with(&AccessRecord::default()));
        rig.events.clear();
    }
}

#[test]
fn rows_56_57_62_reservations_on_the_wire() {
    let mut rig = Rig::new([with(&AccessRecord::default())]);
    let ask = |argument: &[u8]| frame(&header(3), argument);
    let reply = rig.ask_one(&ask(&[0, 255]));
    assert_eq!(
        (reply[14], &reply[24..26], reply.len()),
        (0x18, &[0, 0][..], 60)
    );
    for wrong in [&[9, 0][..], &[1, 6, 1, 2, 3, 4, 5, 6], &[2, 255]] {
        let reply = rig.ask_one(&ask(wrong));
        assert_eq!((reply[14], reply[15]), (0x1c, 2));
        assert!(rig.events.is_empty());
    }
    for (code, is_forced) in [(1, false), (2, true)] {
        let list = [CLIENT_MAC, OTHER];
        rig.ask(&ask(&[&[code, 2], list.as_bytes()].concat()));
        let asked = change(&mut rig);
        let macs: Box<[MacAddress]> = list.into();
        assert_eq!(asked.wish, Wish::Reserve { is_forced, macs });
        rig.attach(with(&reserved(&[OTHER])));
        rig.events.clear();
        for (decision, flags, error) in [
            (ChangeDecision::Stored, 0x18, 0),
            (ChangeDecision::Reserved, 0x1c, 6),
        ] {
            let [reply] = &answer(&mut rig, &asked, decision)[..] else {
                panic!("one answer")
            };
            assert_eq!(
                (reply[14], reply[15], &reply[24..26]),
                (flags, error, &[code, 1][..])
            );
            assert_eq!(reply[26..32], OTHER.0);
        }
        rig.attach(with(&AccessRecord::default()));
        rig.events.clear();
    }
}

#[test]
fn row_60_what_a_reservation_refuses() {
    let mut rig = Rig::new([with(&reserved(&[OTHER]))]);
    for opcode in [0x20, 0x24, 0x30, 0x34, 0xe7, 0xea, 0x99] {
        let reply = rig.ask_one(&ata(opcode, 0, 0, 1, &[7; 512]));
        assert_eq!(
            (reply[14], reply[15], reply.len()),
            (0x1c, 6, 60),
            "{opcode:#x}"
        );
    }
    assert_eq!(rig.target.counters().reserved, 7);
    assert_sums_agree(&mut rig, 1);
    for opcode in [0xec, 0xe5] {
        assert_eq!(outcome(&rig.ask_one(&ata(opcode, 0, 0, 1, &[]))).0, 0x40);
    }
    for command in [1, 2, 3, 4, 0xf0] {
        let reply = rig.ask_one(&frame(&header(command), &[0; 40]));
        assert_eq!((reply[14], reply[15]), (0x18, 0), "command {command}");
    }
    assert!(rig.drives[0].iter().all(|byte| *byte == 0));
    // Everybody may read under a key that says so.
    let keyed = KeyedRecord {
        kind: 1,
        owner: Some(5),
        generation: 3,
        keys: vec![KeyRecord {
            key: 5,
            stations: vec![Station(OTHER.0)],
        }],
    };
    rig.attach(with(&AccessRecord {
        keyed,
        ..AccessRecord::default()
    }));
    assert_eq!(rig.read(0, 1).len(), 548);
    assert_eq!(rig.write(0, &[7; 512])[15], 6);
    let status = rig.ask_one(&frame(&header(4), &[0]));
    let told = [
        0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 5,
    ];
    assert_eq!((status[14], &status[24..52]), (0x18, &told[..]));
}

#[test]
fn row_64_commands_with_keys_are_answered_as_they_were_decided() {
    let mut rig = Rig::new([with(&AccessRecord::default())]);
    let key = [0, 0, 0, 0, 0, 0, 0, 5];
    let of = |fixed: [u8; 4], rest: &[u8]| [&fixed[..], &key, rest].concat();
    for request in [
        of([1, 1, 0, 0], &OTHER.0),
        of([2, 3, 0, 0], &[]),
        of([3, 0, 1, 0], &key),
        of([3, 0, 0, 0], &key),
        vec![4],
    ] {
        assert!(rig.ask(&frame(&header(4), &request)).is_empty());
        let asked = change(&mut rig);
        for (decision, flags, error) in [
            (ChangeDecision::Stored, 0x18, 0),
            (ChangeDecision::Reserved, 0x1c, 6),
            (ChangeDecision::BadArgument, 0x1c, 2),
        ] {
            let [reply] = &answer(&mut rig, &asked, decision)[..] else {
                panic!("one answer")
            };
            assert_eq!(
                (reply[14], reply[15], reply[24]),
                (flags, error, request[0])
            );
        }
    }
    for wrong in [&[9][..], &[2, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5], &[1, 200]] {
        let reply = rig.ask_one(&frame(&header(4), wrong));
        assert_eq!((reply[14], reply[15]), (0x1c, 2));
    }
}

#[test]
fn what_was_sent_before_a_reservation_and_not_begun_is_refused() {
    let mut rig = Rig::new([with(&AccessRecord::default())]);
    rig.deliver(0, &write(0, &[1; 512]));
    rig.deliver(0, &write(0, &[2; 512]));
    rig.deliver(0, &ata(0x24, 0x40, 0, 1, &[]));
    rig.deliver(0, &frame(&header(3), &[&[1, 1], &OTHER.0[..]].concat()));
    let asked = change(&mut rig);
    rig.attach(with(&reserved(&[OTHER])));
    rig.events.clear();
    assert!(
        answer(&mut rig, &asked, ChangeDecision::Stored).is_empty(),
        "the first write is under way"
    );
    assert_eq!(rig.target.counters().reserve_waits, 1);
    rig.drain();
    let replies: Vec<_> = rig
        .sent
        .drain(..)
        .map(|(_, frame)| (frame[14], frame[15]))
        .collect();
    assert_eq!(
        replies.iter().filter(|reply| **reply == (0x1c, 6)).count(),
        2,
        "{replies:?}"
    );
    assert_eq!(replies.len(), 3);
    assert_eq!(rig.drives[0][256 * 512], 1, "what was begun is done");
    assert_eq!(rig.target.commands_in_flight(), 0);
    // Asked again: nothing is under way any more.
    assert_eq!(answer(&mut rig, &asked, ChangeDecision::Stored).len(), 1);
}

#[test]
fn row_54_what_waits_of_one_who_is_not_admitted_any_more_is_dropped() {
    let mut rig = Rig::new([with(&AccessRecord::default())]);
    rig.deliver(0, &write(0, &[1; 512]));
    rig.deliver(0, &write(0, &[2; 512]));
    rig.attach(with(&masked(&[OTHER])));
    rig.drain();
    assert_eq!((rig.sent.len(), rig.drives[0][256 * 512]), (1, 1));
    assert_eq!(rig.target.commands_in_flight(), 0);
}

#[test]
fn row_65_a_redirected_message_is_answered_to_whom_it_came_from_under_its_own_address() {
    let mut rig = Rig::new([with(&AccessRecord::default())]);
    rig.write(3, &[9; 512]);
    let redirect = |inner: &[u8]| frame(&header(0xf1), inner);
    let mut inner = ata(0x24, 0x40, 3, 1, &[]);
    inner[6..12].copy_from_slice(&OTHER.0);
    inner[16..24].copy_from_slice(&[0, 7, 8, 0, 1, 2, 3, 4]);
    let reply = rig.ask_one(&redirect(&inner));
    assert_eq!(
        (&reply[..6], &reply[6..12]),
        (&OTHER.0[..], &PORT_MAC.0[..])
    );
    assert_eq!(reply[14..24], [0x18, 0, 0, 7, 8, 0, 1, 2, 3, 4]);
    assert_eq!(
        (outcome(&reply), reply.len(), reply[36]),
        ((0x40, 0), 548, 9)
    );
    // A wildcard is the LUN's own address.
    inner[16..19].fill(0xff);
    assert_eq!(rig.ask_one(&redirect(&inner))[16..19], [0, 1, 0]);
    let mut inner = write(4, &[5; 1024]);
    inner[16..19].copy_from_slice(&[0, 7, 8]);
    let reply = rig.ask_one(&redirect(&inner));
    assert_eq!(
        (&reply[16..19], outcome(&reply)),
        (&[0, 7, 8][..], (0x40, 0))
    );
    assert!(rig.read(4, 2)[36..].iter().all(|byte| *byte == 5));
    let cut = &redirect(&write(6, &[5; 1024]))[..36 + 24 + 1023];
    assert_eq!(outcome(&rig.ask_one(cut)), (0x41, 0x04));
    // The reservation looks at who asked first, the mask list at who sent it on.
    rig.attach(with(&reserved(&[CLIENT_MAC])));
    assert_eq!(
        rig.ask_one(&redirect(&ata(0x24, 0x40, 3, 1, &[]))).len(),
        548
    );
    let mut other = ata(0x24, 0x40, 3, 1, &[]);
    other[6..12].copy_from_slice(&OTHER.0);
    assert_eq!(rig.ask_one(&redirect(&other))[15], 6);
    rig.attach(with(&masked(&[OTHER])));
    assert!(rig.ask(&redirect(&other)).is_empty());
    // No message is redirected twice.
    rig.attach(with(&AccessRecord::default()));
    let twice = redirect(&redirect(&ata(0xec, 0, 0, 1, &[])));
    assert_eq!(rig.ask_one(&twice)[14..16], [0x1c, 1]);
    // One frame must not hit every LUN (row 16).
    let mut outer = header(0xf1);
    outer.slot = 0xff;
    assert!(rig.ask(&frame(&outer, &write(4, &[6; 1024]))).is_empty());
}

#[test]
fn row_96_a_read_only_lun_aborts_writes_and_serves_reads() {
    let mut rig = Rig::new([view(0, Level::Jbod, 1)]);
    rig.write(0, &[3; 512]);
    let record = AccessRecord {
        read_only: true,
        ..AccessRecord::default()
    };
    rig.attach(with(&record));
    let reply = rig.write(0, &[4; 512]);
    assert_eq!(
        (reply[14], outcome(&reply), reply.len()),
        (0x18, (0x41, 0x04), 60)
    );
    assert_eq!(rig.read(0, 1)[36], 3);
    assert_eq!(outcome(&rig.ask_one(&ata(0xea, 0, 0, 0, &[]))), (0x40, 0));
}

#[test]
fn row_119_a_lun_of_a_vlan_answers_with_its_tag_and_nobody_else() {
    let mut rig = Rig::new([with(&of_vlan(0x123))]);
    for request in [
        frame(&header(1), &[0; 8]),
        tagged(0x124, &frame(&header(1), &[0; 8])),
        tagged(0, &frame(&header(1), &[0; 8])),
    ] {
        assert!(rig.ask(&request).is_empty());
    }
    assert_eq!(rig.target.counters().wrong_vlan, 3);
    assert_sums_agree(&mut rig, 1);
    let data: Vec<u8> = (0..16 * 512_u32).map(|i| i.to_le_bytes()[0]).collect();
    let reply = rig.ask_one(&tagged(0xe123, &write(8, &data)));
    assert_eq!(
        (reply[12..18].to_vec(), reply.len()),
        (vec![0x81, 0, 1, 0x23, 0x88, 0xa2], 64)
    );
    assert_eq!((reply[27 + 4], reply[25 + 4]), (0x40, 0));
    let reply = rig.ask_one(&tagged(0x123, &ata(0x24, 0x40, 8, 16, &[])));
    assert_eq!(reply[12..18], [0x81, 0, 1, 0x23, 0x88, 0xa2]);
    assert!(reply[40..] == data);
    let reply = rig.ask_one(&tagged(0x123, &ata(0xec, 0, 0, 1, &[])));
    assert_eq!((reply.len(), reply[40]), (552, 0x5a));
    for command in [1, 2, 3, 4, 9] {
        let reply = rig.ask_one(&tagged(0x123, &frame(&header(command), &[0; 8])));
        assert_eq!((&reply[12..16], reply.len()), (&[0x81, 0, 1, 0x23][..], 64));
    }
    let short_write = tagged(0x123, &write(8, &data[..512]));
    let cut = &short_write[..short_write.len() - 1];
    assert_eq!(rig.ask_one(cut)[31], 0x41);
    let mut actions = Vec::new();
    rig.target.advertise(lun(0), &mut actions);
    rig.absorb(actions);
    let (_, frame) = rig.sent.pop().unwrap();
    assert_eq!(
        frame[..18],
        [&[0xff; 6][..], &PORT_MAC.0, &[0x81, 0, 1, 0x23, 0x88, 0xa2]].concat()
    );
    assert_eq!(frame.len(), 64);
}

#[test]
fn row_119_a_short_config_string_is_whole_in_a_tagged_frame() {
    for length in 0..40 {
        let string = vec![b's'; length];
        let mut rig = Rig::new([LunView {
            config_string: string.clone(),
            ..with(&of_vlan(5))
        }]);
        let reply = rig.ask_one(&tagged(5, &frame(&header(1), &[0; 8])));
        assert_eq!(reply.len(), (36 + length).max(64));
        assert_eq!(reply[36..36 + length], string);
        assert!(reply[36 + length..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn row_119_a_priority_is_no_vlan() {
    let mut rig = Rig::new([with(&AccessRecord::default())]);
    let reply = rig.ask_one(&tagged(0xe000, &frame(&header(1), &[0; 8])));
    assert_eq!(
        (reply[12..14].to_vec(), reply.len()),
        (vec![0x88, 0xa2], 60)
    );
    assert!(
        rig.ask(&tagged(0xe001, &frame(&header(1), &[0; 8])))
            .is_empty()
    );
}

#[test]
fn lists_that_do_not_fit_a_frame_are_told_as_far_as_they_do() {
    let port = PortView::single(PORT_MAC, 1500);
    let stations: Vec<_> = (0..255)
        .map(|last| MacAddress([4, 0, 0, 0, 0, last]))
        .collect();
    let key = |key| KeyRecord {
        key,
        stations: vec![Station([2; 6])],
    };
    let lists = AccessRecord {
        masks: masked(&[&[CLIENT_MAC], &stations[1..]].concat()).masks,
        reserved: reserved(&stations).reserved,
        ..AccessRecord::default()
    };
    let keys = AccessRecord {
        keyed: KeyedRecord {
            keys: (1..=255).map(key).collect(),
            ..KeyedRecord::default()
        },
        ..AccessRecord::default()
    };
    for (record, command, at, told, length) in [
        (&lists, 2, 27, 185, 28 + 8 * 185),
        (&lists, 3, 25, 248, 26 + 6 * 248),
        (&keys, 4, 27, 183, 44 + 8 * 183),
    ] {
        let mut rig = Rig::with_ports(&[port], [with(record)]);
        let reply = rig.ask_one(&frame(&header(command), &[0; 8]));
        assert_eq!((reply[14], reply[at], reply.len()), (0x18, told, length));
    }
}
