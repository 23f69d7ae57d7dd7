//! What somebody wants to see of it, and how that lies on a screen.
//!
//! Invariants: no line is longer than the screen is wide, less one column, and there are fewer lines than
//! it has rows: nothing wraps, and nothing scrolls. Every table that has room for it is on the first page,
//! with a line of what is most active at least.

use super::tables::{SUBJECTS, Sort, Subject, Table};
use crate::editor::keys::Key;
use crate::record::top::TopRecord;

/// What is known of a screen that nobody has told the size of.
const SIZE: (usize, usize) = (24, 80);

/// Lines above and below the tables.
const FRAME: usize = 3;

/// What keys do.
const KEYS: &[&str] = &[
    "w l i d p   only workers, LUNs, initiators, disks, ports",
    "a           all of them",
    "s           by activity, operations, latency, or name",
    "r           the other way round",
    "Up Down     other rows of one table; Home, End",
    "Space       stand still, and go on",
    "h ?         this",
    "q Ctrl-C    end",
    "",
    "BUSY of a worker: turns that found work; POLL: that did not.",
    "QUEUE: I/Os that a disk had at a time, on average.",
    "Rates of initiators are those of the last second.",
];

/// What somebody wants to see.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct View {
    /// One table; all of them otherwise.
    only: Option<Subject>,
    sort: Sort,
    is_reversed: bool,
    is_paused: bool,
    is_help: bool,
    /// The first row that is shown of one table.
    from: usize,
}

/// What comes of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pressed {
    /// The page is another.
    Shown,
    /// That was enough.
    End,
}

/// A page, and which of its lines are titles.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Page {
    pub(super) lines: Vec<String>,
    pub(super) titles: Vec<usize>,
}

impl View {
    pub(super) const fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: Key) -> Pressed {
        if std::mem::take(&mut self.is_help) && !matches!(key, Key::Char('q') | Key::Ctrl('C')) {
            return Pressed::Shown;
        }
        match key {
            Key::Char('q' | 'Q') | Key::Ctrl('C' | 'D') => return Pressed::End,
            Key::Char('a') => self.show(None),
            Key::Char('w') => self.show(Some(Subject::Workers)),
            Key::Char('l') => self.show(Some(Subject::Luns)),
            Key::Char('i') => self.show(Some(Subject::Initiators)),
            Key::Char('d') => self.show(Some(Subject::Disks)),
            Key::Char('p') => self.show(Some(Subject::Ports)),
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('r') => self.is_reversed = !self.is_reversed,
            Key::Char(' ') => self.is_paused = !self.is_paused,
            Key::Char('h' | '?') => self.is_help = true,
            Key::Up | Key::Char('k') => self.from = self.from.saturating_sub(1),
            Key::Down | Key::Char('j') => self.from = self.from.saturating_add(1),
            Key::Home => self.from = 0,
            Key::End => self.from = usize::MAX,
            _ => {}
        }
        Pressed::Shown
    }

    fn show(&mut self, only: Option<Subject>) {
        self.only = only;
        self.from = 0;
    }

    /// The page on a screen of this size.
    pub(super) fn page(&mut self, of: &TopRecord, size: (Option<usize>, Option<usize>)) -> Page {
        let rows = size.0.unwrap_or(SIZE.0).max(2) - 1;
        let columns = size.1.unwrap_or(SIZE.1).max(2) - 1;
        let mut page = Page::default();
        page.lines.extend(head(of));
        let room = rows.saturating_sub(FRAME);
        if self.is_help {
            let keys = KEYS.iter().take(room).map(|line| (*line).to_owned());
            page.lines.extend(keys);
        } else if let Some(subject) = self.only {
            self.one(&mut page, &self.table(of, subject), (room, columns));
        } else {
            let tables = SUBJECTS.map(|subject| self.table(of, subject));
            all(&mut page, &tables, (room, columns));
        }
        page.lines.resize(rows - 1, String::new());
        page.lines.push(self.foot());
        for line in &mut page.lines {
            *line = line.chars().take(columns).collect();
        }
        page
    }

    /// All there is, as text without an end of lines.
    pub(super) fn text(of: &TopRecord) -> Page {
        let mut page = Page::default();
        page.lines.extend(head(of));
        for subject in SUBJECTS {
            let mut table = Table::new(of, subject);
            table.sort(Sort::default(), false);
            if table.len() > 0 {
                page.lines.push(String::new());
                page.lines.push(table.title(usize::MAX, table.len()));
                page.lines.extend(table.rows(0, table.len(), usize::MAX));
            }
        }
        page
    }

    fn table(&self, of: &TopRecord, subject: Subject) -> Table {
        let mut table = Table::new(of, subject);
        table.sort(self.sort, self.is_reversed);
        table
    }

    /// One table, from where somebody has gone in it.
    fn one(&mut self, page: &mut Page, table: &Table, (room, columns): (usize, usize)) {
        let room = room.saturating_sub(1);
        self.from = self.from.min(table.len().saturating_sub(room));
        page.titles.push(page.lines.len());
        let shown = room.min(table.len());
        page.lines.push(table.title(columns, shown));
        page.lines.extend(table.rows(self.from, room, columns));
    }

    /// What can be done.
    fn foot(&self) -> String {
        let state = if self.is_paused { "PAUSED  " } else { "" };
        let order = if self.is_reversed { " reversed" } else { "" };
        format!(
            "{state}q end  h keys  a w l i d p tables  s by {}{order}  Space pause",
            self.sort.name()
        )
    }
}

/// Two lines about everything.
fn head(of: &TopRecord) -> [String; 2] {
    let shelf = of
        .shelf
        .map_or_else(|| "unset".to_owned(), |shelf| shelf.to_string());
    let (hours, rest) = (of.daemon_seconds / 3600, of.daemon_seconds % 3600);
    let health = match of.problems {
        0 | 1 => of.health.clone(),
        problems => format!("{problems} problems: {}", of.health),
    };
    let sum = |of_lun: fn(&crate::record::top::LunLoadRecord) -> u64| -> u64 {
        of.luns.iter().map(of_lun).sum()
    };
    let online = of.luns.iter().filter(|lun| lun.status == "online").count();
    let (read, write) = (
        sum(|lun| lun.rates.read.bytes_per_s),
        sum(|lun| lun.rates.write.bytes_per_s),
    );
    let operations = sum(|lun| lun.rates.read.ops_per_s + lun.rates.write.ops_per_s);
    let tenths = |bytes: u64| format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10);
    [
        format!(
            "shelf {shelf}  {}  uptime {hours}:{:02}:{:02}  {health}",
            of.date,
            rest / 60,
            rest % 60
        ),
        format!(
            "{online} of {} LUNs online  {operations} IO/s  read {}MB/s  write {}MB/s",
            of.luns.len(),
            tenths(read),
            tenths(write)
        ),
    ]
}

/// All tables that have something to tell, each with as many rows as it needs or as are its share.
fn all(page: &mut Page, tables: &[Table], (room, columns): (usize, usize)) {
    let tables: Vec<&Table> = tables.iter().filter(|table| table.len() > 0).collect();
    // A title and a row at least: what has no room for that is left out.
    let fitting = tables.len().min(room / 2);
    let tables = &tables[..fitting];
    let mut shown = vec![1; fitting];
    let mut left = room - 2 * fitting;
    while left > 0 {
        let lacking = (0..fitting).filter(|table| shown[*table] < tables[*table].len());
        // The one with the fewest, so that none starves another.
        let Some(next) = lacking.min_by_key(|table| shown[*table]) else {
            break;
        };
        shown[next] += 1;
        left -= 1;
    }
    for (table, shown) in tables.iter().zip(shown) {
        page.titles.push(page.lines.len());
        page.lines.push(table.title(columns, shown));
        page.lines.extend(table.rows(0, shown, columns));
    }
}
