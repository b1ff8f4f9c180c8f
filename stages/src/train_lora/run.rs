use std::{ops::ControlFlow, path::Path, time::Duration};

use refit_checkpoint::Checkpoint;
use refit_engine::stage::{Progress, StageError, StepContext};
use refit_llm::{
    Device, Model, Precision,
    adapter::{self, Adapter, AdapterTemplate},
    device::self_check,
    model::{Rows, WeightForm},
    train::{ComputePath, SnapshotPolicy, TrainEvent, TrainSettings, train, write_history},
};

use super::{
    curve,
    params::{Init, TrainLoraParams},
    rows::TokenPart,
};
use crate::{
    device,
    llm_error::llm_error,
    model_error::{model_error, open_model},
    tokens::{TokenFacts, Tokens},
};

/// A kill costs at most this much work, or fifty times what a snapshot takes to write.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(500);

pub(super) fn run(params: &TrainLoraParams, step: &StepContext) -> Result<(), StageError> {
    let tokens = Tokens::open(step.input("tokens")?)?;
    let checkpoint = open_model(step.input("model")?)?;
    check_tokenizer(tokens.facts(), &checkpoint)?;
    let rows = TokenPart(tokens.part("train").ok_or_else(|| {
        StageError::new("train::no_rows", "the tokens have no part `train`")
            .at(tokens.path())
            .help("wire `train` of the `tokenize` stage")
    })?);
    let validation = tokens.part("validation").filter(|rows| !rows.is_empty()).map(TokenPart);
    if validation.is_none() && params.early_stopping_patience.is_some() {
        step.warn("early_stopping_patience has no effect: the tokens have no validation rows");
    }

    let device = device::select(step)?;
    if device != Device::flex() {
        self_check(&device).map_err(|error| llm_error(&error))?;
    }
    let lora = params.lora(&checkpoint.config().name);
    let path = ComputePath::of_training(&device);
    if params.precision() == Precision::Bf16 {
        warn_of_no_gain(&path, step);
    }
    let form = WeightForm { precision: params.precision(), tiles: path.is_fused() };
    let model = Model::load_as(&checkpoint, &device, form).map_err(|error| llm_error(&error))?;
    let mut initial = Adapter::initial(lora, &model, params.seed).map_err(|error| llm_error(&error))?;
    initial.template = Some(AdapterTemplate {
        chat_template: tokens.facts().template.clone(),
        digest: tokens.facts().template_digest.clone(),
    });
    let model = initial.residual(&model).map_err(|error| llm_error(&error))?;
    step.fact("train.parameters", initial.parameters());
    let start = initial.clone();
    let settings = TrainSettings {
        threads: step.settings().threads,
        snapshot: Some(SnapshotPolicy {
            folder: step.scratch().to_owned(),
            every: SNAPSHOT_EVERY,
            fingerprint: fingerprint(params, &tokens, &checkpoint)?,
        }),
    };
    let config = params.training();
    let validation = validation.as_ref().map(|rows| rows as &dyn Rows);
    let trained = train(&model, initial, &rows, validation, &config, &settings, &mut |event| {
        report(step, params, event);
        ControlFlow::Continue(())
    })
    .map_err(|error| llm_error(&error))?;

    let save = |adapter: &Adapter, folder: &Path| {
        adapter::save(&adapter.for_original_base(&start), folder).map_err(|error| llm_error(&error))
    };
    save(&trained.last, &step.output_folder("last")?)?;
    save(trained.best.as_ref().unwrap_or(&trained.last), &step.output_folder("adapter")?)?;
    let folder = step.output_folder("history")?;
    write_history(&trained.history, &folder).map_err(|error| llm_error(&error))?;
    curve::draw(&trained.history, &folder)?;
    if let Some(end) = trained.history.last() {
        step.fact("train.steps", end.step);
        step.fact("train.loss", end.loss);
        step.fact("train.tokens_per_second", end.tokens as f64 / end.seconds);
    }
    if let Some((best, loss)) = trained.lowest {
        step.fact("train.best_step", best);
        step.fact("train.validation_loss", loss);
    }
    Ok(())
}

/// Says where bf16 costs exactness and brings no speed.
fn warn_of_no_gain(path: &ComputePath, step: &StepContext) {
    match path {
        ComputePath::Fused { gains_by_bf16: true, .. } => {}
        ComputePath::Fused { instructions, .. } => step.warn(format!(
            "`precision: bf16` is not faster here: the processor's {instructions} has no products of bf16, so rounded numbers are multiplied as f32"
        )),
        ComputePath::Composed { .. } => {
            step.warn("`precision: bf16` is not faster here: the weights are rounded, and multiplied as f32");
        }
    }
}

fn report(step: &StepContext, params: &TrainLoraParams, event: TrainEvent<'_>) {
    match event {
        TrainEvent::Resumed { step: done } => step.fact("train.resumed_after_step", done),
        TrainEvent::SnapshotSetAside { path, reason } => step.warn(format!(
            "the snapshot of an earlier try cannot be used ({reason}); training starts from its beginning, and the file is kept as {}",
            path.display()
        )),
        TrainEvent::Started { path, sharing } => {
            if params.init == Init::Pissa {
                step.fact("train.written_as", format!("LoRA of rank {} for the base as it was", 2 * params.rank));
            }
            for (parameter, value) in [("dropout", params.dropout), ("neftune_alpha", params.neftune_alpha)] {
                if value > 0.0 {
                    step.warn(format!("`{parameter}` is above 0: rows share no work, so training takes longer"));
                }
            }
            step.fact("train.computed_by", path.to_string());
            if let Some(sharing) = sharing {
                step.fact("train.sharing", sharing.to_string());
            }
        }
        TrainEvent::Step { row, total } => step.progress(Progress {
            done: row.step,
            total,
            unit: "steps".into(),
            loss: Some(row.loss),
            note: Some(format!("epoch {}/{}", (row.epoch.ceil() as u64).max(1), params.epochs)),
        }),
        TrainEvent::Validating { step: done, total } => step.progress(Progress {
            // The last unit is not done before its validation is.
            done: done - 1,
            total,
            unit: "steps".into(),
            loss: None,
            note: Some("validation".into()),
        }),
        TrainEvent::StoppedEarly { step: done } => {
            step.fact("train.stopped_early_after_step", done);
        }
    }
}

/// Tokens of another tokenizer would train nonsense without a word.
fn check_tokenizer(facts: &TokenFacts, checkpoint: &Checkpoint) -> Result<(), StageError> {
    let tokenizer = checkpoint.tokenizer().map_err(|error| model_error(&error))?;
    if tokenizer.digest() == facts.tokenizer_digest {
        return Ok(());
    }
    Err(StageError::new(
        "train::other_tokenizer",
        format!("the tokens were made with the tokenizer of `{}`, which is not this model's", facts.model),
    )
    .help("wire the same model to `tokenize` and to `train-lora`"))
}

/// What a snapshot has to agree with: parameters, rows, and the model as far as some of its weights show it.
fn fingerprint(params: &TrainLoraParams, tokens: &Tokens, checkpoint: &Checkpoint) -> Result<String, StageError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{params:?}\n{:?}\n{:?}\n", tokens.facts(), checkpoint.config()).as_bytes());
    for part in tokens.parts().filter_map(|name| tokens.part(name)) {
        for (ids, mask) in part.iter() {
            hasher.update(&(ids.len() as u64).to_le_bytes());
            hasher.update(bytemuck::cast_slice(ids));
            hasher.update(mask);
        }
    }
    for name in ["model.norm.weight", "model.layers.0.self_attn.k_proj.weight"] {
        let weight = checkpoint.tensor(name).map_err(|error| model_error(&error))?;
        hasher.update(bytemuck::cast_slice(&weight.values));
    }
    Ok(hasher.finalize().to_hex().to_string())
}
