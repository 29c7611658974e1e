//! The queue's protocol as a model for loom, with the real robust lock and the real event count: records in a segment,
//! a header that publishes, cursors that count, a shutdown, and a producer that dies between its two stores. The
//! segment here is a few cells that loom checks: it reports content that is read before it is written, or written while
//! it is read.

use crate::os::clock::Deadline;
use crate::wait::atomic::{AtomicU64, Ordering};
use crate::wait::event_count::EventCount;
use crate::wait::robust_lock::{Acquired, RobustLock};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

const WORDS: usize = 4;

struct Model {
    tail_lock: RobustLock,
    head_lock: RobustLock,
    tail: AtomicU64,
    taken: AtomicU64,
    closed: AtomicU64,
    headers: [AtomicU64; WORDS],
    contents: [UnsafeCell<u64>; WORDS],
    not_empty: EventCount,
}

// SAFETY: contents are written under the tail lock before their header is set, and read under the head lock after it.
// Loom checks that this is so.
#[allow(unsafe_code)]
unsafe impl Sync for Model {}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            tail_lock: RobustLock::new(),
            head_lock: RobustLock::new(),
            tail: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            headers: core::array::from_fn(|_| AtomicU64::new(0)),
            contents: core::array::from_fn(|_| UnsafeCell::new(0)),
            not_empty: EventCount::new(),
        })
    }

    fn lock(lock: &RobustLock, me: u32) -> bool {
        matches!(
            lock.lock(me, Deadline::Never, 0, |_| true, || false, || ()),
            Some(Acquired::OwnerDied(_))
        )
    }

    /// Does what `View::put_inline` does: content, header, cursor.
    #[allow(unsafe_code)]
    fn publish(&self, value: u64, dies: bool) {
        let at = self.tail.load(Ordering::Relaxed) as usize;
        // SAFETY: under the tail lock, and the header is zero: no consumer reads here.
        self.contents[at].with_mut(|content| unsafe { *content = value });
        self.headers[at].store(1, Ordering::Release);
        if !dies {
            self.tail.store(at as u64 + 1, Ordering::Release);
        }
    }

    fn put(&self, me: u32, value: u64) -> bool {
        if Self::lock(&self.tail_lock, me) {
            // As `View::repair_tail`.
            let at = self.tail.load(Ordering::Relaxed);
            if self.headers[at as usize].load(Ordering::Acquire) != 0 {
                self.tail.store(at + 1, Ordering::Release);
            }
        }
        let open = self.closed.load(Ordering::Relaxed) == 0;
        if open {
            self.publish(value, false);
        }
        self.tail_lock.unlock();
        self.not_empty.notify_one();
        open
    }

    /// Does what `View::try_get` does; `Err(true)` means that the queue is shut down.
    #[allow(unsafe_code)]
    fn try_get(&self, me: u32) -> Result<u64, bool> {
        Self::lock(&self.head_lock, me);
        let closed = self.closed.load(Ordering::Acquire) != 0;
        let at = self.taken.load(Ordering::Relaxed) as usize;
        let answer = if at < WORDS && self.headers[at].load(Ordering::Acquire) != 0 {
            // SAFETY: the header is set, so the content is written, and nobody writes it again.
            let value = self.contents[at].with(|content| unsafe { *content });
            self.taken.store(at as u64 + 1, Ordering::Release);
            Ok(value)
        } else {
            Err(closed)
        };
        self.head_lock.unlock();
        answer
    }

    fn empty(&self) -> bool {
        let taken = self.taken.load(Ordering::Acquire);
        self.tail.load(Ordering::Acquire).saturating_sub(taken) == 0
    }

    /// Does what `Ring::get` does; `None` once the queue is shut down and empty.
    fn get(&self, me: u32) -> Option<u64> {
        let mut slept = false;
        loop {
            match self.try_get(me) {
                Err(false) => {}
                answer => {
                    if slept {
                        self.not_empty
                            .pass_baton(|| !self.empty() || self.closed.load(Ordering::Acquire) != 0);
                    }
                    return answer.ok();
                }
            }
            let go_on = || !self.empty() || self.closed.load(Ordering::Acquire) != 0;
            if !go_on() {
                let epoch = self.not_empty.prepare_wait();
                if !go_on() {
                    slept = true;
                    self.not_empty
                        .sleep(epoch, Deadline::Never, &mut crate::wait::sleeper::Sleeper::new());
                }
            }
        }
    }

    fn shutdown(&self, me: u32) {
        Self::lock(&self.tail_lock, me);
        self.closed.store(1, Ordering::Release);
        self.tail_lock.unlock();
        self.not_empty.wake_unconditionally();
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

#[test]
fn loom_queue_one_producer_one_consumer() {
    check(|| {
        let queue = Model::new();
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || assert!(queue.put(1, 10) && queue.put(1, 11)))
        };
        assert_eq!((queue.get(2), queue.get(2)), (Some(10), Some(11)));
        producer.join().unwrap();
    });
}

#[test]
fn loom_queue_two_consumers_share() {
    check(|| {
        let queue = Model::new();
        let consumer = {
            let queue = queue.clone();
            thread::spawn(move || queue.get(1).unwrap())
        };
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || assert!(queue.put(2, 10) && queue.put(2, 11)))
        };
        let mine = queue.get(3).unwrap();
        let theirs = consumer.join().unwrap();
        producer.join().unwrap();
        assert_eq!(mine + theirs, 21, "each message once");
    });
}

#[test]
fn loom_queue_shut_down_is_drained_and_loses_nothing() {
    check(|| {
        let queue = Model::new();
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || {
                let put = queue.put(1, 10);
                queue.shutdown(1);
                assert!(!queue.put(1, 11), "put after the shutdown");
                put
            })
        };
        let got = queue.get(2);
        assert!(producer.join().unwrap());
        assert_eq!(got, Some(10), "what was put before the shutdown is delivered");
        assert_eq!(queue.get(2), None);
    });
}

/// A producer dies with its message published and the cursor not moved. A consumer may take the message before the
/// repair.
#[test]
fn loom_queue_inherits_from_a_dead_producer() {
    check(|| {
        let queue = Model::new();
        Model::lock(&queue.tail_lock, 7);
        queue.publish(10, true);
        assert!(queue.tail_lock.mark_owner_dead(7));
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || assert!(queue.put(1, 11)))
        };
        // Whatever the order, both come, once, in order.
        let first = queue.get(2);
        let second = queue.get(2);
        producer.join().unwrap();
        assert_eq!((first, second), (Some(10), Some(11)));
    });
}
