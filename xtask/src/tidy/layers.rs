//! Rule: a room uses only rooms above it in the table of ARCHITECTURE.md.

use super::config::Config;
use super::finding::Finding;
use super::imports::Crate;
use super::rooms::{Room, Rooms, TEXT, Verdict};
use super::tree::Tree;

/// The folder of the crate's source.
const SOURCE: &str = "src/";

/// Returns the imports that go down, the files without a room, and the rooms without a file.
pub fn check(tree: &Tree, _: &Config) -> Vec<Finding> {
    let rooms = Rooms::read(tree);
    let mut findings = homeless(tree, &rooms);
    findings.extend(empty(tree, &rooms));
    let krate = Crate::of(tree, SOURCE);
    for edge in krate.edges() {
        // The root only wires the rooms, and no room may use it.
        let Some(from) = edge.rooms.0 else { continue };
        let to = edge.rooms.1.unwrap_or("lib");
        if rooms.verdict(from, to) == Verdict::Below {
            let text = format!(
                "room `{from}` uses {} of room `{to}`, which is below it in {TEXT}: move one of the two",
                edge.to
            );
            findings.push(Finding::new(edge.from, edge.line, text));
        }
    }
    findings
}

fn homeless(tree: &Tree, rooms: &Rooms) -> Vec<Finding> {
    let files = tree
        .rust(SOURCE)
        .map(|(file, _)| file)
        .filter(|file| !file.is_test);
    let mut findings = Vec::new();
    for file in files {
        let room = room_of(&file.path);
        if room != "lib" && rooms.iter().all(|other| other.name != room) {
            let text = format!("the table of rooms in {TEXT} has no row for `{room}`: give it one");
            findings.push(Finding::new(&file.path, 1, text));
        }
    }
    findings
}

fn empty(tree: &Tree, rooms: &Rooms) -> Vec<Finding> {
    let is_empty = |room: &&Room| {
        tree.rust(SOURCE)
            .all(|(file, _)| room_of(&file.path) != room.name)
    };
    let finding = |room: &Room| {
        let text = format!(
            "room `{}` is no file or folder of {SOURCE}: take the row out",
            room.name
        );
        Finding::new(TEXT, room.line, text)
    };
    rooms.iter().filter(is_empty).map(finding).collect()
}

/// Returns the file or folder at the top of the source that a file is, or is in.
fn room_of(path: &str) -> &str {
    let rest = &path[SOURCE.len()..];
    rest.split_once('/')
        .map_or(rest, |(folder, _)| folder)
        .trim_end_matches(".rs")
}

#[cfg(test)]
mod tests {
    use super::super::rooms::tests::TABLE;
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<(String, usize)> {
        let mut all = vec![("ARCHITECTURE.md", TABLE), ("src/lib.rs", "")];
        let rooms = ["os", "heap", "program", "queue", "select"].map(|room| format!("src/{room}/mod.rs"));
        all.extend(rooms.iter().map(|path| (path.as_str(), "")));
        all.extend_from_slice(files);
        let findings = check(&Tree::of(&all), &Config::default());
        findings
            .into_iter()
            .map(|finding| (finding.file, finding.line))
            .collect()
    }

    #[test]
    fn an_import_from_below_is_found() {
        let found = found(&[
            ("src/os/a.rs", "use std::fs;\nuse crate::queue::Queue;"),
            ("src/queue/mod.rs", "use crate::os::now;"),
        ]);
        assert_eq!(found, [("src/os/a.rs".to_owned(), 2)]);
    }

    #[test]
    fn a_path_in_a_function_is_found() {
        let found = found(&[
            ("src/heap/a.rs", "fn f() {\n crate::select::wait() }"),
            ("src/select/mod.rs", "fn wait() {}"),
        ]);
        assert_eq!(found, [("src/heap/a.rs".to_owned(), 2)]);
    }

    #[test]
    fn a_file_without_a_room_is_found() {
        assert_eq!(found(&[("src/late.rs", "")]), [("src/late.rs".to_owned(), 1)]);
    }

    #[test]
    fn a_room_without_a_file_is_found() {
        let tree = Tree::of(&[
            ("ARCHITECTURE.md", TABLE),
            ("src/os.rs", ""),
            ("src/heap/a.rs", ""),
        ]);
        let lines: Vec<_> = check(&tree, &Config::default())
            .iter()
            .map(|finding| finding.line)
            .collect();
        assert_eq!(lines, [13, 14, 15]);
    }

    #[test]
    fn exceptions_and_tests_may() {
        let found = found(&[
            ("src/program/a.rs", "use crate::queue::KIND;"),
            ("src/os/a.rs", "#[cfg(test)] mod tests { use crate::queue::X; }"),
        ]);
        assert_eq!(found, []);
    }
}
