//! A closure that captures something cannot be sent to another process.
//~ error[E0080]
//~ only functions and closures that capture nothing can be sent to a process

use procession::Process;

fn main() {
    let captured = 5_u64;
    let _ = Process::spawn(move || captured + 1, ());
}
