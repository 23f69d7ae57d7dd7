//! The command line of cec-14, row by row: each option and each text that scripts wait for, and where each
//! text goes. What is done otherwise, and why, stands in the test of its row.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod toy;

use std::process::Output;
use testbed::PairNetwork;
use testbed::pty::Pty;
use toy::{Toy, big, cec, network, pipe};

/// What a run has said: its status, standard output and standard error.
fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// The address of the shelf, as `-p` prints it.
fn address(network: &PairNetwork) -> String {
    let (_, row, _) = said(&pipe(network, "-p -w 1", b""));
    row.trim_end().rsplit(' ').next().unwrap().to_owned()
}

/// Where the words of a session go: what the shelf says to the standard output, all else to the error.
#[test]
fn row_s_connects_to_a_shelf_by_number_and_exits_when_the_session_ends() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let expected =
        "Probing for shelves ... shelf 7 found.\nconnecting ... done.\nEscape is Ctrl-\\\n";
    let (status, stdout, stderr) = said(&pipe(&network, "-s 7", b"bye\r"));
    assert_eq!(
        (status, stdout.as_str(), stderr.as_str()),
        (Some(0), "toy> bye\r\n", expected)
    );
    let mut user = Pty::start(cec(&network, "-s7")).unwrap();
    user.expect("toy> ").unwrap();
    user.type_text("bye\r").unwrap();
    assert_eq!(user.exit_code().unwrap(), Some(0));
    assert!(!user.heard().contains("[#qp]"), "no picker after it");
    drop(toy);
}

#[test]
fn row_s_takes_the_number_of_a_shelf_that_has_none() {
    let Some(network) = network() else { return };
    let (status, stdout, stderr) = said(&pipe(&network, "-s -1 -w 1", b""));
    assert_eq!(
        (status, stdout.as_str(), stderr.as_str()),
        (Some(1), "", "Probing for shelves ... none found.\n")
    );
}

/// Twelve digits, with colons or without, in either case.
#[test]
fn row_m_connects_to_a_port_by_its_address() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let upper = address(&network);
    let lower = upper.to_lowercase();
    let pairs: Vec<&str> = (0..6).map(|n| &lower[2 * n..2 * n + 2]).collect();
    for mac in [upper.clone(), lower.clone(), pairs.join(":")] {
        let output = said(&pipe(&network, &format!("-q -m {mac}"), b"hi\r"));
        assert_eq!(
            output,
            (
                Some(0),
                "toy> hi\r\n2 bytes\r\ntoy> ".to_owned(),
                String::new()
            ),
            "{mac}"
        );
    }
    let (status, _, stderr) = said(&pipe(&network, "-w 1 -m 020000000099", b""));
    assert_eq!(status, Some(1));
    assert!(stderr.ends_with("none found.\n"), "{stderr}");
    let (status, _, stderr) = said(&pipe(&network, "-m 02000000", b""));
    assert_eq!(status, Some(1));
    assert!(stderr.contains("-m"), "{stderr}");
    drop(toy);
}

/// A row per shelf without a header: number to the left in 5, 3 blanks, addresses in capitals. It says
/// nothing else.
#[test]
fn row_p_prints_the_shelves_and_exits() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let (status, stdout, stderr) = said(&pipe(&network, "-p -w 1", b""));
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    let mac = stdout.strip_prefix("7       ").unwrap().trim_end();
    assert!(stdout.ends_with('\n') && stdout.lines().count() == 1);
    let is_upper_hex = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
    assert!(mac.len() == 12 && mac.bytes().all(is_upper_hex), "{mac}");
    // With a number as well, that one only.
    assert_eq!(said(&pipe(&network, "-p -s 7 -w 1", b"")).1, stdout);
    drop(toy);
    let none = said(&pipe(&network, "-p -w 1", b""));
    assert_eq!(none, (Some(1), String::new(), String::new()));
}

#[test]
fn row_e_takes_any_control_key_from_a_to_y() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    for (key, byte) in [("a", "\x01"), ("y", "\x19"), ("d", "\x04")] {
        let mut user = Pty::start(cec(&network, &format!("-s 7 -e {key}"))).unwrap();
        user.expect(&format!("Escape is Ctrl-{key}")).unwrap();
        user.expect("toy> ").unwrap();
        user.type_text(byte).unwrap();
        user.expect(">>> ").unwrap();
        user.type_text("q").unwrap();
        assert_eq!(user.exit_code().unwrap(), Some(0));
    }
    for wrong in ["z", "A", "ab", "1", ""] {
        let mut command = cec(&network, "-s 7");
        command.args(["-e", wrong]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{wrong:?}");
    }
    drop(toy);
}

/// The menu: q leaves, i sends the escape itself, . goes on. The original sends the letter i for that, so
/// that no shelf can ever be sent the escape.
#[test]
fn row_e_the_menu_sends_the_escape_itself() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let mut user = Pty::start(cec(&network, "-s 7 -e a")).unwrap();
    user.expect("toy> ").unwrap();
    user.type_text("\x01i").unwrap();
    user.expect(">>> ").unwrap();
    user.expect("\x01").unwrap();
    user.type_text("\x01.").unwrap();
    user.expect(">>> ").unwrap();
    user.type_text("x").unwrap();
    user.expect("x").unwrap();
    user.type_text("\x01?").unwrap();
    user.expect("q: quit, i: send Ctrl-a, .: continue").unwrap();
    user.expect(">>> ").unwrap();
    user.type_text(".\r").unwrap();
    user.expect("\r\n").unwrap();
    user.type_text("\r").unwrap();
    user.expect("2 bytes\r\ntoy> ").unwrap();
    user.type_text("\x01q").unwrap();
    assert_eq!(user.exit_code().unwrap(), Some(0));
    drop(toy);
}

/// How long it waits for offers: it needs two seconds, or as many as are asked for, and not none.
#[test]
fn row_w_waits_for_offers() {
    let Some(network) = network() else { return };
    let time_of = |options: &str| {
        let begun = std::time::Instant::now();
        assert_eq!(pipe(&network, options, b"").status.code(), Some(1));
        begun.elapsed().as_secs()
    };
    assert!(time_of("-q -s 7") >= 2);
    assert!(time_of("-q -s 7 -w 4") >= 4);
    for wrong in ["0", "-1", "x"] {
        let (status, _, stderr) = said(&pipe(&network, &format!("-w {wrong}"), b""));
        assert_eq!(status, Some(1), "{wrong}");
        assert!(
            !stderr.is_empty() && !stderr.contains("Probing"),
            "{stderr}"
        );
    }
}

#[test]
fn row_q_says_nothing_but_the_session() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let output = said(&pipe(&network, "-q -s 7", b"bye\r"));
    assert_eq!(output, (Some(0), "toy> bye\r\n".to_owned(), String::new()));
    drop(toy);
}

/// Every frame in a line of the standard error, with its direction.
#[test]
fn row_d_dumps_the_frames() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let (status, stdout, stderr) = said(&pipe(&network, "-q -d -s 7", b"bye\r"));
    assert_eq!((status, stdout.as_str()), (Some(0), "toy> bye\r\n"));
    for kind in ["Tdiscover", "Tinita", "Tinitc", "Tdata", "Tack"] {
        let is_sent = |line: &str| line.starts_with("> ") && line.contains(kind);
        assert!(stderr.lines().any(is_sent), "no {kind} in {stderr}");
    }
    for kind in ["Toffer", "Tinitb", "Tdata", "Tack", "Treset"] {
        let is_heard = |line: &str| line.starts_with("< ") && line.contains(kind);
        assert!(stderr.lines().any(is_heard), "no {kind} in {stderr}");
    }
    drop(toy);
}

#[test]
fn row_v_and_the_question_mark_tell_and_do_nothing() {
    let run = |option: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cec"));
        said(&command.arg(option).output().unwrap())
    };
    let (status, stdout, stderr) = run("-v");
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert!(stdout.starts_with("cec "), "{stdout}");
    let (status, stdout, _) = run("-?");
    assert_eq!(status, Some(0));
    for option in ["-s", "-m", "-p", "-e", "-w", "-q", "-d", "-v", "INTERFACE"] {
        assert!(stdout.contains(option), "no {option} in {stdout}");
    }
    // Without an interface nothing can be done.
    let (status, stdout, stderr) = run("-q");
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("INTERFACE"), "{stderr}");
}

#[test]
fn row_argument_names_an_interface() {
    let Some(network) = network() else { return };
    let mut command = network.client.command(env!("CARGO_BIN_EXE_cec"));
    command.args(["-s", "7", "eth9"]);
    let (status, stdout, stderr) = said(&command.output().unwrap());
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    assert!(
        stderr.starts_with("cec: ") && stderr.contains("eth9"),
        "{stderr}"
    );
}

/// `SHELF | EA` and its rows and `[#qp]: ` go to the standard output; p asks anew, q ends.
#[test]
fn row_strings_of_the_picker() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let mac = address(&network);
    let table = format!("SHELF | EA\n7       {mac}\n[#qp]: ");
    let input = format!("p\n8\nnonsense\n7 {mac}\nhi\r");
    let (status, stdout, stderr) = said(&pipe(&network, "-w 1", input.as_bytes()));
    assert_eq!(status, Some(0));
    let expected = format!("{}toy> hi\r\n2 bytes\r\ntoy> ", table.repeat(4));
    assert_eq!(stdout, expected);
    let probing = "Probing for shelves ... done.\n".repeat(2);
    let expected = format!("{probing}connecting ... done.\nEscape is Ctrl-\\\n");
    assert_eq!(stderr, expected);
    assert_eq!(said(&pipe(&network, "-q -w 1", b"q\n")).0, Some(0));
    drop(toy);
    let (status, stdout, stderr) = said(&pipe(&network, "-w 1", b""));
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    assert_eq!(stderr, "Probing for shelves ... none found.\n");
}

/// The original exits with 0 whatever has happened to a connection; so do we at a terminal, where somebody
/// has read it. A script is told by status 1.
#[test]
fn row_strings_of_a_connection_that_is_lost() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let mut user = Pty::start(cec(&network, "-s 7")).unwrap();
    user.expect("toy> ").unwrap();
    let mut script = cec(&network, "-q -s 7");
    script.stdin(std::process::Stdio::piped());
    script.stdout(std::process::Stdio::piped());
    script.stderr(std::process::Stdio::piped());
    let mut script = script.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    drop(toy);
    user.type_text("x").unwrap();
    user.expect("Connection timed out").unwrap();
    assert_eq!(user.exit_code().unwrap(), Some(0));
    std::io::Write::write_all(script.stdin.as_mut().unwrap(), b"hi\r").unwrap();
    let (status, _, stderr) = said(&script.wait_with_output().unwrap());
    assert_eq!(
        (status, stderr.as_str()),
        (Some(1), "Connection timed out\n")
    );
}

/// A shelf that answers probes and no handshake: the original says so and exits with 0.
#[test]
fn row_strings_of_a_connection_that_is_refused() {
    let Some(network) = network() else { return };
    let toy = Toy::mute(&network);
    let mut user = Pty::start(cec(&network, "-s 7 -w 1")).unwrap();
    user.expect("connecting ... ").unwrap();
    user.expect("connection failed.").unwrap();
    assert_eq!(user.exit_code().unwrap(), Some(0));
    let (status, stdout, stderr) = said(&pipe(&network, "-s 7 -w 1", b"hi\r"));
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    assert!(
        stderr.ends_with("connecting ... connection failed.\n"),
        "{stderr}"
    );
    drop(toy);
}

/// Also what is long comes whole, and only when it is there does it exit.
#[test]
fn row_output_of_a_script_is_whole() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let (status, stdout, _) = said(&pipe(&network, "-q -s 7", b"big\r"));
    assert_eq!(status, Some(0));
    let big = String::from_utf8(big()).unwrap();
    assert_eq!(stdout, format!("toy> big\r\n{big}toy> "));
    drop(toy);
}
