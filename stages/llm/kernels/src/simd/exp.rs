use super::Simd;

/// eˣ to about 2 units in the last place; beyond ±87 it is held at e^±87, which is as good as 0 and ∞ here.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    // x = n·ln 2 + r with |r| ≤ ln 2 / 2; ln 2 in two parts, so that r loses nothing. The polynomial is that of Cephes.
    // In this order of arguments NaN stays NaN.
    let x = s.max(s.splat(-87.0), s.min(s.splat(87.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = s.fma(p, r, s.splat(c));
    }
    let p = s.fma(p, s.mul(r, r), s.add(r, s.splat(1.0)));
    s.scale(p, n)
}
