use std::collections::HashMap;

use crate::{
    graph::{InputRef, Pipeline},
    stage::Resource,
};

/// How long stages will take together, by past times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// From the first one's start to the last one's end, in seconds.
    pub seconds: f64,
    /// How many of them nobody knows the time of; they count as nothing.
    pub unknown: usize,
}

impl Estimate {
    /// Lets the stages that `seconds` tells of (none: it runs, but nobody knows how long) run in thought, at most `jobs` at a
    /// time, one at a time on an accelerator, each when all it needs is there. Stages it does not tell of take no time.
    pub fn of<'p>(pipeline: &'p Pipeline, jobs: usize, seconds: impl Fn(&str) -> Option<Option<f64>>) -> Self {
        // When each stage, each place for a step and the accelerator become free.
        let mut ends: HashMap<&'p str, f64> = HashMap::new();
        let mut places = vec![0.0_f64; jobs.clamp(1, pipeline.stages.len().max(1))];
        let (mut accelerator, mut last, mut unknown) = (0.0_f64, 0.0_f64, 0);
        for node in pipeline.stages.stages() {
            let needed = node.inputs.values().flat_map(InputRef::outputs);
            let ready = needed.filter_map(|(stage, _)| ends.get(stage)).copied().fold(0.0, f64::max);
            let Some(time) = seconds(&node.name) else {
                ends.insert(&node.name, ready);
                continue;
            };
            unknown += usize::from(time.is_none());
            let shares = node.kind.resource == Resource::Accelerator;
            let ready = if shares { ready.max(accelerator) } else { ready };
            // The place that was free last before the stage is ready, else the one that is free first.
            let waiting = |free: f64| (free > ready, if free > ready { free } else { -free });
            let place = places.iter_mut().min_by(|a, b| {
                let (a, b) = (waiting(**a), waiting(**b));
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
            });
            let Some(place) = place else { continue };
            let end = place.max(ready) + time.unwrap_or(0.0);
            *place = end;
            if shares {
                accelerator = end;
            }
            last = last.max(end);
            ends.insert(&node.name, end);
        }
        Self { seconds: last, unknown }
    }
}
