//! The bindings for other languages: handles without types, parcels, and children that the engine does not start
//! itself.

mod common;

use common::{again, alone, watchdog, watchdog_of};
use procession::bindings::{
    Acquire, Address, Deadline, Handle, HandleKind, JoinToken, Parcel, RawQueue, Received, Region,
    TryAcquired, attach, ended, ensure_heap, own_number, take_start,
};
use procession::{Error, Lock, Process, RLock, Semaphore};
use rustix::io::FdFlags;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

// ---- handles ----

fn every_sort() -> [(HandleKind, Handle); 5] {
    [
        (HandleKind::RawQueue, Handle::from(&RawQueue::new(0).unwrap())),
        (HandleKind::Lock, Handle::from(&Lock::new().unwrap())),
        (HandleKind::RLock, Handle::from(&RLock::new().unwrap())),
        (HandleKind::Semaphore, Handle::from(&Semaphore::new(1).unwrap())),
        (HandleKind::Region, Handle::from(&Region::new(100_000).unwrap())),
    ]
}

fn is_refused<T>(answer: Result<T, Error>) -> bool {
    matches!(answer, Err(Error::ForeignHandle { .. }))
}

#[test]
fn an_address_finds_its_object_and_no_other() {
    let handles = every_sort();
    for (sort, handle) in &handles {
        let address = handle.address();
        assert_eq!(Handle::find(address, *sort).unwrap().address(), address);
        for (other, _) in handles.iter().filter(|(other, _)| other != sort) {
            assert!(is_refused(Handle::find(address, *other)));
        }
        for wrong in [
            Address {
                heap: address.heap ^ 1,
                ..address
            },
            Address {
                serial: address.serial + 1,
                ..address
            },
            Address {
                off: address.off + 64,
                ..address
            },
            Address {
                off: address.off + 8,
                ..address
            },
            Address { off: 0, ..address },
            Address { off: !63, ..address },
        ] {
            assert!(is_refused(Handle::find(wrong, *sort)), "{wrong:?}");
        }
    }
    assert!(is_refused(Lock::try_from(handles[0].1.clone())));
    assert!(is_refused(RawQueue::try_from(handles[1].1.clone())));
    assert!(Semaphore::try_from(handles[3].1.clone()).is_ok());
}

#[test]
fn an_address_keeps_nothing_alive() {
    let addresses = every_sort().map(|(sort, handle)| (sort, handle.address()));
    // New objects at the same offsets are other objects.
    let _others = every_sort();
    for (sort, address) in addresses {
        assert!(is_refused(Handle::find(address, sort)), "{sort:?}");
    }
}

#[test]
fn what_is_going_is_not_found() {
    let _watchdog = watchdog();
    // The other thread looks the object up while this one gives up the only reference.
    let (on_offer, over) = (Mutex::new(None), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let Some(address) = *on_offer.lock().unwrap() else {
                    continue;
                };
                if let Ok(found) = Handle::find(address, HandleKind::Region) {
                    // From here on the object stays.
                    thread::yield_now();
                    assert_eq!(found.address(), address);
                    assert_eq!(Region::try_from(found).unwrap().len(), 8);
                }
            }
        });
        for _ in 0..20_000 {
            let memory = Region::new(8).unwrap();
            *on_offer.lock().unwrap() = Some(Handle::from(&memory).address());
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_is_found_is_the_same() {
    let semaphore = Semaphore::bounded(1).unwrap();
    let address = Handle::from(&semaphore).address();
    let found = Semaphore::try_from(Handle::find(address, HandleKind::Semaphore).unwrap()).unwrap();
    assert_eq!(found.acquire_until(Deadline::Never), Ok(TryAcquired::Clean));
    assert_eq!(semaphore.acquire_until(Deadline::Now), Ok(TryAcquired::Not));
    // A handle that was found keeps the object, and a permit stays taken when the handle that took it is dropped.
    drop(semaphore);
    let again = Semaphore::try_from(Handle::find(address, HandleKind::Semaphore).unwrap()).unwrap();
    drop(found);
    assert_eq!(again.value(), 0);
    again.release().unwrap();
    drop(again);
    assert!(is_refused(Handle::find(address, HandleKind::Semaphore)));
}

// ---- parcels ----

#[test]
fn a_parcel_keeps_what_is_spoken_of_in_it() {
    let queue = RawQueue::new(0).unwrap();
    let lock = Lock::new().unwrap();
    let address = Handle::from(&lock).address();
    let mut parcel = Parcel::new(100_000, &[Handle::from(&queue), Handle::from(&lock)]).unwrap();
    assert!(parcel.as_ptr().addr().is_multiple_of(procession::bindings::ALIGN));
    parcel.fill(7);
    drop(lock);
    queue.put_parcel(parcel, Deadline::Now).unwrap();
    let Received::Parcel(parcel) = queue.get(&mut Vec::new(), Deadline::Now).unwrap() else {
        panic!("it was a parcel");
    };
    assert!(parcel.len() == 100_000 && parcel.iter().all(|&byte| byte == 7));
    let lock = Lock::try_from(parcel.handle(1).unwrap()).unwrap();
    assert_eq!(Handle::from(&lock).address(), address);
    assert!(is_refused(parcel.handle(2)));
    drop(parcel);
    drop(lock.lock().unwrap());
    drop(lock);
    assert!(is_refused(Handle::find(address, HandleKind::Lock)));
}

#[test]
fn a_parcel_that_is_refused_is_given_back() {
    let queue = RawQueue::new(1).unwrap();
    queue.put(b"full", Deadline::Now).unwrap();
    let mut parcel = Parcel::new(9, &[]).unwrap();
    parcel.copy_from_slice(b"its bytes");
    let (error, parcel) = queue.put_parcel(parcel, Deadline::Now).unwrap_err();
    assert_eq!((error, &parcel[..]), (Error::Full, &b"its bytes"[..]));
    queue.shutdown(false).unwrap();
    assert_eq!(
        queue.put_parcel(parcel, Deadline::Never).unwrap_err().0,
        Error::ShutDown
    );
}

// ---- children that the engine does not start itself ----

const INVITED: &str = "PROCESSION_DOOR_INVITATION";

/// Starts this test again as a child by the standard library: a process that has no heap yet.
#[allow(unsafe_code)]
fn start(test: &str, token: JoinToken) -> Child {
    // Opened again, so that it can be made inheritable without a change to the descriptor in use.
    let path = format!("/proc/self/fd/{}", token.fd);
    let memory = File::options().read(true).write(true).open(path).unwrap();
    // Not opened again, because the lock belongs to the existing open file description.
    // SAFETY: the descriptor stays open until the token is told that the child was started.
    let claim = rustix::io::dup(unsafe { BorrowedFd::borrow_raw(token.claim) }).unwrap();
    rustix::io::fcntl_setfd(&memory, FdFlags::empty()).unwrap();
    let told = format!(
        "{} {} {} {}",
        memory.as_raw_fd(),
        token.heap,
        token.id,
        claim.as_raw_fd()
    );
    let child = again(test).env(INVITED, told).spawn().unwrap();
    token.started();
    child
}

/// Returns, in such a child, the text that it was given.
fn invited() -> Option<JoinToken> {
    let text = std::env::var(INVITED).ok()?;
    let mut numbers = text.split(' ').map(|number| number.parse::<u64>().unwrap());
    let mut next = || numbers.next().unwrap();
    Some(JoinToken {
        fd: next() as i32,
        heap: next(),
        id: next() as u32,
        claim: next() as i32,
    })
}

/// Runs in the child of the tests below: takes the permit, reports its pid, and waits to be killed.
fn join_the_program(token: JoinToken) -> ! {
    attach(token).unwrap();
    assert_eq!(own_number(), token.id);
    assert!(matches!(attach(token), Err(Error::BadHeap(_))), "joined twice");
    let start = take_start().unwrap().expect("a start message");
    assert!(take_start().unwrap().is_none());
    assert_eq!(&start[..], b"hello");
    let queue = RawQueue::try_from(start.handle(0).unwrap()).unwrap();
    let semaphore = Semaphore::try_from(start.handle(1).unwrap()).unwrap();
    assert_eq!(semaphore.acquire_until(Deadline::Never), Ok(TryAcquired::Clean));
    queue
        .put(&std::process::id().to_ne_bytes(), Deadline::Never)
        .unwrap();
    loop {
        thread::park();
    }
}

#[test]
fn a_child_that_something_else_starts_joins_the_program() {
    let _watchdog = watchdog_of(120);
    if let Some(token) = invited() {
        join_the_program(token);
    }
    let queue = RawQueue::new(0).unwrap();
    let semaphore = Semaphore::bounded(1).unwrap();
    let token = JoinToken::new("friend").unwrap();
    let mut parcel = Parcel::new(5, &[Handle::from(&queue), Handle::from(&semaphore)]).unwrap();
    parcel.copy_from_slice(b"hello");
    token.leave(parcel).unwrap();
    let mut child = start("a_child_that_something_else_starts_joins_the_program", token);
    let mut bytes = Vec::new();
    assert!(matches!(
        queue.get(&mut bytes, Deadline::after(Duration::from_secs(60))),
        Ok(Received::Inline(4))
    ));
    assert_eq!(bytes, child.id().to_ne_bytes());
    assert_eq!(semaphore.value(), 0);
    child.kill().unwrap();
    child.wait().unwrap();
    // Its references are given up at the latest when the death is reported.
    ended(token.id, child.id()).unwrap();
    assert_eq!(semaphore.acquire_until(Deadline::Now), Ok(TryAcquired::FromDead));
    // A second report does no harm.
    ended(token.id, child.id()).unwrap();
    ended(0, child.id()).unwrap();
    assert_eq!(semaphore.value(), 0);
    semaphore.release().unwrap();
}

#[test]
fn a_child_that_was_never_started_leaves_nothing() {
    let lock = Lock::new().unwrap();
    let address = Handle::from(&lock).address();
    let token = JoinToken::new("nobody").unwrap();
    token
        .leave(Parcel::new(5, &[Handle::from(&lock)]).unwrap())
        .unwrap();
    drop(lock);
    assert!(
        Handle::find(address, HandleKind::Lock).is_ok(),
        "the message keeps it"
    );
    ended(token.id, 0).unwrap();
    assert!(is_refused(Handle::find(address, HandleKind::Lock)));
}

#[procession::test]
fn a_forked_child_takes_over_what_was_left_for_it() {
    let _watchdog = watchdog_of(120);
    // A forked child keeps objects that other tests have given up.
    alone(
        "a_forked_child_takes_over_what_was_left_for_it",
        fork_and_take_over,
    );
}

fn fork_and_take_over() {
    let queue = RawQueue::new(0).unwrap();
    let token = JoinToken::new("forked").unwrap();
    let mut parcel = Parcel::new(5, &[Handle::from(&queue)]).unwrap();
    parcel.copy_from_slice(b"hello");
    token.leave(parcel).unwrap();
    let child = Process::fork(|| {
        let before = own_number();
        attach(token).unwrap();
        assert_eq!(own_number(), before, "it has a number already");
        let start = take_start().unwrap().expect("a start message");
        let queue = RawQueue::try_from(start.handle(0).unwrap()).unwrap();
        queue.put(&start, Deadline::Never).unwrap();
    })
    .unwrap();
    child.join().unwrap();
    let mut bytes = Vec::new();
    queue.get(&mut bytes, Deadline::Now).unwrap();
    assert_eq!(bytes, b"hello");
}

#[test]
fn no_process_joins_without_a_token() {
    ensure_heap().unwrap();
    let token = JoinToken::new("late").unwrap();
    ended(token.id, 0).unwrap();
    assert!(matches!(attach(token), Err(Error::BadHeap(_))));
    let heap = token.heap ^ 1;
    assert!(matches!(
        attach(JoinToken { heap, ..token }),
        Err(Error::BadHeap(_))
    ));
}
