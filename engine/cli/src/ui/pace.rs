use std::time::{Duration, Instant};

use refit_engine::stage::Progress;

use super::{bytes, duration};

/// How fast a step moves, measured from where it was first seen: a step that resumes does not begin at zero.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    begin: Instant,
    first: Option<(Duration, Progress)>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { begin: Instant::now(), first: None }
    }

    /// `120/340 rows · 12.3/s · loss 1.234 · 2 min 05 s left · epoch 2/4`.
    pub(super) fn text(&mut self, progress: &Progress) -> String {
        let elapsed = self.begin.elapsed();
        self.text_at(progress, elapsed)
    }

    fn text_at(&mut self, progress: &Progress, elapsed: Duration) -> String {
        // Another unit or total, or a smaller count, is another phase of the step.
        let same = |first: &Progress| {
            first.unit == progress.unit && first.total == progress.total && first.done <= progress.done
        };
        if !self.first.as_ref().is_some_and(|(_, first)| same(first)) {
            self.first = Some((elapsed, progress.clone()));
        }
        let rate = self.first.as_ref().and_then(|(since, first)| {
            let seconds = elapsed.saturating_sub(*since).as_secs_f64();
            let done = progress.done.saturating_sub(first.done);
            (seconds > 0.0 && done > 0).then(|| done as f64 / seconds)
        });
        let in_bytes = progress.unit == "bytes";
        let mut parts = vec![match (progress.total, in_bytes) {
            (0, true) => bytes(progress.done),
            (0, false) => format!("{} {}", progress.done, progress.unit),
            (total, true) => format!("{}/{}", bytes(progress.done), bytes(total)),
            (total, false) => format!("{}/{total} {}", progress.done, progress.unit),
        }];
        if let Some(rate) = rate {
            parts.push(if in_bytes { format!("{}/s", bytes(rate as u64)) } else { per_second(rate) });
        }
        parts.extend(progress.loss.map(|loss| format!("loss {loss:.4}")));
        if let Some(rate) = rate.filter(|_| progress.total > progress.done) {
            parts.push(format!("{} left", duration((progress.total - progress.done) as f64 / rate)));
        }
        parts.extend(progress.note.clone());
        parts.join(" · ")
    }
}

fn per_second(rate: f64) -> String {
    match rate {
        ..10.0 => format!("{rate:.2}/s"),
        10.0..100.0 => format!("{rate:.1}/s"),
        _ => format!("{rate:.0}/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: u64, total: u64, unit: &str) -> Progress {
        Progress { done, total, unit: unit.into(), ..Progress::default() }
    }

    #[test]
    fn a_resumed_step_is_not_taken_for_a_fast_one() {
        let mut pace = Pace::new();
        assert_eq!(pace.text_at(&progress(80, 100, "steps"), Duration::from_secs(1)), "80/100 steps");
        assert_eq!(
            pace.text_at(
                &Progress { loss: Some(1.25), note: Some("epoch 2/4".into()), ..progress(85, 100, "steps") },
                Duration::from_secs(11)
            ),
            "85/100 steps · 0.50/s · loss 1.2500 · 30.0 s left · epoch 2/4"
        );
    }

    #[test]
    fn a_new_phase_begins_a_new_pace_and_bytes_read_as_bytes() {
        let mut pace = Pace::new();
        pace.text_at(&progress(0, 100, "steps"), Duration::from_secs(0));
        assert_eq!(pace.text_at(&progress(0, 0, "rows"), Duration::from_secs(10)), "0 rows");
        assert_eq!(pace.text_at(&progress(1024, 4096, "bytes"), Duration::from_secs(11)), "1.0 KiB/4.0 KiB");
        assert_eq!(
            pace.text_at(&progress(3072, 4096, "bytes"), Duration::from_secs(12)),
            "3.0 KiB/4.0 KiB · 2.0 KiB/s · 0.50 s left"
        );
    }
}
