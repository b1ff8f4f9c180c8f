//! Lowers `with`: the kind's schema, its defaults and its own checks. References are replaced by then.

use std::collections::hash_map;

use serde_json::{Map, Value};

use super::{
    fit::{Fit, Subject},
    lower::Lowering,
};
use crate::{
    source::{Mistake, Node, Path, Shape, Step},
    spec::StageSpec,
    stage::{LoweredParams, Section, StageKind},
};

impl Lowering<'_> {
    /// Checks the parameters of a stage whose kind is known and keeps them, unless there is a mistake in them.
    pub(super) fn with(&mut self, name: &str, stage: &StageSpec) {
        let Some(kind) = self.stage_kinds.get(name).copied().flatten() else { return };
        let inputs: Vec<&str> = stage.inputs.iter().flat_map(|inputs| inputs.keys()).map(String::as_str).collect();
        if let Some(lowered) = self.parameters(name, kind, &inputs) {
            if kind.open.is_some() {
                self.declared.insert(name.to_owned(), lowered.outputs.clone());
            }
            self.lowered.insert(name.to_owned(), lowered);
        }
    }

    fn parameters(&mut self, name: &str, kind: &StageKind, inputs: &[&str]) -> Option<LoweredParams> {
        let path = Path::of(&["stages", name, "with"]);
        if self.broken.contains(&path) {
            return None;
        }
        let written = self.places.root.get("stages").and_then(|stages| stages.get(name)?.get("with"));
        let value = match written.map(|node| node.to_value()) {
            None | Some(Value::Null) => Value::Object(Map::new()),
            Some(value) => value,
        };
        let quoted = format!("`{}`", kind.name);
        let fit = match self.fits.entry(kind.name) {
            hash_map::Entry::Occupied(found) => found.into_mut(),
            hash_map::Entry::Vacant(place) => match Fit::new(kind.schema().to_value()) {
                Ok(fit) => place.insert(fit),
                Err(problem) => {
                    let message = format!("the schema of the stage kind {quoted} is broken: {problem}");
                    self.mistakes.push(Mistake::new("engine::bad_schema", message));
                    return None;
                }
            },
        };
        let subject = Subject { places: &self.places, base: path.clone(), value: &value, name: &quoted };
        let mut misfits = fit.misfits(&subject);
        // A reference that leads nowhere has been noted; its text is no value of any type.
        misfits.retain(|misfit| !self.unresolved.contains(&misfit.path));
        let unresolved = self.unresolved.iter().any(|bad| bad.0.starts_with(&path.0));
        let good = misfits.is_empty() && !unresolved;
        self.mistakes.extend(misfits.into_iter().filter_map(|misfit| misfit.mistake));
        if good { self.complete(&path, kind, value, inputs) } else { None }
    }

    fn complete(&mut self, path: &Path, kind: &StageKind, value: Value, inputs: &[&str]) -> Option<LoweredParams> {
        let mut lowered = match kind.lower(whole_numbers(value), inputs) {
            Ok(lowered) => lowered,
            Err(problem) => {
                let message = format!("`{}` cannot use these parameters: {problem}", kind.name);
                let labels = self.places.owner(path, "in here");
                self.mistakes.push(Mistake::new("pipeline::bad_value", message).with_labels(labels));
                return None;
            }
        };
        let problems = std::mem::take(&mut lowered.problems);
        let good = problems.iter().all(|problem| problem.is_warning);
        for problem in problems {
            let label = match problem.path.as_slice() {
                [] => "in here".to_owned(),
                path => format!("`{}`", path.join(".")),
            };
            let labels = match (problem.section, path.0.split_last()) {
                (Section::Inputs, Some((_, stage))) => {
                    let inputs = Path(stage.to_vec()).join("inputs");
                    self.places.key(&below(self.places.root, &inputs, &problem.path), label)
                }
                _ => self.places.value(&below(self.places.root, path, &problem.path), label),
            };
            let (list, code) = if problem.is_warning {
                (&mut self.warnings, "pipeline::doubtful_parameter")
            } else {
                (&mut *self.mistakes, "pipeline::bad_parameter")
            };
            list.push(Mistake::new(code, problem.message).with_labels(labels).maybe_help(problem.help));
        }
        good.then_some(lowered)
    }
}

/// The path of a parameter; a place in a list is a number in what is written, and text in what a kind says.
fn below(root: &Node, base: &Path, keys: &[String]) -> Path {
    let mut path = base.clone();
    let mut node = base.0.iter().try_fold(root, |node, step| node.child(step).map(AsRef::as_ref));
    for key in keys {
        let is_list = node.is_some_and(|node| matches!(node.target().shape, Shape::Sequence(_)));
        let step = match key.parse::<usize>() {
            Ok(index) if is_list => Step::Index(index),
            _ => Step::Key(key.clone()),
        };
        node = node.and_then(|node| node.child(&step).map(AsRef::as_ref));
        path.0.push(step);
    }
    path
}

/// `1e3` and `2.0` are whole numbers to JSON schema and to people; serde wants them without a fraction.
fn whole_numbers(value: Value) -> Value {
    /// Beyond this a float does not tell neighbouring integers apart.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => Value::from(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(whole_numbers).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, whole_numbers(value))).collect(),
        other => other,
    }
}
