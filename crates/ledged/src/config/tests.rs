//! Keys, their limits, and what is said of those that are wrong.

use super::*;

pub(super) fn check(text: &str) -> Result<Config, String> {
    let source = Source {
        path: Path::new("ledge.toml"),
        text,
    };
    source.check().map_err(|error| error.to_string())
}

const PORT: &str = "[[port]]\ninterface = \"eth1\"\n";

#[test]
fn a_full_configuration_is_taken_as_written() {
    let config = check(
        "shelf = 1\nstate_dir = \"/s\"\ncontrol_socket = \"/c\"\nworkers = 1\ncores = [0]\n\
         [[port]]\ninterface = \"eth1\"\nmode = \"packet\"\ncec = true\n\
         addresses = 4\npace_mbit_per_second = 1000\n\
         [[disk]]\nslot = 1\npath = \"ram:1M\"\n[[disk]]\nslot = 0\npath = \"/dev/sda\"\n",
    )
    .unwrap();
    assert_eq!(config.shelf, Some(Shelf(1)));
    assert_eq!((config.workers, config.cores), (1, vec![0]));
    assert!(config.ports[0].cec);
    assert_eq!(config.ports[0].addresses, 4);
    assert_eq!(config.ports[0].pace_mbit_per_second, 1000);
    assert_eq!(config.disks[0].slot, DriveSlot(0));
    assert_eq!(
        config.disks[1].spec,
        DriveSpec::Ram {
            size_bytes: 1 << 20
        }
    );
}

#[test]
fn absent_keys_have_their_defaults() {
    let config = check(PORT).unwrap();
    assert_eq!(config.shelf, None);
    assert_eq!(config.control_socket, Path::new("/run/ledge/control.sock"));
    assert_eq!(config.ports[0].mode, RequestedMode::Auto);
    assert!(!config.ports[0].cec);
    assert_eq!(config.ports[0].addresses, 1);
    assert_eq!(config.ports[0].pace_mbit_per_second, 0);
}

#[test]
fn a_file_for_a_newer_ledge_is_refused_as_that() {
    assert!(check(&format!("version = 1\n{PORT}")).is_ok());
    let newer = format!("future_key = 1\nversion = 2\n{PORT}");
    let reason = "ledge.toml:2: version = 2: written for a newer Ledge; this one reads version 1";
    assert_eq!(check(&newer).unwrap_err(), reason);
    for wrong in ["0", "-1"] {
        let error = check(&format!("version = {wrong}\n{PORT}")).unwrap_err();
        assert!(error.contains("no such version"), "{error}");
    }
    let error = check(&format!("version = \"1\"\n{PORT}")).unwrap_err();
    assert!(error.contains("version: invalid type"), "{error}");
}

#[test]
fn a_worker_polls_for_a_while_for_ever_or_not_at_all() {
    let spin = |line: &str| check(&format!("{line}\n{PORT}")).map(|config| config.spin);
    let polls = |us| Ok(Spin::For(Duration::from_micros(us)));
    assert_eq!(spin(""), polls(50));
    assert_eq!(spin("spin_us = 0"), polls(0));
    assert_eq!(spin("spin_us = 1000000"), polls(1_000_000));
    assert_eq!(spin("spin_us = \"always\""), Ok(Spin::Always));
    for wrong in ["-1", "1000001", "\"never\"", "2.5", "[1]", "true"] {
        let refused = spin(&format!("spin_us = {wrong}")).unwrap_err();
        let reason =
            format!("ledge.toml:1: spin_us = {wrong}: must be 0 to 1000000, or \"always\"");
        assert_eq!(refused, reason);
    }
}

#[test]
fn the_sandbox_refuses_unless_it_is_off_or_kills() {
    let sandbox = |line: &str| check(&format!("{line}\n{PORT}")).map(|config| config.sandbox);
    assert_eq!(sandbox(""), Ok(Sandbox::Refuse));
    assert_eq!(sandbox("sandbox = true"), Ok(Sandbox::Refuse));
    assert_eq!(sandbox("sandbox = false"), Ok(Sandbox::Off));
    assert_eq!(sandbox("sandbox = \"kill\""), Ok(Sandbox::Kill));
    for wrong in ["\"strict\"", "\"true\"", "1", "[\"kill\"]"] {
        let refused = sandbox(&format!("sandbox = {wrong}")).unwrap_err();
        let reason = format!("ledge.toml:1: sandbox = {wrong}: must be true, false, or \"kill\"");
        assert_eq!(refused, reason);
    }
}

#[test]
fn minutes_have_limits_and_none_is_never() {
    for key in ["cec_idle_minutes", "smart_interval_minutes"] {
        let minutes = |value: i64| {
            let config = check(&format!("{key} = {value}\n{PORT}"))?;
            Ok::<_, String>(if key == "cec_idle_minutes" {
                config.cec_idle
            } else {
                config.smart_interval
            })
        };
        assert_eq!(minutes(0), Ok(None));
        assert_eq!(minutes(1), Ok(Some(Duration::from_mins(1))));
        assert_eq!(minutes(1440), Ok(Some(Duration::from_mins(1440))));
        for wrong in [-1, 1441, i64::MAX] {
            let reason =
                format!("ledge.toml:1: {key} = {wrong}: must be 1 to 1440, or 0 for never");
            assert_eq!(minutes(wrong), Err(reason));
        }
    }
    let default = check(PORT).unwrap().smart_interval;
    assert_eq!(default, Some(Duration::from_mins(10)));
}

#[test]
fn keys_of_a_port_have_limits() {
    let refused = |line: &str| check(&format!("{PORT}{line}\n")).unwrap_err();
    for (line, reason) in [
        ("addresses = 0", "addresses = 0: must be 1 to 16"),
        ("busy_poll = 1", "busy_poll: invalid type"),
        (
            "mode = \"packet\"\nbusy_poll = true",
            "busy_poll = true: not in mode packet",
        ),
        ("addresses = 17", "addresses = 17: must be 1 to 16"),
        ("addresses = \"two\"", "addresses: invalid type"),
        ("pace_mbit_per_second = 5", "must be 10 to 400000, or 0"),
        ("pace_mbit_per_second = -1", "must be 10 to 400000, or 0"),
    ] {
        let error = refused(line);
        assert!(error.contains(reason), "{line}: {error}");
    }
    let unlimited = check(&format!("{PORT}pace_mbit_per_second = 0\n")).unwrap();
    assert_eq!(unlimited.ports[0].pace_mbit_per_second, 0);
}

#[test]
fn every_refusal_names_file_line_key_and_reason() {
    let cases = [
        ("shelf = 4095\n", 1, "shelf = 4095"),
        ("shelf = 65535\n", 1, "0 to 65534"),
        ("shelf = -1\n", 1, "shelf = -1"),
        ("shelf = \"one\"\n", 1, "shelf: invalid type"),
        ("shelf = 1\nshelf = 2\n", 2, "shelf: duplicate key"),
        ("\nshelf = 99999999999999999999\n", 2, "shelf: "),
        ("cores = [\n0,\n\"x\"]\n", 3, "cores: invalid type"),
        (
            "[[port]]\ninterface = \"a\"\ncec = 3\n",
            3,
            "cec: invalid type",
        ),
        ("state_dir = 7\n", 1, "state_dir: invalid type"),
        ("state_dir = \"\"\n", 1, "state_dir = \"\" is empty"),
        (
            "control_socket = \"\"\n",
            1,
            "control_socket = \"\" is empty",
        ),
        ("\nstate_dir = \"/a\\u0000b\"\n", 2, "NUL"),
        (
            "[[port]]\ninterface = \"a\"\n[[disk]]\nslot = 0\npath = \"\"\n",
            5,
            "path = \"\" is empty",
        ),
        (
            "[[port]]\ninterface = \"a\"\n[[disk]]\nslot = 0\npath = \"\\u0000\"\n",
            5,
            "NUL",
        ),
        ("\nshelv = 1\n", 2, "unknown field `shelv`"),
        ("cores = [4000]\n", 1, "no such core"),
        ("shelf = 1\n", 2, "no [[port]]"),
        (
            "[[port]]\ninterface = \"a\"\nmod = \"auto\"\n",
            3,
            "unknown field `mod`",
        ),
        (
            "[[port]]\ninterface = \"a\"\nmode = \"fast\"\n",
            3,
            "mode = \"fast\"",
        ),
        ("[[port]]\ninterface = \"a/b\"\n", 2, "no interface name"),
        (
            "[[port]]\ninterface = \"a\"\n[[port]]\ninterface = \"a\"\n",
            4,
            "already",
        ),
        ("[[port]]\n", 1, "missing field `interface`"),
        (
            "[[disk]]\nslot = -1\npath = \"/x\"\n[[port]]\ninterface = \"a\"\n",
            2,
            "slot = -1",
        ),
        ("this is not toml\n", 1, ""),
    ];
    for (text, line, reason) in cases {
        let error = check(text).unwrap_err();
        assert!(
            error.starts_with(&format!("ledge.toml:{line}: ")),
            "{text:?}: {error}"
        );
        assert!(error.contains(reason), "{text:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn workers_are_refused_with_a_reason() {
    for (text, line, reason) in [
        ("workers = 17\n", 1, "at most 16"),
        ("workers = 2\ncores = [0]\n", 2, "exactly 2"),
        ("workers = 2\ncores = [0, 0]\n", 2, "given twice"),
        ("workers = 0\n", 1, "at least 1"),
        ("cores = [0, 1]\n", 1, "exactly 1"),
    ] {
        let error = check(text).unwrap_err();
        let place = format!("ledge.toml:{line}: ");
        assert!(error.starts_with(&place), "{text:?}: {error}");
        assert!(error.contains(reason), "{text:?}: {error}");
    }
    let config = check(&format!("workers = 4\n{PORT}")).unwrap();
    assert_eq!((config.workers, config.cores), (4, vec![]));
    // A port keeps its pace whatever number of workers sends by it.
    let paced = "workers = 2\n[[port]]\ninterface = \"a\"\npace_mbit_per_second = 100\n";
    let config = check(paced).unwrap();
    assert_eq!(config.ports[0].pace_mbit_per_second, 100);
}

#[test]
fn a_slot_or_a_path_is_given_once() {
    let twice = |second: &str| {
        check(&format!(
            "{PORT}[[disk]]\nslot = 0\npath = \"/dev/null\"\n{second}"
        ))
    };
    let slot = twice("[[disk]]\nslot = 0\npath = \"/dev/zero\"\n").unwrap_err();
    assert!(
        slot.starts_with("ledge.toml:7: ") && slot.contains("line 5"),
        "{slot}"
    );
    let path = twice("[[disk]]\nslot = 1\npath = \"/dev/./null\"\n").unwrap_err();
    assert!(
        path.starts_with("ledge.toml:8: ") && path.contains("line 5"),
        "{path}"
    );
}

#[test]
fn poll_queues_are_used_unless_that_is_off() {
    let with = |line: &str| {
        check(&format!(
            "{PORT}[[disk]]\nslot = 0\npath = \"/dev/null\"\n{line}"
        ))
    };
    let is_used = |line: &str| with(line).unwrap().disks[0].io_poll;
    assert!(is_used(""));
    assert!(is_used("io_poll = \"auto\"\n"));
    assert!(!is_used("io_poll = \"off\"\n"));
    let refused = with("io_poll = \"on\"\n").unwrap_err();
    assert!(
        refused.starts_with("ledge.toml:6: ") && refused.contains("\"auto\" or \"off\""),
        "{refused}"
    );
}

#[test]
fn disks_are_found_only_when_that_is_asked_for() {
    let finds = |line: &str| check(&format!("{PORT}[discover]\n{line}\n"));
    assert!(!check(PORT).unwrap().finds_disks);
    assert!(!finds("").unwrap().finds_disks);
    assert!(!finds("disks = \"off\"").unwrap().finds_disks);
    assert!(finds("disks = \"auto\"").unwrap().finds_disks);
    let refused = finds("disks = \"all\"").unwrap_err();
    assert!(refused.starts_with("ledge.toml:4: "), "{refused}");
    assert!(refused.contains("must be \"auto\" or \"off\""), "{refused}");
    assert!(finds("disk = \"auto\"").is_err());
    let null =
        format!("{PORT}[discover]\ndisks = \"auto\"\n[[disk]]\nslot = 0\npath = \"null:1G\"\n");
    let refused = check(&null).unwrap_err();
    assert!(refused.contains("null drive"), "{refused}");
}

/// The chain of causes is printed as a whole: a cause in the text of its consequence came twice.
#[test]
fn a_file_that_cannot_be_read_is_told_once() {
    let error = load(Path::new("/nonexistent/ledge.toml")).unwrap_err();
    let text = format!("{:#}", anyhow::Error::from(error));
    assert_eq!(text.matches("No such file").count(), 1, "{text}");
}
