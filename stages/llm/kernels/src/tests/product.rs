use half::bf16;
use proptest::prelude::*;

use super::{assert_close, lanes, numbers};
use crate::{Isa, Lanes, Left, Panels, Precision, Right, Term, Weight, product, token_products};

fn in_f64(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// The plainest product: `a` row by row, `b` in lanes.
fn plainly(a: impl Fn(usize, usize) -> f32, rows: usize, b: &Lanes, onto: &[f32]) -> Vec<f64> {
    let stride = b.stride();
    let mut c = in_f64(onto);
    for row in 0..rows {
        for column in 0..b.features() {
            for (sum, right) in c[row * stride..(row + 1) * stride].iter_mut().zip(b.row(column)) {
                *sum += f64::from(a(row, column)) * f64::from(*right);
            }
        }
    }
    c
}

/// The same with the sizes of all numbers: what was added up.
fn sizes(a: impl Fn(usize, usize) -> f32, rows: usize, b: &Lanes, onto: &[f32]) -> Vec<f64> {
    let mut b = b.clone();
    b.values_mut().iter_mut().for_each(|value| *value = value.abs());
    let onto: Vec<f32> = onto.iter().map(|value| value.abs()).collect();
    plainly(|row, column| a(row, column).abs(), rows, &b, &onto)
}

/// The largest error, each beside the size of what was added up.
fn relative_error(found: &[f32], exact: &[f64], sizes: &[f64]) -> f64 {
    let errors = found.iter().zip(exact).zip(sizes).map(|((found, exact), size)| {
        let off = (f64::from(*found) - exact).abs();
        if off == 0.0 { 0.0 } else { off / size }
    });
    errors.fold(0.0, f64::max)
}

/// What products in f16 are off by at most, beside the sizes of what is added up: no more than rounding both sides to bf16 may cost.
const IN_HALVES: f64 = 1.0 / 256.0;

fn in_bf16(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| bf16::from_f32(*value).to_f32()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn frozen_weights_in_both_directions_and_precisions(
        out in 1usize..70, width in 1usize..620, tokens in 1usize..120, seed in 1u64..1000, onto in any::<bool>(),
    ) {
        let values = numbers(out * width, seed);
        for isa in Isa::available() {
            for precision in [Precision::F32, Precision::Bf16] {
                // As it is kept for the best instructions, and as where there are none but these.
                let weight = match seed % 2 {
                    0 => Weight::new(&values, out, width, precision),
                    _ => Weight::new_for(isa, &values, out, width, precision),
                };
                let kept = if precision == Precision::Bf16 { in_bf16(&values) } else { values.clone() };
                for transposed in [false, true] {
                    let (rows, depth) = if transposed { (width, out) } else { (out, width) };
                    let right = lanes(depth, tokens, seed + 1);
                    let stride = right.stride();
                    let start = if onto { numbers(rows * stride, seed + 2) } else { vec![0.0; rows * stride] };
                    let mut rounded = right.clone();
                    let in_halves = precision == Precision::Bf16 && isa.multiplies_halves();
                    if precision == Precision::Bf16 && !in_halves {
                        rounded.values_mut().copy_from_slice(&in_bf16(right.values()));
                    }
                    let at = |r: usize, c: usize| if transposed { kept[c * width + r] } else { kept[r * width + c] };
                    let expected = plainly(at, rows, &rounded, &start);
                    let left = if transposed { Left::Transposed(&weight) } else { Left::Weight(&weight) };
                    let mut panels = Panels::default();
                    let right = panels.pack(isa, precision, right.values(), stride);
                    let mut c = if onto { start.clone() } else { vec![f32::NAN; rows * stride] };
                    product(isa, &mut c, stride, onto, &[Term { left, right }]);
                    if in_halves {
                        let sizes = sizes(at, rows, &rounded, &start);
                        let error = relative_error(&c, &expected, &sizes);
                        assert!(error < IN_HALVES, "{}: {error:e}", isa.name());
                    } else {
                        assert_close(&c, &expected, 1e-5, isa.name());
                    }
                }
            }
        }
    }

    #[test]
    fn small_matrices_and_sums_over_tokens(
        rows in 1usize..70, depth in 1usize..420, tokens in 1usize..100, seed in 1u64..1000,
    ) {
        let values = numbers(rows * depth, seed);
        let right = lanes(depth, tokens, seed + 1);
        let stride = right.stride();
        for isa in Isa::available() {
            let terms = [
                Term { left: Left::matrix(&values, rows), right: Right::Lanes { rows: right.values(), stride } },
                Term { left: Left::matrix(&values, rows), right: Right::Lanes { rows: right.values(), stride } },
            ];
            let mut c = vec![f32::NAN; rows * stride];
            product(isa, &mut c, stride, false, &terms);
            let expected: Vec<f64> = plainly(|r, k| values[r * depth + k], rows, &right, &vec![0.0; rows * stride]);
            assert_close(&c, &expected.iter().map(|v| 2.0 * v).collect::<Vec<_>>(), 1e-5, isa.name());
            product(isa, &mut c, stride, false, &[Term { left: Left::transposed(&transposed(&values, depth), depth), ..terms[0] }]);
            assert_close(&c, &expected, 1e-5, isa.name());

            let left = lanes(rows, tokens, seed + 3);
            let mut out = vec![0f32; rows * depth];
            token_products(isa, left.values(), right.values(), stride, &mut out);
            let expected: Vec<f64> = (0..rows * depth)
                .map(|at| {
                    let pairs = left.row(at / depth).iter().zip(right.row(at % depth));
                    pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
                })
                .collect();
            assert_close(&out, &expected, 1e-5, isa.name());
        }
    }
}

/// `[rows][width]` to `[width][rows]`.
fn transposed(values: &[f32], width: usize) -> Vec<f32> {
    let rows = values.len() / width;
    (0..values.len()).map(|at| values[at % rows * width + at / rows]).collect()
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (out, width, tokens) = (200, 2100, 150);
    let values = numbers(out * width, 5);
    let right = lanes(width, tokens, 6);
    let low = numbers(8 * width, 7);
    let stride = right.stride();
    for precision in [Precision::F32, Precision::Bf16] {
        let weight = Weight::new(&values, out, width, precision);
        let computed: Vec<Vec<f32>> = [1, 2, 3, 7]
            .map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let isa = Isa::best();
                    let mut panels = Panels::default();
                    let packed = panels.pack(isa, precision, right.values(), stride);
                    let mut c = vec![0f32; (out + 8) * stride];
                    let (large, small) = c.split_at_mut(out * stride);
                    product(isa, large, stride, false, &[Term { left: Left::Weight(&weight), right: packed }]);
                    let plain = Right::Lanes { rows: right.values(), stride };
                    product(isa, small, stride, false, &[Term { left: Left::matrix(&low, 8), right: plain }]);
                    let mut sums = vec![0f32; out * 8];
                    token_products(isa, &c[..out * stride], &c[out * stride..], stride, &mut sums);
                    c.extend(sums);
                    c
                })
            })
            .into();
        assert!(computed.iter().all(|other| *other == computed[0]));
    }
}

#[test]
fn a_row_is_read_as_it_is_kept() {
    let values = numbers(37 * 21, 3);
    for precision in [Precision::F32, Precision::Bf16] {
        let weight = Weight::new(&values, 37, 21, precision);
        let kept = if precision == Precision::Bf16 { in_bf16(&values) } else { values.clone() };
        let mut row = vec![0f32; 21];
        for at in 0..37 {
            weight.read_row(at, &mut row);
            assert_eq!(row, kept[at * 21..(at + 1) * 21]);
        }
    }
}

/// The largest error of a product in f32, each beside the sum of the sizes of what was added up.
fn largest_error(isa: Isa, values: &[f32], out: usize, right: &Lanes) -> f64 {
    let (width, stride) = (right.features(), right.stride());
    let weight = Weight::new(values, out, width, Precision::F32);
    let mut panels = Panels::default();
    let packed = panels.pack(isa, Precision::F32, right.values(), stride);
    let mut c = vec![0f32; out * stride];
    product(isa, &mut c, stride, false, &[Term { left: Left::Weight(&weight), right: packed }]);
    let exact = plainly(|r, k| values[r * width + k], out, right, &vec![0.0; out * stride]);
    let sizes = sizes(|r, k| values[r * width + k], out, right, &vec![0.0; out * stride]);
    relative_error(&c, &exact, &sizes)
}

#[test]
fn products_in_f32_are_as_exact_whatever_multiplies_them() {
    // Numbers of very different sizes, so that what a rounding to bf16 leaves of one is as large as others.
    let spread = |values: &mut [f32]| {
        for (at, value) in values.iter_mut().enumerate() {
            *value *= [1.0, 1e-3, 37.0, 1e-6][at * 7 % 4];
        }
    };
    let (out, width, tokens) = (33, 1000, 50);
    let mut values = numbers(out * width, 11);
    spread(&mut values);
    let mut right = lanes(width, tokens, 12);
    spread(right.values_mut());
    right.values_mut().iter_mut().filter(|value| **value == 0.0).for_each(|value| *value = 0.25);
    for isa in Isa::available() {
        let error = largest_error(isa, &values, out, &right);
        assert!(error < 1e-6, "{}: {error:e}", isa.name());
    }
}

#[test]
fn products_in_f16_take_numbers_of_any_size() {
    let (out, width, tokens) = (48, 200, 53);
    let mut values = numbers(out * width, 21);
    // Strips of very different sizes.
    for (strip, values) in values.chunks_mut(16 * width).enumerate() {
        for value in values {
            *value *= [1e-9, 1.0, 1e7][strip];
        }
    }
    let values = in_bf16(&values);
    let weight = Weight::new(&values, out, width, Precision::Bf16);
    let mut right = lanes(width, tokens, 22);
    let stride = right.stride();
    let size = |token: usize| [1e-12, 1.0, 0.0, 3e9][token % 4];
    for row in right.values_mut().chunks_exact_mut(stride) {
        row.iter_mut().enumerate().for_each(|(token, value)| *value *= size(token));
    }
    let nothing = vec![0.0; out * stride];
    let at = |r: usize, k: usize| values[r * width + k];
    let (exact, sizes) = (plainly(at, out, &right, &nothing), sizes(at, out, &right, &nothing));
    for isa in Isa::available().into_iter().filter(|isa| isa.multiplies_halves()) {
        let mut panels = Panels::default();
        let mut computed = |right: &Lanes| {
            let mut c = vec![f32::NAN; out * stride];
            let right = panels.pack(isa, Precision::Bf16, right.values(), stride);
            product(isa, &mut c, stride, false, &[Term { left: Left::Weight(&weight), right }]);
            c
        };
        let error = relative_error(&computed(&right), &exact, &sizes);
        assert!(error < IN_HALVES, "{error:e}");

        // What is no number spoils its token and no other.
        for broken in [f32::NAN, f32::INFINITY] {
            let mut right = right.clone();
            right.values_mut()[70 * stride + 5] = broken;
            let found = computed(&right);
            assert!(found.iter().enumerate().all(|(at, value)| value.is_nan() == (at % stride == 5)), "{broken}");
        }
    }
}
