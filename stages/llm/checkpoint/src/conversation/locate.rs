//! Finds in a rendered conversation what each assistant turn put there, by rendering again with other content. No marker
//! text and no token id is looked for, so every template works alike, also one that treats the last turn differently.

use std::ops::Range;

use crate::{ChatTemplate, CheckpointError, Message};

/// Where in `text`, the rendering of `messages`, the assistant's turn `at` lies, in bytes: from where the model speaks to
/// the end of the content. What closes the turn comes after it.
pub(super) fn turn(
    template: &ChatTemplate,
    messages: &[Message<'_>],
    at: usize,
    text: &str,
) -> Result<Range<usize>, CheckpointError> {
    let content = content(template, messages, at, text)?;
    let prompt = template.render(&messages[..at], true).ok();
    let start = match prompt {
        // What stands between the prompt and the content (a space, an empty thinking block) the model has to write too.
        Some(prompt) if text.starts_with(&prompt) && prompt.len() <= content.start => prompt.len(),
        // The prompt differs from what the template prints for a finished turn.
        _ => content.start,
    };
    Ok(start..content.end)
}

/// Where the content of one turn lies: what changes when only this content changes.
fn content(
    template: &ChatTemplate,
    messages: &[Message<'_>],
    at: usize,
    text: &str,
) -> Result<Range<usize>, CheckpointError> {
    let original = messages[at].content.trim();
    // The probe differs from the content in its first and its last character, so that both ends are found exactly.
    let probe: String = [original.chars().next(), original.chars().next_back()]
        .map(|end| if end == Some('q') { 'z' } else { 'q' })
        .into_iter()
        .collect();
    let mut probed = messages.to_vec();
    probed[at].content = &probe;
    let other = template.render(&probed, false)?;
    let prefix = text.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let most = text.len().min(other.len()) - prefix;
    let suffix = text.bytes().rev().zip(other.bytes().rev()).take(most).take_while(|(a, b)| a == b).count();
    let (mut start, mut end) = (prefix, text.len() - suffix);
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    if prefix == text.len() && other.len() == text.len() {
        return Err(CheckpointError::new(
            "template::turn_not_printed",
            "the chat template does not print what the assistant says",
        )
        .with_help("give another template with the parameter `template`"));
    }
    Ok(start..end)
}

/// The text both start with, on a character boundary.
pub(super) fn common_prefix<'a>(a: &'a str, b: &str) -> &'a str {
    let mut length = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    while !a.is_char_boundary(length) {
        length -= 1;
    }
    &a[..length]
}
