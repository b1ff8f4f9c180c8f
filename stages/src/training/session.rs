use std::{ops::ControlFlow, path::Path, time::Duration};

use refit_checkpoint::Checkpoint;
use refit_engine::stage::{Progress, StageError, StepContext};
use refit_llm::{
    LlmError, Model, Precision,
    adapter::{self, Adapter, AdapterTemplate, LoraInit},
    model::{WeightForm, WeightsKept},
    train::{
        ComputePath, LargestPass, Objective, SnapshotPolicy, TrainConfig, TrainEvent, TrainSettings, Trainable,
        Trained, train_towards, write_history,
    },
};
use serde::Serialize;

use super::{TokenPart, curve};
use crate::{
    device::{self, Devices},
    llm_error::llm_error,
    model_error::{model_error, open_model},
    precision::{Quantization, warn_of_no_gain},
    tokens::{Rows, TokenFacts, Tokens},
};

/// The parameters of the kinds that train which change no result.
pub(crate) const MANNER: &[&str] = &["gradient_checkpointing"];

/// A kill costs at most this much work, or fifty times what a snapshot takes to write.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(500);

/// A model on each device that takes part in a training.
pub(crate) struct Models<'a> {
    each: Vec<Model>,
    /// Let go of when all is computed.
    devices: Devices<'a>,
}

impl Models<'_> {
    /// The one that everything but the gradients is computed with.
    pub(crate) fn first(&self) -> &Model {
        &self.each[0]
    }

    /// What is made of each.
    pub(crate) fn map(self, make: impl Fn(Model) -> Result<Model, LlmError>) -> Result<Self, StageError> {
        let each = self.each.into_iter().map(make).collect::<Result<_, _>>().map_err(|error| llm_error(&error))?;
        Ok(Self { each, devices: self.devices })
    }
}

/// A step that trains an adapter: the inputs that all of these kinds have.
pub(crate) struct Session<'a> {
    step: &'a StepContext,
    tokens: Tokens,
    checkpoint: Checkpoint,
    /// Whether memory is to be saved at the price of time.
    gradient_checkpointing: bool,
}

impl<'a> Session<'a> {
    /// Opens `tokens` and `model`, which belong together.
    pub(crate) fn open(step: &'a StepContext, gradient_checkpointing: bool) -> Result<Self, StageError> {
        let tokens = Tokens::open(step.input("tokens")?)?;
        let checkpoint = open_model(step.input("model")?)?;
        check_tokenizer(tokens.facts(), &checkpoint)?;
        Ok(Self { step, tokens, checkpoint, gradient_checkpointing })
    }

    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    pub(crate) fn tokens_path(&self) -> &Path {
        self.tokens.path()
    }

    /// The rows to train on.
    pub(crate) fn train_rows(&self) -> Result<Rows<'_>, StageError> {
        self.tokens.part("train").ok_or_else(|| {
            StageError::new("train::no_rows", "the tokens have no part `train`")
                .at(self.tokens.path())
                .help("wire `train` of the `tokenize` stage")
        })
    }

    /// The rows that the training is watched with, if there are any.
    pub(crate) fn validation_rows(&self, config: &TrainConfig) -> Option<Rows<'_>> {
        let rows = self.tokens.part("validation").filter(|rows| !rows.is_empty());
        if rows.is_none() && config.early_stopping_patience.is_some() {
            self.step.warn("early_stopping_patience has no effect: the tokens have no validation rows");
        }
        rows
    }

    /// An adapter to go on from has to have been trained with the template of the tokens.
    pub(crate) fn check_template(&self, adapter: &Adapter, folder: &Path) -> Result<(), StageError> {
        match &adapter.template {
            Some(known) if known.digest != self.tokens.facts().template_digest => Err(StageError::new(
                "train::other_template",
                "the adapter was trained with another chat template than the tokens were made with",
            )
            .at(folder)
            .help("give `tokenize` the same `template` for both trainings")),
            Some(_) => Ok(()),
            None => {
                self.step.warn("the adapter does not say which chat template it was trained with");
                Ok(())
            }
        }
    }

    /// The model on each of the step's devices, in the form that training takes.
    pub(crate) fn models(&self, precision: Precision, quantization: Quantization) -> Result<Models<'a>, StageError> {
        let devices = device::select_all(self.step, self.checkpoint.config())?;
        let path = ComputePath::on(devices.first());
        warn_of_no_gain(precision, &path, self.step);
        let quantization = quantization.into();
        let form = WeightForm { precision, tiles: path.is_fused(), quantization, ..WeightForm::default() };
        let load = |device| Model::load_as(&self.checkpoint, device, form).map_err(|error| llm_error(&error));
        let each: Vec<Model> = devices.all().map(load).collect::<Result<_, _>>()?;
        let kept = each[0].weights_kept();
        self.step.fact("train.base", kept.to_string());
        if each.len() > 1 {
            self.step.fact("train.devices", each.len());
        }
        self.tell_of_blocks(kept, &path);
        Ok(Models { each, devices })
    }

    /// Examples that go through the model together, where memory ran out with as many as a batch has.
    fn at_once(
        &self,
        objective: Objective<'_>,
        config: &TrainConfig,
        dropout: f64,
    ) -> Result<Option<usize>, StageError> {
        let shortages = self.step.settings().shortages;
        if shortages == 0 {
            return Ok(None);
        }
        let share = dropout == 0.0 && config.neftune_alpha == 0.0;
        let at_once = LargestPass::smaller(objective, config, share, shortages).ok_or_else(|| {
            StageError::new("train::out_of_memory", "memory ran out, and fewer rows at a time would not need less")
                .help(
                    "`gradient_checkpointing: true` needs a fraction of the memory for the same result; so do a lower \
                     `max_length` in `tokenize`, and, of an adapter, a base in blocks (`quantization`) or a lower `rank`. \
                     `refit plan --memory` shows what takes how much",
                )
        })?;
        self.step.fact("train.rows_at_once", at_once);
        self.step.warn(format!(
            "memory ran out: batches go through the model {at_once} at a time instead of {}. A step still has {} and counts \
             their tokens alike, so that the result is the same up to rounding",
            config.batch_size,
            config.batch_size * config.accumulation,
        ));
        Ok(Some(at_once))
    }

    /// Says what blocks cost where burn operations compute.
    fn tell_of_blocks(&self, kept: &WeightsKept, path: &ComputePath) {
        if let ComputePath::Composed { reason, .. } = path
            && !kept.formats.is_empty()
        {
            self.step.warn(format!(
                "the base stays in blocks on the device, and each layer of the model is computed again on the way back, so \
                 that unpacked weights need not stay: about a third more time. `quantization: unpack` takes {} MiB of it \
                 instead of {} and avoids that. So it is because {reason}",
                kept.as_f32 >> 20,
                kept.bytes >> 20,
            ));
        }
    }

    /// Trains an adapter and writes the outputs `adapter`, `last` and `history`. `params` are those of the step.
    pub(crate) fn train(
        &self,
        models: &Models<'_>,
        mut initial: Adapter,
        objective: Objective<'_>,
        validation: Option<Objective<'_>>,
        config: &TrainConfig,
        params: &impl Serialize,
    ) -> Result<(), StageError> {
        initial.template = Some(self.template());
        if initial.config.init == LoraInit::Pissa {
            let rank = 2 * initial.config.rank;
            self.step.fact("train.written_as", format!("LoRA of rank {rank} for the base as it was"));
        }
        let start = initial.clone();
        let trained = self.fit(models, initial, objective, validation, config, params)?;
        self.write_adapters(&trained, |adapter, folder| adapter::save(&adapter.for_original_base(&start), folder))
    }

    /// The chat template that the tokens were made with.
    pub(crate) fn template(&self) -> AdapterTemplate {
        let facts = self.tokens.facts();
        AdapterTemplate { chat_template: facts.template.clone(), digest: facts.template_digest.clone() }
    }

    /// Says how many rows hold answers that nobody should learn.
    pub(crate) fn tell_left_out(&self, rows: &TokenPart<'_>) {
        let left_out = rows.left_out();
        if left_out > 0 {
            self.step.fact("train.rows_left_out", left_out);
            self.step.warn(format!(
                "{left_out} rows hold answers to be avoided and are left out; `train-preference` learns from both"
            ));
        }
    }

    /// Writes the outputs `adapter` and `last`.
    pub(crate) fn write_adapters<T>(
        &self,
        trained: &Trained<T>,
        save: impl Fn(&T, &Path) -> Result<(), LlmError>,
    ) -> Result<(), StageError> {
        let best = trained.best.as_ref().unwrap_or(&trained.last);
        for (adapter, output) in [(&trained.last, "last"), (best, "adapter")] {
            save(adapter, &self.step.output_folder(output)?).map_err(|error| llm_error(&error))?;
        }
        Ok(())
    }

    /// Trains whatever can be and writes the output `history`. `params` are those of the step.
    pub(crate) fn fit<T: Trainable>(
        &self,
        models: &Models<'_>,
        initial: T,
        objective: Objective<'_>,
        validation: Option<Objective<'_>>,
        config: &TrainConfig,
        params: &impl Serialize,
    ) -> Result<Trained<T>, StageError> {
        let (step, dropout) = (self.step, initial.dropout());
        step.fact("train.parameters", initial.values().len());
        step.fact("train.gradient_checkpointing", self.gradient_checkpointing);
        let settings = TrainSettings {
            threads: step.settings().threads,
            snapshot: Some(SnapshotPolicy {
                folder: step.scratch().to_owned(),
                every: SNAPSHOT_EVERY,
                fingerprint: self.fingerprint(params, &initial)?,
            }),
            gradient_checkpointing: self.gradient_checkpointing,
            at_once: self.at_once(objective, config, dropout)?,
            copies: models.each[1..].to_vec(),
        };
        let mut on_event = |event: TrainEvent<'_>| {
            report(step, config, dropout, models.each.len(), event);
            ControlFlow::Continue(())
        };
        let trained = train_towards(models.first(), initial, objective, validation, config, &settings, &mut on_event)
            .map_err(|error| llm_error(&error))?;
        self.write_history(&trained)?;
        Ok(trained)
    }

    fn write_history<T>(&self, trained: &Trained<T>) -> Result<(), StageError> {
        let step = self.step;
        let folder = step.output_folder("history")?;
        write_history(&trained.history, &folder).map_err(|error| llm_error(&error))?;
        curve::draw(&trained.history, &folder)?;
        if let Some(end) = trained.history.last() {
            step.fact("train.steps", end.step);
            step.fact("train.loss", end.loss);
            step.fact("train.tokens_per_second", end.tokens as f64 / end.seconds);
        }
        if let Some(end) = trained.history.last() {
            let known = &end.preference;
            for (name, value) in [("train.reward_margin", known.margins), ("train.reward_accuracy", known.accuracies)] {
                if let Some(value) = value {
                    step.fact(name, value);
                }
            }
        }
        if let Some((best, loss)) = trained.lowest {
            step.fact("train.best_step", best);
            step.fact("train.validation_loss", loss);
        }
        Ok(())
    }

    /// What a snapshot has to agree with: parameters, first values, rows, and the model as far as some of its weights show it.
    fn fingerprint(&self, params: &impl Serialize, initial: &dyn Trainable) -> Result<String, StageError> {
        let mut params = serde_json::to_value(params).map_err(std::io::Error::from)?;
        params.as_object_mut().into_iter().for_each(|params| params.retain(|name, _| !MANNER.contains(&name.as_str())));
        let mut hasher = blake3::Hasher::new();
        let config = self.checkpoint.config();
        hasher.update(format!("{params}\n{:?}\n{config:?}\n", self.tokens.facts()).as_bytes());
        hasher.update(bytemuck::cast_slice(initial.values()));
        for part in self.tokens.parts().filter_map(|name| self.tokens.part(name)) {
            for (ids, mask) in part.iter() {
                hasher.update(&(ids.len() as u64).to_le_bytes());
                hasher.update(bytemuck::cast_slice(ids));
                hasher.update(mask);
            }
            if let Some(known) = part.preferences() {
                hasher.update(known.desired);
            }
        }
        // The last norm and the first layer of the first block, whatever the family calls them.
        for module in [config.names.norm.to_owned(), config.linear_path(0, config.linears[0].module)] {
            let weight = self.checkpoint.tensor(&format!("{module}.weight")).map_err(|error| model_error(&error))?;
            hasher.update(bytemuck::cast_slice(&weight.values));
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

fn report(step: &StepContext, config: &TrainConfig, dropout: f64, devices: usize, event: TrainEvent<'_>) {
    match event {
        TrainEvent::Resumed { step: done } => step.fact("train.resumed_after_step", done),
        TrainEvent::SnapshotSetAside { path, reason } => step.warn(format!(
            "the snapshot of an earlier try cannot be used ({reason}); training starts from its beginning, and the file is kept as {}",
            path.display()
        )),
        TrainEvent::Started { path, sharing, parts } => {
            for (parameter, value) in [("dropout", dropout), ("neftune_alpha", config.neftune_alpha)] {
                if value > 0.0 {
                    step.warn(format!("`{parameter}` is above 0: rows share no work, so training takes longer"));
                }
            }
            step.fact("train.computed_by", path.to_string());
            if let Some(sharing) = sharing {
                step.fact("train.sharing", sharing.to_string());
            }
            if let Some(parts) = parts {
                step.fact("train.parts_per_step", (parts * 10.0).round() / 10.0);
                if parts < devices as f64 {
                    step.warn(format!(
                        "{devices} devices share {parts:.1} parts a step on average, so that some of them wait: a larger `batch_size` or \
                         `gradient_accumulation` makes more parts"
                    ));
                }
            }
        }
        TrainEvent::Step { row, total } => step.progress(Progress {
            done: row.step,
            total,
            unit: "steps".into(),
            loss: Some(row.loss),
            note: Some(format!("epoch {}/{}", (row.epoch.ceil() as u64).max(1), config.epochs)),
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
    .help("wire the same model to `tokenize` and here"))
}
