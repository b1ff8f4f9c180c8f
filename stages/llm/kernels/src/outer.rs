use rayon::prelude::*;

use crate::{
    Isa, Lanes, Rows,
    lanes::PAD,
    matrix::{Lying, matrix_block},
    pairs::PANEL,
    product::{Task, token_products},
    right_rows::RightRows,
    room::Numbers,
    tasks::in_shrinking_tasks,
};

/// Activations with the features of a token beside each other, in panels of 48 features, `[features / 48][tokens][48]`: the
/// right side of gradients by whole weights.
#[derive(Debug, Default)]
pub struct TokenPanels {
    features: usize,
    tokens: usize,
    values: Numbers,
}

impl TokenPanels {
    /// Takes over activations.
    pub fn fill(&mut self, isa: Isa, x: Rows<'_>) {
        (self.features, self.tokens) = (x.features(), x.tokens());
        self.values.reuse(self.features * self.tokens);
        let (stride, tokens) = (x.stride(), self.tokens.max(1));
        self.values.par_chunks_mut(PANEL * tokens).enumerate().for_each(|(at, panel)| {
            let (first, width) = (at * PANEL, panel.len() / tokens);
            x.with(isa, first..first + width, |rows| {
                // A cache line of a row has some tokens; theirs are written one after the other.
                for (at, to) in panel.chunks_mut(PAD * width).enumerate() {
                    for (token, to) in (at * PAD..).zip(to.chunks_exact_mut(width)) {
                        to.iter_mut().zip(rows[token..].iter().step_by(stride)).for_each(|(to, from)| *to = *from);
                    }
                }
            });
        });
    }
}

/// The gradient by a weight: `out[i][j]` += Σ over tokens of `dy[i]`·`x[j]`, `dy` being rows of as many tokens as `x` has, and
/// `panels` the same `x`.
///
/// # Panics
/// When the shapes do not fit together.
pub fn weight_gradient(isa: Isa, dy: &[f32], x: Rows<'_>, panels: &TokenPanels, out: &mut [f32]) {
    let (stride, width, tokens) = (x.stride(), x.features(), x.tokens());
    // A row of the result then ends within a vector.
    if !width.is_multiple_of(PAD) {
        let mut room = Lanes::default();
        let x = x.laid_out(isa, &mut room).there().expect("invariant: it was laid out");
        return token_products(isa, dy, x, stride, out);
    }
    assert!((panels.features, panels.tokens) == (width, tokens), "panels are of other activations");
    assert!(dy.len().is_multiple_of(stride) && out.len() == dy.len() / stride * width, "shapes do not fit");
    if out.is_empty() || tokens == 0 {
        return;
    }
    let right = RightRows::Panels { values: &panels.values, rows: tokens, columns: width };
    in_shrinking_tasks(out, width, |first, c| {
        let task = Task { isa, c, c_row: width, first, accumulate: true };
        matrix_block(task, Lying { values: dy, row: stride, column: 1 }, tokens, right);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_of_weights_are_sums_over_tokens_whatever_the_shapes() {
        for (rows, features, tokens) in
            [(5, 96, 33), (64, 112, 7), (3, 18, 20), (17, 16, 1), (40, 640, 50), (37, 112, 300)]
        {
            let number = |at: usize| ((at * 37 % 101) as f32 - 50.0) * 0.01;
            let (mut x, mut dy) = (Lanes::zeros(features, tokens), Lanes::zeros(rows, tokens));
            let stride = x.stride();
            for (lanes, shift) in [(&mut x, 0), (&mut dy, 7)] {
                for (at, row) in lanes.values_mut().chunks_exact_mut(stride).enumerate() {
                    row[..tokens].iter_mut().enumerate().for_each(|(token, v)| *v = number(at * 31 + token + shift));
                }
            }
            for isa in Isa::available() {
                let mut panels = TokenPanels::default();
                panels.fill(isa, Rows::from(&x));
                let mut out = vec![0.5; rows * features];
                weight_gradient(isa, dy.values(), Rows::from(&x), &panels, &mut out);
                for (at, found) in out.iter().enumerate() {
                    let (row, feature) = (at / features, at % features);
                    let expected: f32 = 0.5 + (0..tokens).map(|t| dy.row(row)[t] * x.row(feature)[t]).sum::<f32>();
                    assert!((found - expected).abs() < 1e-4, "{isa:?} {rows}×{features}×{tokens}: {found} {expected}");
                }
            }
        }
    }
}
