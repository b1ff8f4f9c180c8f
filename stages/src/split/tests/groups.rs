use proptest::prelude::*;

use super::*;

fn parts_of_groups(parts: &Parts) -> BTreeMap<String, Vec<&'static str>> {
    let mut groups: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for part in ["train", "validation", "test"] {
        for record in parts.records(part) {
            groups.entry(record.meta["fact"].to_string()).or_default().push(part);
        }
    }
    groups
}

#[test]
fn a_test_question_of_every_group() {
    let parts =
        split(&facts(350), json!({"group_by": "fact", "group_mode": "each", "test": 1, "validation": 0.1, "seed": 7}))
            .unwrap();
    for (group, of) in parts_of_groups(&parts) {
        assert_eq!(of.iter().filter(|part| **part == "test").count(), 1, "{group}");
        assert!(of.contains(&"train"), "{group}");
    }
    let [_, validation, test] = parts.sizes();
    assert_eq!(test, 70);
    assert!((10..=45).contains(&validation), "{validation}");
    assert_eq!(parts.report("test"), json!({"part": "test", "counts": {"rows": 70, "groups": 70}}));
}

#[test]
fn groups_too_small_stay_in_training_and_are_counted() {
    let mut rows = facts(50);
    rows.push(record(1000, json!({"fact": "lonely"})));
    rows.push(record(1001, json!({"topic": "no fact"})));
    let parts = split(&rows, json!({"group_by": "fact", "group_mode": "each", "test": 2, "validation": 2})).unwrap();
    assert_eq!(parts.sizes(), [12, 20, 20]);
    let by_id = parts.by_id();
    assert_eq!((by_id["r1000"], by_id["r1001"]), ("train", "train"));
    insta::assert_json_snapshot!("small_groups", parts.report("train"));
    insta::assert_snapshot!("small_groups_warnings", parts.warnings.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_group_is_never_divided(
        sizes in proptest::collection::vec(1..6_u64, 8..30),
        test in prop_oneof![Just(json!(0.3)), Just(json!(4))],
        stratify in any::<bool>(),
        seed in any::<u32>(),
    ) {
        let mut rows = Vec::new();
        for (fact, size) in sizes.iter().enumerate() {
            for _ in 0..*size {
                rows.push(record(rows.len() as u64, json!({"fact": fact, "topic": fact % 2})));
            }
        }
        let mut with = json!({"group_by": "fact", "test": test, "validation": 0, "seed": seed});
        if stratify {
            with["stratify_by"] = json!("topic");
        }
        // With few groups a part may come out empty, which is an error and tested elsewhere.
        if let Ok(parts) = split(&rows, with) {
            for (group, of) in parts_of_groups(&parts) {
                prop_assert!(of.iter().all(|part| *part == of[0]), "{} is in {:?}", group, of);
            }
        }
    }
}
