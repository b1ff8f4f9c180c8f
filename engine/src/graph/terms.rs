//! The terms a stage runs under, and how they are lowered.

use std::time::Duration;

use super::lower::Lowering;
use crate::{
    program::GRACE,
    schedule::Demand,
    source::{Mistake, Path},
    spec::{DurationSpec, MutexSpec, ResourcesSpec, RetriesSpec, SizeSpec, StageSpec, is_name},
    stage::{Resource, StageKind},
};

/// How a stage may run. None of it can change a result, so none of it is in the key.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// What a step occupies.
    pub demand: Demand,
    /// Threads it may keep busy, if the author says so.
    pub threads: Option<usize>,
    /// Higher first.
    pub priority: i32,
    /// What happens when it fails.
    pub retries: Retries,
    /// How long a try may take.
    pub timeout: Option<Duration>,
    /// How long it has to end by itself when it is stopped.
    pub grace: Duration,
    /// Whether the same inputs always give the same bytes, as far as the author says.
    pub deterministic: bool,
}

/// How often a step that failed is tried again, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retries {
    /// Tries after the first one.
    pub times: u32,
    /// Before the second try.
    pub delay: Duration,
    /// By which the delay grows with every try.
    pub factor: f64,
}

impl Default for Retries {
    fn default() -> Self {
        Self { times: 0, delay: Self::DELAY, factor: Self::FACTOR }
    }
}

impl Retries {
    const DELAY: Duration = Duration::from_secs(1);
    const FACTOR: f64 = 2.0;
    /// However often a step failed, it is tried again within the hour.
    const LONGEST: Duration = Duration::from_hours(1);

    /// How long to wait after a try, counted from 1, failed; none when it was the last.
    pub fn delay_after(&self, attempt: u32) -> Option<Duration> {
        let grown = || self.delay.as_secs_f64() * self.factor.powi(attempt.saturating_sub(1).min(1000).cast_signed());
        (attempt <= self.times)
            .then(|| Duration::try_from_secs_f64(grown()).unwrap_or(Self::LONGEST).min(Self::LONGEST.max(self.delay)))
    }
}

impl Terms {
    /// The terms of a stage about which the author says nothing.
    pub fn of(kind: &StageKind) -> Self {
        let accelerator = kind.resource != Resource::Cpu;
        let spreads = kind.resource == Resource::Accelerators;
        Self {
            demand: Demand { accelerator, spreads, ..Demand::default() },
            threads: None,
            priority: 0,
            retries: Retries::default(),
            timeout: None,
            grace: GRACE,
            deterministic: true,
        }
    }
}

impl Lowering<'_> {
    /// The terms of a stage. What is wrong in them is noted, and the usual stands in for it.
    pub(super) fn terms(&mut self, name: &str, stage: &StageSpec, kind: &StageKind) -> Terms {
        let mut terms = Terms::of(kind);
        let path = Path::of(&["stages", name]);
        if let Some(resources) = &stage.resources {
            self.resources(&path.join("resources"), resources, &mut terms);
        }
        for (index, mutex) in stage.mutex.iter().flat_map(MutexSpec::names).enumerate() {
            let path = if stage.mutex.as_ref().is_some_and(MutexSpec::is_list) {
                path.join("mutex").join(index)
            } else {
                path.join("mutex")
            };
            if is_name(mutex) {
                terms.demand.mutexes.push(mutex.clone());
            } else if !self.refuse_reference(&path, mutex) {
                let mistake = Mistake::new("pipeline::bad_name", format!("`{mutex}` cannot be the name of a mutex"))
                    .with_labels(self.places.value(&path, "this name"))
                    .help("a name has letters, digits, `_` and `-`, at most 64 of them, and does not begin with `-`");
                self.mistakes.push(mistake);
            }
        }
        terms.demand.mutexes.sort();
        terms.demand.mutexes.dedup();
        terms.priority = stage.priority.unwrap_or_default();
        terms.deterministic = stage.deterministic.unwrap_or(true);
        terms.retries = self.retries(&path.join("retries"), stage.retries.as_ref());
        if let Some(timeout) = &stage.timeout {
            terms.timeout = self.duration(&path.join("timeout"), timeout);
            if terms.timeout.is_some_and(|timeout| timeout.is_zero()) {
                let mistake = Mistake::new("pipeline::out_of_range", "`timeout` must be more than 0")
                    .with_labels(self.places.value(&path.join("timeout"), "no time at all"))
                    .help("leave it out for no limit");
                self.mistakes.push(mistake);
            }
        }
        if let Some(grace) = &stage.grace {
            terms.grace = self.duration(&path.join("grace"), grace).unwrap_or(GRACE);
        }
        terms
    }

    fn resources(&mut self, path: &Path, resources: &ResourcesSpec, terms: &mut Terms) {
        let demand = &mut terms.demand;
        if let Some(cpu) = resources.cpu {
            demand.cpu = cpu;
            terms.threads = Some((cpu as usize).max(1));
        }
        demand.gpu = resources.gpu.unwrap_or_default();
        for (key, size, place) in
            [("memory", &resources.memory, &mut demand.memory), ("vram", &resources.vram, &mut demand.vram)]
        {
            if let Some(size) = size {
                *place = self.size(&path.join(key), size);
            }
        }
    }

    fn retries(&mut self, path: &Path, retries: Option<&RetriesSpec>) -> Retries {
        match retries {
            None => Retries::default(),
            Some(RetriesSpec::Times(times)) => Retries { times: *times, ..Retries::default() },
            Some(RetriesSpec::Backoff(backoff)) => {
                let delay = backoff.delay.as_ref().and_then(|delay| self.duration(&path.join("delay"), delay));
                Retries {
                    times: backoff.times,
                    delay: delay.unwrap_or(Retries::DELAY),
                    factor: backoff.factor.unwrap_or(Retries::FACTOR),
                }
            }
        }
    }

    fn size(&mut self, path: &Path, size: &SizeSpec) -> u64 {
        size.bytes().unwrap_or_else(|problem| {
            self.unreadable(path, size.text(), "pipeline::bad_size", "a size", &problem);
            0
        })
    }

    fn duration(&mut self, path: &Path, duration: &DurationSpec) -> Option<Duration> {
        duration
            .duration()
            .map_err(|problem| self.unreadable(path, duration.text(), "pipeline::bad_duration", "a time", &problem))
            .ok()
    }

    fn unreadable(&mut self, path: &Path, text: Option<&str>, code: &'static str, what: &str, problem: &str) {
        if text.is_some_and(|text| self.refuse_reference(path, text)) {
            return;
        }
        let written = self.places.written(path).unwrap_or_default().to_owned();
        let mistake = Mistake::new(code, format!("`{written}` is not {what}"))
            .with_labels(self.places.value(path, format!("not {what}")))
            .help(problem);
        self.mistakes.push(mistake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_an_hour() {
        let retries = Retries { times: 3, delay: Duration::from_secs(10), factor: 3.0 };
        let delays: Vec<_> = (1..=4).map(|attempt| retries.delay_after(attempt)).collect();
        assert_eq!(
            delays,
            [10, 30, 90]
                .map(|seconds| Some(Duration::from_secs(seconds)))
                .into_iter()
                .chain([None])
                .collect::<Vec<_>>()
        );
        let endless = Retries { times: u32::MAX, ..retries };
        assert_eq!(endless.delay_after(u32::MAX), Some(Retries::LONGEST));
        let slow = Retries { times: 1, delay: Duration::from_hours(2), factor: 1.0 };
        assert_eq!(slow.delay_after(1), Some(Duration::from_hours(2)), "what the author says goes");
        assert_eq!(Retries::default().delay_after(1), None);
    }
}
