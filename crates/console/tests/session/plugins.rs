//! What monitoring reads, in every state that it is there for, by its rules alone ([`rules`]); and the tables
//! of SRX 7.

use super::{Bench, rules, statistics};
use shelf::admin::{DriveSlot, DriveState, ElementState, LunNumber};
use shelf::plane::{RunningPass, SyncKind, SyncProgress};
use std::time::Duration;

impl Bench {
    fn listed(&mut self) -> Vec<rules::Lun> {
        let text = self.good("list -l");
        rules::list(&text).unwrap()
    }
}

/// A pass over a LUN that has done some of 8,000,000,000 bytes in 100 seconds.
fn pass(lun: u8, kind: SyncKind, done_bytes: u64) -> RunningPass {
    RunningPass {
        progress: SyncProgress {
            lun: LunNumber::new(lun).unwrap(),
            part: 0,
            pass: 1,
            begun_sectors: 0,
            done_sectors: done_bytes / 512,
            total_sectors: 8_000_000_000 / 512,
            kind,
        },
        elapsed: Duration::from_secs(100),
    }
}

#[test]
fn a_shelf_with_nothing_in_it_has_no_rows() {
    let mut bench = Bench::new();
    bench.shelf.drives.clear();
    bench.shelf.ports.clear();
    for line in [
        "list -l", "show -l", "disks", "spare", "when", "ifstat", "iostats", "luns", "spares",
    ] {
        assert_eq!(bench.good(line), "", "{line}");
    }
    assert_eq!(bench.listed(), []);
}

#[test]
fn luns_with_every_kind_of_label_and_size() {
    let mut bench = Bench::new();
    for line in [
        "make 0 raid10 1.0-13",
        "make 254 jbod 1.14",
        "label 'vm store' 0",
        "label 'bob''s ''box' 254",
        "online 254",
    ] {
        bench.silent(line);
    }
    bench.shelf.luns[0].size_bytes = 32_006_295_519_232;
    let luns = bench.listed();
    let found: Vec<_> = luns
        .iter()
        .map(|lun| (lun.number, lun.gigabytes, lun.online, lun.label.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            (0, 32_006.295, false, Some("vm store")),
            (254, 4000.786, true, Some("bob's 'box")),
        ]
    );
    assert_eq!(
        (luns[0].raids.len(), luns[0].raids[0].elements.len()),
        (1, 14)
    );
    let last = &luns[0].raids[0].elements[13];
    assert_eq!(
        (last.name.as_str(), last.drive.as_str()),
        ("0.0.13", "1.13")
    );
    assert_eq!(luns[1].raids[0].level, "jbod");
    // A label that pretends to be a row, or the end of one.
    bench.silent("label ' 0.0.0 online ''' 0");
    assert_eq!(bench.listed()[0].label.as_deref(), Some(" 0.0.0 online '"));
}

#[test]
fn a_mirror_from_degraded_to_rebuilt() {
    let mut bench = Bench::new();
    bench.silent("make 0 raid1 1.0-1");
    bench.silent("online 0");
    let states = |bench: &mut Bench| {
        let raid = &bench.listed()[0].raids[0];
        let of = |n: usize| {
            let element = &raid.elements[n];
            (element.state.clone(), element.drive.clone())
        };
        (raid.states.join(","), of(0), of(1))
    };
    let pair = |state: &str, drive: &str| (state.to_owned(), drive.to_owned());
    let normal = pair("normal", "1.0");
    bench.silent("fail 0.0.1");
    let failed = ("degraded".to_owned(), normal.clone(), pair("failed", "1.1"));
    assert_eq!(states(&mut bench), failed);

    let element = &mut bench.shelf.luns[0].parts[0].elements[1];
    (element.state, element.drive, element.size_bytes) = (ElementState::Missing, None, 0);
    let (_, _, missing) = states(&mut bench);
    assert_eq!(missing, pair("missing", "missing"));

    let part = &mut bench.shelf.luns[0].parts[0];
    (part.state.recovering, part.state.degraded) = (true, true);
    let element = &mut part.elements[1];
    (element.state, element.drive) = (ElementState::Replaced, Some(DriveSlot(4)));
    // Errors that the others made good are none of the words.
    part.elements[0].read_errors = 3;
    bench
        .shelf
        .passes
        .push(pass(0, SyncKind::Resync, 2_000_000_000));
    let (raid, first, second) = states(&mut bench);
    assert_eq!((raid.as_str(), first), ("recovering,degraded", normal));
    assert_eq!(second, pair("replaced", "1.4"));
    let expected = rules::Progress {
        name: "0.0.1".to_owned(),
        percent: 25.0,
        kilobytes_per_second: 20_000.0,
        seconds_left: Some(300),
    };
    assert_eq!(rules::when(&bench.good("when")).unwrap(), [expected]);

    bench.shelf.luns[0].parts[0].state.failed = true;
    assert_eq!(bench.listed()[0].raids[0].states, ["failed"]);
}

#[test]
fn what_goes_on_in_several_luns() {
    let mut bench = Bench::new();
    bench.silent("make 0 raid1 1.0-1");
    bench.good("make 11 raid5 1.2-4");
    bench.shelf.luns[1].parts[0].state.initing = true;
    let passes = &mut bench.shelf.passes;
    passes.push(pass(0, SyncKind::Check, 7_999_999_999));
    // Just begun: nobody knows how long it takes.
    passes.push(pass(11, SyncKind::Resync, 0));
    let rows = rules::when(&bench.good("when")).unwrap();
    assert_eq!((rows[0].name.as_str(), rows[0].percent), ("0.0", 99.99));
    assert_eq!(
        (rows[1].name.as_str(), rows[1].seconds_left),
        ("11.0", None)
    );
    assert_eq!(bench.listed()[1].raids[0].states, ["initing"]);
}

#[test]
fn drives_and_spares_in_every_state() {
    let mut bench = Bench::new();
    bench.silent("make 0 raid1 1.0-1");
    bench.silent("spare 1.9");
    bench.silent("spare -l 0 1.10");
    let drives = &mut bench.shelf.drives;
    (drives[3].state, drives[3].size_bytes) = (DriveState::Down, 0);
    drives[3].note = Some("cannot open: permission denied".to_owned());
    drives[15].size_bytes = 20_000_588_955_648;
    let rows = rules::show(&bench.good("show -l")).unwrap();
    assert_eq!(rows.len(), 16);
    assert_eq!(rows[0], ("1.0".to_owned(), 4000.787, "up".to_owned()));
    assert_eq!(rows[3], ("1.3".to_owned(), 0.0, "down".to_owned()));
    assert_eq!(rows[15].1, 20_000.588);
    let disks = rules::disks(&bench.good("disks")).unwrap();
    assert_eq!(disks.len(), 16);
    assert_eq!(disks[0], ("1.0".to_owned(), Some(4000.787)));
    assert_eq!(disks[3], ("1.3".to_owned(), None));
    bench.shelf.spares[0].fault = Some("read of 1 sector failed".to_owned());
    let spares = rules::spare(&bench.good("spare")).unwrap();
    let named: Vec<&str> = spares.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((named, spares[1].1), (vec!["1.9", "1.10"], 4000.787));
}

#[test]
fn rates_and_ports() {
    let mut bench = statistics::measured();
    let rows = rules::iostats(&bench.good("iostats -l")).unwrap();
    assert_eq!(rows[0], ("0".to_owned(), 819.2, 0.0));
    assert!(rows.iter().any(|row| row.0 == "0.0.1"), "{rows:?}");
    assert!(rules::iostats(&bench.good("iostats -d")).is_ok());
    let mut bench = statistics::heard();
    let ports = rules::ifstat(&bench.good("ifstat")).unwrap();
    assert_eq!(
        ports,
        [(
            "eth1".to_owned(),
            "001004012e81".to_owned(),
            "10000/25000".to_owned()
        )]
    );
}

/// The tables of SRX 7, to the column, under the names of SRX 7.
#[test]
fn luns_by_the_name_of_srx_7_are_in_its_table() {
    let mut bench = Bench::with_luns();
    let lun = &mut bench.shelf.luns[0];
    (lun.size_bytes, lun.label) = (4_000_721_000_000, Some("vm1".to_owned()));
    let part = &mut lun.parts[0];
    (part.state.recovering, part.state.degraded) = (true, true);
    part.elements[1].state = ElementState::Replaced;
    part.elements[1].drive = Some(DriveSlot(9));
    assert_eq!(
        bench.good("luns -a 0"),
        "\
LUN   LABEL   STATUS     TYPE   SIZE(GB)   ELEMENT   DRIVE       STATE
0       vm1   online    raid1   4000.721                    recovering
                                4000.787     0.0.0     1.0      normal
                                4000.787     0.0.1     1.9    replaced
"
    );
    assert_eq!(
        bench.bad("luns 0 9 1"),
        "\
LUN   LABEL   STATUS     TYPE   SIZE(GB)       STATE
0       vm1   online    raid1   4000.721  recovering
error: LUN 9 does not exist
skipping: 1
"
    );
    assert_eq!(bench.good("luns -j 0"), bench.good("list -l -j 0"));
}

/// The rules can be broken.
#[test]
fn what_is_not_by_the_rules_is_refused() {
    for text in [
        " 0 4000.786GB\n",
        " 0 4000.786 online\n",
        " 0 4000.786GB on\n",
        " 0 4000.786GB online vm1\n",
        "   0.0 4000.786GB raid1 normal\n",
        " 0 1.000GB online\n   0.0 1.000GB raid1 resyncing\n",
        " 0 1.000GB online\n   0.0 1.000GB raid1 normal\n     0.0.0 normal 1.000GB 1.0 3 read errors\n",
        " 0 1.000GB online\n   0.0 1.000GB raid1 normal\n     0.0.0 normal 1.000GB sda\n",
        "error: x.y.z.w\n",
    ] {
        assert!(rules::list(text).is_err(), "{text:?}");
    }
    let percent = " 0 1.000GB online\n   0.0 1.000GB raid1 recovering 44.06%\n";
    assert!(rules::list(percent).is_ok());
    for text in [
        "0.0 44.06 83542.02 KBps 3:43:15 left\n",
        "0.0 44.06% 83542.02 KBps 3:43 left\n",
        "0.0 44.06% 83542.02 KBps 3:99:15 left\n",
        "0 44.06% 83542.02 KBps 3:43:15 left\n",
    ] {
        assert!(rules::when(text).is_err(), "{text:?}");
    }
    assert!(rules::show("1.0 4000.787GB broken\n").is_err());
    assert!(rules::show("DRIVE SIZE STATE\n").is_err());
    assert!(rules::disks("1.0 4000.787GB MODEL FW sata\n").is_err());
    assert!(rules::disks("DISK SIZE MODEL FIRMWARE MODE\n1.0 4000.787GB\n").is_err());
    assert!(rules::spare("1.0 4000\n").is_err());
    assert!(rules::ifstat("eth1 001004012e81 1/1 9000\n").is_err());
    assert!(rules::iostats("0 1.000MB 1ms 1ms 1.000MB 1ms 1ms\n").is_err());
}
