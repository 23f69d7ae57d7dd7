//! Conformance rows 10 to 19 and 68 to 106.

use super::super::{Action, PortIndex, PortView};
use super::rig::{CLIENT_MAC, PORT_MAC, Rig, ata, frame, header, outcome, view, write};
use aoe::{MacAddress, Shelf, Slot};
use raid::Level;
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U16;

fn pattern(seed: u8, sectors: usize) -> Vec<u8> {
    (0..sectors * 512)
        .map(|i| {
            seed.wrapping_add((i / 512).to_le_bytes()[0])
                .wrapping_mul(31)
        })
        .collect()
}

#[test]
fn rows_68_to_71_identify_is_the_same_whatever_comes_with_it() {
    let mut rig = Rig::new([view(0, Level::Jbod, 1)]);
    let plain = rig.ask_one(&ata(0xec, 0, 0, 1, &[]));
    assert_eq!(plain.len(), 548);
    assert_eq!(outcome(&plain), (0x40, 0));
    assert!(plain[36..].iter().all(|byte| *byte == 0x5a));
    for (flags, lba3, count, trailing) in [
        (0x40, 0xa0, 1, 512),
        (0, 0xe0, 1, 1024),
        (0, 0, 0, 8192),
        (0, 0xa0, 255, 8704),
    ] {
        let request = ata(0xec, flags, lba3 << 24, count, &vec![0xed; trailing]);
        let reply = rig.ask_one(&request);
        assert_eq!(reply[36..], plain[36..]);
        assert_eq!((reply.len(), outcome(&reply)), (548, (0x40, 0)));
    }
}

#[test]
fn rows_81_82_90_what_is_written_is_read_on_every_level() {
    for (level, members) in [
        (Level::Jbod, 1),
        (Level::Raid0, 3),
        (Level::Raid1, 3),
        (Level::Raid10, 4),
        (Level::Raw, 1),
    ] {
        let mut rig = Rig::new([view(0, level, members)]);
        let sectors = view(0, level, members).capacity_sectors;
        for (lba, count) in [
            (0, 1),
            (0, 16),
            (24, 16),
            (30, 4),
            (sectors - 16, 16),
            (sectors - 1, 1),
            (100, 17),
        ] {
            let data = pattern(u8::try_from(count).unwrap(), count);
            let reply = rig.write(lba, &data);
            assert_eq!(
                (reply.len(), outcome(&reply)),
                (60, (0x40, 0)),
                "{level} {lba}+{count}"
            );
            let reply = rig.read(lba, u8::try_from(count).unwrap());
            assert_eq!(reply.len(), (36 + 512 * count).max(60));
            assert!(reply[36..] == data, "{level} {lba}+{count}");
            let reply = rig.ask_one(&ata(
                0x20,
                0,
                lba | 0xe000_0000,
                u8::try_from(count).unwrap(),
                &[],
            ));
            assert!(reply[36..] == data, "28-bit {level} {lba}+{count}");
        }
    }
}

#[test]
fn mirrors_hold_the_same_bytes() {
    for (level, members, copies) in [
        (Level::Raid1, 3, vec![(0, 1), (0, 2)]),
        (Level::Raid10, 4, vec![(0, 2), (1, 3)]),
    ] {
        let mut rig = Rig::new([view(0, level, members)]);
        for lba in (0..512).step_by(8) {
            rig.write(lba, &pattern(lba.to_le_bytes()[0], 8));
        }
        for (one, other) in copies {
            assert!(
                rig.drives[one] == rig.drives[other],
                "{level} {one} {other}"
            );
        }
    }
}

#[test]
fn rows_83_91_93_the_opcode_alone_gives_the_direction() {
    let mut rig = Rig::new([view(0, Level::Jbod, 1)]);
    let data = pattern(7, 2);
    let mut longer = data.clone();
    longer.extend_from_slice(&[0xff; 100]);
    assert_eq!(
        outcome(&rig.ask_one(&ata(0x34, 0x40, 4, 2, &longer))),
        (0x40, 0)
    );
    let reply = rig.ask_one(&ata(0x24, 0x41, 4, 2, &[0; 1024]));
    assert!(reply[36..] == data);
    assert!(rig.read(6, 1)[36..].iter().all(|byte| *byte == 0));
}

#[test]
fn rows_84_85_86_sector_counts() {
    let port = PortView::single(PORT_MAC, 1500);
    let mut rig = Rig::with_ports(&[port], [view(0, Level::Jbod, 1)]);
    assert_eq!(outcome(&rig.read(0, 2)), (0x40, 0));
    for count in [0, 3, 16, 255] {
        let reply = rig.read(0, count);
        assert_eq!(
            (reply.len(), outcome(&reply)),
            (60, (0x41, 0x04)),
            "{count}"
        );
        assert_eq!(
            outcome(&rig.ask_one(&ata(0x34, 0x41, 0, count, &[]))),
            (0x41, 0x04)
        );
    }
    let mut jumbo = Rig::new([view(0, Level::Jbod, 1)]);
    assert_eq!(jumbo.read(0, 17).len(), 36 + 17 * 512);
    assert_eq!(outcome(&jumbo.read(0, 18)), (0x41, 0x04));
}

#[test]
fn rows_87_88_ranges_beyond_the_end() {
    let mut rig = Rig::new([view(0, Level::Jbod, 1)]);
    for (lba, count) in [(1024, 1), (1023, 2), (1009, 16), (0xffff_ffff_ffff, 16)] {
        let reply = rig.read(lba, count);
        assert_eq!(
            (reply.len(), outcome(&reply)),
            (60, (0x41, 0x10)),
            "{lba}+{count}"
        );
        let request = write(lba, &pattern(1, usize::from(count)));
        assert_eq!(outcome(&rig.ask_one(&request)), (0x41, 0x10));
    }
    assert!(rig.drives[0].iter().all(|byte| *byte == 0));
}

#[test]
fn row_92_a_short_payload_writes_nothing() {
    let mut rig = Rig::new([view(0, Level::Jbod, 1)]);
    let mut request = write(0, &pattern(1, 4));
    request.truncate(36 + 3 * 512 + 511);
    assert_eq!(outcome(&rig.ask_one(&request)), (0x41, 0x04));
    assert!(rig.drives[0].iter().all(|byte| *byte == 0));
}

#[test]
fn rows_97_98_99_flush_power_mode_and_unknown_opcodes() {
    let mut rig = Rig::new([view(0, Level::Raid1, 2)]);
    for opcode in [0xe7, 0xea] {
        rig.deliver(0, &ata(opcode, 0, 0, 0, &[]));
        assert_eq!(rig.pending.len(), 2, "each member is flushed");
        rig.drain();
        let (_, reply) = rig.sent.pop().unwrap();
        assert_eq!((reply.len(), outcome(&reply)), (60, (0x40, 0)));
    }
    let reply = rig.ask_one(&ata(0xe5, 0, 0, 0, &[]));
    assert_eq!((reply[26], outcome(&reply)), (0xff, (0x40, 0)));
    for opcode in [0x99, 0x25, 0xc8, 0xb0, 0x06, 0x00, 0xef] {
        // SMART comes without its signature here, and DATA SET MANAGEMENT without the bit of TRIM.
        let reply = rig.ask_one(&ata(opcode, 0, 0, 1, &[]));
        let length = if opcode == 0xb0 { 548 } else { 60 };
        assert_eq!(
            (reply[14], reply.len(), outcome(&reply)),
            (0x18, length, (0x41, 0x04))
        );
    }
}

#[test]
fn row_102_smart_tells_whether_a_lun_is_well() {
    let asked = |feature: u8, log: u8| {
        let mut request = ata(0xb0, 0, 0x00c2_4f00 | u64::from(log), 1, &[0; 512]);
        request[25] = feature;
        request
    };
    let mut rig = Rig::new([view(0, Level::Raid1, 2)]);
    for (feature, log) in [
        (0xd0, 0),
        (0xd1, 0),
        (0xd5, 0),
        (0xd5, 1),
        (0xd8, 0),
        (0xda, 0),
    ] {
        let reply = rig.ask_one(&asked(feature, log));
        assert_eq!(
            (outcome(&reply), reply.len()),
            ((0x40, 0), 548),
            "{feature:#x}"
        );
        assert_eq!(reply[29..31], [0x4f, 0xc2]);
    }
    assert_eq!(rig.ask_one(&asked(0xd0, 0))[36], 0x10);
    for (feature, log) in [(0xd2, 0), (0xd4, 0), (0xd5, 9), (0xd6, 0), (0xd9, 0)] {
        // aoeping says that it was aborted only if there is a page (row 127).
        let reply = rig.ask_one(&asked(feature, log));
        assert_eq!((outcome(&reply), reply.len()), ((0x41, 0x04), 548));
        assert!(reply[36..].iter().all(|byte| *byte == 0));
    }
    let mut degraded = view(0, Level::Raid1, 2);
    degraded.parts[0].members[1] = None;
    rig.attach(degraded);
    assert_eq!(rig.ask_one(&asked(0xda, 0))[29..31], [0xf4, 0x2c]);
    assert_eq!(rig.ask_one(&asked(0xd0, 0))[29..31], [0x4f, 0xc2]);
}

#[test]
fn rows_63_65_67_other_commands_are_refused_by_code_1() {
    let mut rig = Rig::new([view(0, Level::Jbod, 1)]);
    for command in (5..=0xef).chain(0xf2..=0xff) {
        let reply = rig.ask_one(&frame(&header(command), &[0; 40]));
        assert_eq!((reply[14], reply[15], reply.len()), (0x1c, 1, 60));
        assert_eq!(reply[16..24], frame(&header(command), &[])[16..24]);
        assert!(reply[24..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn rows_8_and_10_to_17_addressing() {
    let ports = [
        PortView::single(PORT_MAC, 9000),
        PortView::single(MacAddress([2; 6]), 1500),
    ];
    let mut rig = Rig::with_ports(&ports, [view(0, Level::Jbod, 1), view(7, Level::Jbod, 1)]);
    let asked = |shelf, slot, destination| {
        let mut request = header(1);
        (request.shelf, request.slot, request.destination) = (U16::new(shelf), slot, destination);
        frame(&request, &[0; 8])
    };
    for (shelf, slot, replies) in [
        (1, 0, 1),
        (0xffff, 0, 1),
        (1, 0xff, 2),
        (0xffff, 0xff, 2),
        (2, 0, 0),
        (1, 3, 0),
        (2, 0xff, 0),
        (0xffff, 3, 0),
    ] {
        for destination in [PORT_MAC, MacAddress::BROADCAST] {
            let sent = rig.ask(&asked(shelf, slot, destination));
            assert_eq!(sent.len(), replies, "{shelf}.{slot}");
            for reply in sent {
                assert_eq!(reply[16..18], [0, 1]);
                assert!(reply[18] == 0 || reply[18] == 7);
                assert_eq!(
                    (&reply[..6], &reply[6..12]),
                    (&CLIENT_MAC.0[..], &PORT_MAC.0[..])
                );
            }
        }
    }
    assert!(
        rig.ask(&asked(1, 0, MacAddress([4; 6]))).is_empty(),
        "another station's frame"
    );
    rig.deliver(1, &asked(1, 0, MacAddress([2; 6])));
    let (port, reply) = rig.sent.pop().unwrap();
    assert_eq!(
        (port, &reply[6..12], reply[28]),
        (PortIndex(1), &[2; 6][..], 2)
    );
}

#[test]
fn rows_16_and_17_wildcards_identify_but_never_write() {
    let mut rig = Rig::new([view(0, Level::Jbod, 1), view(1, Level::Jbod, 1)]);
    let wildcard = |mut request: Vec<u8>| {
        request[..6].fill(0xff);
        request[16..19].fill(0xff);
        request
    };
    assert_eq!(rig.ask(&wildcard(ata(0xec, 0, 0, 1, &[]))).len(), 2);
    assert!(rig.ask(&wildcard(write(0, &pattern(1, 1)))).is_empty());
    assert_eq!(rig.target.counters().wildcard_writes, 2);
    assert!(rig.drives[0].iter().all(|byte| *byte == 0));
}

#[test]
fn row_106_overlapping_writes_end_in_arrival_order_whatever_the_drives_do() {
    let mut rig = Rig::new([view(0, Level::Raid1, 2)]);
    for seed in 1..=4 {
        rig.deliver(0, &write(8, &pattern(seed, 16)));
    }
    assert_eq!(rig.target.counters().overlaps, 3);
    while !rig.pending.is_empty() {
        rig.complete(rig.pending.len() - 1);
    }
    assert_eq!(rig.sent.len(), 4);
    assert!(rig.read(8, 16)[36..] == pattern(4, 16));
    assert!(rig.drives[0] == rig.drives[1]);
}

/// The same write with another tag, and from another station.
fn again(request: &[u8], tag: u32, source: MacAddress) -> Vec<u8> {
    let mut again = request.to_vec();
    again[6..12].copy_from_slice(&source.0);
    again[20..24].copy_from_slice(&tag.to_be_bytes());
    again
}

#[test]
fn rows_104_and_105_a_write_sent_again_is_done_once_and_answered_to_the_newest() {
    for (level, members) in [(Level::Raid1, 2), (Level::Raid5, 3)] {
        let ports = [PORT_MAC, MacAddress([2; 6])].map(|mac| PortView::single(mac, 9000));
        let mut rig = Rig::with_ports(&ports, [view(0, level, members)]);
        let first = write(8, &pattern(1, 16));
        let other = MacAddress([2, 0, 0, 0, 0, 0x99]);
        rig.deliver(0, &first);
        // Another one in between: the first one, sent again, must not undo it.
        rig.deliver(0, &write(8, &pattern(2, 16)));
        rig.deliver(0, &again(&first, 77, CLIENT_MAC));
        let mut elsewhere = again(&first, 78, other);
        elsewhere[..6].copy_from_slice(&[2; 6]);
        rig.deliver(1, &elsewhere);
        assert_eq!(rig.target.counters().duplicates, 2);
        assert_eq!(rig.target.commands_in_flight(), 2);
        rig.drain();
        let tags: Vec<(u8, u32, [u8; 6])> = rig
            .sent
            .iter()
            .map(|(port, frame)| {
                let tag = u32::from_be_bytes(frame[20..24].try_into().unwrap());
                (port.0, tag, frame[..6].try_into().unwrap())
            })
            .collect();
        assert!(tags.contains(&(1, 78, other.0)), "{tags:?}");
        assert_eq!(tags.len(), 2);
        assert!(rig.read(8, 16)[36..] == pattern(2, 16));
    }
}

#[test]
fn a_write_of_other_bytes_or_sectors_is_no_duplicate() {
    let mut rig = Rig::new([view(0, Level::Raid1, 2)]);
    let first = write(8, &pattern(1, 16));
    let mut differs = first.clone();
    differs[36 + 16 * 512 - 1] ^= 1;
    for request in [
        &first,
        &differs,
        &write(8, &pattern(1, 15)),
        &write(9, &pattern(1, 16)),
    ] {
        rig.deliver(0, request);
    }
    // One that is answered is over: sent again it is done again, behind whatever came since.
    rig.drain();
    rig.deliver(0, &first);
    assert_eq!(rig.target.counters().duplicates, 0);
    rig.drain();
    assert_eq!(rig.sent.len(), 5);
    assert!(rig.read(8, 16)[36..] == pattern(1, 16));
}

#[test]
fn rows_110_and_112_too_many_requests_are_dropped_and_service_goes_on() {
    let mut rig = Rig::new([view(0, Level::Jbod, 1)]);
    let mut request = write(0, &pattern(9, 16));
    for number in (0..10_000u32).rev() {
        request[36..40].copy_from_slice(&number.to_be_bytes());
        rig.deliver(0, &request);
    }
    let admitted = u64::from(rig.commands) * 7 / 8;
    assert_eq!(rig.target.counters().no_buffer, 10_000 - admitted);
    rig.drain();
    super::statistics::assert_sums_agree(&mut rig, 1);
    assert_eq!(rig.sent.len() as u64, admitted);
    assert_eq!(rig.target.commands_in_flight(), 0);
    let last = 10_000 - u32::try_from(admitted).unwrap();
    let read = rig.read(0, 16);
    assert!(read[36..40] == last.to_be_bytes() && read[40..] == pattern(9, 16)[4..]);
}

#[test]
fn row_115_an_offline_lun_is_silent_after_what_was_admitted() {
    let mut rig = Rig::new([view(0, Level::Jbod, 1)]);
    rig.deliver(0, &write(0, &pattern(1, 1)));
    rig.deliver(0, &write(0, &pattern(2, 1)));
    rig.attach(crate::plane::LunView {
        online: false,
        ..view(0, Level::Jbod, 1)
    });
    assert!(rig.events.is_empty(), "not settled while commands are left");
    rig.drain();
    assert_eq!(rig.sent.len(), 2);
    assert!(matches!(rig.events[..], [Action::Settled { .. }]));
    for command in 0..=5 {
        assert!(rig.ask(&frame(&header(command), &[0; 40])).is_empty());
    }
    rig.attach(view(0, Level::Jbod, 1));
    assert!(rig.read(0, 1)[36..] == pattern(2, 1));
    rig.events.clear();
    rig.detach(0);
    assert!(matches!(rig.events[..], [Action::Settled { .. }]));
    assert!(rig.ask(&ata(0xec, 0, 0, 1, &[])).is_empty());
}

#[test]
fn row_20_replies_carry_nothing_of_the_request_or_of_memory() {
    let mut rig = Rig::new([view(0, Level::Jbod, 1)]);
    let reply = rig.write(0, &[0xcc; 512]);
    assert!(reply[36..].iter().all(|byte| *byte == 0));
    let mut asked = header(1);
    asked.slot = Slot::ANY.0;
    asked.shelf = U16::new(Shelf::ANY.0);
    let mut argument = vec![0xdd; 1032];
    argument[5] = 0x10;
    let reply = rig.ask_one(&frame(&asked, &argument));
    assert!(reply[32..].iter().all(|byte| *byte == 0));
    assert_eq!(reply[..24].len(), asked.as_bytes().len());
}

#[test]
fn row_23_a_read_of_36_bytes_is_not_too_short() {
    let mut rig = Rig::new([view(0, Level::Jbod, 1)]);
    let request = ata(0x24, 0x40, 0, 2, &[]);
    assert_eq!(request.len(), 36);
    assert_eq!(rig.ask_one(&request).len(), 36 + 1024);
}

#[test]
fn row_66_errors_come_from_the_real_address_with_the_tag() {
    let mut rig = Rig::new([view(7, Level::Jbod, 1)]);
    for (command, argument) in [
        (9, &[0; 40][..]),
        (2, &[0, 9, 0, 0]),
        (3, &[9, 0]),
        (4, &[9]),
    ] {
        let mut request = header(command);
        (request.shelf, request.slot) = (Shelf::ANY.0.into(), Slot::ANY.0);
        let reply = rig.ask_one(&frame(&request, argument));
        assert_eq!(
            reply[14..24],
            [0x1c, reply[15], 0, 1, 7, command, 0x87, 0x65, 0x43, 0x21]
        );
        assert!(reply[15] == 1 || reply[15] == 2);
    }
}

#[test]
fn row_94_a_write_that_may_be_asynchronous_is_answered_when_it_is_durable_all_the_same() {
    let mut rig = Rig::new([view(0, Level::Raid1, 2)]);
    rig.deliver(0, &ata(0x34, 0x43, 0, 1, &[7; 512]));
    while !rig.pending.is_empty() {
        assert!(rig.sent.is_empty(), "not before every copy is durable");
        rig.complete(0);
    }
    assert_eq!(outcome(&rig.sent[0].1), (0x40, 0));
}

#[test]
fn rows_107_108_reads_through_another_port_see_what_was_written_before() {
    let port = |mac| PortView::single(mac, 9000);
    let other = MacAddress([2; 6]);
    let mut rig = Rig::with_ports(&[port(PORT_MAC), port(other)], [view(0, Level::Raid1, 2)]);
    let mut read = ata(0x24, 0x40, 0, 16, &[]);
    read[..6].copy_from_slice(&other.0);
    // The write is under way when the read comes: all is new.
    for value in [1, 2] {
        rig.deliver(0, &write(0, &[value; 16 * 512]));
        rig.deliver(1, &read);
        rig.drain();
        let (port, reply) = rig.sent.pop().unwrap();
        assert_eq!(port, PortIndex(1));
        assert!(reply[36..].iter().all(|byte| *byte == value));
        rig.deliver(1, &read);
        rig.drain();
        assert!(
            rig.sent.pop().unwrap().1[36..]
                .iter()
                .all(|byte| *byte == value)
        );
    }
}
