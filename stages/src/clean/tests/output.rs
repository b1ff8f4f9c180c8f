use refit_engine::stage::StageKind;
use serde_json::json;

use super::*;

#[test]
fn the_report_counts_every_drop_and_change() {
    let text = [
        row("Where is the <b>printer</b>?", "Second&nbsp;floor."),
        row("Where is the printer?", "Second floor."),
        row("Who can  help with\u{200b} mail?", "Write to help@tarnwick.example or jo@tarnwick.example."),
        row("x", "Short prompt."),
        row("My card 4111 1111 1111 1111 was refused, and now?", "Call +44 20 7946 0958."),
        "{broken\n".to_owned(),
    ]
    .concat();
    let sandbox = Sandbox::new();
    let with = json!({
        "dedup": "near", "pii": "redact", "pii_keep": ["help@tarnwick.example"], "on_error": "skip", "min_prompt_chars": 3,
        "system": "You help."
    });
    let cleaned = sandbox.clean_text("jsonl", text, with).unwrap();
    insta::assert_json_snapshot!("report", cleaned.report());
    insta::assert_snapshot!("warnings", sandbox.warnings.lock().unwrap().join("\n"));
    insta::assert_json_snapshot!("records", cleaned.records());
    insta::assert_json_snapshot!("rejected", cleaned.rejected());
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let text: String = (0..3000)
        .map(|i| row(&format!("question {} about thing {i}", i % 700), &format!("answer {}", i % 700)))
        .collect();
    let sandbox = Sandbox::new();
    let file = sandbox.file("rows.jsonl", text);
    let run = |threads| {
        let out = tempfile::tempdir_in(sandbox.path()).unwrap().keep();
        let inputs = BTreeMap::from([("records".to_owned(), file.clone())]);
        let settings = Settings { threads, ..Settings::default() };
        let step = StepContext::new(inputs, &out, sandbox.path(), settings, EventSink::ignore());
        let kind = StageKind::of::<Clean>();
        kind.run(kind.lower(json!({"dedup": "near"}), &[]).unwrap().with, &step).unwrap();
        ["records/records.jsonl", "records/report.json", "rejected/records.jsonl"]
            .map(|name| fs_err::read(out.join(name)).unwrap())
    };
    assert_eq!(run(1), run(4));
}

#[test]
fn length_bounds_are_inclusive() {
    let text: String = (1..=5).map(|n| row(&"问".repeat(n), &"a".repeat(n))).collect();
    let with = json!({"min_prompt_chars": 2, "max_prompt_chars": 4, "min_response_chars": 3, "max_response_chars": 3});
    let cleaned = Sandbox::new().clean_text("jsonl", text, with).unwrap();
    assert_eq!(cleaned.records().len(), 1);
    assert_eq!(
        cleaned.report()["dropped"],
        json!({"long_prompt": 1, "long_response": 1, "short_prompt": 1, "short_response": 1})
    );
}

#[test]
fn parameters_that_exclude_each_other_are_named() {
    let kind = StageKind::of::<Clean>();
    let with = json!({"min_prompt_chars": 5, "max_prompt_chars": 4, "system": " ", "pii_keep": ["*"]});
    let paths: Vec<String> =
        kind.lower(with, &[]).unwrap().problems.into_iter().map(|problem| problem.path.concat()).collect();
    assert_eq!(paths, ["min_prompt_chars", "system", "pii_keep"]);
    assert!(kind.lower(json!({"dedupe": "near"}), &[]).is_err());
    assert!(kind.lower(json!({"columns": {"instructions": "q"}}), &[]).is_err());
}
