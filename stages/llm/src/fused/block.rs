use refit_checkpoint::{Activation, LayerForm, NormPlace, RotaryPairs};
use refit_kernels::{
    Isa, Lanes, Make, Rows,
    attention::{self, Scores, Segment, Shape},
    geglu,
    norm::{self, Normed},
    rotary::{Angles, Pairs, rotate},
    swiglu,
};

mod feed_forward;

use feed_forward::Towards;

use super::{
    Changes, FusedWeights,
    bottleneck::{self, Bottleneck, Bottlenecks},
    dense::{Dense, Own},
    lora::{Group, Lora},
    projection::{Buffers, Kept, Linear, Past, Projection, SumsOfA},
};
use crate::{
    Model,
    bottleneck::{
        BottleneckInput,
        BottleneckPlace::{Attention, FeedForward},
    },
    model::{LinearModule, Noise},
    weights::WeightPlace,
};

/// The frozen weights of one decoder block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) attention_norm: Norm,
    pub(super) qkv: Projection,
    /// On each head of queries and keys, before they turn.
    pub(super) head_norms: Option<[Norm; 2]>,
    pub(super) output: Projection,
    /// On what the attention adds.
    pub(super) after_attention: Option<Norm>,
    pub(super) feed_forward_norm: Norm,
    pub(super) gate_up: Projection,
    pub(super) down: Projection,
    /// On what the feed-forward part adds.
    pub(super) after_feed_forward: Option<Norm>,
    pub(super) activation: Activation,
    /// How many tokens a token sees; all before it if absent.
    pub(super) window: Option<usize>,
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
    /// For each form of block.
    pub(super) angles: Vec<Angles>,
    /// Scores are held in ± this.
    pub(super) cap: Option<f32>,
    /// Per query head: what each token of distance takes off the score.
    pub(super) slopes: Option<&'a [f32]>,
    /// Queries are multiplied by it.
    pub(super) scale: f32,
    pub(super) lora: &'a Lora<'a>,
    pub(super) dense: Dense<'a>,
    pub(super) bottlenecks: &'a Bottlenecks<'a>,
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
    /// Queries and keys before their heads are normed, and 1 / √(mean(x²) + ε) of both.
    heads: Lanes,
    head_inverse: [Vec<f32>; 2],
    /// Queries (turned and scaled), keys (turned) and values.
    qkv: Lanes,
    attended: Lanes,
    log_sums: Vec<f32>,
    /// What was kept of `attended`, if the block goes on with some tokens only.
    kept: Lanes,
    of_output: Kept,
    /// What the attention adds before it is normed.
    attention_output: Lanes,
    attention_output_inverse: Vec<f32>,
    /// The input of the feed-forward part's norm.
    middle: Lanes,
    middle_inverse: Vec<f32>,
    of_gate_up: Kept,
    gate_up: Lanes,
    of_down: Kept,
    /// What the feed-forward part adds before it is normed.
    feed_forward_output: Lanes,
    feed_forward_output_inverse: Vec<f32>,
    /// By the place's index.
    of_bottlenecks: [bottleneck::Kept; 2],
}

/// Buffers that all blocks use in turn.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) buffers: Buffers,
    bottleneck: bottleneck::Buffers,
    /// The input of a block that goes on with some tokens, of those.
    residual: Lanes,
    /// The output of a block that is computed again for what leads to it.
    unread: Lanes,
    d_activated: Lanes,
    d_normed: Lanes,
    d_attended: Lanes,
    d_qkv: Lanes,
    d_heads: Lanes,
    d_output: Lanes,
    /// Gradients of all tokens where a block went on with some.
    d_all: Lanes,
}

impl Norm {
    /// `own` is the weight that is trained in place of the model's, if one is.
    pub(super) fn forward(&self, isa: Isa, own: Option<&Own<'_>>, x: &Lanes, y: &mut Lanes) -> Vec<f32> {
        norm::forward(isa, x, self.weight(own), self.epsilon, y)
    }

    /// What [`Norm::forward`] returns, without what it writes.
    fn inverse(&self, isa: Isa, x: &Lanes) -> Vec<f32> {
        norm::inverse(isa, x, self.epsilon)
    }

    /// What [`Norm::forward`] writes.
    fn normed<'n>(&'n self, own: Option<&Own<'n>>, x: &'n Lanes, inverse: &'n [f32]) -> Normed<'n> {
        Normed { x, weight: self.weight(own), inverse }
    }

    /// Adds to `dx`, if that is wanted, and to the weight's own gradient.
    pub(super) fn backward(
        &self,
        isa: Isa,
        own: Option<&Own<'_>>,
        (x, inverse): (&Lanes, &[f32]),
        dy: &Lanes,
        dx: Option<&mut Lanes>,
        gradient: &mut [f32],
    ) {
        if let Some(own) = own {
            norm::weight_gradient(x, inverse, dy, &mut gradient[own.at.clone()]);
        }
        if let Some(dx) = dx {
            norm::backward(isa, x, self.weight(own), inverse, dy, dx);
        }
    }

    fn weight<'n>(&'n self, own: Option<&Own<'n>>) -> &'n [f32] {
        own.map_or(&self.weight, |own| own.values)
    }
}

impl Block {
    /// One of its linear layers, which a block of this kind has.
    pub(super) fn linear(&self, module: LinearModule) -> Option<&Linear> {
        let projections = [&self.qkv, &self.output, &self.gate_up, &self.down];
        projections.into_iter().flat_map(Projection::layers).find(|linear| linear.module == module)
    }

    /// Computes the block on `tape.x`. With `keep`, everything after the attention is computed for these tokens only.
    /// Without `y`, the block's output, only what the way back reads is left in the tape.
    ///
    /// `attend` takes queries (turned and scaled), keys (turned) and values to the attention's output and, if there is a
    /// way back, what that needs: in a pass over packed rows [`Shared::attend`], in generation a look at what is cached.
    #[allow(clippy::too_many_arguments, reason = "what a block takes, and where it leaves what")]
    pub(super) fn forward<'a>(
        &self,
        layer: usize,
        shared: &Shared<'a>,
        keep: Option<&'a [u32]>,
        attend: impl FnOnce(Scores<'a>, &Lanes, &mut Lanes) -> Vec<f32>,
        tape: &mut Tape,
        scratch: &mut Scratch,
        y: Option<&mut Lanes>,
    ) {
        let (isa, buffers) = (shared.isa, &mut scratch.buffers);
        let before_attention = shared.norm(layer, NormPlace::BeforeAttention);
        let before_feed_forward = shared.norm(layer, NormPlace::BeforeFeedForward);
        tape.inverse = self.attention_norm.inverse(isa, &tape.x);
        let group = shared.group(layer, &self.qkv, None);
        let normed = self.attention_norm.normed(before_attention.as_ref(), &tape.x, &tape.inverse);
        self.qkv.forward(isa, &group, Rows::Made(&normed), buffers, &mut tape.of_qkv, &mut tape.qkv);
        self.norm_heads(layer, shared, tape);
        shared.turn(layer, &mut tape.qkv, false);
        tape.log_sums = attend(self.scores(shared), &tape.qkv, &mut tape.attended);
        let group = shared.group(layer, &self.output, keep);
        let attended = match keep {
            Some(keep) => {
                tape.kept.gather(&tape.attended, keep);
                Rows::from(&tape.kept)
            }
            None => Rows::from(&tape.attended),
        };
        match &self.after_attention {
            Some(norm) => {
                let output = &mut tape.attention_output;
                self.output.forward(isa, &group, attended, buffers, &mut tape.of_output, output);
                let own = shared.norm(layer, NormPlace::AfterAttention);
                tape.attention_output_inverse = norm.forward(isa, own.as_ref(), output, &mut tape.middle);
            }
            None => self.output.forward(isa, &group, attended, buffers, &mut tape.of_output, &mut tape.middle),
        }
        let residual = match keep {
            Some(keep) => {
                scratch.residual.gather(&tape.x, keep);
                &scratch.residual
            }
            None => &tape.x,
        };
        if let Some(bottleneck) = shared.bottlenecks.get(layer, Attention) {
            let kept = &mut tape.of_bottlenecks[Attention.index()];
            bottleneck.forward(isa, (shared.noise, keep), residual, &mut tape.middle, &mut scratch.bottleneck, kept);
        }
        tape.middle.add(residual);

        tape.middle_inverse = self.feed_forward_norm.inverse(isa, &tape.middle);
        let group = shared.group(layer, &self.gate_up, keep);
        let normed = self.feed_forward_norm.normed(before_feed_forward.as_ref(), &tape.middle, &tape.middle_inverse);
        self.gate_up.forward(isa, &group, Rows::Made(&normed), buffers, &mut tape.of_gate_up, &mut tape.gate_up);
        let activated = self.activated(&tape.gate_up);
        let activated = Rows::Made(&*activated);
        let group = shared.group(layer, &self.down, keep);
        let bottleneck = shared.bottlenecks.get(layer, FeedForward);
        let y = match y {
            Some(y) => y,
            None if self.after_feed_forward.is_some() || bottleneck.is_some() => &mut scratch.unread,
            None => return self.down.forward_again(isa, &group, activated, buffers, &mut tape.of_down),
        };
        match &self.after_feed_forward {
            Some(norm) => {
                let output = &mut tape.feed_forward_output;
                self.down.forward(isa, &group, activated, buffers, &mut tape.of_down, output);
                let own = shared.norm(layer, NormPlace::AfterFeedForward);
                tape.feed_forward_output_inverse = norm.forward(isa, own.as_ref(), output, y);
            }
            None => self.down.forward(isa, &group, activated, buffers, &mut tape.of_down, y),
        }
        if let Some(bottleneck) = bottleneck {
            let kept = &mut tape.of_bottlenecks[FeedForward.index()];
            bottleneck.forward(isa, (shared.noise, keep), &tape.middle, y, &mut scratch.bottleneck, kept);
        }
        y.add(&tape.middle);
    }

    /// Turns `d`, the gradient by the block's output, into that by its input, unless `lowest`: then no input's is needed.
    /// The gradients by what is trained are added at their places in `gradient`. The tape is used up.
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
        let before_attention = shared.norm(layer, NormPlace::BeforeAttention);
        let before_feed_forward = shared.norm(layer, NormPlace::BeforeFeedForward);
        let bottleneck = shared.bottlenecks.get(layer, FeedForward);
        if let Some(bottleneck) = bottleneck {
            let kept = &tape.of_bottlenecks[FeedForward.index()];
            bottleneck.backward(isa, kept, d, &mut scratch.bottleneck, gradient);
        }
        let added = by_added(bottleneck, d, &mut scratch.bottleneck);
        let added = match &self.after_feed_forward {
            Some(norm) => {
                scratch.d_output.reshape(added.features(), added.tokens());
                let own = shared.norm(layer, NormPlace::AfterFeedForward);
                let past = (&tape.feed_forward_output, tape.feed_forward_output_inverse.as_slice());
                norm.backward(isa, own.as_ref(), past, added, Some(&mut scratch.d_output), gradient);
                &scratch.d_output
            }
            None => added,
        };
        let (d_activated, d_normed) = (&mut scratch.d_activated, &mut scratch.d_normed);
        let towards = Towards { buffers, d_activated, d_normed, gradient: &mut *gradient };
        self.feed_forward_back(layer, shared, keep, added, tape, towards);
        add_by_residual(bottleneck, &scratch.bottleneck, d);
        let own = before_feed_forward.as_ref();
        let past = (&tape.middle, tape.middle_inverse.as_slice());
        self.feed_forward_norm.backward(isa, own, past, &scratch.d_normed, Some(&mut *d), gradient);

        let attended = if keep.is_some() { &tape.kept } else { &tape.attended };
        let bottleneck = shared.bottlenecks.get(layer, Attention);
        if let Some(bottleneck) = bottleneck {
            let kept = &tape.of_bottlenecks[Attention.index()];
            bottleneck.backward(isa, kept, d, &mut scratch.bottleneck, gradient);
        }
        let added = by_added(bottleneck, d, &mut scratch.bottleneck);
        let added = match &self.after_attention {
            Some(norm) => {
                scratch.d_output.reshape(added.features(), added.tokens());
                let own = shared.norm(layer, NormPlace::AfterAttention);
                let past = (&tape.attention_output, tape.attention_output_inverse.as_slice());
                norm.backward(isa, own.as_ref(), past, added, Some(&mut scratch.d_output), gradient);
                &scratch.d_output
            }
            None => added,
        };
        let past = Past { x: Rows::from(attended), kept: &tape.of_output, dy: added };
        let group = shared.group(layer, &self.output, keep);
        self.output.backward(isa, &group, past, buffers, Some(&mut scratch.d_attended), gradient, SumsOfA::Now);
        add_by_residual(bottleneck, &scratch.bottleneck, d);
        if let Some(keep) = keep {
            for (some, features) in [(&mut scratch.d_attended, tape.attended.features()), (&mut *d, tape.x.features())]
            {
                scratch.d_all.reshape(features, tape.x.tokens());
                scratch.d_all.scatter(some, keep);
                std::mem::swap(some, &mut scratch.d_all);
            }
        }
        let past = attention::Past { qkv: &tape.qkv, log_sums: &tape.log_sums, d_output: &scratch.d_attended };
        let scores = self.scores(shared);
        attention::backward(isa, shared.shape, scores, &shared.segments, past, &mut scratch.d_qkv);
        shared.turn(layer, &mut scratch.d_qkv, true);
        self.norm_heads_back(layer, shared, tape, (&mut scratch.d_qkv, &mut scratch.d_heads), gradient);
        let own = before_attention.as_ref();
        let normed = self.attention_norm.normed(own, &tape.x, &tape.inverse);
        let past = Past { x: Rows::Made(&normed), kept: &tape.of_qkv, dy: &scratch.d_qkv };
        let group = shared.group(layer, &self.qkv, None);
        let d_normed = (!lowest || own.is_some()).then_some(&mut scratch.d_normed);
        self.qkv.backward(isa, &group, past, buffers, d_normed, gradient, SumsOfA::Now);
        let past = (&tape.x, tape.inverse.as_slice());
        self.attention_norm.backward(isa, own, past, &scratch.d_normed, (!lowest).then_some(d), gradient);
    }
}

/// Of `d`, the gradient by what a part of the block and its bottleneck made, that by what the part adds. A bottleneck that saw
/// the sum of both changes `d` itself.
fn by_added<'d>(
    bottleneck: Option<&Bottleneck<'_>>,
    d: &'d mut Lanes,
    buffers: &'d mut bottleneck::Buffers,
) -> &'d Lanes {
    match bottleneck.map(|bottleneck| bottleneck.input) {
        Some(BottleneckInput::Added) => {
            buffers.d_added.copy_from(d);
            buffers.d_added.add(&buffers.d_input);
            &buffers.d_added
        }
        Some(BottleneckInput::Sum) => {
            d.add(&buffers.d_input);
            d
        }
        Some(BottleneckInput::Residual) | None => d,
    }
}

/// Adds to `d` what a bottleneck that saw the residual alone has of the gradient by it.
fn add_by_residual(bottleneck: Option<&Bottleneck<'_>>, buffers: &bottleneck::Buffers, d: &mut Lanes) {
    if bottleneck.is_some_and(|bottleneck| bottleneck.input == BottleneckInput::Residual) {
        d.add(&buffers.d_input);
    }
}

impl Block {
    /// What the layer `down` takes.
    fn activated<'t>(&self, gate_up: &'t Lanes) -> Box<dyn Make + 't> {
        match self.activation {
            Activation::Silu => Box::new(swiglu::gated(gate_up)),
            Activation::GeluTanh => Box::new(geglu::gated(gate_up)),
        }
    }

    fn scores<'a>(&self, shared: &Shared<'a>) -> Scores<'a> {
        Scores { window: self.window, cap: shared.cap, slopes: shared.slopes }
    }

    /// Norms the heads of queries and keys in `tape.qkv`, and keeps what they were.
    fn norm_heads(&self, layer: usize, shared: &Shared<'_>, tape: &mut Tape) {
        let Some(norms) = &self.head_norms else { return };
        let (stride, parts) = (tape.qkv.stride(), shared.turned_parts());
        tape.heads.reuse(parts[1].end, tape.qkv.tokens());
        let count = tape.heads.values().len();
        tape.heads.values_mut().copy_from_slice(&tape.qkv.values()[..count]);
        let own = shared.head_norms(layer);
        for (((norm, own), part), inverse) in norms.iter().zip(&own).zip(parts).zip(&mut tape.head_inverse) {
            let x = tape.heads.rows(part.clone());
            let y = tape.qkv.rows_mut(part);
            *inverse = norm::heads_forward(shared.isa, x, stride, norm.weight(own.as_ref()), norm.epsilon, y);
        }
    }

    /// Turns `d_qkv`, the gradient by normed heads, into that by what they were before, and adds to those of the norms' weights.
    fn norm_heads_back(
        &self,
        layer: usize,
        shared: &Shared<'_>,
        tape: &Tape,
        (d_qkv, d_heads): (&mut Lanes, &mut Lanes),
        gradient: &mut [f32],
    ) {
        let Some(norms) = &self.head_norms else { return };
        let (stride, parts) = (tape.qkv.stride(), shared.turned_parts());
        d_heads.reshape(tape.heads.features(), tape.heads.tokens());
        let own = shared.head_norms(layer);
        for (((norm, own), part), inverse) in norms.iter().zip(&own).zip(parts).zip(&tape.head_inverse) {
            let (x, dy) = (tape.heads.rows(part.clone()), d_qkv.rows(part.clone()));
            if let Some(own) = own {
                norm::heads_weight_gradient(x, stride, inverse, dy, &mut gradient[own.at.clone()]);
            }
            let dx = d_heads.rows_mut(part);
            norm::heads_backward(shared.isa, x, stride, norm.weight(own.as_ref()), inverse, dy, dx);
        }
        let count = d_heads.values().len();
        d_qkv.values_mut()[..count].copy_from_slice(d_heads.values());
    }
}

impl<'a> Shared<'a> {
    /// For tokens at these positions, of rows of which the longest has `longest` tokens; in packed rows if there are segments.
    pub(super) fn new(
        model: &'a Model,
        weights: &FusedWeights,
        changes: &'a Changes<'a>,
        (positions, longest): (&[u32], usize),
        segments: Vec<Segment>,
        noise: Option<&'a Noise>,
    ) -> Self {
        let config = model.config();
        let stride = Lanes::zeros(0, positions.len()).stride();
        let angles = |form: &LayerForm| {
            let (frequencies, magnitude, pairs) = match &form.rotary {
                Some(rotary) => {
                    let pairs = match rotary.pairs {
                        RotaryPairs::Halves => Pairs::Halves,
                        RotaryPairs::Neighbours => Pairs::Neighbours,
                    };
                    (rotary.inverse_frequencies(longest), rotary.magnitude(), pairs)
                }
                None => (Vec::new(), 1.0, Pairs::Halves),
            };
            let frequencies: Vec<f32> = frequencies.into_iter().map(|frequency| frequency as f32).collect();
            Angles::new(&frequencies, magnitude, (config.head_dim, pairs), positions, stride)
        };
        Self {
            isa: weights.isa,
            shape: weights.shape,
            scale: weights.scale,
            segments,
            angles: config.layer_forms.iter().map(angles).collect(),
            cap: config.attention.cap,
            slopes: config.attention.slopes.as_deref(),
            lora: &changes.lora,
            dense: changes.dense,
            bottlenecks: &changes.bottlenecks,
            noise,
        }
    }

    /// The same with instructions for products of few tokens.
    pub(super) fn for_few_tokens(self) -> Self {
        Self { isa: self.isa.for_few_tokens(), ..self }
    }

    /// The attention of packed rows.
    pub(super) fn attend(&self, scores: Scores<'_>, qkv: &Lanes, attended: &mut Lanes) -> Vec<f32> {
        attention::forward(self.isa, self.shape, scores, &self.segments, qkv, attended)
    }

    /// What is trained of a projection, for some tokens of the pass or for all.
    fn group(&self, layer: usize, projection: &Projection, keep: Option<&'a [u32]>) -> Group<'a> {
        self.lora.group(layer, projection, &self.dense, self.noise, keep)
    }

    /// The weight of a norm of a block, if it is trained.
    fn norm(&self, layer: usize, place: NormPlace) -> Option<Own<'a>> {
        self.dense.get(WeightPlace::Norm(layer, place))
    }

    /// The weights of the norms of queries and keys, if they are trained.
    fn head_norms(&self, layer: usize) -> [Option<Own<'a>>; 2] {
        [NormPlace::Queries, NormPlace::Keys].map(|place| self.norm(layer, place))
    }

    /// Features of queries, and of keys.
    fn turned_parts(&self) -> [std::ops::Range<usize>; 2] {
        let Shape { heads, key_heads, width } = self.shape;
        [0..heads * width, heads * width..(heads + key_heads) * width]
    }

    /// Turns queries, by the attention's scale too, and keys; `back` does so with their gradients.
    fn turn(&self, layer: usize, qkv: &mut Lanes, back: bool) {
        let angles = &self.angles[layer % self.angles.len()];
        for (part, scale) in self.turned_parts().into_iter().zip([self.scale, 1.0]) {
            rotate(self.isa, qkv.rows_mut(part), angles, scale, back);
        }
    }
}
