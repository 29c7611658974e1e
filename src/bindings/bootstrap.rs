//! Children that something else starts: a language's own start machinery. It need only pass on a [`JoinToken`]: two
//! descriptors and two numbers.
//!
//! | step | if a process dies after it |
//! | --- | --- |
//! | the parent makes a reserved entry ([`JoinToken::new`]) | the parent: the entry is cleared up |
//! | it hands the entry the start message, with the handles in it | the same, and the message with it |
//! | the child is started, and told the join token | the child: the parent reports it ([`ended`]) |
//! | the child takes the entry over ([`attach`]) | it is a process like any other |
//! | the child takes its start message out of its entry | the message is among the child's references |
//!
//! A child that was forked is a process of the program by itself, and needs none of this. If it was forked by a helper
//! of the program (a fork server), it has an entry of its own already when it is told of the one that was made for it.
//! Then one transaction moves the start message to the child's own entry, and the other entry is freed.

use super::parcel::Parcel;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::block::{Block, start_field};
use crate::heap::layout::{entry, state};
use crate::heap::table::index_of;
use crate::os;
use std::os::fd::{AsFd, RawFd};

/// An entry for a child that is about to be started, and what the child must be told.
#[derive(Clone, Copy, Debug)]
pub struct JoinToken {
    /// The descriptor of the program's memory, which the child must inherit or be sent. A negative number need not be
    /// sent.
    pub fd: RawFd,
    /// The program's number.
    pub heap: u64,
    /// The child's number.
    pub id: u32,
    /// The descriptor of the lock that witnesses the child's life; -1 for none. The child must inherit it or be sent it
    /// as well, and the parent [closes](Self::started) it when the child has it.
    pub claim: RawFd,
}

impl JoinToken {
    /// Makes an entry.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyProcesses`], [`Error::OutOfMemory`], or what the system said when shared memory was set up.
    pub fn new(name: &str) -> Result<Self> {
        let heap = crate::program::heap()?;
        // Before the entry, which nobody would give up.
        let memory = heap.descriptor()?;
        let reserved = heap.reserve(heap.me(), 0, name)?;
        Ok(Self {
            fd: memory.number(),
            heap: heap.id(),
            id: reserved.id,
            claim: reserved.into_raw(),
        })
    }

    /// Closes the parent's copy of the lock that is the child's witness. Call this when the child was started, or will
    /// not be. Then the child alone has the lock, or no process has it. Without this call the lock outlives the child,
    /// and the child's death is noticed only when the parent has died, too.
    pub fn started(&self) {
        if let Some(heap) = Heap::existing() {
            heap.give_up_claim(self.claim);
        }
    }

    /// Leaves the start message for the child.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`].
    pub fn leave(&self, start: Parcel) -> Result<()> {
        crate::program::heap()?.hand_to_entry(start.0, start_field(index_of(self.id)))
    }
}

/// Joins the program, in the child.
///
/// # Errors
///
/// [`Error::BadHeap`] if it is in another program already, or nobody expects it; what the system said.
pub fn attach(token: JoinToken) -> Result<()> {
    if let Some(heap) = Heap::existing() {
        // This process has the memory already; what was sent is one more descriptor of it.
        heap.adopt_descriptor(token.fd)?;
        if heap.id() != token.heap {
            return Err(Error::BadHeap(
                "this process made shared memory of its own before it was told of its program's".to_owned(),
            ));
        }
        return merge(heap, token);
    }
    let heap = Heap::attach(token.fd, token.heap, crate::program::KINDS)?;
    // Closed at the end: a mapping keeps what there is to be kept.
    let claim = match token.claim {
        ..0 => None,
        claim => Some(os::fd::inherited(claim)?),
    };
    heap.adopt_entry(token.id, claim.as_ref().map(AsFd::as_fd))
}

fn not_expected() -> Error {
    Error::BadHeap("this process is not expected".to_owned())
}

/// Moves what was left in the entry that was made for this process to the entry that it has already.
///
/// The lock that was sent keeps the first entry until then. It is closed afterwards, because this process has a lock of
/// its own. (If this process was forked with the join token, the number of that lock's descriptor is the parent's own.)
fn merge(heap: &'static Heap, JoinToken { id, claim, .. }: JoinToken) -> Result<()> {
    let (theirs, mine) = (index_of(id), index_of(heap.me()));
    let merged = heap.transact(|tx| {
        let is_expected =
            tx.get(entry!(theirs, id)) == u64::from(id) && tx.get(entry!(theirs, state)) == state::RESERVED;
        if !is_expected {
            return Err(not_expected());
        }
        tx.set(start_field(mine), tx.get(start_field(theirs)));
        tx.set(start_field(theirs), 0);
        tx.set(entry!(mine, parent), tx.get(entry!(theirs, parent)));
        Ok(())
    });
    heap.give_up_claim(claim);
    heap.close_claim(claim);
    merged?;
    heap.drop_entry(id)
}

/// Takes the start message, in the child. Returns `None` if there is none any more.
///
/// # Errors
///
/// [`Error::OutOfMemory`].
pub fn take_start() -> Result<Option<Parcel>> {
    let heap = crate::program::heap()?;
    Ok(heap
        .take_from_entry(start_field(index_of(heap.me())))?
        .map(|block: Block| Parcel(block)))
}

/// Gives up what a child had, now rather than when another process notices its death. The child's pid is `pid`, and
/// entry `id` was made for it (0: none). It is dead and reaped, or was never started (`pid` 0).
///
/// # Errors
///
/// [`Error::OutOfMemory`].
pub fn ended(id: u32, pid: u32) -> Result<()> {
    let Some(heap) = Heap::existing() else {
        return Ok(());
    };
    if id != 0 && heap.entry_of(id).is_some() {
        heap.give_up_claims_of(id);
        return heap.clear_up(id);
    }
    if pid != 0
        && let Some(id) = heap.id_of_dead(pid)
    {
        heap.clear_up(id)?;
    }
    Ok(())
}

/// Returns the number of the child that this thread has forked last, by whatever means; 0 if there is no such child, or
/// there was no memory for its entry.
pub fn last_child() -> u32 {
    crate::heap::fork::last_child()
}

/// Returns whether a child of this program lives. Entry `id` was made for it (0: none), and its pid is `pid`.
///
/// The entry tells more than the pid: that may be another process's by now, or that of a dead process that nobody has
/// reaped. A child without a witness that has not taken its entry over is known by its pid alone.
pub fn is_alive(id: u32, pid: u32) -> bool {
    match Heap::existing().filter(|_| id != 0) {
        Some(heap) if heap.knows_of(id) => heap.alive(id),
        _ => pid != 0 && os::pid::seems_alive(pid, 0),
    }
}
