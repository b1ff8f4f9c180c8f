use std::fmt::Write;

use serde_json::{Map, Value};

use super::{alpaca, answers, messages, prompt, sharegpt, turns};
use crate::{
    clean::{
        params::{Columns, Format},
        problem::{Problem, Reason},
    },
    records::{Message, TEXT, is_text},
};

/// A conversation as the row has it: in the right order, its text not yet cleaned.
#[derive(Debug, PartialEq)]
pub(in crate::clean) struct Draft {
    /// The name of the shape in reports.
    pub shape: &'static str,
    pub id: Option<String>,
    pub messages: Vec<Message>,
    /// A worse answer than the last turn.
    pub rejected: Option<String>,
    /// Whether the last turn is an answer to be given or avoided.
    pub desirable: Option<bool>,
    /// The columns that are no part of the conversation.
    pub meta: Map<String, Value>,
}

/// The columns of a row, taken out one by one under the names the data gives them.
pub(super) struct Row<'a> {
    columns: Map<String, Value>,
    names: &'a Columns,
}

/// The part a column plays.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Id,
    Instruction,
    Input,
    Output,
    History,
    System,
    Conversations,
    Messages,
    Prompt,
    Completion,
    Chosen,
    Rejected,
    Label,
    Text,
}

impl Row<'_> {
    /// The name of a part's column in the data.
    pub(super) fn name(&self, part: Part) -> &str {
        let (given, usual) = match part {
            Part::Id => (&self.names.id, "id"),
            Part::Instruction => (&self.names.instruction, "instruction"),
            Part::Input => (&self.names.input, "input"),
            Part::Output => (&self.names.output, "output"),
            Part::History => (&self.names.history, "history"),
            Part::System => (&self.names.system, "system"),
            Part::Conversations => (&self.names.conversations, "conversations"),
            Part::Messages => (&self.names.messages, "messages"),
            Part::Prompt => (&self.names.prompt, "prompt"),
            Part::Completion => (&self.names.completion, "completion"),
            Part::Chosen => (&self.names.chosen, "chosen"),
            Part::Rejected => (&self.names.rejected, "rejected"),
            Part::Label => (&self.names.label, "kto_tag"),
            Part::Text => (&self.names.text, "text"),
        };
        given.as_deref().unwrap_or(usual)
    }

    pub(super) fn has(&self, part: Part) -> bool {
        self.columns.contains_key(self.name(part))
    }

    /// What stands in a column.
    pub(super) fn value(&self, part: Part) -> Option<&Value> {
        self.columns.get(self.name(part))
    }

    /// Takes a column of no part out, if it holds a truth value.
    pub(super) fn take_truth(&mut self, name: &str) -> Option<bool> {
        let truth = truth(self.columns.get(name)?)?;
        self.columns.shift_remove(name);
        Some(truth)
    }

    /// Takes a column out; an absent one and `null` are the same.
    pub(super) fn take(&mut self, part: Part) -> Option<Value> {
        let name = self.name(part).to_owned();
        self.columns.shift_remove(&name).filter(|value| !value.is_null())
    }

    /// Takes a column of text out; empty when it is absent.
    pub(super) fn take_text(&mut self, part: Part) -> Result<String, Problem> {
        match self.take(part) {
            None => Ok(String::new()),
            Some(value) => text(value).map_err(|kind| {
                Problem::new(Reason::WrongType, format!("the column `{}` holds {kind}, not a text", self.name(part)))
            }),
        }
    }

    /// Takes a column of turns out: an array, or the text of one as CSV files have it.
    pub(super) fn take_turns(&mut self, part: Part) -> Result<Vec<Value>, Problem> {
        let name = self.name(part).to_owned();
        match self.take(part) {
            None => Ok(Vec::new()),
            Some(Value::Array(turns)) => Ok(turns),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(Vec::new()),
            Some(Value::String(text)) => serde_json::from_str(&text).map_err(|error| {
                Problem::new(Reason::WrongType, format!("the column `{name}` is no JSON array: {error}"))
            }),
            Some(other) => Err(Problem::new(
                Reason::WrongType,
                format!("the column `{name}` holds {}, not an array", kind(&other)),
            )),
        }
    }
}

/// A value as text: numbers and truth values as they are written.
pub(super) fn text(value: Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        other => Err(kind(&other)),
    }
}

/// A truth value, also as a number or as the text that CSV files have.
pub(super) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) => number.as_u64().filter(|number| *number < 2).map(|number| number == 1),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Some(true),
            "false" | "0" | "no" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// What a value is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Makes a conversation of a row.
pub(in crate::clean) fn shape_row(
    columns: Map<String, Value>,
    format: Format,
    names: &Columns,
) -> Result<Draft, Problem> {
    let mut row = Row { columns, names };
    let format = match format {
        Format::Auto if row.has(Part::Messages) => Format::Messages,
        Format::Auto if row.has(Part::Conversations) => Format::ShareGpt,
        Format::Auto if row.has(Part::Instruction) || row.has(Part::Output) => Format::Alpaca,
        Format::Auto if prompt::fits(&row) => Format::Prompt,
        Format::Auto if row.value(Part::Text).is_some_and(Value::is_string) => Format::Text,
        Format::Auto => return Err(no_shape(&row)),
        named => named,
    };
    let id = row.take(Part::Id).map(|id| {
        text(id).map_err(|kind| Problem::new(Reason::WrongType, format!("the id is {kind}, not a text or a number")))
    });
    let id = id.transpose()?.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
    let (shape, mut messages) = match format {
        Format::Messages => ("messages", messages::read(&mut row)?),
        Format::ShareGpt => ("sharegpt", sharegpt::read(&mut row)?),
        Format::Prompt => ("prompt", prompt::read(&mut row)?),
        Format::Text => ("text", vec![Message::new(TEXT, row.take_text(Part::Text)?)]),
        Format::Alpaca | Format::Auto => ("alpaca", alpaca::read(&mut row)?),
    };
    let mut rejected = None;
    let mut desirable = None;
    if !is_text(&messages) {
        rejected = answers::compared(&mut row, &mut messages)?;
        desirable = answers::label(&mut row, format)?;
        turns::order(&mut messages)?;
    }
    let mut meta = row.columns;
    // A row of a records artifact brings its meta along.
    if format == Format::Messages
        && let Some(Value::Object(inner)) = meta.get_mut("meta")
    {
        let inner = std::mem::take(inner);
        meta.shift_remove("meta");
        for (name, value) in inner {
            meta.entry(name).or_insert(value);
        }
    }
    Ok(Draft { shape, id, messages, rejected, desirable, meta })
}

/// Other names under which questions and answers are commonly found.
const ALIASES: [(&str, &[&str]); 2] = [
    ("instruction", &["question", "query", "ask", "title", "问题", "提问", "问"]),
    ("output", &["answer", "response", "completion", "reply", "target", "回答", "答案", "答"]),
];

fn no_shape(row: &Row<'_>) -> Problem {
    let mut found: Vec<String> = row.columns.keys().take(12).map(|name| format!("`{name}`")).collect();
    if row.columns.len() > found.len() {
        found.push("…".to_owned());
    }
    let mut detail =
        String::from("none of the columns `messages`, `conversations`, `instruction`, `prompt`, `text` is there");
    if !found.is_empty() {
        let _ = write!(detail, "; there are {}", found.join(", "));
    }
    let likely: Vec<String> = ALIASES
        .iter()
        .filter_map(|(part, aliases)| {
            let name = row.columns.keys().find(|name| aliases.contains(&name.to_lowercase().as_str()))?;
            Some(format!("{part}: {name}"))
        })
        .collect();
    if !likely.is_empty() {
        let _ = write!(detail, "; say `columns: {{ {} }}`", likely.join(", "));
    }
    Problem::new(Reason::MissingColumn, detail)
}
