//! A blackboard that programs find by its name.
//!
//! Start it in two or three terminals. The first program makes the blackboard, the others find it, and each adds a
//! line. The blackboard disappears with the last program, even if it is killed with SIGKILL: look into `/dev/shm`.

use clap::Parser;
use procession::{Error, Result, SharedMemory};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Writes a line on a blackboard, and shows the lines of other programs.
#[derive(Parser)]
struct Cli {
    /// Text to write
    #[arg(default_value = "hello from me")]
    text: String,

    /// Name of the blackboard
    #[arg(long, default_value = "procession-blackboard", value_name = "NAME")]
    name: String,

    /// Seconds to stay before leaving
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    stay: u64,
}

const LINE: usize = 64;
const LINES: usize = 64;

/// Makes the blackboard, or finds the one that is there.
fn blackboard(name: &str) -> Result<SharedMemory> {
    loop {
        match SharedMemory::create(Some(name), 8 + LINE * LINES) {
            Err(Error::MemoryExists { .. }) => {}
            answer => return answer,
        }
        match SharedMemory::open(name) {
            // The last user left between the two calls.
            Err(Error::NoSuchMemory { .. }) => {}
            answer => return answer,
        }
    }
}

#[procession::main]
fn main() -> Result<()> {
    let cli = Cli::parse();
    let board = blackboard(&cli.name)?;
    // The count at the beginning gives each writer its own line.
    let Some(count) = board.atomic_u64(0) else {
        println!("{:?} is somebody else's", cli.name);
        return Ok(());
    };
    let mine = count.fetch_add(1, Ordering::Relaxed) as usize;
    let text = format!("{} (process {})", cli.text, std::process::id());
    let bytes = &text.as_bytes()[..text.len().min(LINE)];
    board.write(8 + mine % LINES * LINE, &[0; LINE])?;
    board.write(8 + mine % LINES * LINE, bytes)?;

    for line in (mine + 1).saturating_sub(LINES)..=mine {
        let mut bytes = [0; LINE];
        board.read(8 + line % LINES * LINE, &mut bytes)?;
        println!("{}", String::from_utf8_lossy(&bytes).trim_end_matches('\0'));
    }
    std::thread::sleep(Duration::from_secs(cli.stay));
    Ok(())
}
