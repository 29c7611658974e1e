//! The lifeline of this process: a pipe that ends its daemons when this process ends.

use crate::error::Result;
use crate::os;
use crate::os::kept::Kept;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// The pipe: the read end, which daemons open for themselves, and the write end, which breaks when this process ends.
static LIFELINE_READ: Kept = Kept::none();
static LIFELINE_WRITE: Kept = Kept::none();

/// Returns the descriptor for a daemon of this process. Makes the pipe if there is none.
pub(super) fn read_end() -> Result<BorrowedFd<'static>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // A child forked in the middle would have the write end and not know it.
    let _steady = crate::heap::fork::steady();
    let _one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match (LIFELINE_READ.get(), LIFELINE_WRITE.get()) {
        (Some(_), Some(_)) => {}
        // The running daemons depend on this write end, so it stays.
        (None, Some(write)) => LIFELINE_READ.keep(os::lifeline::other_end(write)?),
        // There is none yet, or the program closed it, which ended the daemons.
        (_, None) => {
            let (read, write) = os::lifeline::lifeline()?;
            LIFELINE_READ.keep(read);
            LIFELINE_WRITE.keep(write);
        }
    }
    LIFELINE_READ.get_or_lost("the pipe that ends daemons with this process")
}

/// Returns a copy for a forked daemon, in which the original is closed.
pub(super) fn copy() -> Result<OwnedFd> {
    os::descriptor::duplicate(read_end()?)
}

/// Closes both ends, in a forked child: they belong to its parent.
pub(super) fn close() {
    LIFELINE_READ.close();
    LIFELINE_WRITE.close();
}
