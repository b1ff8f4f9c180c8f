use super::*;

fn near(size: usize, wanted: f64) -> bool {
    (size as f64 - wanted).abs() < 4.0 * wanted.sqrt()
}

#[test]
fn fractions_are_right_on_average() {
    let rows = facts(4000);
    let parts = split(&rows, json!({"test": 0.2, "validation": 0.1, "seed": 7})).unwrap();
    let [train, validation, test] = parts.sizes();
    assert_eq!(train + validation + test, 4000);
    assert!(near(test, 800.0) && near(validation, 400.0), "{:?}", parts.sizes());
    assert!(parts.warnings.is_empty(), "{:?}", parts.warnings);
    let numbers: Vec<u64> = parts.records("test").iter().map(|record| record.id[1..].parse().unwrap()).collect();
    assert!(numbers.is_sorted(), "the order of the rows stays");
}

#[test]
fn counts_are_exact() {
    let rows = facts(100);
    assert_eq!(split(&rows, json!({"test": 20, "validation": 5})).unwrap().sizes(), [75, 5, 20]);
    let parts = split(&rows, json!({"test": 20, "validation": 0, "train": 30})).unwrap();
    assert_eq!(parts.sizes(), [30, 0, 20]);
    assert_eq!(parts.warnings, ["50 of 100 rows are in no part"]);
    let parts = split(&rows, json!({"test": 0.5, "validation": 7})).unwrap();
    assert_eq!(parts.sizes()[1], 7);
    assert_eq!(parts.sizes().iter().sum::<usize>(), 100);
}

#[test]
fn fractions_that_add_up_to_one_leave_nothing() {
    let parts = split(&facts(1000), json!({"test": 0.1, "validation": 0.2, "train": 0.7})).unwrap();
    assert_eq!(parts.sizes().iter().sum::<usize>(), 1000);
}

#[test]
fn another_seed_gives_another_split() {
    let rows = facts(200);
    let ids = |seed| split(&rows, json!({"seed": seed})).unwrap().by_id();
    assert_eq!(ids(1), ids(1));
    assert_ne!(ids(1), ids(2));
}

#[test]
fn strata_keep_their_proportions() {
    let rows = facts(200);
    let parts = split(&rows, json!({"test": 0.1, "validation": 0.05, "stratify_by": "topic"})).unwrap();
    assert_eq!(parts.sizes(), [170, 10, 20]);
    insta::assert_json_snapshot!("stratified", parts.report("train"));
    let parts = split(&rows, json!({"test": 10, "validation": 0, "stratify_by": "topic"})).unwrap();
    let mail = parts.records("test").iter().filter(|record| record.meta["topic"] == "mail").count();
    assert_eq!((parts.sizes()[2], mail), (10, 3));
}

#[test]
fn what_cannot_be_is_an_error() {
    let rows = facts(10);
    let mut errors = Vec::new();
    for with in [
        json!({"test": 20}),
        json!({"test": 10}),
        json!({"test": 5, "validation": 5}),
        json!({"test": 0.01, "validation": 0}),
        json!({"group_by": "fakt"}),
        json!({"stratify_by": "language"}),
        json!({"test": 1, "validation": 1, "group_by": "fact"}),
    ] {
        let error = split(&rows, with.clone()).err().unwrap_or_else(|| panic!("{with} is accepted"));
        errors.push(format!(
            "{with}\n  [{}] {}\n  help: {}",
            error.code,
            error.message,
            error.help.unwrap_or_default()
        ));
    }
    let none = split(&[], json!({})).err().unwrap();
    errors.push(format!("no rows\n  [{}] {}", none.code, none.message));
    insta::assert_snapshot!("errors", errors.join("\n"));
}

#[test]
fn parameters_that_exclude_each_other_are_named() {
    let kind = StageKind::of::<Split>();
    let said = |with| -> Vec<String> {
        let problems = kind.lower(with, &[]).unwrap().problems;
        problems.into_iter().map(|problem| format!("{}: {}", problem.path.concat(), problem.message)).collect()
    };
    assert_eq!(said(json!({"test": 1.5})), ["test: 1.5 is neither a fraction nor a count"]);
    assert_eq!(said(json!({"test": 0.6, "train": 0.5})), ["test: the fractions add up to 1.2, more than 1"]);
    assert_eq!(said(json!({"group_mode": "each"})), ["group_mode: `each` divides groups, but `group_by` names none"]);
    assert_eq!(
        said(json!({"group_mode": "each", "group_by": "fact", "stratify_by": "topic"})),
        ["stratify_by: `group_mode: each` already takes rows of every group"]
    );
}
