//! A result is given once.
//~ error[E0382]

use procession::Process;

fn main() {
    let process = Process::spawn(|| 1, ()).unwrap();
    let _ = process.join();
    let _ = process.join();
}
