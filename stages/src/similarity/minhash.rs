use super::{Shingles, shingles::mix};

/// Hash functions in a signature.
pub(super) const HASHES: usize = 128;

/// The least hash of a set under each of 128 hash functions: the share of equal entries of two signatures estimates the
/// Jaccard index of the sets (Broder 1997), with a standard error of `sqrt(J·(1−J)/128)`, 0.03 at J = 0.85.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature([u32; HASHES]);

impl Signature {
    /// The signature of a set. Sets of different `kind`s share nothing, even when they hold the same text.
    pub fn of(shingles: &Shingles, kind: u64) -> Self {
        // Affine bijections of 32 bits over shingle hashes that are well mixed already: one multiplication each, and
        // the loop below vectorises.
        let factors: [u32; HASHES] = std::array::from_fn(|i| mix(0x5eed_0000 + i as u64) as u32 | 1);
        let offsets: [u32; HASHES] = std::array::from_fn(|i| (mix(0x5eed_0000 + i as u64) >> 32) as u32);
        let mut least = [u32::MAX; HASHES];
        for &shingle in shingles.hashes() {
            let x = (mix(shingle ^ kind) >> 32) as u32;
            for i in 0..HASHES {
                least[i] = least[i].min(x.wrapping_mul(factors[i]).wrapping_add(offsets[i]));
            }
        }
        Self(least)
    }

    /// The signature of the union of the two sets.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].min(other.0[i])))
    }

    /// The low byte of every `HASHES / entries`-th entry: enough to tell clearly different sets apart.
    pub(super) fn compact(&self, entries: usize) -> impl Iterator<Item = u8> {
        // The low bits of a minimum are as even as those of any hash.
        self.0.iter().step_by(HASHES / entries).map(|&least| mix(u64::from(least)) as u8)
    }

    /// One hash for each band.
    pub(super) fn bands(&self, banding: Banding) -> impl Iterator<Item = u32> {
        self.0
            .chunks_exact(banding.rows)
            .take(banding.bands)
            .map(|band| band.iter().fold(0_u64, |hash, &least| mix(hash ^ u64::from(least)).rotate_left(17)) as u32)
    }
}

/// How a signature is cut for locality-sensitive hashing: two texts meet when all rows of any band agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Banding {
    /// How many bands.
    pub bands: usize,
    /// How many entries in each.
    pub rows: usize,
}

impl Banding {
    /// The coarsest cut that misses at most one of a thousand pairs exactly at the threshold: `(1 − tʳ)ᵇ ≤ 0.001`.
    pub fn for_threshold(threshold: f64) -> Self {
        (1..=HASHES)
            .rev()
            .map(|rows| Self { bands: HASHES / rows, rows })
            .find(|cut| (1.0 - threshold.powi(cut.rows as i32)).powi(cut.bands as i32) <= 0.001)
            .unwrap_or(Self { bands: HASHES, rows: 1 })
            .tightened()
    }

    /// At a threshold near 1 one band would do; a few more cost little and forgive rounding.
    fn tightened(self) -> Self {
        if self.bands >= 4 { self } else { Self { bands: 4, rows: HASHES / 4 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_threshold_takes_18_bands_of_7() {
        assert_eq!(Banding::for_threshold(0.85), Banding { bands: 18, rows: 7 });
        assert_eq!(Banding::for_threshold(1.0), Banding { bands: 4, rows: 32 });
        assert_eq!(Banding::for_threshold(0.01), Banding { bands: 128, rows: 1 });
    }

    #[test]
    fn equal_entries_estimate_the_jaccard_index() {
        let words: Vec<String> = (0..400).map(|i| format!("word{}", mix(i))).collect();
        for shared in [100, 200, 300, 380] {
            let a = Shingles::of(&words[..shared].concat());
            let b = Shingles::of(&words[..400].concat());
            let (x, y) = (Signature::of(&a, 0), Signature::of(&b, 0));
            let equal = x.0.iter().zip(&y.0).filter(|(x, y)| x == y).count() as f64 / HASHES as f64;
            let exact = a.jaccard(&b);
            let sigma = (exact * (1.0 - exact) / HASHES as f64).sqrt();
            assert!((equal - exact).abs() < 4.0 * sigma, "{equal} for {exact}");
        }
    }
}
