use std::collections::HashMap;

use refit_engine::stage::StageError;

use super::{
    params::{CleanParams, Dedup, DedupOn},
    prepare::{Candidate, sides},
};
use crate::{
    records::{Record, RecordWriter, RecordsAt, said},
    similarity::{Banding, NearIndex},
};

/// The rows kept so far, as far as it takes to know a duplicate.
///
/// What stays in memory is a digest of 16 bytes and an offset for each row, and the index for near-duplicates; texts are
/// read back from the file being written, and only for rows that look alike.
pub(super) struct KeptRows {
    rule: Dedup,
    on: DedupOn,
    similarity: f64,
    exact: HashMap<u128, u32>,
    near: NearIndex,
    /// Where each kept row begins in the file.
    offsets: Vec<u64>,
}

/// An earlier row that a row is a duplicate of.
pub(super) struct Original {
    pub id: String,
    /// Its row in the source.
    pub row: Option<u64>,
    /// `None` when the two are equal.
    pub similarity: Option<f64>,
}

impl KeptRows {
    pub(super) fn new(params: &CleanParams) -> Self {
        let number_of_sides = if params.dedup_on == DedupOn::Prompt { 1 } else { 2 };
        Self {
            rule: params.dedup,
            on: params.dedup_on,
            similarity: params.similarity,
            exact: HashMap::new(),
            near: NearIndex::new(number_of_sides, params.similarity),
            offsets: Vec::new(),
        }
    }

    /// How fingerprints are to be cut, when there is need of them.
    pub(super) fn banding(&self) -> Option<Banding> {
        (self.rule == Dedup::Near).then(|| self.near.banding())
    }

    /// For how many rows the search for near-duplicates was cut short.
    pub(super) fn cut_short(&self) -> u64 {
        self.near.cut_short()
    }

    /// The row of which this one is a duplicate: an equal one, else the first of the most alike.
    pub(super) fn find(
        &mut self,
        row: &Candidate,
        written: &mut RecordWriter,
        back: &mut RecordsAt,
    ) -> Result<Option<Original>, StageError> {
        if self.rule == Dedup::None {
            return Ok(None);
        }
        if let Some(&kept) = self.exact.get(&row.digest) {
            written.flush()?;
            return Ok(Some(original(back.read(self.offsets[kept as usize])?, None)));
        }
        let Some(fingerprint) = &row.fingerprint else { return Ok(None) };
        let candidates = self.near.candidates(fingerprint);
        if candidates.is_empty() {
            return Ok(None);
        }
        written.flush()?;
        let mine = sides(said(&row.messages, row.rejected.as_deref()), self.on);
        let mut best: Option<(f64, Record)> = None;
        for candidate in candidates {
            let record = back.read(self.offsets[candidate as usize])?;
            let system = |messages: &[crate::records::Message]| {
                messages.iter().find(|m| m.role == "system").map(|m| m.content.clone())
            };
            if self.on == DedupOn::Conversation && system(&record.messages) != system(&row.messages) {
                continue;
            }
            let theirs = sides(said(&record.messages, record.rejected.as_deref()), self.on);
            let alike = mine.iter().zip(&theirs).map(|(a, b)| a.jaccard(b)).fold(1.0, f64::min);
            if alike >= self.similarity && best.as_ref().is_none_or(|(most, _)| alike > *most) {
                best = Some((alike, record));
            }
        }
        Ok(best.map(|(alike, record)| original(record, Some(alike))))
    }

    /// Remembers a row that is about to be written at this offset.
    pub(super) fn keep(&mut self, row: &Candidate, offset: u64) {
        if self.rule == Dedup::None {
            return;
        }
        self.exact.insert(row.digest, self.offsets.len() as u32);
        self.offsets.push(offset);
        if let Some(fingerprint) = &row.fingerprint {
            self.near.insert(fingerprint);
        }
    }
}

fn original(record: Record, similarity: Option<f64>) -> Original {
    Original { row: record.meta.get("row").and_then(serde_json::Value::as_u64), id: record.id, similarity }
}
