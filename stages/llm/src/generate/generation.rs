use std::time::Instant;

use super::{
    Answer, Generated, GenerationOptions, Prompt,
    choice::{Choice, Underway},
    composed::ComposedDecoder,
};
use crate::{
    LlmError, Model,
    fused::{ComputePath, Decoder},
    model::{TOKENS_AT_ONCE, check_prompt},
};

/// Prompts take the place of answers that are done once so many of the places are free; reading few at a time is dear.
const FREE_BEFORE_READING: f64 = 0.25;

/// Rows of a cache, of which each step makes one token longer.
pub(super) trait Decode {
    /// Whether prompts may join rows that are there.
    const JOINS: bool;
    /// Reads prompts, each of which becomes a row behind those that are there, and chooses what follows.
    fn read(&mut self, prompts: &[&[u32]], choice: &mut Choice<'_>) -> Result<(), LlmError>;
    /// Adds one token to each row, and chooses what follows.
    fn step(&mut self, tokens: &[u32], choice: &mut Choice<'_>) -> Result<(), LlmError>;
    /// Whether `done` rows of `all` are enough to drop them.
    fn drops(&self, done: usize, all: usize) -> bool;
    /// Keeps some of the rows.
    fn retain(&mut self, kept: &[bool]);
}

impl Decode for Decoder<'_> {
    const JOINS: bool = true;

    fn read(&mut self, prompts: &[&[u32]], choice: &mut Choice<'_>) -> Result<(), LlmError> {
        let isa = self.isa();
        Self::read(self, prompts, |logits| choice.choose(isa, logits))
    }

    fn step(&mut self, tokens: &[u32], choice: &mut Choice<'_>) -> Result<(), LlmError> {
        let isa = self.isa();
        Self::step(self, tokens, |logits| choice.choose(isa, logits))
    }

    fn drops(&self, done: usize, _: usize) -> bool {
        done > 0
    }

    fn retain(&mut self, kept: &[bool]) {
        Self::retain(self, kept);
    }
}

impl Model {
    /// Answers every prompt, token by token. `progress` is told how many have their answer.
    ///
    /// An answer depends on its prompt, the seed and the prompt's name alone: not on the others, on the batch size or, on
    /// a CPU, on the number of threads. Only where rotary frequencies depend on a row's length (`LongRoPE`), they are those of
    /// the longest row that there can be.
    ///
    /// # Errors
    /// A prompt the model cannot take; a failing device.
    pub fn generate(
        &self,
        prompts: &[Prompt],
        options: GenerationOptions<'_>,
        progress: impl FnMut(usize),
    ) -> Result<Generated, LlmError> {
        for (index, prompt) in prompts.iter().enumerate() {
            check_prompt(&prompt.ids, index, options.max_new_tokens, self.config())?;
        }
        if ComputePath::of(self).is_fused() {
            let decoder = Decoder::new(self, common_beginning(prompts), longest(prompts, options))?;
            generate(decoder, prompts, options, progress)
        } else {
            self.generate_composed(prompts, options, progress)
        }
    }

    /// [`Model::generate`] by burn operations, on any device.
    pub(crate) fn generate_composed(
        &self,
        prompts: &[Prompt],
        options: GenerationOptions<'_>,
        progress: impl FnMut(usize),
    ) -> Result<Generated, LlmError> {
        generate(ComposedDecoder::new(self, longest(prompts, options)), prompts, options, progress)
    }
}

/// Answers prompts in turn, as many at a time as there is place for.
fn generate<D: Decode>(
    mut decoder: D,
    prompts: &[Prompt],
    options: GenerationOptions<'_>,
    mut progress: impl FnMut(usize),
) -> Result<Generated, LlmError> {
    let mut generated = Generated { answers: vec![Answer::default(); prompts.len()], ..Generated::default() };
    let mut rows: Vec<Underway<'_>> = Vec::new();
    // The token that each row is about to read.
    let mut next: Vec<u32> = Vec::new();
    let (mut waiting, mut done) = (0, 0);
    let places = options.batch_size.max(1);
    while waiting < prompts.len() || !rows.is_empty() {
        let free = places.saturating_sub(rows.len());
        let enough = D::JOINS && free as f64 >= FREE_BEFORE_READING * places as f64;
        let began = Instant::now();
        let (chosen, first) = if waiting < prompts.len() && (rows.is_empty() || enough) {
            let first = rows.len();
            let mut tokens = 0;
            while waiting < prompts.len() && rows.len() < places {
                let prompt = &prompts[waiting];
                tokens += prompt.ids.len();
                if rows.len() > first && tokens > TOKENS_AT_ONCE {
                    break;
                }
                rows.push(Underway::new(prompt, waiting, &options.sampling));
                waiting += 1;
            }
            let read: Vec<&[u32]> = rows[first..].iter().map(|row| row.prompt.ids.as_slice()).collect();
            let mut choice = Choice { sampling: options.sampling, rows: &rows[first..], tokens: Vec::new() };
            decoder.read(&read, &mut choice)?;
            generated.reading.count(read.iter().map(|prompt| prompt.len()).sum(), began);
            (choice.tokens, first)
        } else {
            let mut choice = Choice { sampling: options.sampling, rows: &rows, tokens: Vec::new() };
            decoder.step(&next, &mut choice)?;
            generated.answering.count(rows.iter().filter(|row| !row.done).count(), began);
            (choice.tokens, 0)
        };
        next.truncate(first);
        next.extend(&chosen);
        for (row, token) in rows[first..].iter_mut().zip(chosen).filter(|(row, _)| !row.done) {
            if options.stop.contains(&token) {
                row.done = true;
            } else {
                row.say(token, &options.sampling);
                let stopped = options.stop_strings.map_or(Ok(false), |stop| stop.reached(&row.answer.ids))?;
                row.answer.cut_off = !stopped && row.answer.ids.len() == options.max_new_tokens;
                row.done = stopped || row.answer.cut_off;
            }
            if row.done {
                generated.answers[row.index] = std::mem::take(&mut row.answer);
                done += 1;
                progress(done);
            }
        }
        let finished = rows.iter().filter(|row| row.done).count();
        if finished == rows.len() || decoder.drops(finished, rows.len()) {
            let kept: Vec<bool> = rows.iter().map(|row| !row.done).collect();
            decoder.retain(&kept);
            let mut keep = kept.iter();
            next.retain(|_| keep.next().is_some_and(|kept| *kept));
            rows.retain(|row| !row.done);
        }
    }
    Ok(generated)
}

/// Tokens that the longest prompt and its answer can have.
fn longest(prompts: &[Prompt], options: GenerationOptions<'_>) -> usize {
    prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0) + options.max_new_tokens
}

/// Tokens that all prompts begin with, if there are several.
pub(crate) fn common_beginning(prompts: &[Prompt]) -> usize {
    let Some((first, others)) = prompts.split_first().filter(|(_, others)| !others.is_empty()) else { return 0 };
    others.iter().fold(first.ids.len(), |shared, prompt| {
        first.ids[..shared].iter().zip(&prompt.ids).take_while(|(a, b)| a == b).count()
    })
}
