//! What differs between a step as it was last time and as it is now.

use std::collections::BTreeMap;

use refit_cache::{Digest, Manifest, canonical::canonical};
use serde_json::Value;

use super::{
    Reason,
    leaves::leaves,
    surroundings::{tool_of, variable_fact, variable_of},
};
use crate::{
    graph::StageNode,
    stage::{StageKind, Variables},
};

/// Every difference between the last finished step of a stage and the one about to run, nearest causes first:
/// the kind, its version, the parameters, the inputs, the variables and tools that count.
pub(super) fn differences(
    node: &StageNode,
    inputs: &BTreeMap<String, Digest>,
    last: &Manifest,
    variables: &Variables,
) -> Vec<Reason> {
    let kind: &StageKind = &node.kind;
    if last.kind != kind.name {
        return vec![Reason::KindChanged { old: last.kind.clone(), new: kind.name.into() }];
    }
    let mut reasons = Vec::new();
    if last.version != kind.version {
        reasons.push(Reason::KindVersion { old: last.version, new: kind.version });
    }
    reasons.extend(parameter_changes(&last.params, &node.with));
    for port in last.inputs.keys().chain(inputs.keys().filter(|port| !last.inputs.contains_key(*port))) {
        let (before, after) = (last.inputs.get(port).copied(), inputs.get(port).copied());
        if before != after {
            reasons.push(if let Some(name) = variable_of(port) {
                let old = last.facts.get(&variable_fact(name)).and_then(Value::as_str).map(str::to_owned);
                let new = variables.get(name).filter(|_| after.is_some());
                Reason::Variable {
                    name: name.to_owned(),
                    old,
                    new: new.map(|value| value.to_string_lossy().into_owned()),
                }
            } else if let Some(name) = tool_of(port) {
                Reason::Tool { name: name.to_owned(), old: before, new: after }
            } else {
                let cause = node.inputs.get(port).map(ToString::to_string);
                Reason::Input { port: port.clone(), old: before, new: after, cause }
            });
        }
    }
    reasons
}

/// Every parameter that has another value, is new or is gone.
pub(crate) fn parameter_changes(old: &Value, new: &Value) -> Vec<Reason> {
    let (old, new) = (leaves(old), leaves(new));
    let mut reasons = Vec::new();
    for path in old.keys().chain(new.keys().filter(|path| !old.contains_key(*path))) {
        let (before, after) = (old.get(path), new.get(path));
        if before.map(|value| canonical(value)) != after.map(|value| canonical(value)) {
            reasons.push(Reason::Parameter {
                path: path.clone(),
                old: before.map(|value| (*value).clone()),
                new: after.map(|value| (*value).clone()),
            });
        }
    }
    reasons
}
