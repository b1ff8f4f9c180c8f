//! How much memory a training will need, from what is known of its inputs before it runs.

use std::path::Path;

use refit_checkpoint::Checkpoint;
use refit_engine::stage::{Foreseen, MemoryEstimate, MemoryPlace, Outlook, StageError};
use refit_llm::{
    LlmError,
    footprint::{Footprint, GpuSizes, Subject, TrainingSizes},
    model::WeightForm,
    train::{LargestPass, PaddedPasses, TrainConfig},
};
use tempfile::TempDir;

use crate::{
    llm_error::llm_error,
    model_error::open_model,
    tokens::{TOKENS_FILE, Tokens},
    training::TokenPart,
};

/// What a training is asked to do, as far as memory goes.
pub(crate) struct Asked<'a> {
    pub(crate) subject: Subject<'a>,
    pub(crate) form: WeightForm,
    pub(crate) config: &'a TrainConfig,
    pub(crate) dropout: f64,
    /// Rows of one example.
    pub(crate) together: usize,
    /// Whether answers that are to be avoided are trained on too.
    pub(crate) all_answers: bool,
    pub(crate) gradient_checkpointing: bool,
}

/// A model of which nothing but headers is read.
pub(crate) struct ModelHeaders {
    pub(crate) checkpoint: Checkpoint,
    /// Where the files of a result lie under their names.
    _folder: Option<TempDir>,
}

impl ModelHeaders {
    /// Those of the model wired to a port.
    pub(crate) fn open(outlook: &Outlook, port: &str) -> Result<Self, StageError> {
        let (path, folder) = match outlook.input(port) {
            Some(Foreseen::Here(path)) => (path.clone(), None),
            Some(Foreseen::Stored(files)) if files.contains_key("") => (files[""].clone(), None),
            Some(Foreseen::Stored(files)) => {
                let folder = tempfile::tempdir()?;
                for (name, object) in files {
                    link(object, &folder.path().join(name))?;
                }
                (folder.path().to_owned(), Some(folder))
            }
            Some(Foreseen::Later { kind, .. }) => {
                return Err(unknown(format!("the model is still to be made by a stage of the kind `{kind}`")));
            }
            Some(Foreseen::Elsewhere { why }) => return Err(unknown(why.clone())),
            None => return Err(unknown(format!("nothing is known of the input `{port}`"))),
        };
        Ok(Self { checkpoint: open_model(&path)?, _folder: folder })
    }
}

/// The estimate for a training: by its rows if they are there, else by the longest that there can be.
pub(crate) fn memory(
    outlook: &Outlook,
    model: &ModelHeaders,
    asked: &Asked<'_>,
) -> Result<Option<MemoryEstimate>, StageError> {
    let tokens = outlook.file("tokens", TOKENS_FILE).map(|path| Tokens::open(&path)).transpose()?;
    let lengths = match &tokens {
        Some(tokens) => {
            let rows = |name: &str| tokens.part(name).filter(|rows| !rows.is_empty());
            let of = |rows| if asked.all_answers { TokenPart::all(rows) } else { TokenPart::to_learn(rows) };
            let train = rows("train").ok_or_else(|| unknown("the tokens have no part `train`".into()))?;
            Lengths::Known { train: of(train), validation: rows("validation").map(of) }
        }
        None => Lengths::AtMost(longest(outlook)?),
    };
    let (place, found) = if outlook.device().starts_with("wgpu") {
        (MemoryPlace::Gpu, on_gpu(model, asked, &lengths))
    } else {
        (MemoryPlace::Cpu, on_cpu(model, asked, &lengths, outlook.device() != "cpu"))
    };
    let found = found.map_err(|error| llm_error(&error))?;
    Ok(Some(MemoryEstimate { place, ..told(&found, matches!(lengths, Lengths::AtMost(_))) }))
}

/// What is known of the rows.
enum Lengths<'a> {
    /// All of them.
    Known { train: TokenPart<'a>, validation: Option<TokenPart<'a>> },
    /// The most tokens that one can have.
    AtMost(usize),
}

impl Asked<'_> {
    /// Whether rows share their beginning: nothing random is drawn for each.
    fn shares(&self) -> bool {
        self.dropout == 0.0 && self.config.neftune_alpha == 0.0
    }
}

fn on_cpu(
    model: &ModelHeaders,
    asked: &Asked<'_>,
    lengths: &Lengths<'_>,
    looks_for_gpu: bool,
) -> Result<Footprint, LlmError> {
    let (training, validation) = match lengths {
        Lengths::Known { train, validation } => (
            LargestPass::of_training(train, asked.together, asked.config.batch_size, asked.config, asked.shares()),
            validation.as_ref().map(|rows| LargestPass::of_validation(rows)),
        ),
        Lengths::AtMost(longest) => (
            LargestPass::at_most(*longest, asked.config.batch_size * asked.together),
            Some(LargestPass::at_most(*longest, usize::MAX / longest.max(&1))),
        ),
    };
    let sizes = TrainingSizes {
        subject: asked.subject,
        form: asked.form,
        training,
        validation,
        gradient_checkpointing: asked.gradient_checkpointing,
        dropout: asked.dropout > 0.0,
        looks_for_gpu,
    };
    Footprint::of_training(&model.checkpoint, &sizes)
}

fn on_gpu(model: &ModelHeaders, asked: &Asked<'_>, lengths: &Lengths<'_>) -> Result<Footprint, LlmError> {
    let passes = match lengths {
        Lengths::Known { train, .. } => PaddedPasses::of_training(train, asked.together, asked.config, asked.shares()),
        Lengths::AtMost(longest) => PaddedPasses::at_most(*longest, asked.config.batch_size * asked.together),
    };
    let sizes = GpuSizes {
        subject: asked.subject,
        form: asked.form,
        passes: &passes,
        gradient_checkpointing: asked.gradient_checkpointing,
        dropout: asked.dropout > 0.0,
    };
    Footprint::on_gpu(&model.checkpoint, &sizes)
}

/// A footprint on a CPU as plans show it.
pub(crate) fn told(found: &Footprint, at_most: bool) -> MemoryEstimate {
    let parts =
        [("program", found.program), ("weights", found.weights), ("passes", found.passes), ("trained", found.trained)];
    MemoryEstimate {
        place: MemoryPlace::Cpu,
        bytes: found.bytes() as u64,
        at_most,
        parts: parts.into_iter().map(|(name, bytes)| (name, bytes as u64)).collect(),
    }
}

/// Tokens of the longest row that the tokens, which are still to be made, can hold.
fn longest(outlook: &Outlook) -> Result<usize, StageError> {
    match outlook.input("tokens") {
        Some(Foreseen::Later { kind, with }) if kind == "tokenize" => {
            let length = with.get("max_length").and_then(serde_json::Value::as_u64);
            length
                .map(|length| length as usize)
                .ok_or_else(|| unknown("`max_length` of the tokens is not known".into()))
        }
        Some(Foreseen::Elsewhere { why }) => Err(unknown(why.clone())),
        _ => Err(unknown("the lengths of the rows are known once the tokens are made".into())),
    }
}

/// Why nothing can be told.
pub(crate) fn unknown(why: String) -> StageError {
    StageError::new("memory::unknown", why)
}

fn link(to: &Path, at: &Path) -> std::io::Result<()> {
    if let Some(parent) = at.parent() {
        fs_err::create_dir_all(parent)?;
    }
    fs_err::os::unix::fs::symlink(to, at)
}
