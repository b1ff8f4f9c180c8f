use std::collections::BTreeMap;

use refit_checkpoint::conversation::stop_tokens;
use refit_engine::stage::{StageError, StepContext};

use super::{encode::Encoder, params::TokenizeParams, report::Report};
use crate::{
    model_error::{model_error, open_model},
    records::write_report,
    tokens::{TokenFacts, TokenRows},
};

pub(super) fn run(params: &TokenizeParams, step: &StepContext) -> Result<(), StageError> {
    let model = open_model(step.input("model")?)?;
    let config = model.config();
    let tokenizer = model.tokenizer().map_err(|error| model_error(&error))?;
    let template = model.chat_template_or(params.template.as_deref()).map_err(|error| model_error(&error))?;
    let max_length = params.max_length.min(config.max_positions);
    if max_length < params.max_length {
        step.warn(format!(
            "max_length {} is lowered to {max_length}: the model was trained on no more positions",
            params.max_length
        ));
    }
    let encoder = Encoder {
        tokenizer: &tokenizer,
        template: &template,
        train_on: params.train_on.into(),
        max_length,
        overlong: params.overlong,
        vocab_size: config.vocab_size,
    };

    let mut parts = BTreeMap::new();
    let mut reports = BTreeMap::new();
    let mut done = 0;
    for part in ["train", "validation"] {
        let Some(input) = step.optional_input(part) else { continue };
        let (rows, report) = encoder.part(input, step, done)?;
        done += report.rows_in;
        for warning in report.warnings(part, max_length) {
            step.warn(warning);
        }
        if rows.is_empty() && part == "train" {
            return Err(no_rows(report.rows_in, max_length).at(input));
        }
        if rows.is_empty() {
            step.warn(format!("{part}: no row is left"));
        }
        step.fact(format!("{part}.rows"), report.rows);
        if report.pairs > 0 {
            step.fact(format!("{part}.pairs"), report.pairs);
        }
        step.fact(format!("{part}.tokens"), report.tokens);
        step.fact(format!("{part}.supervised_tokens"), report.supervised_tokens);
        parts.insert(part, rows);
        reports.insert(part, report);
    }

    let facts = TokenFacts::new(&config.name, &tokenizer, &template, max_length);
    let folder = step.output_folder("tokens")?;
    TokenRows::write(&folder, &parts, &facts)?;
    let stops = stop_tokens(&tokenizer, &template).map_err(|error| model_error(&error))?;
    let report = Report {
        facts: &facts,
        stop_tokens: stops.into_iter().filter_map(|id| tokenizer.token_of(id)).collect(),
        train: reports.remove("train").unwrap_or_default(),
        validation: reports.remove("validation"),
    };
    write_report(&folder, &report)
}

fn no_rows(rows_in: u64, max_length: usize) -> StageError {
    if rows_in == 0 {
        return StageError::new("tokenize::no_rows", "there is no row to train on")
            .help("look at the report of the stage before: what did it drop, and why?");
    }
    StageError::new("tokenize::no_rows", format!("every one of {rows_in} rows is longer than {max_length} tokens"))
        .help("raise `max_length`, or cut such rows with `overlong: truncate`")
}
