//! Listings that are shown anew, and waiting that tells how far it is.

use super::Bench;
use console::Next;
use console::session::PAGE;
use shelf::admin::LunNumber;
use shelf::plane::{RunningPass, SyncKind, SyncProgress};
use std::time::Duration;

/// A resynchronisation of LUN 0, of which so many of 1000 GB are done.
fn pass(done_gb: u64) -> RunningPass {
    let sectors = |gb: u64| gb * 1_000_000_000 / 512;
    RunningPass {
        progress: SyncProgress {
            lun: LunNumber::new(0).unwrap(),
            part: 0,
            kind: SyncKind::Resync,
            begun_sectors: 0,
            done_sectors: sectors(done_gb),
            total_sectors: sectors(1000),
            pass: 1,
        },
        elapsed: Duration::from_secs(100),
    }
}

const SECOND: Next = Next::Later {
    after: Duration::from_secs(1),
};

#[test]
fn a_view_is_shown_anew_until_a_key_ends_it() {
    let mut bench = Bench::with_luns();
    let reply = bench.line("when -w");
    assert_eq!(
        reply.output,
        format!("{PAGE}nothing is going on\nany key ends this\n")
    );
    assert_eq!(reply.next, SECOND);
    bench.shelf.passes = vec![pass(10)];
    let reply = bench.session.go_on(&mut world!(bench));
    let row = "0.0 1.00% 100000.00 KBps 2:45:00 left\n";
    assert_eq!(reply.output, format!("{PAGE}{row}any key ends this\n"));
    assert_eq!((reply.next, reply.ok), (SECOND, true));
    let reply = bench.session.cancel();
    assert_eq!(
        (reply.output.as_str(), reply.ok, reply.next),
        ("", true, Next::Command)
    );
    // A view that fails is over, and so is one of a LUN that goes.
    assert_eq!(bench.bad("iostats -w 9"), "error: LUN 9 does not exist\n");
    assert_eq!(bench.line("iostats -w 1").next, SECOND);
    bench.shelf.luns.remove(1);
    let reply = bench.session.go_on(&mut world!(bench));
    assert_eq!(
        (reply.output.as_str(), reply.next),
        ("error: LUN 1 does not exist\n", Next::Command)
    );
    let json = bench.line("when -w -j");
    assert!(
        json.output
            .starts_with("{\"schema\":1,\"ok\":true,\"data\":[{\"lun\":0,"),
        "{}",
        json.output
    );
}

#[test]
fn waiting_tells_how_far_it_is_at_first_and_every_ten_seconds() {
    let mut bench = Bench::with_luns();
    bench.shelf.passes = vec![pass(10)];
    bench.shelf.luns[0].parts[0].state.initing = true;
    assert_eq!(
        bench.line("wait 0").output,
        "0.0 1.00% 100000.00 KBps 2:45:00 left\n"
    );
    bench.shelf.passes = vec![pass(20)];
    for seconds in 1..10 {
        bench.host.now = Duration::from_secs(seconds);
        assert_eq!(
            bench.session.go_on(&mut world!(bench)).output,
            "",
            "{seconds}"
        );
    }
    bench.host.now = Duration::from_secs(10);
    let reply = bench.session.go_on(&mut world!(bench));
    assert_eq!(reply.output, "0.0 2.00% 200000.00 KBps 1:21:40 left\n");
    bench.shelf.luns[0].parts[0].state.initing = false;
    assert_eq!(bench.session.go_on(&mut world!(bench)).next, Next::Command);
}
