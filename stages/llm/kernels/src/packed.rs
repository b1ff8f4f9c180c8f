use half::bf16;
use refit_blocks::{BlockFormat, GROUP, Layout, LookUp, VisitLayout};

use crate::{
    Isa, Precision,
    bf16::{PairWalk, TILE_PAIRS, pair_up, transpose},
    lanes::PAD,
    line::Line,
    simd::{Kernel, Simd},
    tile::Walk,
    weight::{Direction, TILE, TILE_SIZE},
};

/// A weight in blocks, as a file has it: row by row, each row in whole blocks. A product unpacks as much of it as one
/// strip of its result meets, into memory that the cache holds, and goes through that for all tokens: what unpacking
/// costs is spread over them.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) format: BlockFormat,
    pub(crate) bytes: Vec<u8>,
    /// Bytes of a row.
    pub(crate) row: usize,
    pub(crate) rows: usize,
    /// How products multiply it.
    pub(crate) precision: Precision,
}

/// Memory that strips are unpacked into, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    values: Vec<f32>,
    pairs: Vec<Line>,
}

impl Packed {
    /// Unpacks one row.
    pub(crate) fn read_row(&self, isa: Isa, row: usize, to: &mut [f32]) {
        let width = to.len();
        isa.run(self.unpack(row..row + 1, 0..width / GROUP, to, width));
    }

    fn unpack<'a>(
        &'a self,
        rows: std::ops::Range<usize>,
        groups: std::ops::Range<usize>,
        to: &'a mut [f32],
        stride: usize,
    ) -> Unpack<'a> {
        assert!(rows.end <= self.rows && stride >= groups.len() * GROUP && to.len() >= rows.len() * stride);
        let bytes = &self.bytes[rows.start * self.row..rows.end * self.row];
        Unpack { format: self.format, bytes, row: self.row, groups, to, stride }
    }

    /// The 16 rows of a strip as a product in this direction sees them, between two columns of which the first starts a
    /// block. What lies beyond the last row is left as it was.
    pub(crate) fn strip(
        &self,
        isa: Isa,
        direction: Direction,
        strip: usize,
        columns: std::ops::Range<usize>,
        unpacked: &mut Unpacked,
    ) -> Walk {
        let (row, step) = self.lay_out(isa, direction, strip..strip + 1, columns.clone(), unpacked);
        if self.precision == Precision::Bf16 {
            for value in &mut unpacked.values {
                *value = bf16::from_f32(*value).to_f32();
            }
        }
        Walk { start: unpacked.values.as_ptr(), row, step, steps: columns.len(), jump: 0, blocks: 1 }
    }

    /// The rows of some strips in pairs of bf16, for a processor that takes them.
    pub(crate) fn pairs<'a>(
        &self,
        isa: Isa,
        direction: Direction,
        strips: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
        unpacked: &'a mut Unpacked,
    ) -> PairWalk<'a> {
        let count = columns.len().div_ceil(2 * TILE_PAIRS);
        let (row, step) = self.lay_out(isa, direction, strips.clone(), columns.clone(), unpacked);
        let Unpacked { values, pairs } = unpacked;
        match direction {
            Direction::Plain => {
                // Blocks are whole tiles wide, so that neither a pair nor a tile lies across two rows.
                let needed = strips.len() * TILE * row;
                pairs.resize(needed / 2 / PAD, Line::ZERO);
                let pairs: &mut [u32] = bytemuck::cast_slice_mut(pairs);
                pair_up(isa, &values[..needed], pairs);
                PairWalk { pairs, row: row / 2, tile: TILE_PAIRS, strip: TILE * row / 2, count }
            }
            Direction::Transposed => {
                let needed = count * 2 * TILE_PAIRS * step;
                values.resize(needed.max(values.len()), 0.0);
                values[columns.len() * step..needed].fill(0.0);
                pairs.resize(count * strips.len() * TILE, Line::ZERO);
                let pairs: &mut [u32] = bytemuck::cast_slice_mut(pairs);
                for (rows, tiles) in
                    values.chunks_exact(2 * TILE_PAIRS * step).zip(pairs.chunks_exact_mut(TILE_SIZE * strips.len()))
                {
                    for (strip, tile) in tiles.chunks_exact_mut(TILE_SIZE).enumerate() {
                        transpose(isa, &rows[strip * TILE..], step, tile);
                    }
                }
                PairWalk { pairs, row: TILE_PAIRS, tile: TILE_SIZE * strips.len(), strip: TILE_SIZE, count }
            }
        }
    }

    /// Unpacks some strips; from a row to the next, and from a column to the next.
    fn lay_out(
        &self,
        isa: Isa,
        direction: Direction,
        strips: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
        unpacked: &mut Unpacked,
    ) -> (usize, usize) {
        let across = strips.len() * TILE;
        let (rows, groups, stride, ways) = match direction {
            Direction::Plain => {
                let rows = strips.start * TILE..(strips.end * TILE).min(self.rows);
                // Rows a power of two apart would meet in the same places of the cache.
                let stride = columns.len() + 2 * PAD;
                (rows, columns.start / GROUP..columns.end / GROUP, stride, (stride, 1))
            }
            Direction::Transposed => (columns, strips, across, (1, across)),
        };
        let needed = rows.len().next_multiple_of(across) * stride;
        if unpacked.values.len() < needed {
            unpacked.values.resize(needed, 0.0);
        }
        isa.run(self.unpack(rows, groups, &mut unpacked.values, stride));
        ways
    }
}

/// Rows of blocks to rows of numbers.
struct Unpack<'a> {
    format: BlockFormat,
    bytes: &'a [u8],
    /// Bytes of a row.
    row: usize,
    /// Which columns, in groups of sixteen.
    groups: std::ops::Range<usize>,
    to: &'a mut [f32],
    /// From a row of numbers to the next.
    stride: usize,
}

impl Kernel for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.format.visit(Visitor { simd, unpack: self });
    }
}

struct Visitor<'a, S> {
    simd: S,
    unpack: Unpack<'a>,
}

impl<S: Simd> VisitLayout for Visitor<'_, S> {
    type Output = ();

    #[inline(always)]
    fn visit<L: Layout>(self) {
        let Unpack { bytes, row, groups, to, stride, .. } = self.unpack;
        let look_up = Vectors(self.simd);
        let in_block = L::VALUES / GROUP;
        let whole = groups.start.is_multiple_of(in_block) && groups.end.is_multiple_of(in_block);
        for (bytes, to) in bytes.chunks_exact(row).zip(to.chunks_exact_mut(stride)) {
            let to = &mut to[..groups.len() * GROUP];
            if whole {
                let blocks = &bytes[groups.start / in_block * L::BYTES..groups.end / in_block * L::BYTES];
                for (block, to) in blocks.chunks_exact(L::BYTES).zip(to.chunks_exact_mut(L::VALUES)) {
                    for (group, to) in to.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
                        *to = L::group(block, group, look_up);
                    }
                }
            } else {
                for (group, to) in groups.clone().zip(to.as_chunks_mut::<GROUP>().0) {
                    let block = &bytes[group / in_block * L::BYTES..][..L::BYTES];
                    *to = L::group(block, group % in_block, look_up);
                }
            }
        }
    }
}

/// Tables looked up in by vector instructions.
#[derive(Clone, Copy)]
struct Vectors<S>(S);

impl<S: Simd> LookUp for Vectors<S> {
    #[inline(always)]
    fn look_up(self, table: &[f32; 16], at: [u8; GROUP]) -> [f32; GROUP] {
        self.0.look_up(table, at)
    }
}
