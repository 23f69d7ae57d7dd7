//! What is counted by port, LUN and initiator: the right one, and once.

use super::rig::{CLIENT_MAC, PORT_MAC, Rig, ata, frame, header, lun, view, write};
use crate::access::Access;
use crate::plane::LunView;
use crate::statistics::{FrameTally, RatesPage, StationStatistics, Tally};
use crate::target::{Counters, PortView};
use aoe::MacAddress;
use raid::Level;
use raid::record::{AccessRecord, Station};

const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x77]);
const SECOND_PORT: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const MS: u64 = 1_000_000;

/// Everybody who is known, and what those did who are not any more.
fn stations(rig: &mut Rig) -> (Vec<StationStatistics>, Tally) {
    let (mut all, mut next) = (Vec::new(), Some(0));
    let mut forgotten = Tally::default();
    while let Some(from) = next {
        let page = rig.target.station_page(from);
        all.extend(page.stations);
        (next, forgotten) = (page.next, page.forgotten.tally);
    }
    (all, forgotten)
}

fn sum<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> Tally {
    let mut sum = Tally::default();
    for tally in tallies {
        sum.add(tally);
    }
    sum
}

/// What is counted in the sums of the target, too.
fn of_totals(counters: &Counters) -> Tally {
    Tally {
        configs: counters.configs,
        access_requests: counters.access_requests,
        identifies: counters.identifies,
        reads: counters.reads,
        writes: counters.writes - counters.duplicates,
        flushes: counters.flushes,
        masked: counters.masked,
        wrong_vlan: counters.wrong_vlan,
        reserved: counters.reserved,
        wildcard_writes: counters.wildcard_writes,
        no_buffer: counters.no_buffer,
        read_bytes: counters.read_bytes,
        write_bytes: counters.write_bytes,
        overlaps: counters.overlaps,
        duplicates: counters.duplicates,
        ata_errors: counters.ata_errors,
        aoe_errors: counters.aoe_errors,
        ..Tally::default()
    }
}

/// The sums by port, by LUN and by initiator are the same, those of the target, and each frame is in one of
/// them. No frame may have been to several LUNs, and nothing be under way.
pub(super) fn assert_sums_agree(rig: &mut Rig, luns: u8) {
    let counters = *rig.target.counters();
    let ports = rig.target.port_tallies();
    let mut frames = FrameTally::default();
    for port in &ports {
        let rows = port.frames.rows();
        let reasons: u64 = rows[1..].iter().map(|(_, count)| count).sum();
        assert_eq!(port.frames.frames, reasons, "{port:?}");
        assert_eq!(port.frames.to_luns, port.requests.requests(), "{port:?}");
        frames.add(&port.frames);
    }
    assert_eq!(frames.frames, counters.frames);
    assert_eq!(
        (frames.runts, frames.bad_version, frames.no_lun),
        (counters.runts, counters.bad_version, counters.no_lun)
    );
    let by_port = sum(ports.iter().map(|port| &port.requests));
    let luns: Vec<_> = (0..luns)
        .filter_map(|number| rig.target.lun_statistics(lun(number), 1))
        .collect();
    let by_lun = sum(luns.iter().map(|lun| &lun.tally));
    let (known, forgotten) = stations(rig);
    let by_station = sum(known
        .iter()
        .map(|station| &station.tally)
        .chain([&forgotten]));
    assert_eq!(by_port, by_lun);
    assert_eq!(by_port, by_station);
    if by_port.trims > 0 {
        // TRIMs that were sent again are among the duplicates, too.
        return;
    }
    let totals = Tally {
        unknown_commands: by_port.unknown_commands,
        other_ata: by_port.other_ata,
        refused_ata: by_port.refused_ata,
        retransmissions: by_port.retransmissions,
        commands_dropped: by_port.commands_dropped,
        ..of_totals(&counters)
    };
    assert_eq!(by_port, totals);
}

/// A frame from another station, to another port, LUN, and with another tag.
fn from(source: MacAddress, to: MacAddress, slot: u8, tag: u32, mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&source.0);
    frame[18] = slot;
    frame[20..24].copy_from_slice(&tag.to_be_bytes());
    frame
}

fn two_ports(views: impl IntoIterator<Item = LunView>) -> Rig {
    let ports = [PORT_MAC, SECOND_PORT].map(|mac| PortView::single(mac, 9000));
    Rig::with_ports(&ports, views)
}

fn station(rig: &mut Rig, mac: MacAddress) -> StationStatistics {
    let (known, _) = stations(rig);
    known.into_iter().find(|known| known.mac == mac).unwrap()
}

/// Two stations do everything that is counted, to three LUNs: one that both may use, one that only the client
/// has reserved, and one that answers only the client.
fn eventful() -> Rig {
    let reserved = AccessRecord {
        reserved: vec![Station(CLIENT_MAC.0)],
        ..AccessRecord::default()
    };
    let masked = AccessRecord {
        masks: vec![Station(CLIENT_MAC.0)],
        ..AccessRecord::default()
    };
    let with = |number, record: &AccessRecord| LunView {
        access: Access::of(record),
        ..view(number, Level::Raid1, 2)
    };
    let mut rig = two_ports([
        view(0, Level::Raid1, 2),
        with(1, &reserved),
        with(2, &masked),
    ]);
    let read = ata(0x24, 0x40, 0, 16, &[]);
    let mut runt = ata(0x24, 0x40, 0, 1, &[]);
    runt.truncate(30);
    let mut old = read.clone();
    old[14] = 0x20;
    for (tag, slot) in (1..).zip([0, 1, 2]) {
        rig.deliver(1, &from(OTHER, SECOND_PORT, slot, tag, read.clone()));
    }
    rig.deliver(1, &from(OTHER, SECOND_PORT, 0, 4, runt));
    rig.deliver(1, &from(OTHER, SECOND_PORT, 0, 5, old));
    rig.deliver(1, &from(OTHER, SECOND_PORT, 9, 6, read.clone()));
    // Sent again while it is in flight, and one that overlaps.
    rig.deliver(0, &from(CLIENT_MAC, PORT_MAC, 1, 7, write(8, &[3; 8192])));
    rig.deliver(0, &from(CLIENT_MAC, PORT_MAC, 1, 8, write(8, &[3; 8192])));
    rig.deliver(0, &from(CLIENT_MAC, PORT_MAC, 1, 9, write(8, &[4; 512])));
    rig.drain();
    // With the tag that it had.
    rig.ask(&from(CLIENT_MAC, PORT_MAC, 1, 9, write(8, &[4; 512])));
    rig.ask(&from(
        CLIENT_MAC,
        PORT_MAC,
        2,
        10,
        ata(0x24, 0x40, 1 << 40, 1, &[]),
    ));
    rig.ask(&from(CLIENT_MAC, PORT_MAC, 2, 11, ata(0xe5, 0, 0, 0, &[])));
    rig.ask(&from(
        CLIENT_MAC,
        PORT_MAC,
        2,
        12,
        frame(&header(9), &[0; 40]),
    ));
    rig
}

#[test]
fn each_event_is_found_with_its_port_its_lun_and_its_initiator() {
    let mut rig = eventful();
    assert_sums_agree(&mut rig, 3);

    let [first, second] = rig.target.port_tallies()[..] else {
        panic!()
    };
    let frames = &second.frames;
    assert_eq!(
        (
            frames.frames,
            frames.runts,
            frames.bad_version,
            frames.no_lun,
            frames.to_luns
        ),
        (6, 1, 1, 1, 3)
    );
    assert_eq!((first.frames.frames, first.frames.to_luns), (7, 7));
    let mut of = |number| rig.target.lun_statistics(lun(number), 1).unwrap().tally;
    let expected = Tally {
        reads: 1,
        read_bytes: 8192,
        ..Tally::default()
    };
    assert_eq!(of(0), expected);
    let expected = Tally {
        reserved: 1,
        aoe_errors: 1,
        writes: 3,
        write_bytes: 8192 + 1024,
        duplicates: 1,
        overlaps: 2,
        retransmissions: 2,
        ..Tally::default()
    };
    assert_eq!(of(1), expected);
    let expected = Tally {
        masked: 1,
        refused_ata: 1,
        other_ata: 1,
        unknown_commands: 1,
        ata_errors: 1,
        aoe_errors: 1,
        ..Tally::default()
    };
    assert_eq!(of(2), expected);
    let other = station(&mut rig, OTHER);
    assert_eq!((other.runts, other.bad_version, other.port.0), (1, 1, 1));
    assert_eq!((other.tally.masked, other.tally.reserved), (1, 1));
    assert_eq!(other.luns, [lun(0), lun(1), lun(2)]);
    let client = station(&mut rig, CLIENT_MAC);
    assert_eq!(
        (client.tally.duplicates, client.tally.retransmissions),
        (1, 2)
    );
    assert_eq!((client.luns, client.runts), (vec![lun(1), lun(2)], 0));
}

#[test]
fn latencies_and_rates_are_those_from_arrival_to_answer() {
    let mut rig = Rig::new([view(0, Level::Jbod, 1)]);
    for index in 0..20_u64 {
        let arrival_ns = 1_000 * MS + index * 10 * MS;
        rig.target.set_now(arrival_ns);
        rig.deliver(0, &ata(0x24, 0x40, index, 2, &[]));
        rig.target.set_now(arrival_ns + (index + 1) * MS / 10);
        rig.drain();
    }
    rig.target.set_now(2_500 * MS);
    let of_lun = rig.target.lun_statistics(lun(0), 3).unwrap();
    assert_eq!((of_lun.reads.count(), of_lun.writes.count()), (20, 0));
    assert!((990..=1010).contains(&of_lun.reads.quantile_us(500)));
    assert!((2000..=2020).contains(&of_lun.reads.max_us()));
    let rates = of_lun.rates;
    assert_eq!((rates.seconds, rates.reads.ops), (2, 20));
    assert_eq!(rates.per_second(rates.reads.bytes), 10 * 1024);
    assert_eq!(rates.reads.latency_max_ns, 2 * MS);
    let client = station(&mut rig, CLIENT_MAC);
    assert_eq!((client.ops_per_second, client.reads.max_us), (20, 2000));
    assert!(
        (1000..1300).contains(&client.reads.p50_us),
        "{:?}",
        client.reads
    );
}

#[test]
fn rates_of_luns_come_in_pages() {
    let mut rig = Rig::new((0..40).map(|number| view(number, Level::Jbod, 1)));
    rig.target.set_now(1_000 * MS);
    rig.read(0, 1);
    rig.target.set_now(2_500 * MS);
    let (mut luns, mut next, mut pages) = (Vec::new(), Some(lun(0)), 0);
    while let Some(from) = next {
        let page = rig.target.rates_page(from, 3);
        luns.extend(page.luns);
        next = page.next;
        pages += 1;
    }
    let numbers: Vec<u8> = luns.iter().map(|(lun, _)| lun.get()).collect();
    assert_eq!((numbers, pages), ((0..40).collect::<Vec<u8>>(), 3));
    let reads: Vec<u64> = luns.iter().map(|(_, rates)| rates.reads.ops).collect();
    assert_eq!((reads[0], reads[39]), (1, 0));
    assert_eq!(rig.target.rates_page(lun(254), 3), RatesPage::default());
}

#[test]
fn a_lun_that_goes_offline_keeps_its_counters_and_one_that_takes_its_number_has_none() {
    let mut rig = Rig::new([view(0, Level::Jbod, 1)]);
    rig.read(0, 1);
    rig.detach(0);
    let reads = |rig: &mut Rig| rig.target.lun_statistics(lun(0), 1).unwrap().tally.reads;
    assert_eq!(reads(&mut rig), 1);
    rig.attach(view(0, Level::Jbod, 1));
    rig.read(0, 1);
    assert_eq!(reads(&mut rig), 2);
    rig.detach(0);
    let mut another = view(0, Level::Jbod, 1);
    another.identify[20] ^= 1;
    rig.attach(another);
    assert_eq!(reads(&mut rig), 0);
    assert!(rig.target.lun_statistics(lun(1), 1).is_none());
}
