use super::{
    ascii, dot,
    flow::{Copied, Edge, Flow, Node, What},
    mermaid,
};

fn flow() -> Flow {
    let source = |name: &str, uri: &str| Node { name: name.into(), what: What::Source { uri: uri.into() } };
    let stage =
        |name: &str, kind: &str| Node { name: name.into(), what: What::Stage { kind: kind.into(), description: None } };
    let edge = |from: &str, to: &str, input: &str| {
        let (from, output) = from.split_once('.').map_or((from, None), |(stage, port)| (stage, Some(port.to_owned())));
        Edge { from: from.into(), output, to: to.into(), input: input.into() }
    };
    Flow {
        pipeline: "help \"desk\"".into(),
        nodes: vec![
            source("faq", "data/<faq>.jsonl"),
            stage("clean", "clean"),
            stage("split", "split"),
            source("base", "hf://org/model"),
            stage("tokens", "tokenize"),
            stage("train", "train-lora"),
            stage("before", "evaluate"),
            stage("after", "evaluate"),
            stage("compare", "ab-compare"),
        ],
        edges: vec![
            edge("faq", "clean", "records"),
            edge("clean.records", "split", "records"),
            edge("base", "tokens", "model"),
            edge("split.train", "tokens", "train"),
            edge("split.validation", "tokens", "validation"),
            edge("base", "train", "model"),
            edge("tokens.tokens", "train", "tokens"),
            edge("base", "before", "model"),
            edge("split.test", "before", "records"),
            edge("train.adapter", "after", "adapter"),
            edge("base", "after", "model"),
            edge("split.test", "after", "records"),
            edge("before.predictions", "compare", "a"),
            edge("after.predictions", "compare", "b"),
        ],
        outputs: vec![Copied { to: "out/report".into(), from: "compare.comparison".into() }],
    }
}

#[test]
fn the_terminal_shows_rails() {
    insta::assert_snapshot!(ascii::draw(&flow(), |text, _| text.to_owned()));
}

#[test]
fn mermaid_escapes_what_it_would_read_as_markup() {
    insta::assert_snapshot!(mermaid::draw(&flow()));
}

#[test]
fn dot_quotes_names() {
    insta::assert_snapshot!(dot::draw(&flow()));
}
