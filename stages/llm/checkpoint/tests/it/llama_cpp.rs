//! Tokenizers that GGUF files describe, beside llama.cpp: every name of a rule for words, and SentencePiece.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use refit_checkpoint::Checkpoint;
use serde_json::{Value, json};

use crate::{
    sentence_piece,
    support::{Gguf, SPECIALS, gguf, with_table},
};

/// Values of `tokenizer.ggml.pre`; a file says no more of how its text is split.
const RULES: [&str; 31] = [
    "smollm",
    "starcoder",
    "refact",
    "command-r",
    "codeshell",
    "exaone",
    "minerva-7b",
    "llama-bpe",
    "llama3",
    "llama-v3",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
    "dbrx",
    "smaug-bpe",
    "chatglm-bpe",
    "glm4",
    "qwen2",
    "deepseek-r1-qwen",
    "megrez",
    "tekken",
    "gpt-2",
    "phi-2",
    "mpt",
    "olmo",
    "jais",
    "trillion",
    "granite-docling",
    "default",
];

/// Text whose parts are merged across every border that a rule may draw.
const CORPUS: &str = "it's 2024, isn't it? We'll see: 12345678 of 1234!!\n\n  x = foo_bar(10);\r\n\t\tHello world, HELLO World... \
                      naïve Straße 中文字符 42 don't DON'T 'tis\n \n   7   \n[1, 2.5e-3] C:\\Users http://a.b/c?d=e/\n//x/\n";
const MERGES: usize = 300;

/// The characters that stand for bytes in byte-level BPE.
fn byte_symbols() -> Vec<char> {
    let printable =
        |byte: u32| (33..=126).contains(&byte) || (161..=172).contains(&byte) || (174..=255).contains(&byte);
    let mut others = 256..;
    let code = |byte: u32| if printable(byte) { byte } else { others.next().unwrap() };
    (0..256).map(code).map(|code| char::from_u32(code).unwrap()).collect()
}

/// Rules of which the models' own tokenizers put letters and their accents together first (NFC), as we do. llama.cpp does not.
const COMPOSING: [&str; 3] = ["deepseek-r1-qwen", "megrez", "qwen2"];

/// Pairs that stand beside each other most often, one after the other, wherever words begin and end.
fn merges() -> Vec<(String, String)> {
    let symbols = byte_symbols();
    let mut parts: Vec<String> = CORPUS.bytes().map(|byte| symbols[usize::from(byte)].to_string()).collect();
    let mut merges = Vec::new();
    for _ in 0..MERGES {
        let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
        parts.windows(2).for_each(|pair| *counts.entry((&pair[0], &pair[1])).or_default() += 1);
        let Some((left, right)) = counts.into_iter().max_by_key(|(pair, count)| (*count, *pair)).map(|(pair, _)| pair)
        else {
            break;
        };
        let pair = (left.to_owned(), right.to_owned());
        let mut merged = Vec::new();
        let mut rest = parts.as_slice();
        while let [first, others @ ..] = rest {
            let meets = *first == pair.0 && others.first() == Some(&pair.1);
            merged.push(if meets { format!("{first}{}", pair.1) } else { first.clone() });
            rest = &others[usize::from(meets)..];
        }
        parts = merged;
        merges.push(pair);
    }
    merges
}

/// A file whose text is split by that rule.
fn byte_level(rule: &str) -> Gguf {
    let merges = merges();
    let mut tokens: Vec<String> = SPECIALS.iter().map(|token| (*token).to_owned()).collect();
    tokens.extend(byte_symbols().into_iter().map(String::from));
    for token in merges.iter().map(|(left, right)| format!("{left}{right}")) {
        // Two pairs can make the same token.
        if !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    let types: Vec<i32> = (0..tokens.len()).map(|id| if id < SPECIALS.len() { 3 } else { 1 }).collect();
    let merges: Vec<String> = merges.into_iter().map(|(left, right)| format!("{left} {right}")).collect();
    let mut file = gguf();
    file.text("tokenizer.ggml.pre", rule)
        .texts("tokenizer.ggml.tokens", &tokens)
        .texts("tokenizer.ggml.merges", &merges)
        .ints("tokenizer.ggml.token_type", &types);
    with_table(file, tokens.len())
}

#[test]
fn texts_become_the_ids_of_llama_cpp() {
    let Some(peers) = std::env::var_os("REFIT_PEERS").map(PathBuf::from) else {
        eprintln!("skipped: REFIT_PEERS is not set (see tests/peers/setup.py)");
        return;
    };
    let python = peers.join("venv-llama/bin/python");
    if !Command::new(&python).args(["-c", "import llama_cpp"]).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: the peers have no llama.cpp (tests/peers/setup.py FOLDER --llama)");
        return;
    }
    let mut files: BTreeMap<String, _> =
        RULES.iter().map(|rule| ((*rule).to_owned(), byte_level(rule).write())).collect();
    files.insert("sentencepiece".into(), sentence_piece::file().write());
    let paths: BTreeMap<&String, &PathBuf> = files.iter().map(|(name, (_, path))| (name, path)).collect();
    let theirs = ask(&python, &json!(paths));
    let texts: Vec<&str> = theirs["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let mut wrong = Vec::new();
    for (name, (_, path)) in &files {
        let tokenizer = Checkpoint::open(path).unwrap().tokenizer().unwrap();
        let Some(theirs) = theirs["ids"][name].as_array() else {
            wrong.push(format!("{name}: llama.cpp does not load the file"));
            continue;
        };
        for (text, theirs) in texts.iter().zip(theirs) {
            let ours = json!(tokenizer.encode(text).unwrap());
            let composes =
                COMPOSING.contains(&name.as_str()) && text.chars().any(|c| ('\u{300}'..='\u{36f}').contains(&c));
            if ours != *theirs && !composes {
                wrong.push(format!("{name}: {text:?} is {ours} here and {theirs} there"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn ask(python: &Path, files: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/gguf_tokens.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(files.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap()
}
