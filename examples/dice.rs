//! Many dice and one score board: values and arrays that processes share.
//!
//! Players are processes that roll two dice, over and over. An array counts how often each sum came up; all players add
//! to it without a lock. The longest series of doubles is several numbers that belong together, so it is a value with a
//! lock. One player is killed in the middle of its game: no roll of the others is lost, and the board is whole.

use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use procession::bytemuck::{Pod, Zeroable};
use procession::{LockError, Process, RawArray, Value, ValueGuard};

/// Many dice and one score board: values and arrays that processes share.
#[derive(Parser)]
struct Cli {
    /// Number of players, besides the one that is killed
    #[arg(long, default_value_t = 3, value_name = "N")]
    players: u64,

    /// Number of rolls of each player
    #[arg(long, default_value_t = 300_000, value_name = "N")]
    rolls: u64,
}

/// The longest series of doubles, and the player who rolled it.
#[derive(Clone, Copy, Pod, Zeroable)]
#[bytemuck(crate = "procession::bytemuck")]
#[repr(C)]
struct Record {
    length: u64,
    player: u64,
    /// The number that the last double showed.
    eyes: u64,
}

/// The objects that all players share. Each is a handle of a few bytes.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Board {
    /// The number of times that each sum came up.
    sums: RawArray<u64>,
    record: Value<Record>,
}

#[procession::main]
fn main() -> ExitCode {
    match play(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let board = Board {
        sums: RawArray::new(13)?,
        record: Value::new(Record::zeroed())?,
    };
    // Daemons end with this process, so that an error here leaves none behind.
    let start = |player, rolls| {
        let process = Process::builder().name(format!("player {player}")).daemon(true);
        process.spawn(roll, (board.clone(), player, rolls))
    };
    let unlucky = start(0, u64::MAX)?;
    let players = (1..=cli.players)
        .map(|player| start(player, cli.rolls))
        .collect::<procession::Result<Vec<_>>>()?;

    thread::sleep(Duration::from_millis(20));
    unlucky.kill()?;
    println!("player 0 was killed: {}", unlucky.join().unwrap_err());
    for player in players {
        player.join()??;
    }

    let sums = board.sums.to_vec();
    let most = sums.iter().copied().max().unwrap_or_default().max(1);
    for (sum, &count) in sums.iter().enumerate().skip(2) {
        println!("{sum:2} {count:9} {}", "#".repeat((count * 50 / most) as usize));
    }
    let rolls: u64 = sums.iter().sum();
    let record = *lock(&board.record)?;
    println!(
        "{rolls} rolls, {} of them player 0's",
        rolls - cli.players * cli.rolls
    );
    println!(
        "{} doubles in a row by player {}, the last of {}s",
        record.length, record.player, record.eyes
    );
    Ok(())
}

/// Runs in a process of its own.
fn roll(board: Board, player: u64, rolls: u64) -> procession::Result<()> {
    let mut random = player.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut die = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % 6 + 1
    };
    let mut series = 0;
    for _ in 0..rolls {
        let (one, other) = (die(), die());
        board.sums[(one + other) as usize].fetch_add(1);
        series = if one == other { series + 1 } else { 0 };
        if series > 1 {
            let mut record = lock(&board.record)?;
            if series > record.length {
                record.length = series;
                record.player = player;
                record.eyes = one;
            }
        }
    }
    Ok(())
}

/// Locks the record. If a player died while it wrote the record, the numbers may not belong together, so a new record
/// begins.
fn lock(record: &Value<Record>) -> procession::Result<ValueGuard<'_, Record>> {
    match record.lock() {
        Err(LockError::OwnerDied { mut guard, .. }) => {
            *guard = Record::zeroed();
            Ok(guard)
        }
        locked => Ok(locked?),
    }
}
