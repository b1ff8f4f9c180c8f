use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use refit_blocks::BlockFormat;

use crate::{
    Isa,
    ahead::Ahead,
    lanes::PAD,
    line::{Line, make_room},
    packed::Packed,
    pairs::{Block, Lies, Narrowing, PARTS, PairColumn, PairWalk, TILE_PAIRS, fill, narrow, widen, widen_across},
    tile::Walk,
};

/// Rows and columns of a tile of a weight.
pub(crate) const TILE: usize = PAD;
/// Numbers in a tile.
pub(crate) const TILE_SIZE: usize = TILE * TILE;

/// How a weight is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// As read.
    #[default]
    F32,
    /// Rounded to bf16; products round the other side to bf16 too and add up in f32. Where a processor multiplies f16 faster, they take both sides
    /// in f16, which has three bits more, and add up 64 products in that.
    Bf16,
}

/// A frozen weight `[out, in]`, cut into tiles of 16 × 16 that both directions go through: one along a row of tiles,
/// the other down a column.
///
/// In bf16, where an instruction takes pairs that lie beside each other, each direction has its own copy; elsewhere a product widens what it meets
/// of the only one. Or it stays in the blocks it came in, and a product unpacks what it meets.
#[derive(Debug)]
pub struct Weight {
    out: usize,
    width: usize,
    tiles: Tiles,
}

#[derive(Debug)]
enum Tiles {
    /// `[out / 16][in / 16][in % 16][out % 16]`.
    F32(Vec<f32>),
    /// Tiles of 16 rows and 16 pairs, `[out / 16][in / 32][out % 16][in % 32 / 2]`, the even column in the low half; and, where instructions take
    /// pairs, the same of the transposed weight.
    Bf16 { plain: Pairs, transposed: Option<Pairs> },
    /// Row by row.
    Packed(Packed),
}

/// Which product a weight is used in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// W·x.
    Plain,
    /// Wᵀ·y.
    Transposed,
}

impl Direction {
    /// What is kept for it.
    fn of<'a>(self, plain: &'a Pairs, transposed: Option<&'a Pairs>) -> Option<&'a Pairs> {
        match self {
            Self::Plain => Some(plain),
            Self::Transposed => transposed,
        }
    }
}

impl Weight {
    /// Takes over a weight that lies row by row, `values` having `out · width` numbers.
    pub fn new(values: &[f32], out: usize, width: usize, precision: Precision) -> Self {
        Self::new_for(Isa::best(), values, out, width, precision)
    }

    /// The same, to be multiplied by these instructions or by others that take no pairs.
    pub(crate) fn new_for(isa: Isa, values: &[f32], out: usize, width: usize, precision: Precision) -> Self {
        assert_eq!(values.len(), out * width);
        let tiles = match precision {
            Precision::F32 => Tiles::F32(f32_tiles(values, out, width)),
            Precision::Bf16 => Tiles::Bf16 {
                plain: Pairs::new(isa, out, width, |o, i| values[o * width + i]),
                transposed: isa.has_pairs().then(|| Pairs::new(isa, width, out, |i, o| values[o * width + i])),
            },
        };
        Self { out, width, tiles }
    }

    /// Takes over a weight that lies row by row in blocks; products unpack it, and multiply it in this precision.
    ///
    /// # Panics
    /// When rows of `width` numbers are not whole blocks, or `bytes` holds not `out` of them.
    pub fn packed(format: BlockFormat, bytes: Vec<u8>, out: usize, width: usize, precision: Precision) -> Self {
        let row = format.bytes_of(width).expect("a row is made of whole blocks");
        assert_eq!(bytes.len(), out * row, "so many rows of blocks");
        Self { out, width, tiles: Tiles::Packed(Packed { format, bytes, row, rows: out, precision }) }
    }

    /// The place of a weight whose numbers lie elsewhere, from where products take them.
    pub fn absent(out: usize, width: usize) -> Self {
        Self { out, width, tiles: Tiles::F32(Vec::new()) }
    }

    /// Rows.
    pub fn out(&self) -> usize {
        self.out
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How products multiply it.
    pub fn precision(&self) -> Precision {
        match &self.tiles {
            Tiles::F32(_) => Precision::F32,
            Tiles::Bf16 { .. } => Precision::Bf16,
            Tiles::Packed(packed) => packed.precision,
        }
    }

    /// The blocks it is kept in, if it is.
    pub fn blocks(&self) -> Option<(BlockFormat, &[u8])> {
        self.in_blocks().map(|packed| (packed.format, packed.bytes.as_slice()))
    }

    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        match &self.tiles {
            Tiles::F32(tiles) => size_of_val(tiles.as_slice()),
            Tiles::Bf16 { plain, transposed } => plain.bytes() + transposed.as_ref().map_or(0, Pairs::bytes),
            Tiles::Packed(packed) => packed.bytes.len(),
        }
    }

    pub(crate) fn in_blocks(&self) -> Option<&Packed> {
        match &self.tiles {
            Tiles::Packed(packed) => Some(packed),
            _ => None,
        }
    }

    /// Copies one row, as it is kept, to `to`; blocks are unpacked.
    pub fn read_row(&self, row: usize, to: &mut [f32]) {
        assert!(row < self.out && to.len() == self.width);
        let across = self.width.div_ceil(TILE);
        match &self.tiles {
            Tiles::F32(tiles) => {
                let strip = row / TILE * across * TILE_SIZE;
                for (i, value) in to.iter_mut().enumerate() {
                    *value = tiles[strip + i / TILE * TILE_SIZE + i % TILE * TILE + row % TILE];
                }
            }
            Tiles::Bf16 { plain, .. } => {
                let pairs: &[u32] = bytemuck::cast_slice(&plain.lines);
                for (i, value) in to.iter_mut().enumerate() {
                    let pair = pairs[place(row, i / 2, pair_tiles(self.width))];
                    let bits = plain.in_bf16(row / TILE, (pair >> (i % 2 * 16)) as u16);
                    *value = bf16::from_bits(bits).to_f32();
                }
            }
            Tiles::Packed(packed) => packed.read_row(Isa::best(), row, to),
        }
    }

    /// Rows and columns as a product in this direction sees them.
    pub(crate) fn shape(&self, direction: Direction) -> (usize, usize) {
        match direction {
            Direction::Plain => (self.out, self.width),
            Direction::Transposed => (self.width, self.out),
        }
    }

    /// How a product walks through 16 rows of a weight in f32, from one tile column to another; `None` in bf16 and in blocks.
    pub(crate) fn walk(&self, direction: Direction, strip: usize, columns: Range<usize>) -> Option<Walk> {
        let Tiles::F32(tiles) = &self.tiles else { return None };
        let across = self.width.div_ceil(TILE);
        let tile = |at: usize| tiles[at * TILE_SIZE..].as_ptr();
        Some(match direction {
            Direction::Plain => {
                let start = tile(strip * across + columns.start);
                Walk { start, row: 1, step: TILE, steps: TILE * columns.len(), jump: 0, blocks: 1 }
            }
            Direction::Transposed => {
                let start = tile(columns.start * across + strip);
                Walk { start, row: TILE, step: 1, steps: TILE, jump: across * TILE_SIZE, blocks: columns.len() }
            }
        })
    }

    /// Strips of pairs between two columns, of which the first starts a tile and, of a weight in blocks, a block. A weight in bf16 has them; of one in
    /// blocks and of one in f32, whose numbers are multiplied in parts, they are made. Where products are in f16, there is one strip at a time.
    pub(crate) fn pairs<'a>(
        &'a self,
        isa: Isa,
        direction: Direction,
        strips: Range<usize>,
        columns: Range<usize>,
        made: &'a mut Made,
    ) -> PairWalk<'a> {
        match &self.tiles {
            Tiles::Bf16 { plain, transposed } => {
                let kept =
                    direction.of(plain, transposed.as_ref()).expect("invariant: it is there for who takes pairs");
                let Ahead { values, jump: strip, .. } = self.ahead(direction, strips.clone(), columns.clone());
                let count = pair_tiles(columns.len());
                if let Some(scale) = kept.as_met(isa, strips.clone()) {
                    return PairWalk { pairs: values, scale, parts: 1, tile: TILE_SIZE, strip, count };
                }
                // Other instructions than the best were asked for.
                made.pairs.make(isa, strips.len(), 1, count, |at, tile, to| {
                    for (to, pair) in to.iter_mut().zip(&values[at * strip + tile * TILE_SIZE..]) {
                        let bits = [*pair as u16, (pair >> 16) as u16];
                        let [even, odd] = bits.map(|bits| u32::from(kept.in_bf16(strips.start + at, bits)));
                        *to = odd << 16 | even;
                    }
                })
            }
            Tiles::Packed(packed) => packed.pairs(isa, direction, strips, columns, made),
            Tiles::F32(_) => {
                let count = pair_tiles(columns.len());
                made.pairs.make(isa, strips.len(), PARTS, count, |strip, tile, to| {
                    let strip = strips.start + strip;
                    let [first, last] =
                        [0, 1].map(|at| self.tile(direction, strip, columns.start / TILE + 2 * tile + at));
                    let lies = if direction == Direction::Plain { Lies::ByColumn } else { Lies::ByRow };
                    fill(isa, PARTS, Block { lies, halves: [first, last], stride: TILE }, to);
                })
            }
        }
    }

    /// How a product walks through the 16 rows of a strip of a weight in bf16 between two columns, of which the first starts a tile, where no instruction
    /// takes pairs: they are widened, into `values`.
    pub(crate) fn widened(
        &self,
        isa: Isa,
        direction: Direction,
        strip: usize,
        columns: Range<usize>,
        (as_kept, values): (&mut Made, &mut Vec<f32>),
    ) -> Walk {
        let steps = columns.len();
        let (row, step) = match (&self.tiles, direction) {
            (Tiles::Bf16 { plain, transposed: None }, Direction::Transposed) => {
                let across = pair_tiles(self.width) * TILE_SIZE;
                let first = columns.start / TILE * across + strip / 2 * TILE_SIZE + strip % 2 * TILE_PAIRS / 2;
                let pairs = &bytemuck::cast_slice(&plain.lines)[first..];
                widen_across(isa, PairColumn { pairs, across, rows: steps }, values);
                (1, TILE)
            }
            _ => (widen(isa, self.pairs(isa, direction, strip..strip + 1, columns, as_kept), values), 1),
        };
        Walk { start: values.as_ptr(), row, step, steps, jump: 0, blocks: 1 }
    }

    /// A tile of a weight in f32, `[in % 16][out % 16]`; beyond its end zeros.
    fn tile(&self, direction: Direction, strip: usize, column: usize) -> &[f32] {
        const NOTHING: [f32; TILE_SIZE] = [0.0; TILE_SIZE];
        let Tiles::F32(tiles) = &self.tiles else { return &NOTHING };
        let (out, width) = (self.out.div_ceil(TILE), self.width.div_ceil(TILE));
        let (o, i) = if direction == Direction::Plain { (strip, column) } else { (column, strip) };
        if o < out && i < width { &tiles[(o * width + i) * TILE_SIZE..][..TILE_SIZE] } else { &NOTHING }
    }

    /// Where the numbers of some strips between two columns lie, if they are kept as products take them or nearly so; nothing of a weight in blocks.
    pub(crate) fn ahead(&self, direction: Direction, strips: Range<usize>, columns: Range<usize>) -> Ahead<'_> {
        let (rows, depth) = self.shape(direction);
        if strips.start * TILE >= rows {
            return Ahead::default();
        }
        match &self.tiles {
            Tiles::Packed(_) => Ahead::default(),
            Tiles::Bf16 { plain, transposed } => {
                let Some(Pairs { lines: tiles, .. }) = direction.of(plain, transposed.as_ref()) else {
                    return Ahead::default();
                };
                let across = pair_tiles(depth);
                let first = strips.start * across + columns.start / (2 * TILE_PAIRS);
                let values = bytemuck::cast_slice(&tiles[first * TILE..]);
                let piece = pair_tiles(columns.len()) * TILE_SIZE;
                Ahead { values, piece, jump: across * TILE_SIZE, count: strips.len() }
            }
            Tiles::F32(tiles) => {
                let across = self.width.div_ceil(TILE);
                let (start, count) = (columns.start / TILE, columns.len().div_ceil(TILE));
                let (first, piece, jump, count) = match direction {
                    Direction::Plain => (strips.start * across + start, count, across, strips.len()),
                    Direction::Transposed => (start * across + strips.start, strips.len(), across, count),
                };
                let values = bytemuck::cast_slice(&tiles[first * TILE_SIZE..]);
                Ahead { values, piece: piece * TILE_SIZE, jump: jump * TILE_SIZE, count }
            }
        }
    }
}

/// Tiles of pairs that are made when they are needed, one strip after another.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// Blocks, unpacked.
    pub(crate) values: Vec<f32>,
    pub(crate) pairs: MadePairs,
}

/// The room for tiles that are made.
#[derive(Debug, Default)]
pub(crate) struct MadePairs(Vec<Line>);

impl MadePairs {
    /// Makes `[strips][tiles][parts][16][16]`; `fill` is told which strip and which of its tiles it is to make, with all parts. Where products are in
    /// f16, what it made, of one strip, becomes that.
    pub(crate) fn make(
        &mut self,
        isa: Isa,
        strips: usize,
        parts: usize,
        count: usize,
        mut fill: impl FnMut(usize, usize, &mut [u32]),
    ) -> PairWalk<'_> {
        let tile = parts * TILE_SIZE;
        make_room(&mut self.0, strips * count * tile / TILE);
        let pairs: &mut [u32] = bytemuck::cast_slice_mut(&mut self.0);
        for (at, to) in pairs.chunks_exact_mut(tile).take(strips * count).enumerate() {
            fill(at / count, at % count, to);
        }
        let scale = if isa.multiplies_halves() {
            assert!(strips == 1 && parts == 1, "invariant: strips in f16 are made one at a time");
            narrow(isa, &mut pairs[..count * tile]).scale()
        } else {
            1.0
        };
        PairWalk { pairs, scale, parts, tile, strip: count * tile, count }
    }
}

/// Tiles that a row of pairs has.
pub(crate) fn pair_tiles(columns: usize) -> usize {
    columns.div_ceil(2 * TILE_PAIRS)
}

/// Where a pair of a row lies among strips of so many tiles.
fn place(row: usize, pair: usize, across: usize) -> usize {
    (row / TILE * across + pair / TILE_PAIRS) * TILE_SIZE + row % TILE * TILE_PAIRS + pair % TILE_PAIRS
}

fn f32_tiles(values: &[f32], out: usize, width: usize) -> Vec<f32> {
    let across = width.div_ceil(TILE);
    let mut tiles = vec![0f32; out.div_ceil(TILE) * across * TILE_SIZE];
    tiles.par_chunks_mut(across * TILE_SIZE).zip(values.par_chunks(TILE * width)).for_each(|(strip, rows)| {
        for (o, row) in rows.chunks_exact(width).enumerate() {
            for (i, value) in row.iter().enumerate() {
                strip[i * TILE + o] = *value;
            }
        }
    });
    tiles
}

/// A weight in pairs as the best instructions of this processor take them: in bf16, or in f16.
#[derive(Debug)]
struct Pairs {
    lines: Vec<Line>,
    /// Of each strip, if they are in f16.
    narrowings: Vec<Narrowing>,
}

impl Pairs {
    /// Takes over the numbers that `at` tells of a row and a column.
    fn new(isa: Isa, rows: usize, columns: usize, at: impl Fn(usize, usize) -> f32 + Sync) -> Self {
        let mut lines = bf16_tiles(rows, columns, at);
        let narrowings = if isa.multiplies_halves() {
            let strips = lines.par_chunks_mut(pair_tiles(columns).max(1) * TILE);
            strips.map(|strip| narrow(isa, bytemuck::cast_slice_mut(strip))).collect()
        } else {
            Vec::new()
        };
        Self { lines, narrowings }
    }

    fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    /// The bits in bf16 of a number of a strip that is kept with these.
    fn in_bf16(&self, strip: usize, bits: u16) -> u16 {
        self.narrowings.get(strip).map_or(bits, |narrowing| narrowing.undo(bits))
    }

    /// What products of some strips are multiplied by if these instructions take the pairs as they are kept.
    fn as_met(&self, isa: Isa, strips: Range<usize>) -> Option<f32> {
        match (isa.multiplies_halves(), self.narrowings.get(strips.start)) {
            (false, None) => Some(1.0),
            (true, Some(narrowing)) if strips.len() == 1 => Some(narrowing.scale()),
            _ => None,
        }
    }
}

fn bf16_tiles(rows: usize, columns: usize, at: impl Fn(usize, usize) -> f32 + Sync) -> Vec<Line> {
    let across = pair_tiles(columns);
    let mut tiles = vec![Line::ZERO; rows.div_ceil(TILE) * across * TILE];
    // Tile by tile, so that whichever way the numbers lie, the cache lines of one row of a tile are still near for the next.
    tiles.par_chunks_mut(TILE).with_min_len(TILE).enumerate().for_each(|(tile, lines)| {
        let (first_row, first) = (tile / across * TILE, tile % across * 2 * TILE_PAIRS);
        for (row, line) in (first_row..rows).zip(lines) {
            let pairs: &mut [u32; TILE_PAIRS] = bytemuck::cast_mut(line);
            let bits = |column| u32::from(bf16::from_f32(at(row, column)).to_bits());
            for (to, column) in pairs.iter_mut().zip((first..columns).step_by(2)) {
                let odd = if column + 1 < columns { bits(column + 1) } else { 0 };
                *to = odd << 16 | bits(column);
            }
        }
    });
    tiles
}
