//! The table of rooms in ARCHITECTURE.md.
//!
//! It is the first table after the line `<!-- tidy: rooms -->`. A row begins with the room's name in backquotes, and
//! ends with the rooms below it that it may use as an exception.

use super::tree::{File, Tree};

/// The line before the table.
pub const TEXT: &str = "ARCHITECTURE.md";

const MARK: &str = "<!-- tidy: rooms -->";

/// A room: a file or folder in `src`.
#[derive(Debug, PartialEq, Eq)]
pub struct Room {
    pub name: String,
    /// The number of its row's line.
    pub line: usize,
    /// Rooms below it that it may use.
    pub exceptions: Vec<String>,
}

/// The rooms, the lowest layer first.
pub struct Rooms(Vec<Room>);

/// Whether one room may use another.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Above,
    /// The other room is below, and the table allows it.
    Exception,
    /// The other room is below, or one of the two is not in the table.
    Below,
}

impl Rooms {
    /// Reads the table. The result has no rows if there is no table.
    pub fn read(tree: &Tree) -> Self {
        let lines = tree.get(TEXT).into_iter().flat_map(File::lines);
        let rows = lines
            .skip_while(|(_, line)| line.trim() != MARK)
            .skip_while(|(_, line)| !line.starts_with('|'))
            .take_while(|(_, line)| line.starts_with('|'));
        Self(rows.filter_map(|(number, line)| row(number, line)).collect())
    }

    /// Returns the rooms.
    pub fn iter(&self) -> impl Iterator<Item = &Room> {
        self.0.iter()
    }

    /// Returns whether a room may use another.
    pub fn verdict(&self, from: &str, to: &str) -> Verdict {
        let place = |name: &str| self.0.iter().position(|room| room.name == name);
        match (place(from), place(to)) {
            (Some(from), Some(to)) if to <= from => Verdict::Above,
            (Some(from), Some(_)) if self.0[from].exceptions.iter().any(|room| room == to) => {
                Verdict::Exception
            }
            _ => Verdict::Below,
        }
    }
}

/// Reads a row; returns none for the head of the table.
fn row(line: usize, text: &str) -> Option<Room> {
    let mut cells = text.trim().trim_matches('|').split('|');
    let name = quoted(cells.next()?).next()?;
    let exceptions = cells
        .nth(1)
        .map(|cell| quoted(cell).collect())
        .unwrap_or_default();
    Some(Room {
        name,
        line,
        exceptions,
    })
}

/// Returns the texts in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

#[cfg(test)]
pub mod tests {
    use super::{Rooms, Verdict};
    use crate::tidy::tree::Tree;

    pub const TABLE: &str = "\
# Architecture\n\n| other | table |\n| --- | --- |\n| `queue` | x |\n\n<!-- tidy: rooms -->\n\n\
| room | what lives there | also uses |\n| --- | --- | --- |\n\
| `os` | system calls | |\n| `heap` | the `heap` | |\n| `program` | the registry | `queue` |\n| `queue` | queues | |\n\
| `select` | waiting | |\n\n| `late` | no row of it | |\n";

    #[test]
    fn the_table_says_who_may_use_whom() {
        let tree = Tree::of(&[("ARCHITECTURE.md", TABLE)]);
        let rooms = Rooms::read(&tree);
        assert_eq!(rooms.verdict("queue", "os"), Verdict::Above);
        assert_eq!(rooms.verdict("queue", "queue"), Verdict::Above);
        assert_eq!(rooms.verdict("os", "queue"), Verdict::Below);
        assert_eq!(rooms.verdict("program", "queue"), Verdict::Exception);
        assert_eq!(rooms.verdict("program", "select"), Verdict::Below);
        assert_eq!(rooms.verdict("late", "os"), Verdict::Below);
        assert_eq!(
            rooms.iter().map(|room| room.line).collect::<Vec<_>>(),
            [11, 12, 13, 14, 15]
        );
    }
}
