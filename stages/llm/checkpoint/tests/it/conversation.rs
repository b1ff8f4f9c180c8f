use std::collections::HashMap;

use proptest::prelude::*;
use refit_checkpoint::{
    ChatTemplate, Checkpoint, Message, Tokenizer,
    conversation::{Encoded, TrainOn, encode_conversation, prompt, stop_tokens},
};
use tempfile::TempDir;

use crate::support::folder;

const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
const LLAMA2: &str = "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}{% elif m.role == 'assistant' %}{{ ' ' + m.content + ' ' + eos_token }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}";
const LLAMA3: &str = "{% set loop_messages = messages %}{% for m in loop_messages %}{% set content = '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
/// Like Qwen3: an empty thinking block goes before the last answer only.
const THINKING: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
const PLAIN: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
/// The end-of-text token only after everything.
const ONE_END: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% else %}{{ eos_token }}{% endif %}";
/// Without a generation prompt the model itself has to say that it speaks.
const NO_PROMPT: &str =
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}";

struct Model {
    tokenizer: Tokenizer,
    template: ChatTemplate,
    _folder: TempDir,
}

fn model(template: &str) -> Model {
    let folder = folder(template);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    Model { tokenizer: checkpoint.tokenizer().unwrap(), template: checkpoint.chat_template().unwrap(), _folder: folder }
}

impl Model {
    fn encode(&self, talk: &[Message<'_>], train_on: TrainOn) -> Encoded {
        encode_conversation(&self.tokenizer, &self.template, talk, train_on).unwrap()
    }

    /// The text of tokens, specials spelled out; every byte is one token here.
    fn spell(&self, ids: impl IntoIterator<Item = u32>) -> String {
        let mut out = Vec::new();
        for id in ids {
            if self.tokenizer.is_special(id) {
                out.extend(self.tokenizer.token_of(id).unwrap().into_bytes());
            } else {
                out.push(BYTES.with(|bytes| bytes[&self.tokenizer.token_of(id).unwrap()]));
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The supervised stretches of a row.
    fn targets(&self, row: &Encoded) -> Vec<String> {
        let mut runs: Vec<Vec<u32>> = Vec::new();
        let mut inside = false;
        for (id, target) in row.ids.iter().zip(&row.mask) {
            if *target && !inside {
                runs.push(Vec::new());
            }
            if let (true, Some(run)) = (*target, runs.last_mut()) {
                run.push(*id);
            }
            inside = *target;
        }
        runs.into_iter().map(|run| self.spell(run)).collect()
    }
}

thread_local! {
    /// GPT-2's spelling of bytes, turned round.
    static BYTES: HashMap<String, u8> = {
        let plain = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let mut other = 256u32;
        (0..=255u8).map(|byte| {
            let char = if plain(&byte) { char::from(byte) } else { other += 1; char::from_u32(other - 1).unwrap() };
            (char.to_string(), byte)
        }).collect()
    };
}

fn talk<'a>(turns: &[(&'a str, &'a str)]) -> Vec<Message<'a>> {
    turns.iter().map(|(role, content)| Message::new(role, content)).collect()
}

const TWO: [(&str, &str); 4] = [("user", "one?"), ("assistant", "yes q"), ("user", "two?"), ("assistant", "no z")];

#[test]
fn targets_are_what_the_model_has_to_say() {
    let cases: [(&str, &str, &[&str], &[&str]); 7] = [
        ("chatml", CHATML, &["yes q<|im_end|>", "no z<|im_end|>"], &["no z<|im_end|>"]),
        ("llama 2", LLAMA2, &[" yes q </s>", " no z </s>"], &[" no z </s>"]),
        ("llama 3", LLAMA3, &["yes q<|eot_id|>", "no z<|eot_id|>"], &["no z<|eot_id|>"]),
        (
            "thinking",
            THINKING,
            &["yes q<|im_end|>", "<think>\n\n</think>\n\nno z<|im_end|>"],
            &["<think>\n\n</think>\n\nno z<|im_end|>"],
        ),
        ("plain", PLAIN, &[" yes q", " no z</s>"], &[" no z</s>"]),
        ("one end", ONE_END, &["yes q<|im_end|>", "no z<|im_end|>"], &["no z<|im_end|>"]),
        ("no prompt", NO_PROMPT, &["[assistant]yes q</s>", "[assistant]no z</s>"], &["[assistant]no z</s>"]),
    ];
    for (name, template, all, last) in cases {
        let model = model(template);
        let every = model.encode(&talk(&TWO), TrainOn::All);
        assert_eq!(model.targets(&every), all, "{name}");
        let only = model.encode(&talk(&TWO), TrainOn::Last);
        assert_eq!(model.targets(&only), last, "{name}");
        assert_eq!(every.ids, only.ids, "{name}");
        assert_eq!(every.added_end, name == "plain", "{name}");
        assert_eq!(only.mask[..only.prompt_len].iter().filter(|t| **t).count(), 0);
        assert!(only.mask[only.prompt_len] && *only.mask.last().unwrap());
    }
}

#[test]
fn content_that_the_template_trims_is_found() {
    let model = model(LLAMA3);
    let row = model.encode(&talk(&[("user", "x"), ("assistant", "  padded \n")]), TrainOn::All);
    assert_eq!(model.targets(&row), ["padded<|eot_id|>"]);
}

#[test]
fn awkward_contents_are_found_whole() {
    let model = model(CHATML);
    for content in [
        "",
        "q",
        "z",
        "qq",
        "qz",
        "zq",
        "assistant",
        "<",
        "\n",
        "🙂",
        "中",
        "one?",
        "<|im_start|>assistant\n",
        "a<|im_end|>b",
    ] {
        let row = model.encode(&talk(&[("user", "one?"), ("assistant", content)]), TrainOn::Last);
        assert_eq!(model.targets(&row), [format!("{content}<|im_end|>")], "{content:?}");
    }
}

#[test]
fn turns_after_the_last_answer_are_left_out_and_counted() {
    let model = model(CHATML);
    let open = model.encode(&talk(&[TWO[0], TWO[1], TWO[2]]), TrainOn::All);
    assert_eq!(open.dropped_turns, 1);
    assert_eq!(open.ids, model.encode(&talk(&TWO[..2]), TrainOn::All).ids);
}

#[test]
fn a_talk_without_an_answer_is_refused() {
    let model = model(CHATML);
    let error = encode_conversation(&model.tokenizer, &model.template, &talk(&TWO[..1]), TrainOn::All).unwrap_err();
    assert_eq!(error.code(), "conversation::no_answer");
}

#[test]
fn what_the_template_refuses_is_told() {
    let model = model(LLAMA2);
    let talk = talk(&[("system", "s"), TWO[0], TWO[1]]);
    let error = encode_conversation(&model.tokenizer, &model.template, &talk, TrainOn::All).unwrap_err();
    assert!(error.message().contains("Only user and assistant roles"), "{}", error.message());
}

#[test]
fn there_is_one_bos_at_most() {
    let doubled =
        model("{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}");
    let row = doubled.encode(&talk(&TWO[..2]), TrainOn::All);
    assert_eq!(doubled.spell(row.ids.iter().copied()), "<s>one?</s>yes q</s>");
    let ids = prompt(&doubled.tokenizer, &doubled.template, &talk(&TWO[..2])).unwrap();
    assert_eq!(doubled.spell(ids), "<s>one?</s>");
}

#[test]
fn prompt_and_row_fit_together() {
    for template in [CHATML, LLAMA2, LLAMA3, THINKING, PLAIN, ONE_END] {
        let model = model(template);
        let row = model.encode(&talk(&TWO), TrainOn::Last);
        let ids = prompt(&model.tokenizer, &model.template, &talk(&TWO)).unwrap();
        assert_eq!(ids, row.ids[..row.prompt_len]);
    }
}

#[test]
fn generation_stops_where_the_template_ends_a_turn() {
    let stops = |template: &str| {
        let model = model(template);
        model.spell(stop_tokens(&model.tokenizer, &model.template).unwrap())
    };
    assert_eq!(stops(CHATML), "<|im_end|></s>");
    assert_eq!(stops(LLAMA3), "<|eot_id|></s>");
    assert_eq!(stops(LLAMA2), "</s>");
    assert_eq!(stops(PLAIN), "</s>");
}

fn content() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a-zqz0-9 .\\n中文é🙂<>|]{1,12}")
        .unwrap()
        // What a template trims is not in its rendering.
        .prop_map(|text| format!("a{text}b"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// For every template: as many stretches as answers, each holding its answer, and the mask as long as the row.
    #[test]
    fn every_answer_is_supervised(contents in proptest::collection::vec(content(), 2..9), which in 0..7usize) {
        let turns: Vec<Message<'_>> = contents.iter().enumerate()
            .map(|(i, content)| Message::new(if i % 2 == 0 { "user" } else { "assistant" }, content)).collect();
        let model = model([CHATML, LLAMA2, LLAMA3, THINKING, PLAIN, ONE_END, NO_PROMPT][which]);
        let row = model.encode(&turns, TrainOn::All);
        prop_assert_eq!(row.ids.len(), row.mask.len());
        let answers: Vec<&str> = turns.iter().filter(|turn| turn.is_assistant()).map(|turn| turn.content).collect();
        let targets = model.targets(&row);
        prop_assert_eq!(targets.len(), answers.len());
        for (target, answer) in targets.iter().zip(&answers) {
            prop_assert!(target.contains(answer), "{target:?} {answer:?}");
        }
        for turn in turns.iter().filter(|turn| !turn.is_assistant()) {
            let whole = answers.iter().any(|answer| answer.contains(turn.content));
            prop_assert!(whole || !targets.iter().any(|target| target.contains(turn.content)));
        }
    }
}
