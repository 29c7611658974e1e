//! The keeper: a tiny process that outlives this one, and then takes away the names that nobody uses any more.

use super::file::{Again, tidy_behind_the_dead};
use crate::error::Result;
use crate::heap::fork::steady;
use crate::os::kept::Kept;
use crate::os::{self, descriptor, poll, send_fds};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// Environment variable through which a copy of this program learns that it is to be a keeper, and on which descriptor.
pub(crate) const VARIABLE: &str = "PROCESSION_KEEPER";

/// A message is one of these and a name.
const WATCH: u8 = b'+';
const FORGET: u8 = b'-';
const LEFT: u8 = b'?';

/// How many watches there are for each name.
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

/// This process's end, and what it has told; a forked child goes on with both.
struct Told {
    socket: Option<Kept>,
    names: Names,
}

static TOLD: Mutex<Told> = Mutex::new(Told {
    socket: None,
    names: Names::new(),
});

/// Has the name watched; to be called before it is made or opened.
pub(super) fn register(name: &str) -> Result<()> {
    tell(WATCH, name)
}

/// The name, watched before, need not be watched any longer, unless somebody else had it watched, too.
pub(super) fn forget(name: &str) {
    // Where this fails there is no keeper that could remember.
    let _ = tell(FORGET, name);
}

/// A use of the name, watched before, has ended, and it seems to be in use still.
pub(super) fn recheck(name: &str) {
    let _ = tell(LEFT, name);
}

fn tell(verb: u8, name: &str) -> Result<()> {
    // No fork leaves the lock held in a child, nor a keeper that only one of two knows.
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
    // There is none, it was killed, or the program closed the descriptor: a new one is told everything.
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

/// The keeper's life. Never returns.
pub(crate) fn serve(number: &str) -> ! {
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
        // Everybody who could use them here is dead.
        tidy_behind_the_dead(names.into_keys(), true);
    }
    os::fork::exit_now(0)
}
