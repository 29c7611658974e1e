//! As many arguments as parameters.
//~ error[E0308]

use procession::Process;

fn add(a: u64, b: u64) -> u64 {
    a + b
}

fn main() {
    let _ = Process::spawn(add, (1, 2, 3));
}
