//! The long table, in Markdown.

use std::fmt::Write;

use crate::contest::{Bound, Measured, Target, With};

/// Returns all results as a Markdown table, and a line that counts the targets.
pub fn table(results: &[Measured], rounds: u32) -> String {
    let mut lines = vec![
        ["what", "contender", "median", "range", "ratio", "target"].map(str::to_owned),
        ["---", "---", "---:", "---:", "---", "---"].map(str::to_owned),
    ];
    let (mut met, mut set) = (0, 0);
    for row in results {
        let unit = unit(row.figure.unit);
        let (median, range) = match row.values[..] {
            [] => ("-".to_owned(), String::new()),
            [only] => (format!("{}{unit}", number(only)), String::new()),
            [least, .., most] => (
                row.median()
                    .map(|m| format!("{}{unit}", number(m)))
                    .unwrap_or_default(),
                format!("{} to {}", number(least), number(most)),
            ),
        };
        let mut remarks = Vec::new();
        for target in &row.targets {
            let (text, reached) = verdict(results, row, target);
            remarks.push(text);
            if let Some(reached) = reached
                && !matches!(target.with, With::Aim)
            {
                set += 1;
                met += u32::from(reached);
            }
        }
        if let Some(reason) = &row.failure {
            remarks.push(format!("**failed**: {}", reason.replace(['|', '\n'], " ")));
        }
        let what = match row.figure.name {
            "" => row.group.to_owned(),
            name => format!("{}: {name}", row.group),
        };
        lines.push([
            what,
            row.contender.to_owned(),
            median,
            range,
            ratios(results, row),
            remarks.join("; "),
        ]);
    }

    let mut text = align(&lines);
    let times = if rounds == 1 {
        "one round".to_owned()
    } else {
        format!("medians of {rounds} rounds")
    };
    let _ = writeln!(
        text,
        "\n{times}, all contenders in each; {met} of {set} targets met"
    );
    text
}

/// Returns a text about a target, and whether the target is met, if that was measured.
fn verdict(results: &[Measured], row: &Measured, target: &Target) -> (String, Option<bool>) {
    let Target { amount, bound, .. } = *target;
    let own = unit(row.figure.unit);
    let (goal, standard) = match target.with {
        With::Unit => (format!("{amount}{own}"), Some(1.0)),
        With::Aim => (format!("{amount}{own} hoped for"), Some(1.0)),
        With::Rival(rival) => (
            format!("{amount} × {rival}"),
            find(results, row.group, rival, row.place),
        ),
        With::Itself(group) => (
            format!("{amount} × that of {group}"),
            find(results, group, row.contender, row.place),
        ),
    };
    let (sign, holds) = match bound {
        Bound::AtLeast => ("≥", f64::ge as fn(&f64, &f64) -> bool),
        Bound::AtMost => ("≤", f64::le as fn(&f64, &f64) -> bool),
    };
    let (Some(median), Some(standard)) = (row.median(), standard) else {
        return (format!("not measured: {sign} {goal}"), None);
    };
    let ratio = median / standard;
    let reached = holds(&ratio, &amount);
    let word = if reached { "met" } else { "**missed**" };
    (
        format!("{word}: {} ({sign} {goal})", number(ratio)),
        Some(reached),
    )
}

/// Returns the ratios of the row to the references of its group.
fn ratios(results: &[Measured], row: &Measured) -> String {
    let ratio = |reference: &&'static str| {
        if *reference == row.contender {
            return Some("reference".to_owned());
        }
        let standard = find(results, row.group, reference, row.place)?;
        // No number is a multiple of zero.
        (standard > 0.0).then(|| {
            format!(
                "{} × {reference}",
                number(row.median().unwrap_or(f64::NAN) / standard)
            )
        })
    };
    if row.values.is_empty() || row.figure.unit == "%" {
        return String::new();
    }
    row.references
        .iter()
        .filter_map(ratio)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Returns the median of another row.
fn find(results: &[Measured], group: &str, contender: &str, place: usize) -> Option<f64> {
    results
        .iter()
        .find(|row| row.group == group && row.contender == contender && row.place == place)?
        .median()
}

/// Returns a number as text with three significant digits.
pub fn number(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        _ if value.fract() == 0.0 && size < 1e6 => 0,
        _ if size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// Returns a unit as it is written after a number.
pub fn unit(unit: &str) -> String {
    if unit.is_empty() {
        String::new()
    } else {
        format!(" {unit}")
    }
}

/// Fills the cells of each column to one width, so that the table is readable as plain text too.
fn align<const N: usize>(lines: &[[String; N]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for line in lines {
        for (cell, width) in line.iter().zip(widths) {
            let fill = " ".repeat(width - cell.chars().count());
            let _ = write!(text, "| {cell}{fill} ");
        }
        text.push_str("|\n");
    }
    text
}
