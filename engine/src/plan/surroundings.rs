use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use refit_cache::{Digest, Store, StoreLock};
use serde_json::Value;

use crate::{
    graph::StageNode,
    stage::{StageError, Variables},
};

/// Finds out what counts for a step besides its parameters and inputs. A tool is read once, however many stages name it.
pub struct Surroundings<'s> {
    store: &'s Store,
    lock: Option<&'s StoreLock>,
    folder: PathBuf,
    variables: Variables,
    tools: Mutex<HashMap<String, Result<Digest, StageError>>>,
}

/// What the name of an input begins with that is a variable. A port's name has no colon.
const VARIABLE: &str = "env:";
/// What the name of an input begins with that is a tool.
const TOOL: &str = "tool:";

/// The variable that an input stands for.
pub(crate) fn variable_of(input: &str) -> Option<&str> {
    input.strip_prefix(VARIABLE)
}

/// The tool that an input stands for.
pub(crate) fn tool_of(input: &str) -> Option<&str> {
    input.strip_prefix(TOOL)
}

/// The name of the fact that keeps the value of a variable, to be compared with.
pub(crate) fn variable_fact(name: &str) -> String {
    format!("{VARIABLE}{name}")
}

impl<'s> Surroundings<'s> {
    /// The surroundings of a pipeline in `folder`. With the store's lock, tools that did not change are not read again.
    pub fn new(store: &'s Store, lock: Option<&'s StoreLock>, folder: &Path, variables: Variables) -> Self {
        Self { store, lock, folder: folder.to_owned(), variables, tools: Mutex::default() }
    }

    /// The caller's environment.
    pub fn variables(&self) -> &Variables {
        &self.variables
    }

    /// Adds what a stage names to the content of its inputs. A variable that is not set counts as that.
    ///
    /// # Errors
    /// A tool that is not there or cannot be read.
    pub fn add_to(&self, inputs: &mut BTreeMap<String, Digest>, node: &StageNode) -> Result<(), StageError> {
        for name in &node.outside.variables {
            let value = self.variables.get(name);
            let mut bytes = vec![u8::from(value.is_some())];
            bytes.extend(value.unwrap_or_default().as_encoded_bytes());
            inputs.insert(format!("{VARIABLE}{name}"), Digest::of(&bytes));
        }
        for tool in &node.outside.tools {
            inputs.insert(format!("{TOOL}{tool}"), self.tool(tool)?);
        }
        Ok(())
    }

    /// The values of the variables that count for a stage, for its record.
    pub(crate) fn facts(&self, node: &StageNode) -> BTreeMap<String, Value> {
        let values = node.outside.variables.iter().filter_map(|name| Some((name, self.variables.get(name)?)));
        values.map(|(name, value)| (variable_fact(name), value.to_string_lossy().into())).collect()
    }

    /// Whether every tool of a stage is still what it was when it went into the stage's inputs.
    pub(crate) fn unchanged(&self, inputs: &BTreeMap<String, Digest>) -> Result<(), StageError> {
        for (name, digest) in inputs {
            let Some(tool) = tool_of(name) else { continue };
            if self.measure(tool)? != *digest {
                return Err(StageError::new(
                    "engine::input_changed",
                    format!("the tool `{tool}` was changed while the stage ran"),
                )
                .help("the result was not kept; run again"));
            }
        }
        Ok(())
    }

    fn tool(&self, tool: &str) -> Result<Digest, StageError> {
        let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tools.get(tool) {
            return known.clone();
        }
        let found = self.measure(tool);
        tools.insert(tool.to_owned(), found.clone());
        found
    }

    fn measure(&self, tool: &str) -> Result<Digest, StageError> {
        let file = self.variables.tool(tool, &self.folder).ok_or_else(|| {
            let missing = |message: String, help: &str| StageError::new("engine::no_tool", message).help(help);
            if tool.contains('/') {
                let message = format!("the tool `{tool}` is not there");
                missing(message, "a path starts at the pipeline's folder; correct it, or take it off `tools`")
            } else {
                let message = format!("no program `{tool}` is found in PATH");
                missing(message, "install it, or write a path from the pipeline's folder, such as `./script.py`")
            }
        })?;
        let measured = self.store.measure(&file, self.lock);
        Ok(measured
            .map_err(|error| {
                StageError::new("engine::no_tool", format!("the tool `{tool}` cannot be read"))
                    .at(file)
                    .caused_by(&error)
            })?
            .digest)
    }
}
