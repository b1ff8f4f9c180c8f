use std::{
    io::{self, BufWriter, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

use fs_err::File;

use super::{Observer, RunEvent};

/// Where a run tells what happens: to whoever watches, and to its own record.
pub(super) struct Journal<'a> {
    observer: &'a dyn Observer,
    log: Mutex<BufWriter<File>>,
}

const LOG: &str = "events.jsonl";

impl<'a> Journal<'a> {
    /// The journal of the run in that folder.
    pub(super) fn begin(folder: &Path, observer: &'a dyn Observer) -> io::Result<Self> {
        Ok(Self { observer, log: Mutex::new(BufWriter::new(File::create(folder.join(LOG))?)) })
    }

    /// Shows an event and, unless it is mere progress, records it.
    pub(super) fn tell(&self, event: &RunEvent) {
        self.observer.observe(event);
        if matches!(event, RunEvent::Progress { .. } | RunEvent::Fetching { .. }) {
            return;
        }
        // The log explains later runs; a disk too full for it fails the step that needs the space, with a reason.
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = serde_json::to_writer(&mut *log, event).map_err(io::Error::from).and_then(|()| log.write_all(b"\n"));
        // What a killed run has lost of its log must not be what it made.
        if !matches!(event, RunEvent::Cached { .. } | RunEvent::Blocked { .. }) {
            let _ = log.flush();
        }
    }

    /// Makes what was told so far readable.
    pub(super) fn flush(&self) {
        let _ = self.log.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}
