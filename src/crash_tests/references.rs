//! Death while the table of references grows or shrinks, is copied for a child, or is emptied after a death.

use super::{
    Corpse, clear_up_after, dies_at_every_step, dies_at_every_step_over, entry, one_at_a_time, run_to,
};
use crate::heap::internal::paging;
use crate::os::fork::{Forked, exit_now, fork};
use crate::{Error, Lock, Queue, RawArray};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

/// A number of slots that is larger than a page.
const PAGE: usize = 508;

fn locks(count: usize) -> Vec<Lock> {
    (0..count).map(|_| Lock::new().expect("memory")).collect()
}

/// Lets the table grow by a second page, and shrink again.
#[test]
fn a_page_comes_and_goes() {
    let heap = crate::program::heap().expect("a heap");
    let more_until_a_page_is_added = || {
        let (mut more, pages) = (Vec::new(), heap.pages());
        while heap.pages() == pages {
            more.push(Lock::new().expect("memory"));
            assert!(more.len() <= 2 * PAGE);
        }
        more
    };
    dies_at_every_step_over(
        || {
            // The first page is nearly full, the second is empty; a forked child has only the first.
            let mut held = more_until_a_page_is_added();
            held.pop();
            Rc::new(RefCell::new(held))
        },
        Rc::clone,
        |held| {
            let pages = heap.pages();
            let more = more_until_a_page_is_added();
            assert_eq!(heap.pages(), pages + 1);
            drop(held.borrow_mut().pop());
            drop(more);
            assert_eq!(heap.pages(), pages);
        },
        |_, _| (),
    );
}

/// Kills the forking process, or the child, while the child gets a copy of the table.
#[test]
fn a_table_is_copied() {
    let heap = crate::program::heap().expect("a heap");
    let nobody_else = || {
        // The child's child ends at once, whether or not a process waits for it; then its entry is freed.
        while heap.others() > 0 {
            heap.clear_up_all_dead();
            thread::sleep(Duration::from_micros(100));
        }
    };
    dies_at_every_step(
        || {
            // The used slots have gaps, and need more than one batch.
            let mut held = locks(75);
            for n in [70, 66, 65, 3, 0] {
                held.remove(n);
            }
            held
        },
        |_| match fork().expect("a fork") {
            Forked::Child => exit_now(0),
            Forked::Parent(pid) => {
                while crate::os::pid::reap(pid).expect("a child").is_none() {
                    thread::sleep(Duration::from_micros(50));
                }
            }
        },
        |held, _| {
            nobody_else();
            held.iter()
                .for_each(|lock| drop(lock.lock().expect("nobody has it")));
        },
    );
}

/// Kills also the survivor that gives up the references of a dead process: most of them to objects that other
/// processes have, too, some to objects that only the dead process had.
#[test]
fn many_references_are_given_up() {
    let heap = crate::program::heap().expect("a heap");
    dies_at_every_step(
        || {
            let shared = locks(70);
            let reserved = entry(heap);
            let dead = reserved.id;
            run_to(reserved, 0, || core::mem::forget(locks(6)));
            heap.no_longer_wanted(dead).expect("memory");
            (shared, Corpse(heap, dead))
        },
        |(_, dead)| heap.clear_up(dead.1).expect("memory"),
        |(shared, dead), _| {
            heap.clear_up(dead.1).expect("memory");
            shared
                .iter()
                .for_each(|lock| drop(lock.lock().expect("nobody has it")));
        },
    );
}

/// Gives up a message that carries the last handles of other objects.
#[test]
fn a_message_with_the_last_handles() {
    dies_at_every_step(
        || {
            let queue = Queue::<Vec<Queue<Vec<u8>>>>::unbounded().expect("memory");
            let carried: Vec<_> = (0..2).map(|_| super::queue_with(&[vec![1; 9000]])).collect();
            queue.put(carried).expect("memory");
            queue
        },
        Queue::shutdown_now,
        |queue, through| {
            if !through {
                // The clearing up that the dead survivor began is finished.
                queue.shutdown_now();
            }
            assert_eq!(queue.try_get().err(), Some(Error::ShutDown));
        },
    );
}

/// Checks that this process can be forked while memory is allocated for an object, or freed.
#[test]
fn no_fork_waits_for_memory() {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    let forks = move || {
        // It forks from another thread, because this one is in the middle of an operation.
        thread::scope(|scope| {
            scope.spawn(|| {
                let reserved = entry(heap);
                let id = reserved.id;
                assert!(run_to(reserved, 0, || ()));
                clear_up_after(heap, id);
            });
        });
    };
    // The page of this process's table stays.
    drop(Lock::new().expect("memory"));
    // Memory that other tests have freed would be used again instead of allocated.
    heap.release_reserve();
    let before = heap.census();
    let count = Rc::new(Cell::new(0));
    let counted = count.clone();
    paging::set_hook(Some(Rc::new(move || {
        forks();
        counted.set(counted.get() + 1);
    })));
    drop(RawArray::<u8>::new(256 << 20).expect("memory"));
    paging::set_hook(None);
    assert!(count.get() >= 2, "memory was made and given back");
    assert_eq!(before, heap.census());
}
