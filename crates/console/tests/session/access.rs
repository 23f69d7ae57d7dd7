//! Who may use a LUN: masks, reservations, VLANs, read-only, config strings.

use super::Bench;
use aoe::{Key, MacAddress, ReservationKind};
use shelf::admin::KeyStatus;

const fn mac(last: u8) -> MacAddress {
    MacAddress([0, 0x10, 4, 1, 0x2e, last])
}

#[test]
fn masks_are_listed_added_and_taken_away() {
    let mut bench = Bench::with_luns();
    assert_eq!(bench.good("mask"), "");
    bench.silent("mask 0 +001004012e81 +00:10:04:01:2e:82");
    bench.silent("mask +001004012e83 +001004012e84 +001004012e85 0 2");
    assert_eq!(
        bench.good("mask"),
        "LUN      MASK(S)\n\
         0        001004012e81 001004012e82 001004012e83 001004012e84\n                           \
         001004012e85\n\
         2        001004012e83 001004012e84 001004012e85\n"
    );
    bench.silent("mask 2 -001004012e83 -001004012e84");
    assert_eq!(
        bench.good("mask 1 2"),
        "LUN      MASK(S)\n1        -\n2        001004012e85\n"
    );
    assert_eq!(
        bench.good("mask -j 2"),
        "{\"schema\":1,\"ok\":true,\"data\":[{\"lun\":2,\"masks\":[\"001004012e85\"]}]}\n"
    );
    bench.silent("rmmask 2");
    bench.silent("mask clear 0");
    assert_eq!(bench.good("mask"), "");
}

#[test]
fn a_word_that_is_no_lun_changes_none_of_them() {
    let mut bench = Bench::with_luns();
    bench.silent("mask 0-1 +001004012e81");
    let before = bench.good("mask");
    let text = "error: LUN must be an integer between 0 and 254 inclusive\nskipping: 0 1\n";
    assert_eq!(bench.bad("rmmask 0 001004012e81 1"), text);
    assert_eq!(bench.bad("mask clear 0 x 1"), text);
    assert_eq!(
        bench.bad("mask 0 1 9 +001004012e82"),
        "error: LUN 9 does not exist\nskipping: 0 1\n"
    );
    assert_eq!(bench.good("mask"), before);
    assert_eq!(bench.bad("readonly on 0 x 1"), text);
    assert_eq!(bench.bad("setvlan 7 0 x 1"), text);
    assert_eq!(
        bench.good("readonly 0 1"),
        "LUN    READONLY\n0           off\n1           off\n"
    );
    bench.silent("readonly 0-1 on");
    bench.silent("readonly 1 off");
    assert_eq!(
        bench.good("readonly 0 1"),
        "LUN    READONLY\n0            on\n1           off\n"
    );
}

#[test]
fn wrong_masks_change_nothing() {
    let mut bench = Bench::with_luns();
    assert_eq!(
        bench.bad("mask +001004012e81"),
        "error: no LUN specified\nskipping: +001004012e81\n"
    );
    assert_eq!(
        bench.bad("mask 0 +001004012e8"),
        "error: wrong format of mask: +001004012e8; as +001004012e81 or -001004012e81\nskipping: 0\n"
    );
    assert_eq!(
        bench.bad("mask 9 0 +001004012e81"),
        "error: LUN 9 does not exist\nskipping: 0\n"
    );
    let usage = "usage: mask [LUN ...] [{+|-}mac ...] | mask clear LUN ...\n";
    assert_eq!(bench.bad("mask clear"), usage);
    assert_eq!(bench.bad("mask 0 -x"), usage);
    assert_eq!(bench.bad("rmmask"), "usage: rmmask LUN ...\n");
    assert_eq!(bench.good("mask"), "");
    assert_eq!(
        bench.bad("mask -j 0 +zz"),
        "{\"schema\":1,\"ok\":false,\"errors\":[{\"code\":\"wrong_mask\",\"arg\":\"+zz\",\"text\":\
         \"wrong format of mask: +zz; as +001004012e81 or -001004012e81\"},\
         {\"code\":\"skipped\",\"arg\":\"0\",\"text\":\"skipping: 0\"}]}\n"
    );
}

/// With LUN 0 reserved without a key and LUN 2 by one.
pub(super) fn reserved() -> Bench {
    let mut bench = Bench::with_luns();
    bench.shelf.luns[0].access.reserved = vec![mac(0x81), mac(0x82)];
    let access = &mut bench.shelf.luns[2].access;
    let key = |key, stations| KeyStatus {
        key: Key(key),
        stations,
    };
    access.keys = vec![
        key(0x51, vec![mac(0x83)]),
        key(0x52, vec![mac(0x84), mac(0x85)]),
    ];
    access.reservation = Some(ReservationKind::WriteExclusive);
    (access.owner, access.generation) = (Some(Key(0x51)), 7);
    bench
}

#[test]
fn reservations_are_listed_and_cleared() {
    assert_eq!(Bench::with_luns().good("reservations"), "");
    let mut bench = reserved();
    assert_eq!(
        bench.good("lunreservations"),
        "LUN      RTYPE OWNER            REGISTRANTS      MAC ADDRESSES\n\
         0        -     -                -                001004012e81 001004012e82\n\
         2        1     0000000000000051 0000000000000051 001004012e83\n\
         2        1     0000000000000051 0000000000000052 001004012e84 001004012e85\n"
    );
    assert_eq!(
        bench.good("reservations -j 2"),
        "{\"schema\":1,\"ok\":true,\"data\":[{\"lun\":2,\"type\":1,\"owner\":\"0000000000000051\",\
         \"generation\":7,\"reserved\":[],\"keys\":[\
         {\"key\":\"0000000000000051\",\"macs\":[\"001004012e83\"]},\
         {\"key\":\"0000000000000052\",\"macs\":[\"001004012e84\",\"001004012e85\"]}]}]}\n"
    );
    assert_eq!(
        bench.bad("reservations -c"),
        "usage: reservations [-c] [-f] [LUN ...]\n"
    );
    let told = bench.good("reservations");
    let (request, question) = bench.asks("reservations -c 0 2");
    assert_eq!(
        request,
        "Request to clear the reservations of LUN 0: 2 stations, 0 keys\n\
         Request to clear the reservations of LUN 2: 0 stations, 2 keys\n"
    );
    assert_eq!(question, "'n' to cancel, or 'y' to clear them [n]: ");
    assert_eq!(bench.bad(""), "action canceled\n");
    assert_eq!(bench.good("reservations"), told);
    bench.asks("reservations -c 0 2");
    bench.silent("y");
    assert_eq!(bench.good("reservations"), "");
    let mut bench = reserved();
    bench.asks("reservations -c 0");
    bench.shelf.luns[0].access.reserved.pop();
    assert_eq!(
        bench.bad("y"),
        "error: the reservations of LUN 0 are others since you were asked; action canceled\n"
    );
    bench.silent("reservations -cf 0 2");
    assert_eq!(bench.good("reservations"), "");
}

#[test]
fn vlans_are_set_listed_and_cleared() {
    let mut bench = Bench::with_luns();
    bench.silent("setvlan 100 0 2");
    assert_eq!(
        bench.good("vlans"),
        "LUN        VLAN\n0           100\n1             0\n2           100\n3             0\n"
    );
    bench.silent("clrvlan 2");
    assert_eq!(
        bench.good("vlans -j 0 2"),
        "{\"schema\":1,\"ok\":true,\"data\":[{\"lun\":0,\"vlan\":100},{\"lun\":2,\"vlan\":null}]}\n"
    );
    for wrong in ["0", "4095", "x", "65536"] {
        assert_eq!(
            bench.bad(&format!("setvlan {wrong} 0")),
            "error: vlanid must be in the range 1 to 4094\nskipping: 0\n"
        );
    }
    assert_eq!(bench.bad("setvlan 5"), "usage: setvlan id LUN ...\n");
    assert_eq!(bench.bad("clrvlan 9"), "error: LUN 9 does not exist\n");
}

#[test]
fn luns_are_made_read_only_and_writable() {
    let mut bench = Bench::with_luns();
    bench.silent("readonly on 0-1");
    bench.silent("readonly off 1");
    assert_eq!(
        bench.good("readonly 0 1"),
        "LUN    READONLY\n0            on\n1           off\n"
    );
    assert_eq!(
        bench.good("readonly -j 0"),
        "{\"schema\":1,\"ok\":true,\"data\":[{\"lun\":0,\"read_only\":true}]}\n"
    );
    assert_eq!(
        bench.bad("readonly on"),
        "usage: readonly [on | off] [LUN ...]\n"
    );
    assert_eq!(
        bench.bad("readonly yes 0"),
        "error: LUN must be an integer between 0 and 254 inclusive\nskipping: 0\n"
    );
}

#[test]
fn config_strings_are_shown_set_and_cleared() {
    let mut bench = Bench::with_luns();
    assert_eq!(bench.good("confstr 0"), "\n");
    bench.silent("confstr 0 'vm images'");
    assert_eq!(bench.good("confstr 0"), "vm images\n");
    assert_eq!(
        bench.good("confstr -j 0"),
        "{\"schema\":1,\"ok\":true,\"data\":[{\"lun\":0,\"config_string\":\"vm images\",\
         \"config_string_hex\":\"766d20696d61676573\"}]}\n"
    );
    bench.silent("confstr -c 0");
    assert_eq!(bench.good("confstr 0"), "\n");
    bench.shelf.luns[0].config_string = b"a\x00\xff".to_vec();
    assert_eq!(bench.good("confstr 0"), "hex 6100ff\n");
    let usage = "usage: confstr [-c] LUN [string]\n";
    assert_eq!(bench.bad("confstr -c 0 x"), usage);
    assert_eq!(bench.bad("confstr"), usage);
    assert_eq!(bench.bad("confstr 9 x"), "error: LUN 9 does not exist\n");
    let long = "x".repeat(1025);
    assert_eq!(
        bench.bad(&format!("confstr 0 {long}")),
        "error: config string of 1025 bytes is too long: at most 1024\n"
    );
}
