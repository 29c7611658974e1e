//! Semaphores: in the end there are as many permits as in the beginning, and each death of an owner is reported once.

use super::{clear_up_after, dies_at_every_step, entry, run_to};
use crate::{Error, Permit, Semaphore};

/// Takes all permits, and returns their number and the number of those whose owner died.
pub(super) fn count_permits(semaphore: &Semaphore) -> (usize, usize) {
    let permits: Vec<_> = std::iter::from_fn(|| semaphore.try_acquire().ok()).collect();
    let told = permits.iter().filter(|permit| permit.owner_died()).count();
    (permits.len(), told)
}

/// Checks the permits after a death, before and after the clearing up.
fn check_permits(semaphore: &Semaphore, through: bool) {
    let value = semaphore.value();
    assert!((1..=3).contains(&value), "{value}");
    let (permits, told) = count_permits(semaphore);
    // The thread that takes the lock carries out a change that was decided, so there may be one permit more or less
    // than there seemed to be.
    assert!(permits.abs_diff(value) <= 1, "{permits} of {value}");
    assert!(
        told <= 2 && told <= permits && (!through || told == 0),
        "{told} told"
    );
    assert_eq!(count_permits(semaphore), (permits, 0), "told once");
}

/// Runs a crash test of a semaphore: in the end, after any death, it has as many permits as in the beginning.
fn semaphores_and(setup: fn() -> Semaphore, work: fn(&Semaphore)) {
    dies_at_every_step(
        || Whole(setup()),
        |whole| work(&whole.0),
        |whole, through| check_permits(&whole.0, through),
    );
}

/// A semaphore of three permits. When it is dropped and all dead processes are cleared up after, all permits must be
/// there.
struct Whole(Semaphore);

impl Drop for Whole {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.0.value(), 3, "in the end");
            assert_eq!(count_permits(&self.0).0, 3, "in the end");
            assert_eq!(self.0.release(), Err(Error::TooManyReleases { max: 3 }));
        }
    }
}

pub(super) fn three() -> Semaphore {
    Semaphore::bounded(3).expect("a semaphore")
}

#[test]
fn a_permit() {
    semaphores_and(three, |semaphore| drop(semaphore.acquire().expect("a permit")));
}

#[test]
fn permits_taken_and_given_back_in_part() {
    semaphores_and(three, |semaphore| {
        semaphore.acquire().expect("a permit").forget();
        semaphore.acquire().expect("a permit").forget();
        semaphore.release().expect("it has two");
        semaphore.release().expect("it has one");
    });
}

/// As many acquires as bias a semaphore, and one or more that use the bias.
fn take_and_give_back(semaphore: &Semaphore) {
    for _ in 0..4 {
        drop(semaphore.acquire().expect("a permit"));
    }
}

#[test]
fn permits_of_one_process_alone() {
    semaphores_and(three, |semaphore| {
        take_and_give_back(semaphore);
        semaphore.acquire().expect("a permit").forget();
        semaphore.acquire().expect("a permit").forget();
        semaphore.release().expect("it has two");
        semaphore.release().expect("it has one");
        // Dropping a handle ends the bias.
        drop(semaphore.clone());
    });
}

#[test]
fn permits_that_another_process_had_alone() {
    let biased = || {
        let semaphore = three();
        take_and_give_back(&semaphore);
        semaphore
    };
    semaphores_and(biased, |semaphore| {
        drop(semaphore.acquire().expect("a permit"));
        take_and_give_back(semaphore);
    });
}

#[test]
fn a_permit_of_the_dead() {
    let with_a_dead_one = || {
        let heap = crate::program::heap().expect("a heap");
        let semaphore = three();
        let reserved = entry(heap);
        let dead = reserved.id;
        run_to(reserved, 0, || {
            semaphore.acquire().map(Permit::forget).expect("a permit");
        });
        clear_up_after(heap, dead);
        semaphore
    };
    dies_at_every_step(
        || Whole(with_a_dead_one()),
        |whole| drop(whole.0.acquire().expect("a permit")),
        |whole, through| {
            let (permits, told) = count_permits(&whole.0);
            // One permit came back from the first, and perhaps one from this one.
            assert!(
                permits >= 2 && told <= 2 && (!through || told == 0),
                "{permits} {told}"
            );
        },
    );
}

/// Checks that the permits of a process that says that it ends stay taken. If it is killed before it has said so, they
/// come back.
#[test]
fn permits_of_one_that_ends() {
    let heap = crate::program::heap().expect("a heap");
    for biased in [false, true] {
        dies_at_every_step(
            three,
            |semaphore| {
                if biased {
                    take_and_give_back(semaphore);
                }
                semaphore.acquire().expect("a permit").forget();
                semaphore.acquire().expect("a permit").forget();
                semaphore.release().expect("it has two");
                heap.take_leave();
            },
            |semaphore, through| {
                // Holds before and after the clearing up: the permit is in one place or in none.
                let missing = 3 - count_permits(semaphore).0;
                assert!(missing <= 2, "{missing}");
                heap.clear_up_all_dead();
                let (permits, told) = count_permits(semaphore);
                assert!(if through { permits == 2 } else { permits == 3 }, "{permits}");
                assert!(told <= 2 && (!through || told == 0), "{told} told");
                assert_eq!(semaphore.release(), if through { Ok(()) } else { too_many() });
            },
        );
    }
}

fn too_many() -> crate::Result<()> {
    Err(Error::TooManyReleases { max: 3 })
}

/// Kills the process that clears up, too: a permit must not be returned twice, nor half.
#[test]
fn clearing_up_after_one_that_ends() {
    let heap = crate::program::heap().expect("a heap");
    dies_at_every_step(
        || {
            let semaphore = three();
            let reserved = entry(heap);
            let ended = reserved.id;
            run_to(reserved, 0, || {
                semaphore.acquire().expect("a permit").forget();
                heap.take_leave();
            });
            heap.no_longer_wanted(ended).expect("memory");
            Ended { semaphore, id: ended }
        },
        |ended| heap.clear_up(ended.id).expect("memory"),
        |ended, _| {
            heap.clear_up_all_dead();
            assert_eq!(count_permits(&ended.semaphore), (2, 0));
        },
    );
}

/// A semaphore, and a process that had a permit of it and has ended.
struct Ended {
    semaphore: Semaphore,
    id: u32,
}

impl Drop for Ended {
    fn drop(&mut self) {
        crate::program::heap()
            .map(crate::heap::Heap::clear_up_all_dead)
            .expect("a heap");
    }
}
