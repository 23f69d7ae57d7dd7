//! The `cec` program against a toy console on a real wire.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod toy;

use rustix::process::Signal;
use rustix::termios::LocalModes;
use testbed::pty::Pty;
use toy::{Toy, big, cec, network, pipe};

#[test]
fn a_probe_prints_one_row_per_shelf_and_fails_when_there_is_none() {
    let Some(network) = network() else { return };
    let output = pipe(&network, "-s 7 -w 1", b"");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr, "Probing for shelves ... none found.\n");
    assert_eq!(pipe(&network, "-p -w 1", b"").status.code(), Some(1));
    let toy = Toy::start(&network);
    let output = pipe(&network, "-p -w 1", b"");
    let row = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        row.starts_with("7       ") && row.len() == 8 + 12 + 1,
        "{row:?}"
    );
    let mac = row.trim_end()[8..].to_owned();
    assert_eq!(mac, mac.to_uppercase());
    let output = pipe(&network, &format!("-m {mac}"), b"x\r");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(pipe(&network, "-w 1 -s 8", b"").status.code(), Some(1));
    drop(toy);
}

#[test]
fn piped_input_gets_its_whole_answer_and_status_0() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let output = pipe(&network, "-q -s 7", b"big\rslow\r");
    let mut expected = b"toy> big\r\n".to_vec();
    expected.extend(big());
    expected.extend(b"toy> slow\r\nat last\r\ntoy> ");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(
        output.stdout == expected,
        "{} bytes came",
        output.stdout.len()
    );

    let mut long = vec![b'z'; 20_000];
    long.push(b'\r');
    let output = pipe(&network, "-q -s 7", &long);
    assert!(output.stdout.ends_with(b"z\r\n20000 bytes\r\ntoy> "));

    let output = pipe(&network, "-q", b"7\nhi\r");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("SHELF | EA\n7       "), "{stdout:?}");
    assert!(
        stdout.ends_with("\n[#qp]: toy> hi\r\n2 bytes\r\ntoy> "),
        "{stdout:?}"
    );
    drop(toy);
}

#[test]
fn a_batch_beside_an_open_session_leaves_that_alone() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let mut user = Pty::start(cec(&network, "-s 7")).unwrap();
    user.expect("toy> ").unwrap();
    let output = pipe(&network, "-q -s 7", b"hi\r");
    assert_eq!(output.stdout, b"toy> hi\r\n2 bytes\r\ntoy> ");
    assert_eq!(output.status.code(), Some(0));
    user.type_text("still\r").unwrap();
    user.expect("5 bytes\r\ntoy> ").unwrap();
    user.type_text("bye\r").unwrap();
    assert_eq!(user.exit_code().unwrap(), Some(0));
    drop(toy);
}

#[test]
fn a_user_has_echo_the_escape_menu_and_a_session_that_survives_a_restart() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let mut user = Pty::start(cec(&network, "-s 7 -e d")).unwrap();
    user.expect("Probing for shelves ... shelf 7 found.")
        .unwrap();
    user.expect("Escape is Ctrl-d").unwrap();
    user.expect("toy> ").unwrap();
    user.type_text("abc\r").unwrap();
    user.expect("abc\r\n3 bytes\r\ntoy> ").unwrap();
    user.type_text("\x04i\r").unwrap();
    user.expect(">>> ").unwrap();
    user.expect("\x04").unwrap();
    user.type_text("\r").unwrap();
    user.expect("1 bytes\r\ntoy> ").unwrap();
    drop(toy);
    let toy = Toy::start(&network);
    user.type_text("again\r").unwrap();
    user.expect("toy> ").unwrap();
    user.expect("5 bytes\r\ntoy> ").unwrap();
    user.type_text("\x04").unwrap();
    user.expect(">>> ").unwrap();
    user.type_text("q").unwrap();
    assert_eq!(user.exit_code().unwrap(), Some(0));
    drop(toy);
}

#[test]
fn the_picker_asks_again_after_a_session_and_the_shelf_can_end_one() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let mut user = Pty::start(cec(&network, "-w 1")).unwrap();
    user.expect("SHELF | EA\r\n7       ").unwrap();
    user.expect("[#qp]: ").unwrap();
    user.type_text("8\n").unwrap();
    user.expect("[#qp]: ").unwrap();
    user.type_text("7\n").unwrap();
    user.expect("connecting ... ").unwrap();
    user.expect("toy> ").unwrap();
    user.type_text("bye\r").unwrap();
    user.expect("[#qp]: ").unwrap();
    user.type_text("p\n").unwrap();
    user.expect("done.").unwrap();
    user.expect("[#qp]: ").unwrap();
    user.type_text("7\n").unwrap();
    user.expect("toy> ").unwrap();
    drop(toy);
    user.type_text("x").unwrap();
    user.expect("Connection timed out").unwrap();
    user.expect("[#qp]: ").unwrap();
    user.type_text("q\n").unwrap();
    assert_eq!(user.exit_code().unwrap(), Some(0));
}

#[test]
fn a_signal_ends_the_session_and_restores_the_terminal() {
    let Some(network) = network() else { return };
    let toy = Toy::start(&network);
    let mut user = Pty::start(cec(&network, "-s 7")).unwrap();
    user.expect("toy> ").unwrap();
    let during = user.local_modes().unwrap();
    assert!(!during.contains(LocalModes::ICANON), "raw mode");
    user.signal(Signal::TERM).unwrap();
    assert_eq!(user.exit_code().unwrap(), Some(128 + 15));
    assert_eq!(user.local_modes().unwrap(), user.modes_before());
    drop(toy);
}
