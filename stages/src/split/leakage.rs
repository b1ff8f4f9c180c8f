use std::{collections::BTreeMap, path::Path};

use rayon::prelude::*;
use refit_engine::stage::{Progress, StageError, StepContext};
use serde::Serialize;

use super::{
    params::{LeakageOn, SplitParams},
    row::{Part, Row},
};
use crate::{
    records::{REJECTED, Record, RecordReader, RecordsAt, TEXT, said},
    similarity::{Fingerprint, NearIndex, Shingles},
};

/// Near-duplicates between parts.
#[derive(Debug, Default, Serialize)]
pub(super) struct Leaks {
    /// Rows that are like a row of a part worth more, by the two parts: `train/test`.
    pub rows: BTreeMap<String, u64>,
    /// The first of them.
    pub examples: Vec<Leak>,
    /// Rows for which the search was cut short, so that one may have been missed.
    #[serde(skip_serializing_if = "is_zero")]
    pub search_cut_short: u64,
    /// The rows, by their number, and what they belong to.
    #[serde(skip)]
    pub found: Vec<usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Two rows in different parts that are alike.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Leak {
    pub id: String,
    pub part: &'static str,
    pub like: String,
    pub of: &'static str,
    pub similarity: f64,
}

/// How many leaks are listed.
const LISTED: usize = 20;

/// Rows that are read and hashed at a time.
const BATCH: usize = 1024;

/// Finds training rows that are like a validation or test row, and validation rows like a test row.
///
/// Test rows are indexed first, then validation rows, so memory grows with these two alone.
pub(super) fn find(
    input: &Path,
    rows: &[Row],
    parts: &[Part],
    params: &SplitParams,
    step: &StepContext,
) -> Result<Leaks, StageError> {
    let sides_of = |record: &Record| sides(record, params.leakage_on);
    let mut index = NearIndex::new(if params.leakage_on == LeakageOn::Prompt { 1 } else { 2 }, params.similarity);
    let banding = index.banding();
    let mut indexed: Vec<usize> = Vec::new();
    let mut back = RecordsAt::open(input)?;
    let mut leaks = Leaks::default();
    let mut done = 0;
    for part in [Part::Test, Part::Validation, Part::Train] {
        let mut reader = RecordReader::open(input)?.enumerate().filter(|(row, _)| parts.get(*row) == Some(&part));
        loop {
            let batch: Vec<(usize, Record)> = reader
                .by_ref()
                .take(BATCH)
                .map(|(row, record)| record.map(|record| (row, record)))
                .collect::<Result<_, _>>()?;
            if batch.is_empty() {
                break;
            }
            let prints: Vec<(Vec<Shingles>, Fingerprint)> = batch
                .par_iter()
                .map(|(_, record)| {
                    let sides = sides_of(record);
                    let print = Fingerprint::of(&sides, banding);
                    (sides, print)
                })
                .collect();
            for ((row, record), (mine, print)) in batch.iter().zip(&prints) {
                let mut worst: Option<(f64, usize, String)> = None;
                for candidate in if part == Part::Test { Vec::new() } else { index.candidates(print) } {
                    let other = indexed[candidate as usize];
                    if parts[other] == part {
                        continue;
                    }
                    let theirs = back.read(rows[other].offset)?;
                    let alike = mine.iter().zip(&sides_of(&theirs)).map(|(a, b)| a.jaccard(b)).fold(1.0, f64::min);
                    if alike >= params.similarity && worst.as_ref().is_none_or(|(most, ..)| alike > *most) {
                        worst = Some((alike, other, theirs.id));
                    }
                }
                if let Some((similarity, other, like)) = worst {
                    let (part, of) = (part.name(), parts[other].name());
                    *leaks.rows.entry(format!("{part}/{of}")).or_default() += 1;
                    leaks.found.push(*row);
                    if leaks.examples.len() < LISTED {
                        let similarity = (similarity * 1000.0).round() / 1000.0;
                        leaks.examples.push(Leak { id: record.id.clone(), part, like, of, similarity });
                    }
                }
                if part != Part::Train {
                    index.insert(print);
                    indexed.push(*row);
                }
            }
            done += batch.len() as u64;
            step.progress(Progress {
                done: done.min(rows.len() as u64),
                total: rows.len() as u64,
                unit: "rows".into(),
                note: Some("looking for near-duplicates between parts".into()),
                ..Progress::default()
            });
        }
    }
    leaks.search_cut_short = index.cut_short();
    Ok(leaks)
}

fn sides(record: &Record, on: LeakageOn) -> Vec<Shingles> {
    let join = |roles: &[&str]| {
        let said = said(&record.messages, record.rejected.as_deref()).filter(|(role, _)| roles.contains(role));
        Shingles::of(&said.map(|(_, content)| content).collect::<Vec<_>>().join("\n"))
    };
    match on {
        LeakageOn::Prompt => vec![join(&["user", "tool", TEXT])],
        LeakageOn::Conversation => vec![join(&["user", "tool"]), join(&["assistant", REJECTED, TEXT])],
    }
}
