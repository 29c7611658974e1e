//! Threads that wait: what each waits for, and how those that wait for several objects learn which of them to look at.

mod ready_set;
pub(crate) mod registration;
pub(crate) mod waiter;
