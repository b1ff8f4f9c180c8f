use serde_json::{Map, Value, json};

use super::{
    bound_integers,
    reference::{reference, with_references},
};
use crate::{
    spec::{NAME_PATTERN, PipelineSpec},
    stage::{Registry, StageKind},
};

/// The JSON schema (draft 2020-12) of a pipeline file: `uses` selects what `with` and `inputs` may hold.
///
/// It takes every file that [`load`](crate::graph::load) takes. What a schema cannot say (that names exist, that artifacts fit, that
/// there is no cycle) only `load` checks.
pub fn pipeline_schema(registry: &Registry) -> Value {
    let mut schema = PipelineSpec::schema().to_value();
    let mut definitions = Map::from_iter([("reference".to_owned(), reference())]);
    let stage = schema
        .pointer_mut("/properties/stages/additionalProperties")
        .map(|stage| std::mem::replace(stage, json!({ "$ref": "#/$defs/stage" })))
        .unwrap_or_default();
    definitions.insert("stage".to_owned(), with_kinds(stage, registry));
    definitions.insert("complete-stage".to_owned(), complete_stage(registry));
    for kind in registry.kinds() {
        definitions.insert(inputs_name(kind), inputs(kind));
        definitions.insert(with_name(kind), with(kind));
    }
    if let Some(Value::Object(defaults)) = schema.pointer_mut("/properties/defaults") {
        let kinds = registry.kinds().iter();
        let parameters = kinds.map(|kind| {
            let parameters = json!({ "$ref": format!("#/$defs/{}", with_name(kind)) });
            (kind.name.to_owned(), json!({ "anyOf": [parameters, { "type": "null" }], "description": kind.summary }))
        });
        let mut properties: Map<String, Value> = parameters.collect();
        properties
            .extend(defaults.shift_remove("properties").and_then(|old| old.as_object().cloned()).into_iter().flatten());
        defaults.insert("properties".to_owned(), properties.into());
        defaults.insert("additionalProperties".to_owned(), false.into());
    }
    for section in ["params", "sources", "imports", "stages"] {
        if let Some(Value::Object(section)) = schema.pointer_mut(&format!("/properties/{section}")) {
            section.insert("propertyNames".to_owned(), json!({ "pattern": NAME_PATTERN }));
        }
    }
    if let Some(Value::Object(stages)) = schema.pointer_mut("/properties/stages") {
        stages.insert("minProperties".to_owned(), 1.into());
    }
    if let Value::Object(fields) = &mut schema {
        fields.insert("title".to_owned(), "refit pipeline".into());
        fields.insert("anyOf".to_owned(), json!([{ "required": ["stages"] }, { "required": ["imports"] }]));
        // What a stage must say, a default may say for it.
        fields.insert("if".to_owned(), json!({ "not": { "required": ["defaults"] } }));
        let all = json!({ "additionalProperties": { "$ref": "#/$defs/complete-stage" } });
        fields.insert("then".to_owned(), json!({ "properties": { "stages": all } }));
        fields.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema
}

fn inputs_name(kind: &StageKind) -> String {
    format!("{}-inputs", kind.name)
}

fn with_name(kind: &StageKind) -> String {
    format!("{}-with", kind.name)
}

/// The schema of a stage, with a branch for each kind.
fn with_kinds(mut stage: Value, registry: &Registry) -> Value {
    let branches: Vec<Value> = registry.kinds().iter().map(branch).collect();
    let names: Vec<Value> =
        registry.kinds().iter().map(|kind| json!({ "const": kind.name, "description": kind.summary })).collect();
    if let Some(Value::Object(uses)) = stage.pointer_mut("/properties/uses") {
        uses.shift_remove("type");
        uses.insert("oneOf".to_owned(), names.into());
    }
    if let Value::Object(fields) = &mut stage {
        fields.insert("allOf".to_owned(), branches.into());
    }
    stage
}

fn branch(kind: &StageKind) -> Value {
    let mut required = Vec::new();
    if kind.inputs.iter().any(|port| port.required) {
        required.push("inputs");
    }
    json!({
        "if": { "properties": { "uses": { "const": kind.name } }, "required": ["uses"] },
        "then": {
            "properties": {
                "inputs": { "$ref": format!("#/$defs/{}", inputs_name(kind)) },
                "with": { "$ref": format!("#/$defs/{}", with_name(kind)) },
            },
            "required": required,
        }
    })
}

/// What a stage must say where there are no defaults.
fn complete_stage(registry: &Registry) -> Value {
    let kinds = registry.kinds().iter().filter_map(|kind| {
        let required = kind.schema().to_value().get("required")?.as_array().filter(|names| !names.is_empty())?.clone();
        Some(json!({
            "if": { "properties": { "uses": { "const": kind.name } }, "required": ["uses"] },
            "then": {
                "properties": { "with": { "type": "object", "required": required } },
                "required": ["with"],
            }
        }))
    });
    json!({ "allOf": kinds.collect::<Vec<_>>() })
}

fn inputs(kind: &StageKind) -> Value {
    let one = json!({ "type": "string", "minLength": 1 });
    let one_or_many = json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] });
    if let Some(open) = kind.open {
        return json!({
            "type": ["object", "null"],
            "description": open.inputs,
            "propertyNames": { "pattern": NAME_PATTERN },
            "additionalProperties": one_or_many,
        });
    }
    let ports: Map<String, Value> = kind
        .inputs
        .iter()
        .map(|port| {
            let kinds: Vec<_> = port.kinds.iter().map(|kind| kind.name()).collect();
            let doc = format!("{} ({})", port.doc.trim_end_matches('.'), kinds.join(" or "));
            let mut schema = if port.many { one_or_many.clone() } else { one.clone() };
            schema["description"] = doc.into();
            (port.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<&str> = kind.inputs.iter().filter(|port| port.required).map(|port| port.name).collect();
    let types = if required.is_empty() { json!(["object", "null"]) } else { json!("object") };
    json!({ "type": types, "properties": ports, "required": required, "additionalProperties": false })
}

fn with(kind: &StageKind) -> Value {
    let mut schema = kind.schema().to_value();
    if let Value::Object(fields) = &mut schema {
        fields.shift_remove("required");
    }
    bound_integers(&mut schema);
    let mut schema = with_references(schema);
    rebase(&mut schema, &format!("#/$defs/{}/$defs/", with_name(kind)));
    if let Value::Object(fields) = &mut schema {
        fields.shift_remove("$schema");
        // Nothing written under `with` is no parameter.
        if fields.get("type") == Some(&json!("object")) {
            fields.insert("type".to_owned(), json!(["object", "null"]));
        }
    }
    schema
}

/// A type that holds itself is defined beside its schema, which has moved down.
fn rebase(schema: &mut Value, base: &str) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(to) if key == "$ref" && to != super::reference::REFERENCE => {
                        if let Some(name) = to.strip_prefix("#/$defs/") {
                            *to = format!("{base}{name}");
                        }
                    }
                    other => rebase(other, base),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rebase(item, base)),
        _ => {}
    }
}
