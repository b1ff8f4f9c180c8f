use super::locate;
use crate::{ChatTemplate, CheckpointError, Message, Tokenizer};

/// Which turns the model learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainOn {
    /// Every assistant turn.
    All,
    /// The last assistant turn.
    Last,
}

/// A conversation as the model sees it in training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids; the last one is the end of the last assistant turn.
    pub ids: Vec<u32>,
    /// Whether the token is a target of the loss; as long as `ids`.
    pub mask: Vec<bool>,
    /// Tokens before the first target.
    pub prompt_len: usize,
    /// Turns after the last assistant turn, which nothing can be learnt from; they are left out.
    pub dropped_turns: usize,
    /// Whether the template prints no end-of-turn token, so that the tokenizer's end-of-text token was put there.
    pub added_end: bool,
}

impl Encoded {
    /// Targets of the loss.
    pub fn supervised(&self) -> usize {
        self.mask.iter().filter(|target| **target).count()
    }
}

/// Tokenizes a conversation with the model's own template and marks what the model is to learn.
///
/// The text is the template's rendering up to the end of the last assistant turn, tokenized in one piece as
/// `apply_chat_template` of transformers does. Targets are the tokens from where the generation prompt ends to the end of
/// the turn, the end-of-turn token included; what the template prints after the last one (a line break, mostly) is cut.
///
/// # Errors
/// No assistant turn, an empty one, and what the template refuses.
pub fn encode_conversation(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message<'_>],
    train_on: TrainOn,
) -> Result<Encoded, CheckpointError> {
    let last = messages.iter().rposition(Message::is_assistant).ok_or_else(|| {
        CheckpointError::new("conversation::no_answer", "the conversation has no assistant turn to learn from")
            .with_help("drop such rows, or check that the answers are in the column the `clean` stage reads")
    })?;
    let kept = &messages[..=last];
    let text = template.render(kept, false)?;
    let encoded = tokenizer.encode_with_offsets(&text)?;
    let mut row = Row { tokenizer, text: &text, ids: encoded.ids, offsets: encoded.offsets, mask: Vec::new() };
    row.mask = vec![false; row.ids.len()];

    let last_turn = locate::turn(template, kept, last, &text)?;
    let closing = &text[last_turn.end..];
    if train_on == TrainOn::All {
        for at in (0..last).filter(|at| kept[*at].is_assistant()) {
            let turn = locate::turn(template, kept, at, &text)?;
            row.supervise(turn.start, turn.end);
            // Every turn is closed alike; what follows that is the next turn's.
            let closed = locate::common_prefix(&text[turn.end..], closing).len();
            if let Some(end) = row.end_of_turn(turn.end, turn.end + closed) {
                row.supervise(turn.end, row.offsets[end].1);
            }
        }
    }
    row.supervise(last_turn.start, last_turn.end);
    let added_end = row.close(last_turn.end)?;
    row.drop_second_bos();
    let prompt_len = row.mask.iter().position(|target| *target).unwrap_or(row.ids.len());
    Ok(Encoded { ids: row.ids, mask: row.mask, prompt_len, dropped_turns: messages.len() - last - 1, added_end })
}

/// A row being marked.
struct Row<'a> {
    tokenizer: &'a Tokenizer,
    text: &'a str,
    ids: Vec<u32>,
    /// Byte range of each token in `text`, in order.
    offsets: Vec<(usize, usize)>,
    mask: Vec<bool>,
}

impl Row<'_> {
    /// Marks every token that covers text of the range.
    fn supervise(&mut self, start: usize, end: usize) {
        for (target, (from, to)) in self.mask.iter_mut().zip(&self.offsets) {
            *target |= *to > start && *from < end;
        }
    }

    /// The first special token that lies inside the range.
    fn end_of_turn(&self, start: usize, end: usize) -> Option<usize> {
        self.offsets
            .iter()
            .zip(&self.ids)
            .position(|((from, to), id)| *from >= start && *to <= end && self.tokenizer.is_special(*id))
    }

    /// Ends the row with the end of the turn whose content ends at `end`; says whether the token had to be added.
    fn close(&mut self, end: usize) -> Result<bool, CheckpointError> {
        if let Some(at) = self.end_of_turn(end, self.text.len()) {
            self.ids.truncate(at + 1);
            self.mask.truncate(at + 1);
            self.offsets.truncate(at + 1);
            // What stands between the answer and the token (a space) has to be said to get there.
            self.supervise(end, self.offsets[at].1);
            return Ok(false);
        }
        let eos = self.tokenizer.eos().ok_or_else(|| {
            CheckpointError::new(
                "conversation::no_end",
                "neither the chat template nor the tokenizer has a token that ends a turn, so the model could not learn to stop",
            )
            .with_help("give another template with the parameter `template`")
        })?;
        let kept = self.offsets.iter().take_while(|(from, _)| *from < end).count();
        self.ids.truncate(kept);
        self.mask.truncate(kept);
        self.ids.push(eos);
        self.mask.push(true);
        Ok(true)
    }

    /// A template that prints the first token itself and a text that starts with it would give two.
    fn drop_second_bos(&mut self) {
        if let [first, second, ..] = self.ids[..]
            && Some(first) == self.tokenizer.bos()
            && first == second
            && !self.mask[1]
        {
            self.ids.remove(0);
            self.mask.remove(0);
        }
    }
}
