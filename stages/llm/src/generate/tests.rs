#![allow(clippy::unwrap_used, reason = "a test may panic")]

use burn::tensor::Device;

use super::{Answer, GenerationOptions, Prompt, Sampling};
use crate::{
    LlmError, Model,
    adapter::{Adapter, LoraConfig},
    device::{tiny_adapter, tiny_model},
    random::{Purpose, stream, unit},
};

/// Without an adapter, with LoRA, and with DoRA.
fn models() -> [Model; 3] {
    let base = tiny_model(&Device::flex()).unwrap();
    let tuned = |dora: bool| {
        let mut adapter = Adapter::initial(LoraConfig { dora, ..tiny_adapter() }, &base, 1).unwrap();
        let mut random = stream(2, Purpose::Init, u64::MAX);
        adapter.values.iter_mut().for_each(|value| *value += unit(&mut random) - 0.5);
        base.with(&adapter).unwrap()
    };
    [base.clone(), tuned(false), tuned(true)]
}

fn prompts(count: u32) -> Vec<Prompt> {
    let mut random = stream(9, Purpose::Order, 0);
    let mut token = || (unit(&mut random) * 20.0) as u32;
    let ids = |row: u32, token: &mut dyn FnMut() -> u32| {
        [1, 2, 3].into_iter().chain((0..=row % 5).map(|_| token())).collect()
    };
    (0..count).map(|row| Prompt { ids: ids(row, &mut token), name: 100 + u64::from(row) }).collect()
}

fn options(stop: &[u32], batch_size: usize, sampling: Sampling) -> GenerationOptions<'_> {
    GenerationOptions { max_new_tokens: 9, stop, stop_strings: None, batch_size, sampling }
}

/// What decoding without a cache says: the whole row through the model again for every token.
fn plainly(model: &Model, prompt: &[u32], options: GenerationOptions<'_>) -> Answer {
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
    for model in models() {
        for stop in [&[][..], &[4, 7, 11][..]] {
            for batch_size in [1, 4, 16] {
                let (prompts, options) = (prompts(11), options(stop, batch_size, Sampling::default()));
                let mut told = 0;
                let fused = model.generate(&prompts, options, |done| told = done).unwrap();
                assert_eq!(told, prompts.len());
                let composed = model.generate_composed(&prompts, options, |_| {}).unwrap();
                for (prompt, (fused, composed)) in prompts.iter().zip(fused.answers.iter().zip(&composed.answers)) {
                    let expected = plainly(&model, &prompt.ids, options);
                    assert_eq!(*fused, expected, "{prompt:?}");
                    assert_eq!(*composed, expected, "{prompt:?}");
                }
                assert_eq!(fused.reading.tokens, prompts.iter().map(|prompt| prompt.ids.len()).sum::<usize>());
                let said: usize =
                    fused.answers.iter().map(|answer| answer.ids.len() + usize::from(!answer.cut_off)).sum();
                assert_eq!(fused.answering.tokens, said - prompts.len());
            }
        }
    }
}

#[test]
fn what_is_drawn_depends_on_prompt_name_and_seed_alone() {
    let [_, model, _] = models();
    let sampling = Sampling {
        temperature: 1.3,
        top_k: Some(12),
        top_p: 0.9,
        repetition_penalty: 1.2,
        seed: 5,
        ..Sampling::default()
    };
    let prompts = prompts(11);
    let answers = |batch_size: usize, threads: usize, sampling: Sampling, prompts: &[Prompt]| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| model.generate(prompts, options(&[4], batch_size, sampling), |_| {}).unwrap().answers)
    };
    let first = answers(16, 1, sampling, &prompts);
    for (batch_size, threads) in [(1, 2), (3, 1), (4, 3), (11, 2)] {
        assert_eq!(first, answers(batch_size, threads, sampling, &prompts), "{batch_size} {threads}");
    }
    assert_eq!(first[3..7], answers(4, 2, sampling, &prompts[3..7]));
    assert_ne!(first, answers(16, 1, Sampling { seed: 6, ..sampling }, &prompts));
    let renamed: Vec<Prompt> =
        prompts.iter().map(|prompt| Prompt { name: prompt.name + 1, ..prompt.clone() }).collect();
    assert_ne!(first, answers(16, 1, sampling, &renamed));
    // Burn operations give the same logits but for rounding, and from them the same is drawn.
    let composed = model.generate_composed(&prompts, options(&[4], 4, sampling), |_| {}).unwrap();
    assert_eq!(first, composed.answers);
}

#[test]
fn a_penalty_counts_even_where_nothing_is_drawn() {
    let [model, ..] = models();
    let (prompts, plain) = (prompts(6), Sampling::default());
    let penalised = Sampling { repetition_penalty: 1.7, ..plain };
    let answers = |sampling| model.generate(&prompts, options(&[], 4, sampling), |_| {}).unwrap().answers;
    assert_ne!(answers(penalised), answers(plain));
    let composed = model.generate_composed(&prompts, options(&[], 4, penalised), |_| {}).unwrap();
    assert_eq!(answers(penalised), composed.answers);
}

#[test]
fn a_prompt_the_model_cannot_take_is_refused_by_its_row() {
    let [model, ..] = models();
    let options = GenerationOptions { max_new_tokens: 60, ..options(&[], 2, Sampling::default()) };
    let code = |ids: Vec<u32>| {
        let prompts = [vec![1], ids].map(|ids| Prompt { ids, name: 0 });
        model.generate(&prompts, options, |_| {}).unwrap_err()
    };
    assert!(matches!(code(vec![]), LlmError::EmptyPrompt { row: 1 }));
    assert!(matches!(code(vec![99]), LlmError::TokenOutOfRange { row: 1, token: 99, vocabulary: 20 }));
    assert!(matches!(code(vec![1; 5]), LlmError::PromptTooLong { row: 1, prompt: 5, .. }));
}
