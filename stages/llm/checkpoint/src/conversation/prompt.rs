use super::locate;
use crate::{ChatTemplate, CheckpointError, Message, Tokenizer};

/// The ids after which the model is to speak the last assistant turn: everything before that turn, then the generation
/// prompt. A conversation that ends with the user's turn is taken whole.
///
/// # Errors
/// What the template refuses.
pub fn prompt(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message<'_>],
) -> Result<Vec<u32>, CheckpointError> {
    let before = messages.iter().rposition(Message::is_assistant).unwrap_or(messages.len());
    let ids = tokenizer.encode(&template.render(&messages[..before], true)?)?;
    let doubled = ids.len() > 1 && ids[0] == ids[1] && Some(ids[0]) == tokenizer.bos();
    Ok(if doubled { ids[1..].to_vec() } else { ids })
}

/// The tokens at which generation ends: what the template closes an assistant turn with, and the end of text.
///
/// # Errors
/// A template that cannot render even one question and its answer.
pub fn stop_tokens(tokenizer: &Tokenizer, template: &ChatTemplate) -> Result<Vec<u32>, CheckpointError> {
    let messages = [Message::new("user", "question"), Message::new("assistant", "answer")];
    let text = template.render(&messages, false)?;
    let turn = locate::turn(template, &messages, 1, &text)?;
    let encoded = tokenizer.encode_with_offsets(&text)?;
    let closing = encoded
        .ids
        .iter()
        .zip(&encoded.offsets)
        .find(|(id, (from, _))| *from >= turn.end && tokenizer.is_special(**id))
        .map(|(id, _)| *id);
    let mut stops: Vec<u32> = closing.into_iter().collect();
    stops.extend(tokenizer.eos().filter(|eos| closing != Some(*eos)));
    Ok(stops)
}
