//! The lookout: of all threads that sleep for long, one checks for dead processes, so that the others can sleep on.
//!
//! A wake-up can die with the process that was to send it or to pass it on. So a thread has to check now and then
//! whether a process has died, clear up after it, and wake the threads that it should have woken. A thread that has
//! slept for a while in vain takes one of two *posts*, if one is free, and checks on time as long as its wait lasts.
//! A thread without a post sleeps until it is woken: by what it waits for, because a post becomes free, or because a
//! process has died.
//!
//! A post is a robust mutex: when the thread that holds it ends, the system wakes one thread that sleeps on it. The
//! second post is for the case that the holder of the first is stopped. README.md in this folder has the whole
//! protocol.

#![cfg_attr(loom, allow(dead_code, reason = "to a model checker time does not pass"))]

use super::BACKSTOP;
use super::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::os::clock::{self, Deadline};
use crate::os::futex::{self, Wake};
use crate::os::pid::{own, own_thread};
use crate::os::robust::{Expected, OWNER_DIED, Robust, TryLock, WAITERS};
use std::sync::OnceLock;

/// The number of posts. The holder of the second one only checks whether the first one works.
const POSTS: usize = 2;

/// The interval, in nanoseconds, at which the program checks for dead processes. With the time for clearing up it is
/// less than a second.
pub(super) const PACE: u64 = BACKSTOP / 20 * 19;

/// The least interval, in nanoseconds, at which a thread without a post checks whether the posts work: they do not if
/// all their holders are stopped. Each thread has an interval of its own, up to a hundred [`BACKSTOP`]s longer.
/// (Nothing may depend on this check, and in unit tests it never happens.)
pub(super) const LONG: u64 = if cfg!(test) {
    3_600_000_000_000
} else {
    30 * BACKSTOP
};

/// The words of the lookout in shared memory.
#[repr(C)]
pub(crate) struct Words {
    posts: [Post; POSTS],
    /// The number of processes that were cleared up after.
    deaths: AtomicU32,
    /// The number of deaths that were told to all sleepers.
    told: AtomicU32,
    /// 1 where the system has robust mutexes.
    usable: AtomicU32,
    _pad: u32,
}

#[repr(C)]
struct Post {
    mutex: Robust,
    /// The process that holds it, or held it last: one process must not hold both.
    process: AtomicU32,
    _pad: u32,
}

impl Words {
    /// Initialises the words. Call this once, when the heap is made.
    pub(crate) fn begin(&self) {
        let usable = self.posts.iter().all(|post| post.mutex.begin());
        self.usable.store(u32::from(usable), Ordering::Relaxed);
    }

    /// Counts a process that was cleared up after. Not for two threads at a time.
    pub(crate) fn count_death(&self) {
        let deaths = self.deaths.load(Ordering::Relaxed);
        self.deaths.store(deaths.wrapping_add(1), Ordering::Release);
    }

    /// Wakes all threads that sleep for long, if there was a death since this was last done. They check for
    /// themselves what the dead process should have told them.
    fn tell(&self) {
        let deaths = self.deaths.load(Ordering::Acquire);
        if self.told.swap(deaths, Ordering::AcqRel) != deaths {
            self.deaths.futex_wake(u32::MAX);
        }
    }
}

impl Post {
    /// Returns whether no thread holds it: it was given up, or its holder has ended.
    fn is_free(&self) -> bool {
        self.mutex.word().load(Ordering::Relaxed) & !(WAITERS | OWNER_DIED) == 0
    }

    /// Returns whether this thread holds it, in a wait that is interrupted by the current one.
    fn is_mine(&self) -> bool {
        self.mutex.word().load(Ordering::Relaxed) & !(WAITERS | OWNER_DIED) == own_thread()
    }

    fn take(&self) -> bool {
        if !self.is_free() || self.mutex.try_lock() == TryLock::No {
            return false;
        }
        // Threads may sleep on it that saw another holder.
        self.mutex.word().fetch_or(WAITERS, Ordering::Relaxed);
        self.process.store(own(), Ordering::Relaxed);
        true
    }

    /// Wakes a thread that sleeps on it, if it is free. For a thread that leaves and may have been woken for the
    /// post.
    fn hand_over(&self) {
        if self.is_free() {
            futex::wake(self.mutex.word(), 1);
        }
    }
}

/// This process's access to the lookout.
pub(super) struct Lookout {
    words: &'static Words,
    /// When a thread of the program last checked for dead processes.
    looked: &'static AtomicU64,
    look: fn(),
}

static LOOKOUT: OnceLock<Lookout> = OnceLock::new();

/// Connects this process to the lookout. `look` clears up after the dead unless that was done a moment ago, and
/// writes the time into `looked`.
pub(crate) fn install(words: &'static Words, looked: &'static AtomicU64, look: fn()) {
    LOOKOUT.get_or_init(|| Lookout { words, looked, look });
}

/// A post that this thread holds.
pub(super) struct Duty {
    lookout: &'static Lookout,
    rank: usize,
    /// Another, interrupted wait of this thread holds the post.
    borrowed: bool,
    /// The interval between checks, in [`PACE`]s. That of the second post is longer as long as the first one works.
    pace: u64,
}

impl Lookout {
    pub(super) fn get() -> Option<&'static Self> {
        LOOKOUT.get()
    }

    /// Returns whether this program has posts.
    pub(super) fn has_posts(&self) -> bool {
        self.words.usable.load(Ordering::Relaxed) != 0
    }

    /// Returns how many deaths there have been. A thread that checks its condition after this call, and sleeps only
    /// while the number is the same, has seen everything that the dead processes did.
    pub(super) fn deaths(&self) -> u32 {
        self.words.deaths.load(Ordering::Acquire)
    }

    /// Takes the first post that is free.
    pub(super) fn take_post(&'static self) -> Option<Duty> {
        let duty = |rank, borrowed| Duty {
            lookout: self,
            rank,
            borrowed,
            pace: rank as u64 + 1,
        };
        for (rank, post) in self.words.posts.iter().enumerate() {
            if post.is_mine() {
                return Some(duty(rank, true));
            }
            if self.is_for_others(rank) {
                continue;
            }
            if post.take() {
                return Some(duty(rank, false));
            }
        }
        None
    }

    /// Returns whether this process holds a post of lower rank. One process must not hold both: if it were stopped,
    /// no post would work.
    fn is_for_others(&self, rank: usize) -> bool {
        (self.words.posts[..rank].iter())
            .any(|post| !post.is_free() && post.process.load(Ordering::Relaxed) == own())
    }

    /// Sleeps while `word` is `expected`, the posts are held, and no other process dies; `None` where the system
    /// cannot do that.
    #[cfg(not(loom))]
    pub(super) fn sleep_on(
        &self,
        word: &AtomicU32,
        expected: u32,
        deadline: Deadline,
        deaths: u32,
    ) -> Option<Wake> {
        let own_word = (word.as_core(), expected);
        let mut words = [own_word; futex::WORDS];
        words[1] = (self.words.deaths.as_core(), deaths);
        let mut count = 2;
        for (rank, post) in self.words.posts.iter().enumerate() {
            let lock = post.mutex.word();
            let mut seen = lock.load(Ordering::Relaxed);
            if seen & !(WAITERS | OWNER_DIED) == 0 {
                if self.is_for_others(rank) {
                    continue;
                }
                // It has become free at this moment.
                return Some(Wake::TimedOut);
            }
            if seen & WAITERS == 0 {
                let marked = seen | WAITERS;
                match lock.compare_exchange(seen, marked, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => seen = marked,
                    Err(_) => return Some(Wake::TimedOut),
                }
            }
            words[count] = (lock, seen);
            count += 1;
        }
        let timeout = LONG + u64::from(own_thread() % 100) * BACKSTOP;
        let (wake, place) = futex::wait_any(&words[..count], deadline.within(timeout))?;
        Some(match (wake, place) {
            (Wake::Woken, Some(0)) => Wake::Woken,
            (Wake::Woken, None) if word.load(Ordering::Relaxed) != expected => Wake::Woken,
            // A post or a death: the caller checks everything, as if the time were over.
            (Wake::Woken, _) => Wake::TimedOut,
            (wake, _) => wake,
        })
    }

    /// Notes, until the result is dropped, that this thread may be woken for the first post. If it then dies, the
    /// system wakes another one: many threads may be killed at once.
    pub(super) fn expect_post(&self) -> Expected {
        self.words.posts[0].mutex.expect()
    }

    /// Passes on the wake-up for a post, in a thread that has slept by [`sleep_on`](Self::sleep_on) and leaves.
    pub(super) fn hand_over(&self) {
        self.words.posts.iter().for_each(Post::hand_over);
    }
}

impl Duty {
    /// Sleeps while `word` is `expected`, at the latest until the next check is due; then it checks.
    pub(super) fn sleep(&mut self, word: &AtomicU32, expected: u32, deadline: Deadline) -> Wake {
        let Lookout { looked, look, .. } = self.lookout;
        let now = clock::now();
        let next = || looked.load(Ordering::Relaxed).saturating_add(self.pace * PACE);
        // It is never later than that, whatever the clock of another process shows.
        let due = next().min(now + self.pace * PACE);
        let wake = word.futex_wait(expected, deadline.within(due.saturating_sub(now)));
        if wake == Wake::TimedOut && clock::now() >= due {
            // Another thread may have checked meanwhile.
            let late = clock::now() >= next();
            self.pace = if late { 1 } else { self.rank as u64 + 1 };
            look();
            self.lookout.words.tell();
            self.step_up();
        }
        wake
    }

    /// Takes a post of lower rank if it is free although threads sleep on it: the thread that was woken for it has
    /// died.
    fn step_up(&mut self) {
        let posts = &self.lookout.words.posts;
        if !self.borrowed
            && let Some(rank) = (0..self.rank).find(|&rank| posts[rank].take())
        {
            posts[self.rank].mutex.unlock();
            self.rank = rank;
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if !self.borrowed {
            self.lookout.words.posts[self.rank].mutex.unlock();
        }
    }
}

#[cfg(all(test, not(loom), target_env = "gnu"))]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;

    /// The number of another process: this process must not hold both posts.
    const OTHER: u32 = u32::MAX;

    /// Makes a lookout for one test.
    #[allow(unsafe_code)]
    fn lookout() -> &'static Lookout {
        // SAFETY: `Words` consists of atomics, for which all zeros are valid.
        let words: &'static Words = Box::leak(Box::new(unsafe { core::mem::zeroed() }));
        words.begin();
        let looked = Box::leak(Box::new(AtomicU64::new(0)));
        let look = || {};
        Box::leak(Box::new(Lookout { words, looked, look }))
    }

    /// Runs `wake` while a thread without a post sleeps on a word. Returns how that thread woke.
    fn sleeper(lookout: &'static Lookout, wake: impl FnOnce(&AtomicU32)) -> Wake {
        let word = &AtomicU32::new(0);
        let deaths = lookout.deaths();
        let deadline = Deadline::At(clock::now() + 60_000_000_000);
        thread::scope(|scope| {
            let (ready, is_ready) = channel();
            let sleeper = scope.spawn(move || {
                ready.send(rustix::thread::gettid()).unwrap();
                let wake = lookout.sleep_on(word, 0, deadline, deaths).unwrap();
                assert!(!deadline.passed(), "it was not woken");
                wake
            });
            let tid = is_ready.recv().unwrap().as_raw_nonzero();
            let asleep = || {
                let told = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall"));
                told.is_ok_and(|told| told.starts_with("449 "))
            };
            while !asleep() && !sleeper.is_finished() {
                thread::yield_now();
            }
            wake(word);
            sleeper.join().unwrap()
        })
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn a_post_has_one_holder_and_a_process_one_post() {
        let lookout = lookout();
        let first = lookout.take_post().unwrap();
        assert_eq!((first.rank, first.borrowed), (0, false));
        // This is a wait within this thread's wait.
        let inner = lookout.take_post().unwrap();
        assert_eq!((inner.rank, inner.borrowed), (0, true));
        drop(inner);
        let others = || thread::scope(|s| s.spawn(|| lookout.take_post().map(|d| d.rank)).join().unwrap());
        assert_eq!(others(), None);
        lookout.words.posts[0].process.store(OTHER, Ordering::Relaxed);
        assert_eq!(others(), Some(1));
        drop(first);
        assert_eq!(others(), Some(0));
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn sleepers_wake_for_what_they_wait_for_for_a_death_and_for_a_post() {
        let lookout = lookout();
        let first = lookout.take_post().unwrap();
        let own_word = |word: &AtomicU32| {
            word.store(1, Ordering::Relaxed);
            word.futex_wake(1);
        };
        assert_eq!(sleeper(lookout, own_word), Wake::Woken);
        let died = |_: &AtomicU32| {
            lookout.words.count_death();
            lookout.words.tell();
        };
        assert_eq!(sleeper(lookout, died), Wake::TimedOut);
        // A process has died since the thread's last check: it does not fall asleep.
        let deaths = lookout.deaths();
        lookout.words.count_death();
        let word = AtomicU32::new(0);
        assert_eq!(
            lookout.sleep_on(&word, 0, Deadline::Never, deaths),
            Some(Wake::TimedOut)
        );
        assert_eq!(sleeper(lookout, |_| drop(first)), Wake::TimedOut);
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn a_post_comes_free_with_the_end_of_its_thread() {
        let lookout = lookout();
        let (end, ends) = channel::<()>();
        let (ready, is_ready) = channel();
        let holder = thread::spawn(move || {
            core::mem::forget(lookout.take_post());
            ready.send(()).unwrap();
            let _ = ends.recv();
        });
        is_ready.recv().unwrap();
        let woken = sleeper(lookout, |_| {
            drop(end);
            holder.join().unwrap();
        });
        assert_eq!(woken, Wake::TimedOut);
        assert_eq!(lookout.take_post().map(|duty| duty.rank), Some(0));
    }
}
