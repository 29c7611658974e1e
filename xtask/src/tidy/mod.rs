//! `cargo xtask tidy`: checks what the compiler does not: layers, names, lengths, documentation.
//!
//! Each rule is a function from the files to its findings, in a file of its own. The ratchet lists how many findings
//! each file still has; it may only shrink.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::child::{Failure, root};
use crate::step::Outcome;
use config::Config;
use finding::Finding;
use ratchet::Ratchet;
use rules::{RULES, Rule};
use tree::Tree;

mod cfg;
mod circles;
mod config;
mod dependencies;
mod finding;
mod function_docs;
mod imports;
mod invariants;
mod layers;
mod length;
mod mentions;
mod module_docs;
mod ratchet;
mod rooms;
mod rules;
mod system_calls;
mod tree;
mod width;
mod words;

/// The options of `cargo xtask tidy`.
#[derive(Args, Default)]
#[command(after_help = rules::help())]
pub struct Options {
    /// Rewrite the ratchet, if no rule finds more than before
    #[arg(long)]
    update: bool,

    /// With --update, let the ratchet grow for this rule, because the rule is stricter now (may be repeated)
    #[arg(long, value_name = "RULE", value_parser = RULES.map(|rule| rule.name), requires = "update")]
    accept: Vec<String>,

    /// Check only this rule (may be repeated)
    #[arg(long, value_name = "RULE", value_parser = RULES.map(|rule| rule.name), conflicts_with = "update")]
    rule: Vec<String>,

    /// Print all findings, including those that the ratchet allows
    #[arg(long)]
    all: bool,
}

/// Checks the tree according to the options.
pub fn tidy(options: &Options) -> ExitCode {
    match work(options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Checks the tree. This is a step of `cargo xtask test`.
///
/// # Errors
///
/// A file has more findings than the ratchet allows, or fewer.
pub fn check(_: Duration) -> Result<Outcome, Failure> {
    match work(&Options::default())? {
        0 => Ok(Outcome::Passed),
        count => Err(Failure::Other(format!(
            "{count} findings; see `cargo xtask tidy --help`"
        ))),
    }
}

/// Checks the tree, and returns the number of findings that the ratchet does not allow.
fn work(options: &Options) -> Result<usize, Failure> {
    let config = Config::read(&root().join("xtask/tidy.toml"))?;
    let place = root().join("xtask/tidy-ratchet.toml");
    let before = Ratchet::read(&place)?;
    let tree = Tree::read(root())?;

    let mut now = Ratchet::default();
    let mut count = 0;
    for rule in chosen(options) {
        let findings = (rule.check)(&tree, &config);
        now.add(rule.name, &findings);
        let new = |finding: &&Finding| {
            let amount = |ratchet: &Ratchet| ratchet.amount(rule.name, &finding.file);
            !options.update && amount(&now) > amount(&before)
        };
        count += findings.iter().filter(new).count();
        for finding in findings.iter().filter(|finding| options.all || new(finding)) {
            println!("{finding} [{}]", rule.name);
        }
        println!(
            "{:<20} {:>5} found, {:>5} allowed by the ratchet",
            rule.name,
            now.total(rule.name),
            before.total(rule.name)
        );
    }
    if options.update {
        update(options, &now, &before, &place)?;
        return Ok(0);
    }
    Ok(count + print_loose(options, &now, &before))
}

/// Returns the rules that the options name; all rules if they name none.
fn chosen(options: &Options) -> impl Iterator<Item = &Rule> {
    RULES
        .iter()
        .filter(|rule| options.rule.is_empty() || options.rule.iter().any(|name| name == rule.name))
}

/// Rewrites the ratchet.
///
/// # Errors
///
/// A rule finds more than before, and that was not accepted.
fn update(options: &Options, now: &Ratchet, before: &Ratchet, place: &Path) -> Result<(), Failure> {
    let mut grown = now.grown(before);
    grown.retain(|rule| !options.accept.iter().any(|accepted| accepted == rule));
    if grown.is_empty() {
        return now.write(place);
    }
    Err(Failure::Other(format!(
        "the ratchet may not grow ({}): `cargo xtask tidy` prints what to mend first",
        grown.join(", ")
    )))
}

/// Prints the files for which the ratchet allows more than is found, and returns their number.
fn print_loose(options: &Options, now: &Ratchet, before: &Ratchet) -> usize {
    let mut count = 0;
    for rule in chosen(options) {
        for line in now.shrunk(before, rule.name) {
            println!("{line}: run `cargo xtask tidy --update` [{}]", rule.name);
            count += 1;
        }
    }
    count
}
