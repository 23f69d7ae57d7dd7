//! Several ports, several addresses of one port, and who gets the last command slots.

use super::super::{Action, PortView};
use super::rig::{CLIENT_MAC, PORT_MAC, Rig, ata, frame, header, lun, view, write};
use aoe::{MacAddress, Shelf, StationAddresses};
use raid::Level;

const OTHER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

/// A port of four addresses.
fn four() -> PortView {
    PortView {
        stations: StationAddresses::several(PORT_MAC, 4).unwrap(),
        ..PortView::single(PORT_MAC, 9000)
    }
}

fn addresses() -> Vec<MacAddress> {
    four().stations.iter().collect()
}

fn sources(frames: &[Vec<u8>]) -> Vec<MacAddress> {
    let source = |frame: &Vec<u8>| MacAddress(frame[6..12].try_into().unwrap());
    frames.iter().map(source).collect()
}

fn to(mac: MacAddress, mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&mac.0);
    frame
}

#[test]
fn who_asks_everybody_is_answered_from_every_address_and_else_from_the_one_that_was_asked() {
    let mut rig = Rig::with_ports(&[four()], [view(0, Level::Jbod, 1)]);
    let query = frame(&header(1), &[0; 8]);
    let answers = rig.ask(&to(MacAddress::BROADCAST, query.clone()));
    assert_eq!(sources(&answers), addresses());
    for mac in addresses() {
        assert_eq!(sources(&rig.ask(&to(mac, query.clone()))), [mac]);
        let read = rig.ask(&to(mac, ata(0x24, 0x40, 0, 1, &[])));
        assert_eq!(sources(&read), [mac]);
        let written = rig.ask(&to(mac, write(0, &[1; 512])));
        assert_eq!(sources(&written), [mac]);
        let refused = rig.ask(&to(mac, frame(&header(9), &[])));
        assert_eq!(sources(&refused), [mac]);
    }
    let identify = rig.ask(&to(MacAddress::BROADCAST, ata(0xec, 0, 0, 1, &[])));
    assert_eq!(sources(&identify), [PORT_MAC], "data comes once");
}

#[test]
fn an_address_that_the_port_does_not_have_is_not_answered() {
    let mut rig = Rig::with_ports(&[four()], [view(0, Level::Jbod, 1)]);
    let fifth = StationAddresses::several(PORT_MAC, 5).unwrap();
    let fifth = fifth.iter().last().unwrap();
    assert!(rig.ask(&to(fifth, frame(&header(1), &[0; 8]))).is_empty());
    assert_eq!(rig.target.counters().not_ours, 1);
}

#[test]
fn rows_104_and_105_a_write_sent_again_to_another_address_is_answered_from_there() {
    let mut rig = Rig::with_ports(&[four()], [view(0, Level::Jbod, 1)]);
    let second = addresses()[1];
    rig.deliver(0, &write(0, &[1; 512]));
    rig.deliver(0, &to(second, write(0, &[1; 512])));
    rig.drain();
    let sent: Vec<Vec<u8>> = rig.sent.drain(..).map(|(_, frame)| frame).collect();
    assert_eq!(sources(&sent), [second]);
}

#[test]
fn row_113_every_address_of_every_interface_advertises_but_not_every_queue() {
    let second_queue = PortView {
        announces: false,
        ..four()
    };
    let other = PortView::single(OTHER_MAC, 9000);
    let mut rig = Rig::with_ports(&[four(), second_queue, other], [view(0, Level::Jbod, 1)]);
    let mut actions = Vec::new();
    rig.target.advertise(lun(0), &mut actions);
    rig.absorb(actions);
    let sent = std::mem::take(&mut rig.sent);
    let ports: Vec<u8> = sent.iter().map(|(port, _)| port.0).collect();
    assert_eq!(ports, [0, 0, 0, 0, 2]);
    let frames: Vec<Vec<u8>> = sent.into_iter().map(|(_, frame)| frame).collect();
    let mut expected = addresses();
    expected.push(OTHER_MAC);
    assert_eq!(sources(&frames), expected);
    assert!(frames.iter().all(|frame| frame[..6] == [0xff; 6]));

    let mut actions = Vec::new();
    rig.target.probe(Shelf(1), lun(0), &mut actions);
    rig.absorb(actions);
    let probes: Vec<u8> = rig.sent.drain(..).map(|(port, _)| port.0).collect();
    assert_eq!(probes, [0, 2]);
}

#[test]
fn row_117_our_own_addresses_are_no_other_shelf() {
    let other = PortView::single(OTHER_MAC, 9000);
    let mut rig = Rig::with_ports(&[four(), other], [view(0, Level::Jbod, 1)]);
    let answers = rig.ask(&to(MacAddress::BROADCAST, frame(&header(1), &[0; 8])));
    // The other port is on the same wire.
    for answer in answers {
        rig.deliver(1, &answer);
    }
    assert!(rig.events.is_empty(), "{:?}", rig.events);
    let mut foreign = rig.ask(&frame(&header(1), &[0; 8])).remove(0);
    foreign[6] ^= 0x10;
    rig.deliver(1, &foreign);
    assert!(matches!(rig.events[..], [Action::Impostor { .. }]));
}

#[test]
fn row_29_the_sector_count_is_the_same_on_all_ports() {
    let count = |mtus: &[usize], port: u8| {
        let ports: Vec<PortView> = (1..)
            .zip(mtus)
            .map(|(number, &mtu)| PortView::single(MacAddress([2, 0, 0, 0, 0, number]), mtu))
            .collect();
        let mut rig = Rig::with_ports(&ports, [view(0, Level::Jbod, 1)]);
        let query = to(MacAddress::BROADCAST, frame(&header(1), &[0; 8]));
        rig.deliver(port, &query);
        rig.sent[0].1[28]
    };
    for port in 0..2 {
        assert_eq!(count(&[9000, 9000], port), 16);
        assert_eq!(count(&[9000, 1500], port), 2);
        assert_eq!(count(&[4200, 9000], port), 8);
    }
}

/// A station that has sent beyond all windows holds what it can get; those that begin are heard all the same.
#[test]
fn row_110_a_station_that_floods_leaves_command_slots_to_those_that_begin() {
    let mut rig = Rig::with_commands(512, [view(0, Level::Raid0, 2)]);
    let read = ata(0x24, 0x40, 0, 1, &[]);
    for _ in 0..2000 {
        rig.deliver(0, &read);
    }
    // All but the eighth that is kept.
    assert_eq!(rig.target.commands_in_flight(), 448);
    let admitted = |rig: &mut Rig, station: u8| {
        let before = rig.target.commands_in_flight();
        let mut frame = read.clone();
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 7, station]);
        for _ in 0..20 {
            rig.deliver(0, &frame);
        }
        rig.target.commands_in_flight() - before
    };
    for station in 0..4 {
        assert_eq!(admitted(&mut rig, station), 8, "station {station}");
    }
    // The other half of what is kept is for LUNs with little to do.
    assert_eq!(admitted(&mut rig, 4), 0);
    rig.drain();
    assert_eq!(rig.target.commands_in_flight(), 0);
    assert_eq!(rig.sent[0].1[..6], CLIENT_MAC.0);
}
