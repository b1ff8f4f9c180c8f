use rayon::prelude::*;

use crate::CheckpointError;

/// Values one thread checks at a time.
const BLOCK: usize = 1 << 16;

/// One tensor in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Sizes, outermost first: a projection is `[out, in]`.
    pub shape: Vec<usize>,
    /// The values, row by row.
    pub values: Vec<f32>,
}

impl HostTensor {
    /// Refuses NaN and infinity: one such weight turns every output into NaN, long after the cause.
    pub(crate) fn check_finite(self, name: &str) -> Result<Self, CheckpointError> {
        // In blocks: a search over single values would spend more on finding out where others already found one.
        let bad = self.values.par_chunks(BLOCK).enumerate().find_map_first(|(block, values)| {
            Some(block * BLOCK + values.iter().position(|value| !value.is_finite())?)
        });
        match bad {
            None => Ok(self),
            Some(at) => Err(CheckpointError::new(
                "weights::not_finite",
                format!("the weight `{name}` holds {} at position {:?}", self.values[at], position(at, &self.shape)),
            )
            .with_help("the file is damaged or the model was saved after training diverged; fetch it again")),
        }
    }
}

/// The index along each dimension of the value at a flat position.
fn position(flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = flat;
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|size| {
            let at = rest % size;
            rest /= size;
            at
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bad_value_is_named() {
        let mut values = vec![0.5; 12];
        values[7] = f32::NAN;
        values[9] = f32::INFINITY;
        let error = HostTensor { shape: vec![3, 4], values }.check_finite("w").unwrap_err();
        assert_eq!(error.message(), "the weight `w` holds NaN at position [1, 3]");
    }
}
