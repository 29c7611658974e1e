//! Results travel by serde too.
//~ error[E0277]
//~ cannot be run in a process

use procession::Process;

fn start() -> std::thread::JoinHandle<()> {
    std::thread::spawn(|| ())
}

fn main() {
    let _ = Process::spawn(start, ());
}
