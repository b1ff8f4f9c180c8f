use burn::tensor::Tensor;

use super::cache::{LayerCache, PromptLayout};
use crate::{
    LlmError, Model,
    model::{Batch, DecoderPass, Row, attend, capped, check_prompt, common_prefix, decoder_layer, indices},
};

/// Rows are dropped from the batch once at least this share of them is done.
const DONE_BEFORE_COMPACTION: f64 = 0.25;

/// How to answer.
#[derive(Debug, Clone, Copy)]
pub struct GreedyOptions<'a> {
    /// An answer ends after this many tokens at the latest.
    pub max_new_tokens: usize,
    /// Any of these tokens ends an answer and is not part of it.
    pub stop: &'a [u32],
    /// Prompts that are answered together.
    pub batch_size: usize,
}

/// What the model said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The tokens, without the one that ended it.
    pub ids: Vec<u32>,
    /// Whether it was cut off at `max_new_tokens`.
    pub cut_off: bool,
}

impl Model {
    /// The most likely next token, again and again, for every prompt. `progress` is told the prompts answered.
    ///
    /// Prompts of similar length are answered together; the order of the answers is that of the prompts.
    ///
    /// # Errors
    /// A prompt the model cannot take; a failing device.
    pub fn greedy(
        &self,
        prompts: &[Vec<u32>],
        options: GreedyOptions<'_>,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<Answer>, LlmError> {
        for (index, prompt) in prompts.iter().enumerate() {
            check_prompt(prompt, index, options.max_new_tokens, self.config())?;
        }
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|&index| (prompts[index].len(), index));
        let mut answers = vec![Answer { ids: Vec::new(), cut_off: false }; prompts.len()];
        let mut done = 0;
        for together in order.chunks(options.batch_size.max(1)) {
            let batch: Vec<&[u32]> = together.iter().map(|&index| prompts[index].as_slice()).collect();
            for (&index, answer) in together.iter().zip(self.answer(&batch, options)?) {
                answers[index] = answer;
            }
            done += together.len();
            progress(done);
        }
        Ok(answers)
    }

    fn answer(&self, prompts: &[&[u32]], options: GreedyOptions<'_>) -> Result<Vec<Answer>, LlmError> {
        // Keys stay as they were turned, so all steps turn by the same frequencies: those of the longest answer there can be.
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0) + options.max_new_tokens;
        let mut answers = vec![Answer { ids: Vec::new(), cut_off: true }; prompts.len()];
        let (mut layout, mut caches, mut next) = self.read_prompts(prompts, longest)?;
        // The rows still in the batch; those that are done stay in it until enough are.
        let mut rows: Vec<usize> = (0..prompts.len()).collect();
        for step in 0..options.max_new_tokens {
            for (&row, token) in rows.iter().zip(&next) {
                let answer = &mut answers[row];
                if answer.cut_off && options.stop.contains(token) {
                    answer.cut_off = false;
                } else if answer.cut_off {
                    answer.ids.push(*token);
                }
            }
            let going: Vec<u32> = (0..rows.len() as u32)
                .filter(|&at| {
                    let answer = &answers[rows[at as usize]];
                    answer.cut_off && answer.ids.len() < options.max_new_tokens
                })
                .collect();
            if going.is_empty() {
                break;
            }
            let done = rows.len() - going.len();
            if done > 0 && done as f64 >= DONE_BEFORE_COMPACTION * rows.len() as f64 {
                layout.keep(&going);
                let kept = indices(&going, self.device());
                for cache in &mut caches {
                    cache.keep(&kept);
                }
                rows = going.iter().map(|&at| rows[at as usize]).collect();
                next = going.iter().map(|&at| next[at as usize]).collect();
            }
            let positions: Vec<u32> = rows.iter().map(|&row| (prompts[row].len() + step) as u32).collect();
            next = self.next_tokens(&next, &positions, longest, &layout, &mut caches)?;
        }
        Ok(answers)
    }

    /// One pass over the packed prompts: the cache, and each prompt's first answer token.
    fn read_prompts(
        &self,
        prompts: &[&[u32]],
        longest: usize,
    ) -> Result<(PromptLayout, Vec<LayerCache>, Vec<u32>), LlmError> {
        // A row's last token is only ever predicted, so a prompt is a row with one more, of which nothing is read.
        let rows: Vec<(Vec<u32>, Vec<u8>)> = prompts
            .iter()
            .map(|prompt| {
                let mut mask = vec![0; prompt.len()];
                mask.push(1);
                (prompt.iter().copied().chain([0]).collect(), mask)
            })
            .collect();
        let rows: Vec<Row<'_>> = rows.iter().map(|(ids, mask)| Row { ids, mask }).collect();
        let prefix = if rows.len() > 1 { common_prefix(&rows) } else { 0 };
        let batch = Batch::new(&rows, true);
        let mut places = vec![Vec::new(); prompts.len()];
        let mut start = prefix;
        for (&row, &own) in batch.order.iter().zip(&batch.own) {
            places[row] = (0..prefix).chain(start..start + own).collect();
            start += own;
        }
        let layout = PromptLayout::new(&places, self.config(), self.device());
        let mut tables = self.tables(&batch);
        tables.rope = self.rope.rows(batch.positions(), longest);
        let mut caches = Vec::with_capacity(self.layers.len());
        let mut hidden = self.embed(tables.ids.clone());
        for (index, layer) in self.layers.iter().enumerate() {
            let last = index + 1 == self.layers.len();
            let pass =
                DecoderPass { keep: last.then_some(&tables.sources), ..self.pass(index, tables.rope.of_layer(index)) };
            hidden = decoder_layer(layer, pass, hidden, |query, key, value| {
                caches.push(layout.cache(key.clone(), value.clone()));
                attend(query, key, value, &tables.attention, index)
            });
        }
        let said = self.most_likely(hidden)?;
        let mut first = vec![0; prompts.len()];
        for (&row, token) in batch.target_rows.iter().zip(said) {
            first[row] = token;
        }
        Ok((layout, caches, first))
    }

    fn next_tokens(
        &self,
        tokens: &[u32],
        positions: &[u32],
        longest: usize,
        layout: &PromptLayout,
        caches: &mut [LayerCache],
    ) -> Result<Vec<u32>, LlmError> {
        let rope = self.rope.rows(positions, longest);
        let mut hidden = self.embed(indices(tokens, self.device()));
        for (index, (layer, cache)) in self.layers.iter().zip(caches).enumerate() {
            hidden = decoder_layer(layer, self.pass(index, rope.of_layer(index)), hidden, |query, key, value| {
                cache.attend(layout, index, query, key, value)
            });
        }
        self.most_likely(hidden)
    }

    fn pass<'a>(&'a self, layer: usize, rope: &'a crate::model::FormRows) -> DecoderPass<'a> {
        DecoderPass { layer, lora: &self.lora.layers[layer], scale: self.lora.scale, noise: None, rope, keep: None }
    }

    /// The head's choice for each hidden state `[rows, hidden]`.
    fn most_likely(&self, hidden: Tensor<2>) -> Result<Vec<u32>, LlmError> {
        let logits = capped(self.norm.forward(hidden).matmul(self.head().transpose()), self.config().logit_cap);
        let chosen = logits.argmax(1).try_into_vec_as::<i32>();
        let chosen = chosen.map_err(|error| LlmError::Device { reason: format!("{error:?}") })?;
        Ok(chosen.into_iter().map(|token| token as u32).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{
        device::tiny_model,
        random::{Purpose, stream, unit},
    };

    /// What decoding without a cache says: the whole row through the model again for every token.
    fn plainly(model: &Model, prompt: &[u32], options: GreedyOptions<'_>) -> Answer {
        let mut ids = prompt.to_vec();
        for _ in 0..options.max_new_tokens {
            let mut mask = vec![0; ids.len()];
            mask.push(1);
            let rows = vec![(ids.iter().copied().chain([0]).collect::<Vec<_>>(), mask)];
            let next = model.row_losses(&rows, |_| {}).unwrap()[0].argmax[0];
            if options.stop.contains(&next) {
                return Answer { ids: ids[prompt.len()..].to_vec(), cut_off: false };
            }
            ids.push(next);
        }
        Answer { ids: ids[prompt.len()..].to_vec(), cut_off: true }
    }

    #[test]
    fn batches_with_a_cache_say_what_each_prompt_says_by_itself() {
        let model = tiny_model(&Device::flex()).unwrap();
        let mut random = stream(9, Purpose::Order, 0);
        let mut token = || (unit(&mut random) * 20.0) as u32;
        let prompts: Vec<Vec<u32>> =
            (0..11).map(|row| [1, 2, 3].into_iter().chain((0..=row % 5).map(|_| token())).collect()).collect();
        for stop in [&[][..], &[4, 7, 11][..]] {
            for batch_size in [1, 4, 16] {
                let options = GreedyOptions { max_new_tokens: 9, stop, batch_size };
                let mut told = 0;
                let answers = model.greedy(&prompts, options, |done| told = done).unwrap();
                assert_eq!(told, prompts.len());
                for (prompt, answer) in prompts.iter().zip(&answers) {
                    assert_eq!(*answer, plainly(&model, prompt, options), "{prompt:?}");
                }
            }
        }
    }

    #[test]
    fn a_prompt_the_model_cannot_take_is_refused_by_its_row() {
        let model = tiny_model(&Device::flex()).unwrap();
        let options = GreedyOptions { max_new_tokens: 60, stop: &[], batch_size: 2 };
        let code = |prompt: Vec<u32>| model.greedy(&[vec![1], prompt], options, |_| {}).unwrap_err();
        assert!(matches!(code(vec![]), LlmError::EmptyPrompt { row: 1 }));
        assert!(matches!(code(vec![99]), LlmError::TokenOutOfRange { row: 1, token: 99, vocabulary: 20 }));
        assert!(matches!(code(vec![1; 5]), LlmError::PromptTooLong { row: 1, prompt: 5, .. }));
    }
}
