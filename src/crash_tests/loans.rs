//! Death while pages of the table of references are lent to children, and while those loans end.

use super::{clear_up_after, dies_at_every_step_over, entry, one_at_a_time, run_to};
use crate::heap::{Heap, waiter};
use crate::os::fork::{Forked, exit_now, fork};
use crate::wait::atomic::crash;
use crate::{Lock, Queue, RawValue, Semaphore};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// So many fill two pages, whatever else is in the first that has room.
const ENOUGH: usize = 1300;
/// One of them that is in a page which they fill. (In others, records of threads come and go.)
const ONE: usize = 700;
/// Steps in which a page is copied, but for the last.
const MAX_STEPS: u64 = 7;

type Held = Rc<RefCell<Vec<Lock>>>;

fn locks(count: usize) -> Held {
    let locks = (0..count).map(|_| Lock::new().expect("memory")).collect();
    Rc::new(RefCell::new(locks))
}

/// The page that is full.
fn page_of(held: &Held) -> u64 {
    Heap::page_of(held.borrow()[ONE].handle().object())
}

/// Waits until all other processes are gone. They end by themselves.
fn alone(heap: &Heap) {
    while heap.others() > 0 {
        heap.clear_up_all_dead();
        thread::sleep(Duration::from_micros(100));
    }
}

/// Forks somebody who does `work`; the pid.
fn forked(work: impl FnOnce()) -> u32 {
    begin(0, work)
}

/// Forks somebody who does `work` and dies at a step of it; the pid.
fn begin(step: u64, work: impl FnOnce()) -> u32 {
    match fork().expect("a fork") {
        Forked::Child => {
            crash::arm(step);
            let ended = catch_unwind(AssertUnwindSafe(work));
            crash::arm(0);
            exit_now(i32::from(ended.is_err()))
        }
        Forked::Parent(pid) => pid,
    }
}

fn reap(pid: u32) {
    while crate::os::pid::reap(pid).expect("a child").is_none() {
        thread::sleep(Duration::from_micros(50));
    }
}

/// Sleeps until this process's parent is not `parent` any more, which is dead then.
fn outlive(parent: u32) {
    while std::os::unix::process::parent_id() == parent {
        thread::sleep(Duration::from_micros(100));
    }
}

/// Kills a child of a process with a full page in the middle of `work`.
fn dies_with_a_full_page(work: impl Fn(&Heap, &Held, u64)) {
    let heap = crate::program::heap().expect("a heap");
    dies_at_every_step_over(
        || locks(ENOUGH),
        Rc::clone,
        |held| {
            let full = page_of(held);
            crash::spare(|| assert_eq!(heap.loan(full), Some(true), "the page is full, and was lent"));
            work(heap, held, full);
        },
        |held, _| {
            let full = page_of(held);
            alone(heap);
            let held = held.borrow();
            assert_eq!(held.len(), ENOUGH);
            held.iter()
                .for_each(|lock| drop(lock.lock().expect("nobody has it")));
            assert_eq!(heap.loan(full), None, "no loan is left");
        },
    );
}

/// The borrower changes what it holds.
#[test]
fn a_borrower_gets_a_page_of_its_own() {
    dies_with_a_full_page(|heap, held, full| {
        crash::spare(|| heap.settle_some(full, MAX_STEPS));
        drop(held.borrow_mut().swap_remove(ONE));
        crash::spare(|| assert_eq!(heap.loan(full), None));
    });
}

/// The borrower forks: the page is lent once more.
#[test]
fn what_is_borrowed_is_lent_again() {
    dies_with_a_full_page(|_, _, _| reap(forked(|| ())));
}

/// A process that has a full page forks.
#[test]
fn a_page_is_lent() {
    dies_with_a_full_page(|heap, _, full| {
        crash::spare(|| heap.settle_some(full, MAX_STEPS + 1));
        reap(forked(|| ()));
    });
}

/// The lender changes what it holds, while the borrower lives.
#[test]
fn a_lender_gets_its_page_back() {
    dies_with_a_full_page(|heap, held, full| {
        crash::spare(|| {
            heap.settle_some(full, MAX_STEPS + 1);
            let parent = std::process::id();
            forked(|| outlive(parent));
            assert_eq!(heap.loan(full), Some(false));
            heap.settle_some(full, MAX_STEPS);
        });
        drop(held.borrow_mut().swap_remove(ONE));
        crash::spare(|| assert_eq!(heap.loan(full), None));
    });
}

/// What both sides drop goes with the last of them, and what one keeps stays.
#[test]
fn a_lent_object_lives_as_long_as_anybody_has_it() {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    let queue = Queue::<u8>::unbounded().expect("memory");
    let before = heap.census();
    let producer = queue.producer().expect("memory");
    let held = locks(ENOUGH);
    let full = page_of(&held);
    let reserved = entry(heap);
    let id = reserved.id;
    let through = run_to(reserved, 0, || {
        assert_eq!(heap.loan(full), Some(true));
        drop(producer.clone());
        assert_eq!(
            heap.loan(full),
            Some(true),
            "a handle more or less changes nothing"
        );
        // Two that the parent keeps.
        drop(held.borrow_mut().drain(ONE..ONE + 2));
        assert_eq!(heap.loan(full), None);
        drop(held.borrow()[ONE].lock().expect("nobody has it"));
    });
    assert!(through);
    clear_up_after(heap, id);
    held.borrow()
        .iter()
        .for_each(|lock| drop(lock.lock().expect("nobody has it")));

    let pid = forked(|| {
        // The parent drops its own meanwhile.
        while heap.loan(full) == Some(true) {
            thread::sleep(Duration::from_micros(100));
        }
        for lock in held.borrow().iter() {
            drop(lock.lock().expect("it is there"));
        }
        drop(producer.clone());
        queue.put(1).expect("memory");
    });
    assert_eq!(heap.loan(full), Some(false));
    drop(producer);
    drop(held);
    assert_eq!(queue.get(), Ok(1));
    reap(pid);
    heap.clear_up_all_dead();
    assert!(queue.get().is_err(), "the last producer is dead");
    assert_eq!(before, heap.census());
}

/// Notes are of one process: a child that borrows has none, and gets a page for its own.
#[test]
fn permits_of_lender_and_borrower() {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    let semaphores: Vec<_> = (0..ENOUGH).map(|_| Semaphore::new(3).expect("memory")).collect();
    let semaphore = &semaphores[ONE];
    let full = Heap::page_of(semaphore.handle().object());
    semaphore.acquire().expect("a permit").forget();
    for _ in 0..2 {
        let reserved = entry(heap);
        let id = reserved.id;
        let killed = !run_to(reserved, 0, || {
            assert_eq!(heap.loan(full), Some(true));
            semaphore.acquire().expect("a permit").forget();
            assert_eq!(heap.loan(full), None);
            assert_eq!(semaphore.value(), 1);
            crash::arm(1);
            semaphores[ONE + 1].acquire().expect("a permit").forget();
        });
        assert!(killed);
        clear_up_after(heap, id);
        assert_eq!(
            semaphore.value(),
            2,
            "the parent's permit stays taken, the child's is back"
        );
        assert_eq!(heap.loan(full), None);
    }
    semaphore.release().expect("it has one");
    assert_eq!(semaphore.value(), 3);
}

/// Numbers that nobody thought of, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// Drops, makes and uses this and that.
fn change(held: &mut Vec<Lock>, dice: &mut Dice) {
    for _ in 0..dice.below(4) {
        match dice.below(3) {
            0 if !held.is_empty() => drop(held.swap_remove(dice.below(held.len()))),
            1 => held.push(Lock::new().expect("memory")),
            _ => {}
        }
    }
}

/// Three generations change what they hold, and are killed at any step.
#[test]
fn generations_share_and_die() {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    drop(Lock::new().expect("memory"));
    let before = heap.census();
    let mut dice = Dice(0x5eed_1234_abcd_0001);
    let mut held = std::mem::take(&mut *locks(ENOUGH).borrow_mut());
    for _ in 0..200 {
        let reserved = entry(heap);
        let id = reserved.id;
        let step = dice.below(3000) as u64;
        run_to(reserved, step, || {
            change(&mut held, &mut dice);
            let grandchild = match fork().expect("a fork") {
                Forked::Child => {
                    crash::arm(dice.below(1500) as u64);
                    change(&mut held, &mut dice);
                    exit_now(0)
                }
                Forked::Parent(pid) => pid,
            };
            change(&mut held, &mut dice);
            reap(grandchild);
        });
        clear_up_after(heap, id);
        change(&mut held, &mut dice);
        held.iter()
            .for_each(|lock| drop(lock.lock().expect("nobody has it")));
    }
    alone(heap);
    drop(held);
    assert_eq!(before, heap.census());
}

/// While a process forks, another process ends the loans that the first has made so far.
#[test]
fn loans_end_while_others_begin() {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    // No child inherits it: the borrower's page has room when it is filled.
    let _waiter = waiter::keep(heap);
    let held = full_pages(heap, 3);
    let before = heap.census();
    for step in 1.. {
        let reserved = entry(heap);
        let id = reserved.id;
        let me = heap.me();
        crash::at_change(step, move || {
            if heap.me() == me && !heap.is_busy() {
                // A thread of its own: this one is about to take the lock.
                thread::scope(|scope| scope.spawn(|| heap.end_own_loans()).join().expect("memory"));
            }
        });
        let through = run_to(reserved, 0, || {
            crash::forget_plans();
            let lost = held
                .iter()
                .filter(|lock| !heap.refers_to(lock.handle().object()))
                .count();
            assert_eq!(lost, 0, "references that the child has not got, at step {step}");
        });
        assert!(through);
        let is_over = crash::forget_plans();
        clear_up_after(heap, id);
        assert_eq!(before, heap.census());
        if is_over {
            break;
        }
    }
}

/// Makes as many locks as fill all pages that there are and `pages` more.
fn full_pages(heap: &Heap, pages: usize) -> Vec<Lock> {
    let mut held = vec![Lock::new().expect("memory")];
    let end = heap.pages() + pages;
    while heap.pages() <= end {
        held.push(Lock::new().expect("memory"));
    }
    // It is in a page of its own.
    held.pop();
    held
}

/// Numbers that nobody else has, in shared memory: whose memory was freed too early is found out.
struct Marked(u64, RawValue<u64>);

impl Marked {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mark = u64::from(std::process::id()) << 32 | NEXT.fetch_add(1, Ordering::Relaxed);
        Self(mark, RawValue::new(mark).expect("memory"))
    }

    /// Returns how many of them were freed although they are in use.
    fn lost(all: &[Self]) -> u64 {
        all.iter()
            .filter(|Self(mark, value)| *mark != value.get())
            .count() as u64
    }

    fn change(all: &mut Vec<Self>, dice: &mut Dice) {
        for _ in 0..dice.below(6) {
            drop(all.swap_remove(dice.below(all.len())));
            all.push(Self::new());
        }
    }
}

/// A process with two threads, its children and theirs change what they refer to at the same time, and are killed.
#[test]
fn everybody_changes_at_once() {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    let _waiter = waiter::keep(heap);
    drop((
        Lock::new().expect("memory"),
        Queue::<Vec<u8>>::unbounded().expect("memory"),
    ));
    let before = heap.census();
    let mut dice = Dice(0x0dd5_5eed_0000_0001);
    let mut all: Vec<_> = (0..ENOUGH).map(|_| Marked::new()).collect();
    let lost = RawValue::new(0).expect("memory");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| puts_and_drops(&over));
        let _over = SetAtEnd(&over);
        for _ in 0..60 {
            let steps = [dice.below(20_000) as u64, dice.below(9000) as u64];
            let child = begin(steps[0], || {
                // These it lends itself.
                all.extend((0..dice.below(ENOUGH)).map(|_| Marked::new()));
                let grandchild = begin(steps[1], || lives(&mut all, &mut dice, &lost));
                lives(&mut all, &mut dice, &lost);
                ends_well(grandchild);
            });
            lives(&mut all, &mut dice, &lost);
            heap.clear_up_all_dead();
            ends_well(child);
        }
    });
    alone(heap);
    assert_eq!(lost.get(), 0, "freed, and somebody referred to it");
    drop((all, lost));
    heap.release_reserve();
    assert_eq!(before, heap.census());
}

/// Sets it also when the test fails.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Changes what this process refers to, and looks each time whether all is there.
fn lives(all: &mut Vec<Marked>, dice: &mut Dice, lost: &RawValue<u64>) {
    for _ in 0..3 {
        Marked::change(all, dice);
        lost.fetch_add(Marked::lost(all));
    }
}

/// Messages and objects come and go.
fn puts_and_drops(over: &AtomicBool) {
    let queue = Queue::<Vec<u8>>::unbounded().expect("memory");
    while !over.load(Ordering::Relaxed) {
        queue.put(vec![1; 20_000]).expect("memory");
        let values: Vec<_> = (0..50).map(|_| Marked::new()).collect();
        assert_eq!(queue.get().expect("a message").len(), 20_000);
        assert_eq!(Marked::lost(&values), 0);
    }
}

/// A process that has lent pages dies, and so does the one that clears up after it, before a second survivor goes on.
/// The borrower still has all that it had.
#[test]
fn a_lender_dies_before_its_borrower() {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    let _waiter = waiter::keep(heap);
    drop(Lock::new().expect("memory"));
    let before = heap.census();
    for step in (1..).step_by(1009) {
        let [is_cleared, kept] = [0, 0].map(|zero| RawValue::<u64>::new(zero).expect("memory"));
        // Made before there is somebody dead.
        let [reserved, survivor] = [entry(heap), entry(heap)];
        let lender = reserved.id;
        let through = run_to(reserved, 0, || {
            let all: Vec<_> = (0..ENOUGH).map(|_| Lock::new().expect("memory")).collect();
            let full = Heap::page_of(all[ONE].handle().object());
            forked(|| {
                while is_cleared.get() == 0 {
                    thread::sleep(Duration::from_micros(100));
                }
                assert_eq!(heap.loan(full), None);
                kept.set(
                    all.iter()
                        .filter(|lock| heap.refers_to(lock.handle().object()))
                        .count() as u64,
                );
            });
            assert_eq!(heap.loan(full), Some(false));
            core::mem::forget(all);
        });
        assert!(through);
        let second = survivor.id;
        let is_over = run_to(survivor, step, || heap.clear_up(lender).expect("memory"));
        clear_up_after(heap, second);
        clear_up_after(heap, lender);
        is_cleared.set(1);
        alone(heap);
        assert_eq!(kept.get(), ENOUGH as u64, "step {step}");
        drop((is_cleared, kept));
        assert_eq!(before, heap.census());
        if is_over {
            break;
        }
    }
}

/// Waits for a child, which has found nothing wrong.
fn ends_well(pid: u32) {
    let status = super::ended(pid);
    assert!(status == 0 || status == libc::SIGKILL, "status {status:#x}");
}

/// One of several borrowers goes, then its neighbours.
#[test]
fn borrowers_go_in_any_order() {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    let held = locks(ENOUGH);
    let full = page_of(&held);
    for order in [[1, 0, 2], [1, 2, 0], [0, 1, 2], [2, 0, 1]] {
        let may_go: Vec<_> = (0..3).map(|_| RawValue::<u64>::new(0).expect("memory")).collect();
        let waits = |may_go: &RawValue<u64>| {
            while may_go.get() == 0 {
                thread::sleep(Duration::from_micros(100));
            }
        };
        let children: Vec<_> = may_go.iter().map(|it| forked(|| waits(it))).collect();
        for i in order {
            assert_eq!(heap.loan(full), Some(false), "somebody borrows still");
            may_go[i].set(1);
            reap(children[i]);
            heap.clear_up_all_dead();
            heap.census();
        }
        assert_eq!(heap.loan(full), None, "nobody borrows after {order:?}");
    }
}
