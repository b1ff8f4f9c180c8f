use super::{lanes, numbers};
use crate::{Isa, Left, Lowered, OverTokens, Panels, Precision, Rows, Term, Wanted, Weight, product, read, swiglu};

const RANK: usize = 3;

/// What is made of rows.
struct Made {
    sums: Vec<f32>,
    low: Vec<f32>,
    panels: Panels,
}

impl Made {
    fn new(features: usize, stride: usize) -> Self {
        Self { sums: vec![0.25; features * RANK], low: vec![0.0; RANK * stride], panels: Panels::default() }
    }

    fn sums<'a>(&'a mut self, with: &'a [f32]) -> Wanted<'a> {
        let over_tokens = Some(OverTokens { with, to: &mut self.sums });
        Wanted { over_tokens, ..Wanted::default() }
    }

    fn all<'a>(&'a mut self, with: &'a [f32], matrix: &'a [f32]) -> Wanted<'a> {
        let over_tokens = Some(OverTokens { with, to: &mut self.sums });
        let lowered = Some(Lowered { lefts: vec![Left::matrix(matrix, RANK)], by: 0.5, to: &mut self.low });
        Wanted { lanes: None, panels: Some((&mut self.panels, Precision::Bf16)), lowered, over_tokens }
    }

    /// What a weight makes of the panels of these rows.
    fn met(&self, isa: Isa, weight: &Weight, rows: Rows<'_>) -> Vec<f32> {
        let mut met = vec![0.0; RANK * rows.stride()];
        let terms = [Term { left: Left::Weight(weight), right: self.panels.right(rows) }];
        product(isa, &mut met, rows.stride(), false, &terms);
        met
    }
}

/// Rows of several blocks, the last not whole.
#[test]
fn what_the_way_back_through_a_gate_makes_is_what_readings_after_it_would() {
    let (half, tokens) = (300, 37);
    let (both, dy) = (lanes(2 * half, tokens, 1), lanes(half, tokens, 2));
    let (with, matrix) = (lanes(RANK, tokens, 3), numbers(RANK * half, 4));
    let (with, weight) = (with.values(), Weight::new(&matrix, RANK, half, Precision::Bf16));
    let made = || Made::new(half, both.stride());
    for isa in Isa::available() {
        let (mut output, mut gate, mut up) = (made(), made(), made());
        let mut gradient = both.clone();
        let wanted = [output.sums(with), gate.all(with, &matrix), up.all(with, &matrix)];
        swiglu::backward(isa, &mut gradient, &dy, wanted);

        let mut alone = both.clone();
        swiglu::backward(isa, &mut alone, &dy, Default::default());
        assert_eq!(gradient.values(), alone.values(), "{isa:?}");
        let mut expected = made();
        read(isa, Rows::Made(&swiglu::gated(&both)), expected.sums(with));
        assert_eq!(output.sums, expected.sums, "{isa:?}");
        for (part, found) in [gate, up].into_iter().enumerate() {
            let rows = Rows::There { rows: alone.rows(part * half..(part + 1) * half), tokens };
            let mut expected = made();
            read(isa, rows, expected.all(with, &matrix));
            assert_eq!((&found.sums, &found.low), (&expected.sums, &expected.low), "{isa:?}");
            assert_eq!(found.met(isa, &weight, rows), expected.met(isa, &weight, rows), "{isa:?}");
        }
    }
}
