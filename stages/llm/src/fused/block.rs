use refit_kernels::{
    Isa, Lanes,
    attention::{self, Segment, Shape},
    norm,
    rotary::{Angles, rotate},
    swiglu,
};

use super::{
    lora::{Group, Lora},
    projection::{Buffers, Kept, Linear, Past, Projection},
};
use crate::model::{LinearModule, Noise};

/// The frozen weights of one decoder block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) attention_norm: Norm,
    pub(super) qkv: Projection,
    pub(super) output: Projection,
    pub(super) feed_forward_norm: Norm,
    pub(super) gate_up: Projection,
    pub(super) down: Projection,
}

/// A root-mean-square norm.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) weight: Vec<f32>,
    pub(super) epsilon: f64,
}

/// What all blocks of a pass share.
pub(super) struct Shared<'a> {
    pub(super) isa: Isa,
    pub(super) shape: Shape,
    pub(super) segments: Vec<Segment>,
    pub(super) angles: Angles,
    pub(super) lora: &'a Lora<'a>,
    /// In training, what is random.
    pub(super) noise: Option<&'a Noise>,
}

/// What the backward pass of a block reads of its forward pass. Norms and silu(gate)·up are cheap and computed again.
#[derive(Debug, Default)]
pub(super) struct Tape {
    /// The block's input.
    pub(super) x: Lanes,
    inverse: Vec<f32>,
    of_qkv: Kept,
    /// Queries (turned and scaled), keys (turned) and values.
    qkv: Lanes,
    attended: Lanes,
    log_sums: Vec<f32>,
    /// What was kept of `attended`, if the block goes on with some tokens only.
    kept: Lanes,
    of_output: Kept,
    /// The input of the feed-forward part's norm.
    middle: Lanes,
    middle_inverse: Vec<f32>,
    of_gate_up: Kept,
    gate_up: Lanes,
    of_down: Kept,
}

/// Buffers that all blocks use in turn.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) buffers: Buffers,
    normed: Lanes,
    activated: Lanes,
    d_activated: Lanes,
    d_normed: Lanes,
    d_attended: Lanes,
    d_qkv: Lanes,
    /// Gradients of all tokens where a block went on with some.
    d_all: Lanes,
}

impl Norm {
    pub(super) fn forward(&self, isa: Isa, x: &Lanes, y: &mut Lanes) -> Vec<f32> {
        norm::forward(isa, x, &self.weight, self.epsilon, y)
    }

    /// Adds to `dx`.
    pub(super) fn backward(&self, isa: Isa, x: &Lanes, inverse: &[f32], dy: &Lanes, dx: &mut Lanes) {
        norm::backward(isa, x, &self.weight, inverse, dy, dx);
    }
}

impl Block {
    /// One of its linear layers, which a block of this kind has.
    pub(super) fn linear(&self, module: LinearModule) -> Option<&Linear> {
        let projections = [&self.qkv, &self.output, &self.gate_up, &self.down];
        projections.into_iter().flat_map(Projection::layers).find(|linear| linear.module == module)
    }

    /// Computes the block on `tape.x`. With `keep`, everything after the attention is computed for these tokens only.
    pub(super) fn forward<'a>(
        &self,
        layer: usize,
        shared: &Shared<'a>,
        keep: Option<&'a [u32]>,
        tape: &mut Tape,
        scratch: &mut Scratch,
        y: &mut Lanes,
    ) {
        let (isa, buffers) = (shared.isa, &mut scratch.buffers);
        tape.inverse = self.attention_norm.forward(isa, &tape.x, &mut scratch.normed);
        let group = shared.group(layer, &self.qkv, None);
        self.qkv.forward(isa, &group, &scratch.normed, buffers, &mut tape.of_qkv, &mut tape.qkv);
        shared.turn(&mut tape.qkv, false);
        tape.log_sums = attention::forward(isa, shared.shape, &shared.segments, &tape.qkv, &mut tape.attended);
        let group = shared.group(layer, &self.output, keep);
        let attended = match keep {
            Some(keep) => {
                tape.kept.gather(&tape.attended, keep);
                &tape.kept
            }
            None => &tape.attended,
        };
        self.output.forward(isa, &group, attended, buffers, &mut tape.of_output, &mut tape.middle);
        match keep {
            Some(keep) => {
                scratch.normed.gather(&tape.x, keep);
                tape.middle.add(&scratch.normed);
            }
            None => tape.middle.add(&tape.x),
        }

        tape.middle_inverse = self.feed_forward_norm.forward(isa, &tape.middle, &mut scratch.normed);
        let group = shared.group(layer, &self.gate_up, keep);
        self.gate_up.forward(isa, &group, &scratch.normed, buffers, &mut tape.of_gate_up, &mut tape.gate_up);
        swiglu::forward(isa, &tape.gate_up, &mut scratch.activated);
        let group = shared.group(layer, &self.down, keep);
        self.down.forward(isa, &group, &scratch.activated, buffers, &mut tape.of_down, y);
        y.add(&tape.middle);
    }

    /// Turns `d`, the gradient by the block's output, into that by its input, unless `lowest`: then no input's is needed.
    /// The gradients by the adapter's matrices are added at their places in `gradient`. The tape is used up.
    #[allow(clippy::too_many_arguments, reason = "what the forward pass took, and what comes back")]
    pub(super) fn backward<'a>(
        &self,
        layer: usize,
        lowest: bool,
        shared: &Shared<'a>,
        keep: Option<&'a [u32]>,
        tape: &mut Tape,
        scratch: &mut Scratch,
        d: &mut Lanes,
        gradient: &mut [f32],
    ) {
        let (isa, buffers) = (shared.isa, &mut scratch.buffers);
        swiglu::forward(isa, &tape.gate_up, &mut scratch.activated);
        let past = Past { x: &scratch.activated, kept: &tape.of_down, dy: d };
        let group = shared.group(layer, &self.down, keep);
        self.down.backward(isa, &group, past, buffers, Some(&mut scratch.d_activated), gradient);
        swiglu::backward(isa, &mut tape.gate_up, &scratch.d_activated);
        self.feed_forward_norm.forward(isa, &tape.middle, &mut scratch.normed);
        let past = Past { x: &scratch.normed, kept: &tape.of_gate_up, dy: &tape.gate_up };
        let group = shared.group(layer, &self.gate_up, keep);
        self.gate_up.backward(isa, &group, past, buffers, Some(&mut scratch.d_normed), gradient);
        self.feed_forward_norm.backward(isa, &tape.middle, &tape.middle_inverse, &scratch.d_normed, d);

        let attended = if keep.is_some() { &tape.kept } else { &tape.attended };
        let past = Past { x: attended, kept: &tape.of_output, dy: d };
        let group = shared.group(layer, &self.output, keep);
        self.output.backward(isa, &group, past, buffers, Some(&mut scratch.d_attended), gradient);
        if let Some(keep) = keep {
            for (some, features) in [(&mut scratch.d_attended, tape.attended.features()), (&mut *d, tape.x.features())]
            {
                scratch.d_all.reshape(features, tape.x.tokens());
                scratch.d_all.scatter(some, keep);
                std::mem::swap(some, &mut scratch.d_all);
            }
        }
        let past = attention::Past {
            qkv: &tape.qkv,
            output: &tape.attended,
            log_sums: &tape.log_sums,
            d_output: &scratch.d_attended,
        };
        attention::backward(isa, shared.shape, &shared.segments, past, &mut scratch.d_qkv);
        shared.turn(&mut scratch.d_qkv, true);
        self.attention_norm.forward(isa, &tape.x, &mut scratch.normed);
        let past = Past { x: &scratch.normed, kept: &tape.of_qkv, dy: &scratch.d_qkv };
        let group = shared.group(layer, &self.qkv, None);
        let d_normed = (!lowest).then_some(&mut scratch.d_normed);
        self.qkv.backward(isa, &group, past, buffers, d_normed, gradient);
        if !lowest {
            self.attention_norm.backward(isa, &tape.x, &tape.inverse, &scratch.d_normed, d);
        }
    }
}

impl<'a> Shared<'a> {
    /// What is trained of a projection, for some tokens of the pass or for all.
    fn group(&self, layer: usize, projection: &Projection, keep: Option<&'a [u32]>) -> Group<'a> {
        self.lora.group(layer, projection, self.noise, keep)
    }

    /// Turns queries, by the attention's scale too, and keys; `back` does so with their gradients.
    fn turn(&self, qkv: &mut Lanes, back: bool) {
        let Shape { heads, key_heads, width } = self.shape;
        let scale = 1.0 / (width as f32).sqrt();
        rotate(self.isa, qkv.rows_mut(0..heads * width), &self.angles, scale, back);
        rotate(self.isa, qkv.rows_mut(heads * width..(heads + key_heads) * width), &self.angles, 1.0, back);
    }
}
