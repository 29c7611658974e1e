//! Procession's benchmarks: one table, with all contenders measured in the same run.
//!
//! Rounds are the outermost loop: each round measures every contender of every group once, so that other load on the
//! machine affects all of them alike. A row is the median of the rounds.

mod alive;
mod bytes;
mod contest;
mod futex;
mod lock;
mod machine;
mod memory;
mod queue;
mod roundtrip;
mod select;
mod shared;
mod short;
mod start;
mod sync;
mod table;
mod team;

use std::process::ExitCode;

use clap::Parser;
use contest::{Effort, Group};

/// Any error; it is only printed.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Error> = std::result::Result<T, E>;

/// Measures Procession and other crates, and prints one table to standard output.
///
/// Each round measures every contender once, one after the other; the table shows the median of the rounds. Progress
/// goes to standard error. Every contender of a chosen group is measured, because the figures mean something only in
/// comparison.
///
/// Keep the machine idle while this runs.
#[derive(Parser)]
#[command(name = "cargo xtask bench --", bin_name = "cargo xtask bench --")]
struct Cli {
    /// Number of rounds [default: 5, or 3 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,

    /// Do a fifth of the work in each measurement, to see that it runs or for a first impression
    #[arg(long)]
    quick: bool,

    /// Measure only groups whose name contains this text (ignores case; may be repeated); see --list
    #[arg(long, value_name = "SUBSTRING")]
    only: Vec<String>,

    /// Print a Markdown table of all contenders with range, ratio and target
    #[arg(long)]
    markdown: bool,

    /// List the groups and their contenders, and measure nothing
    #[arg(long)]
    list: bool,

    /// Compute one of the memory facts in this program, which has done nothing else, and print its numbers
    #[arg(long, hide = true, value_name = "FACT")]
    fact: Option<memory::Fact>,
}

#[procession::main]
fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether all that was asked for could be measured.
fn run(cli: &Cli) -> Result<bool> {
    let effort = Effort { quick: cli.quick };
    if let Some(fact) = cli.fact {
        let figures: Vec<_> = fact.work_out(effort)?.iter().map(f64::to_string).collect();
        println!("{}", figures.join(" "));
        return Ok(true);
    }

    let groups = chosen(&cli.only)?;
    if cli.list {
        for group in groups {
            let names: Vec<_> = group.contenders.iter().map(|contender| contender.name).collect();
            println!("{}: {}", group.name, names.join("; "));
        }
        return Ok(true);
    }

    // The figures of a busy machine mean little, so the load is read before the benchmarks add to it.
    let machine = machine::describe(cli.quick);
    let rounds = cli.rounds.unwrap_or(if cli.quick { 3 } else { 5 });
    let results = contest::hold(groups, rounds, effort);
    if cli.markdown {
        print!("{}\n{machine}", table::table(&results, rounds));
    } else {
        print!("{}\n{machine}", short::table(&results));
    }
    Ok(results.iter().all(|result| result.failure.is_none()))
}

/// Returns the groups that `--only` asks for; all groups if it was not given.
fn chosen(only: &[String]) -> Result<Vec<Group>> {
    let wanted: Vec<_> = only.iter().map(|part| part.to_lowercase()).collect();
    let groups: Vec<_> = all()
        .into_iter()
        .filter(|group| {
            let name = group.name.to_lowercase();
            wanted.is_empty() || wanted.iter().any(|part| name.contains(part))
        })
        .collect();
    if groups.is_empty() {
        return Err(format!(
            "no group's name contains '{}'; --list shows them",
            only.join("' or '")
        )
        .into());
    }
    Ok(groups)
}

fn all() -> Vec<Group> {
    [
        queue::groups(),
        roundtrip::groups(),
        bytes::groups(),
        start::groups(),
        alive::groups(),
        lock::groups(),
        sync::groups(),
        select::groups(),
        memory::groups(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
