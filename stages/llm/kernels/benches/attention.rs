//! Attention of packed rows, forward and back, in the shapes of `SmolLM2-135M`: `cargo bench -p refit-kernels --bench attention`.
//!
//! Operations are those of its products over the keys that a token sees: two forward, five on the way back.
#![allow(clippy::print_stdout, reason = "the result of a bench is what it prints")]

use std::time::Instant;

use refit_kernels::{
    Isa, Lanes,
    attention::{Past, Scores, Segment, Shape, backward, forward},
};

const SHAPE: Shape = Shape { heads: 9, key_heads: 3, width: 64 };
/// Tokens that rows share, rows, and tokens of each.
const CASES: [(usize, usize, usize); 4] = [(0, 8, 58), (36, 8, 22), (0, 4, 300), (0, 1, 1024)];
/// Floating-point operations that one measurement should take.
const WORK: f64 = 1e10;

fn main() {
    let isa = Isa::best();
    println!("{} on {} threads", isa.name(), rayon::current_num_threads());
    for (shared, rows, length) in CASES {
        let mut segments = vec![Segment { start: 0, length: shared, before: 0 }];
        segments.extend((0..rows).map(|row| Segment { start: shared + row * length, length, before: shared }));
        let tokens = shared + rows * length;
        let seen: usize = segments.iter().map(|s| s.length * s.before + s.length * (s.length + 1) / 2).sum();
        let product = 2.0 * (seen * SHAPE.heads * SHAPE.width) as f64;
        let mut qkv = Lanes::zeros(SHAPE.features(), tokens);
        qkv.values_mut().iter_mut().enumerate().for_each(|(at, value)| *value = (at % 13) as f32 * 0.1 - 0.6);
        let mut output = Lanes::default();
        let log_sums = forward(isa, SHAPE, Scores::default(), &segments, &qkv, &mut output);
        let d_output = output.clone();
        let mut again = Lanes::default();
        let times = (WORK / product / 5.0).ceil() as usize;
        let seconds = |once: &mut dyn FnMut()| {
            let mut fastest = f64::INFINITY;
            for _ in 0..5 {
                let began = Instant::now();
                (0..times).for_each(|_| once());
                fastest = fastest.min(began.elapsed().as_secs_f64() / times as f64);
            }
            fastest
        };
        let there = seconds(&mut || {
            forward(isa, SHAPE, Scores::default(), &segments, &qkv, &mut again);
        });
        let past = Past { qkv: &qkv, log_sums: &log_sums, d_output: &d_output };
        let back = seconds(&mut || backward(isa, SHAPE, Scores::default(), &segments, past, &mut again));
        println!(
            "{shared} + {rows} x {length}: forward {:.0} us, {:.0} GFLOP/s; back {:.0} us, {:.0} GFLOP/s",
            there * 1e6,
            2.0 * product / there / 1e9,
            back * 1e6,
            5.0 * product / back / 1e9
        );
    }
}
