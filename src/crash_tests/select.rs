//! Waiting for several things at once: death of the waiting process, and of the notifying one.

use super::dies_at_every_step;
use crate::{Queue, Selector};
use std::cell::RefCell;

/// A queue, and a selector of the survivor that has the queue registered and has found nothing.
struct Watched {
    queue: Queue<u32>,
    selector: RefCell<Selector>,
}

fn watched() -> Watched {
    let queue = Queue::unbounded().expect("a queue");
    let mut selector = Selector::new().expect("a selector");
    // More than one, so that the list has a middle.
    for _ in 0..3 {
        selector.add(&queue).expect("memory");
    }
    assert_eq!(selector.try_wait(), Ok(vec![]));
    Watched {
        queue,
        selector: RefCell::new(selector),
    }
}

impl Watched {
    /// Checks that the selector finds a message that is there: by a notification, or by its check once a second.
    fn check(&self, there: bool) {
        let mut selector = self.selector.borrow_mut();
        selector.recheck_all();
        assert_eq!(
            selector.try_wait().expect("memory").len(),
            if there { 3 } else { 0 }
        );
    }

    /// Checks that the next message is reported as usual, at the latest after a second.
    fn check_next(&self, at_once: bool) {
        let mut selector = self.selector.borrow_mut();
        if !at_once {
            selector.recheck_all();
        }
        while self.queue.try_get().is_ok() {}
        assert_eq!(selector.try_wait(), Ok(vec![]));
        self.queue.put(2).expect("room");
        assert_eq!(selector.try_wait().expect("memory").len(), 3);
    }
}

#[test]
fn telling_of_a_message() {
    dies_at_every_step(
        watched,
        |it| it.queue.put(1).expect("room"),
        |it, through| {
            if through {
                assert_eq!(it.selector.borrow_mut().try_wait().expect("memory").len(), 3);
            }
            let there = !it.queue.is_empty();
            assert!(there || !through);
            it.check(there);
            it.check_next(through);
        },
    );
}

#[test]
fn telling_of_the_end() {
    dies_at_every_step(
        watched,
        |it| it.queue.shutdown(),
        |it, through| {
            if through {
                assert_eq!(it.selector.borrow_mut().try_wait().expect("memory").len(), 3);
            }
            it.check(it.queue.is_shut_down());
        },
    );
}

#[test]
fn watching() {
    dies_at_every_step(
        watched,
        |it| {
            let mut selector = Selector::new().expect("a selector");
            let first = selector.add(&it.queue).expect("memory");
            selector.add(&it.queue).expect("memory");
            assert_eq!(selector.try_wait(), Ok(vec![]));
            assert!(selector.remove(first));
            it.queue.put(1).expect("room");
            assert_eq!(selector.try_wait().expect("memory").len(), 1);
        },
        Watched::check_next,
    );
}

#[test]
fn a_copy_in_a_forked_child() {
    dies_at_every_step(
        watched,
        |it| {
            let mut selector = it.selector.borrow_mut();
            assert_eq!(selector.try_wait(), Ok(vec![]));
            it.queue.put(1).expect("room");
            assert_eq!(selector.try_wait().expect("memory").len(), 3);
        },
        Watched::check_next,
    );
}
