use super::{assert_close, lanes, numbers, slope};
use crate::{
    Isa, Lanes, cap, cross_entropy, geglu, lay_out, norm,
    pointwise::{self, Pointwise},
    rotary::{Angles, Pairs, rotate},
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
        lay_out(isa, &swiglu::gated(&both), &mut y);
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
        swiglu::backward(isa, &mut gradient, &dy, Default::default());
        for at in [3, 11 * both.stride() + 18, 20 * both.stride() + 1, 33 * both.stride()] {
            let expected = slope(&mut both, at, |both| {
                let mut y = Lanes::default();
                lay_out(isa, &swiglu::gated(both), &mut y);
                dot(&y, &dy)
            });
            let found = f64::from(gradient.values()[at]);
            assert!((found - expected).abs() < 2e-3, "{}: {found} {expected}", isa.name());
        }
    }
}

#[test]
fn activations_and_their_gradients() {
    // ∫ of the bell from 0, by many small steps.
    let phi = |x: f64| {
        let (steps, bell) = (2000, |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt());
        0.5 + (0..steps).map(|at| bell(x * (f64::from(at) + 0.5) / f64::from(steps))).sum::<f64>() * x
            / f64::from(steps)
    };
    let forms: [(Pointwise, &dyn Fn(f64) -> f64); 6] = [
        (Pointwise::Relu, &|x| x.max(0.0)),
        (Pointwise::LeakyRelu, &|x| if x > 0.0 { x } else { 0.01 * x }),
        (Pointwise::Silu, &|x| x / (1.0 + (-x).exp())),
        (Pointwise::Gelu, &|x| x * phi(x)),
        (Pointwise::GeluTanh, &|x| 0.5 * x * (1.0 + (0.797_884_560_8 * (x + 0.044_715 * x.powi(3))).tanh())),
        (Pointwise::Tanh, &f64::tanh),
    ];
    let mut x = lanes(7, 19, 1);
    x.values_mut().iter_mut().for_each(|x| *x *= 5.0);
    let (at_zero, at) = (2 * x.stride() + 3, [3, 2 * x.stride() + 18, 6 * x.stride()]);
    x.values_mut()[at_zero] = 0.0;
    let dy = lanes(7, 19, 2);
    for (act, formula) in forms {
        for isa in Isa::available() {
            let what = format!("{act:?} {}", isa.name());
            let mut y = Lanes::default();
            pointwise::forward(act, isa, &x, &mut y);
            for feature in 0..7 {
                let expected: Vec<f64> = x.row(feature)[..19].iter().map(|x| formula(f64::from(*x))).collect();
                assert_close(&y.row(feature)[..19], &expected, 1e-6, &what);
            }
            let mut gradient = dy.clone();
            pointwise::backward(act, isa, &x, &mut gradient);
            for at in at {
                let (value, dy) = (f64::from(x.values()[at]), f64::from(dy.values()[at]));
                let expected = dy * (formula(value + 1e-5) - formula(value - 1e-5)) / 2e-5;
                let found = f64::from(gradient.values()[at]);
                assert!((found - expected).abs() < 1e-5, "{what}: {found} {expected}");
            }
            if act == Pointwise::Relu {
                assert!(gradient.values()[at_zero].abs() < f32::MIN_POSITIVE, "{what}: 0, as torch has it");
            }
        }
    }
}

#[test]
fn turning_back_undoes_a_turn_and_a_turn_is_the_formula() {
    let (heads, width, tokens) = (3, 8, 10);
    let positions: Vec<u32> = (0..tokens as u32).map(|t| t * 7 % 9).collect();
    let x = lanes(heads * width, tokens, 1);
    let frequencies = [1.0, 0.3, 0.01, 0.5];
    for (count, pairs) in [(4, Pairs::Halves), (3, Pairs::Halves), (2, Pairs::Neighbours), (0, Pairs::Halves)] {
        let frequencies = &frequencies[..count];
        let angles = Angles::new(frequencies, 1.25, (width, pairs), &positions, x.stride());
        for isa in Isa::available() {
            let mut turned = x.clone();
            rotate(isa, turned.values_mut(), &angles, 0.5, false);
            for head in 0..heads {
                let at = |lanes: &Lanes, feature: usize, token: usize| lanes.row(head * width + feature)[token];
                for (token, position) in positions.iter().enumerate() {
                    for (pair, frequency) in frequencies.iter().enumerate() {
                        let places = match pairs {
                            Pairs::Halves => [pair, pair + count],
                            Pairs::Neighbours => [2 * pair, 2 * pair + 1],
                        };
                        let [a, b] = places.map(|f| f64::from(at(&x, f, token)));
                        let (sin, cos) = (f64::from(*position) * f64::from(*frequency)).sin_cos();
                        let expected = [0.625 * (a * cos - b * sin), 0.625 * (b * cos + a * sin)];
                        assert_close(&places.map(|f| at(&turned, f, token)), &expected, 1e-6, isa.name());
                    }
                    for feature in 2 * count..width {
                        assert!((at(&turned, feature, token) - 0.5 * at(&x, feature, token)).abs() < 1e-7);
                    }
                }
            }
            rotate(isa, turned.values_mut(), &angles, 2.0, true);
            // A turn and its way back are the magnitude squared.
            for head in 0..heads {
                for feature in 0..width {
                    let times = if feature < 2 * count { 1.25 * 1.25 } else { 1.0 };
                    let row = head * width + feature;
                    let expected: Vec<f64> = x.row(row)[..tokens].iter().map(|v| f64::from(*v) * times).collect();
                    assert_close(&turned.row(row)[..tokens], &expected, 1e-6, isa.name());
                }
            }
        }
    }
}

#[test]
fn norms_of_heads_and_their_gradient() {
    let (heads, width, tokens) = (3, 10, 21);
    let mut x = lanes(heads * width, tokens, 1);
    let (weight, dy, stride) = (numbers(width, 2), lanes(heads * width, tokens, 3), x.stride());
    for isa in Isa::available() {
        let normed = |x: &Lanes| {
            let mut y = Lanes::zeros(heads * width, tokens);
            let inverse = norm::heads_forward(isa, x.values(), stride, &weight, 1e-5, y.values_mut());
            (y, inverse)
        };
        let (y, inverse) = normed(&x);
        for head in 0..heads {
            for token in 0..tokens {
                let of =
                    |lanes: &Lanes| -> Vec<f32> { (0..width).map(|f| lanes.row(head * width + f)[token]).collect() };
                let square: f64 = of(&x).iter().map(|v| f64::from(*v).powi(2)).sum();
                let scale = 1.0 / (square / width as f64 + 1e-5).sqrt();
                let expected: Vec<f64> =
                    of(&x).iter().zip(&weight).map(|(v, w)| f64::from(*v) * scale * f64::from(*w)).collect();
                assert_close(&of(&y), &expected, 1e-6, isa.name());
            }
        }
        let mut dx = Lanes::zeros(heads * width, tokens);
        norm::heads_backward(isa, x.values(), stride, &weight, &inverse, dy.values(), dx.values_mut());
        for at in [0, 5, 13 * stride + 20, 29 * stride + 7] {
            let expected = slope(&mut x, at, |x| dot(&normed(x).0, &dy));
            let found = f64::from(dx.values()[at]);
            assert!((found - expected).abs() < 1e-3, "{}: {found} {expected}", isa.name());
        }
    }
}

#[test]
fn geglu_and_its_gradient() {
    let (features, tokens) = (34, 19);
    let mut both = lanes(features, tokens, 1);
    both.values_mut().iter_mut().for_each(|x| *x *= 6.0);
    let dy = lanes(features / 2, tokens, 2);
    for isa in Isa::available() {
        let mut y = Lanes::default();
        lay_out(isa, &geglu::gated(&both), &mut y);
        for feature in 0..features / 2 {
            let expected: Vec<f64> = (0..tokens)
                .map(|token| {
                    let x = f64::from(both.row(feature)[token]);
                    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                    0.5 * x * (1.0 + inner.tanh()) * f64::from(both.row(features / 2 + feature)[token])
                })
                .collect();
            assert_close(&y.row(feature)[..tokens], &expected, 1e-6, isa.name());
        }
        let mut gradient = both.clone();
        geglu::backward(isa, &mut gradient, &dy, Default::default());
        for at in [3, 11 * both.stride() + 18, 20 * both.stride() + 1, 33 * both.stride()] {
            let expected = slope(&mut both, at, |both| {
                let mut y = Lanes::default();
                lay_out(isa, &geglu::gated(both), &mut y);
                dot(&y, &dy)
            });
            let found = f64::from(gradient.values()[at]);
            assert!((found - expected).abs() < 2e-3, "{}: {found} {expected}", isa.name());
        }
    }
}

#[test]
fn capped_numbers_and_their_gradient() {
    let x: Vec<f32> = (-160..160).map(|i| i as f32 * 0.1).chain([1e-4, -3e30, 1e30, 0.0]).cycle().take(336).collect();
    for isa in Isa::available() {
        let mut y = x.clone();
        cap::forward(isa, &mut y, 2.5);
        let expected: Vec<f64> = x.iter().map(|x| 2.5 * (f64::from(*x) / 2.5).tanh()).collect();
        for (found, expected) in y.iter().zip(&expected) {
            assert!(
                (f64::from(*found) - expected).abs() <= 4e-7 * expected.abs(),
                "{}: {found} {expected}",
                isa.name()
            );
        }
        let mut d = vec![0.5f32; x.len()];
        cap::backward(isa, &y, 2.5, &mut d);
        let expected: Vec<f64> = x.iter().map(|x| 0.5 * (1.0 - (f64::from(*x) / 2.5).tanh().powi(2))).collect();
        assert_close(&d, &expected, 1e-6, isa.name());
        let mut bad = vec![f32::NAN; 16];
        cap::forward(isa, &mut bad, 1.0);
        assert!(bad.iter().all(|value| value.is_nan()), "{}", isa.name());
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

/// Of a nearly certain token, what it lacks of certainty is the sum of many numbers that are nothing beside 1.
#[test]
fn a_nearly_certain_token_keeps_its_small_loss_and_slope() {
    let (vocabulary, tokens, target) = (40_000, 5, 1234);
    let mut logits = lanes(vocabulary, tokens, 1);
    logits.values_mut().iter_mut().for_each(|x| *x += 10.3);
    logits.rows_mut(target..target + 1).fill(29.7);
    for isa in Isa::available() {
        let mut gradient = logits.clone();
        let losses = cross_entropy::losses(isa, &mut gradient, &[target as u32; 5], Some(0.25));
        for (token, loss) in losses.into_iter().enumerate() {
            let of = |entry: usize| f64::from(logits.row(entry)[token]);
            let others: f64 = (0..vocabulary).filter(|e| *e != target).map(|e| (of(e) - of(target)).exp()).sum();
            assert!(others < 3e-4);
            assert!((loss - others.ln_1p()).abs() < 1e-3 * others, "{}: {loss} {others}", isa.name());
            let (slope, expected) = (f64::from(gradient.row(target)[token]), -0.25 * others / (1.0 + others));
            assert!((slope - expected).abs() < 1e-3 * expected.abs(), "{}: {slope} {expected}", isa.name());
        }
    }
}

#[test]
fn the_most_likely_entry_is_the_first_of_the_largest() {
    let (vocabulary, tokens) = (2500, 18);
    let mut logits = lanes(vocabulary, tokens, 1);
    for (entry, value) in [(7, 3.0), (1500, 3.0), (2499, 2.9)] {
        logits.rows_mut(entry..entry + 1).fill(value);
    }
    logits.rows_mut(2499..2500)[5] = 4.0;
    for isa in Isa::available() {
        let found = cross_entropy::most_likely(isa, &logits);
        assert_eq!(found.len(), tokens);
        assert!(found.iter().enumerate().all(|(token, entry)| *entry == if token == 5 { 2499 } else { 7 }));
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
        lay_out(isa, &swiglu::gated(&both), &mut y);
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
