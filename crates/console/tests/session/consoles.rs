//! Consoles and those who use them: `sessions kick users passwd log history alerts cecenable cecdisable
//! cecstat`.

use super::Bench;
use aoe::MacAddress;
use console::Next;
use console::host::{
    Caller, CecSession, CecStatus, ConsoleStatus, DoorKind, EntryKind, LogEntry, Role, Trouble,
};
use console::protocol::{PromptKind, Request};
use std::time::Duration;

fn caller(user: &str, role: Role) -> Caller {
    Caller {
        user: user.to_owned(),
        role,
        door: DoorKind::Ethernet,
        address: "020000000001 tag 5 on eth1".to_owned(),
    }
}

fn with_users() -> Bench {
    let mut bench = Bench::new();
    let admin = (Role::Admin, Some("old secret".to_owned()));
    bench.host.users.insert("admin".to_owned(), admin);
    bench
        .host
        .users
        .insert("ann".to_owned(), (Role::Reader, None));
    bench
}

/// Answers a question that must not be seen; what comes back is never what was typed.
fn secret(bench: &mut Bench, answer: &str) -> (String, Next) {
    let reply = bench.line(answer);
    assert!(answer.is_empty() || !reply.output.contains(answer));
    assert!(!format!("{:?}", bench.session).contains("secret"));
    (reply.output, reply.next)
}

fn question(next: &Next) -> &str {
    match next {
        Next::Answer {
            prompt,
            is_secret: true,
        } => prompt,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_old_password_is_asked_for_first_and_the_new_one_twice() {
    let mut bench = with_users();
    bench.who = caller("admin", Role::Admin);
    let reply = bench.line("passwd");
    assert_eq!(question(&reply.next), "Old Password of admin: ");
    let (_, next) = secret(&mut bench, "old secret");
    assert_eq!(question(&next), "New Password of admin: ");
    let (_, next) = secret(&mut bench, "new secret");
    assert_eq!(question(&next), "New Password of admin again: ");
    assert_eq!(
        secret(&mut bench, "new secret"),
        (String::new(), Next::Command)
    );
    assert_eq!(bench.host.users["admin"].1.as_deref(), Some("new secret"));
}

#[test]
fn a_password_is_not_changed_by_halves() {
    let mut bench = with_users();
    bench.who = caller("admin", Role::Admin);
    bench.line("passwd");
    let (output, next) = secret(&mut bench, "wrong");
    assert_eq!(
        (output.as_str(), next),
        ("error: that is not the old password\n", Next::Command)
    );
    bench.line("passwd ann");
    secret(&mut bench, "one secret");
    let (output, _) = secret(&mut bench, "other secret");
    assert_eq!(output, "error: the two are not the same\n");
    bench.line("passwd ann");
    assert_eq!(secret(&mut bench, "").0, "action canceled\n");
    bench.line("passwd ann");
    assert_eq!(bench.session.cancel().output, "action canceled\n");
    assert_eq!(bench.host.users["ann"].1, None);
    assert_eq!(bench.bad("passwd bob"), "error: user bob does not exist\n");
    assert_eq!(bench.bad("passwd ann hunter2"), "usage: passwd [user]\n");
}

#[test]
fn readers_change_nothing_but_their_own_password() {
    let mut bench = with_users();
    bench.who = caller("ann", Role::Reader);
    let reply = bench.line("passwd");
    assert_eq!(
        question(&reply.next),
        "New Password of ann: ",
        "there is no old one"
    );
    bench.session.cancel();
    assert!(bench.bad("passwd admin").contains("ann may only look"));
    for line in [
        "users add eve admin",
        "users role ann admin",
        "users remove admin",
        "kick 1",
        "cecenable eth1",
        "cecdisable eth1",
        "alerts ack 1",
    ] {
        let output = bench.bad(line);
        assert!(output.contains("ann may only look"), "{line}: {output}");
    }
    for line in ["users", "sessions", "cecstat", "log", "history", "alerts"] {
        bench.good(line);
    }
}

#[test]
fn whoever_comes_by_the_control_socket_sets_passwords_that_were_forgotten() {
    let mut bench = with_users();
    let request = Request::Line("passwd".to_owned());
    let response = bench.request(&request);
    assert_eq!(response.prompt.kind, PromptKind::Secret);
    assert_eq!(response.prompt.text, "New Password of admin: ");
    for _ in 0..2 {
        bench.request(&Request::Answer("a new secret".to_owned()));
    }
    assert_eq!(bench.host.users["admin"].1.as_deref(), Some("a new secret"));
}

#[test]
fn users_are_listed_and_changed() {
    let mut bench = with_users();
    let expected = "USER             ROLE      PASSWORD\n\
                    admin            admin     set\n\
                    ann              read-only none\n";
    assert_eq!(bench.good("users"), expected);
    bench.silent("users add bob admin");
    bench.silent("users role ann admin");
    bench.silent("users remove -f bob");
    let json = "{\"schema\":1,\"ok\":true,\"data\":[{\"user\":\"admin\",\"role\":\"admin\",\"has_password\":true},\
                {\"user\":\"ann\",\"role\":\"admin\",\"has_password\":false}]}\n";
    assert_eq!(bench.good("users -j"), json);
    assert_eq!(
        bench.bad("users remove bob"),
        "error: user bob does not exist\n"
    );
    let output = bench.bad("users add eve king");
    assert_eq!(
        output,
        "error: king is no role; there are admin and read-only\n"
    );
    for line in ["users add", "users add eve", "users ann", "users role ann"] {
        assert!(bench.bad(line).starts_with("usage: users"), "{line}");
    }
}

/// A console, where somebody watches a list if somebody has come in.
fn console(id: u64, user: Option<(&str, Role)>) -> ConsoleStatus {
    ConsoleStatus {
        id,
        door: DoorKind::Ethernet,
        user: user.map(|(user, role)| (user.to_owned(), role)),
        address: "020000000001 tag 5 on eth1".to_owned(),
        since_unix_seconds: 1_800_000_000 - 3661,
        idle: Duration::from_secs(75),
        running: user.map(|_| "when -w".to_owned()),
    }
}

/// Two consoles, two users, two ports, a log, and something to mend.
pub(super) fn busy() -> Bench {
    let mut bench = with_users();
    bench.host.consoles = vec![console(1, Some(("admin", Role::Admin))), console(12, None)];
    let session = CecSession {
        id: 1,
        mac: MacAddress([2, 0, 0, 0, 0, 1]),
        tag: 5,
        counters: vec![("sent_bytes", 7), ("resent", 1)],
    };
    let port = |interface: &str, is_enabled| CecStatus {
        interface: interface.to_owned(),
        is_enabled,
        admitted: Vec::new(),
        sessions: Vec::new(),
    };
    bench.host.cec = vec![port("eth1", true), port("eth2", false)];
    bench.host.cec[0].admitted = vec![MacAddress([2, 0, 0, 0, 0, 1])];
    bench.host.cec[0].sessions = vec![session];
    let mut command = entry(EntryKind::Command, "remove 0", true);
    command.answers = vec!["y".to_owned()];
    bench.host.log = vec![
        entry(EntryKind::Login, "log-in", true),
        command,
        entry(EntryKind::Command, "online 9", false),
        entry(EntryKind::Event, "LUN 1.0 removed", true),
    ];
    bench.shelf.ports[0].has_link = false;
    bench
}

#[test]
fn consoles_are_listed_and_ended() {
    let mut bench = Bench::new();
    bench.host.consoles = vec![console(1, Some(("admin", Role::Admin))), console(12, None)];
    let expected = " ID DOOR   USER         ROLE           OPEN      IDLE FROM\n\
        \x20 1 cec    admin        admin       1:01:01   0:01:15 020000000001 tag 5 on eth1: when -w\n\
        \x2012 cec    -            -           1:01:01   0:01:15 020000000001 tag 5 on eth1\n";
    assert_eq!(bench.good("sessions"), expected);
    let json = "{\"schema\":1,\"ok\":true,\"data\":[{\"id\":12,\"door\":\"cec\",\"user\":null,\"role\":null,\
        \"address\":\"020000000001 tag 5 on eth1\",\"since_unix_seconds\":1799996339,\"idle_seconds\":75,\
        \"running\":null}]}\n";
    bench.silent("kick 1");
    assert_eq!(bench.good("sessions -j"), json);
    assert_eq!(
        bench.bad("kick 1 12"),
        "error: no console 1 is open\nskipping: 12\n"
    );
    assert!(bench.bad("kick ann").starts_with("error: ann is no number"));
    assert_eq!(bench.bad("kick"), "usage: kick id ...\n");
}

#[test]
fn the_ethernet_console_is_switched_port_by_port() {
    let mut bench = Bench::new();
    let session = CecSession {
        id: 3,
        mac: MacAddress([2, 0, 0, 0, 0, 1]),
        tag: 5,
        counters: vec![("sent_bytes", 7), ("resent", 1)],
    };
    let port = |interface: &str| CecStatus {
        interface: interface.to_owned(),
        is_enabled: false,
        admitted: Vec::new(),
        sessions: Vec::new(),
    };
    bench.host.cec = vec![port("eth1"), port("eth2")];
    bench.silent("cecenable eth1 eth2");
    bench.silent("cecoff eth1");
    assert_eq!(
        bench.good("cecstat"),
        "NAME              CEC\neth1         disabled\neth2          enabled\n"
    );
    bench.host.cec[1].admitted = vec![MacAddress([2, 0, 0, 0, 0, 1])];
    bench.host.cec[1].sessions = vec![session];
    let long = "NAME              CEC\neth2          enabled\n\
        \x20 answers only 020000000001\n\
        \x20 session 3 020000000001 tag 5: sent_bytes 7, resent 1\n";
    assert_eq!(bench.good("cecstat -l eth2"), long);
    let json = "{\"schema\":1,\"ok\":true,\"data\":[{\"name\":\"eth2\",\"enabled\":true,\"admitted\":[\"020000000001\"],\
        \"sessions\":[{\"id\":3,\"mac\":\"020000000001\",\"tag\":5,\"counters\":{\"sent_bytes\":7,\"resent\":1}}]}]}\n";
    assert_eq!(bench.good("cecstat -j eth2"), json);
    let output = bench.bad("cecon eth9 eth1");
    assert_eq!(
        output,
        "error: interface eth9 does not exist\nskipping: eth1\n"
    );
    assert!(bench.bad("cecstat eth9").contains("eth9 does not exist"));
}

fn entry(kind: EntryKind, text: &str, ok: bool) -> LogEntry {
    let who = (kind != EntryKind::Event).then(|| "ann".to_owned());
    LogEntry {
        time: "2026-11-27T01:02:03Z".to_owned(),
        kind,
        session: who.as_ref().map(|_| 3),
        user: who.clone(),
        role: who.as_ref().map(|_| "admin".to_owned()),
        door: who.as_ref().map(|_| "cec".to_owned()),
        address: None,
        text: text.to_owned(),
        answers: Vec::new(),
        ok,
        result: if ok { "notice" } else { "error: no" }.to_owned(),
    }
}

#[test]
fn the_log_tells_who_did_what_and_goes_on() {
    let mut bench = Bench::new();
    let mut command = entry(EntryKind::Command, "remove 0", true);
    command.answers = vec!["y".to_owned()];
    bench.host.log = vec![
        entry(EntryKind::Login, "log-in", true),
        command,
        entry(EntryKind::Command, "online 9", false),
        entry(EntryKind::Event, "LUN 1.0 removed", true),
    ];
    let removed = "2026-11-27T01:02:03Z ann by cec #3: remove 0 [y]\n";
    let refused = "2026-11-27T01:02:03Z ann by cec #3: online 9 -> error: no\n";
    let event = "2026-11-27T01:02:03Z LUN 1.0 removed (notice)\n";
    assert_eq!(bench.good("log -n 3"), format!("{removed}{refused}{event}"));
    assert_eq!(bench.good("history"), format!("{removed}{refused}"));
    assert_eq!(bench.good("history -n 1"), refused);
    assert!(
        bench
            .good("history -j -n 1")
            .contains("\"text\":\"online 9\",\"ok\":false")
    );
    assert!(bench.bad("log -n 0").contains("no number of lines"));
    let reply = bench.line("log -n 1 -f");
    assert_eq!(reply.output, event);
    assert!(matches!(reply.next, Next::Later { .. }));
    bench
        .host
        .log
        .push(entry(EntryKind::Event, "port eth1 has no link", true));
    let reply = bench.go_on();
    assert_eq!(
        reply.output,
        "2026-11-27T01:02:03Z port eth1 has no link (notice)\n"
    );
    assert!(matches!(reply.next, Next::Later { .. }));
    bench.session.cancel();
}

#[test]
fn alerts_are_the_problems_that_somebody_has_to_mend() {
    let mut bench = Bench::new();
    assert_eq!(bench.good("alerts"), "");
    bench.shelf.ports[0].has_link = false;
    bench.host.troubles = vec![Trouble {
        subject: "the log".to_owned(),
        problem: "is full".to_owned(),
        advice: "make room".to_owned(),
    }];
    let link = "  1 port eth1 has no link; look at the cable and the switch";
    let log = "  2 the log is full; make room";
    assert_eq!(bench.good("alerts"), format!("{link}\n{log}\n"));
    bench.silent("alerts ack 1");
    assert_eq!(
        bench.good("alerts"),
        format!("{link} (acknowledged by root)\n{log}\n")
    );
    assert!(
        bench
            .good("health")
            .ends_with("the log is full; make room\n")
    );
    assert_eq!(
        bench.bad("alerts ack 3 1"),
        "error: no alert 3 is open\nskipping: 1\n"
    );
    for line in ["alerts ack", "alerts 1", "alerts nack 1"] {
        assert_eq!(bench.bad(line), "usage: alerts [ack id ...]\n");
    }
}
