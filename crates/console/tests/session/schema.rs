//! The JSON of the console, documented from the transcripts: `crates/console/JSON.md` has every field of
//! every record that a transcript shows, with its types. `GOLDEN=write` writes it anew.
//!
//! A field that is no longer there, or has another type, changes the file: that is a change of the interface.

use super::golden::path;
use console::command::COMMANDS;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

/// The types of a field, by its path in a record.
type Fields = BTreeMap<String, BTreeSet<&'static str>>;

const HEAD: &str = "\
# The console in JSON

Generated from the transcripts in `tests/golden` by `tests/session/schema.rs`.

With `-j` a command answers with one document in one line:

    {\"schema\":1,\"ok\":true,\"data\":[RECORD, ...]}
    {\"schema\":1,\"ok\":false,\"errors\":[{\"code\":\"no_such_lun\",\"arg\":\"9\",\"text\":\"LUN 9 does not exist\"}, ...]}

`code` is one word and never changes, `arg` what it is about or `null`, `text` what people read; what was not
tried because of an error is one with the code `skipped`. A command that changes something has no records; with
`-n` each step of its plan is one, with the field `would`. Sizes are in bytes, times in seconds, MAC addresses
twelve lower-case hex digits. Within one schema fields are added, never renamed, removed or given another
meaning.

`a[].b` is a field of the objects in the list `a`. `null` beside a type: where there is nothing to tell.
";

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

fn note(fields: &mut Fields, at: &str, value: &Value) {
    if !at.is_empty() {
        fields.entry(at.to_owned()).or_default().insert(kind(value));
    }
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let dot = if at.is_empty() { "" } else { "." };
                note(fields, &format!("{at}{dot}{name}"), value);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| {
            if value.is_object() {
                note_inside(fields, &format!("{at}[]"), value);
            }
        }),
        _ => {}
    }
}

/// The fields of an object in a list, which has no entry of its own.
fn note_inside(fields: &mut Fields, at: &str, value: &Value) {
    for (name, value) in value.as_object().into_iter().flatten() {
        note(fields, &format!("{at}.{name}"), value);
    }
}

/// Every document of a transcript has the shape; its records are noted.
fn read(fields: &mut Fields, name: &str, text: &str) {
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let document: Value = serde_json::from_str(line).expect(name);
        assert_eq!(document["schema"], 1, "{name}: {line}");
        let (all, wanted) = match document["ok"].as_bool() {
            Some(true) => ("data", 3),
            _ => ("errors", 3),
        };
        assert_eq!(
            document.as_object().expect(name).len(),
            wanted,
            "{name}: {line}"
        );
        for record in document[all].as_array().expect(name) {
            if all == "data" {
                note(fields, "", record);
            } else {
                assert!(
                    record["code"].is_string() && record["text"].is_string(),
                    "{line}"
                );
            }
        }
    }
}

#[test]
fn the_json_of_every_command_is_documented() {
    let mut text = HEAD.to_owned();
    for command in COMMANDS {
        let mut fields = Fields::new();
        let transcript = fs::read_to_string(path(command.name)).unwrap();
        read(&mut fields, command.name, &transcript);
        if fields.is_empty() {
            continue;
        }
        writeln!(
            text,
            "\n## {}\n\n| field | type |\n| --- | --- |",
            command.name
        )
        .unwrap();
        for (field, kinds) in fields {
            let kinds: Vec<&str> = kinds.into_iter().collect();
            writeln!(text, "| `{field}` | {} |", kinds.join(", ")).unwrap();
        }
    }
    let file = path("x").with_file_name("../../JSON.md");
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&file, &text).unwrap();
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        known == text,
        "JSON.md is not what the transcripts show; GOLDEN=write writes it"
    );
}
