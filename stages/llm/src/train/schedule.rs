use super::{Schedule, TrainConfig, Warmup};

/// The learning rate of optimizer step `step` (from 0) out of `total`; formulas of transformers' `get_*_schedule_with_warmup`.
pub(crate) fn learning_rate(config: &TrainConfig, step: u64, total: u64) -> f64 {
    let warmup = match config.warmup {
        Warmup::Steps(steps) => steps,
        Warmup::Ratio(ratio) => (total as f64 * ratio).ceil() as u64,
    };
    let factor = if step < warmup {
        step as f64 / warmup as f64
    } else {
        let left = total.saturating_sub(step) as f64 / total.saturating_sub(warmup).max(1) as f64;
        match config.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => left,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * (1.0 - left)).cos()),
        }
    };
    config.learning_rate * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, warmup: Warmup) -> Vec<f64> {
        let config = TrainConfig { learning_rate: 1.0, schedule, warmup, ..TrainConfig::default() };
        (0..10).map(|step| (learning_rate(&config, step, 10) * 1e4).round() / 1e4).collect()
    }

    /// Expected values: `transformers.get_scheduler(name, optimizer, 2, 10)`, rounded to four digits.
    #[test]
    fn rates_are_those_of_transformers() {
        assert_eq!(rates(Schedule::Constant, Warmup::Steps(2)), [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(
            rates(Schedule::Linear, Warmup::Ratio(0.2)),
            [0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
        );
        assert_eq!(
            rates(Schedule::Cosine, Warmup::Steps(2)),
            [0.0, 0.5, 1.0, 0.9619, 0.8536, 0.6913, 0.5, 0.3087, 0.1464, 0.0381]
        );
    }

    #[test]
    fn no_warm_up_starts_at_the_top() {
        assert!((rates(Schedule::Linear, Warmup::Ratio(0.0))[0] - 1.0).abs() < 1e-12);
    }
}
