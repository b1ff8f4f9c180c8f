use serde_json::{Map, Value};

use super::{
    columns::{Part, Row, kind, text},
    turns,
};
use crate::{
    clean::problem::{Problem, Reason},
    records::Message,
};

/// The `messages` of chat interfaces: turns of `role` and `content`; content in parts is joined, a call without content is its JSON.
pub(super) fn read(row: &mut Row<'_>) -> Result<Vec<Message>, Problem> {
    if !row.has(Part::Messages) {
        let name = row.name(Part::Messages);
        return Err(Problem::new(Reason::MissingColumn, format!("the column `{name}` is missing")));
    }
    let mut messages = turns::with_system(row.take_text(Part::System)?);
    for (number, turn) in (1..).zip(row.take_turns(Part::Messages)?) {
        messages.push(message(turn, number)?);
    }
    Ok(messages)
}

/// One turn.
pub(super) fn message(turn: Value, number: usize) -> Result<Message, Problem> {
    let Value::Object(turn) = turn else {
        return Err(Problem::new(Reason::WrongType, format!("message {number} is {}, not an object", kind(&turn))));
    };
    let Some(Value::String(name)) = turn.get("role") else {
        return Err(Problem::new(Reason::WrongRoles, format!("message {number} has no `role`")));
    };
    let Some(role) = turns::role(name) else {
        return Err(Problem::new(Reason::WrongRoles, format!("message {number} has the unknown role `{name}`")));
    };
    Ok(Message::new(role, content(turn, number)?))
}

fn content(mut turn: Map<String, Value>, number: usize) -> Result<String, Problem> {
    match turn.shift_remove("content") {
        None | Some(Value::Null) => {
            let call = ["tool_calls", "function_call"].iter().find_map(|name| turn.shift_remove(*name));
            call.map(|call| call.to_string())
                .ok_or_else(|| Problem::new(Reason::WrongType, format!("message {number} has no `content`")))
        }
        Some(Value::Array(parts)) => {
            let mut whole = String::new();
            for part in parts {
                let Some(Value::String(text)) = part.get("text") else {
                    let of = part.get("type").and_then(Value::as_str).unwrap_or("unknown");
                    let detail = format!("message {number} has a part of type `{of}`; only text can be learned");
                    return Err(Problem::new(Reason::WrongType, detail));
                };
                whole.push_str(text);
            }
            Ok(whole)
        }
        Some(value) => text(value).map_err(|kind| {
            Problem::new(Reason::WrongType, format!("the content of message {number} is {kind}, not a text"))
        }),
    }
}
