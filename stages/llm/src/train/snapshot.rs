use std::{
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{HistoryRow, optimizer::AdamW};
use crate::LlmError;

/// The name of the snapshot in its folder.
const SNAPSHOT_FILE: &str = "training.snapshot";

/// Where and how often the state of a training is kept, so that it can go on after a kill.
#[derive(Debug, Clone)]
pub struct SnapshotPolicy {
    /// An existing folder that outlives the process.
    pub folder: PathBuf,
    /// At least this long between two snapshots.
    pub every: Duration,
    /// What the training was started with; a snapshot of another one is not used.
    pub fingerprint: String,
}

/// What a training has to remember between two optimizer steps, beside the trained values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    pub(crate) progress: Progress,
    pub(crate) optimizer: AdamW,
    /// Values at the lowest validation loss.
    pub(crate) best: Option<Vec<f32>>,
}

/// The small part of [`State`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Optimizer steps done: with the seed it also says where in the data and in the schedule the training is.
    pub(crate) step: u64,
    /// Real tokens so far.
    pub(crate) tokens: u64,
    /// Seconds so far.
    pub(crate) seconds: f64,
    /// Step and value of the lowest validation loss.
    pub(crate) lowest: Option<(u64, f64)>,
    /// Validations since then.
    pub(crate) without_gain: u64,
    pub(crate) history: Vec<HistoryRow>,
}

/// The first line of the file. After it come the values, both moments, and the best values if there are any, as they lie
/// in memory, and at the end the digest of everything before it.
#[derive(Serialize, Deserialize)]
struct Header {
    fingerprint: String,
    values: usize,
    progress: Progress,
}

/// Bytes of a digest.
const DIGEST: usize = 32;

/// The longest first line that is read.
const LONGEST_HEADER: u64 = 1 << 30;

/// What a look for a snapshot found.
pub(crate) enum Found {
    Nothing,
    State(Vec<f32>, Box<State>),
    /// A file that cannot be used was renamed to this path.
    SetAside(PathBuf, String),
}

impl SnapshotPolicy {
    fn path(&self) -> PathBuf {
        self.folder.join(SNAPSHOT_FILE)
    }

    /// Replaces the snapshot in one move: a kill at any moment leaves the old or the new one.
    pub(crate) fn save(&self, values: &[f32], state: &State) -> Result<(), LlmError> {
        let header =
            Header { fingerprint: self.fingerprint.clone(), values: values.len(), progress: state.progress.clone() };
        let header = serde_json::to_string(&header).map_err(std::io::Error::from)?;
        let temporary = self.folder.join(format!("{SNAPSHOT_FILE}.new"));
        let mut file = fs_err::File::create(&temporary)?;
        let mut hasher = blake3::Hasher::new();
        let mut out = BufWriter::new(&mut file);
        let vectors =
            [Some(values), Some(&state.optimizer.first), Some(&state.optimizer.second), state.best.as_deref()];
        let parts =
            [header.as_bytes(), b"\n"].into_iter().chain(vectors.into_iter().flatten().map(bytemuck::cast_slice));
        for part in parts {
            hasher.update(part);
            out.write_all(part)?;
        }
        out.write_all(hasher.finalize().as_bytes())?;
        out.flush()?;
        drop(out);
        file.sync_all()?;
        fs_err::rename(&temporary, self.path())?;
        Ok(())
    }

    /// Looks for a snapshot of this training over so many `values`.
    pub(crate) fn find(&self, values: usize) -> Result<Found, LlmError> {
        let path = self.path();
        if !path.exists() {
            return Ok(Found::Nothing);
        }
        match self.read(&path, values) {
            Ok((values, state)) => Ok(Found::State(values, Box::new(state))),
            Err(reason) => {
                let aside = path.with_extension("unusable");
                fs_err::rename(&path, &aside)?;
                Ok(Found::SetAside(aside, reason))
            }
        }
    }

    fn read(&self, path: &Path, values: usize) -> Result<(Vec<f32>, State), String> {
        let text = |error: std::io::Error| error.to_string();
        let mut file = BufReader::new(fs_err::File::open(path).map_err(text)?);
        let mut line = Vec::new();
        (&mut file).take(LONGEST_HEADER).read_until(b'\n', &mut line).map_err(text)?;
        let header: Header = serde_json::from_slice(&line).map_err(|_| "it is damaged or cut short".to_owned())?;
        if header.fingerprint != self.fingerprint {
            return Err("it belongs to a training with other parameters or inputs".into());
        }
        if header.values != values {
            return Err(format!("it has {} values, not {values}", header.values));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&line);
        let mut vector = || -> Result<Vec<f32>, String> {
            let mut vector = vec![0f32; values];
            let bytes = bytemuck::cast_slice_mut(&mut vector);
            file.read_exact(bytes).map_err(|_| "it is cut short".to_owned())?;
            hasher.update(bytes);
            Ok(vector)
        };
        let current = vector()?;
        let optimizer = AdamW { first: vector()?, second: vector()? };
        let best = if header.progress.lowest.is_some() { Some(vector()?) } else { None };
        let mut digest = Vec::with_capacity(DIGEST);
        file.read_to_end(&mut digest).map_err(text)?;
        if digest != hasher.finalize().as_bytes() {
            return Err("its content does not match its digest".into());
        }
        Ok((current, State { progress: header.progress, optimizer, best }))
    }
}
