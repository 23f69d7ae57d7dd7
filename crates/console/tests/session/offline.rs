//! `offline` of LUNs that hosts use.

use super::Bench;
use super::statistics::heard;
use console::Next;
use console::protocol::Request;
use shelf::admin::Admin;
use shelf::statistics::Tally;
use std::time::Duration;

/// What is said before the question about LUN 0 of [`heard`].
const TOLD: &str =
    "Request to take LUN 0 offline, which is in use by 020000000001 (eth1, heard 2 s ago)\n";

fn is_online(bench: &Bench, lun: usize) -> bool {
    bench.shelf.luns()[lun].online
}

#[test]
fn whoever_takes_away_what_hosts_use_is_asked() {
    let mut bench = heard();
    let question = "'n' to cancel, or 'y' to take LUN 0 offline [n]: ";
    assert_eq!(bench.asks("offline 0"), (TOLD.into(), question.into()));
    assert!(is_online(&bench, 0));
    assert_eq!(bench.bad(""), "action canceled\n");
    assert!(is_online(&bench, 0));
    bench.asks("offline 0");
    bench.silent("y");
    assert!(!is_online(&bench, 0));
    bench.silent("offline 0");
}

#[test]
fn all_hosts_are_told_those_first_that_were_heard_last() {
    let mut bench = heard();
    bench.silent("online 3");
    let (told, question) = bench.asks("offline 0 3");
    let other =
        "Request to take LUN 3 offline, which is in use by 020000000002 (eth1, heard 2 s ago)\n";
    assert_eq!(told, format!("{TOLD}{other}"));
    assert_eq!(
        question,
        "'n' to cancel, or 'y' to take LUNs 0 3 offline [n]: "
    );
    bench.bad("n");
    let known = &mut bench.shelf.initiators.known;
    let one = known[0].clone();
    for last in 3..13 {
        let mut more = one.clone();
        more.statistics.mac.0[5] = last;
        more.statistics.last_seen = Duration::from_secs(20 - u64::from(last));
        known.push(more);
    }
    let (told, _) = bench.asks("offline 0");
    let first =
        "in use by 020000000001 (eth1, heard 2 s ago), 02000000000c (eth1, heard 8 s ago), ";
    assert!(told.contains(first), "{told}");
    assert!(told.ends_with(", and 3 more: initiators\n"), "{told}");
}

#[test]
fn scripts_and_those_who_insist_are_not_asked() {
    let mut bench = heard();
    bench.silent("offline -f 0");
    assert!(!is_online(&bench, 0));
    let mut bench = heard();
    bench.line("set batch on");
    assert_eq!(bench.good("offline 0"), "OK\n");
    assert!(!is_online(&bench, 0));
    let mut bench = heard();
    bench
        .session
        .request(&mut world!(bench), &Request::Unattended);
    bench.silent("offline 0");
    assert!(!is_online(&bench, 0));
    let mut bench = heard();
    assert_eq!(bench.good("offline -n 0"), "would take LUN 0 offline\n");
    assert!(is_online(&bench, 0));
}

#[test]
fn nobody_is_asked_about_what_nobody_uses() {
    let silent: [fn(&mut Bench); 3] = [
        |bench| bench.shelf.initiators.known[0].statistics.last_seen = Duration::from_secs(60),
        |bench| bench.shelf.initiators.known[0].statistics.luns.clear(),
        // It only looks who is there, and is masked.
        |bench| {
            bench.shelf.initiators.known[0].statistics.tally = Tally {
                configs: 9,
                masked: 9,
                ..Tally::default()
            };
        },
    ];
    for change in silent {
        let mut bench = heard();
        change(&mut bench);
        bench.silent("offline 0");
        assert!(!is_online(&bench, 0));
    }
    // It is offline already.
    heard().silent("offline 1");
}

/// What comes behind a word that is wrong is not done, so that nobody is asked about it.
#[test]
fn only_what_would_be_done_is_asked_about() {
    let mut bench = heard();
    let output = "error: LUN 9 does not exist\nskipping: 0\n";
    assert_eq!(bench.bad("offline 9 0"), output);
    assert!(is_online(&bench, 0));
    assert_eq!(bench.asks("offline 0 9 1").0, TOLD);
    let output = "error: LUN 9 does not exist\nskipping: 1\n";
    assert_eq!(bench.bad("y"), output);
    assert!(!is_online(&bench, 0));
}

#[test]
fn an_answer_is_about_the_lun_that_was_asked_about() {
    let mut bench = heard();
    bench.asks("offline 0");
    let lun = bench.shelf.luns[0].lun;
    bench.shelf.offline(lun).unwrap();
    let output = "error: LUN 0 has gone offline since you were asked; action canceled\n";
    assert_eq!(bench.bad("y"), output);
}

#[test]
fn a_question_is_one_document_in_json_when_it_is_answered() {
    let mut bench = heard();
    let reply = bench.line("offline -j 0");
    assert!(matches!(reply.next, Next::Answer { .. }) && reply.output.is_empty());
    assert_eq!(bench.good("y"), "{\"schema\":1,\"ok\":true,\"data\":[]}\n");
}
