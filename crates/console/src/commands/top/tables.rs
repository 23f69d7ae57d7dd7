//! The five tables of `top`: their columns, their rows, and the order of these.
//!
//! Columns stand in the order of their use: on a narrow terminal those at the end are left out.

use crate::commands::statistics::{UNKNOWN, duration, series};
use crate::record::top::{
    DriveLoadRecord, InitiatorLoadRecord, LunLoadRecord, PortLoadRecord, TopRecord, WorkerRecord,
};

/// What a table is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    Workers,
    Luns,
    Initiators,
    Disks,
    Ports,
}

/// All of them, in the order of the screen.
pub(super) const SUBJECTS: [Subject; 5] = [
    Subject::Workers,
    Subject::Luns,
    Subject::Initiators,
    Subject::Disks,
    Subject::Ports,
];

/// What stands first.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Sort {
    /// What moves the most bytes; of workers, what is busiest.
    #[default]
    Activity,
    /// What does the most reads and writes, or frames.
    Operations,
    /// What takes longest on average; of drives, too.
    Latency,
    /// As listings have it.
    Name,
}

impl Sort {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Activity => "activity",
            Self::Operations => "operations",
            Self::Latency => "latency",
            Self::Name => "name",
        }
    }

    /// The one after it.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Activity => Self::Operations,
            Self::Operations => Self::Latency,
            Self::Latency => Self::Name,
            Self::Name => Self::Activity,
        }
    }
}

/// A column.
struct Column {
    title: &'static str,
    width: usize,
    /// What is read is flush left, what is counted flush right.
    is_text: bool,
}

const fn text(title: &'static str, width: usize) -> Column {
    let is_text = true;
    Column {
        title,
        width,
        is_text,
    }
}

const fn number(title: &'static str, width: usize) -> Column {
    let is_text = false;
    Column {
        title,
        width,
        is_text,
    }
}

const WORKERS: &[Column] = &[
    text("WORKER", 6),
    number("BUSY", 6),
    number("POLL", 6),
    number("SLEEP", 6),
    number("FRAMES/s", 9),
    number("CMDS/s", 8),
    number("SLEEPS/s", 8),
    number("SLOTS", 9),
];

const LUNS: &[Column] = &[
    text("LUN", 3),
    text("STATUS", 7),
    number("READ/s", 7),
    number("WRITE/s", 7),
    number("READ", 9),
    number("WRITE", 9),
    number("AVG", 6),
    number("MAX", 6),
    text("STATE", 10),
    text("LABEL", 16),
];

const INITIATORS: &[Column] = &[
    text("INITIATOR", 12),
    number("IO/s", 8),
    number("MB/s", 9),
    number("RESENT", 7),
    number("REFUSED", 7),
    number("SEEN", 6),
    text("PORT", 8),
    text("LUNS", 16),
];

const DISKS: &[Column] = &[
    text("DISK", 6),
    number("BUSY", 6),
    number("READ/s", 7),
    number("WRITE/s", 7),
    number("READ", 9),
    number("WRITE", 9),
    number("AVG", 6),
    number("MAX", 6),
    number("QUEUE", 6),
    text("STATE", 7),
    text("ROLE", 8),
];

const PORTS: &[Column] = &[
    text("PORT", 8),
    number("IN Mbit/s", 10),
    number("OUT Mbit/s", 10),
    number("IN/s", 8),
    number("OUT/s", 8),
    number("DROPS/s", 7),
    number("DROPS", 9),
    number("LINK", 7),
];

/// A row, and what it is put in order by.
pub(super) struct Row {
    cells: Vec<String>,
    activity: u64,
    operations: u64,
    latency: u64,
}

/// A table: rows under titles.
pub(super) struct Table {
    columns: &'static [Column],
    rows: Vec<Row>,
}

impl Table {
    pub(super) fn new(of: &TopRecord, subject: Subject) -> Self {
        let (columns, rows) = match subject {
            Subject::Workers => (WORKERS, of.workers.iter().map(worker).collect()),
            Subject::Luns => (LUNS, of.luns.iter().map(lun).collect()),
            Subject::Initiators => (INITIATORS, of.initiators.iter().map(initiator).collect()),
            Subject::Disks => (DISKS, of.drives.iter().map(drive).collect()),
            Subject::Ports => (PORTS, of.ports.iter().map(port).collect()),
        };
        Self { columns, rows }
    }

    /// Puts its rows in order; what is the same stays as listings have it.
    pub(super) fn sort(&mut self, by: Sort, is_reversed: bool) {
        match by {
            Sort::Activity => self.rows.sort_by_key(|row| std::cmp::Reverse(row.activity)),
            Sort::Operations => {
                let key = |row: &Row| std::cmp::Reverse(row.operations);
                self.rows.sort_by_key(key);
            }
            Sort::Latency => self.rows.sort_by_key(|row| std::cmp::Reverse(row.latency)),
            Sort::Name => {}
        }
        if is_reversed {
            self.rows.reverse();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Its titles. Where rows are left out that is told in the place of the last columns.
    pub(super) fn title(&self, columns: usize, shown: usize) -> String {
        let titles = || self.columns.iter().map(|column| column.title);
        if shown >= self.len() {
            return self.line(titles(), columns);
        }
        let note = format!("{shown} of {}", self.len());
        let room = columns.saturating_sub(note.len() + 1);
        format!("{:<room$} {note}", self.line(titles(), room))
    }

    /// Some of its rows.
    pub(super) fn rows(&self, from: usize, count: usize, columns: usize) -> Vec<String> {
        let rows = self.rows.iter().skip(from).take(count);
        rows.map(|row| self.line(row.cells.iter().map(String::as_str), columns))
            .collect()
    }

    /// Cells under one another, as many as there is room for.
    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>, columns: usize) -> String {
        let mut line = String::new();
        let mut used = 0;
        for (column, cell) in self.columns.iter().zip(cells) {
            let gap = usize::from(used > 0);
            if used + gap + column.width > columns {
                break;
            }
            used += gap + column.width;
            line.push_str(&" ".repeat(gap));
            let width = column.width;
            line.push_str(&if column.is_text {
                let cut: String = cell.chars().take(width).collect();
                format!("{cut:<width$}")
            } else {
                format!("{cell:>width$}")
            });
        }
        line.trim_end().to_owned()
    }
}

/// A value that is not known at the first look.
fn known(value: Option<u64>, tell: impl Fn(u64) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), tell)
}

fn count(value: u64) -> String {
    value.to_string()
}

fn percent(permille: u64) -> String {
    format!("{}.{}%", permille / 10, permille % 10)
}

/// Megabytes, or megabits, with one decimal.
fn mega(value: u64) -> String {
    format!("{}.{}", value / 1_000_000, value / 100_000 % 10)
}

fn megabytes(bytes: u64) -> String {
    format!("{}MB", mega(bytes))
}

fn worker(of: &WorkerRecord) -> Row {
    Row {
        cells: vec![
            of.worker.to_string(),
            known(of.busy_permille, percent),
            known(of.polling_permille, percent),
            known(of.sleeping_permille, percent),
            known(of.frames_per_s, count),
            known(of.commands_per_s, count),
            known(of.sleeps_per_s, count),
            format!("{}/{}", of.slots_used, of.slots),
        ],
        activity: of.busy_permille.unwrap_or(0),
        operations: of.frames_per_s.unwrap_or(0),
        latency: 0,
    }
}

fn lun(of: &LunLoadRecord) -> Row {
    let (read, write) = (&of.rates.read, &of.rates.write);
    Row {
        cells: vec![
            of.lun.to_string(),
            of.status.to_owned(),
            count(read.ops_per_s),
            count(write.ops_per_s),
            megabytes(read.bytes_per_s),
            megabytes(write.bytes_per_s),
            duration(of.mean_us * 1000),
            duration(of.max_us * 1000),
            of.state.clone(),
            of.label.clone().unwrap_or_default(),
        ],
        activity: read.bytes_per_s + write.bytes_per_s,
        operations: read.ops_per_s + write.ops_per_s,
        latency: of.mean_us,
    }
}

fn initiator(of: &InitiatorLoadRecord) -> Row {
    Row {
        cells: vec![
            of.mac.clone(),
            count(of.ops_per_s),
            megabytes(of.bytes_per_s),
            count(of.resent),
            count(of.refused),
            format!("{}s", of.last_seen_s),
            of.port.clone(),
            series(&of.luns),
        ],
        activity: of.bytes_per_s,
        operations: of.ops_per_s,
        latency: 0,
    }
}

fn drive(of: &DriveLoadRecord) -> Row {
    let (read, write) = (&of.rates.read, &of.rates.write);
    Row {
        cells: vec![
            of.drive.clone(),
            known(of.busy_permille, percent),
            count(read.ops_per_s),
            count(write.ops_per_s),
            megabytes(read.bytes_per_s),
            megabytes(write.bytes_per_s),
            duration(of.mean_us * 1000),
            duration(of.max_us * 1000),
            format!(
                "{}.{:02}",
                of.queue_hundredths / 100,
                of.queue_hundredths % 100
            ),
            of.state.to_owned(),
            of.role.clone(),
        ],
        activity: read.bytes_per_s + write.bytes_per_s,
        operations: read.ops_per_s + write.ops_per_s,
        latency: of.mean_us,
    }
}

fn port(of: &PortLoadRecord) -> Row {
    let bits = [of.rx_bits_per_s, of.tx_bits_per_s];
    let frames = [of.rx_frames_per_s, of.tx_frames_per_s];
    let sum = |values: [Option<u64>; 2]| values.into_iter().flatten().sum();
    Row {
        cells: vec![
            of.name.clone(),
            known(bits[0], mega),
            known(bits[1], mega),
            known(frames[0], count),
            known(frames[1], count),
            known(of.drops_per_s, count),
            count(of.drops),
            match (of.up, of.speed_mbps) {
                (Some(false), _) => "down".to_owned(),
                (_, Some(mbps)) => mbps.to_string(),
                (_, None) => UNKNOWN.to_owned(),
            },
        ],
        activity: sum(bits),
        operations: sum(frames),
        latency: 0,
    }
}
