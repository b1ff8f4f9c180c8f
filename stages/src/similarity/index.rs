use std::{collections::HashMap, hash::BuildHasherDefault};

use super::{Banding, Shingles, Signature, minhash::HASHES, shingles::Identity};

/// A bucket is followed this far back; a data set of one template fills buckets without end.
const LONGEST_CHAIN: usize = 1000;

/// What the index keeps of a text: its bands and a compact signature of each side.
#[derive(Debug, Clone)]
pub struct Fingerprint {
    bands: Vec<u32>,
    sketch: [u8; HASHES],
}

impl Fingerprint {
    /// The fingerprint of a text with one side, or two (prompt and response).
    ///
    /// Two texts are alike when **each** side is alike. With `Jᵢ = Iᵢ/Uᵢ ≥ t` on both sides, the union of the two
    /// (tagged) sets has `(I₁+I₂)/(U₁+U₂) ≥ t` too, so bands over the union meet all such pairs.
    ///
    /// # Panics
    /// When there is no side.
    pub fn of(sides: &[Shingles], banding: Banding) -> Self {
        let signatures: Vec<Signature> = sides.iter().zip(1..).map(|(side, kind)| Signature::of(side, kind)).collect();
        let whole = signatures.iter().skip(1).fold(signatures[0].clone(), |whole, side| whole.union(side));
        let mut sketch = [0; HASHES];
        let entries = HASHES / sides.len();
        for (part, signature) in sketch.chunks_exact_mut(entries).zip(&signatures) {
            part.iter_mut().zip(signature.compact(entries)).for_each(|(to, from)| *to = from);
        }
        Self { bands: whole.bands(banding).collect(), sketch }
    }
}

/// Finds texts that may be alike among those inserted before.
///
/// It grows by about 30 bytes for each band and 128 bytes for each text: some 500 bytes a text at a threshold of 0.85.
/// What it finds is to be compared exactly by whoever has the texts.
pub struct NearIndex {
    sides: usize,
    threshold: f64,
    banding: Banding,
    /// Band → hash → the text inserted last.
    buckets: Vec<HashMap<u32, u32, BuildHasherDefault<Identity>>>,
    /// For each text and band, the text inserted into that bucket before, or `NONE`.
    before: Vec<u32>,
    sketches: Vec<[u8; HASHES]>,
    cut_short: u64,
}

const NONE: u32 = u32::MAX;

impl NearIndex {
    /// An index of texts with this many sides (1 or 2), for a Jaccard index of at least `threshold` on each.
    pub fn new(sides: usize, threshold: f64) -> Self {
        let banding = Banding::for_threshold(threshold);
        Self {
            sides,
            threshold,
            banding,
            buckets: vec![HashMap::default(); banding.bands],
            before: Vec::new(),
            sketches: Vec::new(),
            cut_short: 0,
        }
    }

    /// How fingerprints for this index are cut.
    pub fn banding(&self) -> Banding {
        self.banding
    }

    /// How many texts it holds.
    pub fn len(&self) -> usize {
        self.sketches.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.sketches.is_empty()
    }

    /// For how many look-ups a bucket was too full to be searched to its end, so that a pair may have been missed.
    pub fn cut_short(&self) -> u64 {
        self.cut_short
    }

    /// Adds a text; texts are numbered from 0.
    pub fn insert(&mut self, fingerprint: &Fingerprint) -> u32 {
        let text = self.sketches.len() as u32;
        for (bucket, &hash) in self.buckets.iter_mut().zip(&fingerprint.bands) {
            self.before.push(bucket.insert(hash, text).unwrap_or(NONE));
        }
        self.sketches.push(fingerprint.sketch);
        text
    }

    /// The texts that may be alike, in the order they were inserted.
    pub fn candidates(&mut self, fingerprint: &Fingerprint) -> Vec<u32> {
        let mut found = Vec::new();
        let mut cut_short = false;
        for (band, (bucket, hash)) in self.buckets.iter().zip(&fingerprint.bands).enumerate() {
            let mut next = bucket.get(hash).copied().unwrap_or(NONE);
            let mut steps = 0;
            while next != NONE {
                if steps == LONGEST_CHAIN {
                    cut_short = true;
                    break;
                }
                steps += 1;
                found.push(next);
                next = self.before[next as usize * self.banding.bands + band];
            }
        }
        self.cut_short += u64::from(cut_short);
        found.sort_unstable();
        found.dedup();
        found.retain(|&text| self.plausible(&self.sketches[text as usize], &fingerprint.sketch));
        found
    }

    /// Whether each side's estimate is within four standard errors of the threshold.
    fn plausible(&self, a: &[u8; HASHES], b: &[u8; HASHES]) -> bool {
        let entries = HASHES / self.sides;
        let error = (self.threshold * (1.0 - self.threshold) / entries as f64).sqrt();
        let least = (self.threshold - 4.0 * error) * entries as f64;
        a.chunks_exact(entries).zip(b.chunks_exact(entries)).all(|(a, b)| {
            let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
            equal as f64 >= least
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::similarity::shingles::mix;

    fn text(seed: u64, words: u64) -> String {
        let words: Vec<String> = (0..words).map(|i| format!("{:x}", mix(seed * 1000 + i) % 5000)).collect();
        words.join(" ")
    }

    #[test]
    fn a_pair_above_the_threshold_is_found_and_strangers_are_not() {
        let mut index = NearIndex::new(1, 0.85);
        let banding = index.banding();
        let print = |text: &str| Fingerprint::of(&[Shingles::of(text)], banding);
        let texts: Vec<String> = (0..200).map(|seed| text(seed, 60)).collect();
        for text in &texts {
            assert!(index.candidates(&print(text)).is_empty());
            index.insert(&print(text));
        }
        for (number, text) in texts.iter().enumerate() {
            let changed = text.replacen(' ', " x ", 2);
            let exact = Shingles::of(text).jaccard(&Shingles::of(&changed));
            assert!(exact > 0.85, "{exact}");
            assert!(index.candidates(&print(&changed)).contains(&(number as u32)));
        }
    }

    #[test]
    fn a_shared_answer_does_not_make_two_questions_alike() {
        let mut index = NearIndex::new(2, 0.85);
        let banding = index.banding();
        let print =
            |prompt: &str, response: &str| Fingerprint::of(&[Shingles::of(prompt), Shingles::of(response)], banding);
        let answer = text(7, 200);
        index.insert(&print("How can I set a new password for the mail account?", &answer));
        assert!(index.candidates(&print("I forgot what I typed when logging in to webmail, help", &answer)).is_empty());
        assert_eq!(index.candidates(&print("how can i set a new password for the mail account", &answer)), [0]);
    }

    #[test]
    fn a_bucket_without_end_is_cut_short_and_counted() {
        let mut index = NearIndex::new(1, 0.85);
        let print = Fingerprint::of(&[Shingles::of("the same thing again and again")], index.banding());
        for _ in 0..=LONGEST_CHAIN {
            index.insert(&print);
        }
        assert_eq!(index.candidates(&print).len(), LONGEST_CHAIN);
        assert_eq!(index.cut_short(), 1);
    }
}
