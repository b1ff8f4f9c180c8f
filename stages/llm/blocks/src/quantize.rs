//! Numbers into blocks, rounded as the reference implementations round them.

use half::f16;
use rayon::prelude::*;

use crate::{BlockFormat, NF4_CODE};

/// Packs rows of numbers, if there is a reference for how it is done: `Q4_0` and `Q8_0` as `ggml-quants.c`
/// (`quantize_row_*_ref`), NF4 as bitsandbytes with blocks of 64. `None` for other formats, and for numbers that do not
/// fill whole blocks.
pub fn quantize(format: BlockFormat, values: &[f32]) -> Option<Vec<u8>> {
    let block: fn(&[f32], &mut [u8]) = match format {
        BlockFormat::Q4_0 => q4_0,
        BlockFormat::Q8_0 => q8_0,
        BlockFormat::Nf4 => nf4,
        _ => return None,
    };
    let mut bytes = vec![0; format.bytes_of(values.len())?];
    bytes
        .par_chunks_exact_mut(format.bytes())
        .zip(values.par_chunks_exact(format.values()))
        .for_each(|(bytes, values)| block(values, bytes));
    Some(bytes)
}

fn q8_0(values: &[f32], block: &mut [u8]) {
    let d = values.iter().fold(0f32, |most, value| most.max(value.abs())) / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (q, value) in block[2..].iter_mut().zip(values) {
        *q = (value * inverse).round() as i8 as u8;
    }
}

fn q4_0(values: &[f32], block: &mut [u8]) {
    // The number farthest from zero becomes −8, the end that has one level more.
    let farthest = values.iter().fold(0f32, |far, value| if value.abs() > far.abs() { *value } else { far });
    let d = farthest / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    let level = |value: f32| ((value * inverse + 8.5) as i8).clamp(0, 15) as u8;
    let (low, high) = values.split_at(16);
    for (q, (low, high)) in block[2..].iter_mut().zip(low.iter().zip(high)) {
        *q = level(*low) | level(*high) << 4;
    }
}

fn nf4(values: &[f32], block: &mut [u8]) {
    let absmax = values.iter().fold(0f32, |most, value| most.max(value.abs()));
    let inverse = if absmax == 0.0 { 0.0 } else { 1.0 / absmax };
    let pairs = values.chunks_exact(2).map(|pair| nearest(pair[0] * inverse) << 4 | nearest(pair[1] * inverse));
    let pairs: Vec<u8> = pairs.collect();
    nf4_block(absmax, &pairs, block);
}

/// A block of NF4 from its parts: `pairs` are the 32 bytes of 64 numbers as bitsandbytes has them.
pub fn nf4_block(absmax: f32, pairs: &[u8], block: &mut [u8]) {
    block[..4].copy_from_slice(&absmax.to_le_bytes());
    block[4..].copy_from_slice(pairs);
}

/// The level of NF4 nearest to a number in ±1; the lower one half-way between two, as bitsandbytes' comparisons decide.
fn nearest(value: f32) -> u8 {
    NF4_CODE.windows(2).take_while(|pair| value > f32::midpoint(pair[0], pair[1])).count() as u8
}
