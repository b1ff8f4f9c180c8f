use std::ops::Range;

use refit_blocks::{BlockFormat, GROUP, Layout, LookUp, VisitLayout};

use crate::{
    Isa, Precision,
    lanes::PAD,
    pairs::{Block, Lies, PARTS, PairWalk, Round, TILE_PAIRS, fill},
    simd::{Kernel, Simd},
    tile::Walk,
    weight::{Direction, Made, TILE, pair_tiles},
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

impl Packed {
    /// Unpacks one row.
    pub(crate) fn read_row(&self, isa: Isa, row: usize, to: &mut [f32]) {
        let width = to.len();
        isa.run(self.unpack(row..row + 1, 0..width / GROUP, to, width));
    }

    fn unpack<'a>(&'a self, rows: Range<usize>, groups: Range<usize>, to: &'a mut [f32], stride: usize) -> Unpack<'a> {
        assert!(rows.end <= self.rows && stride >= groups.len() * GROUP && to.len() >= rows.len() * stride);
        let bytes = &self.bytes[rows.start * self.row..rows.end * self.row];
        Unpack { format: self.format, bytes, row: self.row, groups, to, stride }
    }

    /// The 16 rows of a strip as a product in this direction sees them, between two columns of which the first starts a
    /// block. Beyond the last row there are zeros.
    pub(crate) fn strip(
        &self,
        isa: Isa,
        direction: Direction,
        strip: usize,
        columns: Range<usize>,
        values: &mut Vec<f32>,
    ) -> Walk {
        let (row, step) = self.lay_out(isa, direction, strip..strip + 1, columns.clone(), values);
        if self.precision == Precision::Bf16 {
            isa.run(Round(values));
        }
        Walk { start: values.as_ptr(), row, step, steps: columns.len(), jump: 0, blocks: 1 }
    }

    /// The rows of some strips in pairs of bf16, as they are or in parts, for a processor that takes them.
    pub(crate) fn pairs<'a>(
        &self,
        isa: Isa,
        direction: Direction,
        strips: Range<usize>,
        columns: Range<usize>,
        made: &'a mut Made,
    ) -> PairWalk<'a> {
        const WIDE: usize = 2 * TILE_PAIRS;
        let count = pair_tiles(columns.len());
        let (row, column) = self.lay_out(isa, direction, strips.clone(), columns.clone(), &mut made.values);
        let (lies, stride) = match direction {
            // Blocks are whole tiles wide, so that no tile lies across two rows.
            Direction::Plain => (Lies::ByRow, row),
            Direction::Transposed => {
                let needed = count * WIDE * column;
                made.values.resize(needed.max(made.values.len()), 0.0);
                made.values[columns.len() * column..needed].fill(0.0);
                (Lies::ByColumn, column)
            }
        };
        let parts = if self.precision == Precision::F32 { PARTS } else { 1 };
        let values = &made.values;
        made.pairs.make(isa, strips.len(), parts, count, |strip, tile, to| {
            let first = strip * TILE * row + tile * WIDE * column;
            let halves = [first, first + TILE * column].map(|at| &values[at..]);
            fill(isa, parts, Block { lies, halves, stride }, to);
        })
    }

    /// Unpacks some strips; from a row to the next, and from a column to the next.
    fn lay_out(
        &self,
        isa: Isa,
        direction: Direction,
        strips: Range<usize>,
        columns: Range<usize>,
        values: &mut Vec<f32>,
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
        if values.len() < needed {
            values.resize(needed, 0.0);
        }
        values[rows.len() * stride..needed].fill(0.0);
        isa.run(self.unpack(rows, groups, values, stride));
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
    groups: Range<usize>,
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

/// Codes met by vector instructions.
#[derive(Clone, Copy)]
struct Vectors<S>(S);

impl<S: Simd> LookUp for Vectors<S> {
    #[inline(always)]
    fn look_up(self, table: &[f32; 16], at: [u8; GROUP]) -> [f32; GROUP] {
        self.0.look_up(table, at)
    }

    #[inline(always)]
    fn widen(self, codes: [u8; GROUP]) -> [f32; GROUP] {
        self.0.widen(codes)
    }
}
