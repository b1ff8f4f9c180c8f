use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use serde::{Deserialize, Serialize};

use super::StageError;

/// How far a step is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done so far.
    pub done: u64,
    /// Units in all; 0 while unknown.
    pub total: u64,
    /// What is counted: `rows`, `tokens`, `bytes`.
    pub unit: String,
    /// Training loss, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// A few words on what is done now, such as `epoch 2/4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a worker tells the engine, one JSON object a line on its standard output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The step moved on.
    Progress(Progress),
    /// Something a person should know: dropped rows, a truncated row, a software GPU.
    Warning {
        /// One sentence.
        message: String,
    },
    /// A fact worth recording with the run, such as the device and why it was chosen.
    Fact {
        /// A dotted name such as `device`.
        name: String,
        /// Its value.
        value: serde_json::Value,
    },
    /// The step ended well.
    Done {
        /// The worker's own peak resident memory in bytes.
        peak_memory: u64,
    },
    /// The step failed.
    Failed {
        /// Why.
        error: StageError,
        /// The worker's own peak resident memory in bytes.
        peak_memory: u64,
    },
}

/// Where a step's events go: the worker's pipe, or a list in a test.
#[derive(Clone)]
pub struct EventSink(Arc<Mutex<Take>>);

type Take = Box<dyn FnMut(Event) + Send>;

impl EventSink {
    /// Calls `f` with each event, one at a time.
    pub fn new(f: impl FnMut(Event) + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(f))))
    }

    /// Writes each event as one JSON line. A reader that went away is no reason to stop: the engine ends its workers itself.
    pub fn lines(mut out: impl Write + Send + 'static) -> Self {
        Self::new(move |event| {
            if let Ok(mut line) = serde_json::to_vec(&event) {
                line.push(b'\n');
                let _ = out.write_all(&line).and_then(|()| out.flush());
            }
        })
    }

    /// Forgets every event.
    pub fn ignore() -> Self {
        Self::new(|_| {})
    }

    /// Passes one event on.
    pub fn send(&self, event: Event) {
        let mut sink = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sink(event);
    }
}
