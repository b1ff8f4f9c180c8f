use burn::tensor::{Int, Tensor};

use super::{
    Batch, Model, Noise, Row, Rows,
    attention::attend,
    batch::{DeviceBatch, check_row},
    decoder::{DecoderPass, decoder_layer},
    head::{HeadOutput, lm_head_loss},
};
use crate::{
    LlmError,
    device::largest_buffer,
    fused::{self, Changes, ComputePath},
    train::Trainable,
};

/// Tokens that go through the model at once when only losses are wanted: bounds memory, not results.
pub(crate) const TOKENS_AT_ONCE: usize = 1024;

/// The supervised loss of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowLoss {
    /// Mean of −ln p over the row's targets.
    pub loss: f64,
    /// How many targets.
    pub supervised: usize,
    /// The model's most likely token at each target.
    pub argmax: Vec<u32>,
}

/// The supervised loss of many rows together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SupervisedLoss {
    /// Sum of −ln p over all targets.
    pub sum: f64,
    /// How many targets.
    pub supervised: usize,
}

impl SupervisedLoss {
    /// That of these losses.
    pub(crate) fn of(losses: &[f64]) -> Self {
        Self { sum: losses.iter().sum(), supervised: losses.len() }
    }

    /// Mean over the targets.
    pub fn mean(&self) -> f64 {
        self.sum / self.supervised as f64
    }
}

impl Model {
    /// The supervised loss of each row, in order, with what the model would have said. `progress` is told the rows done.
    ///
    /// # Errors
    /// A row the model cannot take; a failing device.
    pub fn row_losses(&self, rows: &dyn Rows, mut progress: impl FnMut(usize)) -> Result<Vec<RowLoss>, LlmError> {
        for index in 0..rows.len() {
            check_row(rows.row(index), index, &self.config)?;
        }
        let changes = ComputePath::of(self).is_fused().then(|| Changes::applied(self)).transpose()?;
        let mut memory = fused::Memory::default();
        let mut results = Vec::with_capacity(rows.len());
        for range in portions(rows) {
            let batch = Batch::new(&range.clone().map(|index| rows.row(index)).collect::<Vec<_>>(), true);
            let (losses, argmax) = if let Some(changes) = &changes {
                let mut argmax = Vec::with_capacity(batch.supervised());
                (fused::target_losses(self, changes, &batch, &mut memory, Some(&mut argmax))?, argmax)
            } else {
                self.composed_losses(&batch)?
            };
            let mut part = vec![RowLoss { loss: 0.0, supervised: 0, argmax: Vec::new() }; range.len()];
            // Targets come grouped by row and in order within it.
            for ((&row, loss), token) in batch.target_rows.iter().zip(losses).zip(argmax) {
                part[row].loss += loss;
                part[row].supervised += 1;
                part[row].argmax.push(token);
            }
            for row in &mut part {
                row.loss /= row.supervised as f64;
            }
            results.extend(part);
            progress(results.len());
        }
        Ok(results)
    }

    /// −ln p of each target of a batch and what the model would have said there, by burn operations.
    pub(crate) fn composed_losses(&self, batch: &Batch) -> Result<(Vec<f64>, Vec<u32>), LlmError> {
        let tables = self.tables(batch)?;
        let hidden = self.supervised_hidden(&tables, None);
        let cap = self.config.logit_cap;
        let head = lm_head_loss(hidden, &self.head, cap, &tables.targets, HeadOutput::Argmax);
        let losses = tables.targets.losses(head.losses)?;
        let mut argmax = ids(head.argmax.expect("invariant: it was asked for"))?;
        argmax.truncate(losses.len());
        Ok((losses, argmax))
    }

    /// The supervised loss of some rows together.
    pub(crate) fn supervised_loss(
        &self,
        rows: &dyn Rows,
        range: std::ops::Range<usize>,
    ) -> Result<SupervisedLoss, LlmError> {
        let batch = Batch::new(&range.map(|index| rows.row(index)).collect::<Vec<_>>(), true);
        Ok(SupervisedLoss::of(&self.target_losses(&batch)?))
    }

    /// −ln p of every target of a batch.
    pub(crate) fn target_losses(&self, batch: &Batch) -> Result<Vec<f64>, LlmError> {
        let tables = self.tables(batch)?;
        let hidden = self.supervised_hidden(&tables, None);
        let cap = self.config.logit_cap;
        tables.targets.losses(lm_head_loss(hidden, &self.head, cap, &tables.targets, HeadOutput::Losses).losses)
    }

    /// The tables of a batch on the model's device.
    ///
    /// # Errors
    /// When a pass over the batch would need a larger buffer than the device has.
    pub(crate) fn tables(&self, batch: &Batch) -> Result<DeviceBatch, LlmError> {
        let ((what, bytes), limit) = (batch.largest_buffer(&self.config, self.sizes), largest_buffer(&self.device));
        if bytes > limit {
            return Err(LlmError::PassTooLarge { what, bytes, limit });
        }
        Ok(batch.on_device(&self.config, self.sizes, &self.rope, &self.device))
    }

    /// Whether these rows can go through the model together.
    pub(crate) fn takes(&self, rows: &[Row<'_>], share: bool) -> bool {
        Batch::new(rows, share).largest_buffer(&self.config, self.sizes).1 <= largest_buffer(&self.device)
    }

    /// Normed hidden states at the places that predict a target, `[targets, hidden]`; tracked if some of the model's
    /// tensors are.
    pub(crate) fn supervised_hidden(&self, batch: &DeviceBatch, noise: Option<&Noise>) -> Tensor<2> {
        let mut hidden = self.embedded(batch, noise);
        for layer in 0..self.layers.len() {
            hidden = self.block(layer, hidden, batch, noise);
        }
        self.normed(hidden, batch, noise)
    }

    /// What goes into the first block.
    pub(crate) fn embedded(&self, batch: &DeviceBatch, noise: Option<&Noise>) -> Tensor<2> {
        let hidden = self.embed(batch.ids.clone());
        match noise {
            Some(noise) => noise.disturbed(hidden, &self.device),
            None => hidden,
        }
    }

    /// What a block makes of its input.
    pub(crate) fn block(
        &self,
        index: usize,
        hidden: Tensor<2>,
        batch: &DeviceBatch,
        noise: Option<&Noise>,
    ) -> Tensor<2> {
        // Of the last block only what the head needs is computed. Masks are drawn for all tokens of a row.
        let keep = (index + 1 == self.layers.len() && noise.is_none()).then_some(&batch.sources);
        let pass = DecoderPass { noise, keep, ..DecoderPass::new(self, index, &batch.rope) };
        decoder_layer(&self.layers[index], pass, hidden, |q, k, v| attend(q, k, v, &batch.attention, index))
    }

    /// What the head is given of the last block's output.
    pub(crate) fn normed(&self, hidden: Tensor<2>, batch: &DeviceBatch, noise: Option<&Noise>) -> Tensor<2> {
        let hidden = if noise.is_some() { hidden.select(0, batch.sources.clone()) } else { hidden };
        self.norm.forward(hidden)
    }
}

impl Model {
    /// Which part first gives a value that is not finite for these rows, if any does.
    pub(crate) fn first_bad(&self, trained: &dyn Trainable, rows: &[Row<'_>]) -> Result<Option<String>, LlmError> {
        if let Some(value) = trained.values().iter().position(|value| !value.is_finite()) {
            return Ok(Some(format!("the trained `{}`", trained.name_of(value))));
        }
        let model = self.with(trained)?;
        let batch = model.tables(&Batch::new(rows, true))?;
        let mut hidden = model.embed(batch.ids.clone());
        for (index, layer) in model.layers.iter().enumerate() {
            let pass = DecoderPass::new(&model, index, &batch.rope);
            hidden = decoder_layer(layer, pass, hidden, |q, k, v| attend(q, k, v, &batch.attention, index));
            if values(hidden.clone())?.iter().any(|v| !v.is_finite()) {
                return Ok(Some(format!("layer {index}")));
            }
        }
        let head = lm_head_loss(
            model.norm.forward(hidden.select(0, batch.sources)),
            &model.head,
            model.config.logit_cap,
            &batch.targets,
            HeadOutput::Losses,
        );
        let finite = values(head.losses)?.iter().all(|v| v.is_finite());
        Ok((!finite).then(|| "the head".to_owned()))
    }
}

/// Cuts rows into passes of bounded size.
pub(crate) fn portions(rows: &dyn Rows) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for index in 0..rows.len() {
        let length = rows.row(index).ids.len();
        if index > start && tokens + length > TOKENS_AT_ONCE {
            ranges.push(start..index);
            (start, tokens) = (index, 0);
        }
        tokens += length;
    }
    if start < rows.len() {
        ranges.push(start..rows.len());
    }
    ranges
}

/// Reads token ids onto the host.
pub(crate) fn ids(tensor: Tensor<1, Int>) -> Result<Vec<u32>, LlmError> {
    let ids = tensor.try_into_vec_as::<i32>().map_err(|error| LlmError::of_device(&error))?;
    Ok(ids.into_iter().map(|id| id as u32).collect())
}

/// Reads a tensor's values onto the host.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, LlmError> {
    tensor.try_into_vec_as::<f32>().map_err(|error| LlmError::of_device(&error))
}
