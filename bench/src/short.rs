//! The short table, for a terminal: our contender, the best rival, and how many times better ours is.

use std::fmt::Write;

use crate::contest::{Measured, Role};
use crate::table::number;

/// Maximum length of a contender's name; with the numbers a line has at most 100 characters.
const NAME: usize = 44;
const RIVAL: usize = 29;

/// Returns a line for each figure of each contender of ours, below the name of its group.
pub fn table(results: &[Measured]) -> String {
    let mut text = String::new();
    line(&mut text, "", "ours", ("", "best rival"), "ratio");
    let mut heading = String::new();
    for row in results.iter().filter(|row| row.role == Role::Ours) {
        let here = self::heading(row);
        if here != heading {
            let _ = writeln!(text, "{here}");
            heading = here;
        }
        let rival = best_rival(results, row);
        let value = |row: &Measured| row.median().map_or_else(|| "failed".to_owned(), number);
        line(
            &mut text,
            &format!("  {}", own_name(row.contender)),
            &value(row),
            rival.map_or((String::new(), ""), |rival| (value(rival), rival.contender)),
            &rival
                .and_then(|rival| ratio(row, rival))
                .map_or_else(String::new, number),
        );
    }
    text.push_str(
        "\nratio: how many times better ours is. `--markdown` prints all contenders, ranges and targets.\n",
    );
    text
}

fn line(text: &mut String, name: &str, ours: &str, rival: (impl AsRef<str>, &str), ratio: &str) {
    let (name, whose) = (cut(name, NAME), cut(rival.1, RIVAL));
    let rival = rival.0.as_ref();
    let line = format!("{name:<NAME$} {ours:>7} {rival:>9} {whose:<RIVAL$} {ratio:>6}");
    let _ = writeln!(text, "{}", line.trim_end());
}

/// Returns what a row is about, and its unit.
fn heading(row: &Measured) -> String {
    let figure = match row.figure.name {
        "" => String::new(),
        name => format!(": {name}"),
    };
    let unit = match row.figure.unit {
        "" => String::new(),
        unit => format!(" ({unit})"),
    };
    format!("{}{figure}{unit}", row.group)
}

/// Returns a contender's name without the project's name, with which all our contenders begin.
fn own_name(name: &str) -> &str {
    let rest = name
        .trim_start_matches("procession")
        .trim_start_matches([',', ' ']);
    if rest.is_empty() { name } else { rest }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// Returns the best of the rivals; if there is none, the best of the yardsticks.
fn best_rival<'a>(results: &'a [Measured], row: &Measured) -> Option<&'a Measured> {
    let best_of = |role: Role| {
        results
            .iter()
            .filter(|other| other.role == role && other.group == row.group && other.place == row.place)
            .filter(|other| other.median().is_some())
            .max_by(|a, b| ratio(a, b).unwrap_or(1.0).total_cmp(&1.0))
    };
    best_of(Role::Rival).or_else(|| best_of(Role::Yardstick))
}

/// Returns how many times better one is than the other, if that can be computed.
fn ratio(row: &Measured, other: &Measured) -> Option<f64> {
    let (own, other) = (row.median()?, other.median()?);
    let (better, worse) = if row.figure.more_is_better() {
        (own, other)
    } else {
        (other, own)
    };
    (worse > 0.0).then(|| better / worse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::Figure;

    fn row(contender: &'static str, role: Role, unit: &'static str, value: f64) -> Measured {
        Measured {
            group: "queue",
            contender,
            role,
            figure: Figure { name: "", unit },
            place: 0,
            values: vec![value],
            references: &[],
            targets: Vec::new(),
            failure: None,
        }
    }

    fn words(results: &[Measured]) -> Vec<String> {
        let text = table(results);
        let line = text.lines().nth(2).expect("a row");
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_best_rival_is_set_against_ours() {
        let mut results = vec![
            row("procession Queue", Role::Ours, "million/s", 12.0),
            row("slow", Role::Rival, "million/s", 2.0),
            row("fast", Role::Rival, "million/s", 3.0),
            row("memcpy", Role::Yardstick, "million/s", 100.0),
        ];
        assert_eq!(words(&results), ["Queue", "12", "3", "fast", "4"]);
        for row in &mut results {
            row.figure.unit = "ns";
        }
        assert_eq!(words(&results), ["Queue", "12", "2", "slow", "0.167"]);
    }

    #[test]
    fn a_yardstick_stands_in_for_rivals() {
        let results = [
            row("procession Queue", Role::Ours, "ns", 5.0),
            row("memcpy", Role::Yardstick, "ns", 1.0),
        ];
        assert_eq!(words(&results), ["Queue", "5", "1", "memcpy", "0.200"]);
    }

    #[test]
    fn lines_fit_a_terminal() {
        let long = "procession, with a name that is so long that nobody reads it to its very end";
        let results = [
            row(long, Role::Ours, "ns", 123_456.0),
            row(long, Role::Rival, "ns", 123_456.0),
        ];
        assert!(table(&results).lines().all(|line| line.chars().count() <= 100));
    }
}
