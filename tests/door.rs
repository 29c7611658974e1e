//! The front door for other languages: handles without types, parcels, and children that something else starts.

mod common;

use common::{again, alone, watchdog, watchdog_of};
use procession::door::{
    Acquire, Address, Channel, Deadline, Handle, Invitation, Memory, Parcel, Received, Sort, Taken, attach,
    ended, ensure_heap, own_number, take_start,
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

fn every_sort() -> [(Sort, Handle); 5] {
    [
        (Sort::Channel, Handle::from(&Channel::new(0).unwrap())),
        (Sort::Lock, Handle::from(&Lock::new().unwrap())),
        (Sort::RLock, Handle::from(&RLock::new().unwrap())),
        (Sort::Semaphore, Handle::from(&Semaphore::new(1).unwrap())),
        (Sort::Memory, Handle::from(&Memory::new(100_000).unwrap())),
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
    assert!(is_refused(Channel::try_from(handles[1].1.clone())));
    assert!(Semaphore::try_from(handles[3].1.clone()).is_ok());
}

#[test]
fn an_address_keeps_nothing_alive() {
    let addresses = every_sort().map(|(sort, handle)| (sort, handle.address()));
    // New ones in their places are others.
    let _others = every_sort();
    for (sort, address) in addresses {
        assert!(is_refused(Handle::find(address, sort)), "{sort:?}");
    }
}

#[test]
fn what_is_going_is_not_found() {
    let _watchdog = watchdog();
    // The other thread looks while this one gives the only reference up.
    let (on_offer, over) = (Mutex::new(None), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let Some(address) = *on_offer.lock().unwrap() else {
                    continue;
                };
                if let Ok(found) = Handle::find(address, Sort::Memory) {
                    // From here on it stays.
                    thread::yield_now();
                    assert_eq!(found.address(), address);
                    assert_eq!(Memory::try_from(found).unwrap().len(), 8);
                }
            }
        });
        for _ in 0..20_000 {
            let memory = Memory::new(8).unwrap();
            *on_offer.lock().unwrap() = Some(Handle::from(&memory).address());
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_is_found_is_the_same() {
    let semaphore = Semaphore::bounded(1).unwrap();
    let address = Handle::from(&semaphore).address();
    let found = Semaphore::try_from(Handle::find(address, Sort::Semaphore).unwrap()).unwrap();
    assert_eq!(found.acquire_until(Deadline::Never), Ok(Taken::Clean));
    assert_eq!(semaphore.acquire_until(Deadline::Now), Ok(Taken::Not));
    // A handle found keeps it, and what it has taken is still taken when a handle goes.
    drop(semaphore);
    let again = Semaphore::try_from(Handle::find(address, Sort::Semaphore).unwrap()).unwrap();
    drop(found);
    assert_eq!(again.value(), 0);
    again.release().unwrap();
    drop(again);
    assert!(is_refused(Handle::find(address, Sort::Semaphore)));
}

// ---- parcels ----

#[test]
fn a_parcel_keeps_what_is_spoken_of_in_it() {
    let channel = Channel::new(0).unwrap();
    let lock = Lock::new().unwrap();
    let address = Handle::from(&lock).address();
    let mut parcel = Parcel::new(100_000, &[Handle::from(&channel), Handle::from(&lock)]).unwrap();
    assert!(parcel.as_ptr().addr().is_multiple_of(procession::door::ALIGN));
    parcel.fill(7);
    drop(lock);
    channel.put_parcel(parcel, Deadline::Now).unwrap();
    let Received::Parcel(parcel) = channel.get(&mut Vec::new(), Deadline::Now).unwrap() else {
        panic!("it was a parcel");
    };
    assert!(parcel.len() == 100_000 && parcel.iter().all(|&byte| byte == 7));
    let lock = Lock::try_from(parcel.handle(1).unwrap()).unwrap();
    assert_eq!(Handle::from(&lock).address(), address);
    assert!(is_refused(parcel.handle(2)));
    drop(parcel);
    drop(lock.lock().unwrap());
    drop(lock);
    assert!(is_refused(Handle::find(address, Sort::Lock)));
}

#[test]
fn a_parcel_that_is_refused_is_given_back() {
    let channel = Channel::new(1).unwrap();
    channel.put(b"full", Deadline::Now).unwrap();
    let mut parcel = Parcel::new(9, &[]).unwrap();
    parcel.copy_from_slice(b"its bytes");
    let (error, parcel) = channel.put_parcel(parcel, Deadline::Now).unwrap_err();
    assert_eq!((error, &parcel[..]), (Error::Full, &b"its bytes"[..]));
    channel.shutdown(false).unwrap();
    assert_eq!(
        channel.put_parcel(parcel, Deadline::Never).unwrap_err().0,
        Error::Closed
    );
}

// ---- children that something else starts ----

const INVITED: &str = "PROCESSION_DOOR_INVITATION";

/// A child of ours that the standard library starts: this test again, in a program that has no heap yet.
#[allow(unsafe_code)]
fn start(test: &str, invitation: Invitation) -> Child {
    // Opened anew, so that it can be inherited without changing the one that is in use.
    let path = format!("/proc/self/fd/{}", invitation.fd);
    let memory = File::options().read(true).write(true).open(path).unwrap();
    // Not opened anew: the lock belongs to the description that there is.
    // SAFETY: open until the invitation is told that the child was started.
    let claim = rustix::io::dup(unsafe { BorrowedFd::borrow_raw(invitation.claim) }).unwrap();
    rustix::io::fcntl_setfd(&memory, FdFlags::empty()).unwrap();
    let told = format!(
        "{} {} {} {}",
        memory.as_raw_fd(),
        invitation.heap,
        invitation.id,
        claim.as_raw_fd()
    );
    let child = again(test).env(INVITED, told).spawn().unwrap();
    invitation.started();
    child
}

/// In such a child, what it was told.
fn invited() -> Option<Invitation> {
    let text = std::env::var(INVITED).ok()?;
    let mut numbers = text.split(' ').map(|number| number.parse::<u64>().unwrap());
    let mut next = || numbers.next().unwrap();
    Some(Invitation {
        fd: next() as i32,
        heap: next(),
        id: next() as u32,
        claim: next() as i32,
    })
}

/// The child of the tests below: takes the permit, says who it is, and waits to be killed.
fn join_the_program(invitation: Invitation) -> ! {
    attach(invitation).unwrap();
    assert_eq!(own_number(), invitation.id);
    assert!(
        matches!(attach(invitation), Err(Error::BadHeap(_))),
        "joined twice"
    );
    let start = take_start().unwrap().expect("a start message");
    assert!(take_start().unwrap().is_none());
    assert_eq!(&start[..], b"hello");
    let channel = Channel::try_from(start.handle(0).unwrap()).unwrap();
    let semaphore = Semaphore::try_from(start.handle(1).unwrap()).unwrap();
    assert_eq!(semaphore.acquire_until(Deadline::Never), Ok(Taken::Clean));
    channel
        .put(&std::process::id().to_ne_bytes(), Deadline::Never)
        .unwrap();
    loop {
        thread::park();
    }
}

#[test]
fn a_child_that_something_else_starts_joins_the_program() {
    let _watchdog = watchdog_of(120);
    if let Some(invitation) = invited() {
        join_the_program(invitation);
    }
    let channel = Channel::new(0).unwrap();
    let semaphore = Semaphore::bounded(1).unwrap();
    let invitation = Invitation::new("friend").unwrap();
    let mut parcel = Parcel::new(5, &[Handle::from(&channel), Handle::from(&semaphore)]).unwrap();
    parcel.copy_from_slice(b"hello");
    invitation.leave(parcel).unwrap();
    let mut child = start("a_child_that_something_else_starts_joins_the_program", invitation);
    let mut bytes = Vec::new();
    assert!(matches!(
        channel.get(&mut bytes, Deadline::after(Duration::from_secs(60))),
        Ok(Received::Inline(4))
    ));
    assert_eq!(bytes, child.id().to_ne_bytes());
    assert_eq!(semaphore.value(), 0);
    child.kill().unwrap();
    child.wait().unwrap();
    // What it held is given up at the latest when we say so.
    ended(invitation.id, child.id()).unwrap();
    assert_eq!(semaphore.acquire_until(Deadline::Now), Ok(Taken::FromDead));
    // Saying so again does no harm.
    ended(invitation.id, child.id()).unwrap();
    ended(0, child.id()).unwrap();
    assert_eq!(semaphore.value(), 0);
    semaphore.release().unwrap();
}

#[test]
fn a_child_that_was_never_started_leaves_nothing() {
    let lock = Lock::new().unwrap();
    let address = Handle::from(&lock).address();
    let invitation = Invitation::new("nobody").unwrap();
    invitation
        .leave(Parcel::new(5, &[Handle::from(&lock)]).unwrap())
        .unwrap();
    drop(lock);
    assert!(Handle::find(address, Sort::Lock).is_ok(), "the message keeps it");
    ended(invitation.id, 0).unwrap();
    assert!(is_refused(Handle::find(address, Sort::Lock)));
}

#[procession::test]
fn a_forked_child_takes_over_what_was_left_for_it() {
    let _watchdog = watchdog_of(120);
    // A forked child keeps what other tests have given up.
    alone(
        "a_forked_child_takes_over_what_was_left_for_it",
        fork_and_take_over,
    );
}

fn fork_and_take_over() {
    let channel = Channel::new(0).unwrap();
    let invitation = Invitation::new("forked").unwrap();
    let mut parcel = Parcel::new(5, &[Handle::from(&channel)]).unwrap();
    parcel.copy_from_slice(b"hello");
    invitation.leave(parcel).unwrap();
    let child = Process::fork(|| {
        let before = own_number();
        attach(invitation).unwrap();
        assert_eq!(own_number(), before, "it has a number already");
        let start = take_start().unwrap().expect("a start message");
        let channel = Channel::try_from(start.handle(0).unwrap()).unwrap();
        channel.put(&start, Deadline::Never).unwrap();
    })
    .unwrap();
    child.join().unwrap();
    let mut bytes = Vec::new();
    channel.get(&mut bytes, Deadline::Now).unwrap();
    assert_eq!(bytes, b"hello");
}

#[test]
fn nobody_joins_uninvited() {
    ensure_heap().unwrap();
    let invitation = Invitation::new("late").unwrap();
    ended(invitation.id, 0).unwrap();
    assert!(matches!(attach(invitation), Err(Error::BadHeap(_))));
    let heap = invitation.heap ^ 1;
    assert!(matches!(
        attach(Invitation { heap, ..invitation }),
        Err(Error::BadHeap(_))
    ));
}
