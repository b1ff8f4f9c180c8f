use std::{collections::BTreeSet, fmt, path::PathBuf, sync::Arc};

use miette::Diagnostic;
use refit_cache::{Remote, StoreError};
use thiserror::Error;

use super::Labels;
use crate::{
    graph::{Pipeline, PipelineError, StageNode},
    plan::{Force, SourceError},
    schedule::{Capacity, Gpu, Shortage},
    stage::{Settings, Variables},
};

/// Which stages a run is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// These and what they need.
    pub to: Vec<String>,
    /// These and what depends on them.
    pub from: Vec<String>,
    /// These only.
    pub only: Vec<String>,
}

impl Selection {
    /// The names of the stages selected; all of them when nothing was asked for.
    pub fn stages(&self, pipeline: &Pipeline) -> Result<BTreeSet<String>, RunError> {
        let graph = &pipeline.stages;
        let named = |names: &[String]| -> Result<BTreeSet<&str>, RunError> {
            let mut found = BTreeSet::new();
            for name in names {
                let stages = graph.named(name);
                if stages.is_empty() {
                    let known = graph.stages().map(|node| node.name.clone()).collect::<Vec<_>>().join(", ");
                    return Err(RunError::UnknownStage { name: name.clone(), known });
                }
                found.extend(stages.iter().map(|stage| stage.name.as_str()));
            }
            Ok(found)
        };
        let (only, to, from) = (named(&self.only)?, named(&self.to)?, named(&self.from)?);
        let mut selected: BTreeSet<String> = graph.stages().map(|node| node.name.clone()).collect();
        let mut keep = |some: BTreeSet<&str>| selected.retain(|name| some.contains(name.as_str()));
        if !only.is_empty() {
            keep(only);
        }
        if !to.is_empty() {
            keep(to.iter().flat_map(|name| graph.ancestors(name).into_iter().chain([*name])).collect());
        }
        if !from.is_empty() {
            keep(from.iter().flat_map(|name| graph.descendants(name).into_iter().chain([*name])).collect());
        }
        Ok(selected)
    }
}

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What steps share.
    pub capacity: Capacity,
    /// Where more GPUs than those of the capacity are found.
    pub gpus: GpuSearch,
    /// Whether independent stages go on after a failure.
    pub keep_going: bool,
    /// Whether every step is carried out once more, to see whether it makes the same bytes.
    pub verify: bool,
    /// What runs even though its result is in the store.
    pub force: Force,
    /// Which stages.
    pub selection: Selection,
    /// What steps are told about the machine.
    pub settings: Settings,
    /// The program that is started for each step that needs a worker, called as `PROGRAM exec-step PLAN STAGE`, and, beside
    /// steps that are commands, as `PROGRAM warden RUN`.
    pub worker: PathBuf,
    /// The caller's environment, of which commands get what they declare.
    pub variables: Variables,
    /// Where results are shared with other machines.
    pub remote: Option<Arc<dyn Remote>>,
    /// `-S` as given, for the record.
    pub overrides: Vec<String>,
    /// What the run is called.
    pub labels: Labels,
}

/// Finds the machine's GPUs. Drivers are slow to say: it is only asked when steps are about to run that want one.
#[derive(Clone)]
pub struct GpuSearch(Arc<dyn Fn() -> Vec<Gpu> + Send + Sync>);

impl GpuSearch {
    /// A search that `find` carries out.
    pub fn new(find: impl Fn() -> Vec<Gpu> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }
}

impl fmt::Debug for GpuSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GpuSearch")
    }
}

impl RunOptions {
    /// What there is for these steps. GPUs are only looked for when one of them asks for one, or two could each have one.
    pub(super) fn capacity_for<'n>(&self, steps: impl Iterator<Item = &'n StageNode>) -> Capacity {
        let mut capacity = self.capacity.clone();
        if capacity.gpus.is_empty() {
            let (mut asked, mut accelerated) = (false, 0);
            for node in steps {
                let demand = &node.terms.demand;
                let waived = demand.accelerator && capacity.on_cores;
                asked |= (demand.gpu > 0 || demand.vram > 0) && !waived;
                accelerated += usize::from(demand.accelerator && !waived);
            }
            if asked || accelerated > 1 {
                capacity.gpus = (self.gpus.0)();
            }
        }
        capacity
    }
}

/// Why a run could not be carried out. A stage that failed is no such error: the report tells of it.
#[derive(Debug, Error, Diagnostic)]
pub enum RunError {
    /// A name given on the command line is no stage.
    #[error("there is no stage `{name}`")]
    #[diagnostic(code(run::unknown_stage), help("stages of this pipeline: {known}"))]
    UnknownStage {
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The store could not be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    /// A source could not be had.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Source(#[from] SourceError),
    /// Stages need more than the machine has.
    #[error("{} asks for more than this machine has", file.display())]
    #[diagnostic(code(run::shortage))]
    Shortage {
        /// The pipeline file.
        file: PathBuf,
        /// One of each stage.
        #[related]
        errors: Vec<PipelineError>,
    },
    /// Reading or writing failed.
    #[error("the run's record could not be written")]
    #[diagnostic(code(run::io), help("the store needs space and the right to write; finished stages are kept"))]
    Io(#[from] std::io::Error),
    /// The store goes on losing what is put into it.
    #[error("the store lost results again and again, last: {object}")]
    #[diagnostic(code(run::store_decays), help("check the disk; `refit cache verify` lists what is damaged"))]
    StoreDecays {
        /// What was lost last.
        object: String,
    },
}

impl RunError {
    /// An error if there is a stage whose demand can never be met.
    pub(super) fn of_shortages<'n>(
        pipeline: &Pipeline,
        shortages: impl Iterator<Item = (&'n StageNode, Shortage)>,
    ) -> Result<(), Self> {
        let errors: Vec<_> = shortages
            .map(|(node, shortage)| {
                let (key, help) = match shortage {
                    Shortage::Cpu { needs, .. } => {
                        ("cpu", format!("ask for less, or let that many run with `-j {needs}`"))
                    }
                    Shortage::Memory { .. } => ("memory", "ask for less, or run it on a larger machine".to_owned()),
                    Shortage::Gpu { .. } if node.terms.demand.accelerator => (
                        "gpu",
                        "`--device cpu` runs it on the cores; `refit doctor` shows the devices it finds".to_owned(),
                    ),
                    Shortage::Gpu { .. } => {
                        ("gpu", "`--gpus 0,1` names GPUs that refit does not find by itself".to_owned())
                    }
                    Shortage::Vram { .. } => {
                        ("vram", "ask for less, or run it on a machine with a larger GPU".to_owned())
                    }
                };
                pipeline.error_at(
                    &["stages", &node.name, "resources", key],
                    "run::too_little",
                    format!("the stage `{}` needs {shortage}", node.name),
                    "more than there is",
                    Some(help),
                )
            })
            .collect();
        if errors.is_empty() {
            return Ok(());
        }
        Err(Self::Shortage { file: pipeline.file.clone(), errors })
    }
}
