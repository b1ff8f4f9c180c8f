use serde::{Deserialize, Serialize};

/// A range that holds the true value with the confidence it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether zero lies outside.
    pub fn excludes_zero(self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }

    /// Whether all of it lies within `-margin..=margin`.
    pub fn within(self, margin: f64) -> bool {
        -margin <= self.low && self.high <= margin
    }
}
