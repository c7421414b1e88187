//! Tables that fit the terminal: columns without a value go, then the least important ones, then the ends of lines.

use super::words::clean;
use super::{Screen, Tone};

/// A table with its rows.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// A column.
#[derive(Clone, Copy)]
pub struct Column {
    title: &'static str,
    right: bool,
    /// The lower, the sooner it goes when the terminal is narrow.
    worth: u8,
}

/// One field.
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Column {
    /// A column that stays.
    pub const fn new(title: &'static str) -> Self {
        Column { title, right: false, worth: u8::MAX }
    }

    /// Figures stand at the right.
    pub const fn right(self) -> Self {
        Column { right: true, ..self }
    }

    /// It goes when the terminal is narrow; the lowest worth first.
    pub const fn worth(self, worth: u8) -> Self {
        Column { worth, ..self }
    }
}

impl Cell {
    /// A field that speaks by its colour too.
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Cell { text: clean(&text.into()).into_owned(), tone }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::toned(text, Tone::Plain)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::toned(text, Tone::Plain)
    }
}

/// Letters between two columns.
const GAP: usize = 2;

impl Table {
    /// A table without rows.
    pub fn new(columns: &[Column]) -> Self {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: a field for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// Writes it, with titles.
    pub fn text(&self, screen: &Screen) -> String {
        let shown = self.shown(screen.width);
        let widths: Vec<usize> = shown.iter().map(|column| self.width(*column)).collect();
        let titles: Vec<Cell> = self
            .columns
            .iter()
            .map(|column| Cell { text: column.title.to_owned(), tone: Tone::Dim })
            .collect();
        let lines = std::iter::once(&titles).chain(&self.rows);
        lines.map(|cells| self.line(cells, &shown, &widths, screen)).collect()
    }

    fn line(&self, cells: &[Cell], shown: &[usize], widths: &[usize], screen: &Screen) -> String {
        let (mut line, mut used) = (String::new(), 0);
        for (place, (column, width)) in shown.iter().zip(widths).enumerate() {
            let cell = &cells[*column];
            let last = place + 1 == shown.len();
            let room = screen.width.map_or(usize::MAX, |width| width.saturating_sub(used));
            let text = cut(&cell.text, room);
            let pad = " ".repeat(width.saturating_sub(text.chars().count()));
            let text = screen.paint(cell.tone, &text);
            match (self.columns[*column].right, last) {
                (true, _) => line += &(pad + &text),
                (false, true) => line += &text,
                (false, false) => line += &(text + &pad),
            }
            if !last {
                line += &" ".repeat(GAP);
            }
            used += width + GAP;
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    }

    /// The columns that have something to show and fit.
    fn shown(&self, width: Option<usize>) -> Vec<usize> {
        let has_value =
            |column: &usize| self.rows.iter().any(|row| !matches!(row[*column].text.as_str(), "" | "-"));
        let mut shown: Vec<usize> = (0..self.columns.len()).filter(has_value).collect();
        let Some(width) = width else { return shown };
        while shown.iter().map(|column| self.width(*column) + GAP).sum::<usize>() > width + GAP {
            let least = shown.iter().copied().min_by_key(|column| self.columns[*column].worth);
            match least.filter(|column| self.columns[*column].worth < u8::MAX) {
                Some(column) => shown.retain(|other| *other != column),
                None => break,
            }
        }
        shown
    }

    fn width(&self, column: usize) -> usize {
        let longest = self.rows.iter().map(|row| row[column].text.chars().count()).max();
        longest.unwrap_or(0).max(self.columns[column].title.chars().count())
    }
}

/// Cuts a text to so many letters, the last of which says that there were more.
fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
    if room == 0 { kept } else { kept + "…" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Form;

    fn table() -> Table {
        let mut table = Table::new(&[
            Column::new("NODE"),
            Column::new("ADDRESS").worth(1),
            Column::new("LAG").right(),
            Column::new("ZONE"),
            Column::new("NOTE"),
        ]);
        table.row(["a", "10.0.0.1:5432", "-", "", ""].map(Cell::from).into());
        table.row(["bb", "10.0.0.2:5432", "24 MB", "", "takes no reads"].map(Cell::from).into());
        table
    }

    fn at(width: Option<usize>, color: bool) -> String {
        table().text(&Screen { form: Form::Table, color, terminal: width.is_some(), width })
    }

    #[test]
    fn it_fits_the_terminal() {
        let whole = "NODE  ADDRESS          LAG  NOTE\n\
                     a     10.0.0.1:5432      -\n\
                     bb    10.0.0.2:5432  24 MB  takes no reads\n";
        assert_eq!(at(None, false), whole);
        assert_eq!(at(Some(42), false), whole);
        assert_eq!(at(Some(41), false), "NODE    LAG  NOTE\na         -\nbb    24 MB  takes no reads\n");
        assert_eq!(at(Some(20), false), "NODE    LAG  NOTE\na         -\nbb    24 MB  takes …\n");
    }

    #[test]
    fn colours_take_no_room() {
        let plain = at(None, true).replace("\x1b[2m", "").replace("\x1b[0m", "");
        assert_eq!(
            plain.lines().map(str::trim_end).collect::<Vec<_>>(),
            at(None, false).lines().collect::<Vec<_>>()
        );
    }
}
