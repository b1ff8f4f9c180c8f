use serde_json::Value;

use super::{
    answers::turns_of,
    columns::{Part, Row},
    turns,
};
use crate::{
    clean::problem::{Problem, Reason},
    records::Message,
};

/// Whether a row has the columns of this shape.
pub(super) fn fits(row: &Row<'_>) -> bool {
    row.has(Part::Prompt) && [Part::Completion, Part::Chosen, Part::Rejected].into_iter().any(|part| row.has(part))
        || row.has(Part::Chosen) && row.has(Part::Rejected)
}

/// TRL's rows: the question, and its answer where there is but one. Two answers are taken from where they stand.
pub(super) fn read(row: &mut Row<'_>) -> Result<Vec<Message>, Problem> {
    let mut messages = turns::with_system(row.take_text(Part::System)?);
    match row.take(Part::Prompt) {
        Some(Value::String(text)) => messages.push(Message::new("user", text)),
        Some(turns) => messages.extend(turns_of(turns, row.name(Part::Prompt))?),
        None => messages.extend(common_turns(row)?),
    }
    match row.take(Part::Completion) {
        Some(Value::String(text)) => messages.push(Message::new("assistant", text)),
        Some(turns) => messages.extend(turns_of(turns, row.name(Part::Completion))?),
        None if row.has(Part::Chosen) => {}
        None => {
            let detail = format!("the column `{}` is missing", row.name(Part::Completion));
            return Err(Problem::new(Reason::MissingColumn, detail));
        }
    }
    Ok(messages)
}

/// What both conversations begin with, where the question has no column of its own.
fn common_turns(row: &Row<'_>) -> Result<Vec<Message>, Problem> {
    let turns = |part: Part| {
        if let Some(turns @ Value::Array(_)) = row.value(part) {
            return turns_of(turns.clone(), row.name(part));
        }
        let question = row.name(Part::Prompt);
        let detail = format!("the column `{question}` is missing, and the answers are no conversations that hold it");
        Err(Problem::new(Reason::MissingColumn, detail))
    };
    let (chosen, rejected) = (turns(Part::Chosen)?, turns(Part::Rejected)?);
    let common = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
    // Equal answers are told as such later.
    let common = common.min(chosen.len().saturating_sub(1));
    Ok(chosen[..common].to_vec())
}
