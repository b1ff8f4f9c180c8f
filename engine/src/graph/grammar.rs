//! Holds a file's tree against the grammar that every pipeline shares.

use std::{collections::HashSet, sync::LazyLock};

use serde_json::{Map, Value};

use super::{
    fit::{Fit, Subject},
    place::Places,
};
use crate::{
    source::{Mistake, Path, Step},
    spec::PipelineSpec,
};

/// The grammar. It comes from our own types, so it compiles.
static GRAMMAR: LazyLock<Fit> = LazyLock::new(|| {
    Fit::new(PipelineSpec::schema().to_value()).expect("invariant: the grammar's schema comes from our own types")
});

/// What a file says, as far as it fits the grammar.
pub(super) struct Written {
    pub(super) spec: PipelineSpec,
    /// Values that do not fit.
    pub(super) broken: HashSet<Path>,
}

impl Written {
    /// Reads the tree of one file; `None` when there is nothing to go on with. What does not fit is noted and left out.
    pub(super) fn read(places: &Places<'_>, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let value = places.root.to_value();
        let subject = Subject { places, base: Path::default(), value: &value, name: "the pipeline" };
        let misfits = GRAMMAR.misfits(&subject);
        let broken: HashSet<Path> = misfits.iter().map(|misfit| misfit.path.clone()).collect();
        mistakes.extend(misfits.into_iter().filter_map(|misfit| misfit.mistake));
        if !value.is_object() {
            return None;
        }
        match fitting(value, &broken) {
            Ok(spec) => Some(Self { spec, broken }),
            Err(problem) => {
                mistakes.push(Mistake::new("pipeline::bad_value", format!("the file cannot be used: {problem}")));
                None
            }
        }
    }
}

/// The spec without the parts that do not fit.
fn fitting(mut value: Value, broken: &HashSet<Path>) -> Result<PipelineSpec, serde_json::Error> {
    for path in broken {
        let steps = path.0.as_slice();
        // A stage without a kind and a source without an address are nothing; of a matrix or a list, a part is none.
        let steps = match steps {
            [Step::Key(top), _, Step::Key(last)]
                if matches!((top.as_str(), last.as_str()), ("stages", "uses") | ("sources" | "imports", "from")) =>
            {
                &steps[..2]
            }
            [Step::Key(top), _, Step::Key(inputs), _, ..] if top == "stages" && inputs == "inputs" => &steps[..4],
            // Nor is a part of the terms of a stage.
            [Step::Key(top), _, Step::Key(key), ..] if top == "stages" && key != "with" => &steps[..3],
            [Step::Key(top), Step::Key(stages), _, ..] if top == "defaults" && stages == "stages" => &steps[..3],
            [Step::Key(top), _, Step::Key(sources), _, ..] if top == "imports" && sources == "sources" => &steps[..4],
            _ => steps,
        };
        remove(&mut value, steps);
    }
    if let Value::Object(fields) = &mut value
        && !fields.get("stages").is_some_and(Value::is_object)
    {
        fields.insert("stages".into(), Value::Object(Map::new()));
    }
    serde_json::from_value(value)
}

fn remove(value: &mut Value, steps: &[Step]) {
    let Some((last, above)) = steps.split_last() else { return };
    let mut at = value;
    for step in above {
        let below = match (at, step) {
            (Value::Object(fields), Step::Key(key)) => fields.get_mut(key),
            (Value::Array(items), Step::Index(index)) => items.get_mut(*index),
            _ => None,
        };
        match below {
            Some(below) => at = below,
            None => return,
        }
    }
    if let (Value::Object(fields), Step::Key(key)) = (at, last) {
        fields.shift_remove(key);
    }
}
