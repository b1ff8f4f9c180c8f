#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use crate::{BlockFormat, NF4_CODE, quantize};

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
