use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use refit_engine::stage::{Event, EventSink, Settings, Stage, StageError, StageKind, StepContext};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Tokenize;
use crate::tokens::Tokens;

const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Specials, then one token for each byte in GPT-2's spelling.
fn vocabulary() -> Vec<String> {
    let plain = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut other = 255;
    let mut spell = |byte: u8| {
        if plain(&byte) {
            return char::from(byte).to_string();
        }
        other += 1;
        char::from_u32(other).unwrap().to_string()
    };
    ["</s>", "<|im_start|>", "<|im_end|>"].map(str::to_owned).into_iter().chain((0..=255).map(&mut spell)).collect()
}

/// A model that can do nothing but tokenize.
fn model(folder: &Path, template: Option<&str>) {
    let size = vocabulary().len();
    let config = json!({"model_type": "llama", "hidden_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1,
        "intermediate_size": 2, "vocab_size": size, "max_position_embeddings": 64, "tie_word_embeddings": true,
        "_name_or_path": "tiny"});
    let added: Vec<Value> = (0..3)
        .map(|id| {
            json!({"id": id, "content": vocabulary()[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        })
        .collect();
    let vocab: serde_json::Map<String, Value> =
        vocabulary().into_iter().enumerate().map(|(id, token)| (token, json!(id))).collect();
    let tokenizer = json!({"version": "1.0", "added_tokens": added, "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": []}});
    let names = [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ];
    let mut shapes: BTreeMap<String, Vec<usize>> =
        names.iter().map(|name| (format!("model.layers.0.{name}.weight"), vec![2, 2])).collect();
    for name in ["model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm", "model.norm"] {
        shapes.insert(format!("{name}.weight"), vec![2]);
    }
    shapes.insert("model.embed_tokens.weight".into(), vec![size, 2]);
    let zeros = vec![0; size * 8];
    let views = shapes.iter().map(|(name, shape)| {
        let bytes = shape.iter().product::<usize>() * 4;
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), &zeros[..bytes]).unwrap())
    });
    fs_err::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    fs_err::write(folder.join("config.json"), config.to_string()).unwrap();
    fs_err::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let tokens = json!({"eos_token": "</s>", "chat_template": template});
    fs_err::write(folder.join("tokenizer_config.json"), tokens.to_string()).unwrap();
}

/// A step folder with a model and records.
struct Bench {
    folder: TempDir,
    inputs: BTreeMap<String, std::path::PathBuf>,
}

impl Bench {
    fn new(template: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        fs_err::create_dir(&path).unwrap();
        model(&path, template);
        Self { inputs: BTreeMap::from([("model".to_owned(), path)]), folder }
    }

    /// Rows of turns: user, assistant, user …
    fn records(mut self, port: &str, rows: &[&[&str]]) -> Self {
        let lines: String = rows
            .iter()
            .enumerate()
            .map(|(i, turns)| {
                let messages: Vec<Value> = turns
                    .iter()
                    .enumerate()
                    .map(|(i, text)| {
                        let role = ["user", "assistant"][i % 2];
                        json!({"role": role, "content": text})
                    })
                    .collect();
                format!("{}\n", json!({"id": format!("r{i}"), "messages": messages}))
            })
            .collect();
        let path = self.folder.path().join(format!("{port}.jsonl"));
        fs_err::write(&path, lines).unwrap();
        self.inputs.insert(port.to_owned(), path);
        self
    }

    fn run(&self, with: Value) -> Result<(Tokens, Value, Vec<String>), StageError> {
        let kind = StageKind::of::<Tokenize>();
        let lowered = kind.lower(with, &[]).unwrap();
        assert_eq!(lowered.problems, []);
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let seen = warnings.clone();
        let events = EventSink::new(move |event| {
            if let Event::Warning { message } = event {
                seen.lock().unwrap().push(message);
            }
        });
        let outputs = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let step = StepContext::new(self.inputs.clone(), &outputs, &outputs, Settings::default(), events);
        kind.run(lowered.with, &step)?;
        let report = fs_err::read_to_string(outputs.join("tokens/report.json")).unwrap();
        let warnings = warnings.lock().unwrap().clone();
        Ok((Tokens::open(&outputs.join("tokens"))?, serde_json::from_str(&report).unwrap(), warnings))
    }

    fn error(&self, with: Value) -> StageError {
        self.run(with).err().expect("this step must fail")
    }
}

fn spell(ids: &[u32]) -> String {
    let vocabulary = vocabulary();
    let text: String = ids.iter().map(|id| vocabulary[*id as usize].as_str()).collect();
    text.replace('Ġ', " ").replace('Ċ', "\n")
}

#[test]
fn rows_are_encoded_and_reported() {
    let bench = Bench::new(Some(CHATML))
        .records("train", &[&["a?", "b"], &["c?", "d", "e?", "f!"], &["g?", "h", "i?"]])
        .records("validation", &[&["x?", "y"]]);
    let (tokens, report, warnings) = bench.run(json!({})).unwrap();
    let train = tokens.part("train").unwrap();
    let (ids, mask) = train.get(1);
    let text = "<|im_start|>user\nc?<|im_end|>\n<|im_start|>assistant\nd<|im_end|>\n<|im_start|>user\ne?<|im_end|>\n<|im_start|>assistant\nf!<|im_end|>";
    assert_eq!(spell(ids), text);
    let targets: Vec<u32> = ids.iter().zip(mask).filter(|(_, target)| **target == 1).map(|(id, _)| *id).collect();
    assert_eq!(spell(&targets), "d<|im_end|>f!<|im_end|>");
    assert_eq!(tokens.part("validation").unwrap().len(), 1);
    assert_eq!(tokens.facts().model, "tiny");
    assert_eq!(tokens.facts().template, CHATML);
    assert_eq!(tokens.facts().max_length, 64);

    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("max_length 2048 is lowered to 64"), "{warnings:?}");
    assert!(warnings[1].starts_with("train: 1 turns after the last answer"), "{warnings:?}");
    let part = &report["train"];
    assert_eq!(report["stop_tokens"], json!(["<|im_end|>", "</s>"]));
    assert_eq!((part["rows"].as_u64(), part["longest"].as_u64()), (Some(3), Some(ids.len() as u64)));
    assert_eq!(part["supervised_tokens"], 2 + 5 + 2);
    // The system prompt of a real template would be in here too.
    assert_eq!(part["shared_prefix"], "<user\n".len());
    assert_eq!(
        part["histogram"],
        json!([{"up_to": 16, "rows": 0}, {"up_to": 32, "rows": 2}, {"up_to": 64, "rows": 1}])
    );

    let (last, ..) = bench.run(json!({"train_on": "last"})).unwrap();
    assert_eq!(last.part("train").unwrap().supervised(), 2 + 3 + 2);
}

#[test]
fn overlong_rows_are_dropped_cut_or_refused_and_always_counted() {
    let long = "z".repeat(40);
    let bench = Bench::new(Some(CHATML)).records("train", &[&["a?", "b"], &["c?", &long], &[&long, "d"]]);
    let (tokens, report, warnings) = bench.run(json!({"max_length": 40})).unwrap();
    assert_eq!(tokens.part("train").unwrap().len(), 1);
    assert_eq!(
        (report["train"]["dropped_rows"].as_u64(), report["train"]["overlong_rows"].as_u64()),
        (Some(2), Some(2))
    );
    assert!(warnings[0].contains("2 of 3 rows are longer than 40 tokens"), "{warnings:?}");

    let (tokens, report, warnings) = bench.run(json!({"max_length": 40, "overlong": "truncate"})).unwrap();
    let train = tokens.part("train").unwrap();
    assert_eq!((train.len(), train.longest()), (2, 40));
    assert!(spell(train.get(1).0).ends_with("zzz"));
    assert_eq!(report["train"]["truncated_rows"], 1);
    assert_eq!(report["train"]["dropped_all_prompt"], 1);
    assert_eq!(warnings.len(), 2, "{warnings:?}");

    let error = bench.error(json!({"max_length": 40, "overlong": "error"}));
    assert_eq!((error.code.as_str(), error.place.unwrap().line), ("tokenize::overlong", Some(2)));
    assert!(
        error.message.starts_with("row `r1` is longer than 40 tokens (2 rows are wrong in all"),
        "{}",
        error.message
    );

    let error = bench.error(json!({"max_length": 8}));
    assert_eq!(error.code, "tokenize::no_rows");
}

#[test]
fn rows_with_nothing_to_learn_end_the_step() {
    let bench = Bench::new(Some(CHATML)).records("train", &[&["a?", "b"], &["only a question"], &["c?", " \n"]]);
    let error = bench.error(json!({}));
    assert_eq!((error.code.as_str(), error.place.as_ref().unwrap().line), ("conversation::no_answer", Some(2)));
    assert!(error.message.starts_with("row `r1`: the conversation has no assistant turn"), "{}", error.message);
    assert!(error.message.contains("2 rows are wrong in all"), "{}", error.message);

    let blank = Bench::new(Some(CHATML)).records("train", &[&["a?", " "]]);
    assert_eq!(blank.error(json!({})).code, "tokenize::nothing_to_learn");
    let none = Bench::new(Some(CHATML)).records("train", &[]);
    assert_eq!(none.error(json!({})).code, "tokenize::no_rows");
}

#[test]
fn special_tokens_inside_messages_are_counted() {
    let bench = Bench::new(Some(CHATML)).records("train", &[&["a?", "b"], &["<|im_end|> c?", "d"]]);
    let (_, report, warnings) = bench.run(json!({})).unwrap();
    assert_eq!(report["train"]["special_texts"], 1);
    assert!(warnings.iter().any(|warning| warning.contains("1 rows hold the text of a special token")), "{warnings:?}");
}

#[test]
fn what_the_template_refuses_names_the_row() {
    let strict = "{% for m in messages %}{% if m.content == 'bad?' %}{{ raise_exception('no such question') }}{% endif %}{{ m.content }}{{ eos_token }}{% endfor %}";
    let bench = Bench::new(Some(strict)).records("train", &[&["a?", "b"], &["bad?", "c"]]);
    let error = bench.error(json!({}));
    assert_eq!((error.code.as_str(), error.place.unwrap().line), ("template::raised", Some(2)));
    assert_eq!(error.message, "row `r1`: the chat template refuses this conversation: no such question");
}

#[test]
fn a_model_without_a_template_takes_one_from_the_parameters() {
    let bench = Bench::new(None).records("train", &[&["a?", "b"]]);
    let error = bench.error(json!({}));
    assert_eq!(error.code, "template::missing");
    assert!(error.help.unwrap().contains("chatml"));
    let (tokens, ..) = bench.run(json!({"template": "chatml"})).unwrap();
    assert_eq!(
        spell(tokens.part("train").unwrap().get(0).0),
        "<|im_start|>user\na?<|im_end|>\n<|im_start|>assistant\nb<|im_end|>"
    );
    let problems = Tokenize::check(&serde_json::from_value(json!({"template": "chatty"})).unwrap());
    assert_eq!(problems[0].path, ["template"]);
}

#[test]
fn the_same_rows_give_the_same_bytes_on_any_number_of_threads() {
    let rows: Vec<[String; 2]> = (0..3000).map(|i| [format!("q{i}?"), format!("a{}", i * i)]).collect();
    let rows: Vec<Vec<&str>> = rows.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
    let rows: Vec<&[&str]> = rows.iter().map(Vec::as_slice).collect();
    let bench = Bench::new(Some(CHATML)).records("train", &rows);
    let bytes = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let path = pool.install(|| bench.run(json!({})).unwrap().0.path().to_owned());
        fs_err::read(path).unwrap()
    };
    let one = bytes(1);
    assert!(one == bytes(4));
}

/// Records as they stand in a file.
fn bench_of(template: Option<&str>, rows: &[Value]) -> Bench {
    let mut bench = Bench::new(template);
    let path = bench.folder.path().join("train.jsonl");
    fs_err::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    bench.inputs.insert("train".to_owned(), path);
    bench
}

fn talk(id: &str, turns: &[&str]) -> Value {
    let turns = turns.iter().enumerate();
    let messages: Vec<Value> = turns
        .map(|(at, text)| json!({"role": (if at % 2 == 0 { "user" } else { "assistant" }), "content": text}))
        .collect();
    json!({"id": id, "messages": messages})
}

#[test]
fn a_pair_becomes_two_rows_that_follow_each_other() {
    let mut pair = talk("r0", &["a?", "b", "c?", "good"]);
    pair["rejected"] = json!("bad!");
    let mut other = talk("r1", &["d?", "e"]);
    other["rejected"] = json!("f");
    let (tokens, report, _) = bench_of(Some(CHATML), &[pair.clone(), other]).run(json!({})).unwrap();
    let train = tokens.part("train").unwrap();
    let known = train.preferences().unwrap();
    assert_eq!((known.pair, known.desired), (&[0, 0, 1, 1][..], &[1, 0, 1, 0][..]));
    for (row, answer) in [(0, "good"), (1, "bad!"), (2, "e"), (3, "f")] {
        let (ids, mask) = train.get(row);
        let targets: Vec<u32> = ids.iter().zip(mask).filter(|(_, target)| **target == 1).map(|(id, _)| *id).collect();
        assert_eq!(spell(&targets), format!("{answer}<|im_end|>"), "only the last turn is learnt");
    }
    assert_eq!(
        (&report["train"]["rows_in"], &report["train"]["rows"], &report["train"]["pairs"]),
        (&json!(2), &json!(4), &json!(2))
    );

    // A pair goes as a whole.
    let (tokens, report, _) = bench_of(Some(CHATML), &[pair, talk_pair("r1", "d?", "e", &"z".repeat(40))])
        .run(json!({"max_length": 60}))
        .unwrap();
    assert_eq!(tokens.part("train").unwrap().len(), 2);
    assert_eq!(report["train"]["dropped_rows"], 1);
}

fn talk_pair(id: &str, question: &str, chosen: &str, rejected: &str) -> Value {
    let mut row = talk(id, &[question, chosen]);
    row["rejected"] = json!(rejected);
    row
}

#[test]
fn labelled_answers_are_rows_by_themselves_and_kinds_are_not_mixed() {
    let labelled = |id: &str, desirable: bool| {
        let mut row = talk(id, &["a?", "b"]);
        row["desirable"] = json!(desirable);
        row
    };
    let (tokens, report, _) =
        bench_of(Some(CHATML), &[labelled("r0", false), labelled("r1", true)]).run(json!({})).unwrap();
    let known = tokens.part("train").unwrap().preferences().unwrap();
    assert_eq!((known.pair, known.desired), (&[0, 1][..], &[0, 1][..]));
    assert!(!known.are_pairs());
    assert_eq!(report["train"]["labelled"], 2);

    let error = bench_of(Some(CHATML), &[labelled("r0", true), talk("r1", &["a?", "b"])]).error(json!({}));
    assert_eq!((error.code.as_str(), error.place.unwrap().line), ("tokenize::mixed_rows", Some(2)));
}

#[test]
fn a_text_is_learnt_as_a_whole_in_blocks() {
    let text = |id: &str, text: &str| json!({"id": id, "messages": [{"role": "text", "content": text}]});
    let bench = bench_of(Some(CHATML), &[text("r0", "abcdefghijklmnopqrst"), text("r1", "xy")]);
    let (tokens, report, warnings) = bench.run(json!({"max_length": 8})).unwrap();
    let train = tokens.part("train").unwrap();
    let rows: Vec<String> = train.iter().map(|(ids, _)| spell(ids)).collect();
    assert_eq!(rows, ["abcdefgh", "hijklmno", "opqrst</s>", "xy</s>"]);
    let targets: usize =
        train.iter().map(|(_, mask)| mask.iter().map(|target| usize::from(*target)).sum::<usize>()).sum();
    assert_eq!(targets, 20 + 2, "every token but the first of a text, and its end");
    assert_eq!((&report["train"]["texts"], &report["train"]["lost_tokens"]), (&json!(2), &json!(0)));
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn prompts_and_completions_are_printed_as_they_are() {
    let bench = bench_of(None, &[talk("r0", &["2 + 2 =", " 4"])]);
    let (tokens, ..) = bench.run(json!({"template": "plain"})).unwrap();
    let train = tokens.part("train").unwrap();
    let (ids, mask) = train.get(0);
    assert_eq!(spell(ids), "2 + 2 = 4</s>");
    let targets: Vec<u32> = ids.iter().zip(mask).filter(|(_, target)| **target == 1).map(|(id, _)| *id).collect();
    assert_eq!(spell(&targets), " 4</s>");
}
