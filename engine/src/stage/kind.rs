use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{InputPort, OutputPort, Resource, StageError, StepContext};

/// A kind of stage: one type, in one folder.
///
/// The parameters are one struct. Its doc comments are the manual, its serde and schemars attributes the validation
/// (`deny_unknown_fields`, `range`, enums), and its serialised form after defaults is what the key hashes.
pub trait Stage: 'static {
    /// What stands under `with:`.
    type Params: DeserializeOwned + Serialize + JsonSchema;
    /// The name after `uses:`.
    const KIND: &'static str;
    /// Raised whenever the same inputs and parameters would give another result.
    const VERSION: u32;
    /// One line for the manual.
    const SUMMARY: &'static str;
    /// What it takes.
    const INPUTS: &'static [InputPort];
    /// What it hands out; a step that ends well has written all of them.
    const OUTPUTS: &'static [OutputPort];
    /// What it occupies.
    const RESOURCE: Resource = Resource::Cpu;

    /// Mistakes a schema cannot express, such as two parameters that exclude each other.
    fn check(_params: &Self::Params) -> Vec<ParamProblem> {
        Vec::new()
    }

    /// Does the work.
    fn run(params: Self::Params, step: &StepContext) -> Result<(), StageError>;
}

/// A mistake in the value of one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamProblem {
    /// Where, below `with`: `["target_modules", "0"]`.
    pub path: Vec<String>,
    /// What is wrong, one sentence.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
}

impl ParamProblem {
    /// A mistake in one parameter.
    pub fn new(parameter: &str, message: impl Into<String>) -> Self {
        Self { path: vec![parameter.to_owned()], message: message.into(), help: None }
    }

    /// Adds the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A [`Stage`] with its type erased.
#[derive(Clone, Copy)]
pub struct StageKind {
    /// The name after `uses:`.
    pub name: &'static str,
    /// See [`Stage::VERSION`].
    pub version: u32,
    /// One line for the manual.
    pub summary: &'static str,
    /// What it takes.
    pub inputs: &'static [InputPort],
    /// What it hands out.
    pub outputs: &'static [OutputPort],
    /// What it occupies.
    pub resource: Resource,
    schema: fn() -> Schema,
    complete: fn(Value) -> Result<Value, String>,
    check: fn(Value) -> Vec<ParamProblem>,
    run: fn(Value, &StepContext) -> Result<(), StageError>,
}

impl StageKind {
    /// Erases the type of a stage.
    pub fn of<S: Stage>() -> Self {
        Self {
            name: S::KIND,
            version: S::VERSION,
            summary: S::SUMMARY,
            inputs: S::INPUTS,
            outputs: S::OUTPUTS,
            resource: S::RESOURCE,
            schema: schema_of::<S::Params>,
            complete: |value| {
                let params: S::Params = serde_json::from_value(value).map_err(|e| e.to_string())?;
                serde_json::to_value(params).map_err(|e| e.to_string())
            },
            check: |value| match serde_json::from_value::<S::Params>(value) {
                Ok(params) => S::check(&params),
                // The schema and `complete` say that better.
                Err(_) => Vec::new(),
            },
            run: |value, step| {
                let params = serde_json::from_value(value).map_err(|e| {
                    StageError::new("engine::bad_params", format!("the plan's parameters do not fit this kind: {e}"))
                })?;
                S::run(params, step)
            },
        }
    }

    /// The JSON schema of the parameters, complete in itself.
    pub fn schema(&self) -> Schema {
        (self.schema)()
    }

    /// The parameters with every default filled in: what the key hashes and the worker gets.
    pub fn complete(&self, with: Value) -> Result<Value, String> {
        (self.complete)(with)
    }

    /// Mistakes the schema cannot express.
    pub fn check(&self, with: Value) -> Vec<ParamProblem> {
        (self.check)(with)
    }

    /// Runs a step with completed parameters.
    pub fn run(&self, with: Value, step: &StepContext) -> Result<(), StageError> {
        (self.run)(with, step)
    }

    /// The input port of that name.
    pub fn input(&self, name: &str) -> Option<&'static InputPort> {
        self.inputs.iter().find(|port| port.name == name)
    }

    /// The output port of that name.
    pub fn output(&self, name: &str) -> Option<&'static OutputPort> {
        self.outputs.iter().find(|port| port.name == name)
    }
}

fn schema_of<P: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    SchemaGenerator::new(settings).into_root_schema_for::<P>()
}

/// Every kind the binary knows.
#[derive(Clone)]
pub struct Registry(Vec<StageKind>);

impl Registry {
    /// A registry of these kinds, in the order of the manual.
    pub fn new(kinds: Vec<StageKind>) -> Self {
        Self(kinds)
    }

    /// The kind of that name.
    pub fn get(&self, name: &str) -> Option<&StageKind> {
        self.0.iter().find(|kind| kind.name == name)
    }

    /// All kinds, in the order of the manual.
    pub fn kinds(&self) -> &[StageKind] {
        &self.0
    }
}
