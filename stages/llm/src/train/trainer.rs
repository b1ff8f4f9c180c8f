use std::{
    ops::ControlFlow,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    HistoryRow, SnapshotPolicy, TrainConfig, Trainable,
    gradient::{NamedRow, accumulate_step},
    history::twelve_digits,
    objective::Objective,
    optimizer::{AdamW, Step, clipping, zeros},
    passes::epoch_order,
    schedule::learning_rate,
    shard::pieces,
    sharing::Sharing,
    snapshot::{Found, Progress, State},
    trainable::ValueGroup,
    workers::Workers,
};
use crate::{
    LlmError, Model,
    device::is_fusing,
    fused::ComputePath,
    model::{Randomness, Row, Rows, check_row, common_prefix},
};

/// What a training is told about the machine; none of it changes the result.
#[derive(Debug, Clone, Default)]
pub struct TrainSettings {
    /// Cores to keep busy.
    pub threads: usize,
    /// Where to keep snapshots, if anywhere.
    pub snapshot: Option<SnapshotPolicy>,
    /// Keeps each block's input only and computes the block again on the way back: a fraction of the memory, more time, and
    /// the same bits.
    pub gradient_checkpointing: bool,
    /// Examples that go through the model together, if that is to be fewer than a batch has: less memory, and the same sums
    /// up to their last bits.
    pub at_once: Option<usize>,
    /// The same model on further devices, which take their part of each optimizer step. Gradients are added in an order that
    /// depends on the rows alone, so devices that sum alike train the same bytes as one.
    pub copies: Vec<Model>,
}

/// What a training tells while it runs.
#[derive(Debug)]
pub enum TrainEvent<'a> {
    /// It goes on from a snapshot taken after this step.
    Resumed {
        /// Optimizer steps already done.
        step: u64,
    },
    /// A snapshot could not be used and was renamed; the training starts from its beginning.
    SnapshotSetAside {
        /// Where it is now.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The first gradient is about to be computed.
    Started {
        /// How all of them are.
        path: ComputePath,
        /// What is computed once for several rows, if anything is.
        sharing: Option<Sharing>,
        /// Parts that an optimizer step of the first epoch has on average, where several devices share them.
        parts: Option<f64>,
    },
    /// An optimizer step is done.
    Step {
        /// The step.
        row: &'a HistoryRow,
        /// Steps in all.
        total: u64,
    },
    /// The validation loss is being computed.
    Validating {
        /// After this step.
        step: u64,
        /// Steps in all.
        total: u64,
    },
    /// The validation loss did not fall any more; the training ends.
    StoppedEarly {
        /// After this step.
        step: u64,
    },
}

/// What a training leaves.
#[derive(Debug, Clone)]
pub struct Trained<T> {
    /// What was trained, after the last step.
    pub last: T,
    /// The same at the lowest validation loss, if there were validation rows.
    pub best: Option<T>,
    /// Step and value of the lowest validation loss.
    pub lowest: Option<(u64, f64)>,
    /// Every step.
    pub history: Vec<HistoryRow>,
    /// Whether the callback ended it before its time.
    pub interrupted: bool,
}

/// Trains on rows. `on_event` is told what happens and may end the training after any step; a snapshot is
/// then taken, so that it can go on there.
///
/// The result depends on model, initial values, rows and configuration alone: not on threads, and not on how often the
/// training was stopped and resumed from its snapshot.
///
/// # Errors
/// Rows the model cannot take, a loss that is not a number, a failing device, a snapshot that cannot be written.
pub fn train<T: Trainable>(
    model: &Model,
    initial: T,
    rows: &dyn Rows,
    validation: Option<&dyn Rows>,
    config: &TrainConfig,
    settings: &TrainSettings,
    on_event: &mut dyn FnMut(TrainEvent<'_>) -> ControlFlow<()>,
) -> Result<Trained<T>, LlmError> {
    let validation = validation.map(Objective::CrossEntropy);
    train_towards(model, initial, Objective::CrossEntropy(rows), validation, config, settings, on_event)
}

/// [`train`] with any objective.
///
/// # Errors
/// Those of [`train`].
pub fn train_towards<T: Trainable>(
    model: &Model,
    initial: T,
    objective: Objective<'_>,
    validation: Option<Objective<'_>>,
    config: &TrainConfig,
    settings: &TrainSettings,
    on_event: &mut dyn FnMut(TrainEvent<'_>) -> ControlFlow<()>,
) -> Result<Trained<T>, LlmError> {
    let validation = validation.filter(|objective| objective.examples() > 0);
    check_rows(model, objective.rows())?;
    validation.map_or(Ok(()), |objective| check_rows(model, objective.rows()))?;
    initial.check(model.config())?;
    let mut run = Training {
        model,
        objective,
        config,
        total: config.total_steps(objective.examples()),
        state: State { progress: Progress::default(), optimizer: AdamW::new(initial.values().len()), best: None },
        groups: initial.groups(config),
        gradient: zeros(initial.values().len()),
        trained: initial,
        workers: Workers::new(settings.threads)
            .with_checkpointing(settings.gradient_checkpointing)
            .with_copies(&settings.copies),
        order: (u64::MAX, Vec::new()),
        at_once: settings.at_once.unwrap_or(config.batch_size).max(1),
    };
    if let Some(policy) = &settings.snapshot {
        match policy.find(run.trained.values().len())? {
            Found::Nothing => {}
            Found::State(values, state) => {
                run.trained.values_mut().copy_from_slice(&values);
                run.state = *state;
                let _ = on_event(TrainEvent::Resumed { step: run.state.progress.step });
            }
            Found::SetAside(path, reason) => {
                let _ = on_event(TrainEvent::SnapshotSetAside { path, reason });
            }
        }
    }
    let path = ComputePath::of(model);
    let sharing = run.sharing();
    let parts = (!settings.copies.is_empty()).then(|| run.parts());
    let _ = on_event(TrainEvent::Started { path, sharing, parts });
    let mut interrupted = false;
    let (mut kept, mut pause) = (Instant::now(), Duration::ZERO);
    while run.state.progress.step < run.total && !run.gave_up() {
        let began = Instant::now();
        let mut row = run.step()?;
        if let Some(validation) = validation.filter(|_| run.validates_now()) {
            let _ = on_event(TrainEvent::Validating { step: row.step, total: run.total });
            let (loss, accuracies) = run.validate(validation)?;
            row.validation_loss = Some(loss);
            row.preference.validation_accuracies = accuracies.map(twelve_digits);
        }
        run.state.progress.seconds = twelve_digits(run.state.progress.seconds + began.elapsed().as_secs_f64());
        row.seconds = run.state.progress.seconds;
        run.state.progress.history.push(row.clone());
        if let Some(policy) = settings.snapshot.as_ref().filter(|policy| kept.elapsed() >= pause.max(policy.every)) {
            let saving = Instant::now();
            policy.save(run.trained.values(), &run.state)?;
            (kept, pause) = (Instant::now(), saving.elapsed() * SNAPSHOT_SHARE);
        }
        if on_event(TrainEvent::Step { row: &row, total: run.total }).is_break() {
            interrupted = true;
            settings.snapshot.as_ref().map_or(Ok(()), |policy| policy.save(run.trained.values(), &run.state))?;
            break;
        }
    }
    if run.gave_up() && run.state.progress.step < run.total {
        let _ = on_event(TrainEvent::StoppedEarly { step: run.state.progress.step });
    }
    Ok(Trained {
        best: run.state.best.map(|values| run.trained.with_values(values)),
        last: run.trained,
        lowest: run.state.progress.lowest,
        history: run.state.progress.history,
        interrupted,
    })
}

/// Snapshots take at most one part in so many of the time, however much is trained and slow the disk.
const SNAPSHOT_SHARE: u32 = 50;

struct Training<'a, T> {
    model: &'a Model,
    objective: Objective<'a>,
    config: &'a TrainConfig,
    total: u64,
    trained: T,
    groups: Vec<ValueGroup>,
    /// Zero between steps.
    gradient: Vec<f32>,
    state: State,
    workers: Workers,
    /// The epoch and its order of examples.
    order: (u64, Vec<usize>),
    /// Examples that go through the model together at most.
    at_once: usize,
}

/// The rows of a step, so many examples of `together` rows at a time as go through the model together.
fn cut<'r, T>(rows: &'r [T], config: &TrainConfig, at_once: usize, together: usize) -> impl Iterator<Item = &'r [T]> {
    rows.chunks(config.batch_size * together).flat_map(move |batch| batch.chunks(at_once * together))
}

impl<'a, T: Trainable> Training<'a, T> {
    /// One optimizer step: gradients of its batches, clipping, AdamW.
    fn step(&mut self) -> Result<HistoryRow, LlmError> {
        let index = self.state.progress.step;
        let examples = self.objective.examples();
        let per_epoch = self.config.steps_per_epoch(examples);
        let (epoch, within) = (index / per_epoch, index % per_epoch);
        let chosen = self.rows_of(epoch, within);

        let randomness = self.randomness();
        let begun = self.objective.begin(self.model, &self.trained, &chosen, &mut self.workers)?;
        let batches: Vec<_> = cut(&chosen, self.config, self.at_once, self.objective.together()).collect();
        let (trained, weights, total) = (&self.trained, begun.weights(), &mut self.gradient);
        let passed = accumulate_step(self.model, trained, &batches, weights, randomness, &mut self.workers, total)?;
        let (loss, preference) = begun.measure(&passed);
        let step = index + 1;
        let (gradient, limit) = (&self.gradient, self.config.max_grad_norm);
        let (norm, factor) = self.workers.together(|_| Ok(clipping(gradient, limit)))?;
        for (quantity, value) in [("loss", loss), ("gradient norm", norm)] {
            if !value.is_finite() {
                let first_bad =
                    self.model.first_bad(&self.trained, &chosen.iter().map(|named| named.row).collect::<Vec<_>>())?;
                let fusing = !self.model.on_cpu() && is_fusing();
                return Err(LlmError::NotFinite { quantity, value, step, first_bad, fusing });
            }
        }
        let rate = learning_rate(self.config, index, self.total);
        let (optimizer, values) = (&mut self.state.optimizer, self.trained.values_mut());
        let moves = Step { number: step, rate, factor, groups: &self.groups, config: self.config };
        let gradient = &mut self.gradient;
        self.workers.together(|_| {
            optimizer.step(values, gradient, &moves);
            Ok(())
        })?;
        self.state.progress.step = step;
        self.state.progress.tokens += chosen.iter().map(|named| named.row.ids.len() as u64).sum::<u64>();
        let done = within as usize * self.config.rows_per_step() + chosen.len() / self.objective.together();
        Ok(HistoryRow {
            step,
            epoch: twelve_digits(epoch as f64 + done as f64 / examples as f64),
            loss: twelve_digits(loss),
            validation_loss: None,
            learning_rate: twelve_digits(rate),
            tokens: self.state.progress.tokens,
            seconds: 0.0,
            preference,
        })
    }

    /// The rows of a step, in the order of the epoch; those of an example one after the other.
    fn rows_of(&mut self, epoch: u64, within: u64) -> Vec<NamedRow<'a>> {
        let count = self.objective.examples();
        if self.order.0 != epoch {
            self.order = (epoch, epoch_order(count, self.config, epoch));
        }
        let start = within as usize * self.config.rows_per_step();
        let end = (start + self.config.rows_per_step()).min(count);
        let (rows, together) = (self.objective.rows(), self.objective.together());
        self.order.1[start..end]
            .iter()
            .flat_map(|example| example * together..(example + 1) * together)
            .map(|index| NamedRow { row: rows.row(index), index, name: epoch * rows.len() as u64 + index as u64 })
            .collect()
    }

    fn randomness(&self) -> Randomness {
        let TrainConfig { seed, neftune_alpha, .. } = *self.config;
        Randomness { seed, dropout: self.trained.dropout(), neftune_alpha }
    }

    /// What the batches of the first epoch compute once for several rows. Dropout and noise are drawn row by row: there,
    /// nothing is shared.
    fn sharing(&mut self) -> Option<Sharing> {
        if !self.randomness().lets_rows_share() {
            return None;
        }
        let (rows, together) = (self.objective.rows(), self.objective.together());
        let all: Vec<Row<'_>> = (0..rows.len()).map(|row| rows.row(row)).collect();
        let mut sharing = Sharing { prefix: common_prefix(&all), ..Sharing::default() };
        for within in 0..self.config.steps_per_epoch(self.objective.examples()).min(self.total) {
            let rows: Vec<Row<'_>> = self.rows_of(0, within).iter().map(|named| named.row).collect();
            cut(&rows, self.config, self.at_once, together).for_each(|batch| sharing.count(batch, together));
        }
        (sharing.computed < sharing.apart).then_some(sharing)
    }

    /// Parts that a step of the first epoch has on average.
    fn parts(&mut self) -> f64 {
        let (share, together) = (self.randomness().lets_rows_share(), self.objective.together());
        let steps = self.config.steps_per_epoch(self.objective.examples()).min(self.total);
        let mut parts = 0;
        for within in 0..steps {
            let rows: Vec<Row<'_>> = self.rows_of(0, within).iter().map(|named| named.row).collect();
            for batch in cut(&rows, self.config, self.at_once, together) {
                parts += pieces(batch, if share { common_prefix(batch) } else { 0 }, together).len();
            }
        }
        parts as f64 / steps.max(1) as f64
    }

    /// Whether the validation loss is due after the step just done.
    fn validates_now(&self) -> bool {
        let step = self.state.progress.step;
        let every =
            self.config.evaluate_every.unwrap_or_else(|| self.config.steps_per_epoch(self.objective.examples()));
        step.is_multiple_of(every) || step == self.total
    }

    /// The validation loss of the values as they are now; keeps them if it is the lowest.
    fn validate(&mut self, objective: Objective<'_>) -> Result<(f64, Option<f64>), LlmError> {
        let (loss, accuracies) = objective.validate(self.model, &self.trained, &mut self.workers)?;
        let loss = twelve_digits(loss);
        let progress = &mut self.state.progress;
        if progress.lowest.is_none_or(|(_, lowest)| loss < lowest) {
            progress.lowest = Some((progress.step, loss));
            progress.without_gain = 0;
            match &mut self.state.best {
                Some(best) => best.copy_from_slice(self.trained.values()),
                best => *best = Some(self.trained.values().to_vec()),
            }
        } else {
            progress.without_gain += 1;
        }
        Ok((loss, accuracies))
    }

    fn gave_up(&self) -> bool {
        self.config.early_stopping_patience.is_some_and(|patience| self.state.progress.without_gain >= patience)
    }
}

fn check_rows(model: &Model, rows: &dyn Rows) -> Result<(), LlmError> {
    if rows.is_empty() {
        return Err(LlmError::NoRows);
    }
    (0..rows.len()).try_for_each(|index| check_row(rows.row(index), index, model.config()))
}
