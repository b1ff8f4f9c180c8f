use refit_checkpoint::{CheckpointError, Tokenizer, conversation::Encoded};

/// A text that is no conversation, with the end-of-text token after it, in blocks of at most `longest` tokens. Every token is a
/// target; a block begins with the last token of the one before, so that its first target has something before it too.
pub(super) fn blocks(tokenizer: &Tokenizer, text: &str, longest: usize) -> Result<Vec<Encoded>, CheckpointError> {
    let mut ids = tokenizer.encode(text)?;
    ids.extend(tokenizer.eos());
    let mut blocks = Vec::new();
    let mut start = 0;
    loop {
        let end = (start + longest).min(ids.len());
        let mask = (start..end).map(|place| place > start).collect();
        let ids_of_block = ids[start..end].to_vec();
        blocks.push(Encoded { ids: ids_of_block, mask, prompt_len: 1, dropped_turns: 0, added_end: false });
        if end == ids.len() {
            return Ok(blocks);
        }
        start = end - 1;
    }
}
