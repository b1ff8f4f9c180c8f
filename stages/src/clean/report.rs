use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    ids::Ids,
    params::{Pii, PiiKind},
    pii::Findings,
    prepare::{Candidate, length},
    problem::Reason,
    text::{Change, Changes},
};

/// What became of the rows: `report.json` beside the records. Times and absolute paths stay out, so that the same rows
/// give the same bytes.
#[derive(Default, Serialize)]
pub(super) struct Report {
    pub rows_read: u64,
    pub rows_kept: u64,
    /// Rows left out because they are broken, by reason.
    pub malformed: BTreeMap<&'static str, u64>,
    /// Rows left out by the rules, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Rows whose text was changed, by what was changed; a row can count several times.
    pub changed: BTreeMap<&'static str, u64>,
    /// Rows with any change.
    pub rows_changed: u64,
    /// Personal data replaced, by kind; with `pii: drop`, found in dropped rows.
    pub personal_data: BTreeMap<&'static str, u64>,
    /// Rows that got the `system` prompt of the parameters.
    pub system_added: u64,
    /// Rows by shape.
    pub shapes: BTreeMap<&'static str, u64>,
    /// Rows with a chosen and a rejected answer.
    #[serde(skip_serializing_if = "is_zero")]
    pub pairs: u64,
    /// Rows with an answer that is to be given, and with one that is to be avoided.
    #[serde(skip_serializing_if = "is_zero")]
    pub desirable: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub undesirable: u64,
    pub ids: IdCounts,
    /// Characters of the rows kept.
    pub prompt_chars: Lengths,
    pub response_chars: Lengths,
    pub files: Vec<FileCounts>,
    /// Files of the folder that are no data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored_files: Vec<String>,
    /// Rows for which the search for near-duplicates was cut short, so that one may have been missed.
    #[serde(skip_serializing_if = "is_zero")]
    pub near_search_cut_short: u64,
}

/// Where the ids come from.
#[derive(Default, Serialize)]
pub(super) struct IdCounts {
    pub from_column: u64,
    pub from_content: u64,
    pub repeated: u64,
}

/// The rows of one file.
#[derive(Default, Serialize)]
pub(super) struct FileCounts {
    pub file: String,
    pub rows: u64,
    pub kept: u64,
    /// Bytes that could not be read as rows after a row that has no end.
    #[serde(skip_serializing_if = "is_zero")]
    pub unread_bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// How long texts are.
#[derive(Default, Serialize)]
pub(super) struct Lengths {
    pub min: u64,
    pub mean: u64,
    pub max: u64,
    #[serde(skip)]
    sum: u64,
    #[serde(skip)]
    count: u64,
}

impl Lengths {
    fn add(&mut self, length: u64) {
        self.min = if self.count == 0 { length } else { self.min.min(length) };
        self.max = self.max.max(length);
        self.sum += length;
        self.count += 1;
        self.mean = self.sum / self.count;
    }
}

impl Report {
    /// Counts what was done to a row's text.
    pub(super) fn count_changes(&mut self, changes: Changes, findings: &Findings) {
        for change in Change::ALL.into_iter().filter(|&change| changes.contains(change)) {
            *self.changed.entry(change.name()).or_default() += 1;
        }
        let found = findings.iter().any(|count| *count > 0);
        self.rows_changed += u64::from(found || !changes.is_empty());
        for kind in PiiKind::ALL.into_iter().filter(|&kind| findings[kind as usize] > 0) {
            *self.personal_data.entry(kind.name()).or_default() += findings[kind as usize];
        }
    }

    /// Counts a row that is left out.
    pub(super) fn count_out(&mut self, reason: Reason) {
        let counts = if reason.is_malformed() { &mut self.malformed } else { &mut self.dropped };
        *counts.entry(reason.name()).or_default() += 1;
    }

    /// Counts a row that is kept.
    pub(super) fn count_kept(&mut self, file: usize, row: &Candidate) {
        self.rows_kept += 1;
        self.files[file].kept += 1;
        self.pairs += u64::from(row.rejected.is_some());
        self.desirable += u64::from(row.desirable == Some(true));
        self.undesirable += u64::from(row.desirable == Some(false));
        self.prompt_chars.add(length(&row.messages, "user"));
        self.response_chars.add(length(&row.messages, "assistant"));
    }

    /// Takes over how the ids came about.
    pub(super) fn take_ids(&mut self, ids: &Ids) {
        self.ids = IdCounts { from_column: ids.given, from_content: ids.made, repeated: ids.repeated };
    }

    /// What a person should know, one sentence each.
    pub(super) fn warnings(&self, pii: Pii) -> Vec<String> {
        let mut warnings = Vec::new();
        let out = self.rows_read - self.rows_kept;
        if out > 0 {
            let mut reasons: Vec<(u64, &str)> = Reason::ALL
                .into_iter()
                .filter_map(|reason| {
                    let counts = if reason.is_malformed() { &self.malformed } else { &self.dropped };
                    counts.get(reason.name()).map(|count| (*count, reason.words(*count)))
                })
                .collect();
            reasons.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
            let list: Vec<String> = reasons.into_iter().map(|(count, words)| format!("{count} {words}")).collect();
            warnings.push(format!("dropped {out} of {} rows: {}", self.rows_read, list.join(", ")));
        }
        if pii == Pii::Redact && !self.personal_data.is_empty() {
            let list: Vec<String> = self.personal_data.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            warnings.push(format!("replaced personal data: {}", list.join(", ")));
        }
        if self.ids.repeated > 0 {
            let rows = match self.ids.repeated {
                1 => "1 row has".to_owned(),
                rows => format!("{rows} rows have"),
            };
            warnings.push(format!("{rows} an id that an earlier row has; a number was put behind it (`id-2`)"));
        }
        for file in &self.files {
            if file.rows == 0 {
                warnings.push(format!("there are no rows in `{}`", file.file));
            }
            if file.unread_bytes > 0 {
                warnings
                    .push(format!("the last {} bytes of `{}` could not be read as rows", file.unread_bytes, file.file));
            }
        }
        if !self.ignored_files.is_empty() {
            let (count, first) = (self.ignored_files.len(), &self.ignored_files[0]);
            warnings.push(format!("{count} files of the folder are no data and were not read, such as `{first}`"));
        }
        if self.near_search_cut_short > 0 {
            let n = self.near_search_cut_short;
            warnings.push(format!(
                "for {n} rows so many others look alike that the search for near-duplicates was cut short; some may be left"
            ));
        }
        warnings
    }
}
