//! The way back through the feed-forward part, from its second product to its first.

use refit_checkpoint::{Activation, NormPlace};
use refit_kernels::{Lanes, Rows, geglu, swiglu};

use super::{Block, Shared, Tape};
use crate::fused::projection::{Buffers, Past, SumsOfA};

/// Where gradients on the way go.
pub(super) struct Towards<'a> {
    pub(super) buffers: &'a mut Buffers,
    pub(super) d_activated: &'a mut Lanes,
    /// The gradient by the normed input.
    pub(super) d_normed: &'a mut Lanes,
    /// The gradients by what is trained.
    pub(super) gradient: &'a mut [f32],
}

impl Block {
    /// Takes `added`, the gradient by what the part adds, to that by its normed input. `tape.gate_up` is replaced by the gradient by it.
    ///
    /// The activation's way back makes the input of the second product once more, and the gradient by both outputs of the first. All that is
    /// wanted of them is made there, while they are near.
    pub(super) fn feed_forward_back<'a>(
        &self,
        layer: usize,
        shared: &Shared<'a>,
        keep: Option<&'a [u32]>,
        added: &Lanes,
        tape: &mut Tape,
        Towards { buffers, d_activated, d_normed, gradient }: Towards<'_>,
    ) {
        let isa = shared.isa;
        let down = shared.group(layer, &self.down, keep);
        let gate_up = shared.group(layer, &self.gate_up, keep);

        let activated = self.activated(&tape.gate_up);
        let past = Past { x: Rows::Made(&*activated), kept: &tape.of_down, dy: added };
        let of_a = SumsOfA::left(&down, &tape.of_down);
        self.down.backward(isa, &down, past, buffers, Some(&mut *d_activated), gradient, of_a);
        drop(activated);

        let mut left = (of_a == SumsOfA::Later).then(|| buffers.take_left());
        let (features, tokens) = (d_activated.features(), d_activated.tokens());
        let output = left.as_mut().map(|left| left.wanted(features)).unwrap_or_default();
        let of_layers = self.gate_up.wanted_of_two(&gate_up, &tape.of_gate_up, tokens, buffers, gradient);
        let are_read = of_layers.is_some();
        let [gate, up] = of_layers.unwrap_or_default();
        let wanted = [output, gate, up];
        match self.activation {
            Activation::Silu => swiglu::backward(isa, &mut tape.gate_up, d_activated, wanted),
            Activation::GeluTanh => geglu::backward(isa, &mut tape.gate_up, d_activated, wanted),
        }
        if let Some(left) = left {
            left.add(&down, buffers, gradient);
        }

        let own = shared.norm(layer, NormPlace::BeforeFeedForward);
        let normed = self.feed_forward_norm.normed(own.as_ref(), &tape.middle, &tape.middle_inverse);
        let past = Past { x: Rows::Made(&normed), kept: &tape.of_gate_up, dy: &tape.gate_up };
        if are_read {
            self.gate_up.own_gradients(isa, &gate_up, past.x, past.dy, buffers, gradient);
            self.gate_up.backward_once_read(isa, &gate_up, past, buffers, Some(d_normed), gradient, SumsOfA::Now);
        } else {
            self.gate_up.backward(isa, &gate_up, past, buffers, Some(d_normed), gradient, SumsOfA::Now);
        }
    }
}
