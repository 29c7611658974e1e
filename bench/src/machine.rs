//! The machine and the versions with which the figures were measured.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the machine, commit, date, compiler and the versions of the rivals, one line each.
pub fn describe(quick: bool) -> String {
    let unknown = || "unknown".to_owned();
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "* {name}: {value}");
    };
    line(
        "machine",
        format!(
            "{}, {} processors, Linux {}, load {} at the start",
            processor().unwrap_or_else(unknown),
            procession::cpu_count(),
            file("/proc/sys/kernel/osrelease").unwrap_or_else(unknown),
            file("/proc/loadavg")
                .and_then(|text| Some(text.split(' ').next()?.to_owned()))
                .unwrap_or_else(unknown),
        ),
    );
    line("commit", commit().unwrap_or_else(unknown));
    line("date", date());
    line(
        "compiler",
        output("rustc", &["--version"]).unwrap_or_else(unknown),
    );
    line(
        "against",
        ["ipc-channel", "crossbeam-channel"]
            .map(|name| format!("{name} {}", version(name).unwrap_or("of an unknown version")))
            .join(", "),
    );
    if quick {
        line(
            "quick",
            "with a fifth of the work, so take the figures as a first impression".to_owned(),
        );
    }
    text
}

fn file(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// Runs a program in this workspace's folder, and returns its output if it succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn processor() -> Option<String> {
    let text = file("/proc/cpuinfo")?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn commit() -> Option<String> {
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"])?;
    let clean = output("git", &["status", "--porcelain"])?.is_empty();
    Some(if clean {
        commit
    } else {
        format!("{commit} and changes not committed")
    })
}

/// Returns the version of a dependency that this program was built with.
fn version(name: &str) -> Option<&'static str> {
    let lock = include_str!("../Cargo.lock");
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0)
}

/// Returns the date and the time in UTC.
fn date() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    let minute = seconds / 60 % 1440;
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02} UTC",
        minute / 60,
        minute % 60
    )
}

/// Returns the year, month and day that is `days` days after 1 January 1970.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_of_the_calendar() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_453), (2025, 12, 31));
    }
}
