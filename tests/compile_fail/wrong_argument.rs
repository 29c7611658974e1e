//! Arguments travel by serde.
//~ error[E0277]
//~ `Private: serde

use procession::Process;
use std::sync::Mutex;

struct Private(Mutex<u64>);

fn take(value: Private) -> u64 {
    *value.0.lock().unwrap()
}

fn main() {
    let _ = Process::spawn(take, Private(Mutex::new(1)));
}
