//! Groups of contenders, and the rounds in which they are measured.

use crate::{Result, table};

/// How much work goes into a measurement.
#[derive(Clone, Copy)]
pub struct Effort {
    /// A fifth of it.
    pub quick: bool,
}

impl Effort {
    /// `full`, or less where it is to be quick.
    pub fn of(self, full: u64) -> u64 {
        if self.quick { full.div_ceil(5) } else { full }
    }
}

/// What a number counts.
#[derive(Clone, Copy)]
pub struct Figure {
    /// Told apart from the group's other figures by this; empty if there is but one.
    pub name: &'static str,
    /// Written behind the number; what is a percentage is not set in proportion.
    pub unit: &'static str,
}

impl Figure {
    /// Tells whether a larger number is the better one: rates and shares, not times and sizes.
    pub fn more_is_better(&self) -> bool {
        self.unit.ends_with("/s") || self.unit == "%"
    }
}

/// What a contender is there for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is this project's.
    Ours,
    /// It does the same.
    Rival,
    /// It does less than is asked for, and shows what is possible.
    Yardstick,
}

/// Contenders that do the same thing.
pub struct Group {
    /// The row's first words.
    pub name: &'static str,
    /// What each contender measures.
    pub figures: &'static [Figure],
    /// Contenders of the group to which the others are set in proportion.
    pub references: &'static [&'static str],
    /// In the order in which they are measured.
    pub contenders: Vec<Contender>,
}

type Measure = Box<dyn Fn(Effort) -> Result<Vec<f64>>>;

/// One way to do it.
pub struct Contender {
    /// Who, and how. What is ours begins with the project's name.
    pub name: &'static str,
    /// What it is there for.
    pub role: Role,
    /// Measures it once: one number for each figure of the group.
    pub measure: Measure,
    /// What it is expected to reach.
    pub targets: Vec<Target>,
}

impl Contender {
    /// A contender that nothing is expected of.
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

    /// Makes it a yardstick, and no rival.
    pub fn yardstick(mut self) -> Self {
        self.role = Role::Yardstick;
        self
    }

    /// Expects something of it.
    pub fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }
}

/// Something to be reached by the median of a contender.
#[derive(Clone, Copy)]
pub struct Target {
    /// Which of the group's figures.
    pub figure: usize,
    /// Whether more is better.
    pub bound: Bound,
    /// How much of what it is compared with.
    pub amount: f64,
    /// What it is compared with.
    pub with: With,
}

/// On which side the target lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// More is better.
    AtLeast,
    /// Less is better.
    AtMost,
}

/// What a target is a multiple of.
#[derive(Clone, Copy)]
pub enum With {
    /// The figure of another contender of the group.
    Rival(&'static str),
    /// The same contender's figure in another group.
    Itself(&'static str),
    /// Nothing: the amount is in the figure's own unit.
    Unit,
    /// Nothing, and it is not demanded but only hoped for.
    Aim,
}

/// At least so many times what another contender of the group reaches.
pub fn at_least(amount: f64, rival: &'static str) -> Target {
    Target {
        figure: 0,
        bound: Bound::AtLeast,
        amount,
        with: With::Rival(rival),
    }
}

/// At most so many times what another contender of the group takes.
pub fn at_most(amount: f64, rival: &'static str) -> Target {
    Target {
        bound: Bound::AtMost,
        ..at_least(amount, rival)
    }
}

/// One row's worth: a figure of a contender.
pub struct Measured {
    /// The group's name.
    pub group: &'static str,
    /// The contender's name.
    pub contender: &'static str,
    /// What the contender is there for.
    pub role: Role,
    /// Which of its figures.
    pub figure: Figure,
    /// Its place among the figures.
    pub place: usize,
    /// One for each round, in ascending order.
    pub values: Vec<f64>,
    /// Contenders of the group to be set in proportion with.
    pub references: &'static [&'static str],
    /// What this figure is expected to reach.
    pub targets: Vec<Target>,
    /// Why there are fewer values than rounds.
    pub failure: Option<String>,
}

impl Measured {
    /// The value in the middle; `None` if nothing could be measured.
    pub fn median(&self) -> Option<f64> {
        median(&self.values)
    }
}

/// The value in the middle of some that are in order.
pub fn median(ordered: &[f64]) -> Option<f64> {
    let middle = ordered.len() / 2;
    match ordered.len() {
        0 => None,
        n if n % 2 == 1 => Some(ordered[middle]),
        _ => Some(f64::midpoint(ordered[middle - 1], ordered[middle])),
    }
}

/// A contender in the rounds, and where its results go: one for each figure, `stride` apart.
struct Contestant {
    measure: Measure,
    first: usize,
    stride: usize,
}

/// Measures every contender once a round. One that fails is told of and left out from then on.
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

/// The contestants, and a row without values for each figure of each: those of one figure together.
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
