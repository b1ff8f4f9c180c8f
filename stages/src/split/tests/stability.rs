use proptest::prelude::*;

use super::*;

/// How many of the earlier rows have another part now.
fn moved(before: &Parts, after: &Parts) -> usize {
    let after = after.by_id();
    before.by_id().into_iter().filter(|(id, part)| after.get(id) != Some(part)).count()
}

/// Rows `0..count` without those that the mask leaves out, in another order.
fn chosen(mask: &[bool], turn: usize) -> Vec<Record> {
    let mut rows: Vec<Record> =
        facts(mask.len() as u64).into_iter().zip(mask).filter(|(_, keep)| **keep).map(|(row, _)| row).collect();
    let by = turn % rows.len().max(1);
    rows.rotate_left(by);
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn with_fractions_no_earlier_row_moves(
        mask in proptest::collection::vec(any::<bool>(), 60..160), turn in any::<u8>(), group in any::<bool>(),
    ) {
        let mut with = json!({"test": 0.3, "validation": 0.2});
        if group {
            with["group_by"] = json!("fact");
        }
        let all = facts(mask.len() as u64);
        if let (Ok(before), Ok(after)) = (split(&chosen(&mask, usize::from(turn)), with.clone()), split(&all, with)) {
            prop_assert_eq!(moved(&before, &after), 0);
        }
    }

    #[test]
    fn with_counts_and_strata_one_new_row_moves_one_over_each_border(
        mask in proptest::collection::vec(any::<bool>(), 60..160), new in any::<prop::sample::Index>(), strata in any::<bool>(),
    ) {
        let with = if strata { json!({"test": 0.3, "validation": 0.2, "stratify_by": "topic"}) } else { json!({"test": 9, "validation": 6}) };
        let mut more = mask.clone();
        more[new.index(mask.len())] = true;
        let (before, after) = (split(&chosen(&mask, 0), with.clone()), split(&chosen(&more, 0), with));
        if let (Ok(before), Ok(after)) = (before, after) {
            prop_assert!(moved(&before, &after) <= 2, "{} rows moved", moved(&before, &after));
        }
    }

    #[test]
    fn in_each_group_only_groups_with_new_rows_change(mask in proptest::collection::vec(any::<bool>(), 60..160), new in any::<prop::sample::Index>()) {
        let with = json!({"group_by": "fact", "group_mode": "each", "test": 1, "validation": 0});
        let new = new.index(mask.len());
        let mut more = mask.clone();
        more[new] = true;
        let (before, after) = (split(&chosen(&mask, 0), with.clone()), split(&chosen(&more, 0), with));
        if let (Ok(before), Ok(after)) = (before, after) {
            let after = after.by_id();
            for (id, part) in before.by_id() {
                let same_group = id[1..].parse::<usize>().unwrap() / 5 == new / 5;
                prop_assert!(same_group || after[&id] == part);
            }
        }
    }
}

#[test]
fn rows_with_the_same_messages_share_their_part() {
    let mut rows = facts(60);
    let mut copies = facts(60);
    for copy in &mut copies {
        copy.id.insert_str(0, "copy-");
    }
    rows.extend(copies);
    for with in [json!({"test": 0.3}), json!({"test": 10}), json!({"test": 0.3, "stratify_by": "topic"})] {
        let by_id = split(&rows, with).unwrap().by_id();
        assert!((0..60).all(|n| by_id[&format!("r{n}")] == by_id[&format!("copy-r{n}")]));
    }
}

/// Parts that move with a new version of refit would spoil every comparison with an earlier run.
#[test]
fn the_assignment_is_pinned() {
    let by_id = split(&facts(30), json!({"test": 0.2, "validation": 0.2, "seed": 7})).unwrap().by_id();
    let of =
        |part| by_id.iter().filter(|(_, of)| **of == part).map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(" ");
    insta::assert_snapshot!(format!("validation: {}\ntest: {}", of("validation"), of("test")));
}
