//! What becomes of where the threads of a dead process stood.

use crate::heap::object::Kind;
use crate::heap::waiter;

/// The kind of every waiter.
pub(crate) const WAITER: Kind = Kind {
    number: waiter::WAITER,
    name: "waiter",
    bury: |_, _, _, _| {},
    empty: |_, _| Ok(()),
    describe: waiter::describe,
};
