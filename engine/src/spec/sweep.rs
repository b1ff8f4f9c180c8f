//! `-S PATH=8,16,32`: several values for one path, and the grid they span.

use serde_json::{Map, Value};

use super::{Override, OverrideError, decimal::Decimal, items::items, overrides::split};

/// More runs than this at once are a slip of the finger.
const MOST: usize = 10_000;

/// What was given with `-S`: for every path one value, or several to try.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sweep {
    choices: Vec<Vec<Override>>,
}

/// One combination of the values.
#[derive(Debug, Clone, PartialEq)]
pub struct Combination {
    /// All overrides, with one value each.
    pub overrides: Vec<Override>,
    /// Of the paths with several values, this combination's one.
    pub values: Map<String, Value>,
    /// Those values as they are written.
    pub written: Map<String, Value>,
}

impl Sweep {
    /// Reads what was given with `-S`, in its order.
    ///
    /// Several values are parted by commas: `stages.train.with.rank=8,16,32`. `range(START,STOP,STEP)` counts up to but
    /// not including STOP, `logrange(FIRST,LAST,COUNT)` takes COUNT values whose ratio is the same, both ends included, and
    /// `choice(A,B)` is the same as `A,B`. A comma in brackets or quotation marks parts nothing. Where one path is given more than once,
    /// the last one counts.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn parse(texts: &[String]) -> Result<Self, OverrideError> {
        let mut choices: Vec<Vec<Override>> = Vec::new();
        for text in texts {
            let values = values(text)?;
            let path = &values[0].path;
            if values.len() > 1 || choices.iter().any(|known| known.len() > 1 && known[0].path == *path) {
                choices.retain(|known| known[0].path != *path);
            }
            choices.push(values);
        }
        let sweep = Self { choices };
        if sweep.len() > MOST {
            let sizes: Vec<String> = sweep.axes().map(|axis| axis.len().to_string()).collect();
            return Err(OverrideError::TooManyRuns { runs: sizes.join(" × ") });
        }
        Ok(sweep)
    }

    /// How many combinations there are.
    pub fn len(&self) -> usize {
        self.choices.iter().fold(1, |product, values| product.saturating_mul(values.len()))
    }

    /// Never: without any values there is one combination.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whether every path has one value.
    pub fn is_single(&self) -> bool {
        self.len() == 1
    }

    fn axes(&self) -> impl Iterator<Item = &Vec<Override>> {
        self.choices.iter().filter(|values| values.len() > 1)
    }

    /// Every combination, the last path turning fastest.
    pub fn combinations(&self) -> impl Iterator<Item = Combination> + '_ {
        (0..self.len()).map(|number| {
            let mut left = number;
            let mut overrides: Vec<Override> = Vec::with_capacity(self.choices.len());
            for values in self.choices.iter().rev() {
                overrides.push(values[left % values.len()].clone());
                left /= values.len();
            }
            overrides.reverse();
            let swept = || overrides.iter().zip(&self.choices).filter(|(_, values)| values.len() > 1);
            let written = |given: &Override| {
                let at = split(&given.text).map_or(0, |(_, at)| at);
                Value::String(given.text[at..].to_owned())
            };
            let values = swept().map(|(given, _)| (given.path.join("."), given.value.clone())).collect();
            let written = swept().map(|(given, _)| (given.path.join("."), written(given))).collect();
            Combination { overrides, values, written }
        })
    }
}

/// Every value of one `-S`; at least one.
fn values(text: &str) -> Result<Vec<Override>, OverrideError> {
    let (_, at) = split(text)?;
    let (path, value) = text.split_at(at);
    // A block of YAML is one value, whatever is in it.
    let pieces = if value.contains('\n') { vec![value] } else { items(value) };
    let bad = |problem: String| OverrideError::BadSweep { text: text.to_owned(), problem };
    let mut found: Vec<Override> = Vec::new();
    let only = pieces.len() == 1;
    for piece in pieces {
        if !only && piece.trim().is_empty() {
            return Err(bad("has nothing between two commas".to_owned()));
        }
        for value in expanded(piece).map_err(bad)? {
            found.push(Override::parse(&format!("{path}{value}"))?);
        }
    }
    for (place, given) in found.iter().enumerate() {
        let same = |other: &&Override| {
            refit_cache::canonical::canonical(&other.value) == refit_cache::canonical::canonical(&given.value)
        };
        if let Some(first) = found[..place].iter().find(same) {
            return Err(bad(format!("has the value `{}` twice", first.text[at..].trim())));
        }
    }
    Ok(found)
}

/// The values that a piece stands for, as text.
fn expanded(piece: &str) -> Result<Vec<String>, String> {
    let word = piece.trim();
    let called = word.split_once('(').filter(|_| word.ends_with(')'));
    let Some((name, rest)) = called else {
        return Ok(vec![piece.to_owned()]);
    };
    let arguments: Vec<&str> = items(&rest[..rest.len() - 1]).into_iter().map(str::trim).collect();
    match name {
        "choice" if arguments.iter().all(|argument| !argument.is_empty()) => {
            Ok(arguments.into_iter().map(str::to_owned).collect())
        }
        "choice" => Err("has a choice of nothing".to_owned()),
        "range" => range(&arguments).ok_or_else(|| {
            format!("has `{word}`, which is no range: write range(START,STOP,STEP), with a STEP that leads from START to STOP")
        }),
        "logrange" => logrange(&arguments).ok_or_else(|| {
            format!(
                "has `{word}`, which is no range: write logrange(FIRST,LAST,COUNT), both more than 0, with a COUNT of at least 2"
            )
        }),
        _ => Ok(vec![piece.to_owned()]),
    }
}

fn range(arguments: &[&str]) -> Option<Vec<String>> {
    let [start, stop, step] = match *arguments {
        [start, stop] => [start, stop, "1"],
        [start, stop, step] => [start, stop, step],
        _ => return None,
    };
    let numbers = [start.parse().ok()?, stop.parse().ok()?, step.parse().ok()?];
    let ([start, stop, step], unit) = Decimal::common(numbers)?;
    let count = stop.checked_sub(start)?.checked_add(step - step.signum())?.checked_div(step)?;
    let count = usize::try_from(count).ok().filter(|count| (1..=MOST).contains(count))?;
    Some((0..count as i128).map(|place| Decimal::new(start + place * step, unit).to_string()).collect())
}

fn logrange(arguments: &[&str]) -> Option<Vec<String>> {
    let [first, last, count] = *arguments else { return None };
    let (first, last): (Decimal, Decimal) = (first.parse().ok()?, last.parse().ok()?);
    let count = count.parse().ok().filter(|count| (2..=MOST).contains(count))?;
    let (low, high) = (first.as_f64(), last.as_f64());
    if low <= 0.0 || high <= 0.0 || low.to_bits() == high.to_bits() {
        return None;
    }
    let inner = (1..count - 1).map(|place| {
        let exponent = place as f64 / (count - 1) as f64;
        // More digits would only show how powers are rounded.
        let value = format!("{:.6e}", low * (high / low).powf(exponent));
        value.parse::<Decimal>().map_or(value, |number| number.to_string())
    });
    Some([first.to_string()].into_iter().chain(inner).chain([last.to_string()]).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn sweep(texts: &[&str]) -> Result<Sweep, OverrideError> {
        Sweep::parse(&texts.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn values_of(text: &str) -> Vec<Value> {
        let sweep = sweep(&[text]).unwrap();
        sweep.combinations().map(|combination| combination.overrides[0].value.clone()).collect()
    }

    #[test]
    fn commas_part_values_and_brackets_and_marks_hold_them_together() {
        assert_eq!(values_of("params.rank=8,16, 32"), [json!(8), json!(16), json!(32)]);
        assert_eq!(values_of("params.x=[a, b]"), [json!(["a", "b"])]);
        assert_eq!(values_of("params.x=[a, b],[c]"), [json!(["a", "b"]), json!(["c"])]);
        assert_eq!(values_of("params.x={a: 1, b: 2}"), [json!({"a": 1, "b": 2})]);
        assert_eq!(values_of("params.x=\"a, b\""), [json!("a, b")]);
        assert_eq!(values_of("params.x='a, b',c"), [json!("a, b"), json!("c")]);
        assert_eq!(values_of("params.x=a, b"), [json!("a"), json!("b")]);
        assert_eq!(values_of("params.x="), [json!(null)]);
        assert_eq!(values_of("params.x=f(1,2)"), [json!("f(1,2)")]);
    }

    #[test]
    fn ranges_count_as_people_do() {
        assert_eq!(values_of("p.x=range(1,4)"), [json!(1), json!(2), json!(3)]);
        assert_eq!(values_of("p.x=range(1e-4,5e-4,1e-4)"), [json!(1e-4), json!(2e-4), json!(3e-4), json!(4e-4)]);
        assert_eq!(values_of("p.x=range(0.1,0.35,0.1)"), [json!(0.1), json!(0.2), json!(0.3)]);
        assert_eq!(values_of("p.x=range(3,0,-1)"), [json!(3), json!(2), json!(1)]);
        assert_eq!(values_of("p.x=logrange(1e-5,1e-3,3)"), [json!(1e-5), json!(1e-4), json!(1e-3)]);
        assert_eq!(values_of("p.x=choice(8,range(1,3)),4"), [json!(8), json!("range(1,3)"), json!(4)]);
        let texts: Vec<String> = sweep(&["p.x=range(1e-4,3e-4,1e-4)"])
            .unwrap()
            .combinations()
            .map(|c| c.overrides[0].text.clone())
            .collect();
        assert_eq!(texts, ["p.x=1e-4", "p.x=2e-4"]);
    }

    #[test]
    fn the_grid_turns_its_last_path_fastest() {
        let sweep = sweep(&["a.x=1,2", "b=only", "a.y=u,v"]).unwrap();
        assert_eq!(sweep.len(), 4);
        let values: Vec<Value> = sweep.combinations().map(|combination| combination.values.into()).collect();
        assert_eq!(values[1], json!({"a.x": 1, "a.y": "v"}));
        assert_eq!(values[2], json!({"a.x": 2, "a.y": "u"}));
    }

    #[test]
    fn of_one_path_the_last_one_counts() {
        assert_eq!(sweep(&["a.x=1,2", "a.x=3"]).unwrap().len(), 1);
        assert_eq!(sweep(&["a.x=3", "a.x=1,2"]).unwrap().combinations().next().unwrap().overrides.len(), 1);
        assert_eq!(sweep(&["a.x=3", "a.x=4"]).unwrap().combinations().next().unwrap().overrides.len(), 2);
    }

    #[test]
    fn what_is_no_sweep_is_refused() {
        for text in [
            "a.x=1,,2",
            "a.x=1,",
            "a.x=1,1.0",
            "a.x=range(1,5,0)",
            "a.x=range(5,1)",
            "a.x=range(1)",
            "a.x=range(a,b)",
            "a.x=range(0,1e9)",
            "a.x=logrange(0,1,3)",
            "a.x=logrange(1,2,1)",
            "a.x=logrange(1,1,3)",
            "a.x=choice()",
            "a.x=1,[2",
        ] {
            assert!(sweep(&[text]).is_err(), "{text}");
        }
        assert!(matches!(sweep(&["a.x=range(0,200)", "a.y=range(0,200)"]), Err(OverrideError::TooManyRuns { .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[a-z.]{0,5}=?[\\PC]{0,24}", call in "(range|logrange|choice)\\([0-9e.,+-]{0,24}\\)") {
            let _ = sweep(&[&text]);
            let _ = sweep(&[&format!("a.x={call}")]);
        }
    }
}
