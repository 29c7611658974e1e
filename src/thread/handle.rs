//! Threads with results: starting and joining.

use super::persist;
use crate::error::{Error, Result, ThreadError};
use crate::os::clock::Deadline;
use crate::panic::{self, Panic};
use crate::wait::event_count::EventCount;
use core::fmt;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A thread that runs a function. Joining it returns the function's result.
///
/// After the handle is dropped, the thread continues to run. Threads end with their process, finished or not: join the
/// threads that must finish.
///
/// ```
/// use procession::thread::Thread;
/// let words = vec!["process", "thread"];
/// let longest = Thread::spawn(move || words.into_iter().max_by_key(|word| word.len()))?;
/// assert_eq!(longest.join()?, Some("process"));
///
/// let error = Thread::spawn(|| assert!(false, "no")).and_then(Thread::join).unwrap_err();
/// assert!(error.to_string().ends_with(": no"), "{error}");
/// # Ok::<(), procession::Error>(())
/// ```
pub struct Thread<R> {
    shared: Arc<ThreadState<R>>,
    handle: JoinHandle<()>,
}

struct ThreadState<R> {
    name: String,
    outcome: Mutex<Option<Result<R, Panic>>>,
    /// Set once, after the outcome.
    ended: AtomicBool,
    joiners: EventCount,
}

impl<R> ThreadState<R> {
    /// Returns whether the function has ended and its outcome is there.
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl Thread<()> {
    /// Returns a builder for a thread with a chosen name or stack size.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl<R: Send + 'static> Thread<R> {
    /// Starts a thread that runs `function`.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system cannot start another thread.
    pub fn spawn(function: impl FnOnce() -> R + Send + 'static) -> Result<Self> {
        Builder::default().spawn(function)
    }
}

impl<R> Thread<R> {
    /// Returns the thread's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns whether the thread's function is still running.
    pub fn is_alive(&self) -> bool {
        !self.shared.has_ended()
    }

    /// Waits until the thread has ended, and returns the function's result.
    ///
    /// # Errors
    ///
    /// [`Error::Thread`] if the function panicked, with the panic's message and location. [`Error::Interrupted`] if the
    /// hook of [`on_interrupt`](crate::on_interrupt) ends the wait; the thread then continues to run.
    pub fn join(mut self) -> Result<R> {
        let outcome = self.join_until(Deadline::Never);
        if self.shared.has_ended() {
            // Waits for what the thread does after its function: the destructors of thread-local values.
            let _ = self.handle.join();
        }
        outcome
    }

    /// Joins the thread like [`join`](Self::join), and waits for at most `timeout`. It can be called again after a
    /// timeout.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; otherwise as for [`join`](Self::join).
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<R> {
        self.join_until(Deadline::after(timeout))
    }

    /// Waits until the function has ended or `deadline` passes, and takes the outcome.
    fn join_until(&mut self, deadline: Deadline) -> Result<R> {
        let shared = &self.shared;
        let ended = || shared.has_ended();
        persist(&shared.joiners, deadline, ended, || ended().then_some(()))?;
        let name = || shared.name.as_str().into();
        match shared.outcome.lock().take() {
            Some(Ok(value)) => Ok(value),
            Some(Err(Panic { message, location })) => Err(ThreadError::Panicked {
                name: name(),
                message: message.into(),
                location: location.into(),
            }
            .into()),
            None => Err(ThreadError::AlreadyJoined { name: name() }.into()),
        }
    }
}

impl<R> fmt::Debug for Thread<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread")
            .field("name", &self.name())
            .field("is_alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}

/// A thread to be started. [`Thread::builder`] makes it.
///
/// ```
/// use procession::thread::Thread;
/// let thread = Thread::builder().name("adder").stack_size(64 << 10).spawn(|| 2 + 3)?;
/// assert_eq!(thread.name(), "adder");
/// assert_eq!(thread.join()?, 5);
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder starts nothing until spawn is called"]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
}

impl Builder {
    /// Sets the thread's name, for messages and for `top`, which shows 15 bytes of it. Without this call, names are
    /// `Thread-1` and so on.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the size of the thread's stack in bytes. Without this call, the standard library chooses.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Starts a thread that runs `function`.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system cannot start another thread, or the name contains a NUL byte.
    pub fn spawn<R: Send + 'static>(
        self,
        function: impl FnOnce() -> R + Send + 'static,
    ) -> Result<Thread<R>> {
        panic::install_hook();
        let name = self.name.unwrap_or_else(next_name);
        if name.contains('\0') {
            return Err(Error::os("a NUL byte in a thread's name", libc::EINVAL));
        }
        let shared = Arc::new(ThreadState {
            name: name.clone(),
            outcome: Mutex::new(None),
            ended: AtomicBool::new(false),
            joiners: EventCount::new(),
        });
        let its = shared.clone();
        let mut builder = std::thread::Builder::new().name(name);
        if let Some(bytes) = self.stack_size {
            builder = builder.stack_size(bytes);
        }
        let handle = builder
            .spawn(move || {
                let outcome = panic::catch(function);
                *its.outcome.lock() = Some(outcome);
                its.ended.swap(true, Ordering::AcqRel);
                its.joiners.wake_unconditionally();
            })
            .map_err(|error| Error::os("pthread_create", error.raw_os_error().unwrap_or(libc::EAGAIN)))?;
        Ok(Thread { shared, handle })
    }
}

/// Returns the name of the next thread without one.
fn next_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("Thread-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
