use std::collections::{HashMap, HashSet};

use refit_engine::spec::is_name;

/// Gives things names that are free, the same one each time for the same thing.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashSet<String>,
    given: HashMap<String, String>,
}

/// Longer ones are cut, so that a number still fits behind them.
const LONGEST: usize = 56;

impl Names {
    /// The name of a thing.
    pub(super) fn of(&mut self, thing: &str) -> String {
        self.like(thing, thing)
    }

    /// The name of a thing, one like `like` if it has none yet.
    pub(super) fn like(&mut self, thing: &str, like: &str) -> String {
        if let Some(name) = self.given.get(thing) {
            return name.clone();
        }
        let name = self.fresh(like);
        self.given.insert(thing.to_owned(), name.clone());
        name
    }

    /// A name like this one that nothing else has.
    pub(super) fn fresh(&mut self, like: &str) -> String {
        let plain = plain(like);
        let mut name = plain.clone();
        let mut number = 2;
        // Two names that differ in `-` and `_` only would be one variable.
        while !self.taken.insert(name.replace('-', "_")) {
            name = format!("{plain}_{number}");
            number += 1;
        }
        name
    }
}

/// The text as a name: what cannot be in one becomes `_`.
fn plain(text: &str) -> String {
    let kept: String =
        text.chars().map(|c| if c.is_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect();
    let name: String = kept.trim_matches(['_', '-']).chars().take(LONGEST).collect();
    let name = if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name };
    if is_name(&name) { name } else { "_".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_free_and_stay_the_same() {
        let mut names = Names::default();
        let given = ["data/raw.csv", "data-raw.csv", "data/raw.csv", "1.txt", "训练", "…"].map(|text| names.of(text));
        assert_eq!(given, ["data_raw_csv", "data-raw_csv_2", "data_raw_csv", "_1_txt", "训练", "_"]);
    }
}
