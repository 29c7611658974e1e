//! Tables of results.

use super::outcome::Count;

/// A row: a class, and its results here and on the standard library.
pub struct Row {
    pub class: String,
    pub ours: Count,
    pub stdlib: Count,
}

/// Returns whether a class tests threads through the same interface: most of the code that it runs is not the
/// package's.
fn is_threads(class: &str) -> bool {
    class.starts_with("WithThreads")
}

/// Prints the rows of one start method; those about threads are separate.
pub fn print(title: &str, rows: &[Row]) {
    println!("\n{title:<50} {:>20} {:>20}", "procession", "standard library");
    let head = ["passed", "failed", "skip"]
        .map(|word| format!("{word:>6}"))
        .join(" ");
    println!("{:<50} {head} {head}", "");
    let mut all = [Count::default(); 2];
    for (threads, name) in [(false, "processes, managers and the rest"), (true, "threads")] {
        let mut sums = [Count::default(); 2];
        for row in rows.iter().filter(|row| is_threads(&row.class) == threads) {
            line(&row.class, row.ours, row.stdlib);
            sums[0] += row.ours;
            sums[1] += row.stdlib;
        }
        if sums != [Count::default(); 2] {
            line(&format!("= {name}"), sums[0], sums[1]);
        }
        all[0] += sums[0];
        all[1] += sums[1];
    }
    line("= all", all[0], all[1]);
}

fn line(name: &str, ours: Count, stdlib: Count) {
    let cells = [ours, stdlib].map(|count| {
        let number = |count: usize| {
            if count == 0 {
                "-".to_owned()
            } else {
                count.to_string()
            }
        };
        format!(
            "{:>6} {:>6} {:>6}",
            number(count.passed),
            number(count.failed),
            number(count.skipped)
        )
    });
    println!("{name:<50} {}", cells.join(" "));
}
