use burn::tensor::Device;

use crate::device::is_cpu;

/// How large the dimensions of a pass are made.
///
/// A GPU compiles kernels for a shape, and tries several for each kind of product, when it meets it first. So what differs from
/// pass to pass, such as the number of tokens, is rounded up there to one of a few sizes. Nothing reads what pads a pass, and
/// it weighs nothing in a loss or a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// As large as needed.
    Exact,
    /// Rounded up.
    Buckets,
}

/// Sizes between a power of two and the next.
const STEPS: usize = 4;

impl Sizes {
    /// Those for a device.
    pub(crate) fn on(device: &Device) -> Self {
        if is_cpu(device) { Self::Exact } else { Self::Buckets }
    }

    /// The size of a dimension that needs this much; 0 stays 0.
    pub(crate) fn of(self, needed: usize) -> usize {
        match self {
            Self::Exact => needed,
            Self::Buckets => needed.next_multiple_of((needed.next_power_of_two() / (2 * STEPS)).max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_sizes_hold_whatever_is_needed() {
        let mut sizes: Vec<usize> = (0..=4096).map(|needed| Sizes::Buckets.of(needed)).collect();
        assert!(sizes.iter().enumerate().all(|(needed, size)| (needed..=needed + needed / STEPS).contains(size)));
        sizes.dedup();
        assert!(sizes.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(sizes.len(), 1 + 8 + 9 * STEPS);
        assert_eq!([0, 5, 9, 33, 1000].map(|needed| Sizes::Exact.of(needed)), [0, 5, 9, 33, 1000]);
    }
}
