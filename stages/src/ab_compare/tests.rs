#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use refit_engine::stage::{Event, EventSink, Settings, Stage, StageError, StageKind, StepContext};
use refit_metrics::statistics::Verdict;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{AbCompare, Comparison};

/// What a step left behind.
struct Outcome {
    comparison: Comparison,
    json: String,
    html: String,
    markdown: String,
    warnings: Vec<String>,
}

fn run(a: &str, b: &str, with: Value) -> Result<Outcome, StageError> {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs_err::write(path("a.jsonl"), a).unwrap();
    fs_err::create_dir(path("b")).unwrap();
    fs_err::write(path("b/predictions.jsonl"), b).unwrap();
    fs_err::create_dir(path("outputs")).unwrap();
    let inputs = BTreeMap::from([("a".to_owned(), path("a.jsonl")), ("b".to_owned(), path("b"))]);
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&warnings);
    let events = EventSink::new(move |event| {
        if let Event::Warning { message } = event {
            seen.lock().unwrap().push(message);
        }
    });
    let step = StepContext::new(inputs, path("outputs"), folder.path(), Settings::default(), events);
    StageKind::of::<AbCompare>().run(with, &step)?;
    let read = |name: &str| fs_err::read_to_string(path("outputs").join(name)).unwrap();
    let json = read("comparison/comparison.json");
    assert_eq!(read("report"), read("comparison/report.html"));
    let warnings = warnings.lock().unwrap().clone();
    Ok(Outcome {
        comparison: serde_json::from_str(&json).unwrap(),
        json,
        html: read("report"),
        markdown: read("comparison/report.md"),
        warnings,
    })
}

fn refusal(a: &str, b: &str) -> StageError {
    run(a, b, json!({})).err().unwrap()
}

fn row(id: &str, prompt: &str, reference: &str, prediction: &str, loss: Option<f64>) -> String {
    let mut row = json!({"id": id, "prompt": prompt, "reference": reference, "prediction": prediction, "tool": "x"});
    if let Some(loss) = loss {
        row["loss"] = json!(loss);
    }
    format!("{row}\n")
}

const FACTS: [(&str, &str); 4] = [
    ("How do I reset my password?", "Open the portal and choose Reset password."),
    ("Where is the VPN guide?", "The VPN guide is on the intranet under Network."),
    ("Who approves travel?", "Your line manager approves travel in the HR tool."),
    ("打印机坏了怎么办？", "请拨打服务台电话 8100 报修。"),
];

/// 24 rows: A mostly wrong, B mostly right, some ties, two rows the other way.
fn both() -> (String, String) {
    let mut sides = (String::new(), String::new());
    for i in 0..24 {
        let (prompt, reference) = FACTS[i % FACTS.len()];
        let wrong = format!("I am not sure about number {i}. <script>alert('{i}')</script>");
        let (a, b) = match i {
            5 | 11 => (reference, wrong.as_str()),
            2 | 9 => (reference, reference),
            _ => (wrong.as_str(), if i % 3 == 0 { &reference[..reference.len() / 2 / 3 * 3] } else { reference }),
        };
        let b = if i % 4 == 3 && i % 3 == 0 { "请拨打服务台电话。" } else { b };
        let id = format!("q{i:02}");
        sides.0 += &row(&id, prompt, reference, a, Some(3.0 + i as f64 / 10.0));
        sides.1 += &row(&id, prompt, reference, b, Some(1.0 + i as f64 / 20.0));
    }
    sides
}

#[test]
fn the_better_side_wins_and_the_report_is_steady() {
    let (a, b) = both();
    let with = json!({"name_a": "base", "name_b": "tuned", "top_rows": 2, "resamples": 2000, "language": "english"});
    let outcome = run(&a, &b, with.clone()).unwrap();
    assert_eq!(outcome.comparison.verdict, Verdict::BBetter);
    assert_eq!(outcome.comparison.metrics["loss"].wins, 24);
    insta::assert_snapshot!("comparison", outcome.json);
    insta::assert_snapshot!("report", outcome.markdown);
    let again = run(&a, &b, with).unwrap();
    assert_eq!((outcome.json, outcome.html), (again.json, again.html));
}

#[test]
fn exchanging_the_inputs_turns_the_verdict() {
    let (a, b) = both();
    let outcome = run(&b, &a, json!({"resamples": 1000})).unwrap();
    assert_eq!(outcome.comparison.verdict, Verdict::ABetter);
    assert!(outcome.json.contains("\"verdict\": \"a better\""));
}

#[test]
fn the_page_runs_no_script_and_needs_no_network() {
    let (a, b) = both();
    let html = run(&a, &b, json!({"name_a": "<b>x</b>", "name_b": "\"><img src=x>"})).unwrap().html;
    assert!(!html.contains("<script"));
    assert!(html.contains("&lt;script&gt;alert("));
    assert!(!html.contains("<b>x") && !html.contains("<img"));
    assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("url("));
    assert!(html.contains("请拨打服务台电话"));
}

#[test]
fn few_rows_that_differ_little_are_inconclusive() {
    let a: String = (0..6).map(|i| row(&i.to_string(), "p", "a b c d", ["a b", "c d"][i % 2], None)).collect();
    let b: String = (0..6).map(|i| row(&i.to_string(), "p", "a b c d", ["a b c", "d"][i % 2], None)).collect();
    let outcome = run(&a, &b, json!({})).unwrap();
    assert_eq!(outcome.comparison.verdict, Verdict::Inconclusive);
    assert!(outcome.comparison.summary.iter().any(|s| s.contains("the interval includes zero")));
    assert!(outcome.comparison.notes.iter().any(|note| note.contains("`loss` is left out")));
    let outcome = run(&a, &b, json!({"margin": 0.9})).unwrap();
    assert_eq!(outcome.comparison.verdict, Verdict::Equivalent);
}

#[test]
fn identical_outputs_are_refused_unless_allowed() {
    let (a, _) = both();
    let error = refusal(&a, &a);
    assert_eq!(error.code, "ab_compare::identical_outputs");
    assert!(error.message.contains("adapter was not loaded"), "{}", error.message);
    let outcome = run(&a, &a, json!({"allow_identical": true})).unwrap();
    assert_eq!(outcome.comparison.verdict, Verdict::Inconclusive);
    assert_eq!((outcome.comparison.identical_outputs, outcome.comparison.metrics["rouge_l"].ties), (24, 24));
}

#[test]
fn equal_words_with_another_loss_are_another_model() {
    let a = row("1", "p", "r", "x", Some(2.0)) + &row("2", "p", "r", "y", Some(2.0));
    let b = row("1", "p", "r", "x", Some(1.0)) + &row("2", "p", "r", "y", Some(1.0));
    assert_eq!(run(&a, &b, json!({"primary": "loss"})).unwrap().comparison.metrics["loss"].wins, 2);
}

#[test]
fn sides_that_are_not_the_same_rows_are_refused() {
    let one = row("1", "p", "r", "x", None);
    let refused = [
        (one.clone(), row("2", "p", "r", "y", None), "ab_compare::different_rows"),
        (one.clone(), one.clone() + &row("2", "p", "r", "y", None), "ab_compare::different_rows"),
        (one.clone() + &one, one.clone(), "ab_compare::duplicate_id"),
        (one.clone(), row("1", "p", "other", "y", None), "ab_compare::different_questions"),
        (one.clone(), row("1", "other", "r", "y", None), "ab_compare::different_questions"),
        (one.clone(), "\n".into(), "ab_compare::empty"),
        (one.clone(), "{".into(), "predictions::malformed"),
    ];
    let messages: Vec<String> = refused
        .iter()
        .map(|(a, b, code)| {
            let error = refusal(a, b);
            assert_eq!(&error.code, code);
            error.message
        })
        .collect();
    insta::assert_snapshot!("refusals", messages.join("\n"));
}

#[test]
fn scores_of_other_tools_can_be_compared() {
    let side = |prediction: &str, judge: f64| -> String {
        (0..12)
            .map(|i| {
                json!({"prompt": "p", "label": format!("r{i}"), "predict": prediction, "scores": {"judge": judge}})
                    .to_string()
                    + "\n"
            })
            .collect()
    };
    let outcome = run(&side("x", 1.0), &side("y", 2.0), json!({"primary": "judge"})).unwrap();
    assert_eq!(outcome.comparison.verdict, Verdict::BBetter);
    assert!(outcome.warnings.iter().any(|w| w.contains("12 of 12 rows have no id")), "{:?}", outcome.warnings);
    let error = run(&side("x", 1.0), &side("y", 2.0), json!({"metrics": ["rouge_L"]})).err().unwrap();
    assert_eq!(error.help.unwrap(), "did you mean `rouge_l`?");
    let error = run(&side("x", 1.0), &side("y", 2.0), json!({"primary": "loss"})).err().unwrap();
    assert_eq!(error.code, "ab_compare::no_loss");
}

#[test]
fn variants_of_the_other_language_can_be_named() {
    let (a, b) = both();
    let with = json!({"language": "english", "metrics": ["rouge:lf-l", "bleu:sacrebleu-zh"], "resamples": 200});
    let outcome = run(&a, &b, with).unwrap();
    assert!(outcome.comparison.signatures["rouge:lf-l"].starts_with("rouge_chinese"));
    assert!(outcome.comparison.signatures["bleu:sacrebleu-zh"].contains("tok:zh"));
}

#[test]
fn parameters_that_contradict_are_named() {
    let params = |with: Value| serde_json::from_value(with).unwrap();
    let paths = |with: Value| AbCompare::check(&params(with)).into_iter().map(|p| p.path.join(".")).collect::<Vec<_>>();
    assert_eq!(paths(json!({"name_a": "x", "name_b": "x", "margin": 0.0})), ["name_b", "margin"]);
    assert_eq!(paths(json!({"metrics": ["bleu", "bleu"]})), ["metrics.1"]);
    assert!(paths(json!({})).is_empty());
}
