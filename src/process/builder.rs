//! `Builder`: how a process is to be started.

use super::function::{self, Function};
use super::handle::Process;
use super::plan::{Plan, StartMethod, Stdio};
use super::{children, run, start};
use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// A process to be started, made by [`Process::builder`].
///
/// ```
/// use procession::{Process, StartMethod};
///
/// fn work(n: u32) -> u32 {
///     n + 1
/// }
///
/// #[procession::main]
/// fn main() -> procession::Result<()> {
///     let worker = Process::builder().name("adder").method(StartMethod::ForkServer).spawn(work, 1)?;
///     assert_eq!(worker.name(), "adder");
///     assert_eq!(worker.join()?, 2);
///     Ok(())
/// }
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder starts nothing until spawn is called"]
pub struct Builder {
    name: Option<String>,
    daemon: bool,
    method: StartMethod,
    env: Vec<(OsString, OsString)>,
    cwd: Option<OsString>,
    program: Option<OsString>,
    stdio: [Option<Stdio>; 3],
}

impl Builder {
    /// Sets the name, for messages and for `ps`: up to 64 bytes are kept (15 by the system). The default is
    /// `Process-1` and so on.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Makes the process a daemon, or not. A daemon ends with this process, however this one ends, and may not start
    /// processes itself.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Sets the start method.
    pub fn method(mut self, method: StartMethod) -> Self {
        self.method = method;
        self
    }

    /// Sets an environment variable in the process. The others are this process's (with [`StartMethod::ForkServer`],
    /// those of the process that first used the fork server).
    ///
    /// An empty name, a name that contains `=`, or a NUL byte in name or value makes the start fail: [`Error::Os`]
    /// with `EINVAL`.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.retain(|(other, _)| other != name.as_ref());
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the working directory.
    pub fn current_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.cwd = Some(path.as_ref().as_os_str().to_owned());
        self
    }

    /// Sets the program file to start in place of this one, for [`StartMethod::Spawn`]. It must be the same build. A
    /// copy at another path is not the same, and the process reports that
    /// ([`ProcessError::OtherBuild`](crate::ProcessError::OtherBuild)).
    pub fn program(mut self, path: impl AsRef<Path>) -> Self {
        self.program = Some(path.as_ref().as_os_str().to_owned());
        self
    }

    /// Sets the standard input.
    pub fn stdin(mut self, stdio: impl Into<Stdio>) -> Self {
        self.stdio[0] = Some(stdio.into());
        self
    }

    /// Sets the standard output.
    pub fn stdout(mut self, stdio: impl Into<Stdio>) -> Self {
        self.stdio[1] = Some(stdio.into());
        self
    }

    /// Sets the standard error.
    pub fn stderr(mut self, stdio: impl Into<Stdio>) -> Self {
        self.stdio[2] = Some(stdio.into());
        self
    }

    /// Starts a process that runs `function` with `args`. One argument is passed as it is, none or several as a
    /// tuple.
    ///
    /// # Errors
    ///
    /// [`Error::NotInitialised`] where [`init`](crate::init) did not run, [`Error::DaemonChildren`] in a daemon,
    /// [`Error::Encode`] for arguments that cannot be encoded, [`Error::Os`] for what the system refuses. After an
    /// error nothing of the process remains.
    pub fn spawn<F, A, M>(self, function: F, args: A) -> Result<Process<F::Output>>
    where
        F: Function<A, M>,
        A: Serialize + DeserializeOwned,
    {
        let plan = self.plan()?;
        let heap = crate::program::heap()?;
        // A started program has them before it gets to its function. A forked process sets them itself.
        let (env, cwd) = match plan.method {
            StartMethod::Spawn => (&[][..], None),
            StartMethod::ForkServer | StartMethod::Fork => (&plan.env[..], plan.cwd.as_deref()),
        };
        let block = function::start_block(heap, function, &args, env, cwd)?;
        let started = start::start(heap, &plan, Some(block), || run::run(heap))?;
        Ok(Process::new(started))
    }

    /// Starts a copy of this process that runs `closure`, whatever it captures, as [`StartMethod::Fork`] does.
    ///
    /// # Errors
    ///
    /// As for [`spawn`](Self::spawn); [`Error::Unsendable`] where another start method was chosen.
    pub fn fork<R: Serialize + DeserializeOwned>(
        mut self,
        closure: impl FnOnce() -> R,
    ) -> Result<Process<R>> {
        if self.method == StartMethod::ForkServer || self.program.is_some() {
            return Err(Error::Unsendable(
                "a closure can only be run by a fork of this process, \
                 and neither by StartMethod::ForkServer nor by another program file"
                    .to_owned(),
            ));
        }
        self.method = StartMethod::Fork;
        let plan = self.plan()?;
        let heap = crate::program::heap()?;
        let (env, cwd) = (&plan.env[..], plan.cwd.as_deref());
        let started = start::start(heap, &plan, None, || run::run_closure(heap, env, cwd, closure))?;
        Ok(Process::new(started))
    }

    fn plan(self) -> Result<Plan> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        if self.program.is_some() && self.method != StartMethod::Spawn {
            return Err(Error::Unsendable(format!(
                "another program file can only be started by StartMethod::Spawn, and not by {:?}",
                self.method
            )));
        }
        self.env.iter().try_for_each(check_variable)?;
        let [stdin, stdout, stderr] = self.stdio.map(|s| s.map_or(Ok(None), Stdio::open));
        let lifeline = match (self.daemon, self.method) {
            (true, StartMethod::Fork) => Some(children::lifeline_copy()?),
            _ => None,
        };
        Ok(Plan {
            name: self
                .name
                .unwrap_or_else(|| format!("Process-{}", COUNT.fetch_add(1, Ordering::Relaxed))),
            daemon: self.daemon,
            method: self.method,
            env: self.env,
            cwd: self.cwd,
            program: self.program,
            stdio: [stdin?, stdout?, stderr?],
            lifeline,
        })
    }
}

impl Process<()> {
    /// Returns a builder for a process that [`Process::spawn`] cannot start: with a name, as a daemon, by another
    /// start method, with another environment.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts a copy of this process that runs `closure`: see [`Builder::fork`].
    ///
    /// # Errors
    ///
    /// As for [`Builder::fork`].
    pub fn fork<R: Serialize + DeserializeOwned>(closure: impl FnOnce() -> R) -> Result<Process<R>> {
        Builder::default().fork(closure)
    }
}

impl<R> Process<R> {
    /// Starts a process that runs `function` with `args`: see [`Builder::spawn`].
    ///
    /// # Errors
    ///
    /// As for [`Builder::spawn`].
    pub fn spawn<F, A, M>(function: F, args: A) -> Result<Self>
    where
        F: Function<A, M, Output = R>,
        A: Serialize + DeserializeOwned,
    {
        Builder::default().spawn(function, args)
    }
}

/// Checks that name and value can be an environment variable.
fn check_variable((name, value): &(OsString, OsString)) -> Result<()> {
    let cannot_be = |text: &OsStr, marks: &[u8]| text.as_bytes().iter().any(|byte| marks.contains(byte));
    if name.is_empty() || cannot_be(name, b"=\0") || cannot_be(value, b"\0") {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        let call = format!("the environment variable {name:?} with the value {value:?}");
        return Err(Error::os(&call, libc::EINVAL));
    }
    Ok(())
}
