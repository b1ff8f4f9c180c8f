//! The feed-forward part's activation: act(gate) · up, with its gradient, for any activation.

use crate::{
    Isa, Lanes, Make, Wanted,
    act::Act,
    places::Places,
    reading::read_together,
    rows::with_room,
    simd::{Kernel, Simd},
};

/// act(gate) · up.
pub(crate) struct Gated<'a, A> {
    pub(crate) act: A,
    /// The gate's features, and then as many of up.
    pub(crate) both: &'a Lanes,
}

impl<A: Act> Make for Gated<'_, A> {
    fn features(&self) -> usize {
        self.both.features() / 2
    }

    fn tokens(&self) -> usize {
        self.both.tokens()
    }

    fn make(&self, isa: Isa, first: usize, to: &mut [f32]) {
        let count = to.len() / self.both.stride();
        let [gate, up] = [first, self.features() + first].map(|first| self.both.rows(first..first + count));
        isa.run(Forward { act: self.act, gate, up, y: to });
    }
}

/// Replaces `both` by the gradient by it, from `dy`, that by the output. Meanwhile makes what is wanted of the output, and of the gradients by the
/// gate and by up; lanes it does not lay out.
pub(crate) fn backward(act: impl Act, isa: Isa, both: &mut Lanes, dy: &Lanes, wanted: [Wanted<'_>; 3]) {
    let (half, stride) = (both.features() / 2, both.stride());
    let wants_output = wanted[0].over_tokens.is_some();
    let places = Places::new(both.values_mut(), half * stride);
    read_together(isa, [half, stride], wanted, |features, see| {
        let dy = dy.rows(features.clone());
        let numbers = features.start * stride..features.end * stride;
        // SAFETY: no other task has these features.
        let [gate, up] = [0, 1].map(|part| unsafe { places.part(part, numbers.clone()) });
        with_room(if wants_output { numbers.len() } else { 0 }, |y| {
            isa.run(Backward { act, gate, up, dy, y });
            if wants_output {
                see(0, y);
            }
        });
        see(1, gate);
        see(2, up);
    });
}

struct Forward<'a, A> {
    act: A,
    gate: &'a [f32],
    up: &'a [f32],
    y: &'a mut [f32],
}

impl<A: Act> Kernel for Forward<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pairs = self.gate.chunks_exact(S::WIDTH).zip(self.up.chunks_exact(S::WIDTH));
        for (y, (gate, up)) in self.y.chunks_exact_mut(S::WIDTH).zip(pairs) {
            let (value, _) = self.act.value_and_slope(s, s.load(gate));
            s.store(y, s.mul(value, s.load(up)));
        }
    }
}

struct Backward<'a, A> {
    act: A,
    gate: &'a mut [f32],
    up: &'a mut [f32],
    dy: &'a [f32],
    /// Gets the output once more, if that is wanted: else it is empty.
    y: &'a mut [f32],
}

impl<A: Act> Kernel for Backward<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { act, gate, up, dy, y } = self;
        let mut y = y.chunks_exact_mut(S::WIDTH);
        let pairs = gate.chunks_exact_mut(S::WIDTH).zip(up.chunks_exact_mut(S::WIDTH));
        for ((gate, up), dy) in pairs.zip(dy.chunks_exact(S::WIDTH)) {
            let (g, u, dy) = (s.load(gate), s.load(up), s.load(dy));
            let (value, slope) = act.value_and_slope(s, g);
            if let Some(y) = y.next() {
                s.store(y, s.mul(value, u));
            }
            s.store(gate, s.mul(s.mul(dy, u), slope));
            s.store(up, s.mul(dy, value));
        }
    }
}
