//! What a row says of its answer: a worse one beside it, or whether it is one to be given.

use serde_json::Value;

use super::{
    columns::{Part, Row, kind, truth},
    messages, sharegpt,
};
use crate::{
    clean::{
        params::Format,
        problem::{Problem, Reason},
    },
    records::Message,
};

/// Takes the better and the worse answer out of columns of their own: the better one ends the conversation, the worse one is
/// handed out. A text, a turn, or the turns from where (or from which on) the two conversations part.
pub(super) fn compared(row: &mut Row<'_>, conversation: &mut Vec<Message>) -> Result<Option<String>, Problem> {
    let answers = |part: Part| row.value(part).is_some_and(holds_an_answer);
    let (better, worse) = (answers(Part::Chosen), answers(Part::Rejected));
    if !better && !worse {
        return Ok(None);
    }
    if !worse {
        let (chosen, rejected) = (row.name(Part::Chosen), row.name(Part::Rejected));
        let detail = format!("there is an answer in `{chosen}`, but none in `{rejected}`");
        return Err(Problem::new(Reason::MissingColumn, detail));
    }
    if better {
        let asked = conversation.iter().rposition(|turn| turn.role != "assistant").map_or(0, |last| last + 1);
        let chosen = last_turn(row, Part::Chosen, &conversation[..asked])?;
        if conversation.get(asked).is_some_and(|answer| answer.content != chosen) {
            let detail =
                format!("the conversation ends with another answer than the one in `{}`", row.name(Part::Chosen));
            return Err(Problem::new(Reason::WrongRoles, detail));
        }
        conversation.truncate(asked);
        conversation.push(Message::new("assistant", chosen));
    }
    let before = conversation.len().saturating_sub(1);
    last_turn(row, Part::Rejected, &conversation[..before]).map(Some)
}

fn holds_an_answer(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Object(_) | Value::Array(_) => true,
        _ => false,
    }
}

/// The one answer in a column, given the turns before it.
fn last_turn(row: &mut Row<'_>, part: Part, before: &[Message]) -> Result<String, Problem> {
    let name = row.name(part).to_owned();
    let turns = match row.take(part) {
        Some(Value::String(text)) if !text.trim_start().starts_with(['{', '[']) => return Ok(text),
        // CSV files have turns as texts.
        Some(Value::String(text)) => match serde_json::from_str(&text) {
            Ok(turns @ (Value::Array(_) | Value::Object(_))) if looks_like_turns(&turns) => turns,
            _ => return Ok(text),
        },
        Some(turns) => turns,
        None => Value::Null,
    };
    let mut turns = turns_of(turns, &name)?;
    // A system prompt may stand in a column of its own.
    let without = usize::from(turns.first().is_some_and(|turn| turn.role != "system"));
    let own = before.iter().take(without).filter(|turn| turn.role == "system").count();
    if turns.starts_with(&before[own..]) {
        turns.drain(..before.len() - own);
    }
    match turns.as_slice() {
        [answer] if answer.role == "assistant" => Ok(turns.remove(0).content),
        _ => {
            let detail =
                format!("`{name}` holds {} turns after the question; one answer is compared with another", turns.len());
            Err(Problem::new(Reason::WrongRoles, detail))
        }
    }
}

fn looks_like_turns(value: &Value) -> bool {
    let turn = |value: &Value| value.get("role").or(value.get("from")).is_some();
    match value {
        Value::Array(turns) => turns.first().is_some_and(turn),
        other => turn(other),
    }
}

/// Turns in either spelling.
pub(super) fn turns_of(value: Value, column: &str) -> Result<Vec<Message>, Problem> {
    let turns = match value {
        Value::Array(turns) => turns,
        turn @ Value::Object(_) => vec![turn],
        other => {
            let detail = format!("the column `{column}` holds {}, neither a text nor turns", kind(&other));
            return Err(Problem::new(Reason::WrongType, detail));
        }
    };
    let message = |(number, turn): (usize, Value)| {
        if turn.get("from").is_some() { sharegpt::message(turn, number) } else { messages::message(turn, number) }
    };
    (1..).zip(turns).map(message).collect()
}

/// Whether the answer is one to be given. Many rows have a `label` that says something else, so that this column counts
/// beside `prompt` and `completion` only, and as a truth value, or where it was named.
pub(super) fn label(row: &mut Row<'_>, format: Format) -> Result<Option<bool>, Problem> {
    let usual = match format {
        // Of records of another stage.
        Format::Messages => row.take_truth("desirable"),
        Format::Prompt => row.take_truth("label"),
        _ => None,
    };
    let name = row.name(Part::Label).to_owned();
    let Some(value) = row.take(Part::Label) else { return Ok(usual) };
    let wrong = || {
        let detail = format!("the column `{name}` holds {}, which is no truth value", kind(&value));
        Problem::new(Reason::WrongType, detail)
    };
    truth(&value).map(Some).ok_or_else(wrong)
}
