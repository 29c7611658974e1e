//! A thread with a result.

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

/// A thread that runs a function of yours, and gives back what the function returns.
///
/// Dropping the handle lets the thread run on. Threads end with their process, finished or not: join those that matter.
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
    /// Set once, behind the outcome.
    ended: AtomicBool,
    joiners: EventCount,
}

impl<R> ThreadState<R> {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl Thread<()> {
    /// A thread to be started with a name or a stack size of your choice.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl<R: Send + 'static> Thread<R> {
    /// Starts a thread that runs `function`.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system has no room for another thread.
    pub fn spawn(function: impl FnOnce() -> R + Send + 'static) -> Result<Self> {
        Builder::default().spawn(function)
    }
}

impl<R> Thread<R> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether its function runs still.
    pub fn is_alive(&self) -> bool {
        !self.shared.has_ended()
    }

    /// Waits until it has ended; what its function returned.
    ///
    /// # Errors
    ///
    /// [`Error::Thread`] tells of a panic, with its message and place; [`Error::Interrupted`] where a hook asks for it,
    /// and then the thread runs on.
    pub fn join(mut self) -> Result<R> {
        let outcome = self.join_until(Deadline::Never);
        if self.shared.has_ended() {
            // What the thread does behind its function (destructors of thread-local values) is over, too.
            let _ = self.handle.join();
        }
        outcome
    }

    /// The same for at most `timeout`; may be called again after a timeout.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; otherwise as for [`join`](Self::join).
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<R> {
        self.join_until(Deadline::after(timeout))
    }

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

/// A thread to be started; made by [`Thread::builder`].
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
    /// Its name, for messages and for `top`, which shows 15 bytes of it. `Thread-1` and so on otherwise.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Bytes of its stack; the standard library's choice otherwise.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Starts a thread that runs `function`.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system has no room for another thread, or the name has a NUL in it.
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

fn next_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("Thread-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
