use proptest::prelude::*;

use super::{assert_close, lanes, numbers};
use crate::{
    Isa, Lanes,
    attention::{Past, Scores, Segment, Shape, backward, forward},
    cached::{Pages, attend},
};

/// Rows with a shared beginning: it first, and each row sees it and itself.
fn layout(before: usize, lengths: &[usize]) -> (Vec<Segment>, usize) {
    let mut segments = Vec::new();
    if before > 0 {
        segments.push(Segment { start: 0, length: before, before: 0 });
    }
    let mut start = before;
    for &length in lengths {
        segments.push(Segment { start, length, before });
        start += length;
    }
    (segments, start)
}

/// What a token sees, and how far off each is.
fn seen(segments: &[Segment], token: usize, window: Option<usize>) -> Vec<(usize, usize)> {
    let own = segments.iter().find(|s| (s.start..s.start + s.length).contains(&token)).unwrap();
    let all: Vec<usize> = (0..own.before).chain(own.start..=token).collect();
    let last = all.len() - 1;
    let far = all.into_iter().enumerate().map(|(place, key)| (key, last - place));
    far.filter(|(_, distance)| window.is_none_or(|window| *distance < window)).collect()
}

/// Output and the gradient by queries, keys and values, by the definition.
fn plainly(shape: Shape, of_scores: Scores<'_>, segments: &[Segment], qkv: &Lanes, d: &Lanes) -> (Vec<f64>, Vec<f64>) {
    let (width, stride) = (shape.width, qkv.stride());
    let (mut output, mut slopes) = (vec![0f64; shape.heads * width * stride], vec![0f64; shape.features() * stride]);
    let at = |feature: usize, token: usize| f64::from(qkv.row(feature)[token]);
    for head in 0..shape.heads {
        let key_head = head / (shape.heads / shape.key_heads);
        let [q, k, v] =
            [head, shape.heads + key_head, shape.heads + shape.key_heads + key_head].map(|head| head * width);
        for token in 0..qkv.tokens() {
            let (keys, distances): (Vec<usize>, Vec<usize>) =
                seen(segments, token, of_scores.window).into_iter().unzip();
            let cap = of_scores.cap.map(f64::from);
            let meet = |key: &usize| (0..width).map(|f| at(q + f, token) * at(k + f, *key)).sum::<f64>();
            let tanhs: Vec<f64> = keys.iter().map(|key| cap.map_or(0.0, |cap| (meet(key) / cap).tanh())).collect();
            let takes = |distance: usize| of_scores.slopes.map_or(0.0, |s| f64::from(s[head]) * distance as f64);
            let scores: Vec<f64> = (0..keys.len())
                .map(|i| (cap.map_or_else(|| meet(&keys[i]), |cap| cap * tanhs[i]) - takes(distances[i])).exp())
                .collect();
            let sum: f64 = scores.iter().sum();
            let p: Vec<f64> = scores.iter().map(|score| score / sum).collect();
            for f in 0..width {
                output[(q + f) * stride + token] = keys.iter().zip(&p).map(|(key, p)| p * at(v + f, *key)).sum();
            }
            let towards: Vec<f64> = keys
                .iter()
                .map(|key| (0..width).map(|f| f64::from(d.row(q + f)[token]) * at(v + f, *key)).sum())
                .collect();
            let mean: f64 = towards.iter().zip(&p).map(|(t, p)| t * p).sum();
            for (((key, p), towards), tanh) in keys.iter().zip(&p).zip(&towards).zip(&tanhs) {
                let slope = p * (towards - mean) * (1.0 - tanh * tanh);
                for f in 0..width {
                    slopes[(q + f) * stride + token] += slope * at(k + f, *key);
                    slopes[(k + f) * stride + key] += slope * at(q + f, token);
                    slopes[(v + f) * stride + key] += p * f64::from(d.row(q + f)[token]);
                }
            }
        }
    }
    (output, slopes)
}

fn assert_is_attention(shape: Shape, of_scores: Scores<'_>, before: usize, lengths: &[usize], seed: u64) {
    let (segments, tokens) = layout(before, lengths);
    let qkv = lanes(shape.features(), tokens, seed);
    let d = lanes(shape.heads * shape.width, tokens, seed + 1);
    let (expected, slopes) = plainly(shape, of_scores, &segments, &qkv, &d);
    for isa in Isa::available() {
        let (mut output, mut gradient) = (Lanes::default(), Lanes::default());
        let log_sums = forward(isa, shape, of_scores, &segments, &qkv, &mut output);
        assert_close(output.values(), &expected, 1e-5, isa.name());
        let past = Past { qkv: &qkv, log_sums: &log_sums, d_output: &d };
        backward(isa, shape, of_scores, &segments, past, &mut gradient);
        assert_close(gradient.values(), &slopes, 1e-5, isa.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn attention_and_its_gradient_are_the_definition(
        key_heads in 1usize..4, stack in 1usize..4, half in 1usize..6, before in 0usize..20,
        lengths in prop::collection::vec(1usize..40, 1..5), seed in 1u64..1000,
        window in prop::option::of(1usize..30), cap in prop::option::of(0.3f32..4.0), slope in prop::option::of(0.01f32..0.5),
    ) {
        let shape = Shape { heads: key_heads * stack, key_heads, width: 2 * half };
        let slopes: Option<Vec<f32>> = slope.map(|slope| (1..=shape.heads).map(|head| slope / head as f32).collect());
        assert_is_attention(shape, Scores { window, cap, slopes: slopes.as_deref() }, before, &lengths, seed);
    }
}

#[test]
fn long_rows_go_in_blocks() {
    let plain = Scores::default();
    assert_is_attention(Shape { heads: 3, key_heads: 1, width: 8 }, plain, 17, &[150, 70], 3);
    assert_is_attention(Shape { heads: 2, key_heads: 2, width: 4 }, plain, 0, &[401], 4);
    let all = Scores { window: Some(50), cap: Some(1.5), slopes: Some(&[0.1, 0.02, 0.3]) };
    assert_is_attention(Shape { heads: 3, key_heads: 1, width: 8 }, all, 17, &[150, 70], 5);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let shape = Shape { heads: 6, key_heads: 2, width: 8 };
    let (segments, tokens) = layout(9, &[30, 12, 44, 5]);
    let mut qkv = lanes(shape.features(), tokens, 1);
    qkv.values_mut().iter_mut().for_each(|value| *value *= 3.0);
    let d = lanes(shape.heads * shape.width, tokens, 2);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (mut output, mut gradient) = (Lanes::default(), Lanes::default());
            let log_sums = forward(Isa::best(), shape, Scores::default(), &segments, &qkv, &mut output);
            let past = Past { qkv: &qkv, log_sums: &log_sums, d_output: &d };
            backward(Isa::best(), shape, Scores::default(), &segments, past, &mut gradient);
            (output.values().to_vec(), gradient.values().to_vec())
        })
    };
    let one = run(1);
    assert!([2, 3, 5].into_iter().all(|threads| run(threads) == one));
    assert_eq!(numbers(3, 1).len(), 3);
}

/// Each row's last token sees the same as in one pass over all tokens.
#[test]
fn a_token_over_cached_keys_is_the_last_of_a_pass() {
    let plain = Scores::default();
    let slopes = [0.1, 0.02, 0.3, 0.05, 0.2, 0.01];
    let all = |window| Scores { window: Some(window), cap: Some(1.5), slopes: Some(&slopes) };
    for (shape, of_scores, before) in [
        (Shape { heads: 6, key_heads: 2, width: 8 }, plain, 9),
        (Shape { heads: 5, key_heads: 1, width: 6 }, plain, 40),
        (Shape { heads: 2, key_heads: 2, width: 20 }, plain, 0),
        (Shape { heads: 6, key_heads: 2, width: 8 }, all(20), 9),
        (Shape { heads: 5, key_heads: 1, width: 6 }, all(33), 40),
        (Shape { heads: 6, key_heads: 3, width: 4 }, all(1), 3),
    ] {
        let (segments, tokens) = layout(before, &[1, 30, 16, 47]);
        let rows: Vec<Segment> = segments.iter().copied().filter(|segment| segment.before == before).collect();
        let rows = &rows[rows.len() - 4..];
        let last: Vec<u32> = rows.iter().map(|row| (row.start + row.length - 1) as u32).collect();
        let qkv = lanes(shape.features(), tokens, 5);
        for isa in Isa::available() {
            let (mut whole, mut found) = (Lanes::default(), Lanes::default());
            forward(isa, shape, of_scores, &segments, &qkv, &mut whole);
            let (expected, now) = (gathered(&whole, &last), gathered(&qkv, &last));
            let mut shared = Pages::default();
            shared.extend(shape, &qkv, 0..before);
            let own: Vec<Pages> = rows
                .iter()
                .map(|row| {
                    // At once, and one by one.
                    let mut pages = Pages::default();
                    let end = row.start + row.length;
                    let middle = row.start + row.length / 2;
                    pages.extend(shape, &qkv, row.start..middle);
                    (middle..end).for_each(|token| pages.extend(shape, &qkv, token..token + 1));
                    assert_eq!(pages.tokens(), row.length);
                    pages
                })
                .collect();
            let seen: Vec<[&Pages; 2]> = own.iter().map(|own| [&shared, own]).collect();
            attend(isa, shape, of_scores, &now, &seen, &mut found);
            for feature in 0..shape.heads * shape.width {
                let expected: Vec<f64> = expected.row(feature)[..4].iter().map(|value| f64::from(*value)).collect();
                assert_close(&found.row(feature)[..4], &expected, 1e-5, isa.name());
            }
            // What else is computed at the same time changes no bit.
            for (row, pages) in seen.iter().enumerate() {
                let (one, mut alone) = (gathered(&qkv, &last[row..=row]), Lanes::default());
                attend(isa, shape, of_scores, &one, &[*pages], &mut alone);
                let same = |feature| alone.row(feature)[0].to_bits() == found.row(feature)[row].to_bits();
                assert!((0..shape.heads * shape.width).all(same));
            }
        }
    }
}

fn gathered(from: &Lanes, tokens: &[u32]) -> Lanes {
    let mut to = Lanes::default();
    to.gather(from, tokens);
    to
}
