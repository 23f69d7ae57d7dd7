//! Conformance rows 21 to 46 and 113.

use super::super::{Action, Change, ChangeDecision, Wish};
use super::rig::{PORT_MAC, Rig, frame, header, lun, view};
use crate::plane::LunView;
use aoe::{ConfigCommand, MacAddress, Shelf};
use raid::Level;

fn config(ccmd: u8, string: &[u8]) -> Vec<u8> {
    let mut argument = vec![0, 0, 0, 0, 0, ccmd];
    argument.extend_from_slice(&u16::try_from(string.len()).unwrap().to_be_bytes());
    argument.extend_from_slice(string);
    frame(&header(1), &argument)
}

fn with_string(string: &[u8]) -> Rig {
    Rig::new([LunView {
        config_string: string.to_vec(),
        ..view(0, Level::Jbod, 1)
    }])
}

fn change(rig: &mut Rig) -> Change {
    match rig.events.pop() {
        Some(Action::Change(change)) => change,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_21_22_25_to_29_31_a_read_is_always_answered_with_the_stored_string() {
    let mut rig = with_string(b"a\0b");
    let junk = vec![0xed; 1024];
    for request in [
        frame(&header(1), &[]),
        config(0, b""),
        config(0x10, b""),
        config(0, &junk),
        {
            let mut r = config(0, b"");
            r.resize(60, 0);
            r
        },
        {
            let mut r = config(0, b"");
            r.resize(1500, 0);
            r
        },
    ] {
        let reply = rig.ask_one(&request);
        assert_eq!(reply.len(), 60);
        assert_eq!(reply[24..32], [0, 64, 0, 1, 16, 0x10, 0, 3]);
        assert_eq!(&reply[32..35], b"a\0b");
    }
}

#[test]
fn rows_33_and_34_tests_match_or_are_silent() {
    let mut rig = with_string(b"rack 7");
    for (ccmd, string, answered) in [
        (1, &b"rack 7"[..], true),
        (1, b"rack", false),
        (1, b"rack 7\0", false),
        (1, b"", false),
        (2, b"rack", true),
        (2, b"rack 7", true),
        (2, b"", true),
        (2, b"rick", false),
        (2, b"rack 77", false),
    ] {
        let replies = rig.ask(&config(ccmd, string));
        assert_eq!(!replies.is_empty(), answered, "{ccmd} {string:?}");
        for reply in replies {
            assert_eq!(reply[29], 0x10 | ccmd);
            assert_eq!(&reply[32..38], b"rack 7");
        }
    }
}

#[test]
fn rows_35_to_38_45_changes_are_decided_elsewhere_and_answered_with_the_present_string() {
    let mut rig = with_string(b"");
    let long = vec![b'x'; 1024];
    for (ccmd, command) in [
        (3, ConfigCommand::SetIfEmpty),
        (4, ConfigCommand::ForceSet),
        (5, ConfigCommand::TestAndReplace),
    ] {
        let mut request = config(ccmd, &long);
        let replacement: &[u8] = if ccmd == 5 { b"new" } else { b"" };
        if ccmd == 5 {
            request.extend_from_slice(&[0, 3]);
            request.extend_from_slice(replacement);
        }
        assert!(rig.ask(&request).is_empty(), "not before it is durable");
        let asked = change(&mut rig);
        let wish = Wish::Config {
            command,
            string: long.as_slice().into(),
            replacement: replacement.into(),
        };
        assert_eq!((asked.lun, &asked.wish), (lun(0), &wish));
        let mut actions = Vec::new();
        rig.attach(LunView {
            config_string: long.clone(),
            ..view(0, Level::Jbod, 1)
        });
        rig.events.clear();
        rig.target
            .change_done(&asked, ChangeDecision::Stored, &mut actions);
        rig.absorb(actions);
        let (_, reply) = rig.sent.pop().unwrap();
        assert_eq!(
            (reply[14], reply[15], reply[29], reply.len()),
            (0x18, 0, 0x10 | ccmd, 1056)
        );
        let mut actions = Vec::new();
        rig.target
            .change_done(&asked, ChangeDecision::Present, &mut actions);
        rig.absorb(actions);
        let (_, reply) = rig.sent.pop().unwrap();
        assert_eq!((reply[14], reply[15], reply.len()), (0x1c, 4, 1056));
        let mut actions = Vec::new();
        rig.target
            .change_done(&asked, ChangeDecision::Silence, &mut actions);
        assert!(actions.is_empty());
    }
}

#[test]
fn rows_42_to_44_unknown_commands_and_impossible_lengths_change_nothing() {
    let mut rig = with_string(b"kept");
    for ccmd in 6..=15 {
        let reply = rig.ask_one(&config(ccmd, b"new"));
        assert_eq!(
            (reply[14], reply[15], &reply[32..36]),
            (0x1c, 2, &b"kept"[..])
        );
    }
    for ccmd in [3, 4, 5] {
        let reply = rig.ask_one(&config(ccmd, &[b'x'; 1025]));
        assert_eq!((reply[14], reply[15]), (0x1c, 2));
        let mut cut = config(ccmd, &[b'x'; 100]);
        cut.truncate(60);
        assert_eq!(rig.ask_one(&cut)[15], 2);
    }
    for ccmd in [1, 2] {
        assert!(rig.ask(&config(ccmd, &[b'x'; 1025])).is_empty());
    }
    assert!(rig.events.is_empty());
}

#[test]
fn row_113_the_advertisement() {
    let mut rig = with_string(b"s");
    let mut actions = Vec::new();
    rig.target.advertise(lun(0), &mut actions);
    rig.target.advertise(lun(9), &mut actions);
    rig.absorb(actions);
    let (_, frame) = rig.sent.pop().unwrap();
    assert!(rig.sent.is_empty());
    assert_eq!(
        (&frame[..6], &frame[6..12]),
        (&[0xff; 6][..], &PORT_MAC.0[..])
    );
    assert_eq!(frame[14..24], [0x18, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    assert_eq!(frame[24..33], [0, 64, 0, 1, 16, 0x10, 0, 1, b's']);
}

#[test]
fn row_117_another_station_that_answers_for_a_lun_is_told_once_after_each_probe() {
    let mut rig = Rig::new([view(0, Level::Jbod, 1)]);
    let answer = |slot: u8, source: MacAddress| {
        let mut answer = header(1);
        answer.version_flags = 0x18;
        (answer.destination, answer.source, answer.slot) = (MacAddress::BROADCAST, source, slot);
        frame(&answer, &[0; 8])
    };
    let other = MacAddress([2, 0, 0, 0, 0, 0x77]);
    let impostors = |rig: &Rig| {
        let told = |event: &Action| matches!(event, Action::Impostor { mac, .. } if *mac == other);
        rig.events.iter().filter(|event| told(event)).count()
    };
    // Our own advertisement, heard on another port, and a LUN of another shelf's.
    for (slot, source) in [(0, PORT_MAC), (9, other)] {
        assert!(rig.ask(&answer(slot, source)).is_empty());
    }
    assert_eq!(impostors(&rig), 0);
    for _ in 0..3 {
        assert!(
            rig.ask(&answer(0, other)).is_empty(),
            "a response is not answered"
        );
    }
    assert_eq!(impostors(&rig), 1);
    // A LUN that is not served yet counts when it was asked for.
    let mut actions = Vec::new();
    for number in [0, 9] {
        rig.target.probe(Shelf(1), lun(number), &mut actions);
    }
    rig.absorb(actions);
    let probe = &rig.sent[rig.sent.len() - 2].1;
    assert_eq!(&probe[..6], MacAddress::BROADCAST.0);
    assert_eq!(probe[14..20], [0x10, 0, 0, 1, 0, 1]);
    for slot in [0, 9] {
        rig.ask(&answer(slot, other));
    }
    assert_eq!(impostors(&rig), 3);
}

#[test]
fn row_32_any_bytes_from_none_to_1024_are_told() {
    for string in [vec![], vec![0], b"a\0b\0".to_vec(), vec![0xff; 1024]] {
        let mut rig = with_string(&string);
        let reply = rig.ask_one(&config(0, b""));
        let length = u16::from_be_bytes([reply[30], reply[31]]);
        assert_eq!(usize::from(length), string.len());
        assert_eq!(reply[32..32 + string.len()], string);
    }
}
