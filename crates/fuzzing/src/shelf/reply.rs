//! What a frame that leaves must be like.

use super::oracle::{Ask, Oracle};
use super::rules::{Expected, Rules};
use aoe::MacAddress;

/// A frame that leaves.
pub(super) struct Sent<'a> {
    pub(super) port: u8,
    pub(super) own: MacAddress,
    pub(super) mtu_bytes: usize,
    /// As it is handed to the port, which pads it with zeros.
    pub(super) frame: &'a [u8],
    pub(super) answers_command: bool,
    /// It waited for room in the port; rules may have changed meanwhile.
    pub(super) was_kept: bool,
    /// Whether an error of a LUN can have no reason.
    pub(super) sound: &'a dyn Fn(u8) -> bool,
}

fn word(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

/// What a frame says.
struct Said<'a> {
    to: MacAddress,
    vlan: Option<u16>,
    flags: u8,
    error: u8,
    from: (u16, u8),
    command: u8,
    tag: u32,
    argument: &'a [u8],
}

impl<'a> Said<'a> {
    fn read(frame: &'a [u8]) -> Self {
        let is_tagged = word(&frame[12..]) == 0x8100;
        let rest = if is_tagged {
            &frame[16..]
        } else {
            &frame[12..]
        };
        assert_eq!(word(rest), 0x88a2, "another EtherType");
        let mut to = [0; 6];
        to.copy_from_slice(&frame[..6]);
        Self {
            to: MacAddress(to),
            vlan: is_tagged.then(|| word(&frame[14..])),
            flags: rest[2],
            error: rest[3],
            from: (word(&rest[4..]), rest[6]),
            command: rest[7],
            tag: u32::from_be_bytes([rest[8], rest[9], rest[10], rest[11]]),
            argument: &rest[12..],
        }
    }

    const fn is_refusal(&self) -> bool {
        self.flags == 0x1c
    }

    /// A question of our own: who else has an address.
    fn is_probe(&self, shelf: u16) -> bool {
        let is_read = self.command == 1 && self.error == 0 && self.vlan.is_none();
        self.flags == 0x10
            && is_read
            && self.to == MacAddress::BROADCAST
            && self.from.0 == shelf
            && self.argument.len() == 8
    }
}

/// Checks a frame. `rules` are those of all LUNs.
pub(super) fn check(sent: &Sent<'_>, shelf: u16, rules: &[Rules], oracle: &mut Oracle) {
    let frame = sent.frame;
    assert_eq!(
        frame[6..12],
        sent.own.0,
        "from another station than the port"
    );
    let said = Said::read(frame);
    if said.is_probe(shelf) {
        return;
    }
    let tag_bytes = if said.vlan.is_some() { 4 } else { 0 };
    assert!(
        tag_bytes == 0 || frame.len() >= 64,
        "too short without its tag"
    );
    assert!(
        matches!(said.flags, 0x18 | 0x1c),
        "version and flags {:#04x}",
        said.flags
    );
    let errors = if said.is_refusal() { 1..=6 } else { 0..=0 };
    assert!(errors.contains(&said.error), "error {}", said.error);
    check_length(&said);
    let by_number = |number: u8| rules.iter().find(|rules| rules.number == number);
    let to = (sent.port, said.to, said.tag);
    let asked = oracle.answered(to, said.from, |ask| {
        let is_it = is_of(ask, &said) && (!sent.answers_command || may_be_admitted(ask));
        // What was admitted is answered later, seldom with a refusal.
        is_it.then_some(u8::from(!sent.answers_command && may_be_admitted(ask)))
    });
    let Some((ask, is_sure)) = asked else {
        let is_advertisement = said.command == 1 && said.tag == 0 && said.from.0 == shelf;
        let of = by_number(said.from.1).filter(|_| is_advertisement);
        let rules = of.unwrap_or_else(|| panic!("nobody asked for {frame:02x?}"));
        let is_due = rules.is_advertised_to(said.to) && rules.speaks(said.vlan);
        assert!(is_due || sent.was_kept, "an advertisement to {}", said.to);
        return;
    };
    let lun = by_number(ask.lun).expect("who answers is there");
    assert!(
        lun.speaks(said.vlan) || sent.was_kept || !is_sure,
        "an answer of LUN {} in VLAN {:?}, not {:?} or {:?}, sure {is_sure}",
        lun.number,
        said.vlan,
        lun.vlan,
        lun.next_vlan
    );
    let mtu_bytes = sent.mtu_bytes.max(ask.mtu_bytes);
    assert!(
        frame.len() <= 14 + tag_bytes + mtu_bytes,
        "{} bytes",
        frame.len()
    );
    if said.command == 0 && !said.is_refusal() {
        let of = (ask.lun, ask.order(), ask.expected);
        let (range, opcode) = (ask.range(), ask.registers[3]);
        check_registers(ask, said.argument);
        let is_fault = matches!(
            (said.argument[3], said.argument[1]),
            (0x41, 0x40) | (0x61, 0x04)
        );
        let is_without_reason = is_fault && is_sure && (sent.sound)(ask.lun);
        assert!(!is_without_reason, "LUN {} gives a fault", ask.lun);
        check_data(&said, of, (opcode, range), is_sure, oracle);
    }
}

const IDENTIFY: u8 = 0xec;
const SMART: u8 = 0xb0;
const MANAGE: u8 = 0x06;
const POWER: u8 = 0xe5;

/// Whether a request may have become a command.
fn may_be_admitted(ask: &Ask) -> bool {
    let is_io = matches!(
        ask.expected,
        Expected::Read | Expected::Write | Expected::Flush
    );
    is_io || (ask.expected == Expected::Any && ask.registers.get(3) == Some(&MANAGE))
}

/// Whether an answer may be that of a request.
fn is_of(ask: &Ask, said: &Said<'_>) -> bool {
    if ask.command != said.command {
        return false;
    }
    if said.is_refusal() {
        return match ask.expected {
            Expected::Error(code) => said.error == code,
            Expected::Any => true,
            Expected::Silence => false,
            // A reservation that came later shuts out what was admitted before.
            Expected::Read | Expected::Write | Expected::Flush => said.error == 6,
            Expected::Answer => false,
        };
    }
    if said.command != 0 {
        return matches!(ask.expected, Expected::Answer | Expected::Any);
    }
    let (status, error) = (said.argument[3], said.argument[1]);
    let is_range = (status, error) == (0x41, 0x10);
    let is_outcome = match ask.expected {
        Expected::Read => status == 0x40 || (status, error) == (0x41, 0x40),
        // It may be read-only since it came.
        Expected::Write => !is_range && error != 0x40,
        Expected::Flush => status == 0x40 || status == 0x61,
        Expected::Answer => status != 0x61 && error != 0x40,
        Expected::Any => true,
        Expected::Silence | Expected::Error(_) => false,
    };
    // The address is told again, but by SMART, which says there how the LUN is.
    let is_smart = ask.registers[3] == SMART;
    is_outcome && (is_smart || said.argument[4..10] == ask.registers[4..10])
}

fn check_registers(ask: &Ask, argument: &[u8]) {
    let (status, error) = (argument[3], argument[1]);
    let known = [
        (0x40, 0),
        (0x41, 0x10),
        (0x41, 0x04),
        (0x41, 0x40),
        (0x61, 0x04),
    ];
    assert!(
        known.contains(&(status, error)),
        "status {status:#04x}, error {error:#04x}"
    );
    assert_eq!(argument[0], ask.registers[0], "flags");
    let is_power_mode = ask.registers[3] == POWER && status == 0x40;
    let count = if is_power_mode { 0xff } else { 0 };
    assert_eq!(
        (argument[2], &argument[10..12]),
        (count, &[0, 0][..]),
        "{argument:02x?}"
    );
}

/// Checks the data of the answer to an ATA command, and takes note of what it says was done.
fn check_data(
    said: &Said<'_>,
    (lun, order, expected): (u8, u64, Expected),
    (opcode, (lba, sectors)): (u8, (u64, u64)),
    is_sure: bool,
    oracle: &mut Oracle,
) {
    let is_done = said.argument[3] & 0xa9 == 0;
    let data = &said.argument[12..];
    // A short frame with a tag is padded by the shelf.
    let is_empty = data.is_empty() || (said.vlan.is_some() && data.iter().all(|byte| *byte == 0));
    match expected {
        Expected::Read if is_done => {
            assert_eq!(
                data.len() as u64,
                sectors * 512,
                "the length of what was read"
            );
            if is_sure {
                oracle.check_read(lun, order, lba, data);
            }
        }
        Expected::Write if is_done && is_sure => oracle.acknowledge(lun, order, lba, sectors),
        Expected::Answer if is_done && opcode == IDENTIFY => assert_eq!(data.len(), 512),
        _ if opcode == SMART => assert!(is_empty || data.len() == 512),
        _ => assert!(is_empty, "data where there is none: {data:02x?}"),
    }
}

/// Arguments are as long as they say; what is behind them in a short frame with a tag is zero.
fn check_length(said: &Said<'_>) {
    let (argument, is_refusal) = (said.argument, said.is_refusal());
    let at = |index: usize| usize::from(argument.get(index).copied().unwrap_or(0));
    let bytes = match said.command {
        0 if !is_refusal => {
            assert!(argument.len() >= 12, "registers");
            return;
        }
        1 => 8 + at(6) * 256 + at(7),
        2 | 0xf0 if at(2) != 0 || is_refusal => 4,
        2 | 0xf0 => 4 + 8 * at(3),
        3 => 2 + 6 * at(1),
        4 => 20 + 8 * (at(2) * 256 + at(3)),
        _ => 0,
    };
    let is_padded = said.vlan.is_some()
        && argument[bytes.min(argument.len())..]
            .iter()
            .all(|byte| *byte == 0);
    let is_right = argument.len() == bytes || (argument.len() > bytes && is_padded);
    assert!(
        is_right,
        "{} bytes for {bytes}: {argument:02x?}",
        argument.len()
    );
}
