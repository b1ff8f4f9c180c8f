use rayon::prelude::*;

use super::{TrainConfig, ValueGroup};

/// Values that one task moves or adds up, at most; also the order of the sums.
const VALUES_PER_TASK: usize = 1 << 16;

/// Sums of squares that are added to in turn.
const SUMS: usize = 16;

/// AdamW with decoupled weight decay, as `torch.optim.AdamW` computes it, over the trained values on the host.
///
/// What is trained is small beside the model or at most as large, so one pass here costs a few percent of a step and gives
/// the same bits whatever the device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AdamW {
    /// First moment of each value.
    pub(crate) first: Vec<f32>,
    /// Second moment of each value.
    pub(crate) second: Vec<f32>,
}

/// What moves values in one step.
#[derive(Clone, Copy)]
pub(crate) struct Step<'a> {
    /// Counts from 1.
    pub(crate) number: u64,
    pub(crate) rate: f64,
    /// What the gradient is multiplied by first, as [`clipping`] found.
    pub(crate) factor: f32,
    /// In order, without overlaps; what they leave out moves at `rate` and decays.
    pub(crate) groups: &'a [ValueGroup],
    pub(crate) config: &'a TrainConfig,
}

impl AdamW {
    pub(crate) fn new(values: usize) -> Self {
        Self { first: zeros(values), second: zeros(values) }
    }

    /// Moves `values` by one step. The gradient is zero afterwards: everything is in the caches only once.
    pub(crate) fn step(&mut self, values: &mut [f32], gradient: &mut [f32], step: &Step<'_>) {
        let plain = Pace::new(step, 1.0, true);
        let (mut parts, mut start) = (Vec::with_capacity(2 * step.groups.len() + 1), 0);
        let mut rest = Part { values, gradient, first: &mut self.first, second: &mut self.second };
        for group in step.groups {
            parts.push((rest.split_off(group.values.start - start), plain));
            parts.push((rest.split_off(group.values.len()), Pace::new(step, group.rate, group.decays)));
            start = group.values.end;
        }
        parts.push((rest, plain));
        parts.into_par_iter().for_each(|(part, pace)| part.step(pace));
    }
}

/// Values that move alike, with what belongs to each of them.
struct Part<'a> {
    values: &'a mut [f32],
    gradient: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

/// How values of a group move in a step.
#[derive(Clone, Copy)]
struct Pace {
    betas: [f32; 2],
    epsilon: f32,
    /// The learning rate, with the bias of the first moment taken off.
    size: f32,
    /// What the root of the second moment is multiplied by to take its bias off: the processor waits for divisions more than for memory.
    unbiased: f32,
    /// What weight decay leaves.
    keep: f32,
    /// What the gradient is multiplied by.
    factor: f32,
}

impl Pace {
    /// Of values that move at some times the rate of a step.
    fn new(step: &Step<'_>, times: f64, decays: bool) -> Self {
        let Step { number, rate, factor, config, .. } = *step;
        let ([beta1, beta2], rate) = (config.betas, rate * times);
        let power = i32::try_from(number).unwrap_or(i32::MAX);
        Self {
            betas: [beta1 as f32, beta2 as f32],
            epsilon: config.epsilon as f32,
            size: (rate / (1.0 - beta1.powi(power))) as f32,
            unbiased: (1.0 - beta2.powi(power)).sqrt().recip() as f32,
            keep: if decays { (1.0 - rate * config.weight_decay) as f32 } else { 1.0 },
            factor,
        }
    }
}

impl Part<'_> {
    /// Takes the first `count` values off.
    fn split_off(&mut self, count: usize) -> Self {
        const LONG: &str = "invariant: groups lie within the values, in order";
        Self {
            values: self.values.split_off_mut(..count).expect(LONG),
            gradient: self.gradient.split_off_mut(..count).expect(LONG),
            first: self.first.split_off_mut(..count).expect(LONG),
            second: self.second.split_off_mut(..count).expect(LONG),
        }
    }

    fn step(self, pace: Pace) {
        let Pace { betas: [beta1, beta2], epsilon, size, unbiased, keep, factor } = pace;
        self.values
            .par_chunks_mut(VALUES_PER_TASK)
            .zip(self.gradient.par_chunks_mut(VALUES_PER_TASK))
            .zip(self.first.par_chunks_mut(VALUES_PER_TASK))
            .zip(self.second.par_chunks_mut(VALUES_PER_TASK))
            .for_each(|(((values, gradient), first), second)| {
                for (((value, gradient), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
                    let g = std::mem::take(gradient) * factor;
                    *m += (g - *m) * (1.0 - beta1);
                    *v = *v * beta2 + g * g * (1.0 - beta2);
                    *value = *value * keep - size * (*m / (v.sqrt() * unbiased + epsilon));
                }
            });
    }
}

/// Zeros that were written. Memory that is read before it is written to is first mapped to one page of zeros and then, page by page, to its own, for
/// which all cores are interrupted each time.
pub(crate) fn zeros(count: usize) -> Vec<f32> {
    (0..count).into_par_iter().with_min_len(VALUES_PER_TASK).map(|_| 0.0).collect()
}

/// The global norm of a gradient, and what scales it down to `max_norm` where it is beyond, as `torch.nn.utils.clip_grad_norm_` does.
pub(crate) fn clipping(gradient: &[f32], max_norm: f64) -> (f64, f32) {
    let square = |part: &[f32]| {
        // Several sums side by side, so that none waits for the number before.
        let (chunks, rest) = part.as_chunks::<SUMS>();
        let mut sums = [0f64; SUMS];
        for chunk in chunks {
            sums.iter_mut().zip(chunk).for_each(|(sum, g)| *sum += f64::from(*g) * f64::from(*g));
        }
        sums.iter().sum::<f64>() + rest.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>()
    };
    let parts: Vec<f64> = gradient.par_chunks(VALUES_PER_TASK).map(square).collect();
    let norm = parts.iter().sum::<f64>().sqrt();
    let factor = max_norm / (norm + 1e-6);
    (norm, if max_norm > 0.0 && factor < 1.0 { factor as f32 } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step_of<'a>(number: u64, groups: &'a [ValueGroup], config: &'a TrainConfig) -> Step<'a> {
        Step { number, rate: 0.1, factor: 1.0, groups, config }
    }

    /// Expected values: `torch.optim.AdamW(lr=0.1, weight_decay=0.01)` on [1, −2, 3] with gradients [0.1, −0.2, 0.3], then [0.3, 0.1, −0.2].
    #[test]
    fn two_steps_equal_torch() {
        let config = TrainConfig::default();
        let mut values = vec![1.0, -2.0, 3.0];
        let mut adam = AdamW::new(3);
        let mut gradient = [0.1, -0.2, 0.3];
        adam.step(&mut values, &mut gradient, &step_of(1, &[], &config));
        for (value, expected) in values.iter().zip([0.899, -1.898, 2.897]) {
            assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        }
        assert!(gradient.iter().all(|value| *value == 0.0));
        // The gradient is twice as large before it is scaled down.
        let halved = Step { factor: 0.5, ..step_of(2, &[], &config) };
        adam.step(&mut values, &mut [0.6, 0.2, -0.4], &halved);
        for (value, expected) in values.iter().zip([0.806_322_9, -1.869_468_3, 2.879_651]) {
            assert!((value - expected).abs() < 1e-5, "{value} {expected}");
        }
    }

    /// Expected values: the same with one parameter group for each value, the second with lr=0.2, the third without decay.
    #[test]
    fn groups_have_their_own_rate_and_decay() {
        let config = TrainConfig { weight_decay: 0.1, ..TrainConfig::default() };
        let mut values = vec![1.0, -2.0, 3.0];
        let groups = [
            ValueGroup { values: 1..2, rate: 2.0, decays: true },
            ValueGroup { values: 2..3, rate: 1.0, decays: false },
        ];
        AdamW::new(3).step(&mut values, &mut [0.1, -0.2, 0.3], &step_of(1, &groups, &config));
        for (value, expected) in values.iter().zip([0.89, -1.76, 2.9]) {
            assert!((value - expected).abs() < 1e-5, "{value} {expected}");
        }
    }

    #[test]
    fn clipping_scales_the_whole_gradient() {
        let (norm, factor) = clipping(&[3.0, 4.0], 1.0);
        assert!((norm - 5.0).abs() < 1e-12);
        assert!((3.0 * factor - 0.6).abs() < 1e-6 && (4.0 * factor - 0.8).abs() < 1e-6);
        for (gradient, max_norm) in [([0.6, 0.8], 2.0), ([3.0, 4.0], 0.0)] {
            assert!((clipping(&gradient, max_norm).1 - 1.0).abs() < 1e-9);
        }
    }
}
