//! The line discipline, key by key, and on a screen: a small VT100 shows what a person would see.

use super::*;
use crate::complete::Candidate;
use proptest::prelude::*;
use unicode_width::UnicodeWidthChar;

/// Feeds all of the input; returns the echo and the events.
fn type_in(editor: &mut Editor, mut input: &[u8]) -> (String, Vec<Event>) {
    let (mut echo, mut events) = (Vec::new(), Vec::new());
    while !input.is_empty() {
        let fed = editor.feed(input);
        echo.extend(fed.echo);
        events.extend(fed.event);
        input = &input[fed.taken..];
    }
    (String::from_utf8(echo).unwrap(), events)
}

fn lines(input: &[u8]) -> Vec<String> {
    let (_, events) = type_in(&mut Editor::new(), input);
    let line = |event| {
        if let Event::Line(line) = event {
            line
        } else {
            format!("{event:?}")
        }
    };
    events.into_iter().map(line).collect()
}

/// A terminal that wraps as a VT100 does: at the last column the cursor stays until something follows.
struct Screen {
    columns: usize,
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    parser: vte::Parser,
}

impl Screen {
    fn new(columns: usize) -> Self {
        Self {
            columns,
            rows: vec![Vec::new()],
            row: 0,
            column: 0,
            parser: vte::Parser::new(),
        }
    }

    fn show(&mut self, bytes: &[u8]) {
        let mut parser = std::mem::take(&mut self.parser);
        parser.advance(self, bytes);
        self.parser = parser;
    }

    fn line_feed(&mut self) {
        self.row += 1;
        while self.rows.len() <= self.row {
            self.rows.push(Vec::new());
        }
    }

    fn text(&self) -> Vec<String> {
        let rows = self
            .rows
            .iter()
            .map(|row| row.iter().collect::<String>().trim_end().to_owned());
        rows.collect()
    }
}

impl vte::Perform for Screen {
    fn print(&mut self, character: char) {
        let width = character.width().unwrap();
        if self.column + width > self.columns {
            self.column = 0;
            self.line_feed();
        }
        let row = &mut self.rows[self.row];
        row.resize(row.len().max(self.column + width), ' ');
        row[self.column..self.column + width].fill(' ');
        row[self.column] = character;
        self.column += width;
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\r' => self.column = 0,
            b'\n' => self.line_feed(),
            0x08 => self.column = self.column.min(self.columns - 1).saturating_sub(1),
            _ => assert_eq!(byte, BELL),
        }
    }

    fn csi_dispatch(&mut self, params: &vte::Params, _: &[u8], _: bool, last: char) {
        let given = params
            .iter()
            .next()
            .map_or(0, |param| usize::from(param[0]));
        let count = given.max(1);
        match last {
            'A' => self.row = self.row.checked_sub(count).expect("above the screen"),
            'B' => (0..count).for_each(|_| self.line_feed()),
            'C' => self.column = (self.column + count).min(self.columns - 1),
            'J' if given == 2 => *self = Self::new(self.columns),
            'J' => {
                self.rows.truncate(self.row + 1);
                self.rows[self.row].truncate(self.column);
            }
            'H' => (self.row, self.column) = (0, 0),
            other => panic!("the terminal does not know {other}"),
        }
    }
}

/// What an editor with a prompt shows after some input.
fn seen(columns: usize, prompt: &str, input: &[u8]) -> (Vec<String>, usize, usize) {
    let (mut editor, mut screen) = (Editor::new(), Screen::new(columns));
    editor.resize(24, columns);
    screen.show(&editor.begin(prompt, Mode::Command));
    let (echo, _) = type_in(&mut editor, input);
    screen.show(echo.as_bytes());
    (screen.text(), screen.row, screen.column)
}

#[test]
fn keys_are_echoed_and_make_a_line() {
    let mut editor = Editor::new();
    assert_eq!(
        type_in(&mut editor, "list ü".as_bytes()),
        ("list ü".to_owned(), vec![])
    );
    assert_eq!(editor.typed(), "list ü");
    let (echo, events) = type_in(&mut editor, b"\r");
    assert_eq!(
        (echo.as_str(), events),
        ("\r\n", vec![Event::Line("list ü".to_owned())])
    );
    assert_eq!(editor.typed(), "");
}

#[test]
fn every_kind_of_line_end_ends_one_line() {
    assert_eq!(lines(b"a\rb\nc\r\nd\n\re\r"), ["a", "b", "c", "d", "", "e"]);
    let mut editor = Editor::new();
    assert_eq!(type_in(&mut editor, b"a\r").1.len(), 1);
    assert_eq!(type_in(&mut editor, b"\n").1.len(), 0);
    assert_eq!(type_in(&mut editor, b"\n").1.len(), 1);
}

#[test]
fn pasted_lines_come_one_at_a_time() {
    let mut editor = Editor::new();
    let fed = editor.feed(b"show\rlist\r");
    assert_eq!(
        (fed.taken, fed.echo.as_slice()),
        (5, b"show\r\n".as_slice())
    );
    assert_eq!(fed.event, Some(Event::Line("show".to_owned())));
}

#[test]
fn erasing_takes_characters_words_and_lines() {
    assert_eq!(lines(b"shov\x08w\r"), ["show"]);
    assert_eq!(lines("ü\x7fx\r".as_bytes()), ["x"]);
    assert_eq!(lines(b"make 0 raid1  \x17raid0\r"), ["make 0 raid0"]);
    assert_eq!(lines(b"make 0\x15list\r"), ["list"]);
    assert_eq!(lines(b"\x08\x7f\x17\x15\x0b\r"), [""]);
    let (echo, _) = type_in(&mut Editor::new(), b"ab\x15");
    assert_eq!(echo, "ab\x08 \x08\x08 \x08");
}

#[test]
fn the_cursor_moves_and_text_is_changed_where_it_is() {
    assert_eq!(lines(b"ist\x01l\r"), ["list"]);
    assert_eq!(lines(b"ist\x1b[Hl\x1b[F -l\r"), ["list -l"]);
    assert_eq!(lines(b"lst\x1b[D\x1b[Di\r"), ["list"]);
    assert_eq!(lines(b"make 0\x1b[D\x1b[D\x1b[3~\x04\r"), ["make"]);
    assert_eq!(lines(b"show 1.0\x1bbx\r"), ["show x1.0"]);
    assert_eq!(
        lines(b"make 0 raid1\x01\x06\x06\x0b\x19\x19\r"),
        ["make 0 raid1ke 0 raid1"]
    );
    assert_eq!(lines(b"x list\x01\x06\x15\x1b[C\r"), [" list"]);
    assert_eq!(lines(b"a\x02b\x05c\r"), ["bac"]);
}

#[test]
fn interrupt_and_end() {
    assert_eq!(lines(b"remove 0\x03"), ["Interrupt"]);
    assert_eq!(lines(b"a\x04\r\x04"), ["a", "End"]);
}

#[test]
fn a_lone_escape_and_unknown_keys_do_nothing() {
    assert_eq!(lines(b"a\x1bOPc\x1b[15~e\x1bxf\r"), ["acef"]);
    assert_eq!(lines(b"a\x1b\rb\x1b[\rc\r"), ["a", "b", "c"]);
    let mut editor = Editor::new();
    for part in [b"ac\x1b".as_slice(), b"[", b"D", b"b"] {
        type_in(&mut editor, part);
    }
    assert_eq!(editor.typed(), "abc");
    type_in(&mut editor, b"\x1b");
    assert!(editor.is_in_sequence());
    editor.drop_sequence();
    type_in(&mut editor, b"[");
    assert_eq!(editor.typed(), "ab[c");
}

#[test]
fn broken_utf8_and_control_characters_are_dropped() {
    assert_eq!(lines(b"a\xffb\xc3c\x00\x1f\xc2\x85d\r"), ["abcd"]);
    assert_eq!(lines(b"\xc3\r"), [""]);
}

#[test]
fn beyond_the_longest_line_the_bell_rings() {
    let mut editor = Editor::new();
    type_in(&mut editor, &[b'x'; LINE_BYTES_MAX]);
    assert_eq!(type_in(&mut editor, b"yz").0, "\x07\x07");
    assert_eq!(
        lines(&[vec![b'x'; LINE_BYTES_MAX + 9], vec![b'\r']].concat())[0].len(),
        4096
    );
}

#[test]
fn older_lines_come_back() {
    assert_eq!(
        lines(b"show\rlist\r\x1b[A\x1b[A\r\x10\r"),
        ["show", "list", "show", "show"]
    );
    assert_eq!(lines(b"show\ron\x1b[A\x1b[Bline\r"), ["show", "online"]);
    let mut editor = Editor::new();
    editor.begin("? ", Mode::Answer);
    type_in(&mut editor, b"y\r");
    editor.begin("> ", Mode::Command);
    type_in(&mut editor, b"list\r");
    editor.begin("> ", Mode::Command);
    let found = type_in(&mut editor, b"\x1b[A\x1b[A\r").1;
    assert_eq!(
        found,
        [Event::Line("list".to_owned())],
        "answers are no commands"
    );
}

#[test]
fn older_lines_are_searched() {
    assert_eq!(lines(b"make 0\rlist\rmake 1\r\x12mak\r")[3], "make 1");
    assert_eq!(lines(b"make 0\rlist\rmake 1\r\x12mak\x12\r")[3], "make 0");
    assert_eq!(
        lines(b"make 0\rlist\rmake 1\r\x12mak\x12\x05 x\r")[3],
        "make 0 x"
    );
    assert_eq!(lines(b"make 0\rsho\x12mak\x07w\r")[1], "show");
    assert_eq!(lines(b"make 0\rabc\r\x12mx\x7f\r")[2], "make 0");
    let (rows, ..) = seen(80, "> ", b"\x12xy");
    assert_eq!(rows, ["search 'xy':"]);
    let (rows, ..) = seen(80, "> ", b"ab\x12q\x07");
    assert_eq!(rows, ["> ab"]);
}

#[test]
fn the_screen_shows_the_line_also_when_it_wraps() {
    assert_eq!(seen(20, "> ", b"list"), (vec!["> list".to_owned()], 0, 6));
    let typed = b"make 0 raid10 1.0-15";
    let wrapped = vec!["> make 0 raid10 1.0-".to_owned(), "15".to_owned()];
    assert_eq!(seen(20, "> ", typed), (wrapped.clone(), 1, 2));
    // To the beginning, a letter in, and to the end again.
    let input = [b"ake 0 raid10 1.0-15\x01m".as_slice(), b"\x05"].concat();
    assert_eq!(seen(20, "> ", &input), (wrapped, 1, 2));
    // Exactly a row, and then back.
    assert_eq!(seen(20, "> ", b"123456789012345678").1, 0);
    let (rows, row, column) = seen(20, "> ", b"123456789012345678\x02\x02x");
    assert_eq!(
        rows[..2],
        ["> 1234567890123456x7".to_owned(), "8".to_owned()]
    );
    assert_eq!((row, column), (0, 19));
    let (rows, row, _) = seen(20, "> ", b"123456789012345678\r");
    assert_eq!((rows.len(), row), (2, 1));
    let (rows, row, column) = seen(20, "> ", b"1234567890123456789\x08\x08\x08x");
    assert_eq!(
        (rows[0].as_str(), row, column),
        ("> 1234567890123456x", 0, 19)
    );
}

#[test]
fn a_message_goes_above_the_line_never_into_it() {
    let (mut editor, mut screen) = (Editor::new(), Screen::new(20));
    editor.resize(24, 20);
    screen.show(&editor.begin("SR> ", Mode::Command));
    screen.show(
        type_in(&mut editor, b"make 0 raid10 1.0-15\x02\x02")
            .0
            .as_bytes(),
    );
    screen.show(&editor.interject("drive 1.3 has failed\nspare 1.9 taken\n"));
    let rows = [
        "drive 1.3 has failed",
        "spare 1.9 taken",
        "SR> make 0 raid10 1.",
        "0-15",
    ];
    assert_eq!(screen.text(), rows);
    assert_eq!((screen.row, screen.column), (3, 2));
    let (echo, events) = type_in(&mut editor, b"\x05\r");
    screen.show(echo.as_bytes());
    assert_eq!(events, [Event::Line("make 0 raid10 1.0-15".to_owned())]);
    assert_eq!((screen.row, screen.column), (4, 0));
    // While a command runs there is no line to be put back.
    assert_eq!(editor.interject("x\n"), b"x\r\n");
}

fn completion(start: usize, words: &[&str]) -> Completion {
    let candidate = |word: &&str| Candidate {
        text: (*word).to_owned(),
        label: (*word).to_owned(),
    };
    Completion {
        start,
        candidates: words.iter().map(candidate).collect(),
    }
}

#[test]
fn tab_completes_what_is_common_and_then_lists() {
    let (mut editor, mut screen) = (Editor::new(), Screen::new(40));
    screen.show(&editor.begin("> ", Mode::Command));
    let (_, events) = type_in(&mut editor, b"show 1\t");
    assert_eq!(
        events,
        [Event::Complete {
            line: "show 1".to_owned(),
            cursor: 6
        }]
    );
    screen.show(b"show 1");
    let slots = completion(5, &["1.0", "1.1", "1.10"]);
    screen.show(&editor.completed(&slots));
    assert_eq!(editor.typed(), "show 1.");
    type_in(&mut editor, b"\t");
    assert_eq!(editor.completed(&slots), [BELL]);
    type_in(&mut editor, b"\t");
    screen.show(&editor.completed(&slots));
    assert_eq!(
        screen.text(),
        ["> show 1.", "1.0   1.1   1.10", "> show 1."]
    );
    type_in(&mut editor, b"10\t");
    editor.completed(&completion(5, &["1.10"]));
    assert_eq!(editor.typed(), "show 1.10 ");
    type_in(&mut editor, b"x\t");
    assert_eq!(editor.completed(&completion(10, &[])), [BELL]);
    // In the middle of a line what follows stays.
    let mut editor = Editor::new();
    type_in(&mut editor, b"sho -l\x1b[D\x1b[D\x1b[D\t");
    editor.completed(&completion(0, &["show"]));
    assert_eq!(editor.typed(), "show  -l");
}

#[test]
fn a_question_mark_asks_for_help_but_not_in_quotes_or_answers() {
    let (mut editor, mut screen) = (Editor::new(), Screen::new(40));
    screen.show(&editor.begin("> ", Mode::Command));
    let (echo, events) = type_in(&mut editor, b"make ?");
    screen.show(echo.as_bytes());
    assert_eq!(
        events,
        [Event::Help {
            line: "make ".to_owned()
        }]
    );
    screen.show(&editor.helped("usage: make\n"));
    assert_eq!(screen.text(), ["> make", "usage: make", "> make"]);
    assert_eq!(screen.column, 7);
    assert_eq!(lines(b"label 'really?' 0\r"), ["label 'really?' 0"]);
    editor.begin("? ", Mode::Answer);
    assert_eq!(
        type_in(&mut editor, b"?\r").1,
        [Event::Line("?".to_owned())]
    );
}

#[test]
fn nothing_of_a_secret_is_shown_or_kept() {
    let mut editor = Editor::new();
    assert_eq!(editor.begin("Password: ", Mode::Secret), b"Password: ");
    let (echo, events) = type_in(&mut editor, b"hunter\x7f\x022\x05r2\x12\t?\x1b[A\r");
    assert_eq!(events, [Event::Line("hunt2er2?".to_owned())]);
    assert!(
        !echo.contains(|c: char| c.is_ascii_alphanumeric()),
        "{echo:?}"
    );
    assert!(!format!("{editor:?}").contains("hunte"));
    editor.begin("> ", Mode::Command);
    let (_, events) = type_in(&mut editor, b"\x19\x1b[A\r");
    assert_eq!(events, [Event::Line(String::new())]);
}

#[test]
fn the_terminal_tells_its_size() {
    let mut editor = Editor::new();
    assert_eq!((editor.size(), editor.has_told_size()), ((24, 80), false));
    type_in(&mut editor, b"\x1b[8;50;132t");
    assert_eq!((editor.size(), editor.has_told_size()), ((50, 132), true));
    type_in(&mut editor, b"\x1b[8;0;3t\x1b[8;99999;99999t\x1b[8t");
    assert_eq!(editor.size(), (50, 132));
}

#[test]
fn terminals_get_cr_lf() {
    assert_eq!(to_terminal("a\nb\n"), "a\r\nb\r\n");
}

/// Keys that change or move, and text.
fn keys() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![
        8 => "[a-c漢é ]".prop_map(String::into_bytes),
        1 => Just(b"\x1b[D".to_vec()),
        1 => Just(b"\x1b[C".to_vec()),
        1 => prop::sample::select(b"\x01\x05\x08\x04\x17\x15\x0b\x19\x10\x0e\r".to_vec()).prop_map(|key| vec![key]),
    ];
    prop::collection::vec(key, 0..80).prop_map(|keys| keys.concat())
}

proptest! {
    #[test]
    fn any_bytes_make_lines_without_control_characters(
        input in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200,
    ) {
        let whole = type_in(&mut Editor::new(), &input);
        let mut editor = Editor::new();
        let (left, right) = input.split_at(cut.min(input.len()));
        let mut parts = type_in(&mut editor, left);
        let rest = type_in(&mut editor, right);
        parts.0 += &rest.0;
        parts.1.extend(rest.1);
        prop_assert_eq!(&whole, &parts, "how the bytes arrive does not matter");
        for event in whole.1 {
            if let Event::Line(line) = event {
                prop_assert!(!line.contains(char::is_control));
            }
        }
    }

    /// Whatever is pressed, the screen shows what a fresh print of the line shows.
    #[test]
    fn the_screen_always_shows_the_line(keys in keys(), columns in 20_usize..40) {
        let (mut editor, mut screen) = (Editor::new(), Screen::new(columns));
        editor.resize(24, columns);
        screen.show(&editor.begin("prompt> ", Mode::Command));
        let mut input = keys.as_slice();
        while !input.is_empty() {
            let fed = editor.feed(input);
            screen.show(&fed.echo);
            input = &input[fed.taken..];
            if fed.event.is_some() {
                screen = Screen::new(columns);
                screen.show(&editor.begin("prompt> ", Mode::Command));
            }
        }
        let shown = screen.text();
        let cursor = (screen.row, screen.column);
        let mut fresh = Screen::new(columns);
        fresh.show(&editor.show());
        let unsettled = (fresh.row.saturating_sub(1), columns);
        let (shown, wanted) = (shown.join("\n"), fresh.text().join("\n"));
        prop_assert_eq!(shown.trim_end(), wanted.trim_end());
        prop_assert!(cursor == (fresh.row, fresh.column) || cursor == unsettled, "{:?}", cursor);
    }
}

#[test]
fn while_a_command_goes_on_a_size_is_no_key_however_it_is_split() {
    let mut editor = Editor::new();
    for byte in b"\x1b[8;30;100t" {
        assert!(!editor.is_pressed(&[*byte]));
    }
    assert_eq!(editor.size(), (30, 100));
    assert!(!editor.is_in_sequence() && editor.has_told_size());
    assert!(editor.is_pressed(b"\x1b[8;24;80tx"));
    assert_eq!(editor.size(), (24, 80));
    // The key ESC is known by what does not follow it.
    assert!(!editor.is_pressed(b"\x1b"));
    assert!(editor.is_in_sequence());
    editor.drop_sequence();
    for key in [b"\x03".as_slice(), b"\r", b"\x1b[A", b"\xff"] {
        assert!(editor.is_pressed(key), "{key:?}");
    }
    assert!(!editor.is_pressed(b""));
}
