use std::fmt;

use rayon::prelude::*;

use crate::{
    GROUP, Layout, PlainLookUp,
    layouts::{Nf4, Q4K, Q4v0, Q4v1, Q5K, Q5v0, Q5v1, Q6K, Q8v0},
};

/// A way of packing numbers into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of ggml and of bitsandbytes")]
pub enum BlockFormat {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
    Nf4,
}

/// Work that is done for a format's layout, compiled for each of them.
pub trait VisitLayout {
    /// What comes out.
    type Output;
    /// Does the work.
    fn visit<L: Layout>(self) -> Self::Output;
}

/// Values unpacked by one task: large enough to hide the cost of a task, small enough to share out one tensor.
const TASK_VALUES: usize = 1 << 16;

impl BlockFormat {
    /// All of them.
    pub const ALL: [Self; 9] =
        [Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q8_0, Self::Q4K, Self::Q5K, Self::Q6K, Self::Nf4];

    /// The name people know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Nf4 => "NF4",
        }
    }

    /// Does work for this format's layout.
    #[inline(always)]
    pub fn visit<V: VisitLayout>(self, visitor: V) -> V::Output {
        match self {
            Self::Q4_0 => visitor.visit::<Q4v0>(),
            Self::Q4_1 => visitor.visit::<Q4v1>(),
            Self::Q5_0 => visitor.visit::<Q5v0>(),
            Self::Q5_1 => visitor.visit::<Q5v1>(),
            Self::Q8_0 => visitor.visit::<Q8v0>(),
            Self::Q4K => visitor.visit::<Q4K>(),
            Self::Q5K => visitor.visit::<Q5K>(),
            Self::Q6K => visitor.visit::<Q6K>(),
            Self::Nf4 => visitor.visit::<Nf4>(),
        }
    }

    /// Numbers in one block.
    pub fn values(self) -> usize {
        self.visit(Size).0
    }

    /// Bytes of one block.
    pub fn bytes(self) -> usize {
        self.visit(Size).1
    }

    /// Bytes that hold so many numbers, if they fill whole blocks.
    pub fn bytes_of(self, values: usize) -> Option<usize> {
        let (in_block, bytes) = self.visit(Size);
        if !values.is_multiple_of(in_block) {
            return None;
        }
        (values / in_block).checked_mul(bytes)
    }

    /// Unpacks whole blocks into as many numbers as they hold.
    ///
    /// # Panics
    /// When `out` is of another length.
    pub fn decode_into(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(self.bytes_of(out.len()), Some(bytes.len()), "blocks and numbers are of one length");
        self.visit(Decode { bytes, out });
    }

    /// Unpacks whole blocks on all cores.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let (in_block, block_bytes) = self.visit(Size);
        let mut values = vec![0.0; bytes.len() / block_bytes * in_block];
        let per_task = TASK_VALUES / in_block;
        values
            .par_chunks_mut(per_task * in_block)
            .zip(bytes.par_chunks(per_task * block_bytes))
            .for_each(|(values, bytes)| self.decode_into(bytes, values));
        values
    }
}

impl fmt::Display for BlockFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

struct Size;

impl VisitLayout for Size {
    type Output = (usize, usize);

    fn visit<L: Layout>(self) -> (usize, usize) {
        (L::VALUES, L::BYTES)
    }
}

struct Decode<'a> {
    bytes: &'a [u8],
    out: &'a mut [f32],
}

impl VisitLayout for Decode<'_> {
    type Output = ();

    fn visit<L: Layout>(self) {
        for (block, out) in self.bytes.chunks_exact(L::BYTES).zip(self.out.chunks_exact_mut(L::VALUES)) {
            for (group, out) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
                *out = L::group(block, group, PlainLookUp);
            }
        }
    }
}
