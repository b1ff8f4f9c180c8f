use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    InputPort, MemoryEstimate, OpenPorts, Outlook, OutputDecl, OutputPort, Outside, Program, ProgramContext,
    ProgramStage, Resource, StageError, StepContext,
};

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
    /// Parameters that say how it works and can change no result, such as whether to save memory or time. They are in no key.
    const MANNER: &'static [&'static str] = &[];
    /// Whether a step whose memory ran out can go on with less. It is then started again and told so by
    /// [`Settings::shortages`](super::Settings::shortages).
    const YIELDS: bool = false;

    /// Mistakes a schema cannot express, such as two parameters that exclude each other.
    fn check(_params: &Self::Params) -> Vec<ParamProblem> {
        Vec::new()
    }

    /// How much memory a step would need at its peak, as far as the kind can tell before it runs.
    ///
    /// # Errors
    /// When it could tell, were something else known.
    fn memory(_params: &Self::Params, _outlook: &Outlook) -> Result<Option<MemoryEstimate>, StageError> {
        Ok(None)
    }

    /// Does the work.
    fn run(params: Self::Params, step: &StepContext) -> Result<(), StageError>;
}

/// A mistake in the value of one parameter, or in the name of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamProblem {
    /// Which part of the stage it is in.
    pub section: Section,
    /// Where, below the section: `["target_modules", "0"]`.
    pub path: Vec<String>,
    /// What is wrong, one sentence.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
    /// Whether the stage can do its work nevertheless.
    pub is_warning: bool,
}

impl ParamProblem {
    /// A mistake in one parameter.
    pub fn new(parameter: &str, message: impl Into<String>) -> Self {
        let (section, path) = (Section::With, vec![parameter.to_owned()]);
        Self { section, path, message: message.into(), help: None, is_warning: false }
    }

    /// A mistake in the name of an input.
    pub fn input(port: &str, message: impl Into<String>) -> Self {
        Self { section: Section::Inputs, ..Self::new(port, message) }
    }

    /// What is better said than left unsaid, and stops nothing.
    pub fn warning(parameter: &str, message: impl Into<String>) -> Self {
        Self { is_warning: true, ..Self::new(parameter, message) }
    }

    /// Says where below the parameter the mistake lies.
    #[must_use]
    pub fn below(mut self, key: impl Into<String>) -> Self {
        self.path.push(key.into());
        self
    }

    /// Adds the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A part of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// The parameters.
    With,
    /// What is wired; the mistake is in the name, not in what it leads to.
    Inputs,
}

/// A [`Stage`] or a [`ProgramStage`] with its type erased.
#[derive(Clone, Copy)]
pub struct StageKind {
    /// The name after `uses:`.
    pub name: &'static str,
    /// See [`Stage::VERSION`].
    pub version: u32,
    /// One line for the manual.
    pub summary: &'static str,
    /// What it takes; with open ports, nothing is said here.
    pub inputs: &'static [InputPort],
    /// What it hands out; with open ports, nothing is said here.
    pub outputs: &'static [OutputPort],
    /// Said of a kind whose ports every stage names for itself.
    pub open: Option<OpenPorts>,
    /// What it occupies.
    pub resource: Resource,
    /// How its steps are carried out.
    pub work: Work,
    /// See [`Stage::MANNER`].
    pub manner: &'static [&'static str],
    /// See [`Stage::YIELDS`].
    pub yields: bool,
    memory: fn(Value, &Outlook) -> Result<Option<MemoryEstimate>, StageError>,
    schema: fn() -> Schema,
    lower: fn(Value, &[&str]) -> Result<LoweredParams, String>,
}

/// How the steps of a kind are carried out.
#[derive(Clone, Copy)]
pub enum Work {
    /// In a worker process of this program.
    Worker(fn(Value, &StepContext) -> Result<(), StageError>),
    /// By a command, which the engine starts.
    Program(fn(Value, &ProgramContext<'_>) -> Result<Program, StageError>),
}

/// The parameters of one stage, checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoweredParams {
    /// The parameters with every default filled in: what the key hashes and the step gets.
    pub with: Value,
    /// What the stage hands out.
    pub outputs: Vec<OutputDecl>,
    /// What counts besides parameters and inputs.
    pub outside: Outside,
    /// Mistakes the schema cannot express.
    pub problems: Vec<ParamProblem>,
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
            open: None,
            resource: S::RESOURCE,
            manner: S::MANNER,
            yields: S::YIELDS,
            memory: |with, outlook| S::memory(&planned_params(with)?, outlook),
            work: Work::Worker(|with, step| S::run(planned_params(with)?, step)),
            schema: schema_of::<S::Params>,
            lower: |with, _| {
                let params: S::Params = serde_json::from_value(with).map_err(|e| e.to_string())?;
                Ok(LoweredParams {
                    problems: S::check(&params),
                    outputs: S::OUTPUTS.iter().map(OutputDecl::from).collect(),
                    outside: Outside::default(),
                    with: serde_json::to_value(params).map_err(|e| e.to_string())?,
                })
            },
        }
    }

    /// Erases the type of a stage that is a command.
    pub fn program<S: ProgramStage>() -> Self {
        Self {
            name: S::KIND,
            version: S::VERSION,
            summary: S::SUMMARY,
            inputs: &[],
            outputs: &[],
            open: Some(S::PORTS),
            resource: Resource::Cpu,
            manner: &[],
            yields: false,
            memory: |_, _| Ok(None),
            work: Work::Program(|with, step| S::program(planned_params(with)?, step)),
            schema: schema_of::<S::Params>,
            lower: |with, inputs| {
                let params: S::Params = serde_json::from_value(with).map_err(|e| e.to_string())?;
                Ok(LoweredParams {
                    problems: S::check(&params, inputs),
                    outputs: S::outputs(&params),
                    outside: S::outside(&params),
                    with: serde_json::to_value(params).map_err(|e| e.to_string())?,
                })
            },
        }
    }

    /// The JSON schema of the parameters, complete in itself.
    pub fn schema(&self) -> Schema {
        (self.schema)()
    }

    /// Fills in the defaults and looks for mistakes, given the names of the inputs that are wired.
    pub fn lower(&self, with: Value, inputs: &[&str]) -> Result<LoweredParams, String> {
        (self.lower)(with, inputs)
    }

    /// How much memory a step with these parameters would need at its peak; none where the kind does not tell.
    ///
    /// # Errors
    /// When the kind could tell, were something else known.
    pub fn memory(&self, with: Value, outlook: &Outlook) -> Result<Option<MemoryEstimate>, StageError> {
        (self.memory)(with, outlook)
    }

    /// Runs a step of a kind that needs a worker, with lowered parameters.
    pub fn run(&self, with: Value, step: &StepContext) -> Result<(), StageError> {
        match self.work {
            Work::Worker(run) => run(with, step),
            Work::Program(_) => {
                Err(StageError::new("engine::bad_order", format!("a step of the kind `{}` needs no worker", self.name)))
            }
        }
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

fn planned_params<P: DeserializeOwned>(with: Value) -> Result<P, StageError> {
    serde_json::from_value(with)
        .map_err(|e| StageError::new("engine::bad_params", format!("the plan's parameters do not fit this kind: {e}")))
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
