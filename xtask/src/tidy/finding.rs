//! What a rule finds.

use std::fmt;

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: String,
    pub line: usize,
    /// What is wrong, and what to do.
    pub text: String,
    /// How much is wrong: this counts for the ratchet.
    pub amount: usize,
}

impl Finding {
    /// Makes one that counts as one.
    pub fn new(file: &str, line: usize, text: String) -> Self {
        Self {
            file: file.to_owned(),
            line,
            text,
            amount: 1,
        }
    }

    /// Makes it count for more.
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
