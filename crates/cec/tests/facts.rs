//! Every observed fact of the protocol has a test that bears its number.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

/// What was observed with the original client: experiments T1 to T19, the end of input (TE) and bulk
/// output (TB).
fn facts() -> BTreeSet<String> {
    let numbered = (1..=19).map(|number| format!("t{number:02}"));
    numbered.chain(["te".to_owned(), "tb".to_owned()]).collect()
}

/// The first words of the names of all tests in a file, up to the first `_`.
fn first_words(text: &str) -> BTreeSet<String> {
    text.split("#[test]\nfn ")
        .skip(1)
        .filter_map(|rest| rest.split_once('_'))
        .map(|(word, _)| word.to_owned())
        .collect()
}

#[test]
fn no_fact_is_without_a_test() {
    let mut tested = first_words(include_str!("../src/server/tests.rs"));
    tested.extend(first_words(include_str!("link.rs")));
    let missing: Vec<String> = facts().difference(&tested).cloned().collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
}

#[test]
fn names_of_tests_are_found() {
    let text = "#[test]\nfn t01_a_b() {}\nfn t02_c() {}\n#[test]\nfn tb_x() {}";
    let words: Vec<String> = first_words(text).into_iter().collect();
    assert_eq!(words, ["t01", "tb"]);
}
