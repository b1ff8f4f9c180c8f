use super::RopeScaling;

/// Rotary position embedding: pairs of a head's features turn by angles that grow with the position, half-split as in
/// Llama: feature `i` turns with feature `i + width / 2`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Features of a head that turn; even.
    pub width: usize,
    /// Base of the frequencies.
    pub base: f64,
    /// How the frequencies are stretched, if they are.
    pub scaling: Option<RopeScaling>,
}

impl Rotary {
    /// Angle per position of each pair `[width / 2]`, scaling applied.
    pub fn inverse_frequencies(&self) -> Vec<f64> {
        (0..self.width / 2)
            .map(|i| {
                let plain = self.base.powf(-2.0 * i as f64 / self.width as f64);
                self.scaling.as_ref().map_or(plain, |scaling| scaling.apply(i, plain))
            })
            .collect()
    }

    /// What is wrong with the numbers, if anything is.
    pub(super) fn problem(&self) -> Option<String> {
        if !self.width.is_multiple_of(2) {
            return Some(format!("the head width is {}, but rotary positions need an even one", self.width));
        }
        if !(self.base.is_finite() && self.base > 0.0) {
            return Some(format!("the rotary base is {}", self.base));
        }
        self.scaling.as_ref().and_then(|scaling| scaling.problem(self.width))
    }
}
