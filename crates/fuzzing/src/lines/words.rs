//! Lines that are nearly right.

use arbitrary::{Arbitrary, Unstructured};
use console::command::{COMMANDS, NOT_AVAILABLE};

/// A line, as a fuzzer makes it of bytes.
#[derive(Debug)]
pub(super) struct Line(String);

/// Words with a meaning that are no numbers.
const KEYWORDS: [&str; 61] = [
    "missing",
    "clear",
    "on",
    "off",
    "start",
    "repair",
    "stop",
    "pause",
    "resume",
    "every",
    "schedule",
    "weekly",
    "monthly",
    "policy",
    "report",
    "located",
    "all",
    "status",
    "series",
    "raw",
    "jbod",
    "raid0",
    "raid1",
    "raid5",
    "raid6",
    "raid6rs",
    "raid10",
    "-l",
    "-f",
    "-c",
    "-j",
    "-r",
    "-a",
    "-d",
    "-n",
    "--",
    "-k",
    "y",
    "n",
    "a",
    "short",
    "long",
    "abort",
    "locate",
    "fault",
    "rebuild",
    "reset",
    "spare",
    "enable",
    "disable",
    "-w",
    "-s",
    "-V",
    "-y",
    "1.2",
    "nil",
    "resetserial",
    "good.update",
    "slow.update",
    "bad.update",
    "-b",
];

/// Numbers at which something begins or ends.
const NUMBERS: [&str; 20] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "7",
    "16",
    "64",
    "100",
    "254",
    "255",
    "256",
    "4094",
    "4095",
    "65534",
    "65535",
    "65536",
    "4294967296",
    "18446744073709551616",
    "2G",
];

/// Lines that make something to work on.
const SCENES: [&str; 13] = [
    "make 0 raid1 1.0-1",
    "make -c 0 raid1 1.0-1",
    "make 1 raid5 1.2-4",
    "make -c 1 raid6 1.1-4",
    "make 2 jbod 1.5",
    "make -s web 5 raid0 1.8-9",
    "make 3 raw 1.3",
    "grow -y 0 raid1 1.2-3",
    "jbod 1.0-5",
    "online 0-2",
    "spare 1.4-5",
    "fail 0.0.1",
    "make -f 4 raid1 1.0 1.7",
];

impl Line {
    pub(super) fn text(&self) -> String {
        self.0.clone()
    }
}

impl<'a> Arbitrary<'a> for Line {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let line = match u.int_in_range(0..=9)? {
            0..=2 => (*u.choose(&SCENES)?).to_owned(),
            3 => example(u)?,
            4 => mutated(u)?,
            _ => sentence(u)?,
        };
        Ok(Self(line))
    }
}

/// What the help shows.
fn example(u: &mut Unstructured<'_>) -> arbitrary::Result<String> {
    let command = u.choose(COMMANDS)?;
    Ok((*u.choose(command.examples)?).to_owned())
}

/// An example with another word in it.
fn mutated(u: &mut Unstructured<'_>) -> arbitrary::Result<String> {
    let line = example(u)?;
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let at = u.choose_index(words.len())?;
    match u.int_in_range(0..=3)? {
        0 => words[at] = word(u)?,
        1 => words.insert(at, word(u)?),
        2 => drop(words.remove(at)),
        _ => words.push(words[at].clone()),
    }
    Ok(words.join(" "))
}

/// A command and words.
fn sentence(u: &mut Unstructured<'_>) -> arbitrary::Result<String> {
    let mut words = vec![name(u)?];
    let count = u.int_in_range(0..=5)?;
    for _ in 0..count {
        words.push(word(u)?);
    }
    Ok(words.join(" "))
}

fn name(u: &mut Unstructured<'_>) -> arbitrary::Result<String> {
    if u.ratio(1, 24)? {
        return Ok(u.choose(NOT_AVAILABLE)?.0.to_owned());
    }
    let command = u.choose(COMMANDS)?;
    let names: Vec<&str> = command.names().collect();
    let slash = if u.ratio(1, 16)? { "/" } else { "" };
    Ok(format!("{slash}{}", u.choose(&names)?))
}

fn word(u: &mut Unstructured<'_>) -> arbitrary::Result<String> {
    Ok(match u.int_in_range(0..=11)? {
        0 | 1 => u.int_in_range(0..=5)?.to_string(),
        2 | 3 => format!("1.{}", u.int_in_range(0..=9)?),
        4 => {
            let (first, last) = (u.int_in_range(0..=6)?, u.int_in_range(0..=9)?);
            let shelf = if u.arbitrary()? { "1." } else { "" };
            format!("{shelf}{first}-{last}")
        }
        5 => {
            let (lun, part, member) = (
                u.int_in_range(0..=3)?,
                u.int_in_range(0..=2)?,
                u.int_in_range(0..=4)?,
            );
            format!("{lun}.{part}.{member}")
        }
        6 => {
            let sign = if u.arbitrary()? { '+' } else { '-' };
            let first = u.choose(&["00", "01", "0g"])?;
            format!("{sign}{first}1004012e{:02x}", u.int_in_range(0x80..=0x83)?)
        }
        7 | 8 => (*u.choose(&KEYWORDS)?).to_owned(),
        9 => (*u.choose(&NUMBERS)?).to_owned(),
        10 => {
            let text: String = u.arbitrary()?;
            format!("'{}'", text.replace('\'', "''"))
        }
        _ => u.arbitrary()?,
    })
}
