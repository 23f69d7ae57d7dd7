//! What the bare responder answers, frame by frame.

use super::*;
use aoe::{ATA_FRAME_BYTES, CONFIG_FRAME_BYTES, Tag};
use zerocopy::FromBytes;

const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

fn responder() -> Responder {
    Responder {
        shelf: Shelf(9),
        slot: Slot(0),
        mac: MAC,
        sectors: 2048,
        sector_count: 16,
        identify: [7; 512],
        disk: Vec::new(),
    }
}

fn ask(slot: u8, command: u8, argument: &[u8]) -> Option<Answer> {
    let header = Header::request(MAC, CLIENT, Shelf(9), Slot(slot), command, Tag(77));
    let frame = [header.as_bytes(), argument, &[0; 36]].concat();
    responder().answer(&ReceivedFrame {
        first: &frame,
        rest: &[],
    })
}

fn ata(opcode: u8, lba: u64, count: u8) -> (u8, usize) {
    let registers = AtaRegisters::extended(opcode, opcode == ata::opcode::WRITE_EXT, lba, count);
    let answer = ask(0, 0, registers.as_bytes()).unwrap();
    let (header, argument) = Header::ref_from_prefix(&answer.head).unwrap();
    assert!(header.is_response() && header.tag.get() == 77);
    assert_eq!((header.destination, header.source), (CLIENT, MAC));
    assert_eq!(answer.head_bytes, ATA_FRAME_BYTES);
    let (registers, _) = AtaRegisters::ref_from_prefix(argument).unwrap();
    let bytes = match answer.body {
        Body::None => 0,
        Body::Identify => 512,
        Body::Zeroes(bytes) | Body::Stored { bytes, .. } => bytes,
    };
    (registers.command_status, bytes)
}

#[test]
fn reads_and_writes_inside_the_disk_succeed_and_others_do_not() {
    let good = Outcome::Success.status();
    let beyond = Outcome::OutOfRange.status();
    assert_eq!(ata(ata::opcode::READ_EXT, 2032, 16), (good, 8192));
    assert_eq!(ata(ata::opcode::READ_EXT, 2033, 16), (beyond, 0));
    assert_eq!(ata(ata::opcode::WRITE_EXT, 2032, 16), (good, 0));
    assert_eq!(ata(ata::opcode::WRITE_EXT, 2033, 16), (beyond, 0));
    // More than a frame carries.
    assert_eq!(
        ata(ata::opcode::READ_EXT, 0, 17),
        (Outcome::Aborted.status(), 0)
    );
    assert_eq!(ata(ata::opcode::IDENTIFY, 0, 1), (good, 512));
}

#[test]
fn it_is_found_by_its_address_and_by_no_other() {
    let answer = ask(0xff, 1, &[]).unwrap();
    assert_eq!(answer.head_bytes, CONFIG_FRAME_BYTES);
    let (header, argument) = Header::ref_from_prefix(&answer.head).unwrap();
    assert_eq!((header.shelf.get(), header.slot), (9, 0));
    let (config, _) = ConfigArgument::ref_from_prefix(argument).unwrap();
    assert_eq!(config.sector_count, 16);
    assert!(ask(1, 1, &[]).is_none());
}

#[test]
fn a_disk_in_memory_keeps_what_is_written() {
    let mut responder = Responder {
        disk: vec![0; 2048 * SECTOR_BYTES],
        ..responder()
    };
    let mut ask = |registers: AtaRegisters, payload: &[u8]| {
        let header = Header::request(MAC, CLIENT, Shelf(9), Slot(0), 0, Tag(77));
        let head = [header.as_bytes(), registers.as_bytes()].concat();
        let answer = responder.answer(&ReceivedFrame {
            first: &head,
            rest: &[payload],
        });
        let body = answer.unwrap().body;
        match body {
            Body::Stored { offset, bytes } => responder.disk[offset..offset + bytes].to_vec(),
            _ => Vec::new(),
        }
    };
    let data: Vec<u8> = (0..1024u32).map(|byte| (byte % 251) as u8).collect();
    ask(
        AtaRegisters::extended(ata::opcode::WRITE_EXT, true, 2046, 2),
        &data,
    );
    let read = |lba, count| AtaRegisters::extended(ata::opcode::READ_EXT, false, lba, count);
    assert_eq!(ask(read(2046, 2), &[]), data);
    assert_eq!(ask(read(2045, 2), &[]), [&[0; 512], &data[..512]].concat());
}
