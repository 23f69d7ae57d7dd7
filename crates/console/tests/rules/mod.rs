//! How plug-ins that were written for Coraid's SR and SRX 6 shelves take listings apart: by words between
//! blanks, and for `list -l` by the dots in the first word. Nothing else of our shelf is known here.
//!
//! A reader that finds something else than the rules allow says what, in words, as a plug-in would end.

/// A LUN of `list -l` with what stands below it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Lun {
    pub(crate) number: u8,
    pub(crate) gigabytes: f64,
    pub(crate) online: bool,
    pub(crate) label: Option<String>,
    pub(crate) raids: Vec<Raid>,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Raid {
    pub(crate) name: String,
    pub(crate) gigabytes: f64,
    pub(crate) level: String,
    pub(crate) states: Vec<String>,
    pub(crate) elements: Vec<Element>,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) gigabytes: f64,
    pub(crate) drive: String,
}

type Read<T> = Result<T, String>;

fn require(is_so: bool, what: &str, line: &str) -> Read<()> {
    if is_so {
        return Ok(());
    }
    Err(format!("{what}: {line:?}"))
}

/// The words of a line.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// `4000.787GB`, perhaps with a `*` before it.
fn size(word: &str, line: &str) -> Read<f64> {
    let number = word.strip_suffix("GB").unwrap_or("no");
    let number = number.strip_prefix('*').unwrap_or(number);
    number.parse().map_err(|_| format!("no size: {line:?}"))
}

/// Whether a word is so many numbers joined by dots.
fn is_name(word: &str, numbers: usize) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    parts.len() == numbers && parts.iter().all(is_number)
}

/// `44.06%`
fn is_percent(word: &str) -> bool {
    word.strip_suffix('%')
        .is_some_and(|number| number.parse::<f64>().is_ok())
}

/// What may stand behind the words that are always there: nothing, or how far it is.
fn at_end(rest: &[&str], line: &str) -> Read<()> {
    let is_right = rest.is_empty() || (rest.len() == 1 && is_percent(rest[0]));
    require(is_right, "words too many", line)
}

/// `list -l`: the LUNs with their RAIDs and elements.
pub(crate) fn list(text: &str) -> Read<Vec<Lun>> {
    let mut luns: Vec<Lun> = Vec::new();
    for line in text.lines() {
        let words = words(line);
        let orphan = || format!("it belongs to nothing: {line:?}");
        match words.first().map(|first| first.matches('.').count()) {
            Some(0) => luns.push(lun(line, &words)?),
            Some(1) => {
                let raids = &mut luns.last_mut().ok_or_else(orphan)?.raids;
                raids.push(raid(line, &words)?);
            }
            Some(2) => {
                let raid = luns.last_mut().and_then(|lun| lun.raids.last_mut());
                raid.ok_or_else(orphan)?
                    .elements
                    .push(element(line, &words)?);
            }
            _ => return Err(format!("no kind of row: {line:?}")),
        }
    }
    Ok(luns)
}

fn lun(line: &str, words: &[&str]) -> Read<Lun> {
    require(words.len() >= 3, "words too few", line)?;
    require(
        matches!(words[2], "online" | "offline"),
        "neither online nor offline",
        line,
    )?;
    // A label has blanks in it, and stands between quotes; a quote in it is doubled.
    let after = line.split_once(words[2]).map_or("", |(_, after)| after);
    let label = match after.trim() {
        "" => None,
        quoted => {
            let bare = quoted.strip_prefix('\'').and_then(|q| q.strip_suffix('\''));
            Some(bare.ok_or_else(|| format!("a label without quotes: {line:?}"))?)
        }
    };
    Ok(Lun {
        number: words[0]
            .parse()
            .map_err(|_| format!("no LUN number: {line:?}"))?,
        gigabytes: size(words[1], line)?,
        online: words[2] == "online",
        label: label.map(|label| label.replace("''", "'")),
        raids: Vec::new(),
    })
}

fn raid(line: &str, words: &[&str]) -> Read<Raid> {
    require(words.len() >= 4, "words too few", line)?;
    require(is_name(words[0], 2), "no name of a RAID", line)?;
    let known = ["initing", "recovering", "degraded", "failed", "normal"];
    let states: Vec<&str> = words[3].split(',').collect();
    require(
        states.iter().all(|state| known.contains(state)),
        "no state of a RAID",
        line,
    )?;
    at_end(&words[4..], line)?;
    Ok(Raid {
        name: words[0].to_owned(),
        gigabytes: size(words[1], line)?,
        level: words[2].to_owned(),
        states: states.into_iter().map(str::to_owned).collect(),
        elements: Vec::new(),
    })
}

fn element(line: &str, words: &[&str]) -> Read<Element> {
    require(words.len() >= 4, "words too few", line)?;
    require(is_name(words[0], 3), "no name of an element", line)?;
    let known = ["failed", "missing", "replaced", "normal"];
    require(known.contains(&words[1]), "no state of an element", line)?;
    let is_drive = words[3] == "missing" || is_name(words[3], 2);
    require(is_drive, "no drive", line)?;
    at_end(&words[4..], line)?;
    Ok(Element {
        name: words[0].to_owned(),
        state: words[1].to_owned(),
        gigabytes: size(words[2], line)?,
        drive: words[3].to_owned(),
    })
}

/// `show -l`: name, size and state of the drives. Plug-ins look at no further word.
pub(crate) fn show(text: &str) -> Read<Vec<(String, f64, String)>> {
    let row = |line: &str| {
        let words = words(line);
        require(words.len() >= 3, "words too few", line)?;
        require(is_name(words[0], 2), "no drive", line)?;
        let known = ["up", "down", "missing"];
        require(known.contains(&words[2]), "no state of a drive", line)?;
        let size = size(words[1], line)?;
        Ok((words[0].to_owned(), size, words[2].to_owned()))
    };
    text.lines().map(row).collect()
}

/// `disks`: name and size; a drive that is not there has a word in the place of all else. The first row has
/// the titles, if there is any row.
pub(crate) fn disks(text: &str) -> Read<Vec<(String, Option<f64>)>> {
    let mut lines = text.lines();
    if let Some(titles) = lines.next() {
        let is_right = titles
            .split_whitespace()
            .eq(["DISK", "SIZE", "MODEL", "FIRMWARE", "MODE"]);
        require(is_right, "titles", titles)?;
    }
    let row = |line: &str| {
        let words = words(line);
        require(words.len() >= 2, "words too few", line)?;
        require(is_name(words[0], 2), "no drive", line)?;
        let is_absent = matches!(words[1], "missing" | "down");
        require(is_absent || words.len() >= 5, "words too few", line)?;
        let size = (!is_absent).then(|| size(words[1], line)).transpose()?;
        Ok((words[0].to_owned(), size))
    };
    lines.map(row).collect()
}

/// `spare`: name and size.
pub(crate) fn spare(text: &str) -> Read<Vec<(String, f64)>> {
    let row = |line: &str| {
        let words = words(line);
        require(words.len() >= 2, "words too few", line)?;
        require(is_name(words[0], 2), "no drive", line)?;
        Ok((words[0].to_owned(), size(words[1], line)?))
    };
    text.lines().map(row).collect()
}

/// A row of `when`.
#[derive(Debug, PartialEq)]
pub(crate) struct Progress {
    pub(crate) name: String,
    pub(crate) percent: f64,
    pub(crate) kilobytes_per_second: f64,
    /// `None` when the shelf does not know.
    pub(crate) seconds_left: Option<u64>,
}

/// `when`: `L.P` or `L.P.D`, percent, rate, `KBps`, `H:MM:SS`, `left`.
pub(crate) fn when(text: &str) -> Read<Vec<Progress>> {
    text.lines().map(progress).collect()
}

fn progress(line: &str) -> Read<Progress> {
    let words = words(line);
    require(words.len() >= 6, "words too few", line)?;
    let is_known = is_name(words[0], 2) || is_name(words[0], 3);
    require(is_known, "neither RAID nor element", line)?;
    require(is_percent(words[1]), "no percent", line)?;
    require(words[3] == "KBps" && words[5] == "left", "words", line)?;
    let clock: Vec<&str> = words[4].split(':').collect();
    require(clock.len() == 3, "no time", line)?;
    let numbers: Vec<u64> = clock.iter().filter_map(|part| part.parse().ok()).collect();
    let seconds_left = match numbers[..] {
        [hours, minutes, seconds] if minutes < 60 && seconds < 60 => {
            Some(hours * 3600 + minutes * 60 + seconds)
        }
        [] if words[4] == "?:??:??" => None,
        _ => return Err(format!("no time: {line:?}")),
    };
    let number = |word: &str| word.parse().map_err(|_| format!("no number: {line:?}"));
    Ok(Progress {
        name: words[0].to_owned(),
        percent: number(words[1].trim_end_matches('%'))?,
        kilobytes_per_second: number(words[2])?,
        seconds_left,
    })
}

/// `ifstat`: name, address, link now and at most. The first row has the titles, if there is any row.
pub(crate) fn ifstat(text: &str) -> Read<Vec<(String, String, String)>> {
    let mut lines = text.lines();
    if let Some(titles) = lines.next() {
        let is_right = titles
            .split_whitespace()
            .eq(["NAME", "ADDR", "LINK", "(Mbps)", "MTU", "MODE"]);
        require(is_right, "titles", titles)?;
    }
    let row = |line: &str| {
        let words = words(line);
        require(words.len() >= 4, "words too few", line)?;
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let is_mac = words[1].len() == 12 && words[1].bytes().all(is_hex);
        require(is_mac, "no address", line)?;
        require(words[3].parse::<u16>().is_ok(), "no MTU", line)?;
        Ok((
            words[0].to_owned(),
            words[1].to_owned(),
            words[2].to_owned(),
        ))
    };
    lines.map(row).collect()
}

/// `iostats`: LUN or element, then rate, mean and most of reads, and of writes.
pub(crate) fn iostats(text: &str) -> Read<Vec<(String, f64, f64)>> {
    let mut lines = text.lines();
    if let Some(titles) = lines.next() {
        let is_right = titles.split_whitespace().eq([
            "LUN", "ELEMENT", "READ", "AVG", "MAX", "WRITE", "AVG", "MAX",
        ]);
        require(is_right, "titles", titles)?;
    }
    let row = |line: &str| {
        let words = words(line);
        require(words.len() == 7, "not seven words", line)?;
        let rate = |word: &str| {
            let number = word
                .strip_suffix("MB")
                .and_then(|number| number.parse().ok());
            number.ok_or_else(|| format!("no rate: {line:?}"))
        };
        for word in [words[2], words[3], words[5], words[6]] {
            // Our drives are faster than a millisecond.
            let number = word.strip_suffix("ms").or_else(|| word.strip_suffix("us"));
            let is_time = number.is_some_and(|number| number.parse::<u64>().is_ok());
            require(is_time, "no time", line)?;
        }
        Ok((words[0].to_owned(), rate(words[1])?, rate(words[4])?))
    };
    lines.map(row).collect()
}
