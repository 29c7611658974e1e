//! Waiting threads: what each waits for, and how one that waits for several objects learns which of them has changed.

mod ready_set;
pub(crate) mod registration;
pub(crate) mod waiter;
