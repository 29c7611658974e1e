//! A closure that captures a value that is not `Copy` cannot be sent either.
//~ error[E0277]
//~ `String: Copy` is not satisfied

use procession::Process;

fn main() {
    let captured = String::from("mine");
    let _ = Process::spawn(move |n: usize| captured.len() + n, 1);
}
