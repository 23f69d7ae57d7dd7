//! Sessions about what keeps data: members, spares, scrubs, arrays that are taken over.

use super::Bench;
use shelf::admin::{DriveState, LunNumber};

const SCRUB_USAGE: &str = "usage: scrub [status | start | repair | stop | pause | resume | every DAYS | \
                           schedule off|weekly|monthly | policy report|located|all] [LUN ...]\n";

/// A mirror and a striped set, with two spares.
pub(super) fn protected() -> Bench {
    let mut bench = Bench::new();
    for line in [
        "make 0 raid1 1.0-1",
        "make 1 raid0 1.2-3",
        "spare 1.9",
        "spare -l 0 1.10",
    ] {
        bench.silent(line);
    }
    bench
}

#[test]
fn spares_are_listed_added_and_removed() {
    let mut bench = protected();
    let list = "1.9    4000.787GB\n1.10   4000.787GB LUN 0\n";
    assert_eq!(bench.good("spare"), list);
    bench.shelf.spares[0].fault = Some("read of 1 sector failed".to_owned());
    let list = "DRIVE           SIZE\n1.9       4000.787GB bad: read of 1 sector failed\n\
                1.10      4000.787GB LUN 0\n";
    assert_eq!(bench.good("spares"), list);
    assert_eq!(
        bench.good("spares -j"),
        "{\"schema\":1,\"ok\":true,\"data\":[\
         {\"drive\":\"1.9\",\"slot\":9,\"size_bytes\":4000787030016,\"lun\":null,\
         \"fault\":\"read of 1 sector failed\"},\
         {\"drive\":\"1.10\",\"slot\":10,\"size_bytes\":4000787030016,\"lun\":0,\"fault\":null}]}\n"
    );
    assert_eq!(bench.good("show -l 1.9"), "1.9  4000.787GB up spare\n");
    bench.silent("rmspare 1.9-10");
    assert_eq!(bench.good("mkspare"), "");
    for (line, output) in [
        (
            "spare 1.0 1.4",
            "error: 1.0 already in use\nskipping: 1.4\n",
        ),
        ("spare 1.16", "error: drive 1.16 does not exist\n"),
        ("spare -l 7 1.4", "error: LUN 7 does not exist\n"),
        (
            "spare -l x 1.4",
            "error: LUN must be an integer between 0 and 254 inclusive\nskipping: 1.4\n",
        ),
        ("spare -l 0", "usage: spare [-f] [-l LUN] [drive ...]\n"),
        ("spare -f", "usage: spare [-f] [-l LUN] [drive ...]\n"),
        ("rmspare 1.4", "error: 1.4 is not a spare\n"),
        ("rmspare", "usage: rmspare [-f] drive ...\n"),
        ("spares 1.4", "usage: spares [-j]\n"),
    ] {
        assert_eq!(bench.bad(line), output, "{line}");
    }
}

#[test]
fn an_element_that_works_is_replaced() {
    let mut bench = protected();
    bench.silent("replace 0.0.0 1.5");
    assert_eq!(bench.good("list -l 0"), {
        " 0 4000.786GB offline\n   0.0   4000.786GB raid1 recovering\n     \
         0.0.0  normal     4000.787GB 1.0\n     0.0.0  replaced   4000.787GB 1.5\n     \
         0.0.1  normal     4000.787GB 1.1\n"
    });
    let health = bench.good("health");
    assert!(
        health.contains(
            "0.0.0 of raid1 is being replaced by 1.5, paused until the LUN is online; nothing to do"
        ),
        "{health}"
    );
    let json = bench.good("list -lj 0");
    assert!(
        json.contains("\"drive\":\"1.5\",\"replacement\":true,\"read_errors\":0"),
        "{json}"
    );
    bench.silent("fail -r 0.0.0");
    bench.shelf.luns[0].parts[0].elements[1].read_errors = 21;
    let list = bench.good("list -l 0");
    assert!(
        list.contains("0.0.1  normal     4000.787GB 1.1\n"),
        "{list}"
    );
    let health = bench.good("health");
    assert!(
        health.contains(
            "0.0.1 of raid1 had 21 read errors (1.1), which others made good; replace 0.0.1 DRIVE"
        ),
        "{health}"
    );
}

#[test]
fn elements_are_failed_and_replaced() {
    let mut bench = protected();
    bench.silent("fail 0.0.1");
    assert_eq!(bench.good("list -l 0"), {
        " 0 4000.786GB offline\n   0.0   4000.786GB raid1 degraded\n     \
         0.0.0  normal     4000.787GB 1.0\n     0.0.1  failed     4000.787GB 1.1\n"
    });
    bench.silent("replacedrive 0.0.1 1.4");
    assert_eq!(bench.good("list -l 0"), {
        " 0 4000.786GB offline\n   0.0   4000.786GB raid1 recovering,degraded\n     \
         0.0.0  normal     4000.787GB 1.0\n     0.0.1  replaced   4000.787GB 1.4\n"
    });
    for (line, output) in [
        ("fail 0.0.1", "error: raid device 0.0.1 is already failed\n"),
        ("fail 0.0.0", "error: failing 0.0.0 would fail raid\n"),
        (
            "faildrive 1.0.0",
            "error: raid 1.0 is not redundant and would not sustain failure\n",
        ),
        ("fail 0.0.2", "error: 0.0.2 does not exist\n"),
        ("fail 7.0.0", "error: LUN 7 does not exist\n"),
        ("fail 0.0", {
            "error: 0.0 does not exist: an element is named LUN.part.drive, as 0.0.3\n"
        }),
        ("unfail 0.0.0", "error: device 0.0.0 is not failed\n"),
        (
            "fail -r 0.0.0",
            "error: device 0.0.0 is not being replaced\n",
        ),
        ("replace 0.0.1 1.2", "error: 1.2 already in use\n"),
        (
            "replace 0.0.1",
            "usage: replace [-f] LUN.part.drive drive\n",
        ),
        ("unfail", "usage: unfail LUN.part.drive\n"),
    ] {
        assert_eq!(bench.bad(line), output, "{line}");
    }
    bench.silent("make 2 raid1 1.5 missing");
    let output = "error: can't unfail missing device 2.0.1\n";
    assert_eq!(bench.bad("unfail 2.0.1"), output);
}

#[test]
fn health_tells_what_is_wrong_and_what_to_do() {
    let mut bench = protected();
    assert_eq!(bench.good("health"), "ok\n");
    assert_eq!(
        bench.good("health -j"),
        "{\"schema\":1,\"ok\":true,\"data\":[]}\n"
    );
    bench.silent("fail 0.0.1");
    bench.shelf.spares[0].fault = Some("it does not answer".to_owned());
    bench.shelf.drives[7].state = DriveState::Down;
    bench.shelf.drives[7].note = Some("No such device".to_owned());
    bench.shelf.luns[1].trouble = Some("too many elements are missing or failed: 1.0.1".to_owned());
    assert_eq!(
        bench.good("health"),
        "\
0.0.1 of raid1 is failed (1.1); replace 0.0.1 DRIVE, or unfail 0.0.1
LUN 1 is not served: too many elements are missing or failed: 1.0.1; then: online 1
drive 1.7 is down: No such device; replace it
spare 1.9 is bad: it does not answer; rmspare 1.9, and replace the drive
"
    );
    bench.silent("unfail 0.0.1");
    let line =
        "0.0.1 of raid1 is being rebuilt (1.1), paused until the LUN is online; nothing to do\n";
    assert!(bench.good("health").starts_with(line));
    let progress = shelf::plane::SyncProgress {
        lun: LunNumber::new(0).unwrap(),
        part: 0,
        pass: 1,
        begun_sectors: 0,
        done_sectors: 2_000_000,
        total_sectors: 8_000_000,
        kind: shelf::plane::SyncKind::Resync,
    };
    let elapsed = std::time::Duration::from_secs(10);
    bench.shelf.passes = vec![shelf::plane::RunningPass { progress, elapsed }];
    let line = "0.0.1 of raid1 is being rebuilt (1.1), 0:00:30 left; nothing to do\n";
    assert!(bench.good("health").starts_with(line));
    let when = "0.0.1 25.00% 102400.00 KBps 0:00:30 left\n";
    assert_eq!(bench.good("when"), when);
    assert!(
        bench
            .good("when -j")
            .contains("\"member\":1,\"job\":\"rebuild\"")
    );
}

#[test]
fn health_tells_of_ports_without_a_link_or_with_a_smaller_mtu() {
    let mut bench = protected();
    let mut second = bench.shelf.ports[0].clone();
    second.interface = "eth2".to_owned();
    second.mtu_bytes = 1500;
    bench.shelf.ports[0].has_link = false;
    bench.shelf.ports.push(second);
    assert_eq!(
        bench.good("health"),
        "\
port eth1 has no link; look at the cable and the switch
port eth2 has MTU 1500, eth1 has 9000: on all ports 2 sectors go into a frame, not 16; \
ip link set eth2 mtu 9000
"
    );
    // The same frames fit.
    bench.shelf.ports[0].has_link = true;
    bench.shelf.ports[1].mtu_bytes = 8500;
    assert_eq!(bench.good("health"), "ok\n");
}

#[test]
fn health_tells_what_scrubs_found_and_what_a_failure_would_cost() {
    let mut bench = protected();
    bench.silent("fail 0.0.1");
    let lun = &mut bench.shelf.luns[0];
    lun.parts[0].is_bare = true;
    lun.parts[0].is_stalled = true;
    lun.parts[0].elements[0].bad_sectors = 24;
    let scrub = lun.scrub.as_mut().unwrap();
    scrub.last_unix_seconds = Some(1_700_000_000);
    scrub.last_mismatched_sectors = 8;
    scrub.last_repaired_sectors = 3;
    scrub.last_is_incomplete = true;
    assert_eq!(
        bench.good("health"),
        [
            "raid 0.0 is not consistent: some sectors can be read from no member; copy off what \
             can be read; writing those sectors makes them whole\n",
            "raid 0.0 of raid1 has no redundancy left; the next drive that fails takes data with \
             it: replace what is failed or missing, and have spares\n",
            "0.0.0 of raid1 has 24 bad sectors (1.0); what lies there is an error until it is \
             written: restore it from a backup\n",
            "0.0.1 of raid1 is failed (1.1); replace 0.0.1 DRIVE, or unfail 0.0.1\n",
            "LUN 0 has 5 sectors that differ, beside 3 that were repaired, by the scrub of \
             2023-11-14; find out which drive is to blame, then: scrub repair 0 makes all agree \
             with what is read now\n",
            "LUN 0 has sectors that the scrub of 2023-11-14 could not read; replace what is \
             failed, then: scrub start 0\n",
        ]
        .concat()
    );
    // All was repaired: nothing is wrong any more.
    let scrub = bench.shelf.luns[0].scrub.as_mut().unwrap();
    (scrub.last_repaired_sectors, scrub.last_is_incomplete) = (8, false);
    let part = &mut bench.shelf.luns[0].parts[0];
    (part.is_bare, part.is_stalled) = (false, false);
    bench.silent("unfail 0.0.1");
    bench.shelf.luns[0].parts[0].elements[1].state = shelf::admin::ElementState::Normal;
    assert_eq!(bench.good("health"), {
        "0.0.0 of raid1 has 24 bad sectors (1.0); they are not read, and are good again when they are \
         written\n"
    });
    bench.shelf.luns[0].parts[0].elements[0].bad_sectors = 0;
    assert_eq!(bench.good("health"), "ok\n");
    bench.shelf.shelf = None;
    assert_eq!(bench.good("health"), {
        "the shelf has no number: no LUN is served; shelf NUMBER\n"
    });
}

#[test]
fn a_null_drive_is_called_so_wherever_it_could_be_taken_for_a_disk() {
    let mut bench = Bench::new();
    bench.shelf.drives[3].keeps_nothing = true;
    bench.shelf.drives[4].keeps_nothing = true;
    let warning = "nothing is stored: 1.3 drops what is written to it";
    assert_eq!(
        bench.good("make 0 raw 1.3"),
        format!("warning: {warning}\n")
    );
    bench.silent("make 1 raw 1.5");
    assert_eq!(
        bench.good("make -j 2 raw 1.4"),
        format!(
            "{{\"schema\":1,\"ok\":true,\"data\":[],\"warnings\":[\"{}\"]}}\n",
            warning.replace("1.3", "1.4")
        )
    );
    assert_eq!(
        bench.good("show -l 1.3"),
        "1.3  4000.787GB up 0.0.0 null drive: nothing is stored\n"
    );
    let health = bench.good("health");
    let lines: Vec<&str> = health.lines().collect();
    assert_eq!(lines.len(), 2, "{health}");
    assert!(
        lines[0].starts_with("drive 1.3 is a null drive: nothing is stored on it; "),
        "{health}"
    );
}

#[test]
fn parity_levels_are_made_with_the_chunk_that_was_asked_for() {
    let mut bench = Bench::new();
    bench.silent("make -k 128K 0 raid6rs 1.0-3");
    assert!(
        bench
            .good("list -j")
            .contains("\"level\":\"raid6\",\"chunk_bytes\":131072,")
    );
    assert_eq!(
        bench.good("make 1 raid5 1.4-6"),
        "warning: with drives of 4 TB and more, a rebuild of raid5 is likely to meet a sector that cannot \
         be read; raid6 survives that\n"
    );
    assert!(
        bench
            .good("list -j 1")
            .contains("\"level\":\"raid5\",\"chunk_bytes\":65536,")
    );
}

#[test]
fn scrubs_are_told_begun_and_scheduled() {
    let mut bench = protected();
    assert_eq!(bench.good("scrub"), "0 idle; never; every 14 days\n");
    assert_eq!(bench.good("scrub 1"), "");
    bench.silent("scrub start 0");
    assert_eq!(
        bench.good("scrub 0"),
        "0 waiting 0.00% 0 differ; never; every 14 days\n"
    );
    let progress = shelf::plane::SyncProgress {
        lun: LunNumber::new(0).unwrap(),
        part: 0,
        pass: 1,
        begun_sectors: 0,
        done_sectors: 2_000_000,
        total_sectors: 8_000_000,
        kind: shelf::plane::SyncKind::Check,
    };
    let elapsed = std::time::Duration::from_secs(10);
    bench.shelf.passes = vec![shelf::plane::RunningPass { progress, elapsed }];
    assert_eq!(
        bench.good("scrub"),
        "0 running 25.00% 0 differ; never; every 14 days\n"
    );
    let when = "0.0 25.00% 102400.00 KBps 0:00:30 left scrub\n";
    assert_eq!(bench.good("when"), when);
    bench.shelf.passes.clear();
    bench.silent("scrub pause 0");
    bench.silent("scrub every 0 0");
    let scrub = bench.shelf.luns[0].scrub.as_mut().unwrap();
    scrub.last_unix_seconds = Some(1_700_000_000);
    scrub.last_mismatched_sectors = 8;
    assert_eq!(bench.good("scrub"), {
        "0 paused 0.00% 0 differ; last 2023-11-14 8 differ; not by itself\n"
    });
    assert_eq!(bench.good("scrub -j"), {
        "{\"schema\":1,\"ok\":true,\"data\":[{\"lun\":0,\"state\":\"paused\",\"done_sectors\":0,\
         \"total_sectors\":8000000,\"mismatched_sectors\":0,\"last_unix_seconds\":1700000000,\
         \"last_mismatched_sectors\":8,\"interval_days\":0,\"repaired_sectors\":0,\
         \"last_repaired_sectors\":0,\"policy\":\"report\",\"is_repair\":false}]}\n"
    });
}

#[test]
fn what_scrubs_repair_is_told_and_chosen() {
    let mut bench = protected();
    let scrub = bench.shelf.luns[0].scrub.as_mut().unwrap();
    scrub.last_unix_seconds = Some(1_700_000_000);
    scrub.last_mismatched_sectors = 8;
    bench.silent("scrub schedule weekly 0");
    bench.silent("scrub policy located 0");
    assert_eq!(bench.good("scrub status 0"), {
        "0 idle; last 2023-11-14 8 differ; every 7 days; repairs what is located\n"
    });
    bench.silent("scrub repair 0");
    let scrub = bench.shelf.luns[0].scrub.as_mut().unwrap();
    (scrub.mismatched_sectors, scrub.repaired_sectors) = (16, 9);
    scrub.last_repaired_sectors = 8;
    assert_eq!(bench.good("scrub"), {
        "0 waiting 0.00% 16 differ, 9 repaired; last 2023-11-14 8 differ, 8 repaired; every 7 days; \
         repairs all this time\n"
    });
    bench.silent("scrub stop 0");
    for (line, output) in [
        ("scrub policy some 0", SCRUB_USAGE),
        ("scrub policy all", SCRUB_USAGE),
        ("scrub schedule often 0", SCRUB_USAGE),
        ("scrub stop 0", "error: no scrub of LUN 0 is under way\n"),
        (
            "scrub start 1",
            "error: raid 1.0 is not redundant and has nothing to compare\n",
        ),
        (
            "scrub start 7 0",
            "error: LUN 7 does not exist\nskipping: 0\n",
        ),
        ("scrub 7", "error: LUN 7 does not exist\n"),
        (
            "scrub often",
            "error: LUN must be an integer between 0 and 254 inclusive\n",
        ),
        ("scrub start", SCRUB_USAGE),
        ("scrub every x 0", SCRUB_USAGE),
    ] {
        assert_eq!(bench.bad(line), output, "{line}");
    }
}

#[test]
fn arrays_of_others_are_listed_and_taken_over() {
    let mut bench = Bench::new();
    assert_eq!(bench.good("restore -l"), "");
    let array = |name: &str, drives: [u16; 2], refusal: Option<&str>| shelf::admin::ArrayStatus {
        uuid: "00000001:00000002:00000003:00000004".to_owned(),
        name: name.to_owned(),
        level: Some(raid::Level::Raid1),
        size_bytes: 4_000_000_000,
        drives: drives.map(shelf::admin::DriveSlot).to_vec(),
        refusal: refusal.map(str::to_owned),
    };
    bench.shelf.arrays = vec![
        array("host:0", [0, 1], None),
        array("host:1", [2, 3], Some("it is dirty")),
    ];
    assert_eq!(
        bench.good("restore -l"),
        "\
00000001:00000002:00000003:00000004 'host:0' raid1 4.000GB 1.0 1.1
00000001:00000002:00000003:00000004 'host:1' raid1 4.000GB 1.2 1.3; not to be taken over: it is dirty
"
    );
    bench.silent("restore host:0 7");
    assert_eq!(bench.luns(), [7]);
    assert_eq!(bench.good("restore -jl"), {
        "{\"schema\":1,\"ok\":true,\"data\":[{\"uuid\":\"00000001:00000002:00000003:00000004\",\
         \"name\":\"host:1\",\"level\":\"raid1\",\"size_bytes\":4000000000,\
         \"drives\":[\"1.2\",\"1.3\"],\"refusal\":\"it is dirty\"}]}\n"
    });
    for (line, output) in [
        (
            "restore host:1 8",
            "error: md array host:1 cannot be a LUN: it is dirty\n",
        ),
        ("restore host:0 8", {
            "error: no md array host:0 is on the drives; restore -l lists them\n"
        }),
        (
            "restore host:1",
            "usage: restore [-l] [oldshelf [oldlun [newlun]] | array LUN]\n",
        ),
        (
            "restore host:1 x",
            "error: LUN must be an integer between 0 and 254 inclusive\n",
        ),
    ] {
        assert_eq!(bench.bad(line), output, "{line}");
    }
}

#[test]
fn luns_of_other_shelves_are_listed_and_taken_over() {
    let mut bench = Bench::new();
    let found = |lun: Option<u8>, drives: &[u16]| shelf::admin::ElsewhereStatus {
        shelf: 2,
        lun: lun.and_then(LunNumber::new),
        levels: lun.map_or_else(Vec::new, |_| vec![raid::Level::Raid1]),
        size_bytes: 4_000_000_000,
        drives: drives
            .iter()
            .map(|slot| shelf::admin::DriveSlot(*slot))
            .collect(),
        refusal: None,
        remark: None,
    };
    bench.shelf.elsewhere = vec![
        found(Some(0), &[0, 1]),
        found(Some(3), &[2, 3]),
        found(None, &[4]),
    ];
    bench.shelf.elsewhere[1].remark = Some("elements 3.0.1 are away: it stays offline".to_owned());
    bench.silent("make 3 raid0 1.8-9");
    let list = "shelf 2 LUN 0 raid1 4.000GB 1.0 1.1
shelf 2 LUN 3 raid1 4.000GB 1.2 1.3; not to be taken over: it exists
shelf 2 spare 4.000GB 1.4
";
    assert_eq!(bench.good("restore -l"), list);
    assert_eq!(bench.good("restore -l 2"), list);
    assert_eq!(bench.good("restore -l 9"), "");
    assert_eq!(bench.good("restore -l 2 3 7"), {
        "shelf 2 LUN 3 raid1 4.000GB 1.2 1.3; elements 3.0.1 are away: it stays offline\n"
    });
    assert_eq!(bench.good("restore -jl 2 0"), {
        "{\"schema\":1,\"ok\":true,\"data\":[{\"shelf\":2,\"lun\":0,\"levels\":[\"raid1\"],\
         \"size_bytes\":4000000000,\"drives\":[\"1.0\",\"1.1\"],\"refusal\":null,\"remark\":null}]}\n"
    });
    let refused = "error: LUN 3 of shelf 2 cannot be taken over: it exists\n";
    assert_eq!(bench.bad("restore 2 3"), refused);
    // The whole shelf, until something is refused.
    assert_eq!(bench.bad("restore 2"), refused);
    assert_eq!(bench.luns(), [0, 3]);
    bench.silent("restore 2 3 7");
    bench.silent("restore 2");
    assert_eq!(bench.luns(), [0, 3, 7]);
    assert_eq!(bench.good("spare"), "1.4    4000.787GB\n");
    bench.silent("restore 1");
    for (line, output) in [
        ("restore 9", {
            "error: no drive carries anything of shelf 9; restore -l lists what there is\n"
        }),
        ("restore 9 1", {
            "error: no drive carries LUN 1 of shelf 9; restore -l lists what there is\n"
        }),
        ("restore 2 x", {
            "error: LUN must be an integer between 0 and 254 inclusive\n"
        }),
        ("restore 2 3 4 5", {
            "usage: restore [-l] [oldshelf [oldlun [newlun]] | array LUN]\n"
        }),
    ] {
        assert_eq!(bench.bad(line), output, "{line}");
    }
}

#[test]
fn luns_are_ejected_and_found_again() {
    let mut bench = Bench::with_luns();
    let (output, question) = bench.asks("eject 2 3");
    assert_eq!(output, "Request to eject 2 LUNs: 2 and 3\n");
    assert_eq!(
        question,
        "'n' to cancel, 'a' for all, or 'y' to eject 2 [n]: "
    );
    bench.silent("a");
    assert_eq!(bench.luns(), [0, 1]);
    assert_eq!(bench.bad("ejectlun 0"), {
        "Request to ejectlun 1 LUN: 0\nerror: LUN 0 needs to be offline before ejecting\n"
    });
    bench.silent("eject -f 0");
    bench.silent("restore");
    assert_eq!(bench.luns(), [0, 1, 2, 3]);
    assert_eq!(bench.bad("eject"), "usage: eject [-f] LUN ...\n");
}
