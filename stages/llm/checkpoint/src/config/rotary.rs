use super::RopeScaling;

/// Rotary position embedding: pairs of a head's first features turn by angles that grow with the position.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Features of a head that turn; even. The others stay as they are.
    pub width: usize,
    /// Which features are a pair.
    pub pairs: RotaryPairs,
    /// Base of the frequencies.
    pub base: f64,
    /// How the frequencies are stretched, if they are.
    pub scaling: Option<RopeScaling>,
}

/// Which features turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotaryPairs {
    /// Feature `i` with feature `i + width / 2`.
    Halves,
    /// Feature `2 i` with feature `2 i + 1`.
    Neighbours,
}

impl Rotary {
    /// Angle per position of each pair `[width / 2]`, scaling applied.
    ///
    /// `longest` is the length of the longest row of a pass: as in transformers, `longrope` turns all rows of a pass by its
    /// long factors once one of them is longer than the positions before stretching.
    pub fn inverse_frequencies(&self, longest: usize) -> Vec<f64> {
        (0..self.width / 2)
            .map(|i| {
                let plain = self.base.powf(-2.0 * i as f64 / self.width as f64);
                self.scaling.as_ref().map_or(plain, |scaling| scaling.apply(i, plain, longest))
            })
            .collect()
    }

    /// What cosines and sines are multiplied by.
    pub fn magnitude(&self) -> f32 {
        self.scaling.as_ref().map_or(1.0, RopeScaling::magnitude)
    }

    /// What is wrong with the numbers, if anything is.
    pub(super) fn problem(&self, head_dim: usize) -> Option<String> {
        if self.width == 0 || self.width > head_dim || !self.width.is_multiple_of(2) {
            return Some(format!(
                "{} features of a head of {head_dim} have rotary positions, which needs an even number of them",
                self.width
            ));
        }
        if !(self.base.is_finite() && self.base > 0.0) {
            return Some(format!("the rotary base is {}", self.base));
        }
        self.scaling.as_ref().and_then(|scaling| scaling.problem(self.width))
    }
}
