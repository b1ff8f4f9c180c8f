//! Two sets of predictions become pairs over the same rows, or a refusal that says why they do not.

use std::collections::HashMap;

use refit_engine::stage::{StageError, StepContext};

use crate::predictions::{Prediction, PredictionReader};

/// The answers of A and B to one question.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) a: Prediction,
    pub(super) b: Prediction,
}

/// How many ids a message names.
const NAMED: usize = 3;

/// Reads both inputs and pairs their rows by id, in the order of A. What a person should know goes to `notes`.
pub(super) fn read_pairs(step: &StepContext, notes: &mut Vec<String>) -> Result<Vec<Pair>, StageError> {
    let a = read(step, "a", notes)?;
    let b = read(step, "b", notes)?;
    let mut b: HashMap<String, Prediction> = b.into_iter().map(|row| (row.id.clone(), row)).collect();
    let (mut pairs, mut only_a) = (Vec::with_capacity(a.len()), Vec::new());
    for row in a {
        match b.remove(&row.id) {
            Some(other) => pairs.push(Pair { a: row, b: other }),
            None => only_a.push(row.id),
        }
    }
    if !only_a.is_empty() || !b.is_empty() {
        return Err(different_rows(only_a, b.into_keys().collect()));
    }
    same_questions(&pairs, notes)?;
    Ok(pairs)
}

fn read(step: &StepContext, port: &str, notes: &mut Vec<String>) -> Result<Vec<Prediction>, StageError> {
    let mut reader = PredictionReader::open(step.input(port)?)?;
    let path = reader.path().to_owned();
    let mut lines: HashMap<String, u64> = HashMap::new();
    let mut rows = Vec::new();
    while let Some(row) = reader.next() {
        let row = row?;
        if let Some(first) = lines.insert(row.id.clone(), reader.line()) {
            return Err(StageError::new(
                "ab_compare::duplicate_id",
                format!("the id `{}` of port `{port}` is there twice, first in line {first}", row.id),
            )
            .at_line(&path, reader.line())
            .help("give every row its own id, or leave the ids out and the rows are matched by their order"));
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(StageError::new("ab_compare::empty", format!("port `{port}` has no rows to compare")).at(&path));
    }
    if reader.without_id() > 0 {
        notes.push(format!(
            "port `{port}`: {} of {} rows have no id and are matched by their place in the file",
            reader.without_id(),
            rows.len()
        ));
    }
    if reader.ignored_scores() > 0 {
        notes.push(format!(
            "port `{port}`: {} values under `scores` are no numbers and were left out",
            reader.ignored_scores()
        ));
    }
    keep_losses_whole(&mut rows, port, notes);
    Ok(rows)
}

/// A loss is used when every row has a finite one; a part of the rows would compare other rows than the rest.
fn keep_losses_whole(rows: &mut [Prediction], port: &str, notes: &mut Vec<String>) {
    let without = rows.iter().filter(|row| !row.loss.is_some_and(f64::is_finite)).count();
    if without > 0 && without < rows.len() {
        notes.push(format!("port `{port}`: {without} of {} rows have no loss", rows.len()));
    }
    if without > 0 {
        for row in rows {
            row.loss = None;
        }
    }
}

fn different_rows(only_a: Vec<String>, mut only_b: Vec<String>) -> StageError {
    only_b.sort();
    let mut parts = Vec::new();
    for (port, ids) in [("a", only_a), ("b", only_b)] {
        if !ids.is_empty() {
            parts.push(format!(
                "{} {} only in `{port}` ({})",
                ids.len(),
                plural(ids.len(), "row is", "rows are"),
                named(&ids)
            ));
        }
    }
    StageError::new("ab_compare::different_rows", format!("the two sides are not the same rows: {}", parts.join(", ")))
        .help("evaluate both models on the same records, so that both answer every question")
}

fn same_questions(pairs: &[Pair], notes: &mut Vec<String>) -> Result<(), StageError> {
    let differ = |part: &str, ids: &[String]| {
        StageError::new(
            "ab_compare::different_questions",
            format!(
                "{} of {} rows have the same id but another {part} in `a` than in `b` ({})",
                ids.len(),
                pairs.len(),
                named(ids)
            ),
        )
        .help("the two sides come from different data; evaluate both models on the same records")
    };
    let ids_where = |keep: &dyn Fn(&Pair) -> bool| -> Vec<String> {
        pairs.iter().filter(|pair| keep(pair)).map(|pair| pair.a.id.clone()).collect()
    };
    let references = ids_where(&|pair| pair.a.reference.trim() != pair.b.reference.trim());
    if !references.is_empty() {
        return Err(differ("reference", &references));
    }
    let known = |pair: &Pair| !pair.a.prompt.trim().is_empty() && !pair.b.prompt.trim().is_empty();
    let prompts = ids_where(&|pair| known(pair) && pair.a.prompt.trim() != pair.b.prompt.trim());
    if !prompts.is_empty() {
        return Err(differ("prompt", &prompts));
    }
    let unknown = pairs.iter().filter(|pair| !known(pair)).count();
    if unknown > 0 {
        notes.push(format!(
            "{unknown} of {} rows have no prompt on at least one side; it could not be compared",
            pairs.len()
        ));
    }
    Ok(())
}

/// Refuses outputs that are all the same, as they are when an adapter was not loaded. A loss that differs shows that
/// the models do.
pub(super) fn refuse_identical(pairs: &[Pair]) -> Result<(), StageError> {
    let same = |pair: &Pair| pair.a.prediction == pair.b.prediction && pair.a.loss == pair.b.loss;
    if !pairs.iter().all(same) {
        return Ok(());
    }
    Err(StageError::new(
        "ab_compare::identical_outputs",
        format!(
            "all {} outputs of `a` and `b` are identical: most likely the adapter was not loaded, or one evaluation is \
             wired to both ports",
            pairs.len()
        ),
    )
    .help(
        "wire `adapter:` into the `evaluate` stage of the tuned model and `a` and `b` to different stages; \
         `allow_identical: true` compares them all the same",
    ))
}

fn named(ids: &[String]) -> String {
    let mut text = ids.iter().take(NAMED).map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
    if ids.len() > NAMED {
        text.push_str(", …");
    }
    text
}

fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}
