use super::{Sampling, StopStrings};

/// A question, as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The tokens.
    pub ids: Vec<u32>,
    /// What names it among all: with the seed, it decides what is drawn for it.
    pub name: u64,
}

/// How to answer.
#[derive(Debug, Clone, Copy)]
pub struct GenerationOptions<'a> {
    /// An answer ends after this many tokens at the latest.
    pub max_new_tokens: usize,
    /// Any of these tokens ends an answer and is not part of it.
    pub stop: &'a [u32],
    /// Any of these texts ends an answer.
    pub stop_strings: Option<&'a StopStrings<'a>>,
    /// Prompts that are answered together.
    pub batch_size: usize,
    /// How the next token is chosen.
    pub sampling: Sampling,
}

/// What the model said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The tokens, without the one that ended it, and with those of the text that ended it.
    pub ids: Vec<u32>,
    /// Whether it was cut off at `max_new_tokens`.
    pub cut_off: bool,
}

/// All answers, and how fast they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Generated {
    /// In the order of the prompts.
    pub answers: Vec<Answer>,
    /// Reading the prompts: their tokens, what they share counted with each.
    pub reading: Speed,
    /// Saying the answers, without each one's first token, which comes of reading.
    pub answering: Speed,
}

impl Generated {
    /// All tokens of the answers over all the time it took.
    pub fn all(&self) -> Speed {
        Speed {
            tokens: self.answers.iter().map(|answer| answer.ids.len()).sum(),
            seconds: self.reading.seconds + self.answering.seconds,
        }
    }
}

/// How fast something went.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Speed {
    /// Tokens.
    pub tokens: usize,
    /// Seconds.
    pub seconds: f64,
}

impl Speed {
    /// Tokens in a second, if there were any.
    pub fn tokens_per_second(self) -> Option<f64> {
        (self.tokens > 0).then(|| self.tokens as f64 / self.seconds)
    }

    pub(super) fn count(&mut self, tokens: usize, since: std::time::Instant) {
        self.tokens += tokens;
        self.seconds += since.elapsed().as_secs_f64();
    }
}
