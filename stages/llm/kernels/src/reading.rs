//! Rows that are read once for all that is made of them.
//!
//! Activations of a pass come from a far cache or from memory, where each further reading costs as much as what is computed with them; a block of
//! them stays near until all of it is done.

use std::ops::Range;

use rayon::prelude::*;

use crate::{
    Isa, Lanes, Left, Panels, Precision, Rows,
    lanes::PER_TASK,
    pairs::Filling,
    places::Places,
    product::of_columns,
    room::{Kept, Numbers, lend},
    sums::add_up,
    tile::Dots,
};

/// Rows of a block, a multiple of those of a tile of pairs. Sums over rows are added up block by block, so it depends on nothing.
pub(crate) const BLOCK: usize = 128;

/// What is made of rows.
#[derive(Default)]
pub struct Wanted<'a> {
    /// Get the rows as they are.
    pub lanes: Option<&'a mut Lanes>,
    /// Get the rows in the form that products with weights of this precision take.
    pub panels: Option<(&'a mut Panels, Precision)>,
    /// Their products with small matrices.
    pub lowered: Option<Lowered<'a>>,
    /// Their products with other rows, summed over tokens.
    pub over_tokens: Option<OverTokens<'a>>,
}

/// `to` = `by` · left · rows, for several left sides one below the other.
pub struct Lowered<'a> {
    /// Small matrices with as many columns as there are rows.
    pub lefts: Vec<Left<'a>>,
    /// What all is multiplied by.
    pub by: f32,
    /// One row for each of theirs.
    pub to: &'a mut [f32],
}

/// `to[i][j]` += Σ `rows[i]`·`with[j]` over tokens.
pub struct OverTokens<'a> {
    /// Rows of as many tokens.
    pub with: &'a [f32],
    /// A number for each pair of rows.
    pub to: &'a mut [f32],
}

/// Reads rows.
///
/// # Panics
/// When the shapes do not fit together, or a left side is no small matrix.
pub fn read(isa: Isa, rows: Rows<'_>, wanted: Wanted<'_>) {
    let (depth, stride) = (rows.features(), rows.stride());
    let Wanted { lanes, panels, lowered, over_tokens } = wanted;
    let laid_out = lanes.filter(|_| depth > 0).map(|lanes| {
        lanes.reuse(depth, rows.tokens());
        Places::new(lanes.values_mut(), depth * stride)
    });
    assert!(stride > 0, "there are tokens");
    let kind = Kind::new(isa, [depth, stride], Wanted { lanes: None, panels, lowered, over_tokens });
    if laid_out.is_none() && kind.is_nothing() {
        return;
    }
    read_kinds(isa, [depth, stride], [kind], |features, see| {
        let Some(laid_out) = &laid_out else { return rows.with(isa, features, |rows| see(0, rows)) };
        // SAFETY: no other task has this block.
        let to = unsafe { laid_out.part(0, features.start * stride..features.end * stride) };
        rows.write(isa, features.start, to);
        see(0, to);
    });
}

/// Reads several kinds of rows, as many of each, that are made together: `make` is told some of them, and shows what it made, kind by kind. Laying
/// them out is up to it.
///
/// # Panics
/// As [`read`].
pub(crate) fn read_together<const N: usize>(
    isa: Isa,
    [depth, stride]: [usize; 2],
    wanted: [Wanted<'_>; N],
    make: impl Fn(Range<usize>, &dyn Fn(usize, &[f32])) + Sync,
) {
    assert!(stride > 0, "there are tokens");
    read_kinds(isa, [depth, stride], wanted.map(|wanted| Kind::new(isa, [depth, stride], wanted)), make);
}

fn read_kinds<const N: usize>(
    isa: Isa,
    [depth, stride]: [usize; 2],
    mut kinds: [Kind<'_>; N],
    make: impl Fn(Range<usize>, &dyn Fn(usize, &[f32])) + Sync,
) {
    thread_local! {
        /// Products of each block with small matrices, which are then added up.
        static PARTS: Kept<Numbers> = Kept::default();
    }
    let count = depth.div_ceil(BLOCK);
    lend(&PARTS, |parts| {
        parts.reuse(kinds.iter().map(|kind| count * kind.low.len()).sum());
        let mut rest = &mut **parts;
        let places = kinds.each_ref().map(|kind| {
            let part = rest.split_off_mut(..count * kind.low.len()).expect("invariant: there is room for all kinds");
            Places::of(part, count, kind.low.len())
        });
        let blocks = (0..count).into_par_iter().with_min_len((PER_TASK / (BLOCK * stride)).max(1));
        blocks.for_each(|block| {
            let features = block * BLOCK..((block + 1) * BLOCK).min(depth);
            make(features, &|which, rows| {
                let kind = &kinds[which];
                // SAFETY: no other task has this block.
                let part = unsafe { places[which].part(block, 0..kind.low.len()) };
                // SAFETY: as above.
                unsafe { kind.see(isa, block, rows, part) };
            });
        });
        let mut rest = &**parts;
        for Kind { by, low, .. } in &mut kinds {
            let parts = rest.split_off(..count * low.len()).expect("invariant: there was room for all kinds");
            add_up(isa, parts, *by, low);
        }
    });
}

/// Rows of one kind, and what is made of them.
struct Kind<'a> {
    stride: usize,
    filling: Option<Filling<'a>>,
    /// The other rows, how many they are, and where the sums go.
    over_tokens: Option<(&'a [f32], usize, Places<'a, f32>)>,
    lefts: Vec<Left<'a>>,
    by: f32,
    low: &'a mut [f32],
}

impl<'a> Kind<'a> {
    fn new(isa: Isa, [depth, stride]: [usize; 2], wanted: Wanted<'a>) -> Self {
        let Wanted { panels, lowered, over_tokens, .. } = wanted;
        let filling = panels.and_then(|(panels, precision)| panels.filling(isa, precision, depth, stride));
        let Lowered { lefts, by, to: low } = lowered.unwrap_or(Lowered { lefts: Vec::new(), by: 1.0, to: &mut [] });
        assert_eq!(lefts.iter().map(Left::rows).sum::<usize>() * stride, low.len(), "shapes do not fit");
        let over_tokens = over_tokens.filter(|OverTokens { to, .. }| !to.is_empty()).map(|OverTokens { with, to }| {
            let count = with.len() / stride;
            assert!(with.len().is_multiple_of(stride) && to.len() == depth * count, "shapes do not fit");
            (with, count, Places::new(to, depth * count))
        });
        Self { stride, filling, over_tokens, lefts, by, low }
    }

    fn is_nothing(&self) -> bool {
        self.filling.is_none() && self.over_tokens.is_none() && self.low.is_empty()
    }

    /// Makes what is wanted of a block of rows; products with small matrices go to `part`.
    ///
    /// # Safety
    /// No other task may have this block.
    unsafe fn see(&self, isa: Isa, block: usize, rows: &[f32], part: &mut [f32]) {
        let (first, stride) = (block * BLOCK, self.stride);
        if let Some(filling) = &self.filling {
            // SAFETY: the caller says so.
            unsafe { filling.fill(block, rows) };
        }
        if let Some((with, count, to)) = &self.over_tokens {
            // SAFETY: the caller says so.
            let out = unsafe { to.part(0, first * count..(first + rows.len() / stride) * count) };
            isa.run(Dots { a: rows, b: with, stride, out, row: *count });
        }
        let mut rest = part;
        for left in &self.lefts {
            let to = rest.split_off_mut(..left.rows() * stride).expect("invariant: there is a row for each");
            of_columns(isa, to, stride, (*left, first), rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Lanes, Make, Term, Weight, product,
        tests::{assert_close, lanes, numbers},
    };

    /// Rows, and tokens: with and without a last block that is not whole, and fewer rows than a block has.
    const SHAPES: [(usize, usize); 4] = [(150, 37), (128, 20), (7, 5), (65, 100)];
    const RANK: usize = 5;

    #[test]
    fn one_reading_gives_all_that_is_wanted() {
        for (depth, tokens) in SHAPES {
            let (rows, with) = (lanes(depth, tokens, 1), lanes(RANK, tokens, 2));
            let stride = rows.stride();
            let matrix = numbers(depth * RANK, 3);
            let weight = numbers(depth * 20, 4);
            let lefts = [
                (Left::matrix(&matrix, RANK), [depth, 1]),
                // The transposed of a matrix of `depth` rows.
                (Left::transposed(&matrix, depth), [1, RANK]),
            ];
            for (isa, (left, [row, column])) in
                Isa::available().into_iter().flat_map(|isa| lefts.iter().map(move |left| (isa, *left)))
            {
                let what = format!("{isa:?}, {depth} rows of {tokens}");
                let mut lowered = Lanes::zeros(2 * RANK, tokens);
                let mut over_tokens = vec![0.5; depth * RANK];
                let mut panels = Panels::default();
                let mut laid_out = Lanes::default();
                let wanted = Wanted {
                    lanes: Some(&mut laid_out),
                    panels: Some((&mut panels, Precision::Bf16)),
                    lowered: Some(Lowered { lefts: vec![left, left], by: 0.5, to: lowered.values_mut() }),
                    over_tokens: Some(OverTokens { with: with.values(), to: &mut over_tokens }),
                };
                read(isa, Rows::from(&rows), wanted);
                assert_eq!(laid_out.values(), rows.values(), "{what}");

                let at = |feature: usize, token: usize| f64::from(rows.row(feature)[token]);
                let expected: Vec<f64> = (0..2 * RANK * stride)
                    .map(|at_of| (at_of / stride % RANK, at_of % stride))
                    .map(|(r, t)| {
                        (0..depth).map(|f| f64::from(matrix[r * row + f * column]) * at(f, t)).sum::<f64>() / 2.0
                    })
                    .collect();
                assert_close(lowered.values(), &expected, 1e-5, &what);
                let sum = |f: usize, r: usize| (0..tokens).map(|t| at(f, t) * f64::from(with.row(r)[t])).sum::<f64>();
                let expected: Vec<f64> = (0..depth * RANK).map(|at| 0.5 + sum(at / RANK, at % RANK)).collect();
                assert_close(&over_tokens, &expected, 1e-5, &what);
                let weight = Weight::new(&weight, 20, depth, Precision::Bf16);
                let mut met = Lanes::zeros(20, tokens);
                let terms = [Term { left: Left::Weight(&weight), right: panels.right(Rows::from(&rows)) }];
                product(isa, met.values_mut(), stride, false, &terms);
                // In f16 the numbers keep three bits more, and sums are rounded too.
                let halves = isa.multiplies_halves();
                let kept = |value: f32| f64::from(if halves { value } else { half::bf16::from_f32(value).to_f32() });
                let mut numbers = vec![0.0; depth];
                let expected: Vec<f64> = (0..20 * stride)
                    .map(|at| {
                        weight.read_row(at / stride, &mut numbers);
                        let features = numbers.iter().enumerate();
                        features.map(|(f, w)| f64::from(*w) * kept(rows.row(f)[at % stride])).sum()
                    })
                    .collect();
                assert_close(met.values(), &expected, if halves { 3e-3 } else { 1e-5 }, &what);
            }
        }
    }

    /// Twice some rows.
    struct Twice<'a>(Rows<'a>);

    impl Make for Twice<'_> {
        fn features(&self) -> usize {
            self.0.features()
        }

        fn tokens(&self) -> usize {
            self.0.tokens()
        }

        fn make(&self, isa: Isa, first: usize, to: &mut [f32]) {
            self.0.write(isa, first, to);
            for value in to {
                *value *= 2.0;
            }
        }
    }

    #[test]
    fn rows_that_are_made_are_read_as_those_that_lie_somewhere() {
        for (depth, tokens) in SHAPES {
            let rows = lanes(depth, tokens, 1);
            let (with, matrix) = (lanes(RANK, tokens, 2), numbers(depth * RANK, 3));
            let mut fourfold = rows.clone();
            fourfold.values_mut().iter_mut().for_each(|value| *value *= 4.0);
            let twice = Twice(Rows::from(&rows));
            let made = Twice(Rows::Made(&twice));
            for isa in Isa::available() {
                let of = |rows: Rows<'_>, wants_lanes: bool| {
                    let (mut laid_out, mut panels) = (Lanes::default(), Panels::default());
                    let (mut lowered, mut over_tokens) = (vec![0.0; RANK * rows.stride()], vec![0.0; depth * RANK]);
                    let lefts = vec![Left::matrix(&matrix, RANK)];
                    let wanted = Wanted {
                        lanes: wants_lanes.then_some(&mut laid_out),
                        panels: Some((&mut panels, Precision::Bf16)),
                        lowered: Some(Lowered { lefts, by: 1.0, to: &mut lowered }),
                        over_tokens: Some(OverTokens { with: with.values(), to: &mut over_tokens }),
                    };
                    read(isa, rows, wanted);
                    let weight = Weight::new(&matrix, RANK, depth, Precision::Bf16);
                    let mut met = vec![0.0; RANK * rows.stride()];
                    let terms = [Term { left: Left::Weight(&weight), right: panels.right(rows) }];
                    product(isa, &mut met, rows.stride(), false, &terms);
                    (lowered, over_tokens, met)
                };
                let expected = of(Rows::from(&fourfold), false);
                assert_eq!(expected, of(Rows::Made(&made), false), "{isa:?}, {depth} rows of {tokens}");
                assert_eq!(expected, of(Rows::Made(&made), true), "{isa:?}, {depth} rows of {tokens}");
                let mut room = Lanes::default();
                let laid_out = Rows::Made(&made).laid_out(isa, &mut room);
                assert_eq!(laid_out.there(), Some(fourfold.values()));
            }
        }
    }

    #[test]
    fn of_no_rows_comes_nothing() {
        read(Isa::best(), Rows::There { rows: &[1.0; 32], tokens: 16 }, Wanted::default());
        let mut to = [1.0; 16];
        let lefts = vec![Left::Matrix { values: &[], rows: 1, row: 0, column: 1 }];
        let lowered = Lowered { lefts, by: 2.0, to: &mut to };
        let none = Rows::There { rows: &[], tokens: 16 };
        read(Isa::best(), none, Wanted { lowered: Some(lowered), ..Wanted::default() });
        assert!(to.iter().all(|value| *value == 0.0));
    }
}
