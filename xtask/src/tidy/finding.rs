//! A finding of a rule.

use std::fmt;

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: String,
    pub line: usize,
    /// The text: what is wrong, and what to do.
    pub text: String,
    /// The weight of the finding, which the ratchet adds up.
    pub amount: usize,
}

impl Finding {
    /// Makes a finding of weight one.
    pub fn new(file: &str, line: usize, text: String) -> Self {
        Self {
            file: file.to_owned(),
            line,
            text,
            amount: 1,
        }
    }

    /// Returns the finding with another weight.
    pub fn amount(mut self, amount: usize) -> Self {
        self.amount = amount;
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}
