use super::{Model, Row};
use crate::{
    LlmError,
    generate::{GenerationOptions, Prompt, Sampling},
};

/// What a model answers to some prompts, token by token with all logits, to hold another model against.
#[derive(Debug)]
pub struct Answers {
    /// Prompt and answer, and the logits that led to each token of the answer.
    rows: Vec<(Vec<u32>, Vec<Vec<f32>>)>,
}

/// How far another model agrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Tokens that were compared.
    pub places: usize,
    /// Tokens that are the other's first choice too.
    pub same: usize,
    /// The largest difference of the logits of one token, a common shift left out: the root of its mean square, divided by
    /// their standard deviation.
    pub difference: f64,
    /// The first token that is another one although the first model preferred its own by more than the logits differ.
    pub contradiction: Option<Place>,
}

/// A token of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index of the prompt.
    pub prompt: usize,
    /// Index in the answer.
    pub token: usize,
}

impl Answers {
    /// Lets a model answer each prompt with its most likely tokens, as many as `length`, past what ends an answer.
    ///
    /// # Errors
    /// A prompt the model cannot take; a failing device.
    pub fn of(model: &Model, prompts: &[Vec<u32>], length: usize) -> Result<Self, LlmError> {
        let options = GenerationOptions {
            max_new_tokens: length,
            stop: &[],
            stop_strings: None,
            batch_size: prompts.len(),
            sampling: Sampling::default(),
        };
        let asked: Vec<Prompt> = (0..).zip(prompts).map(|(name, ids)| Prompt { ids: ids.clone(), name }).collect();
        // The logits come of burn operations, so the answers do too: one form of the weights is enough.
        let answers = model.generate_composed(&asked, options, |_| {})?.answers;
        let row = |(prompt, answer): (&Vec<u32>, Vec<u32>)| {
            let ids = [prompt.as_slice(), &answer].concat();
            let logits = logits(model, &ids, prompt.len())?;
            Ok((ids, logits))
        };
        let rows = prompts.iter().zip(answers.into_iter().map(|answer| answer.ids)).map(row);
        Ok(Self { rows: rows.collect::<Result<_, LlmError>>()? })
    }

    /// Lets another model read the same answers.
    ///
    /// # Errors
    /// As [`Answers::of`].
    pub fn compare(&self, other: &Model) -> Result<Agreement, LlmError> {
        let mut agreement = Agreement { places: 0, same: 0, difference: 0.0, contradiction: None };
        for (prompt, (ids, expected)) in self.rows.iter().enumerate() {
            let found = logits(other, ids, ids.len() - expected.len())?;
            for (token, (expected, found)) in expected.iter().zip(&found).enumerate() {
                let (chosen, other) = (most_likely(expected), most_likely(found));
                // What is added to all logits alike changes no probability.
                let shift = mean(expected) - mean(found);
                let off = expected.iter().zip(found).map(|(a, b)| f64::from(a - b) - shift);
                let largest = off.clone().fold(0f64, |most, off| most.max(off.abs()));
                let off = (off.map(|off| off * off).sum::<f64>() / expected.len() as f64).sqrt() / spread(expected);
                // `max` would pass over a NaN.
                agreement.difference =
                    if off > agreement.difference || off.is_nan() { off } else { agreement.difference };
                agreement.places += 1;
                agreement.same += usize::from(chosen == other);
                if f64::from(expected[chosen] - expected[other]) > 2.0 * largest {
                    agreement.contradiction.get_or_insert(Place { prompt, token });
                }
            }
        }
        Ok(agreement)
    }
}

/// The logits that lead to each token from `start` on.
fn logits(model: &Model, ids: &[u32], start: usize) -> Result<Vec<Vec<f32>>, LlmError> {
    let mask: Vec<u8> = (0..ids.len()).map(|at| u8::from(at >= start)).collect();
    model.logits(Row { ids, mask: &mask })
}

fn most_likely(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, at| if logits[at] > logits[best] { at } else { best })
}

/// The standard deviation.
fn spread(values: &[f32]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum();
    (squares / values.len() as f64).sqrt()
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::{adapter::Adapter, reference};

    #[test]
    fn a_model_agrees_with_itself_and_not_with_another() {
        let reference = reference::llama();
        let model = reference.model();
        let prompts = vec![vec![1, 2, 3], vec![5, 4]];
        let answers = Answers::of(&model, &prompts, 6).unwrap();
        let same = answers.compare(&model).unwrap();
        assert_eq!((same.places, same.same, same.contradiction), (12, 12, None));
        assert!(same.difference < 1e-6);
        let adapter: Adapter = reference.adapter();
        let other = answers.compare(&model.with(&adapter).unwrap()).unwrap();
        assert!(other.difference > 1e-2, "{other:?}");
    }

    #[test]
    fn a_merged_model_answers_as_base_and_adapter() {
        let reference = reference::llama();
        let adapter = reference.adapter();
        let tuned = reference.model().with(&adapter).unwrap();
        let merged = Model::build(reference.config.clone(), tuned.device(), |name| {
            let mut weight = reference.tensor(name);
            adapter.merge_into(name, &mut weight);
            Ok(weight)
        })
        .unwrap();
        let agreement = Answers::of(&tuned, &[vec![1, 2, 3, 4]], 8).unwrap().compare(&merged).unwrap();
        assert!(agreement.difference < 1e-4 && agreement.same == 8, "{agreement:?}");
    }
}
