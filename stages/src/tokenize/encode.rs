//! One part: its records, encoded on all cores, in their order.

use std::path::Path;

use rayon::prelude::*;
use refit_checkpoint::{
    ChatTemplate, Message, Tokenizer,
    conversation::{self, Encoded, TrainOn},
};
use refit_engine::stage::{Progress, StageError, StepContext};

use super::{params::Overlong, report::PartReport, text};
use crate::{
    model_error::model_error,
    records::{Record, RecordReader, is_text, said},
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
        let mut all = None;
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
            let encoded: Vec<Result<Vec<Encoded>, StageError>> =
                batch.par_iter().map(|(_, record)| self.rows(record)).collect();
            for ((line, record), encoded) in batch.iter().zip(encoded) {
                report.rows_in += 1;
                let mut texts = said(&record.messages, record.rejected.as_deref());
                report.special_texts +=
                    u64::from(texts.any(|(_, content)| self.tokenizer.special_in(content).is_some()));
                let worth = Worth::of(record);
                let outcome = match encoded {
                    Ok(_) if *all.get_or_insert(worth) != worth => Err(mixed(record)),
                    Ok(encoded) => self.keep(encoded, worth, record, &mut rows, &mut report),
                    Err(error) => Err(error),
                };
                if let Err(error) = outcome {
                    mistakes.add(|| error.at_line(&path, *line));
                }
            }
            step.progress(Progress { done: done + report.rows_in, unit: "rows".into(), ..Progress::default() });
        }
        mistakes.end()?;
        report.finish();
        Ok((rows, report))
    }

    /// Encodes one record: the chosen and the rejected answer of a pair in turn, a long text in blocks. A mistake names
    /// the record's id.
    fn rows(&self, record: &Record) -> Result<Vec<Encoded>, StageError> {
        let messages: Vec<Message<'_>> =
            record.messages.iter().map(|message| Message::new(&message.role, &message.content)).collect();
        let rows = if is_text(&record.messages) {
            text::blocks(self.tokenizer, &record.messages[0].content, self.max_length)
                .map_err(|error| StageError { place: None, ..model_error(&error) })
        } else if let Some(rejected) = &record.rejected {
            let mut other = messages.clone();
            if let Some(last) = other.last_mut() {
                last.content = rejected;
            }
            [&messages, &other].into_iter().map(|turns| self.conversation(turns, TrainOn::Last)).collect()
        } else {
            let train_on = if record.desirable.is_some() { TrainOn::Last } else { self.train_on };
            self.conversation(&messages, train_on).map(|row| vec![row])
        };
        let checked = rows.and_then(|rows| {
            if rows.iter().any(|row| row.supervised() == 0) {
                return Err(nothing_to_learn());
            }
            rows.iter().flat_map(|row| &row.ids).try_for_each(|id| self.check_token(*id))?;
            Ok(rows)
        });
        checked.map_err(|mut error| {
            error.message = format!("row `{}`: {}", record.id, error.message);
            error
        })
    }

    fn conversation(&self, messages: &[Message<'_>], train_on: TrainOn) -> Result<Encoded, StageError> {
        let row = conversation::encode_conversation(self.tokenizer, self.template, messages, train_on)
            .map_err(|error| StageError { place: None, ..model_error(&error) })?;
        if learns_nothing(messages, train_on) { Err(nothing_to_learn()) } else { Ok(row) }
    }

    fn check_token(&self, id: u32) -> Result<(), StageError> {
        if (id as usize) < self.vocab_size {
            return Ok(());
        }
        let message = format!("the tokenizer gives the token {id}, but the model knows only {}", self.vocab_size);
        Err(StageError::new("tokenize::unknown_token", message)
            .help("tokenizer and weights belong to different models"))
    }

    /// Adds what a record became to the part.
    fn keep(
        &self,
        mut encoded: Vec<Encoded>,
        worth: Worth,
        record: &Record,
        rows: &mut TokenRows,
        report: &mut PartReport,
    ) -> Result<(), StageError> {
        let tokens: usize = encoded.iter().map(|row| row.ids.len()).sum();
        let length = encoded.iter().map(|row| row.ids.len()).max().unwrap_or(0);
        report.longest_before = report.longest_before.max(length);
        if length > self.max_length {
            report.overlong_rows += 1;
            let all_prompt = encoded.iter().any(|row| row.prompt_len >= self.max_length);
            match self.overlong {
                Overlong::Error => return Err(self.too_long(record)),
                Overlong::Truncate if !all_prompt => {
                    report.truncated_rows += 1;
                    for row in &mut encoded {
                        report.lost_tokens += row.ids.len().saturating_sub(self.max_length) as u64;
                        row.ids.truncate(self.max_length);
                        row.mask.truncate(self.max_length);
                    }
                }
                cut => {
                    report.dropped_rows += 1;
                    report.dropped_all_prompt += u64::from(cut == Overlong::Truncate);
                    report.lost_tokens += tokens as u64;
                    return Ok(());
                }
            }
        }
        for (place, row) in encoded.into_iter().enumerate() {
            report.add(&row);
            rows.push(&row.ids, row.mask);
            match worth {
                Worth::Unsaid => {}
                Worth::Compared => rows.prefer(report.pairs as u32, place == 0),
                Worth::Labelled => rows.prefer(report.labelled as u32, record.desirable == Some(true)),
            }
        }
        report.texts += u64::from(is_text(&record.messages));
        report.pairs += u64::from(worth == Worth::Compared);
        report.labelled += u64::from(worth == Worth::Labelled);
        Ok(())
    }

    fn too_long(&self, record: &Record) -> StageError {
        StageError::new("tokenize::overlong", format!("row `{}` is longer than {} tokens", record.id, self.max_length))
            .help("raise `max_length`, or let such rows go with `overlong: drop` or be cut with `overlong: truncate`")
    }
}

/// What a record says of its answer. All records of a part say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    Unsaid,
    /// There is a worse one.
    Compared,
    /// It is to be given or avoided.
    Labelled,
}

impl Worth {
    fn of(record: &Record) -> Self {
        match record {
            Record { rejected: Some(_), .. } => Self::Compared,
            Record { desirable: Some(_), .. } => Self::Labelled,
            _ => Self::Unsaid,
        }
    }
}

/// Whether every answer that would be learnt is blank: the model would learn to say nothing.
fn learns_nothing(messages: &[Message<'_>], train_on: TrainOn) -> bool {
    let mut answers = messages.iter().rev().filter(|message| message.is_assistant());
    match train_on {
        TrainOn::All => answers.all(|message| message.content.trim().is_empty()),
        TrainOn::Last => answers.next().is_none_or(|message| message.content.trim().is_empty()),
    }
}

fn mixed(record: &Record) -> StageError {
    let what = match Worth::of(record) {
        Worth::Unsaid => "has one answer without a label",
        Worth::Compared => "has a rejected answer",
        Worth::Labelled => "has an answer with a label",
    };
    StageError::new("tokenize::mixed_rows", format!("row `{}` {what}, other than the rows before", record.id))
        .help("give pairs, labelled answers and conversations to a `tokenize` stage each")
}

fn nothing_to_learn() -> StageError {
    StageError::new("tokenize::nothing_to_learn", "every answer is blank, so there is nothing to learn from it")
        .help("leave such rows out, for example with `min_response_chars: 1` in the `clean` stage")
}
