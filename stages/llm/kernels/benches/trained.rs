//! Products with weights that are trained, and their gradients, beside products with frozen weights in f32: `cargo bench -p refit-kernels --bench trained`.
#![allow(clippy::print_stdout, reason = "the result of a bench is what it prints")]

use std::time::Instant;

use refit_kernels::{
    Isa, Lanes, Left, Panels, Precision, Right, Rows, Term, TokenPanels, Weight, product, weight_gradient,
};

/// Rows and columns of layers of `SmolLM2-135M`.
const SHAPES: [(usize, usize); 3] = [(1536, 576), (576, 1536), (576, 576)];
/// A batch of short rows, and of long ones.
const TOKENS: [usize; 2] = [272, 1200];
/// Measurements, of which the fastest counts.
const SAMPLES: usize = 15;
/// Bytes of weights that no cache holds.
const BEYOND_CACHES: usize = 160 << 20;

fn main() {
    let isa = Isa::best();
    println!("{} on {} threads, GFLOP/s", isa.name(), rayon::current_num_threads());
    for (out, width) in SHAPES {
        for tokens in TOKENS {
            case(isa, out, width, tokens);
        }
    }
}

fn case(isa: Isa, out: usize, width: usize, tokens: usize) {
    let lanes = |features: usize| {
        let mut lanes = Lanes::zeros(features, tokens);
        lanes.values_mut().iter_mut().enumerate().for_each(|(at, value)| *value = (at % 13) as f32 * 0.1 - 0.6);
        lanes
    };
    let (x, y) = (lanes(width), lanes(out));
    let stride = x.stride();
    // A pass meets each weight once, so it comes from memory and not from a cache.
    let count = BEYOND_CACHES.div_ceil(size_of::<f32>() * out * width);
    let values = || -> Vec<f32> { (0..out * width).map(|at| (at % 101) as f32 * 0.01 - 0.5).collect() };
    let mut trained: Vec<Vec<f32>> = (0..count).map(|_| values()).collect();
    let frozen: Vec<Weight> = trained.iter().map(|values| Weight::new(values, out, width, Precision::F32)).collect();

    let rate = |work: &mut dyn FnMut()| {
        let mut once = || {
            let began = Instant::now();
            work();
            began.elapsed().as_secs_f64()
        };
        once();
        let fastest = (0..SAMPLES).map(|_| once()).fold(f64::INFINITY, f64::min);
        2.0 * (out * width * tokens * count) as f64 / fastest / 1e9
    };
    let mut panels = Panels::default();
    let mut of_frozen = |left: fn(&Weight) -> Left<'_>, from: &Lanes, features: usize| {
        let mut to = lanes(features);
        rate(&mut || {
            for weight in &frozen {
                let right = panels.pack(isa, Precision::F32, from.values(), stride);
                product(isa, to.values_mut(), stride, false, &[Term { left: left(weight), right }]);
            }
        })
    };
    let there = of_frozen(|weight| Left::Weight(weight), &x, out);
    let back = of_frozen(|weight| Left::Transposed(weight), &y, width);
    print!("[{out}, {width}] x {tokens}: frozen {there:.0} and back {back:.0}");

    let of_trained = |left: fn(&[f32], usize) -> Left<'_>, from: &Lanes, features: usize| {
        let mut to = lanes(features);
        let right = Right::Lanes { rows: from.values(), stride };
        rate(&mut || {
            for values in &trained {
                product(isa, to.values_mut(), stride, false, &[Term { left: left(values, out), right }]);
            }
        })
    };
    let there = of_trained(|values, rows| Left::matrix(values, rows), &x, out);
    let back = of_trained(|values, rows| Left::transposed(values, rows), &y, width);
    let mut by_token = TokenPanels::default();
    let gradient = rate(&mut || {
        for to in &mut trained {
            by_token.fill(isa, Rows::from(&x));
            weight_gradient(isa, y.values(), Rows::from(&x), &by_token, to);
        }
    });
    println!("; trained {there:.0} and back {back:.0}, gradient {gradient:.0}");
}
