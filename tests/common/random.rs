//! Random numbers that a test can repeat, and the number of repetitions.

/// xorshift64*: good enough to choose moments and sizes.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.below(2);
        random
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

/// Returns `n`; ten times `n` if `PROCESSION_LONG` is set, or a fifth of it in a debug build.
pub fn long(n: u64) -> u64 {
    if std::env::var_os("PROCESSION_LONG").is_some() {
        10 * n
    } else if cfg!(debug_assertions) {
        // The optimised test run does all of them.
        n / 5
    } else {
        n
    }
}
