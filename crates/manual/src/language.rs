//! The page of the console's language, from its command table.

use console::command::{COMMANDS, Command};
use console::help;
use roff::{Inline, Roff, bold, italic, roman};

/// What each key of the line editor does, in pairs.
const KEYS: &[(&str, &str)] = &[
    (
        "Tab",
        "completes the word at the cursor: commands, options, types, and the drives, LUNs, elements and ports \
      that there are; pressed again it lists what may come",
    ),
    (
        "?",
        "tells what may come here; within quotes it is a character like any other",
    ),
    ("Up, Down, Ctrl-P, Ctrl-N", "lines that were entered before"),
    (
        "Ctrl-R",
        "searches them; again: further back; Ctrl-G gives up",
    ),
    (
        "Left, Right, Home, End, Ctrl-B F A E",
        "move the cursor; by words with Ctrl or Alt",
    ),
    (
        "Backspace, Delete, Ctrl-D",
        "erase a character; Ctrl-D on an empty line ends the session",
    ),
    (
        "Ctrl-W, Ctrl-U, Ctrl-K",
        "erase the word before the cursor, all before it, all behind it",
    ),
    ("Ctrl-Y", "puts back what these erased"),
    ("Ctrl-L", "clears the screen"),
    (
        "Ctrl-C",
        "drops the line, answers a question with no, ends a live view or waiting",
    ),
];

const ABOUT: &[&str] = &[
    "The language of the shelf's console is that of the Coraid SR and SRX 6 shelves, with the names of SRX 7 as \
     aliases. It is spoken over the control socket by ledge(8) and over Ethernet by cec(8).",
    "Success of a change is silent. What failed is told in a line that begins with error:, how a command is used \
     in one that begins with usage:, and what was not tried because of an error in one that begins with skipping:. \
     Questions end in their default in brackets; whoever does not answer has not consented.",
    "Every command takes -j: then the answer is one JSON document. Sizes are decimal: 1 GB is 1000 MB.",
];

/// The page.
pub(crate) fn page() -> String {
    let mut page = Roff::new();
    page.control("TH", ["ledge-console", "7", "", "Ledge", "Ledge"]);
    section(&mut page, "NAME");
    page.text([roman(
        "ledge-console - the command language of a Ledge storage shelf",
    )]);
    section(&mut page, "DESCRIPTION");
    for paragraph in ABOUT {
        page.control("PP", []);
        page.text([roman(*paragraph)]);
    }
    section(&mut page, "KEYS");
    for (key, meaning) in KEYS {
        item(&mut page, &[bold(*key)], meaning);
    }
    section(&mut page, "SERIES");
    page.control("nf", []);
    for line in help::SERIES {
        page.text([roman(*line)]);
    }
    page.control("fi", []);
    section(&mut page, "COMMANDS");
    for command in COMMANDS {
        entry(&mut page, command);
    }
    section(&mut page, "SEE ALSO");
    page.text([roman("ledge(8), cec(8), ledged(8)")]);
    page.to_roff()
}

fn section(page: &mut Roff, name: &str) {
    page.control("SH", [name]);
}

fn item(page: &mut Roff, head: &[Inline], text: &str) {
    page.control("TP", []);
    page.text(head.to_vec());
    page.text([roman(text)]);
}

fn entry(page: &mut Roff, command: &Command) {
    page.control("SS", [command.name]);
    page.text([bold(command.usage)]);
    page.control("PP", []);
    page.text([roman(command.summary)]);
    if !command.aliases.is_empty() {
        page.control("PP", []);
        page.text([roman("Other names: "), italic(command.aliases.join(", "))]);
    }
    page.control("PP", []);
    page.text([roman("Examples:")]);
    page.control("RS", ["4"]);
    page.control("nf", []);
    for example in command.examples {
        page.text([roman(*example)]);
    }
    page.control("fi", []);
    page.control("RE", []);
}
