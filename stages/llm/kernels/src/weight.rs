use half::bf16;
use rayon::prelude::*;

use refit_blocks::BlockFormat;

use crate::{
    Isa,
    bf16::{PairWalk, TILE_PAIRS},
    lanes::PAD,
    line::Line,
    packed::Packed,
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
    /// Rounded to bf16; products round the other side to bf16 too and add up in f32.
    Bf16,
}

/// A frozen weight `[out, in]`, cut into tiles of 16 × 16 that both directions go through: one along a row of tiles,
/// the other down a column.
///
/// In bf16, where an instruction takes pairs that lie beside each other, each direction has its own copy. Or it stays
/// in the blocks it came in, and a product unpacks what it meets.
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
    /// Tiles of 16 rows and 16 pairs, `[out / 16][in / 32][out % 16][in % 32 / 2]`, the even column in the low half; and the same of the
    /// transposed weight.
    Bf16 { plain: Vec<Line>, transposed: Vec<Line> },
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

impl Weight {
    /// Takes over a weight that lies row by row, `values` having `out · width` numbers.
    pub fn new(values: &[f32], out: usize, width: usize, precision: Precision) -> Self {
        assert_eq!(values.len(), out * width);
        let tiles = match precision {
            Precision::F32 => Tiles::F32(f32_tiles(values, out, width)),
            Precision::Bf16 => Tiles::Bf16 {
                plain: bf16_tiles(out, width, |o, i| values[o * width + i]),
                transposed: bf16_tiles(width, out, |i, o| values[o * width + i]),
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
            Tiles::Bf16 { plain, transposed } => size_of_val(plain.as_slice()) + size_of_val(transposed.as_slice()),
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
                let pairs: &[u32] = bytemuck::cast_slice(plain);
                for (i, value) in to.iter_mut().enumerate() {
                    let pair = pairs[place(row, i / 2, pair_tiles(self.width))];
                    *value = bf16::from_bits((pair >> (i % 2 * 16)) as u16).to_f32();
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
    pub(crate) fn walk(&self, direction: Direction, strip: usize, columns: std::ops::Range<usize>) -> Option<Walk> {
        let Tiles::F32(tiles) = &self.tiles else { return None };
        let across = self.width.div_ceil(TILE);
        let (first, row, step, jump) = match direction {
            Direction::Plain => (strip * across + columns.start, 1, TILE, TILE_SIZE),
            Direction::Transposed => (columns.start * across + strip, TILE, 1, across * TILE_SIZE),
        };
        let start = tiles[first * TILE_SIZE..].as_ptr();
        Some(Walk { start, row, step, steps: TILE, jump, blocks: columns.len() })
    }

    /// Up to so many tiles of a weight in f32 in the order they lie in, from one on; nothing in bf16 and in blocks.
    pub(crate) fn tiles_from(&self, (strip, column): (usize, usize), count: usize) -> &[f32] {
        let Tiles::F32(tiles) = &self.tiles else { return &[] };
        let first = (strip * self.width.div_ceil(TILE) + column) * TILE_SIZE;
        tiles.get(first..tiles.len().min(first + count * TILE_SIZE)).unwrap_or_default()
    }

    /// Strips of a weight in bf16 between two columns, of which the first starts a tile; `None` in f32 and in blocks.
    pub(crate) fn pairs(
        &self,
        direction: Direction,
        strip: usize,
        columns: std::ops::Range<usize>,
    ) -> Option<PairWalk<'_>> {
        let Tiles::Bf16 { plain, transposed } = &self.tiles else { return None };
        let tiles = if direction == Direction::Plain { plain } else { transposed };
        let across = pair_tiles(self.shape(direction).1);
        let first = strip * across + columns.start / (2 * TILE_PAIRS);
        let pairs = bytemuck::cast_slice(&tiles[first * TILE..]);
        let count = pair_tiles(columns.len());
        Some(PairWalk { pairs, row: TILE_PAIRS, tile: TILE_SIZE, strip: across * TILE_SIZE, count })
    }
}

/// Tiles that a row of pairs has.
fn pair_tiles(columns: usize) -> usize {
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

fn bf16_tiles(rows: usize, columns: usize, at: impl Fn(usize, usize) -> f32 + Sync) -> Vec<Line> {
    let across = pair_tiles(columns);
    let mut tiles = vec![Line::ZERO; rows.div_ceil(TILE) * across * TILE];
    tiles.par_chunks_mut(across * TILE).enumerate().for_each(|(strip, tiles)| {
        let tiles: &mut [u32] = bytemuck::cast_slice_mut(tiles);
        for row in 0..TILE.min(rows - strip * TILE) {
            for column in 0..columns {
                let bits = u32::from(bf16::from_f32(at(strip * TILE + row, column)).to_bits());
                tiles[place(row, column / 2, across)] |= bits << (column % 2 * 16);
            }
        }
    });
    tiles
}

/// Whether a weight of this precision takes its other side in bf16 on this processor.
pub(crate) fn takes_pairs(precision: Precision, isa: Isa) -> bool {
    precision == Precision::Bf16 && isa.has_bf16()
}
