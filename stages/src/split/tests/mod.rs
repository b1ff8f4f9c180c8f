//! The stage as a whole: records in, three parts, reports and errors out.

mod groups;
mod leaks;
mod sizes;
mod stability;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use refit_engine::stage::{Event, EventSink, Settings, StageError, StageKind, StepContext};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Split;
use crate::records::{Message, Record, RecordReader, RecordWriter};

/// The parts of a split.
pub(super) struct Parts {
    root: TempDir,
    pub warnings: Vec<String>,
}

impl Parts {
    pub(super) fn records(&self, part: &str) -> Vec<Record> {
        RecordReader::open(&self.root.path().join(part)).unwrap().map(Result::unwrap).collect()
    }

    pub(super) fn sizes(&self) -> [usize; 3] {
        ["train", "validation", "test"].map(|part| self.records(part).len())
    }

    pub(super) fn report(&self, part: &str) -> Value {
        serde_json::from_slice(&fs_err::read(self.root.path().join(part).join("report.json")).unwrap()).unwrap()
    }

    /// The part of every row.
    pub(super) fn by_id(&self) -> BTreeMap<String, &'static str> {
        let rows = |part| self.records(part).into_iter().map(move |record| (record.id, part));
        ["train", "validation", "test"].into_iter().flat_map(rows).collect()
    }
}

/// Splits records.
pub(super) fn split(records: &[Record], with: Value) -> Result<Parts, StageError> {
    let root = tempfile::tempdir().unwrap();
    let mut writer = RecordWriter::create(root.path()).unwrap();
    for record in records {
        writer.write(record).unwrap();
    }
    writer.finish().unwrap();
    let input: PathBuf = root.path().join("records.jsonl");
    let warnings: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&warnings);
    let events = EventSink::new(move |event| {
        if let Event::Warning { message } = event {
            sink.lock().unwrap().push(message);
        }
    });
    let inputs = BTreeMap::from([("records".to_owned(), input)]);
    let step = StepContext::new(inputs, root.path(), root.path(), Settings::default(), events);
    let kind = StageKind::of::<Split>();
    let lowered = kind.lower(with, &[]).expect("the parameters are right");
    assert_eq!(lowered.problems, []);
    kind.run(lowered.with, &step)?;
    let warnings = warnings.lock().unwrap().clone();
    Ok(Parts { root, warnings })
}

/// A row with a question that is like no other.
pub(super) fn record(number: u64, meta: Value) -> Record {
    let words = |seed: u64| {
        let word = |i: u64| format!("{:x}", (seed * 31 + i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 36);
        (0..8).map(word).collect::<Vec<_>>().join(" ")
    };
    let Value::Object(meta) = meta else { panic!("meta is an object") };
    Record {
        id: format!("r{number}"),
        messages: vec![Message::new("user", words(number)), Message::new("assistant", format!("answer {number}"))],
        rejected: None,
        desirable: None,
        meta,
    }
}

/// So many rows, five to a fact.
pub(super) fn facts(rows: u64) -> Vec<Record> {
    (0..rows)
        .map(|n| record(n, json!({"fact": format!("f{}", n / 5), "topic": if n % 10 < 7 { "net" } else { "mail" }})))
        .collect()
}
