//! Finding threads that wait for each other.
//!
//! A thread waits for one lock at a time and a lock has one holder. So each waiting thread has at most one thread
//! that it waits for, and a path of such threads that comes back to its start is a deadlock.

use super::gather::{Gathered, Thread, Wait};
use std::collections::BTreeMap;

/// Returns the circles among the waits.
pub(super) fn cycles(seen: &Gathered) -> Vec<Vec<Wait>> {
    let edges = seen.waits.iter().filter_map(|wait| {
        let holder = seen.things.get(&wait.waits.object)?.holder()?;
        (wait.waits.what == "lock").then_some((wait.who, (*wait, holder)))
    });
    circles(&edges.collect(), |(_, holder)| *holder)
        .into_iter()
        .map(|circle| circle.into_iter().map(|(wait, _)| wait).collect())
        .collect()
}

/// Returns the circles of a graph in which each node has at most one edge. `next` returns the node that an edge leads
/// to. Each circle begins at its least node.
fn circles<E: Clone>(edges: &BTreeMap<Thread, E>, next: impl Fn(&E) -> Thread) -> Vec<Vec<E>> {
    // The walk that reached a node first.
    let mut seen: BTreeMap<Thread, Thread> = BTreeMap::new();
    let mut found = Vec::new();
    for &start in edges.keys() {
        let mut at = start;
        while let Some(edge) = edges.get(&at) {
            match seen.get(&at) {
                // This walk came back to a node of its own: a circle, and `at` is on it.
                Some(&walk) if walk == start => {
                    found.push(around(edges, at, &next));
                    break;
                }
                Some(_) => break,
                None => {
                    seen.insert(at, start);
                    at = next(edge);
                }
            }
        }
    }
    found
}

/// Returns the circle that `node` is on.
fn around<E: Clone>(edges: &BTreeMap<Thread, E>, node: Thread, next: impl Fn(&E) -> Thread) -> Vec<E> {
    let mut nodes = vec![node];
    loop {
        let at = next(&edges[nodes.last().expect("the first")]);
        if at == node {
            break;
        }
        nodes.push(at);
    }
    let least = (0..nodes.len()).min_by_key(|&i| nodes[i]).expect("the first");
    nodes.rotate_left(least);
    nodes.iter().map(|node| edges[node].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn thread(number: u32) -> Thread {
        Thread { id: 1, number }
    }

    fn found(edges: &[(u32, u32)]) -> Vec<Vec<u32>> {
        let graph = edges
            .iter()
            .map(|&(from, to)| (thread(from), (from, to)))
            .collect();
        circles(&graph, |&(_, to)| thread(to))
            .into_iter()
            .map(|circle| circle.into_iter().map(|(from, _)| from).collect())
            .collect()
    }

    #[test]
    fn a_way_that_ends_is_no_circle() {
        assert!(found(&[(1, 2), (2, 3), (4, 3)]).is_empty());
    }

    #[test]
    fn circles_are_found_once_each_without_the_threads_that_wait_for_them() {
        assert_eq!(found(&[(5, 5)]), [[5]]);
        assert_eq!(
            found(&[(0, 3), (1, 2), (2, 3), (3, 1), (7, 8), (8, 7)]),
            [vec![1, 2, 3], vec![7, 8]]
        );
    }

    proptest! {
        /// Checks that a node is on a circle if, and only if, following the edges from it leads back to it.
        #[test]
        fn as_following_every_way_says(targets in proptest::collection::vec(0u32..12, 12)) {
            let edges: Vec<(u32, u32)> = (0..).zip(targets.iter().copied()).filter(|&(_, to)| to < 10).collect();
            let step = |at: u32| edges.iter().find(|edge| edge.0 == at).map(|edge| edge.1);
            let on_circle = |from: u32| {
                let mut at = step(from);
                for _ in 0..12 {
                    if at == Some(from) { return true; }
                    at = at.and_then(step);
                }
                false
            };
            let mut all: Vec<u32> = found(&edges).concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..12).filter(|&n| on_circle(n)).collect::<Vec<_>>());
        }
    }
}
