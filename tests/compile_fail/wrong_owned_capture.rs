//! Nor one that captures something that is not even `Copy`.
//~ error[E0277]
//~ `String: Copy` is not satisfied

use procession::Process;

fn main() {
    let captured = String::from("mine");
    let _ = Process::spawn(move |n: usize| captured.len() + n, 1);
}
