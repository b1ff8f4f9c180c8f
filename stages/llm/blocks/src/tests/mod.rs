#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use crate::{BlockFormat, NF4_CODE, Plane, Planes, STEP_ZERO, Steps, quantize};

/// Written by `reference.py`.
const REFERENCE: &str = include_str!("reference.txt");

/// Title and two lines of each entry.
fn entries() -> Vec<[&'static str; 3]> {
    let lines: Vec<&str> = REFERENCE.lines().collect();
    lines.as_chunks().0.to_vec()
}

fn format(name: &str) -> BlockFormat {
    BlockFormat::ALL.into_iter().find(|format| format.name() == name).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn floats(bits: &str) -> Vec<f32> {
    bits.split(' ').map(|bits| f32::from_bits(u32::from_str_radix(bits, 16).unwrap())).collect()
}

#[test]
fn every_format_decodes_like_the_reference_implementations() {
    let mut seen = 0;
    for [name, packed, expected] in entries() {
        if name.contains(' ') {
            continue;
        }
        let (found, expected) = (format(name).decode(&bytes(packed)), floats(expected));
        assert_eq!(found.len(), expected.len(), "{name}");
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let close = (found - expected).abs() <= 1e-6 * expected.abs().max(1e-3);
            assert!(close, "{name} value {i}: {found} is not {expected}");
        }
        seen += 1;
    }
    assert_eq!(seen, BlockFormat::ALL.len());
}

#[test]
fn numbers_are_packed_bit_for_bit_like_the_reference_implementations() {
    let mut seen = 0;
    for [title, numbers, expected] in entries() {
        if let Some(name) = title.strip_prefix("quantize ") {
            assert_eq!(quantize(format(name), &floats(numbers)).unwrap(), bytes(expected), "{name}");
            seen += 1;
        } else if title == "code NF4" {
            assert_eq!(floats(numbers), NF4_CODE);
            seen += 1;
        }
    }
    assert_eq!(seen, 4);
    assert_eq!(quantize(BlockFormat::Q4K, &[0.0; 256]), None);
    assert_eq!(quantize(BlockFormat::Q8_0, &[0.0; 33]), None);
}

proptest! {
    #[test]
    fn what_was_packed_is_near(numbers in prop::collection::vec(-3f32..3.0, 128)) {
        // Half a step of the coarsest spacing: 2/127, 2/15 and the widest gap of NF4's levels, of the largest number.
        for (format, step) in [(BlockFormat::Q8_0, 0.005), (BlockFormat::Q4_0, 0.13), (BlockFormat::Nf4, 0.16)] {
            let packed = quantize(format, &numbers).unwrap();
            let largest = numbers.iter().fold(0f32, |most, number| most.max(number.abs()));
            for (found, number) in format.decode(&packed).iter().zip(&numbers) {
                prop_assert!((found - number).abs() <= step * largest + 1e-6, "{}: {} {}", format, found, number);
            }
        }
    }
}

/// The integers of a plane.
fn integers(plane: &Plane) -> impl Iterator<Item = u32> + '_ {
    let mask = u32::MAX >> (32 - plane.bits);
    let of_word = move |word: &i32| {
        let word = *word as u32;
        (0..32).step_by(plane.bits).map(move |at| word >> at & mask)
    };
    plane.words.iter().flat_map(of_word)
}

/// A factor for each of so many numbers.
fn factors(steps: &Steps, numbers: usize) -> Vec<f32> {
    let of_runs: Vec<f32> = match &steps.runs {
        Some(runs) => {
            let runs: Vec<f32> = integers(runs).map(|run| run as f32 - f32::from(STEP_ZERO)).collect();
            let each = runs.len() / steps.factors.len();
            runs.iter().enumerate().map(|(at, run)| steps.factors[at / each] * run).collect()
        }
        None => steps.factors.clone(),
    };
    (0..numbers).map(|at| of_runs[at * of_runs.len() / numbers]).collect()
}

fn whole(planes: &Planes, numbers: usize) -> Vec<f32> {
    let mut codes = vec![0; numbers];
    let mut from = 0;
    for plane in &planes.codes {
        codes.iter_mut().zip(integers(plane)).for_each(|(code, bits)| *code |= bits << from);
        from += plane.bits;
    }
    let scale = factors(&planes.scale, numbers);
    let offset = planes.offset.as_ref().map(|offset| factors(offset, numbers));
    let number = |at: usize| {
        let level =
            planes.levels.map_or(codes[at] as f32 - f32::from(planes.zero), |levels| levels[codes[at] as usize]);
        level * scale[at] + offset.as_ref().map_or(0.0, |offset| offset[at])
    };
    (0..numbers).map(number).collect()
}

proptest! {
    #[test]
    fn blocks_taken_apart_hold_the_same_numbers(
        at in 0..BlockFormat::ALL.len(), bytes in proptest::collection::vec(any::<u8>(), 8 * 210),
    ) {
        let format = BlockFormat::ALL[at];
        let mut bytes = bytes[..8 * format.bytes()].to_vec();
        // What could be NaN or infinite, a file may not hold.
        let scales: &[usize] = match format {
            BlockFormat::Q6K => &[209],
            BlockFormat::Q4_1 | BlockFormat::Q5_1 | BlockFormat::Q4K | BlockFormat::Q5K => &[1, 3],
            BlockFormat::Nf4 => &[3],
            _ => &[1],
        };
        for block in bytes.chunks_exact_mut(format.bytes()) {
            for &at in scales {
                block[at] &= 0x3b;
            }
        }
        prop_assert_eq!(whole(&format.planes(&bytes), 8 * format.values()), format.decode(&bytes));
    }
}
