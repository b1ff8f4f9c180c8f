use std::{
    collections::BTreeSet,
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Lookup, RunId, StepKey, Store, StoreError, UsedResult,
    durable::{sync_folder, write_atomic},
    error::At,
    lock::block,
    store::names,
};

const PINS_FOLDER: &str = "pins";
const LOCK_FILE: &str = "lock";
const EXTENSION: &str = ".json";

/// What a pin holds on to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pinned {
    /// A run: its record and all its results.
    Run(RunId),
    /// One result, with all its outputs.
    Result(StepKey),
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(run) => run.fmt(f),
            Self::Result(key) => key.fmt(f),
        }
    }
}

/// What stays whatever `gc` is asked for, until it is unpinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// What is held on to.
    pub pinned: Pinned,
    /// What the user called it, such as `train.adapter`.
    pub name: String,
    /// The results that stay. Written down, so that they stay even when the record of their run is removed.
    pub results: BTreeSet<UsedResult>,
    /// When it was pinned.
    pub created: Timestamp,
}

/// The right to add pins, or to rely on there being no more. Held for moments by `pin`, and for its length by `gc`; a run
/// under way does not need it, so that its results can be pinned beside it.
pub(crate) type PinsHeld = File;

impl Store {
    /// Pins a run: its record and the results that it made or used stay.
    pub fn pin_run(&self, run: &RunId, name: &str) -> Result<Pin, StoreError> {
        let held = self.hold_pins()?;
        let results = self.results_of(run)?;
        self.write_pin(&held, Pinned::Run(run.clone()), name, results)
    }

    /// Pins one result. It must be in the store.
    pub fn pin_result(&self, key: &StepKey, name: &str) -> Result<Pin, StoreError> {
        let held = self.hold_pins()?;
        match self.lookup(key)? {
            Lookup::Hit(made) => self.write_pin(&held, Pinned::Result(*key), name, [made.used()].into()),
            _ => Err(StoreError::NoResult { key: *key }),
        }
    }

    /// Removes a pin; false if there was none.
    pub fn unpin(&self, pinned: &Pinned) -> Result<bool, StoreError> {
        let _held = self.hold_pins()?;
        let path = self.pin_path(pinned);
        match std::fs::remove_file(&path) {
            Ok(()) => sync_folder(&self.folder(PINS_FOLDER)).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("removing", &path, error)),
        }
    }

    /// All pins, the oldest first. One that cannot be read is an error: nobody may believe that it holds nothing.
    pub fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        let mut pins = Vec::new();
        for (name, path) in names(&self.folder(PINS_FOLDER))? {
            if name.ends_with(EXTENSION) {
                pins.push(read_pin(&path)?);
            }
        }
        pins.sort_by(|a, b| (a.created, &a.pinned).cmp(&(b.created, &b.pinned)));
        Ok(pins)
    }

    /// Waits until nobody else changes pins or relies on them.
    pub(crate) fn hold_pins(&self) -> Result<PinsHeld, StoreError> {
        let folder = self.folder(PINS_FOLDER);
        std::fs::create_dir_all(&folder).at("creating", &folder)?;
        let path = folder.join(LOCK_FILE);
        let file = File::options().write(true).create(true).truncate(false).open(&path).at("locking", &path)?;
        block(&file, &path)?;
        Ok(file)
    }

    fn write_pin(
        &self,
        _held: &PinsHeld,
        pinned: Pinned,
        name: &str,
        results: BTreeSet<UsedResult>,
    ) -> Result<Pin, StoreError> {
        let pin = Pin { pinned, name: name.to_owned(), results, created: Timestamp::now() };
        let path = self.pin_path(&pin.pinned);
        let bytes = serde_json::to_vec(&pin).map_err(|error| StoreError::io("writing", &path, error.into()))?;
        write_atomic(&path, &bytes)?;
        Ok(pin)
    }

    fn pin_path(&self, pinned: &Pinned) -> PathBuf {
        self.folder(PINS_FOLDER).join(format!("{pinned}{EXTENSION}"))
    }
}

fn read_pin(path: &Path) -> Result<Pin, StoreError> {
    let bytes = std::fs::read(path).at("reading", path)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| StoreError::DamagedPin { path: path.to_owned(), what: error.to_string() })
}
