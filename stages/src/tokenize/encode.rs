//! One part: its records, encoded on all cores, in their order.

use std::path::Path;

use rayon::prelude::*;
use refit_checkpoint::{
    ChatTemplate, Message, Tokenizer,
    conversation::{self, Encoded, TrainOn},
};
use refit_engine::stage::{Progress, StageError, StepContext};

use super::{params::Overlong, report::PartReport};
use crate::{
    model_error::model_error,
    records::{Record, RecordReader},
    tokens::TokenRows,
};

/// Records encoded at a time: enough to keep every core busy, few enough to hold in memory.
const BATCH: usize = 1024;

/// What every row is encoded with.
pub(super) struct Encoder<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) template: &'a ChatTemplate,
    pub(super) train_on: TrainOn,
    pub(super) max_length: usize,
    pub(super) overlong: Overlong,
    /// Rows of the model's embedding: every id has to be below.
    pub(super) vocab_size: usize,
}

/// The first row with a mistake and how many there are; all rows are looked at before the step ends.
#[derive(Default)]
struct Mistakes {
    first: Option<StageError>,
    count: usize,
}

impl Mistakes {
    fn add(&mut self, error: impl FnOnce() -> StageError) {
        self.count += 1;
        self.first.get_or_insert_with(error);
    }

    fn end(self) -> Result<(), StageError> {
        let Some(mut error) = self.first else { return Ok(()) };
        if self.count > 1 {
            error.message = format!("{} ({} rows are wrong in all; this is the first)", error.message, self.count);
        }
        Err(error)
    }
}

impl Encoder<'_> {
    /// Encodes a part; `done` is the number of rows of the parts before.
    pub(super) fn part(
        &self,
        input: &Path,
        step: &StepContext,
        done: u64,
    ) -> Result<(TokenRows, PartReport), StageError> {
        let mut reader = RecordReader::open(input)?;
        let path = reader.path().to_owned();
        let mut rows = TokenRows::default();
        let mut report = PartReport::default();
        let mut mistakes = Mistakes::default();
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            while batch.len() < BATCH
                && let Some(record) = reader.next()
            {
                batch.push((reader.line(), record?));
            }
            if batch.is_empty() {
                break;
            }
            let encoded: Vec<Result<Encoded, StageError>> =
                batch.par_iter().map(|(_, record)| self.row(record)).collect();
            for ((line, record), encoded) in batch.iter().zip(encoded) {
                report.rows_in += 1;
                let spelled = record.messages.iter().any(|m| self.tokenizer.special_in(&m.content).is_some());
                report.special_texts += u64::from(spelled);
                match encoded {
                    Ok(row) => self.keep(
                        row,
                        &mut rows,
                        &mut report,
                        || self.too_long(record).at_line(&path, *line),
                        &mut mistakes,
                    ),
                    Err(error) => mistakes.add(|| error.at_line(&path, *line)),
                }
            }
            step.progress(Progress { done: done + report.rows_in, unit: "rows".into(), ..Progress::default() });
        }
        mistakes.end()?;
        report.finish();
        Ok((rows, report))
    }

    /// Encodes one record; a mistake names its id.
    fn row(&self, record: &Record) -> Result<Encoded, StageError> {
        let messages: Vec<Message<'_>> =
            record.messages.iter().map(|message| Message::new(&message.role, &message.content)).collect();
        let in_row = |mut error: StageError| {
            error.message = format!("row `{}`: {}", record.id, error.message);
            error
        };
        let row = conversation::encode_conversation(self.tokenizer, self.template, &messages, self.train_on)
            .map_err(|error| in_row(StageError { place: None, ..model_error(&error) }))?;
        if self.learns_nothing(&messages) {
            return Err(in_row(nothing_to_learn()));
        }
        if let Some(id) = row.ids.iter().find(|id| **id as usize >= self.vocab_size) {
            return Err(in_row(
                StageError::new(
                    "tokenize::unknown_token",
                    format!("the tokenizer gives the token {id}, but the model knows only {}", self.vocab_size),
                )
                .help("tokenizer and weights belong to different models"),
            ));
        }
        Ok(row)
    }

    /// Whether every answer that would be learnt is blank: the model would learn to say nothing.
    fn learns_nothing(&self, messages: &[Message<'_>]) -> bool {
        let mut answers = messages.iter().rev().filter(|message| message.is_assistant());
        match self.train_on {
            TrainOn::All => answers.all(|message| message.content.trim().is_empty()),
            TrainOn::Last => answers.next().is_none_or(|message| message.content.trim().is_empty()),
        }
    }

    fn keep(
        &self,
        mut row: Encoded,
        rows: &mut TokenRows,
        report: &mut PartReport,
        too_long: impl FnOnce() -> StageError,
        mistakes: &mut Mistakes,
    ) {
        let length = row.ids.len();
        report.longest_before = report.longest_before.max(length);
        if length > self.max_length {
            report.overlong_rows += 1;
            match self.overlong {
                Overlong::Error => return mistakes.add(too_long),
                Overlong::Drop => {
                    report.dropped_rows += 1;
                    report.lost_tokens += length as u64;
                    return;
                }
                Overlong::Truncate if row.prompt_len >= self.max_length => {
                    report.dropped_rows += 1;
                    report.dropped_all_prompt += 1;
                    report.lost_tokens += length as u64;
                    return;
                }
                Overlong::Truncate => {
                    report.truncated_rows += 1;
                    report.lost_tokens += (length - self.max_length) as u64;
                    row.ids.truncate(self.max_length);
                    row.mask.truncate(self.max_length);
                }
            }
        }
        report.add(&row);
        rows.push(&row.ids, row.mask);
    }

    fn too_long(&self, record: &Record) -> StageError {
        StageError::new("tokenize::overlong", format!("row `{}` is longer than {} tokens", record.id, self.max_length))
            .help("raise `max_length`, or let such rows go with `overlong: drop` or be cut with `overlong: truncate`")
    }
}

fn nothing_to_learn() -> StageError {
    StageError::new("tokenize::nothing_to_learn", "every answer is blank, so there is nothing to learn from it")
        .help("leave such rows out, for example with `min_response_chars: 1` in the `clean` stage")
}
