//! The life of a name: made, found, and removed when the memory is no longer in use. README.md in this folder has the
//! protocol. The Python package uses these functions, too.

use crate::error::{Error, Result};
use crate::os::file_facts::{facts, leads_to};
use crate::os::shm_file;
use crate::wait::atomic::crash_point;
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The longest name, as of any file.
const LONGEST: usize = 255;

/// The age, in seconds, up to which an unused file is left alone: its maker may not have recorded its use yet.
const YOUNG: i64 = 10;

const FIRST_PAUSE: Duration = Duration::from_micros(50);
/// The longest pause. Pauses double up to this one, which makes two seconds in all.
const LAST_PAUSE: Duration = Duration::from_millis(1000);

/// Checks a name, and returns it without the leading `/` that `shm_open(3)` allows.
pub(super) fn checked(name: &str) -> Result<&str> {
    let plain = name.strip_prefix('/').unwrap_or(name);
    if plain.is_empty()
        || plain.len() > LONGEST
        || plain.contains(['/', '\0'])
        || [".", ".."].contains(&plain)
    {
        return Err(Error::BadName {
            name: name.to_owned(),
        });
    }
    Ok(plain)
}

fn path(name: &str) -> Result<CString> {
    shm_file::path(checked(name)?)
}

/// Makes shared memory of `size` bytes and takes the shared lock. The file has its size, its lock and its mark before
/// it has its name.
pub(crate) fn create(name: &str, size: u64, marked: bool) -> Result<OwnedFd> {
    let path = path(name)?;
    if size == 0 {
        return Err(Error::os("shared memory of 0 bytes", libc::EINVAL));
    }
    let file = shm_file::unnamed(size, marked)?;
    crash_point();
    shm_file::share(file.as_fd())?;
    crash_point();
    let published = match shm_file::publish(file.as_fd(), &path) {
        Err(Errno::EXIST) if is_left(&path) && tidy(name, true) == Tidied::Gone => {
            shm_file::publish(file.as_fd(), &path)
        }
        answer => answer,
    };
    crash_point();
    match published {
        Ok(()) => Ok(file),
        Err(Errno::EXIST) => Err(Error::MemoryExists {
            name: name.to_owned(),
        }),
        Err(errno) => Err(Error::errno("linkat", errno)),
    }
}

/// Returns whether the name refers to a file that should have gone with its last user, and that is old enough for a
/// user to be known.
fn is_left(path: &CString) -> bool {
    let there = shm_file::open(path).and_then(|file| facts(file.as_fd()).map_err(|_| Errno::ACCESS));
    there.is_ok_and(|facts| facts.marked && facts.age > YOUNG)
}

/// Opens the shared memory that has this name, and takes the shared lock.
///
/// If the program that made the memory has ended, and no other process has the memory, its time is over: the name
/// goes now.
pub(crate) fn open(name: &str) -> Result<OwnedFd> {
    let path = path(name)?;
    let file = find(name, &path)?;
    if facts(file.as_fd())?.left && shm_file::is_only_ours(file.as_fd()) {
        unlink_from(name, file.as_fd())?;
        return Err(Error::NoSuchMemory {
            name: name.to_owned(),
        });
    }
    drop(file);
    take_part(name)
}

/// Opens the file of this name and takes the shared lock.
fn take_part(name: &str) -> Result<OwnedFd> {
    let path = path(name)?;
    loop {
        let file = find(name, &path)?;
        crash_point();
        shm_file::share(file.as_fd())?;
        crash_point();
        // The name may have been removed between the two steps.
        if leads_to(&path, file.as_fd()) {
            return Ok(file);
        }
    }
}

fn find(name: &str, path: &CString) -> Result<OwnedFd> {
    let file = shm_file::open(path).map_err(|errno| match errno {
        Errno::NOENT => Error::NoSuchMemory {
            name: name.to_owned(),
        },
        errno => Error::errno("open", errno),
    })?;
    facts(file.as_fd())?;
    Ok(file)
}

/// Removes the name, whatever it refers to. Users of the memory keep it.
pub(crate) fn unlink(name: &str) -> Result<()> {
    // With the shared lock, so that no process finds the file unused and removes the name from another file.
    let file = take_part(name)?;
    unlink_from(name, file.as_fd())
}

/// Removes the name of `file`, of which this process holds the shared lock.
pub(super) fn unlink_from(name: &str, file: BorrowedFd<'_>) -> Result<()> {
    let path = path(name)?;
    let gone = || Error::NoSuchMemory {
        name: name.to_owned(),
    };
    if !leads_to(&path, file) {
        return Err(gone());
    }
    match shm_file::unlink(&path) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT) => Err(gone()),
        Err(errno) => Err(Error::errno("unlink", errno)),
    }
}

/// The result of [`tidy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tidied {
    /// The name refers to nothing, or to a file that does not go with its last user.
    Gone,
    /// The file is in use. Its user, or that one's tracker, tidies later.
    InUse,
}

/// Removes the name if its file is not in use; with `only_marked`, only if the file is to go with its last user.
pub(crate) fn tidy(name: &str, only_marked: bool) -> Tidied {
    let Ok(path) = path(name) else { return Tidied::Gone };
    loop {
        let Ok(file) = find(name, &path) else {
            return Tidied::Gone;
        };
        if only_marked && !facts(file.as_fd()).is_ok_and(|facts| facts.marked) {
            return Tidied::Gone;
        }
        crash_point();
        if !shm_file::try_own(file.as_fd()) {
            return Tidied::InUse;
        }
        crash_point();
        if leads_to(&path, file.as_fd()) {
            let _ = shm_file::unlink(&path);
            return Tidied::Gone;
        }
    }
}

/// Names to be checked again, because a lock can outlive its user for a moment: a process that died may not be gone
/// yet, and one that is being started has its parent's descriptors until it runs its program. A name that is in use
/// for two seconds has another user.
#[derive(Default)]
pub(crate) struct Again {
    names: Vec<String>,
    pause: Duration,
}

impl Again {
    pub(crate) fn add(&mut self, name: String) {
        self.names.push(name);
        self.pause = FIRST_PAUSE;
    }

    /// Returns how long to wait before the next check, if there is one.
    pub(crate) fn pause(&self) -> Option<Duration> {
        (!self.names.is_empty()).then_some(self.pause)
    }

    /// Tidies all names. `gone` is called for those that need no further check.
    pub(crate) fn look(&mut self, only_marked: bool, mut gone: impl FnMut(&str)) {
        self.names.retain(|name| {
            let in_use = tidy(name, only_marked) == Tidied::InUse;
            if !in_use {
                gone(name);
            }
            in_use
        });
        self.pause *= 2;
        if self.pause > LAST_PAUSE {
            self.names.clear();
        }
    }
}

/// Tidies these names, for a caller whose processes have just died.
pub(crate) fn tidy_behind_the_dead(names: impl IntoIterator<Item = String>, only_marked: bool) {
    let mut again = Again::default();
    names.into_iter().for_each(|name| again.add(name));
    while let Some(pause) = again.pause() {
        again.look(only_marked, |_| {});
        if again.pause().is_some() {
            std::thread::sleep(pause);
        }
    }
}

/// Removes marked files that are not in use: they are left from programs whose trackers were killed, too.
pub(crate) fn sweep() {
    sweep_older_than(YOUNG);
}

fn sweep_older_than(seconds: i64) {
    for name in shm_file::marked(seconds) {
        tidy(&name, true);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::crash_tests::one_at_a_time;
    use crate::os::fork::{Forked, exit_now, fork};
    use crate::wait::atomic::crash;
    use std::path::PathBuf;

    fn name(of: &str) -> String {
        format!("procession-test-{of}-{}", std::process::id())
    }

    fn file(name: &str) -> PathBuf {
        PathBuf::from(format!("/dev/shm/{name}"))
    }

    /// Runs `work` in processes that are killed at their first, second, third … step, until one of them finishes.
    fn dies_at_every_step(work: impl Fn(), check: impl Fn(bool)) {
        for step in 1.. {
            let pid = match fork().expect("a fork") {
                Forked::Child => {
                    crash::arm(step);
                    work();
                    crash::arm(0);
                    exit_now(0)
                }
                Forked::Parent(pid) => pid,
            };
            let status = loop {
                if let Some(status) = crate::os::pid::reap(pid).expect("a child") {
                    break status;
                }
                std::thread::yield_now();
            };
            assert!(status == 0 || status == libc::SIGKILL, "status {status:#x}");
            check(status == 0);
            if status == 0 {
                assert!(step > 1, "the crash points are not in place");
                break;
            }
        }
    }

    #[test]
    fn a_death_while_creating_leaves_nothing_or_what_can_be_removed() {
        let _one = one_at_a_time();
        let name = name("create");
        dies_at_every_step(
            || drop(create(&name, 10_000, true)),
            |_| {
                if file(&name).exists() {
                    assert_eq!(std::fs::metadata(file(&name)).map(|m| m.len()).ok(), Some(10_000));
                    let mine = open(&name).expect("it is whole");
                    assert_eq!(tidy(&name, true), Tidied::InUse);
                    drop(mine);
                }
                assert_eq!(tidy(&name, true), Tidied::Gone);
                assert!(!file(&name).exists());
            },
        );
    }

    #[test]
    fn a_death_while_opening_ends_the_use() {
        let _one = one_at_a_time();
        let name = name("open");
        dies_at_every_step(
            || drop((create(&name, 1, true), open(&name))),
            |_| {
                assert_eq!(tidy(&name, true), Tidied::Gone);
                assert!(!file(&name).exists());
            },
        );
    }

    #[test]
    fn a_death_while_tidying_leaves_it_to_the_next() {
        let _one = one_at_a_time();
        let name = name("tidy");
        dies_at_every_step(
            || {
                drop(create(&name, 1, true));
                tidy(&name, true);
            },
            |through| {
                assert!(!through || !file(&name).exists());
                tidy(&name, true);
                assert!(!file(&name).exists());
            },
        );
    }

    #[test]
    fn what_is_not_marked_stays() {
        let _one = one_at_a_time();
        let name = name("plain");
        drop(create(&name, 1, false).expect("room"));
        assert_eq!(tidy(&name, true), Tidied::Gone);
        sweep_older_than(-1);
        assert!(file(&name).exists());
        assert_eq!(tidy(&name, false), Tidied::Gone);
        assert!(!file(&name).exists());
        // Other files in the folder are not touched either.
        std::fs::write(file(&name), "another file").expect("room");
        assert_eq!(tidy(&name, true), Tidied::Gone);
        assert!(file(&name).exists());
        std::fs::remove_file(file(&name)).expect("it is there");
    }

    #[test]
    fn a_sweep_removes_what_is_not_in_use() {
        let _one = one_at_a_time();
        let (left, used) = (name("left"), name("used"));
        drop(create(&left, 1, true).expect("room"));
        let mine = create(&used, 1, true).expect("room");
        sweep();
        assert!(file(&left).exists(), "too young");
        sweep_older_than(-1);
        assert!(!file(&left).exists());
        assert!(file(&used).exists());
        drop(mine);
        tidy(&used, true);
    }

    #[test]
    fn a_name_that_leads_to_something_else_is_left_alone() {
        let _one = one_at_a_time();
        let name = name("other");
        let first = create(&name, 1, true).expect("room");
        unlink(&name).expect("it is there");
        let second = create(&name, 2, true).expect("room");
        assert!(matches!(
            unlink_from(&name, first.as_fd()),
            Err(Error::NoSuchMemory { .. })
        ));
        drop(first);
        assert_eq!(tidy(&name, true), Tidied::InUse);
        unlink_from(&name, second.as_fd()).expect("it is there");
    }

    #[test]
    fn what_is_left_goes_from_its_only_user_when_that_asks_again() {
        let _one = one_at_a_time();
        let name = name("orphan");
        let made = create(&name, 1, true).expect("room");
        let mine = open(&name).expect("it is there");
        rustix::fs::fchmod(&made, rustix::fs::Mode::from_raw_mode(0o5600)).expect("it is ours");
        // Another process has it, too.
        let other = match fork().expect("a fork") {
            Forked::Child => {
                let also = open(&name);
                std::thread::sleep(Duration::from_secs(if also.is_ok() { 60 } else { 0 }));
                exit_now(0)
            }
            Forked::Parent(pid) => pid,
        };
        while shm_file::is_only_ours(made.as_fd()) {
            std::thread::yield_now();
        }
        drop(open(&name).expect("another process has it"));
        crate::os::pid::abort_child(other);
        drop(made);
        assert!(matches!(open(&name), Err(Error::NoSuchMemory { .. })));
        assert!(!file(&name).exists());
        drop(mine);
    }
}
