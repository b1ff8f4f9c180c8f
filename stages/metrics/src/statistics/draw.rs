use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws that repeat exactly for a seed, on every machine and in every version of the `rand` crates.
pub(super) struct Draws(ChaCha8Rng);

impl Draws {
    /// `stream` keeps tests that share a seed independent of each other.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self(generator)
    }

    /// A uniform index below `n`. The bias of the multiplication is below n / 2⁶⁴.
    pub(super) fn index(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// 64 fair coins.
    pub(super) fn coins(&mut self) -> u64 {
        self.0.next_u64()
    }
}
