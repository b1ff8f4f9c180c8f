use std::{collections::HashMap, io::Write, path::PathBuf, time::Duration};

use safetensors::{
    Dtype, SafeTensors,
    tensor::{TensorView, serialize},
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

/// Everything a training has to remember between two optimizer steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    pub(crate) progress: Progress,
    /// The adapter's values.
    pub(crate) values: Vec<f32>,
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

#[derive(Serialize, Deserialize)]
struct Header {
    fingerprint: String,
    progress: Progress,
}

/// What a look for a snapshot found.
pub(crate) enum Found {
    Nothing,
    State(Box<State>),
    /// A file that cannot be used was renamed to this path.
    SetAside(PathBuf, String),
}

impl SnapshotPolicy {
    fn path(&self) -> PathBuf {
        self.folder.join(SNAPSHOT_FILE)
    }

    /// Replaces the snapshot in one move: a kill at any moment leaves the old or the new one.
    pub(crate) fn save(&self, state: &State) -> Result<(), LlmError> {
        let header = Header { fingerprint: self.fingerprint.clone(), progress: state.progress.clone() };
        let header = serde_json::to_string(&header).map_err(std::io::Error::from)?;
        let mut named =
            vec![("values", &state.values), ("first", &state.optimizer.first), ("second", &state.optimizer.second)];
        named.extend(state.best.as_ref().map(|best| ("best", best)));
        let stored: Vec<(&str, Vec<u8>)> =
            named.iter().map(|(name, v)| (*name, v.iter().flat_map(|x| x.to_le_bytes()).collect())).collect();
        let views = stored.iter().map(|(name, bytes)| {
            let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes);
            (*name, view.expect("invariant: the length is that of the bytes"))
        });
        let body = serialize(views, Some(HashMap::from([("state".to_owned(), header)])))
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        let temporary = self.folder.join(format!("{SNAPSHOT_FILE}.new"));
        let mut file = fs_err::File::create(&temporary)?;
        file.write_all(blake3::hash(&body).as_bytes())?;
        file.write_all(&body)?;
        file.sync_all()?;
        drop(file);
        fs_err::rename(&temporary, self.path())?;
        Ok(())
    }

    /// Looks for a snapshot of this training over `values` adapter values.
    pub(crate) fn find(&self, values: usize) -> Result<Found, LlmError> {
        let path = self.path();
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(error.into()),
        };
        match self.decode(&bytes, values) {
            Ok(state) => Ok(Found::State(Box::new(state))),
            Err(reason) => {
                let aside = path.with_extension("unusable");
                fs_err::rename(&path, &aside)?;
                Ok(Found::SetAside(aside, reason))
            }
        }
    }

    fn decode(&self, bytes: &[u8], values: usize) -> Result<State, String> {
        let (digest, body) = bytes.split_at_checked(32).ok_or("it is cut short")?;
        if blake3::hash(body).as_bytes() != digest {
            return Err("its content does not match its digest".into());
        }
        let (_, metadata) = SafeTensors::read_metadata(body).map_err(|e| e.to_string())?;
        let header = metadata.metadata().as_ref().and_then(|m| m.get("state")).ok_or("it holds no state")?;
        let header: Header = serde_json::from_str(header).map_err(|e| e.to_string())?;
        if header.fingerprint != self.fingerprint {
            return Err("it belongs to a training with other parameters or inputs".into());
        }
        let file = SafeTensors::deserialize(body).map_err(|e| e.to_string())?;
        let vector = |name: &str| -> Result<Vec<f32>, String> {
            let view = file.tensor(name).map_err(|e| e.to_string())?;
            let vector: Vec<f32> =
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            if vector.len() == values {
                Ok(vector)
            } else {
                Err(format!("`{name}` has {} values, not {values}", vector.len()))
            }
        };
        Ok(State {
            values: vector("values")?,
            optimizer: AdamW { first: vector("first")?, second: vector("second")? },
            best: if header.progress.lowest.is_some() { Some(vector("best")?) } else { None },
            progress: header.progress,
        })
    }
}
