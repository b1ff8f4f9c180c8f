use super::Simd;

/// tanh x to a few units in the last place; NaN stays NaN.
///
/// A rational function of x on ±7.99, beyond which f32 knows nothing but ±1 (Eigen's coefficients, `ptanh_float`).
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    let x = s.max(s.splat(-7.998_811_7), s.min(s.splat(7.998_811_7), x));
    let x2 = s.mul(x, x);
    let mut p = s.splat(-2.760_768_4e-16);
    for c in [2.000_188e-13, -8.604_671e-11, 5.122_297_1e-8, 1.485_722_3e-5, 6.372_619_3e-4, 4.893_524_6e-3] {
        p = s.fma(p, x2, s.splat(c));
    }
    let mut q = s.splat(1.198_258_4e-6);
    for c in [1.185_347_1e-4, 2.268_434_7e-3, 4.893_525e-3] {
        q = s.fma(q, x2, s.splat(c));
    }
    s.div(s.mul(x, p), q)
}
