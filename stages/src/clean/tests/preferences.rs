use serde_json::json;

use super::*;

/// Records of rows in JSON lines.
fn records(rows: &[Value], with: Value) -> Vec<Record> {
    let text = rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    Sandbox::new().clean_text("jsonl", text, with).unwrap().records()
}

/// Who says what, the rejected answer last.
fn told(record: &Record) -> Vec<(String, String)> {
    crate::records::said(&record.messages, record.rejected.as_deref())
        .map(|(role, content)| (role.to_owned(), content.to_owned()))
        .collect()
}

#[test]
fn pairs_of_every_shape_become_the_same_record() {
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let (question, good, bad) = (turn("user", "Why?"), turn("assistant", "Because."), turn("assistant", "Dunno."));
    let from = |from: &str, value: &str| json!({"from": from, "value": value});
    let rows = [
        // LLaMA-Factory, `ranking: true`.
        json!({"instruction": "Why?", "input": "", "chosen": "Because.", "rejected": "Dunno."}),
        json!({"conversations": [from("human", "Why?")], "chosen": from("gpt", "Because."), "rejected": from("gpt", "Dunno.")}),
        // TRL: texts, turns, and turns that hold the prompt, also beside messages.
        json!({"prompt": "Why?", "chosen": "Because.", "rejected": "Dunno."}),
        json!({"prompt": [question], "chosen": [good], "rejected": [bad]}),
        json!({"chosen": [question, good], "rejected": [question, bad]}),
        json!({"prompt": "Why?", "messages": [question, good], "chosen": [question, good], "rejected": [question, bad]}),
        // A worse answer beside an ordinary row.
        json!({"messages": [question, good], "rejected": "Dunno."}),
        json!({"instruction": "Why?", "output": "Because.", "rejected": "Dunno."}),
    ];
    let expected = [("user", "Why?"), ("assistant", "Because."), ("rejected", "Dunno.")]
        .map(|(role, content)| (role.to_owned(), content.to_owned()));
    for row in rows {
        let found = &records(std::slice::from_ref(&row), json!({}))[0];
        assert_eq!(told(found), expected, "{row}");
        let left_over: Vec<&String> = found.meta.keys().filter(|name| *name != "row" && *name != "prompt").collect();
        assert!(left_over.is_empty(), "{row}: {left_over:?}");
    }
}

#[test]
fn a_system_prompt_may_stand_beside_the_conversations() {
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let (question, good, bad) = (turn("user", "Why?"), turn("assistant", "Because."), turn("assistant", "Dunno."));
    let row = json!({"system": "Be brief.", "chosen": [question, good], "rejected": [question, bad]});
    let found = records(&[row], json!({}));
    let told = told(&found[0]);
    let roles: Vec<&str> = told.iter().map(|(role, _)| role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "rejected"]);
}

#[test]
fn labels_say_what_an_answer_is_worth() {
    let rows = [
        json!({"prompt": "p one", "completion": "c", "label": true}),
        json!({"prompt": "p two", "completion": "c", "label": "0"}),
        json!({"instruction": "p three", "output": "c", "kto_tag": false}),
        json!({"conversations": [{"from": "human", "value": "p four"}, {"from": "gpt", "value": "c"}], "kto_tag": true}),
        json!({"prompt": "p five", "completion": "c", "label": "maybe"}),
        // In other rows a label may be anything.
        json!({"instruction": "p six", "output": "c", "label": "billing"}),
        json!({"instruction": "p seven", "output": "c", "label": true}),
    ];
    let found = records(&rows, json!({}));
    let worth: Vec<Option<bool>> = found.iter().map(|record| record.desirable).collect();
    assert_eq!(worth, [Some(true), Some(false), Some(false), Some(true), None, None, None]);
    assert_eq!((&found[5].meta["label"], &found[6].meta["label"]), (&json!("billing"), &json!(true)));
    let named = records(&rows[6..], json!({"columns": {"label": "label"}}));
    assert_eq!(named[0].desirable, Some(true));
}

#[test]
fn a_text_by_itself_stays_one() {
    let rows =
        [json!({"text": "Once upon a time.\n\n\n\nThere was  a test.", "from": "book"}), json!({"text": "Other text"})];
    let found =
        records(&rows, json!({"system": "You help.", "dedup": "near", "dedup_on": "prompt", "min_prompt_chars": 3}));
    assert_eq!(told(&found[0]), [("text".to_owned(), "Once upon a time.\n\nThere was a test.".to_owned())]);
    assert_eq!((found.len(), &found[0].meta["from"]), (2, &json!("book")));

    // Records of another stage stay as they are, and pairs do too.
    let sandbox = Sandbox::new();
    let pair = json!({"prompt": "q", "chosen": "a", "rejected": "b"});
    let label = json!({"prompt": "r", "completion": "a", "label": false});
    let text = format!("{}\n{pair}\n{label}\n", rows[0]);
    let once = sandbox.clean_text("jsonl", text, json!({})).unwrap();
    let twice = sandbox.clean(&once.out.path().join("records"), json!({})).unwrap();
    assert_eq!(once.records(), twice.records());
    assert_eq!(once.report()["shapes"], json!({"text": 1, "prompt": 2}));
    assert_eq!((&once.report()["pairs"], &once.report()["undesirable"]), (&json!(1), &json!(1)));
}

#[test]
fn the_rejected_answer_is_treated_like_any_text() {
    let pair = |rejected: &str| json!({"prompt": "Who helps?", "chosen": "The desk.", "rejected": rejected});
    let found = records(&[pair("Ask <b>joe@example.com</b>")], json!({"pii": "redact"}));
    assert_eq!(found[0].rejected.as_deref(), Some("Ask [EMAIL]"));

    let rows = [pair("Nobody helps you here"), pair("Nobody helps you here!"), pair("You should know that yourself")];
    assert_eq!(records(&rows, json!({"dedup": "exact"})).len(), 3);
    assert_eq!(records(&rows, json!({"dedup": "near"})).len(), 2, "the same question with another worse answer stays");

    let rows = [pair("The desk."), pair("x"), pair("A longer answer")];
    let text = rows.map(|row| row.to_string()).join("\n");
    let cleaned = Sandbox::new().clean_text("jsonl", text, json!({"min_response_chars": 5})).unwrap();
    assert_eq!(cleaned.reasons(), [(1, "same_answers".to_owned()), (2, "short_response".to_owned())]);
    assert_eq!(cleaned.rejected()[1].rejected.as_deref(), Some("x"));
}

#[test]
fn what_is_no_pair_is_told() {
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    for (row, expected) in [
        (json!({"prompt": "q", "chosen": "a"}), "none in `rejected`"),
        (json!({"prompt": "q", "chosen": "a", "rejected": ""}), "none in `rejected`"),
        (json!({"chosen": "a", "rejected": "b"}), "`prompt` is missing"),
        (
            json!({"chosen": [turn("user", "q"), turn("assistant", "a")],
                "rejected": [turn("user", "q"), turn("assistant", "b"), turn("user", "and?"), turn("assistant", "c")]}),
            "`rejected` holds 3 turns after the question",
        ),
        (json!({"prompt": "q", "chosen": "a", "rejected": [1]}), "message 1 is a number"),
        (
            json!({"prompt": "q", "completion": "a", "kto_tag": "maybe"}),
            "`kto_tag` holds a text, which is no truth value",
        ),
        (
            json!({"instruction": "q", "output": "c", "chosen": "a", "rejected": "b"}),
            "another answer than the one in `chosen`",
        ),
        (json!({"prompt": "q"}), "none of the columns"),
    ] {
        let error = Sandbox::new().clean_text("jsonl", row.to_string(), json!({})).err().unwrap();
        assert!(error.message.contains(expected), "{row}: {}", error.message);
    }
}
