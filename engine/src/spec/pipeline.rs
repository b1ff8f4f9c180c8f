use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{DefaultsSpec, ImportSpec, InputSpec, MatrixSpec};

use super::{DurationSpec, MutexSpec, ResourcesSpec, RetriesSpec};

/// What names of stages, sources and parameters look like: letters of any script, digits, `_` and `-`, not `-` first.
///
/// Written by what is excluded, so that every validator's regular expressions read it the same way.
pub const NAME_PATTERN: &str = r"^[^\u0000-\u002f:-@\[-^`{-\u00a0\u2000-\u206f\u3000-\u303f\uff00-\uff20][^\u0000-\u002c./:-@\[-^`{-\u00a0\u2000-\u206f\u3000-\u303f\uff00-\uff20]{0,63}$";

/// A pipeline: sources from outside, stages that turn them into something, and what is copied out in the end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineSpec {
    /// What the pipeline is called; without it, what its folder is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for, in a sentence or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Values that stages use as `${params.NAME}` inside `with`. A value that is nothing but such a reference keeps its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
    /// Everything from outside, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<IndexMap<String, SourceSpec>>,
    /// Stages of other pipeline files, by the name they get here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imports: Option<IndexMap<String, ImportSpec>>,
    /// What stages get unless they say otherwise: parameters by stage kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<DefaultsSpec>,
    /// The stages, by name. Their order in the file does not matter.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub stages: IndexMap<String, Box<StageSpec>>,
    /// What is copied out after a good run: a path inside the pipeline's folder, and the `STAGE.PORT` to put there. Of
    /// `STAGE[*].PORT`, every copy is put into a folder at the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<IndexMap<String, String>>,
}

/// Something from outside: a path beside the pipeline file, `hf://ORG/REPO[@REVISION][/FILE]`, `wheel://NAME==VERSION/PATH` or `https://…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SourceSpec {
    /// Where it comes from.
    From(String),
    /// Where it comes from, and what it must be.
    Pinned(PinnedSource),
}

/// A source that must have a certain content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PinnedSource {
    /// Where it comes from.
    pub from: String,
    /// `b3:` and the 64 hexadecimal digits of its blake3 digest. Anything else is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageSpec {
    /// The stage kind.
    pub uses: String,
    /// Copies of the stage, one for each combination of values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<MatrixSpec>,
    /// What is wired to each input port: a source's name, or `STAGE.PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<IndexMap<String, InputSpec>>,
    /// The parameters of the stage kind. Values may hold `${params.NAME}` and `${matrix.AXIS}`; `$${` stands for a plain `${`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<Map<String, Value>>,
    /// `false`: the stage runs in every run, whatever is in the store. For what depends on more than is declared, such as
    /// the time or a service. What follows it runs only when it comes out otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<bool>,
    /// What the stage is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it occupies while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,
    /// A name, or several: stages that name the same one never run at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutex: Option<MutexSpec>,
    /// Of the stages that could start, those with a higher number go first; all others have 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// How often it is tried again when it fails: a number, or `{ times, delay, factor }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<RetriesSpec>,
    /// How long a try may take, such as `10m`; then it is ended, and has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationSpec>,
    /// How long it has to end by itself, with a checkpoint say, once it is asked to (TERM) by its `timeout` or Ctrl-C; then it
    /// is killed. `3s` if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<DurationSpec>,
    /// Whether the same inputs always give the same bytes, as far as the author knows; yes if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deterministic: Option<bool>,
}

impl SourceSpec {
    /// Where it comes from.
    pub fn from(&self) -> &str {
        match self {
            Self::From(from) => from,
            Self::Pinned(pinned) => &pinned.from,
        }
    }

    /// The digest it must have.
    pub fn digest(&self) -> Option<&str> {
        match self {
            Self::From(_) => None,
            Self::Pinned(pinned) => pinned.digest.as_deref(),
        }
    }
}

impl PipelineSpec {
    /// The JSON schema of what every pipeline file has in common.
    pub fn schema() -> Schema {
        let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
        let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<Self>();
        let settings = settings_of_stages(schema.as_value());
        if let Some(defaults) = schema.pointer_mut("/properties/defaults/properties/stages") {
            defaults["properties"] = settings;
            defaults["additionalProperties"] = json!(false);
        }
        schema
    }
}

/// The properties of a stage that `defaults.stages` may give: all but what makes it this stage.
fn settings_of_stages(schema: &Value) -> Value {
    const OWN: [&str; 5] = ["uses", "matrix", "inputs", "with", "description"];
    let stage = schema.pointer("/properties/stages/additionalProperties/properties").and_then(Value::as_object);
    let settings = stage.into_iter().flatten().filter(|(name, _)| !OWN.contains(&name.as_str()));
    settings.map(|(name, property)| (name.clone(), property.clone())).collect::<Map<_, _>>().into()
}

/// Whether a name may be a stage's, a source's or a parameter's: see [`NAME_PATTERN`].
pub fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    !text.is_empty() && !text.starts_with('-') && text.chars().count() <= 64 && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words() {
        for good in ["a", "train-lora", "训练", "été_2", "7b", "_x"] {
            assert!(is_name(good), "{good}");
        }
        let long = "x".repeat(65);
        for bad in ["", "-a", "a.b", "a/b", "a b", "a:b", "$x", "a\u{a0}b", "训，练", "\u{3000}", long.as_str()] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_pattern_takes_every_name() {
        let schema = serde_json::json!({ "pattern": NAME_PATTERN });
        let fits = |text: &str| jsonschema::is_valid(&schema, &text.into());
        for good in ["a", "train-lora", "训练", "été_2", "7b", "_x", "𠀀"] {
            assert!(is_name(good) && fits(good), "{good}");
        }
        for bad in ["", "-a", "a.b", "a/b", "a b", "a:b", "$x", "a[", "a{", "a\u{a0}b", "训，练", "\u{3000}", "a@"] {
            assert!(!fits(bad), "{bad}");
        }
    }
}
