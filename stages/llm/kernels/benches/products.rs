//! Products with weights in blocks beside those with the same weights unpacked: `cargo bench -p refit-kernels`.
//!
//! For each format, the share of the dense product's speed; the dense one is measured before and after, and its faster time counts.
//! Behind `--`, `dense` leaves the formats out.
#![allow(clippy::print_stdout, reason = "the result of a bench is what it prints")]

use std::time::Instant;

use refit_blocks::BlockFormat;
use refit_kernels::{Isa, Lanes, Left, Panels, Precision, Term, Weight, product};

/// Rows and columns of layers of `SmolLM2-135M` and, in the last, of its head.
const SHAPES: [(usize, usize); 3] = [(1536, 576), (576, 1536), (49_152, 576)];
/// A step of answers, and batches of training with and without a shared beginning.
const TOKENS: [usize; 3] = [32, 208, 512];
/// Floating-point operations that one measurement should take.
const WORK: f64 = 2e10;
/// Bytes of weights that no cache holds.
const BEYOND_CACHES: usize = 160 << 20;

fn main() {
    let isa = Isa::best();
    println!("{} on {} threads", isa.name(), rayon::current_num_threads());
    for precision in [Precision::F32, Precision::Bf16] {
        for (out, width) in SHAPES {
            for tokens in TOKENS {
                for transposed in [false, true] {
                    case(isa, precision, out, width, tokens, transposed);
                }
            }
        }
    }
}

fn case(isa: Isa, precision: Precision, out: usize, width: usize, tokens: usize, transposed: bool) {
    let operations = 2.0 * out as f64 * width as f64 * tokens as f64;
    let times = (WORK / operations).ceil() as usize;
    let (rows, depth) = if transposed { (width, out) } else { (out, width) };
    let mut right = Lanes::zeros(depth, tokens);
    right.values_mut().iter_mut().enumerate().for_each(|(at, value)| *value = (at % 13) as f32 * 0.1 - 0.6);
    let stride = right.stride();
    let mut c = vec![0f32; rows * stride];
    let mut panels = Panels::default();
    let mut seconds = |weights: &[Weight]| {
        let mut once = |times: usize| {
            let began = Instant::now();
            for weight in weights.iter().cycle().take(times) {
                let right = panels.pack(isa, precision, right.values(), stride);
                let left = if transposed { Left::Transposed(weight) } else { Left::Weight(weight) };
                product(isa, &mut c, stride, false, &[Term { left, right }]);
            }
            began.elapsed().as_secs_f64() / times as f64
        };
        once(1);
        (0..3).map(|_| once(times)).fold(f64::INFINITY, f64::min)
    };
    let values: Vec<f32> = (0..out * width).map(|at| (at % 101) as f32 * 0.01 - 0.5).collect();
    // A pass meets each weight once, so it comes from memory and not from a cache.
    let several = |make: &dyn Fn() -> Weight| -> Vec<Weight> {
        let bytes = make().bytes();
        (0..BEYOND_CACHES.div_ceil(bytes)).map(|_| make()).collect()
    };
    let dense = several(&|| Weight::new(&values, out, width, precision));
    let before = seconds(&dense);
    let dense_only = std::env::args().any(|argument| argument == "dense");
    let packed: Vec<(BlockFormat, f64)> = BlockFormat::ALL
        .into_iter()
        .filter(|_| !dense_only)
        .filter_map(|format| {
            // Scales of one: what the numbers are does not matter.
            let bytes = vec![0x3c; out * format.bytes_of(width)?];
            let packed = several(&|| Weight::packed(format, bytes.clone(), out, width, precision));
            Some((format, seconds(&packed)))
        })
        .collect();
    let best = before.min(seconds(&dense));
    print!(
        "{precision:?} [{out}, {width}]{} x {tokens}: dense {:.0} GFLOP/s",
        if transposed { " transposed" } else { "" },
        operations / best / 1e9
    );
    for (format, time) in packed {
        print!(", {format} {:.2}", best / time);
    }
    println!();
}
