use crate::{
    clean::problem::{Problem, Reason},
    records::{Message, TEXT},
};

/// The role behind a name of any of the shapes.
pub(super) fn role(name: &str) -> Option<&'static str> {
    Some(match name.trim().to_ascii_lowercase().as_str() {
        "system" | "developer" => "system",
        "user" | "human" => "user",
        "assistant" | "gpt" | "chatgpt" | "bing" | "bard" | "model" | "function_call" => "assistant",
        // Of records of another stage.
        TEXT => TEXT,
        "tool" | "function" | "observation" | "tool_response" | "function_response" => "tool",
        _ => return None,
    })
}

/// The beginning of a conversation whose system prompt stands in a column of its own.
pub(super) fn with_system(system: String) -> Vec<Message> {
    if system.trim().is_empty() { Vec::new() } else { vec![Message::new("system", system)] }
}

/// Checks that the turns follow one another as a chat template expects: at most one system prompt, first; then user
/// (or tool results) and assistant in turn, the first a user's, the last an assistant's.
pub(super) fn order(messages: &mut Vec<Message>) -> Result<(), Problem> {
    let wrong = |detail: String| Err(Problem::new(Reason::WrongRoles, detail));
    messages.retain(|message| message.role != "system" || !message.content.trim().is_empty());
    // A column and a first turn may say the same.
    if let [first, second, ..] = messages.as_slice()
        && first.role == "system"
        && first == second
    {
        messages.remove(0);
    }
    let turns = &messages[usize::from(messages.first().is_some_and(|first| first.role == "system"))..];
    let mut before = "";
    for (number, turn) in (1..).zip(turns) {
        let fits = match turn.role.as_str() {
            "user" => matches!(before, "" | "assistant"),
            "assistant" => matches!(before, "user" | "tool"),
            "tool" => matches!(before, "assistant" | "tool"),
            _ => false,
        };
        if !fits {
            return match (turn.role.as_str(), before) {
                ("system", _) => wrong("there is a second system prompt".to_owned()),
                (role, "") => wrong(format!("the conversation begins with a turn of the {role}, not of the user")),
                (role, before) => wrong(format!("turn {number} is of the {role}, right after one of the {before}")),
            };
        }
        before = &turn.role;
    }
    match before {
        "assistant" => Ok(()),
        "" => wrong("the conversation has no turns".to_owned()),
        role => wrong(format!("the conversation ends with a turn of the {role}: there is no answer to learn")),
    }
}
