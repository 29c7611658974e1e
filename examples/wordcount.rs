//! Counts the words of files and folders, in several processes.
//!
//! ```text
//! paths ──▶ queue of names ──▶ readers ──▶ bounded queue of text ──▶ counters ──join──▶ merge
//! ```
//!
//! A reader takes a name, reads that file and passes its lines on in batches. A counter counts batches until the queue
//! is shut down and empty, and returns its counts. Try `--help`, and `--sequential`, which does the same in one
//! process.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use procession::{Error, Process, Queue};

/// Bytes of text in one message. Fewer and larger messages are cheaper than one for each word.
const BATCH: usize = 64 * 1024;

/// Number of batches that may wait for each counter, so that fast readers do not fill the memory.
const BATCHES_PER_COUNTER: usize = 4;

/// The time between two updates of the progress bar.
const TICK: Duration = Duration::from_millis(50);

/// Number of words that are shown.
const SHOWN: usize = 20;

type Counts = HashMap<String, u64>;

/// Count the words of files and folders, and show the twenty commonest.
///
/// A word is a run of letters and digits; upper and lower case are equal. Files that cannot be read are reported on
/// standard error, and make the exit code 1. Bytes that are not UTF-8 separate words.
#[derive(Parser)]
struct Cli {
    /// Files, and folders to search; hidden files and folders called `target` are left out
    #[arg(default_value = env!("CARGO_MANIFEST_DIR"), hide_default_value = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Number of processes that count [default: the number of processors]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    processes: Option<u16>,

    /// Count in this process alone, for comparison
    #[arg(long, conflicts_with = "processes")]
    sequential: bool,
}

/// The counts, and a line for each file that could not be read.
struct Outcome {
    counts: Counts,
    unreadable: Vec<String>,
}

#[procession::main]
fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all files could be read.
fn run(cli: Cli) -> Result<bool, Box<dyn StdError>> {
    let start = Instant::now();
    let counters = cli.processes.map_or_else(procession::cpu_count, usize::from);
    let (files, mut unreadable) = find_files(&cli.paths);
    let number = files.len();

    let outcome = if cli.sequential {
        sequentially(files)
    } else {
        in_processes(files, counters)?
    };
    unreadable.extend(outcome.unreadable);
    for line in &unreadable {
        eprintln!("warning: cannot read {line}");
    }
    print_commonest(outcome.counts)?;
    let how = if cli.sequential {
        "one process".to_owned()
    } else {
        format!("{counters} counting processes")
    };
    eprintln!("{number} files in {:.3} s, {how}", start.elapsed().as_secs_f64());
    Ok(unreadable.is_empty())
}

fn sequentially(files: Vec<PathBuf>) -> Outcome {
    let mut outcome = Outcome {
        counts: Counts::new(),
        unreadable: Vec::new(),
    };
    let bar = progress_bar(files.len());
    for file in bar.wrap_iter(files.iter()) {
        let read = each_batch(file, |text| {
            count_words(&text, &mut outcome.counts);
            Ok(())
        });
        if let Err(error) = read {
            outcome.unreadable.push(format!("{}: {error}", file.display()));
        }
    }
    outcome
}

fn in_processes(files: Vec<PathBuf>, processes: usize) -> procession::Result<Outcome> {
    let bar = progress_bar(files.len());
    let names = Queue::unbounded()?;
    names.put_many(files.into_iter().map(PathBuf::into_os_string))?;
    names.shutdown(); // there will be no more names
    let batches = Queue::bounded(processes * BATCHES_PER_COUNTER)?;

    // Daemons end with this process, so that an error here leaves none behind.
    let start_counter = |_| Process::builder().daemon(true).spawn(count, batches.clone());
    let counters = (0..processes)
        .map(start_counter)
        .collect::<procession::Result<Vec<_>>>()?;
    let start_reader = |_| {
        Process::builder()
            .daemon(true)
            .spawn(read, (names.clone(), batches.clone()))
    };
    let mut readers = (0..processes.div_ceil(2))
        .map(start_reader)
        .collect::<procession::Result<Vec<_>>>()?;

    let mut unreadable = Vec::new();
    for reader in &mut readers {
        let lines = loop {
            match reader.join_timeout(TICK) {
                Err(Error::Timeout) => bar.set_position(bar.length().unwrap_or(0) - names.len() as u64),
                ended => break ended?,
            }
            // A counter ends early only if it was killed: its counts are lost, and `join` reports how it died.
            if counters.iter().any(|counter| !counter.is_alive()) {
                batches.shutdown();
            }
        };
        unreadable.extend(lines);
    }
    batches.shutdown(); // the counters finish what is there, and return
    bar.finish_and_clear();

    let mut counts = Counts::new();
    for counter in counters {
        for (word, count) in counter.join()? {
            *counts.entry(word).or_default() += count;
        }
    }
    Ok(Outcome { counts, unreadable })
}

/// Runs in a process of its own: reads files and passes their text on. Returns a line for each unreadable file.
fn read(names: Queue<OsString>, batches: Queue<String>) -> Vec<String> {
    let mut unreadable = Vec::new();
    for name in names.iter() {
        if let Err(error) = each_batch(Path::new(&name), |text| {
            batches.put(text).map_err(io::Error::other)
        }) {
            unreadable.push(format!("{}: {error}", name.display()));
        }
    }
    unreadable
}

/// Runs in a process of its own: counts the words of all batches that it can get.
fn count(batches: Queue<String>) -> Counts {
    let mut counts = Counts::new();
    for text in batches.iter() {
        count_words(&text, &mut counts);
    }
    counts
}

/// Passes on a file in pieces of about [`BATCH`] bytes, each of which ends at the end of a line.
fn each_batch(file: &Path, mut take: impl FnMut(String) -> io::Result<()>) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(BATCH, File::open(file)?);
    let mut batch = Vec::new();
    loop {
        reader.by_ref().take(BATCH as u64).read_to_end(&mut batch)?;
        reader.read_until(b'\n', &mut batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        take(String::from_utf8_lossy(&batch).into_owned())?;
        batch.clear();
    }
}

fn count_words(text: &str, counts: &mut Counts) {
    for word in text
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        if word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        {
            add(word, counts);
        } else {
            add(&word.to_lowercase(), counts);
        }
    }
}

fn add(word: &str, counts: &mut Counts) {
    match counts.get_mut(word) {
        Some(count) => *count += 1,
        None => _ = counts.insert(word.to_owned(), 1),
    }
}

/// Returns the files at and below some paths, and a line for each path that cannot be read.
fn find_files(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<String>) {
    let (mut files, mut unreadable) = (Vec::new(), Vec::new());
    let mut open = paths.to_vec();
    while let Some(path) = open.pop() {
        if !path.is_dir() {
            files.push(path);
            continue;
        }
        match fs::read_dir(&path) {
            Ok(entries) => open.extend(entries.flatten().filter(is_wanted).map(|entry| entry.path())),
            Err(error) => unreadable.push(format!("{}: {error}", path.display())),
        }
    }
    (files, unreadable)
}

/// Leaves out hidden files, folders that cargo has built, and everything that is neither a file nor a folder.
fn is_wanted(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    let hidden = name.as_encoded_bytes().starts_with(b".");
    let kind = entry.file_type();
    !hidden && kind.is_ok_and(|kind| kind.is_file() || (kind.is_dir() && name != "target"))
}

fn print_commonest(counts: Counts) -> io::Result<()> {
    let (different, all) = (counts.len(), counts.values().sum::<u64>());
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by(|(a, m), (b, n)| (Reverse(m), a).cmp(&(Reverse(n), b)));

    let mut table = String::new();
    for (word, count) in counts.iter().take(SHOWN) {
        _ = writeln!(table, "{count:>10}  {word}");
    }
    _ = writeln!(table, "{all:>10}  words, {different} of them different");
    io::stdout().write_all(table.as_bytes()) // in one piece, for `| head`
}

/// Makes a progress bar on standard error if that is a terminal, and otherwise a hidden one.
fn progress_bar(files: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} files").expect("the template is right");
    ProgressBar::new(files as u64).with_style(style)
}
