use serde_json::json;

use super::*;
use crate::records::Message;

fn turns(record: &Record) -> Vec<(&str, &str)> {
    record.messages.iter().map(|Message { role, content }| (role.as_str(), content.as_str())).collect()
}

#[test]
fn alpaca_rows_become_conversations() {
    let rows = [
        json!({"instruction": "Translate.", "input": "Guten Tag", "output": "Good day", "topic": "lang", "fact": 7}),
        json!({"instruction": "And now?", "input": "", "output": "Fine", "system": "Be brief.", "history": [["Hi", "Hello"]]}),
        json!({"input": "only input", "output": 42}),
    ];
    let text = rows.map(|row| row.to_string()).join("\n");
    let records = Sandbox::new().clean_text("jsonl", text, json!({"system": "You help."})).unwrap().records();
    assert_eq!(
        turns(&records[0]),
        [("system", "You help."), ("user", "Translate.\nGuten Tag"), ("assistant", "Good day")]
    );
    assert_eq!(serde_json::to_value(&records[0].meta).unwrap(), json!({"topic": "lang", "fact": 7, "row": 1}));
    assert_eq!(
        turns(&records[1]),
        [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "And now?"), ("assistant", "Fine")]
    );
    assert_eq!(turns(&records[2])[1..], [("user", "only input"), ("assistant", "42")]);
}

#[test]
fn sharegpt_rows_become_conversations() {
    let row = json!({"id": "c1", "system": "Sys", "tools": "[]", "conversations": [
        {"from": "human", "value": "weather?"}, {"from": "function_call", "value": "{\"name\": \"w\"}"},
        {"from": "observation", "value": "sunny"}, {"from": "gpt", "value": "It is sunny."}]});
    let cleaned = Sandbox::new().clean_text("json", format!("[{row}]"), json!({})).unwrap();
    let record = &cleaned.records()[0];
    assert_eq!(record.id, "c1");
    assert_eq!(
        turns(record),
        [
            ("system", "Sys"),
            ("user", "weather?"),
            ("assistant", "{\"name\": \"w\"}"),
            ("tool", "sunny"),
            ("assistant", "It is sunny.")
        ]
    );
    assert_eq!(record.meta["tools"], "[]");
    assert_eq!(cleaned.report()["shapes"], json!({"sharegpt": 1}));
}

#[test]
fn openai_rows_become_conversations() {
    let row = json!({"messages": [
        {"role": "developer", "content": "Sys"}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": null, "tool_calls": [{"id": 1}]}, {"role": "tool", "content": "r1"}, {"role": "tool", "content": "r2"},
        {"role": "assistant", "content": "done"}]});
    let record = &Sandbox::new().clean_text("jsonl", row.to_string(), json!({})).unwrap().records()[0];
    assert_eq!(
        turns(record),
        [
            ("system", "Sys"),
            ("user", "ab"),
            ("assistant", "[{\"id\":1}]"),
            ("tool", "r1"),
            ("tool", "r2"),
            ("assistant", "done")
        ]
    );
}

#[test]
fn csv_rows_with_quotes_breaks_and_renamed_columns() {
    let text = "\u{feff}nr;question;answer;topic\r\n1;\"How; do \"\"I\"\"\nlog in?\";Press OK.;login\r\n\r\n2;再说一次？;好的。;\r\n";
    let with = json!({"columns": {"id": "nr", "instruction": "question", "output": "answer"}});
    let records = Sandbox::new().clean_text("csv", text, with).unwrap().records();
    assert_eq!(records[0].id, "1");
    assert_eq!(turns(&records[0])[0], ("user", "How; do \"I\"\nlog in?"));
    assert_eq!(serde_json::to_value(&records[0].meta).unwrap(), json!({"topic": "login", "row": 2}));
    assert_eq!(records[1].meta["row"], 5, "the line where the row begins");
}

#[test]
fn crlf_bom_blank_lines_and_files_without_a_name_are_read() {
    let sandbox = Sandbox::new();
    let text = format!("\u{feff}\r\n{}\r\n\r\n{}", row("a one", "x").trim(), row("b two", "y").trim());
    for name in ["rows.jsonl", "rows.json", "rows", "ROWS.JSONL", "rows.ndjson"] {
        let file = sandbox.file(name, &text);
        assert_eq!(sandbox.clean(&file, json!({})).unwrap().records().len(), 2, "{name}");
    }
    for (name, text) in [
        ("array", "[\n {\"instruction\": \"q\",\n  \"output\": \"a\"}\n]".to_owned()),
        ("pretty.json", "{\n \"instruction\": \"q\",\n  \"output\": \"a\"\n}\n".to_owned()),
        ("table", "instruction,output\nq,a\n".to_owned()),
        ("tab.tsv", "instruction\toutput\nq\ta\n".to_owned()),
    ] {
        let file = sandbox.file(name, text);
        assert_eq!(turns(&sandbox.clean(&file, json!({})).unwrap().records()[0])[0], ("user", "q"), "{name}");
    }
}

#[test]
fn a_folder_is_read_in_the_order_of_names() {
    let sandbox = Sandbox::new();
    sandbox.file("data/b.jsonl", row("second question", "y"));
    sandbox.file("data/a.csv", "instruction,output\nfirst question,x\n");
    sandbox.file("data/sub/c.json", format!("[{}]", row("third question", "z")));
    sandbox.file("data/notes.md", "no data");
    sandbox.file("data/.hidden.jsonl", "no data");
    let cleaned = sandbox.clean(&sandbox.path().join("data"), json!({})).unwrap();
    let files: Vec<Value> = cleaned.records().into_iter().map(|record| record.meta["file"].clone()).collect();
    assert_eq!(files, ["a.csv", "b.jsonl", "sub/c.json"]);
    assert_eq!(cleaned.report()["ignored_files"], json!(["notes.md"]));
    assert_eq!(
        *sandbox.warnings.lock().unwrap(),
        ["1 files of the folder are no data and were not read, such as `notes.md`"]
    );
}

#[test]
fn records_of_another_stage_stay_as_they_are() {
    let sandbox = Sandbox::new();
    let text = format!("\n{}{}", row("a question", "x"), row("b other question", "y"));
    let once = sandbox.clean_text("jsonl", text, json!({"system": "S"})).unwrap();
    let twice = sandbox.clean(&once.out.path().join("records"), json!({})).unwrap();
    assert_eq!(once.records(), twice.records());
    assert_eq!(once.records()[0].meta["row"], 2);
}

#[test]
fn ids_do_not_depend_on_the_place() {
    let sandbox = Sandbox::new();
    let (a, b, c) = (row("a question", "x"), row("b question", "y"), row("c question", "z"));
    let ids = |text: String| -> BTreeMap<String, String> {
        let records = sandbox.clean_text("jsonl", text, json!({"dedup": "none"})).unwrap().records();
        records.into_iter().map(|record| (record.messages[0].content.clone(), record.id)).collect()
    };
    let first = ids(format!("{a}{b}"));
    let later = ids(format!("{c}{b}{a}"));
    assert!(first.iter().all(|(question, id)| later[question] == *id));
    let with = json!({"dedup": "none", "system": "S"});
    let prompted = sandbox.clean_text("jsonl", &a, with).unwrap().records();
    assert_eq!(prompted[0].id, first["a question"]);
    let repeated = sandbox.clean_text("jsonl", format!("{a}{a}"), json!({"dedup": "none"})).unwrap();
    assert_eq!(repeated.records()[1].id, format!("{}-2", repeated.records()[0].id));
    assert_eq!(repeated.report()["ids"], json!({"from_column": 0, "from_content": 2, "repeated": 1}));
}
