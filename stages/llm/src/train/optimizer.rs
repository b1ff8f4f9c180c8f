use super::TrainConfig;

/// AdamW with decoupled weight decay, as `torch.optim.AdamW` computes it, over the adapter's values on the host.
///
/// An adapter is small beside the model, so one pass here costs about one percent of a step and gives the same bits
/// whatever the device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AdamW {
    /// First moment of each value.
    pub(crate) first: Vec<f32>,
    /// Second moment of each value.
    pub(crate) second: Vec<f32>,
}

impl AdamW {
    pub(crate) fn new(values: usize) -> Self {
        Self { first: vec![0.0; values], second: vec![0.0; values] }
    }

    /// Moves `values` by one step; `step` counts from 1.
    pub(crate) fn step(&mut self, values: &mut [f32], gradient: &[f32], rate: f64, step: u64, config: &TrainConfig) {
        let [beta1, beta2] = config.betas;
        let power = i32::try_from(step).unwrap_or(i32::MAX);
        let size = (rate / (1.0 - beta1.powi(power))) as f32;
        let root = (1.0 - beta2.powi(power)).sqrt() as f32;
        let keep = (1.0 - rate * config.weight_decay) as f32;
        let (beta1, beta2, epsilon) = (beta1 as f32, beta2 as f32, config.epsilon as f32);
        for (((value, g), m), v) in values.iter_mut().zip(gradient).zip(&mut self.first).zip(&mut self.second) {
            *m += (g - *m) * (1.0 - beta1);
            *v = *v * beta2 + g * g * (1.0 - beta2);
            *value = *value * keep - size * (*m / (v.sqrt() / root + epsilon));
        }
    }
}

/// Scales a gradient down to a global norm, as `torch.nn.utils.clip_grad_norm_` does; returns the norm before.
pub(crate) fn clip(gradient: &mut [f32], max_norm: f64) -> f64 {
    let norm = gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt();
    let factor = max_norm / (norm + 1e-6);
    if max_norm > 0.0 && factor < 1.0 {
        for g in gradient {
            *g *= factor as f32;
        }
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: `torch.optim.AdamW(lr=0.1, weight_decay=0.01)` on [1, −2, 3] with gradients [0.1, −0.2, 0.3], then [0.3, 0.1, −0.2].
    #[test]
    fn two_steps_equal_torch() {
        let config = TrainConfig::default();
        let mut values = vec![1.0, -2.0, 3.0];
        let mut adam = AdamW::new(3);
        adam.step(&mut values, &[0.1, -0.2, 0.3], 0.1, 1, &config);
        for (value, expected) in values.iter().zip([0.899, -1.898, 2.897]) {
            assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        }
        adam.step(&mut values, &[0.3, 0.1, -0.2], 0.1, 2, &config);
        for (value, expected) in values.iter().zip([0.806_322_9, -1.869_468_3, 2.879_651]) {
            assert!((value - expected).abs() < 1e-5, "{value} {expected}");
        }
    }

    #[test]
    fn clipping_scales_the_whole_gradient() {
        let mut gradient = vec![3.0, 4.0];
        assert!((clip(&mut gradient, 1.0) - 5.0).abs() < 1e-12);
        assert!((gradient[0] - 0.6).abs() < 1e-6 && (gradient[1] - 0.8).abs() < 1e-6);
        clip(&mut gradient, 0.0);
        assert!((gradient[1] - 0.8).abs() < 1e-6);
    }
}
