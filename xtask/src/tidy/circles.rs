//! Rule: no circle of imports between files. Exceptions that the table of rooms declares do not count.

use super::config::Config;
use super::finding::Finding;
use super::imports::{Crate, Edge, circles};
use super::rooms::{Rooms, Verdict};
use super::tree::Tree;

/// The crates whose files are checked.
const CRATES: [&str; 3] = ["src/", "python/src/", "macros/src/"];

/// Returns the circles of each crate; each circle counts as the number of its files.
pub fn check(tree: &Tree, _: &Config) -> Vec<Finding> {
    let rooms = Rooms::read(tree);
    let mut findings = Vec::new();
    for folder in CRATES {
        let krate = Crate::of(tree, folder);
        let mut edges = krate.edges();
        edges.retain(|edge| !is_exception(&rooms, edge));
        for circle in circles(&edges) {
            let text = format!(
                "{} of the {} files in {folder} import from each other in a circle ({}): move what is shared below them",
                circle.len(),
                krate.len(),
                circle.iter().copied().collect::<Vec<_>>().join(" ")
            );
            findings.push(Finding::new(&format!("{folder}lib.rs"), 1, text).amount(circle.len()));
        }
    }
    findings
}

fn is_exception(rooms: &Rooms, edge: &Edge) -> bool {
    matches!(edge.rooms, (Some(from), Some(to)) if rooms.verdict(from, to) == Verdict::Exception)
}

#[cfg(test)]
mod tests {
    use super::super::rooms::tests::TABLE;
    use super::*;

    #[test]
    fn a_circle_is_found_with_its_size() {
        let findings = check(
            &Tree::of(&[
                ("ARCHITECTURE.md", TABLE),
                ("src/os.rs", "use crate::heap::a::A;"),
                ("src/heap/a.rs", "use super::b::B;"),
                ("src/heap/b.rs", "use crate::os::X; use crate::queue::Q;"),
                ("src/queue.rs", ""),
            ]),
            &Config::default(),
        );
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].amount, 3);
        assert!(findings[0].text.contains("src/heap/a.rs src/heap/b.rs src/os.rs"));
    }

    #[test]
    fn the_registry_may_close_one() {
        let findings = check(
            &Tree::of(&[
                ("ARCHITECTURE.md", TABLE),
                ("src/program.rs", "use crate::queue::Q;"),
                ("src/queue.rs", "use crate::program::heap;"),
            ]),
            &Config::default(),
        );
        assert_eq!(findings, []);
    }
}
