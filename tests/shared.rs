//! Values and arrays: other processes read what one writes, under a lock or as atomics, and a death is reported.

#![allow(clippy::float_cmp)] // The numbers are chosen so that every result is exact.

mod common;
#[path = "common/random.rs"]
mod random;

use common::{METHODS, alone_with, not_before, watchdog};
use procession::bytemuck::{Pod, Zeroable};
use procession::{
    Array, ArrayGuard, Error, LockError, Process, Queue, RawArray, RawValue, StartMethod, Value,
};
use random::{Random, long};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::marker::PhantomData;
use std::thread;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[bytemuck(crate = "procession::bytemuck")]
#[repr(C)]
struct Point {
    x: f64,
    y: f64,
    /// A structure of the two above.
    sum: f64,
}

// ---- values ----

#[test]
fn a_value_is_what_was_set() {
    let value = Value::new(-5_i16).unwrap();
    assert_eq!(value.get(), Ok(-5));
    value.set(7).unwrap();
    assert_eq!(
        value.update(|n| {
            *n += 1;
            *n
        }),
        Ok(8)
    );
    *value.lock().unwrap() += 1;
    assert_eq!(*value.clone().try_lock().unwrap(), 9);
    assert_eq!(format!("{value:?}"), "Value(9)");
    // Larger than a cell.
    let large = Value::new([3_u8; 50_000]).unwrap();
    assert!(large.get().unwrap() == [3; 50_000]);
}

#[test]
fn one_guard_at_a_time() {
    let _watchdog = watchdog();
    let value = Value::new(1_u64).unwrap();
    let guard = value.lock().unwrap();
    // The thread would wait for itself.
    assert!(matches!(value.lock(), Err(LockError::WouldBlock)));
    assert_eq!(value.get(), Err(Error::AlreadyLocked));
    assert_eq!(value.set(2), Err(Error::AlreadyLocked));
    assert_eq!(format!("{value:?} {guard:?}"), "Value(<locked>) 1");
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            assert!(matches!(value.try_lock(), Err(LockError::WouldBlock)));
            let timeout = Duration::from_millis(30);
            let late = not_before(timeout, || value.lock_timeout(timeout));
            assert!(matches!(late, Err(LockError::Timeout)));
        });
        other.join().unwrap();
    });
    drop(guard);
    assert_eq!(value.get(), Ok(1));
}

#[procession::test]
fn a_guard_is_of_no_use_in_a_forked_child() {
    let _watchdog = watchdog();
    let value = Value::new(1_u64).unwrap();
    let guard = value.lock().unwrap();
    let child = Process::builder().fork(|| *guard).unwrap();
    assert!(matches!(child.join(), Err(Error::Process(_))), "it panicked");
    // The drop of the copy in the child has unlocked nothing.
    let locked = thread::scope(|scope| scope.spawn(|| value.try_lock().is_err()).join().unwrap());
    assert!(locked);
    drop(guard);
    assert!(value.try_lock().is_ok());
}

/// Every kind of shared value, inside a structure of the user's.
#[derive(Clone, Serialize, Deserialize)]
struct Everything {
    point: Value<Point>,
    points: Array<Point>,
    count: RawValue<i64>,
    flags: RawArray<bool>,
}

fn change(everything: Everything) -> procession::Result<()> {
    let there = Point {
        x: 1.0,
        y: 2.0,
        sum: 3.0,
    };
    everything.point.set(there)?;
    everything.points.set(1, there)?;
    everything.count.fetch_add(5);
    everything.flags[2].set(true);
    Ok(())
}

#[procession::test]
fn children_change_what_is_shared() {
    let _watchdog = watchdog();
    for method in METHODS {
        let everything = Everything {
            point: Value::new(Point::zeroed()).unwrap(),
            // More than a cell can hold.
            points: Array::new(1000).unwrap(),
            count: RawValue::new(-2).unwrap(),
            flags: RawArray::new(3).unwrap(),
        };
        let child = Process::builder().method(method);
        child
            .spawn(change, everything.clone())
            .unwrap()
            .join()
            .unwrap()
            .unwrap();
        assert_eq!(everything.point.get().unwrap().sum, 3.0);
        assert_eq!(everything.points.get(1), everything.point.get());
        assert_eq!(everything.points.get(2), Ok(Point::zeroed()));
        assert_eq!(everything.count.get(), 3);
        assert_eq!(everything.flags.to_vec(), [false, false, true]);
    }
}

#[test]
fn through_queues_after_the_sender_let_go() {
    let _watchdog = watchdog();
    let queue = Queue::unbounded().unwrap();
    for n in 0..20_u32 {
        queue
            .put(Array::from_slice(&vec![n; 1 + 500 * n as usize]).unwrap())
            .unwrap();
    }
    for n in 0..20_u32 {
        let array: Array<u32> = queue.get().unwrap();
        assert!(array.len() == 1 + 500 * n as usize && array.to_vec().unwrap().iter().all(|&m| m == n));
    }
}

/// Checks a handle that is deserialised as a handle of another type.
struct Retyped<A, B>(A, PhantomData<B>);

impl<A: Serialize, B> Serialize for Retyped<A, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, A, B: Deserialize<'de>> Deserialize<'de> for Retyped<A, B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        B::deserialize(deserializer).map(|_| panic!("it was taken for something else"))
    }
}

fn refused<B: DeserializeOwned>(sent: impl Serialize + DeserializeOwned) {
    let queue = Queue::unbounded().unwrap();
    queue.put(Retyped::<_, B>(sent, PhantomData)).unwrap();
    match queue.get() {
        Err(Error::Decode { reason, .. }) => {
            assert!(reason.contains("not a shared memory of this type"), "{reason}");
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was decoded"),
    }
}

#[test]
fn as_another_type_it_does_not_arrive() {
    let _watchdog = watchdog();
    refused::<Value<i64>>(Value::new(1_u64).unwrap());
    refused::<RawValue<u64>>(Value::new(1_u64).unwrap());
    refused::<Array<u64>>(Value::new(1_u64).unwrap());
    refused::<RawArray<u16>>(RawArray::<u8>::new(2).unwrap());
    refused::<Array<u8>>(RawArray::<u8>::new(2).unwrap());
}

// ---- arrays ----

#[test]
fn an_array_has_bounds() {
    let array = Array::<u32>::new(3).unwrap();
    array.set(2, 5).unwrap();
    assert_eq!(array.to_vec(), Ok(vec![0, 0, 5]));
    let out = Error::OutOfBounds { index: 3, len: 3 };
    assert_eq!((array.get(3), array.set(3, 1)), (Err(out.clone()), Err(out)));
    assert_eq!(
        (array.len(), format!("{array:?}")),
        (3, "Array([0, 0, 5])".to_owned())
    );
    let none = Array::<u32>::new(0).unwrap();
    assert!(none.is_empty() && none.lock().unwrap().is_empty());
    assert!(RawArray::<f64>::new(0).unwrap().is_empty());
}

#[test]
fn what_cannot_fit_is_refused() {
    for len in [usize::MAX, usize::MAX / 8, 1 << 45] {
        assert!(
            matches!(Array::<u64>::new(len), Err(Error::TooLarge { .. })),
            "{len}"
        );
        assert!(
            matches!(RawArray::<u8>::new(len), Err(Error::TooLarge { .. })),
            "{len}"
        );
    }
    alone_with(
        "what_cannot_fit_is_refused",
        &[("PROCESSION_HEAP_BYTES", "134217728")],
        || {
            let kept: Vec<_> = (0..).map_while(|_| Array::<u8>::new(3 << 20).ok()).collect();
            assert!(matches!(
                Array::<u8>::new(3 << 20),
                Err(Error::OutOfMemory { .. })
            ));
            assert!(
                kept.iter()
                    .all(|array| array.lock().unwrap().iter().all(|&b| b == 0))
            );
            drop(kept);
            assert!(Array::<u8>::new(3 << 20).is_ok());
        },
    );
}

#[test]
fn used_memory_is_zero_again() {
    for len in [10, 2000, 200_000] {
        for _ in 0..20 {
            let array = Array::<u64>::new(len).unwrap();
            assert!(array.lock().unwrap().iter().all(|&n| n == 0), "{len}");
            array.lock().unwrap().fill(u64::MAX);
        }
    }
}

// ---- without a lock ----

#[test]
fn whole_numbers_of_every_kind() {
    macro_rules! check {
        ($($type:ty),*) => {$({
            let n = RawValue::<$type>::new(5 as $type).unwrap();
            assert_eq!(n.fetch_add(3 as $type), 5 as $type);
            assert_eq!(n.fetch_sub(1 as $type), 8 as $type);
            assert_eq!(n.fetch_max(9 as $type), 7 as $type);
            assert_eq!(n.fetch_max(1 as $type), 9 as $type);
            assert_eq!(n.fetch_min(4 as $type), 9 as $type);
            assert_eq!(n.fetch_min(6 as $type), 4 as $type);
            assert_eq!(n.swap(2 as $type), 4 as $type);
            assert_eq!(n.compare_exchange(3 as $type, 1 as $type), Err(2 as $type));
            assert_eq!(n.compare_exchange(2 as $type, 1 as $type), Ok(2 as $type));
            assert_eq!(n.fetch_update(|n| n + n), 1 as $type);
            assert_eq!(n.get(), 2 as $type);
            n.set(<$type>::MAX);
            assert_eq!(n.get(), <$type>::MAX);
            let array = RawArray::from_slice(&[1 as $type, 0 as $type]).unwrap();
            array[1].fetch_add(3 as $type);
            assert_eq!(array.to_vec(), [1 as $type, 3 as $type]);
        })*};
    }
    check!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64);
    let full = RawValue::new(u8::MAX).unwrap();
    assert_eq!((full.fetch_add(2), full.get()), (u8::MAX, 1));
    let flag = RawValue::new(false).unwrap();
    assert!(!flag.swap(true) && flag.get());
    assert_eq!(
        format!("{flag:?} {:?}", RawArray::from_slice(&[1, 2]).unwrap()),
        "RawValue(true) RawArray([1, 2])"
    );
}

fn add(counts: RawArray<u64>, sum: RawValue<f64>, last: Value<u64>) -> procession::Result<()> {
    for n in 0..5000 {
        counts[n % 7].fetch_add(1);
        sum.fetch_add(0.5);
        last.update(|last| *last += 1)?;
    }
    Ok(())
}

#[procession::test]
fn nothing_is_lost_between_processes() {
    let _watchdog = watchdog();
    let counts = RawArray::<u64>::new(7).unwrap();
    let (sum, last) = (RawValue::new(0.0).unwrap(), Value::new(0).unwrap());
    let adders: Vec<_> = (0..3)
        .map(|_| {
            let child = Process::builder().method(StartMethod::Fork);
            child
                .spawn(add, (counts.clone(), sum.clone(), last.clone()))
                .unwrap()
        })
        .collect();
    for adder in adders {
        adder.join().unwrap().unwrap();
    }
    assert_eq!(counts.to_vec().iter().sum::<u64>(), 15_000);
    assert_eq!((sum.get(), last.get()), (7500.0, Ok(15_000)));
}

// ---- deaths ----

fn die_with(value: Value<u32>) {
    core::mem::forget(value.lock().unwrap());
    std::process::abort();
}

#[procession::test]
fn a_death_is_told_once() {
    let _watchdog = watchdog();
    let value = Value::new(1_u32).unwrap();
    let die = || {
        let child = Process::builder().method(StartMethod::Fork);
        let child = child.spawn(die_with, value.clone()).unwrap();
        let pid = child.pid();
        assert!(child.join().is_err());
        pid
    };
    let pid = die();
    // Without a guard: the error is returned, and the change is not made.
    assert!(matches!(value.set(2), Err(Error::OwnerDied { .. })), "{pid:?}");
    assert_eq!(value.get(), Ok(1));
    die();
    assert!(matches!(
        value.update(|_| panic!("it was called")),
        Err(Error::OwnerDied { .. })
    ));
    assert_eq!(value.get(), Ok(1));
    die();
    // Reading does not consume the report of the death.
    assert_eq!(format!("{value:?}"), "Value(<locked>)");
    let mut guard = value.lock().map(|_| ()).unwrap_err().into_guard().unwrap();
    *guard = 3;
    drop(guard);
    assert_eq!(value.get(), Ok(3));
}

/// Adds one to all elements, over and over, until it is killed.
fn raise(all: Array<u64>, rounds: RawValue<u64>) {
    loop {
        let (mut guard, _) = lock(&all);
        guard.iter_mut().for_each(|n| *n += 1);
        drop(guard);
        rounds.fetch_add(1);
    }
}

/// Takes the lock, and makes all elements equal if the last holder died. Returns whether it did.
fn lock(all: &Array<u64>) -> (ArrayGuard<'_, u64>, bool) {
    match all.lock_timeout(Duration::from_secs(60)) {
        Ok(guard) => {
            assert!(guard.iter().all(|&n| n == guard[0]), "torn, and nobody was told");
            (guard, false)
        }
        Err(LockError::OwnerDied { mut guard, .. }) => {
            // The dead process had changed the elements in order.
            assert!(guard.is_sorted_by(|a, b| a >= b) && guard[0] <= guard[guard.len() - 1] + 1);
            let first = guard[0];
            guard.fill(first);
            (guard, true)
        }
        Err(error) => panic!("{error}"),
    }
}

#[procession::test]
fn writers_are_killed() {
    let _watchdog = watchdog();
    let all = Array::<u64>::new(3000).unwrap();
    let rounds = RawValue::new(0).unwrap();
    let mut random = Random::new(7);
    let mut deaths_told = 0;
    for _ in 0..long(200) {
        let writers = [(); 2].map(|()| {
            let child = Process::builder().method(StartMethod::Fork);
            child.spawn(raise, (all.clone(), rounds.clone())).unwrap()
        });
        thread::sleep(Duration::from_micros(random.below(3000)));
        for writer in writers {
            writer.kill().unwrap();
            assert!(writer.join().is_err());
            deaths_told += u64::from(lock(&all).1);
        }
    }
    assert!(
        rounds.get() > 0 && deaths_told > 0,
        "{} rounds, {deaths_told} deaths",
        rounds.get()
    );
}
