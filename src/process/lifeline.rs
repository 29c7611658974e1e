//! The lifeline of this process: the pipe whose end tells its daemons to end.

use crate::error::Result;
use crate::os;
use crate::os::kept::Kept;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// The pipe that ends our daemons with us: the end they watch, and the end that breaks.
static LIFELINE_READ: Kept = Kept::none();
static LIFELINE_WRITE: Kept = Kept::none();

/// The descriptor that a daemon of ours watches.
pub(super) fn read_end() -> Result<BorrowedFd<'static>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // No child may be forked that has the end that breaks and does not know.
    let _steady = crate::heap::fork::steady();
    let _one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match (LIFELINE_READ.get(), LIFELINE_WRITE.get()) {
        (Some(_), Some(_)) => {}
        // Our daemons depend on this end, so it stays.
        (None, Some(write)) => LIFELINE_READ.keep(os::lifeline::other_end(write)?),
        // None yet, or the program closed it, and our daemons with it.
        (_, None) => {
            let (read, write) = os::lifeline::lifeline()?;
            LIFELINE_READ.keep(read);
            LIFELINE_WRITE.keep(write);
        }
    }
    LIFELINE_READ.get_or_lost("the pipe that ends daemons with this process")
}

/// A copy of it for a forked daemon, in which the original is closed.
pub(super) fn copy() -> Result<OwnedFd> {
    os::descriptor::duplicate(read_end()?)
}

/// Closes both ends, in a forked child: they are its parent's.
pub(super) fn close() {
    LIFELINE_READ.close();
    LIFELINE_WRITE.close();
}
