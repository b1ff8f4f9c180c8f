use refit_checkpoint::Tokenizer;

use crate::LlmError;

/// Texts that end an answer, wherever the borders between tokens lie.
#[derive(Debug, Clone)]
pub struct StopStrings<'a> {
    tokenizer: &'a Tokenizer,
    texts: &'a [String],
    /// The last tokens of an answer that surely hold a text which ends in the last of them.
    window: usize,
}

/// What the beginning of a window may lose: a character whose bytes lie in several tokens has at most four of them.
const MARGIN: usize = 4;

impl<'a> StopStrings<'a> {
    /// Texts, none of them empty, and the tokenizer that makes text of tokens.
    pub fn new(tokenizer: &'a Tokenizer, texts: &'a [String]) -> Self {
        let longest = texts.iter().map(String::len).max().unwrap_or(0);
        Self { tokenizer, texts, window: longest + MARGIN }
    }

    /// Whether an answer that ended with none of the texts before its last token does so now.
    pub(crate) fn reached(&self, ids: &[u32]) -> Result<bool, LlmError> {
        if self.texts.is_empty() {
            return Ok(false);
        }
        // Special tokens have no text, so they do not count.
        let mut left = self.window;
        let start = ids.iter().rposition(|id| {
            left -= usize::from(!self.tokenizer.is_special(*id));
            left == 0
        });
        let end = self.tokenizer.decode(&ids[start.unwrap_or(0)..])?;
        Ok(self.cut(&end).len() < end.len() && {
            let text = self.tokenizer.decode(ids)?;
            self.cut(&text).len() < text.len()
        })
    }

    /// What comes before the first of the texts.
    pub fn cut<'t>(&self, text: &'t str) -> &'t str {
        let first = self.texts.iter().filter_map(|stop| text.find(stop.as_str())).min();
        &text[..first.unwrap_or(text.len())]
    }
}
