//! A guard does not outlive its lock.
//~ error[E0515]

use procession::{Lock, LockGuard};

fn keep() -> LockGuard<'static> {
    let lock = Lock::new().unwrap();
    lock.lock().unwrap()
}

fn main() {
    drop(keep());
}
