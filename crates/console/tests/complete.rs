//! Completion and `?`, over a shelf in memory.

mod fake;

use console::Session;
use console::command::COMMANDS;
use console::complete::{Completion, complete, help};
use console::host::World;
use fake::{FakeHost, FakeShelf, administrator};

/// LUN 0 of four drives online, LUN 4 of one offline, a spare.
fn shelf() -> FakeShelf {
    let mut shelf = FakeShelf::new();
    for line in ["make 0 raid10 1.0-3", "online 0", "jbod 1.4", "spare 1.5"] {
        run(&mut shelf, line);
    }
    shelf
}

fn run(shelf: &mut FakeShelf, line: &str) {
    let mut world = World {
        admin: shelf,
        host: &mut FakeHost::default(),
        who: &administrator(),
    };
    assert!(Session::default().line(&mut world, line).ok, "{line}");
}

/// The candidates at the end of a line.
fn at(line: &str) -> Vec<String> {
    let found = complete(line, line.len(), &shelf());
    found.candidates.into_iter().map(|one| one.text).collect()
}

/// What a line becomes by Tab.
fn tab(line: &str) -> String {
    let found = complete(line, line.len(), &shelf());
    format!(
        "{}{}",
        &line[..found.start],
        found.insertion().unwrap_or_default()
    )
}

#[test]
fn commands_and_their_other_names() {
    assert_eq!(at("onl"), ["online"]);
    assert_eq!(tab("onl"), "online ");
    assert_eq!(at("mkl"), ["mklun"]);
    assert_eq!(at("spa"), ["spare", "spareled", "spares"]);
    assert_eq!(tab("spa"), "spare");
    assert!(at("").contains(&"make".to_owned()) && !at("").contains(&"mklun".to_owned()));
    assert_eq!(at("/onl"), ["/online"]);
    assert_eq!(at("nonsense"), Vec::<String>::new());
    assert_eq!(at("nonsense "), Vec::<String>::new());
}

#[test]
fn operands_are_those_that_the_command_can_use() {
    assert_eq!(at("make "), ["1"], "the first number that is free");
    assert_eq!(at("make 1 raid1"), ["raid1", "raid10"]);
    assert_eq!(at("make 1 raid1 ")[..2], ["1.6", "1.7"]);
    assert_eq!(at("make 1 raid1 1.6 ")[0], "1.7");
    assert_eq!(at("make 1 raid1 1.6-9 ")[0], "1.10");
    assert_eq!(at("make 1 raid1 m"), ["missing"]);
    assert_eq!(at("online "), ["4"]);
    assert_eq!(at("offline "), ["0"]);
    assert_eq!(at("list "), ["0", "4"]);
    assert_eq!(at("list 0 "), ["4"]);
    assert_eq!(at("fail 0.0."), ["0.0.0", "0.0.1", "0.0.2", "0.0.3"]);
    assert_eq!(at("unfail "), Vec::<String>::new());
    assert_eq!(at("rmspare "), ["1.5"]);
    assert_eq!(
        at("show 1.1"),
        ["1.1", "1.10", "1.11", "1.12", "1.13", "1.14", "1.15"]
    );
    assert_eq!(at("readonly o"), ["off", "on"]);
    assert_eq!(at("scrub po"), ["policy"]);
    assert_eq!(at("scrub policy l"), ["located"]);
    assert_eq!(at("help sho"), ["show"]);
    assert_eq!(tab("scrub schedule m"), "scrub schedule monthly ");
}

#[test]
fn a_series_is_completed_at_its_second_number() {
    assert_eq!(
        at("make 1 raid5 1.6-1"),
        ["1.6-10", "1.6-11", "1.6-12", "1.6-13", "1.6-14", "1.6-15"]
    );
    assert_eq!(at("make 1 raid5 1.13-"), ["1.13-14", "1.13-15"]);
    assert_eq!(tab("make 1 raid5 1.13-"), "make 1 raid5 1.13-1");
    assert_eq!(at("list 0-"), ["0-4"]);
    assert_eq!(at("make 1 raid5 '1.13-"), Vec::<String>::new());
}

#[test]
fn quotes_are_kept_and_closed() {
    assert_eq!(tab("list '0"), "list '0' ");
    assert_eq!(tab("show '1.15"), "show '1.15' ");
    assert_eq!(tab("make 1 raid5 1.6 '1.1"), "make 1 raid5 1.6 '1.1");
}

#[test]
fn options_and_their_values() {
    assert_eq!(at("make -"), ["-c", "-f", "-k", "-s", "-V", "-j"]);
    assert_eq!(at("make -c -"), ["-f", "-k", "-s", "-V", "-j"]);
    assert_eq!(at("make -k "), Vec::<String>::new());
    assert_eq!(at("make -k 64 "), ["1"]);
    assert_eq!(at("spare -l "), ["0", "4"]);
    assert_eq!(at("spare -fl "), ["0", "4"]);
    assert_eq!(at("health "), ["-j"], "nothing else may come");
    assert_eq!(at("list -- -"), Vec::<String>::new());
}

#[test]
fn masks_take_known_stations() {
    let mut shelf = shelf();
    run(&mut shelf, "mask 0 +001004012e81");
    let line = "mask 0 -";
    let found = complete(line, line.len(), &shelf).candidates;
    assert_eq!(found[0].text, "-001004012e81");
}

#[test]
fn the_word_that_is_replaced_ends_at_the_cursor() {
    let found = complete("sho 1.0", 3, &shelf());
    assert_eq!(
        (found.start, found.insertion().as_deref()),
        (0, Some("show "))
    );
    assert_eq!(complete("ü", 1, &shelf()), Completion::default());
    assert_eq!(complete("x", 9, &shelf()), Completion::default());
}

#[test]
fn help_tells_what_may_come_here() {
    let shelf = shelf();
    let text = help("make 1 ", &shelf);
    assert!(
        text.starts_with("usage: make ") && text.contains("\nhere: a type: raw jbod"),
        "{text}"
    );
    assert!(text.contains("\nnow: raw jbod raid0") && text.contains("\n  make 0 raid10 1.0-15\n"));
    assert!(help("online ", &shelf).contains("\nnow: 4\n"));
    assert!(help("exit now ", &shelf).contains("\nhere: nothing more\n"));
    let all = help("", &shelf);
    assert!(COMMANDS.iter().all(
        |command| all.contains(&format!("\n{}", command.name)) || all.starts_with(command.name)
    ));
    assert!(all.lines().all(|line| line.chars().count() < 80));
    assert_eq!(help("onl", &shelf).lines().count(), 2);
    assert!(help("xyz", &shelf).starts_with("no command begins with xyz\n"));
}

mod any {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever stands on the line: candidates begin with what is typed, and the line stays one.
        #[test]
        fn candidates_fit_what_is_typed(line in "(make|list|mask|scrub|x|)[ a-z0-9.'ü+-]{0,20}", cut in 0_usize..30) {
            let shelf = shelf();
            let found = complete(&line, cut, &shelf);
            for one in &found.candidates {
                let typed = &line[found.start..cut];
                prop_assert!(one.text.starts_with(typed) || typed.contains('\''), "{typed:?} {one:?}");
            }
            if let Some(before) = line.get(..cut) {
                prop_assert!(help(before, &shelf).ends_with('\n'));
            }
        }
    }
}
