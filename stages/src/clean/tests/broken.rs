use proptest::prelude::*;
use serde_json::json;

use super::*;

/// One row of every kind of mistake, between good ones.
fn mistakes() -> Vec<u8> {
    let mut text = row("good", "yes").into_bytes();
    for line in [
        &b"{\"instruction\": \"cut off"[..],
        b"[1, 2]",
        b"{\"instruction\": \"x\", \"output\": \"\xff\"}",
        b"{\"instruction\": \"x\"}",
        b"{\"question\": \"x\", \"answer\": \"y\"}",
        b"{\"instruction\": \"x\", \"output\": {\"a\": 1}}",
        b"{\"instruction\": \"x\", \"output\": \" <br> \"}",
        b"{\"instruction\": \"\\u200b\", \"output\": \"y\"}",
        b"{\"conversations\": [{\"from\": \"gpt\", \"value\": \"x\"}]}",
        b"{\"conversations\": [{\"from\": \"human\", \"value\": \"x\"}]}",
        b"{\"conversations\": [{\"from\": \"alien\", \"value\": \"x\"}]}",
        b"{\"messages\": []}",
        b"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"user\", \"content\": \"b\"}]}",
        b"{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}, {\"role\": \"assistant\", \"content\": \"b\"}]}",
    ] {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("{{\"instruction\": \"{}\"}}\n", "x".repeat(3000)).as_bytes());
    text.extend_from_slice(row("also good", "yes").as_bytes());
    text
}

#[test]
fn every_mistake_is_named_with_its_line() {
    let sandbox = Sandbox::new();
    let with = json!({"max_line_bytes": 2048});
    let error = sandbox.clean_text("jsonl", mistakes(), with).err().unwrap();
    insta::assert_snapshot!("malformed_rows_fail", shown(&error, &sandbox));
    let cleaned = sandbox.clean_text("jsonl", mistakes(), json!({"max_line_bytes": 2048, "on_error": "skip"})).unwrap();
    assert_eq!(cleaned.records().len(), 2);
    let rows: Vec<String> = cleaned
        .rejected()
        .iter()
        .map(|row| {
            format!(
                "{} {}: {}",
                row.meta["line"],
                row.meta["reason"].as_str().unwrap(),
                row.meta["detail"].as_str().unwrap()
            )
        })
        .collect();
    insta::assert_snapshot!("malformed_rows_skipped", rows.join("\n"));
    insta::assert_snapshot!("malformed_rows_warning", sandbox.warnings.lock().unwrap().join("\n"));
}

#[test]
fn broken_csv_and_json_files_are_named() {
    let sandbox = Sandbox::new();
    let mut errors = Vec::new();
    for (name, text) in [
        ("fields.csv", "instruction,output\na,b\nc\nd,e,f\n".as_bytes()),
        ("latin.csv", b"instruction,output\ncaf\xe9,b\n"),
        ("names.csv", b"a,a\nb,c\n"),
        ("header.csv", b"caf\xe9,b\nb,c\n"),
        ("cut.json", b"[{\"instruction\": \"a\", \"output\": \"b\"},\n{\"instruction\": \"a"),
        ("unclosed.json", b"[{\"instruction\": \"a\", \"output\": \"b\"}\n"),
        ("utf16.jsonl", b"\xff\xfe{\0}\0"),
        ("sheet.csv", b"PK\x03\x04..."),
        ("empty.jsonl", b""),
        ("blank.json", b"\n \n"),
        ("none.json", b"[]"),
        ("header_only.csv", b"instruction,output\n"),
        ("other.jsonl", b"{\"q\": 1, \"text\": 2}"),
    ] {
        let file = sandbox.file(name, text);
        errors.push(shown(&sandbox.clean(&file, json!({})).err().unwrap(), &sandbox));
    }
    fs_err::create_dir(sandbox.path().join("nothing")).unwrap();
    errors.push(shown(&sandbox.clean(&sandbox.path().join("nothing"), json!({})).err().unwrap(), &sandbox));
    sandbox.file("docs/readme.txt", "x");
    errors.push(shown(&sandbox.clean(&sandbox.path().join("docs"), json!({})).err().unwrap(), &sandbox));
    let duplicates = row("<b>", "<i>");
    let error = sandbox.clean_text("jsonl", duplicates, json!({"on_error": "skip"})).err().unwrap();
    errors.push(shown(&error, &sandbox));
    insta::assert_snapshot!("broken_files", errors.join("\n\n"));
}

#[test]
fn a_quote_that_is_never_closed_does_not_swallow_the_memory() {
    let mut text = "instruction,output\nfine,yes\n\"open,no\n".to_owned();
    for _ in 0..40_000 {
        text.push_str("another,row\n");
    }
    let sandbox = Sandbox::new();
    let with = json!({"on_error": "skip", "max_line_bytes": 2048});
    let cleaned = sandbox.clean_text("csv", text, with).unwrap();
    assert_eq!(cleaned.reasons(), [(3, "oversized_row".into())]);
    assert!(cleaned.report()["files"][0]["unread_bytes"].as_u64().unwrap() > 200_000);
    assert!(sandbox.warnings.lock().unwrap().iter().any(|warning| warning.contains("could not be read")));
}

#[test]
fn rejected_rows_hold_no_personal_data_that_is_to_go() {
    let text = [
        "{\"instruction\": \"mail a@b.example\", broken\n".to_owned(),
        row("my mail is a@b.example", ""),
        row("my phone is 13812345678", "ok"),
        row("good", "ok"),
    ]
    .concat();
    let with = json!({"on_error": "skip", "pii": "drop"});
    let cleaned = Sandbox::new().clean_text("jsonl", text, with).unwrap();
    let all = fs_err::read_to_string(cleaned.out.path().join("rejected/records.jsonl")).unwrap();
    assert!(!all.contains("b.example") && !all.contains("1381234"), "{all}");
    assert_eq!(cleaned.reasons()[2].1, "personal_data");
    assert_eq!(cleaned.report()["personal_data"], json!({"phone": 1}));
}

fn scrap() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::sample::select(vec![
            "{\"instruction\": \"a\", \"output\": \"b\"}",
            "{\"messages\": [",
            "{\"role\": \"user\", \"content\": \"x\"}",
            "\n",
            ",",
            "[",
            "]",
            "}",
            "\"",
            "\r\n",
            "instruction,output\n",
            "\u{feff}",
            "\\ud800",
            "{\"conversations\": [{\"from\": \"human\", \"value\": \"h\"}, {\"from\": \"gpt\", \"value\": \"g\"}]}",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn random_bytes_never_panic_and_every_row_is_accounted_for(
        pieces in proptest::collection::vec(scrap(), 0..12),
        extension in proptest::sample::select(vec!["jsonl", "json", "csv", "bin"]),
    ) {
        let sandbox = Sandbox::new();
        let with = json!({"on_error": "skip", "dedup": "near", "pii": "redact", "max_line_bytes": 1024});
        if let Ok(cleaned) = sandbox.clean_text(extension, pieces.concat(), with) {
            let report = cleaned.report();
            prop_assert_eq!(report["rows_kept"].as_u64().unwrap(), cleaned.records().len() as u64);
            prop_assert_eq!(report["rows_read"].as_u64().unwrap(), (cleaned.records().len() + cleaned.rejected().len()) as u64);
        }
    }
}
