use super::{assert_close, lanes, numbers, slope};
use crate::{
    Isa, Lanes, cross_entropy, norm,
    rotary::{Angles, rotate},
    swiglu,
};

fn dot(lanes: &Lanes, other: &Lanes) -> f64 {
    (0..lanes.features())
        .flat_map(|row| lanes.row(row)[..lanes.tokens()].iter().zip(&other.row(row)[..lanes.tokens()]))
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

#[test]
fn norm_and_its_gradient() {
    let (features, tokens) = (70, 21);
    let mut x = lanes(features, tokens, 1);
    let weight = numbers(features, 2);
    let dy = lanes(features, tokens, 3);
    for isa in Isa::available() {
        let mut y = Lanes::default();
        let inverse = norm::forward(isa, &x, &weight, 1e-5, &mut y);
        for token in 0..tokens {
            let square: f64 = (0..features).map(|f| f64::from(x.row(f)[token]).powi(2)).sum();
            let scale = 1.0 / (square / features as f64 + 1e-5).sqrt();
            let expected: Vec<f64> =
                (0..features).map(|f| f64::from(x.row(f)[token]) * scale * f64::from(weight[f])).collect();
            let found: Vec<f32> = (0..features).map(|f| y.row(f)[token]).collect();
            assert_close(&found, &expected, 1e-6, isa.name());
        }
        let mut dx = lanes(features, tokens, 4);
        let before = dx.clone();
        norm::backward(isa, &x, &weight, &inverse, &dy, &mut dx);
        for at in [0, 5, 33 * x.stride() + 20, 69 * x.stride() + 7] {
            let expected = slope(&mut x, at, |x| {
                let mut y = Lanes::default();
                norm::forward(isa, x, &weight, 1e-5, &mut y);
                dot(&y, &dy)
            });
            let found = f64::from(dx.values()[at] - before.values()[at]);
            assert!((found - expected).abs() < 1e-3, "{}: {found} {expected}", isa.name());
        }
    }
}

#[test]
fn swiglu_and_its_gradient() {
    let (features, tokens) = (34, 19);
    let mut both = lanes(features, tokens, 1);
    both.values_mut().iter_mut().for_each(|x| *x *= 6.0);
    let dy = lanes(features / 2, tokens, 2);
    for isa in Isa::available() {
        let mut y = Lanes::default();
        swiglu::forward(isa, &both, &mut y);
        for feature in 0..features / 2 {
            let expected: Vec<f64> = (0..tokens)
                .map(|token| {
                    let gate = f64::from(both.row(feature)[token]);
                    gate / (1.0 + (-gate).exp()) * f64::from(both.row(features / 2 + feature)[token])
                })
                .collect();
            assert_close(&y.row(feature)[..tokens], &expected, 1e-6, isa.name());
        }
        let mut gradient = both.clone();
        swiglu::backward(isa, &mut gradient, &dy);
        for at in [3, 11 * both.stride() + 18, 20 * both.stride() + 1, 33 * both.stride()] {
            let expected = slope(&mut both, at, |both| {
                let mut y = Lanes::default();
                swiglu::forward(isa, both, &mut y);
                dot(&y, &dy)
            });
            let found = f64::from(gradient.values()[at]);
            assert!((found - expected).abs() < 2e-3, "{}: {found} {expected}", isa.name());
        }
    }
}

#[test]
fn turning_back_undoes_a_turn_and_a_turn_is_the_formula() {
    let (heads, width, tokens) = (3, 6, 10);
    let positions: Vec<u32> = (0..tokens as u32).map(|t| t * 7 % 9).collect();
    let x = lanes(heads * width, tokens, 1);
    let frequencies = [1.0, 0.3, 0.01];
    let angles = Angles::new(&frequencies, &positions, x.stride());
    for isa in Isa::available() {
        let mut turned = x.clone();
        rotate(isa, turned.values_mut(), &angles, 0.5, false);
        for head in 0..heads {
            for (pair, frequency) in frequencies.iter().enumerate() {
                for (token, position) in positions.iter().enumerate() {
                    let [a, b] = [pair, pair + width / 2].map(|f| f64::from(x.row(head * width + f)[token]));
                    let (sin, cos) = (f64::from(*position) * f64::from(*frequency)).sin_cos();
                    let found = [pair, pair + width / 2].map(|f| turned.row(head * width + f)[token]);
                    assert_close(&found, &[0.5 * (a * cos - b * sin), 0.5 * (b * cos + a * sin)], 1e-6, isa.name());
                }
            }
        }
        rotate(isa, turned.values_mut(), &angles, 2.0, true);
        assert_close(turned.values(), &x.values().iter().map(|v| f64::from(*v)).collect::<Vec<_>>(), 1e-6, isa.name());
    }
}

#[test]
fn cross_entropy_and_its_gradient() {
    let (vocabulary, tokens) = (2500, 18);
    let mut logits = lanes(vocabulary, tokens, 1);
    logits.values_mut().iter_mut().for_each(|x| *x *= 20.0);
    let targets: Vec<u32> = (0..tokens as u32).map(|t| t * 139 % 2500).collect();
    for isa in Isa::available() {
        let mut gradient = logits.clone();
        let losses = cross_entropy::losses(isa, &mut gradient, &targets, Some(0.25));
        for (token, target) in targets.iter().enumerate() {
            let of = |entry: usize| f64::from(logits.row(entry)[token]);
            let most = (0..vocabulary).map(of).fold(f64::MIN, f64::max);
            let log_sum = most + (0..vocabulary).map(|e| (of(e) - most).exp()).sum::<f64>().ln();
            let expected = log_sum - of(*target as usize);
            assert!((losses[token] - expected).abs() < 1e-5 * expected.abs().max(1.0), "{}", isa.name());
            let found: Vec<f32> = (0..vocabulary).map(|e| gradient.row(e)[token]).collect();
            let slopes: Vec<f64> = (0..vocabulary)
                .map(|e| 0.25 * ((of(e) - log_sum).exp() - f64::from(u8::from(e == *target as usize))))
                .collect();
            assert_close(&found, &slopes, 1e-5, isa.name());
        }
        assert!((0..vocabulary).all(|entry| gradient.row(entry)[tokens..].iter().all(|v| *v == 0.0)));
        assert_eq!(losses, cross_entropy::losses(isa, &mut logits.clone(), &targets, None));
    }
}

#[test]
fn what_is_not_a_number_shows() {
    for isa in Isa::available() {
        let mut logits = lanes(40, 3, 1);
        logits.rows_mut(7..8)[1] = f32::NAN;
        let losses = cross_entropy::losses(isa, &mut logits, &[1, 2, 3], None);
        assert!(losses[0].is_finite() && losses[1].is_nan() && losses[2].is_finite(), "{}: {losses:?}", isa.name());
        let mut both = lanes(2, 3, 1);
        both.values_mut()[1] = f32::NAN;
        let mut y = Lanes::default();
        swiglu::forward(isa, &both, &mut y);
        assert!(y.values()[1].is_nan(), "{}", isa.name());
    }
}

#[test]
fn tokens_are_taken_and_given_back() {
    let all = lanes(5, 20, 1);
    let chosen = [3, 19, 3, 0];
    let mut some = Lanes::default();
    some.gather(&all, &chosen);
    for feature in 0..5 {
        let expected: Vec<f32> = chosen.iter().map(|token| all.row(feature)[*token as usize]).collect();
        assert_eq!(some.row(feature)[..4], expected);
        assert!(some.row(feature)[4..].iter().all(|value| value.to_bits() == expected[3].to_bits()));
    }
    let mut back = all.clone();
    back.add(&all);
    back.scatter(&some, &chosen);
    for feature in 0..5 {
        for token in 0..20 {
            let times = 2.0 + chosen.iter().filter(|chosen| **chosen == token).count() as f32;
            let value = all.row(feature)[token as usize];
            assert!((back.row(feature)[token as usize] - times * value).abs() < 1e-6);
        }
        assert_eq!(back.row(feature)[20..], [0.0; 12]);
    }
}
