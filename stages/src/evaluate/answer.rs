//! Rows with an answer: from a model, or from predictions made elsewhere.

use std::{collections::BTreeMap, path::Path};

use refit_checkpoint::{
    ChatTemplate, Message, Tokenizer,
    conversation::{self, TrainOn},
};
use refit_engine::stage::{Progress, StageError, StepContext, file_in};
use refit_llm::{
    LlmError, Model,
    adapter::AnyAdapter,
    generate::{GenerationOptions, Prompt, StopStrings},
    model::{OwnedRows, RowLoss, WeightForm},
    train::ComputePath,
};

use super::EvaluateParams;
use crate::{
    device,
    llm_error::llm_error,
    model_error::{model_error, open_model},
    precision::warn_of_no_gain,
    predictions::{Prediction, PredictionReader},
    records::{RECORDS_FILE, Record, RecordReader, is_text},
};

/// What is scored.
pub(super) struct Answered {
    /// Every row with its answer, not scored yet.
    pub(super) rows: Vec<Prediction>,
    /// Loss and accuracy over all supervised tokens, where a model was asked.
    pub(super) tokens: Option<TokenScores>,
}

/// What the model makes of the right answers, over all their tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenScores {
    /// Mean of −ln p.
    pub(super) loss: f64,
    /// Share of tokens that were the model's first choice.
    pub(super) accuracy: f64,
    /// How many tokens.
    pub(super) supervised: usize,
}

/// Reads predictions made elsewhere.
pub(super) fn read_predictions(input: &Path, step: &StepContext) -> Result<Answered, StageError> {
    let mut reader = PredictionReader::open(input)?;
    let rows = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
    for (count, what) in [
        (reader.without_id(), "rows had no `id` and were named by their place"),
        (reader.ignored_scores(), "scores were no numbers and were left out"),
    ] {
        if count > 0 {
            step.warn(format!("{count} {what}"));
        }
    }
    step.fact("answered_by", "predictions made elsewhere");
    Ok(Answered { rows, tokens: None })
}

/// A row as the model sees it.
pub(super) struct Question {
    record: Record,
    line: u64,
    prompt: Vec<u32>,
    ids: Vec<u32>,
    mask: Vec<u8>,
}

impl Question {
    /// What the model is asked; its name for drawing is that of the record, wherever the record stands.
    pub(super) fn prompt(&self) -> Prompt {
        let digest = blake3::hash(self.record.id.as_bytes());
        let name = digest.as_bytes().iter().take(8).fold(0, |name, byte| name << 8 | u64::from(*byte));
        Prompt { ids: self.prompt.clone(), name }
    }

    /// The right answer with its question, as the loss is measured of it.
    pub(super) fn into_row(self) -> (Vec<u32>, Vec<u8>) {
        (self.ids, self.mask)
    }
}

/// Lets the model answer every row.
pub(super) fn answer(params: &EvaluateParams, records: &Path, step: &StepContext) -> Result<Answered, StageError> {
    let path = step.optional_input("model").ok_or_else(|| {
        StageError::new("evaluate::no_model", "records need a model that answers them, and none is wired")
            .help("wire one: `inputs: { model: base, records: … }`; only predictions can be scored without")
    })?;
    let checkpoint = open_model(path)?;
    let tokenizer = checkpoint.tokenizer().map_err(|error| model_error(&error))?;
    let template = checkpoint.chat_template_or(params.template.as_deref()).map_err(|error| model_error(&error))?;
    let questions = questions(records, &tokenizer, &template)?;
    let stop = conversation::stop_tokens(&tokenizer, &template).map_err(|error| model_error(&error))?;

    let adapter = match step.optional_input("adapter") {
        Some(folder) => {
            let adapter =
                AnyAdapter::load(folder, checkpoint.config()).map_err(|error| llm_error(&error).at(folder))?;
            same_template(adapter.template().map(|known| known.digest.as_str()), &template, step)?;
            Some(adapter)
        }
        None => None,
    };
    let devices = device::select(step)?;
    let device = devices.first();
    let computed_by = ComputePath::on(device);
    step.fact("evaluate.computed_by", computed_by.to_string());
    let precision = params.precision.into();
    warn_of_no_gain(precision, &computed_by, step);
    let (tiles, quantization) = (computed_by.is_fused(), params.quantization.into());
    let form = WeightForm { precision, tiles, quantization, ..WeightForm::default() };
    let mut model = Model::load_as(&checkpoint, device, form).map_err(|error| llm_error(&error).at(path))?;
    step.fact("evaluate.base", model.weights_kept().to_string());
    if let Some(adapter) = &adapter {
        model = model.with(adapter.values()).map_err(|error| llm_error(&error))?;
    }

    let failed = |error: LlmError| in_row(&error, &questions, records);
    let total = questions.len() as u64;
    let stop_strings = StopStrings::new(&tokenizer, &params.stop);
    let options = GenerationOptions {
        max_new_tokens: params.max_new_tokens,
        stop: &stop,
        stop_strings: Some(&stop_strings),
        batch_size: params.batch_size,
        sampling: params.sampling(),
    };
    let prompts: Vec<Prompt> = questions.iter().map(Question::prompt).collect();
    let told = |note: &'static str, before: u64| {
        move |done: usize| {
            step.progress(Progress {
                done: before + done as u64,
                total: 2 * total,
                unit: "rows".into(),
                note: Some(note.into()),
                ..Progress::default()
            });
        }
    };
    // The first batch takes a while; until then, that it is under way is all there is to say.
    told("answering", 0)(0);
    let threads = step.settings().threads.max(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|error| {
        StageError::new("evaluate::no_threads", format!("{threads} threads cannot be started")).caused_by(&error)
    })?;
    let generated = pool.install(|| model.generate(&prompts, options, told("answering", 0))).map_err(&failed)?;
    for (name, speed) in [
        ("evaluate.reading_tokens_per_second", generated.reading),
        ("evaluate.answering_tokens_per_second", generated.answering),
        ("evaluate.tokens_per_second", generated.all()),
    ] {
        if let Some(speed) = speed.tokens_per_second() {
            step.fact(name, speed);
        }
    }
    let answers = generated.answers;
    let rows: OwnedRows = questions.iter().map(|question| (question.ids.clone(), question.mask.clone())).collect();
    let losses = pool.install(|| model.row_losses(&rows, told("measuring the loss", total))).map_err(&failed)?;

    let cut_off = answers.iter().filter(|answer| answer.cut_off).count();
    step.fact("answers_cut_off", cut_off);
    if cut_off > 0 {
        step.warn(format!(
            "{cut_off} of {total} answers were cut off at {} tokens; `max_new_tokens` allows more",
            params.max_new_tokens
        ));
    }
    let tokens = Some(token_scores(&questions, &losses));
    let rows = questions
        .into_iter()
        .zip(answers)
        .zip(losses)
        .map(|((question, answer), loss)| {
            let said = tokenizer.decode(&answer.ids).map_err(|error| model_error(&error))?;
            Ok(prediction(question.record, stop_strings.cut(&said), loss.loss))
        })
        .collect::<Result<Vec<_>, StageError>>()?;
    Ok(Answered { rows, tokens })
}

/// Every row, as the model sees it.
pub(super) fn questions(
    records: &Path,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
) -> Result<Vec<Question>, StageError> {
    let mut reader = RecordReader::open(records)?;
    let mut questions = Vec::new();
    while let Some(record) = reader.next() {
        let (record, line) = (record?, reader.line());
        if is_text(&record.messages) {
            let message = format!("row `{}` is a text by itself, which asks nothing", record.id);
            return Err(StageError::new("evaluate::no_question", message)
                .at_line(reader.path(), line)
                .help("the loss of texts is measured while training: wire them to `validation` of `tokenize`"));
        }
        let messages: Vec<Message<'_>> =
            record.messages.iter().map(|message| Message::new(&message.role, &message.content)).collect();
        let encoded = conversation::encode_conversation(tokenizer, template, &messages, TrainOn::Last)
            .and_then(|row| Ok((row, conversation::prompt(tokenizer, template, &messages)?)));
        let (row, prompt) = encoded.map_err(|error| {
            let mut made = model_error(&error).at_line(reader.path(), line);
            made.message = format!("row `{}`: {}", record.id, made.message);
            made
        })?;
        let mask = row.mask.iter().map(|target| u8::from(*target)).collect();
        questions.push(Question { record, line, prompt, ids: row.ids, mask });
    }
    if questions.is_empty() {
        return Err(StageError::new("evaluate::no_rows", "there is no row to answer")
            .at(records)
            .help("look at the report of the stage before: what did it drop, and why?"));
    }
    Ok(questions)
}

/// Scores of another template say nothing about the training.
fn same_template(trained: Option<&str>, template: &ChatTemplate, step: &StepContext) -> Result<(), StageError> {
    match trained {
        Some(digest) if digest != template.digest() => Err(StageError::new(
            "evaluate::template_mismatch",
            "the adapter was trained with another chat template than the one its questions would be asked with",
        )
        .help("give `tokenize` and `evaluate` the same model and the same `template`")),
        Some(_) => Ok(()),
        None => {
            step.warn("the adapter does not say which chat template it was trained with; the model's own is used");
            Ok(())
        }
    }
}

fn token_scores(questions: &[Question], losses: &[RowLoss]) -> TokenScores {
    let supervised: usize = losses.iter().map(|row| row.supervised).sum();
    let sum: f64 = losses.iter().map(|row| row.loss * row.supervised as f64).sum();
    let right: usize = questions
        .iter()
        .zip(losses)
        .map(|(question, loss)| {
            let targets = question.ids.iter().zip(&question.mask).skip(1).filter(|(_, target)| **target != 0);
            targets.zip(&loss.argmax).filter(|((id, _), said)| id == said).count()
        })
        .sum();
    TokenScores { loss: sum / supervised as f64, accuracy: right as f64 / supervised as f64, supervised }
}

fn prediction(record: Record, said: &str, loss: f64) -> Prediction {
    let last = record.messages.iter().rposition(|message| message.role == "assistant").unwrap_or_default();
    let turns: Vec<_> = record.messages[..last].iter().filter(|message| message.role != "system").collect();
    let prompt = match turns.as_slice() {
        [only] => only.content.clone(),
        turns => turns.iter().map(|turn| format!("{}: {}", turn.role, turn.content)).collect::<Vec<_>>().join("\n"),
    };
    Prediction {
        id: record.id,
        prompt,
        reference: record.messages[last].content.clone(),
        prediction: said.trim().to_owned(),
        loss: Some(loss),
        scores: BTreeMap::new(),
    }
}

/// The model's error, with the line of the row it is about.
fn in_row(error: &LlmError, questions: &[Question], records: &Path) -> StageError {
    let made = llm_error(error);
    match error.row().and_then(|row| questions.get(row)) {
        Some(question) => made.at_line(file_in(records, RECORDS_FILE), question.line),
        None => made,
    }
}
