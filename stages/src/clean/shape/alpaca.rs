use serde_json::Value;

use super::columns::{Part, Row, kind, text};
use crate::{
    clean::problem::{Problem, Reason},
    records::Message,
};

/// Alpaca: the prompt is `instruction`, a line break and `input`, empty ones left out; `history` holds earlier pairs.
pub(super) fn read(row: &mut Row<'_>) -> Result<Vec<Message>, Problem> {
    for part in [Part::Instruction, Part::Output] {
        let replaced = match part {
            Part::Instruction => row.has(Part::Input),
            _ => row.has(Part::Chosen),
        };
        if !row.has(part) && !replaced {
            return Err(Problem::new(Reason::MissingColumn, format!("the column `{}` is missing", row.name(part))));
        }
    }
    let mut messages = vec![Message::new("system", row.take_text(Part::System)?)];
    for pair in row.take_turns(Part::History)? {
        let Value::Array(pair) = pair else {
            return Err(Problem::new(
                Reason::WrongType,
                format!("`history` holds {}, not a pair of texts", kind(&pair)),
            ));
        };
        let Ok([question, answer]) = <[Value; 2]>::try_from(pair) else {
            return Err(Problem::new(Reason::WrongType, "an entry of `history` is no pair of question and answer"));
        };
        for (role, said) in [("user", question), ("assistant", answer)] {
            let said = text(said).map_err(|kind| {
                Problem::new(Reason::WrongType, format!("`history` holds {kind} in place of a text"))
            })?;
            messages.push(Message::new(role, said));
        }
    }
    let (instruction, input) = (row.take_text(Part::Instruction)?, row.take_text(Part::Input)?);
    let prompt = match (instruction.trim().is_empty(), input.trim().is_empty()) {
        (false, false) => format!("{instruction}\n{input}"),
        (true, false) => input,
        _ => instruction,
    };
    messages.push(Message::new("user", prompt));
    // A chosen answer comes after the question by itself.
    if row.has(Part::Output) || !row.has(Part::Chosen) {
        messages.push(Message::new("assistant", row.take_text(Part::Output)?));
    }
    Ok(messages)
}
