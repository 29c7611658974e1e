//! Groups of contenders, and the rounds in which they are measured.

use crate::{Result, table};

/// How much work goes into a measurement.
#[derive(Clone, Copy)]
pub struct Effort {
    /// A fifth of the full work.
    pub quick: bool,
}

impl Effort {
    /// Returns `full`, or a fifth of it for a quick run.
    pub fn of(self, full: u64) -> u64 {
        if self.quick { full.div_ceil(5) } else { full }
    }
}

/// What a number counts.
#[derive(Clone, Copy)]
pub struct Figure {
    /// The figure's name within the group; empty if the group has only one figure.
    pub name: &'static str,
    /// The unit, written after the number. No ratios are computed of percentages.
    pub unit: &'static str,
}

impl Figure {
    /// Returns whether a larger number is better: true of rates and shares, not of times and sizes.
    pub fn more_is_better(&self) -> bool {
        self.unit.ends_with("/s") || self.unit == "%"
    }
}

/// The part that a contender plays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// This project's own.
    Ours,
    /// Another implementation of the same thing.
    Rival,
    /// It does less than the others do, and shows what is possible.
    Yardstick,
}

/// Contenders that do the same thing.
pub struct Group {
    /// The name, which begins the row.
    pub name: &'static str,
    /// What each contender measures.
    pub figures: &'static [Figure],
    /// Contenders of the group with which the others are compared.
    pub references: &'static [&'static str],
    /// The contenders, in the order in which they are measured.
    pub contenders: Vec<Contender>,
}

type Measure = Box<dyn Fn(Effort) -> Result<Vec<f64>>>;

/// One way to do what the group measures.
pub struct Contender {
    /// The implementation and the variant. This project's contenders begin with the project's name.
    pub name: &'static str,
    /// The part that it plays.
    pub role: Role,
    /// Measures the contender once, and returns one number for each figure of the group.
    pub measure: Measure,
    /// The targets that the contender is expected to reach.
    pub targets: Vec<Target>,
}

impl Contender {
    /// Returns a contender without targets.
    pub fn new(name: &'static str, measure: impl Fn(Effort) -> Result<Vec<f64>> + 'static) -> Self {
        let role = if name.starts_with("procession") {
            Role::Ours
        } else {
            Role::Rival
        };
        Self {
            name,
            role,
            measure: Box::new(measure),
            targets: Vec::new(),
        }
    }

    /// Makes the contender a yardstick instead of a rival.
    pub fn yardstick(mut self) -> Self {
        self.role = Role::Yardstick;
        self
    }

    /// Adds a target.
    pub fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }
}

/// A value that the median of a contender should reach.
#[derive(Clone, Copy)]
pub struct Target {
    /// The index of the figure in the group.
    pub figure: usize,
    /// The side on which the target lies.
    pub bound: Bound,
    /// The multiple of `with` that is to be reached.
    pub amount: f64,
    /// The value that the target is a multiple of.
    pub with: With,
}

/// The side on which a target lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// More is better.
    AtLeast,
    /// Less is better.
    AtMost,
}

/// The value that a target is a multiple of.
#[derive(Clone, Copy)]
pub enum With {
    /// The figure of another contender of the group.
    Rival(&'static str),
    /// The same contender's figure in another group.
    Itself(&'static str),
    /// No other value: the amount is in the figure's own unit.
    Unit,
    /// No other value, and the target is a hope: it is not counted.
    Aim,
}

/// Returns the target "at least `amount` times the figure of another contender of the group".
pub fn at_least(amount: f64, rival: &'static str) -> Target {
    Target {
        figure: 0,
        bound: Bound::AtLeast,
        amount,
        with: With::Rival(rival),
    }
}

/// Returns the target "at most `amount` times the figure of another contender of the group".
pub fn at_most(amount: f64, rival: &'static str) -> Target {
    Target {
        bound: Bound::AtMost,
        ..at_least(amount, rival)
    }
}

/// One row of the table: one figure of one contender.
pub struct Measured {
    /// The group's name.
    pub group: &'static str,
    /// The contender's name.
    pub contender: &'static str,
    /// The part that the contender plays.
    pub role: Role,
    /// The figure.
    pub figure: Figure,
    /// The figure's index in the group.
    pub place: usize,
    /// The values, one for each round, in ascending order.
    pub values: Vec<f64>,
    /// Contenders of the group with which this one is compared.
    pub references: &'static [&'static str],
    /// The targets of this figure.
    pub targets: Vec<Target>,
    /// Why there are fewer values than rounds.
    pub failure: Option<String>,
}

impl Measured {
    /// Returns the median; `None` if nothing could be measured.
    pub fn median(&self) -> Option<f64> {
        median(&self.values)
    }
}

/// Returns the median of values that are sorted.
pub fn median(ordered: &[f64]) -> Option<f64> {
    let middle = ordered.len() / 2;
    match ordered.len() {
        0 => None,
        n if n % 2 == 1 => Some(ordered[middle]),
        _ => Some(f64::midpoint(ordered[middle - 1], ordered[middle])),
    }
}

/// A contender in the rounds, and the position of its results: one for each figure, `stride` apart.
struct Contestant {
    measure: Measure,
    first: usize,
    stride: usize,
}

/// Measures every contender once in each round. A contender that fails is reported, and left out of later rounds.
pub fn hold(groups: Vec<Group>, rounds: u32, effort: Effort) -> Vec<Measured> {
    let (contestants, mut results) = enter(groups);
    for round in 1..=rounds {
        for (number, contestant) in contestants.iter().enumerate() {
            let row = &mut results[contestant.first];
            if row.failure.is_some() {
                continue;
            }
            let (group, contender) = (row.group, row.contender);
            eprint!(
                "round {round}/{rounds}, {}/{}: {group}, {contender}:",
                number + 1,
                contestants.len()
            );
            match (contestant.measure)(effort) {
                Ok(values) => {
                    let rows = results[contestant.first..].iter_mut().step_by(contestant.stride);
                    for (row, value) in rows.zip(values) {
                        eprint!(" {}{}", table::number(value), table::unit(row.figure.unit));
                        row.values.push(value);
                    }
                    eprintln!();
                }
                Err(error) => {
                    eprintln!(" failed: {error}");
                    row.failure = Some(error.to_string());
                }
            }
        }
    }
    for row in &mut results {
        row.values.sort_by(f64::total_cmp);
    }
    results
}

/// Returns the contestants, and an empty row for each figure of each contestant. The rows of one figure are adjacent.
fn enter(groups: Vec<Group>) -> (Vec<Contestant>, Vec<Measured>) {
    let mut contestants = Vec::new();
    let mut results = Vec::new();
    for group in groups {
        let first = results.len();
        let stride = group.contenders.len();
        for (place, &figure) in group.figures.iter().enumerate() {
            results.extend(group.contenders.iter().map(|contender| {
                Measured {
                    group: group.name,
                    contender: contender.name,
                    role: contender.role,
                    figure,
                    place,
                    values: Vec::new(),
                    references: group.references,
                    targets: contender
                        .targets
                        .iter()
                        .copied()
                        .filter(|target| target.figure == place)
                        .collect(),
                    failure: None,
                }
            }));
        }
        contestants.extend(
            group
                .contenders
                .into_iter()
                .enumerate()
                .map(|(number, contender)| Contestant {
                    measure: contender.measure,
                    first: first + number,
                    stride,
                }),
        );
    }
    (contestants, results)
}
