use super::*;

/// Rows in pairs that differ by one letter of a long question; the pairs differ in everything.
fn pairs() -> Vec<Record> {
    let mut rows = facts(40);
    for n in 0..40 {
        let mut twin = rows[n].clone();
        twin.id = format!("twin-{n}");
        twin.messages[0].content.push('s');
        twin.meta.insert("fact".into(), json!(format!("other {n}")));
        rows.push(twin);
    }
    rows
}

#[test]
fn near_duplicates_between_parts_are_reported() {
    let parts = split(&pairs(), json!({"test": 0.3, "validation": 0.2, "seed": 3})).unwrap();
    let by_id = parts.by_id();
    let across = (0..40).filter(|n| by_id[&format!("r{n}")] != by_id[&format!("twin-{n}")]).count() as u64;
    let report = parts.report("train");
    let counted: u64 =
        report["leakage"]["rows"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(counted, across);
    assert!(across > 5);
    assert!(parts.warnings[0].starts_with("near-duplicates between parts: "), "{:?}", parts.warnings);
}

#[test]
fn they_can_be_left_out_and_the_test_stays() {
    let with = |leakage| json!({"test": 0.3, "validation": 0.2, "seed": 3, "leakage": leakage});
    let reported = split(&pairs(), with("report")).unwrap();
    let dropped = split(&pairs(), with("drop")).unwrap();
    assert_eq!(reported.records("test"), dropped.records("test"));
    let leaked = dropped.report("train")["parts"]["leaked"]["rows"].as_u64().unwrap();
    assert_eq!(dropped.sizes().iter().sum::<usize>() as u64, 80 - leaked);
    let by_id = dropped.by_id();
    for n in 0..40 {
        let (one, two) = (by_id.get(&format!("r{n}")), by_id.get(&format!("twin-{n}")));
        assert!(one.is_none() || two.is_none() || one == two);
    }
}

#[test]
fn they_can_end_the_step() {
    let error = split(&pairs(), json!({"test": 0.3, "seed": 3, "leakage": "fail"})).err().unwrap();
    assert_eq!(error.code, "split::leakage");
    assert!(!error.causes.is_empty());
}

#[test]
fn an_answer_in_common_is_no_leak() {
    let mut rows = facts(100);
    for row in &mut rows {
        row.messages[1].content = "The same long answer to each and every question.".repeat(5);
    }
    for on in ["prompt", "conversation"] {
        assert!(split(&rows, json!({"leakage_on": on})).unwrap().warnings.is_empty());
    }
}
