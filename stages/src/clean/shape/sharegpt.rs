use serde_json::Value;

use super::{
    columns::{Part, Row, kind, text},
    turns,
};
use crate::{
    clean::problem::{Problem, Reason},
    records::Message,
};

/// `ShareGPT`: turns of `from` and `value`; a system prompt comes first or stands in a column.
pub(super) fn read(row: &mut Row<'_>) -> Result<Vec<Message>, Problem> {
    if !row.has(Part::Conversations) {
        let name = row.name(Part::Conversations);
        return Err(Problem::new(Reason::MissingColumn, format!("the column `{name}` is missing")));
    }
    let mut messages = turns::with_system(row.take_text(Part::System)?);
    for (number, turn) in (1..).zip(row.take_turns(Part::Conversations)?) {
        messages.push(message(turn, number)?);
    }
    Ok(messages)
}

/// One turn.
pub(super) fn message(turn: Value, number: usize) -> Result<Message, Problem> {
    let Value::Object(mut turn) = turn else {
        return Err(Problem::new(Reason::WrongType, format!("turn {number} is {}, not an object", kind(&turn))));
    };
    // Some files name the fields as OpenAI does.
    let mut field = |names: [&str; 2]| names.iter().find_map(|name| turn.shift_remove(*name));
    let (from, value) = (field(["from", "role"]), field(["value", "content"]));
    let Some(Value::String(from)) = from else {
        return Err(Problem::new(Reason::WrongRoles, format!("turn {number} does not say who speaks (`from`)")));
    };
    let Some(role) = turns::role(&from) else {
        return Err(Problem::new(
            Reason::WrongRoles,
            format!("turn {number} is from `{from}`, which is no known role"),
        ));
    };
    let said = text(value.unwrap_or(Value::Null))
        .map_err(|kind| Problem::new(Reason::WrongType, format!("turn {number} holds {kind}, not a text")))?;
    Ok(Message::new(role, said))
}
