//! Bank accounts in shared memory, with a recursive lock: a move of money calls two functions, and each of them takes
//! the lock itself.
//!
//! Several processes move money between accounts at random. Each also adds up all accounts under the lock, and so
//! always sees the same sum. With `--no-lock` it adds them up in the middle of another process's move, and the sum
//! changes.

use std::process::ExitCode;

use clap::Parser;
use procession::{Atomic, Process, RLock, RLockGuard, RawArray};

const ACCOUNTS: usize = 4;
const EACH: i64 = 1000;

/// Tellers move money, and check that none is missing.
#[derive(Parser)]
struct Cli {
    /// Number of tellers
    #[arg(long, default_value_t = 4, value_name = "N")]
    tellers: u16,

    /// Number of moves of each teller
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    moves: u64,

    /// Move money without the lock, to see it go wrong
    #[arg(long)]
    no_lock: bool,
}

#[procession::main]
fn main() -> ExitCode {
    match trade(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The accounts and their lock. The handle can be passed to other processes.
type Bank = (RawArray<i64>, Option<RLock>);

fn trade(cli: &Cli) -> procession::Result<()> {
    let accounts = RawArray::from_slice(&[EACH; ACCOUNTS])?;
    let bank: Bank = (accounts, (!cli.no_lock).then(RLock::new).transpose()?);
    let tellers = (0..cli.tellers)
        .map(|seed| {
            let teller = Process::builder().name(format!("teller {seed}")).daemon(true);
            teller.spawn(work, (bank.clone(), u64::from(seed), cli.moves))
        })
        .collect::<procession::Result<Vec<_>>>()?;
    let mut wrong = 0;
    for teller in tellers {
        wrong += teller.join()??;
    }
    println!(
        "{} tellers moved money; {wrong} times the sum was wrong",
        cli.tellers
    );
    if wrong > 0 {
        println!("that is what the lock is for");
    }
    Ok(())
}

/// Runs in a process of its own, and returns how often it saw a wrong sum.
fn work(bank: Bank, seed: u64, moves: u64) -> procession::Result<u64> {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut wrong = 0;
    for _ in 0..moves {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let (from, to) = (
            (random >> 40) as usize % ACCOUNTS,
            (random >> 50) as usize % ACCOUNTS,
        );
        transfer(&bank, from, to, (random >> 60) as i64)?;
        let _lock = locked(&bank)?;
        let sum: i64 = bank.0.iter().map(Atomic::get).sum();
        wrong += u64::from(sum != EACH * ACCOUNTS as i64);
    }
    Ok(wrong)
}

fn transfer(bank: &Bank, from: usize, to: usize, amount: i64) -> procession::Result<()> {
    // Other processes must not see the accounts in the middle of a move.
    let _lock = locked(bank)?;
    deposit(bank, from, -amount)?;
    deposit(bank, to, amount)
}

/// Takes the lock itself, because it is also called alone. The thread that has the lock may take it again.
fn deposit(bank: &Bank, account: usize, amount: i64) -> procession::Result<()> {
    let _lock = locked(bank)?;
    bank.0[account].fetch_add(amount);
    Ok(())
}

fn locked(bank: &Bank) -> procession::Result<Option<RLockGuard<'_>>> {
    Ok(bank.1.as_ref().map(RLock::lock).transpose()?)
}
