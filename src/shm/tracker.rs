//! The tracker: a small process that outlives this one, and then removes the names that are no longer in use.
//!
//! Messages to the tracker are one byte and a name:
//!
//! | byte | meaning |
//! | --- | --- |
//! | `+` | the name is used; sent before the memory is made or opened |
//! | `-` | one registration less |
//! | `?` | a use has ended, but the file seems to be in use: check again for a while |
//!
//! At the end of file the tracker tidies all registered names, and exits.

use super::file::{Again, tidy_behind_the_dead};
use crate::error::Result;
use crate::heap::fork::steady;
use crate::os::kept::Kept;
use crate::os::{self, descriptor, poll, send_fds};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// The environment variable that tells a copy of this program to be a tracker, and on which descriptor.
const VARIABLE: &str = "PROCESSION_TRACKER";

/// The first byte of a message; a name follows.
const WATCH: u8 = b'+';
const FORGET: u8 = b'-';
const LEFT: u8 = b'?';

/// The number of registrations for each name.
type Names = BTreeMap<String, u64>;

fn change(names: &mut Names, verb: u8, name: &str) {
    if verb == WATCH {
        *names.entry(name.to_owned()).or_default() += 1;
    } else if verb == FORGET
        && let Some(count) = names.get_mut(name)
    {
        *count -= 1;
        if *count == 0 {
            names.remove(name);
        }
    }
}

/// This process's end of the socket, and what it has registered. A forked child continues with both.
struct Told {
    socket: Option<Kept>,
    names: Names,
}

static TOLD: Mutex<Told> = Mutex::new(Told {
    socket: None,
    names: Names::new(),
});

/// Registers the name. Call this before the memory is made or opened.
pub(super) fn register(name: &str) -> Result<()> {
    tell(WATCH, name)
}

/// Removes one registration of the name.
pub(super) fn forget(name: &str) {
    // If this fails, there is no tracker with a registration.
    let _ = tell(FORGET, name);
}

/// Reports that a use of a registered name has ended while the file seems to be in use.
pub(super) fn recheck(name: &str) {
    let _ = tell(LEFT, name);
}

fn tell(verb: u8, name: &str) -> Result<()> {
    // Under a no-fork guard, no child inherits the lock locked, and no tracker is known to only one of two processes.
    crate::program::heap()?;
    let _steady = steady();
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    let message = [&[verb], name.as_bytes()].concat();
    change(&mut told.names, verb, name);
    if let Some(socket) = told.socket.as_ref().and_then(Kept::get)
        && send_fds::send(socket, &message, &[]).is_ok()
    {
        return Ok(());
    }
    // There is no tracker, it was killed, or the program closed the descriptor: start a new one and register
    // everything again.
    told.socket = None;
    if !told.names.is_empty() {
        match start(&told.names) {
            Ok(socket) => told.socket = Some(Kept::new(socket)),
            Err(error) => {
                if verb == WATCH {
                    change(&mut told.names, FORGET, name);
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

fn start(names: &Names) -> Result<OwnedFd> {
    let (ours, theirs) = send_fds::pair()?;
    crate::process::start_helper(VARIABLE, theirs.as_fd())?;
    drop(theirs);
    for (name, &count) in names {
        for _ in 0..count {
            send_fds::send(ours.as_fd(), &[&[WATCH], name.as_bytes()].concat(), &[])?;
        }
    }
    Ok(ours)
}

/// Serves as a tracker and ends the process, if this copy of the program was started as one. Returns otherwise.
pub(crate) fn serve_if_asked() {
    if let Ok(number) = std::env::var(VARIABLE) {
        serve(&number);
    }
}

/// Runs the tracker, and exits.
fn serve(number: &str) -> ! {
    os::fork::set_name("tracker");
    if let Some(socket) = number
        .parse()
        .ok()
        .and_then(|number| descriptor::inherited(number).ok())
    {
        let mut names = Names::new();
        let mut again = Again::default();
        let mut message = [0; 512];
        loop {
            if let Some(pause) = again.pause()
                && !poll::readable_within(socket.as_fd(), pause)
            {
                again.look(true, |name| change(&mut names, FORGET, name));
                continue;
            }
            let Ok(Some((len, _))) = send_fds::receive(socket.as_fd(), &mut message) else {
                break;
            };
            let Some((&verb, name)) = message[..len].split_first() else {
                continue;
            };
            let Ok(name) = core::str::from_utf8(name) else {
                continue;
            };
            if verb == LEFT {
                again.add(name.to_owned());
            } else {
                change(&mut names, verb, name);
            }
        }
        // Every process that could use the names through this tracker is dead.
        tidy_behind_the_dead(names.into_keys(), true);
    }
    os::fork::exit_now(0)
}
