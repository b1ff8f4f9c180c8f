use super::{
    TILE_PAIRS,
    halves::{self, CHAIN},
    pack::pack_rows,
    split::PARTS,
    widen::Round,
};
use crate::{
    Isa, Precision, Right, Rows,
    lanes::PAD,
    line::{Line, make_room},
    places::Places,
    reading::{BLOCK, Wanted, read},
    right_rows::RightRows,
    room::Numbers,
};

/// Tokens of a panel.
pub(crate) const PANEL: usize = 48;

/// Activations for products with weights: panels of 48 tokens, and in a panel pairs of features in bf16,
/// `[parts][tokens / 48][features / 2][48][2]`, with pairs of zeros up to a multiple of 16. For weights in bf16 they are rounded, so that there is
/// one part; for those in f32 there are three, or no panels at all. Where products are in f16, pairs are. Where no instruction takes pairs they are
/// f32, `[tokens / 48][features][48]`, for weights in bf16 rounded to that.
#[derive(Debug, Default)]
pub struct Panels {
    /// Whom it was packed for.
    isa: Option<Isa>,
    parts: usize,
    features: usize,
    stride: usize,
    pairs: Vec<Line>,
    /// What the numbers of a token in a block of features were divided by where they are in f16, `[tokens / 48][pairs / 64][48]`.
    scales: Vec<f32>,
    floats: Numbers,
}

/// What a product reads of [`Panels`].
pub(crate) enum Packed<'a> {
    Pairs(InPairs<'a>),
    Floats(RightRows<'a>),
}

/// Pairs in panels.
pub(crate) struct InPairs<'a> {
    pub(crate) pairs: &'a [u32],
    /// Pairs in a panel.
    pub(crate) deep: usize,
    pub(crate) scales: &'a [f32],
}

impl Panels {
    /// Bytes that one number takes in panels for weights of a precision; none where they take numbers as they lie.
    pub fn bytes_of_number(isa: Isa, precision: Precision) -> usize {
        match (parts(isa, precision), isa.has_pairs()) {
            (0, _) => 0,
            (parts, true) => parts * size_of::<u16>(),
            (_, false) => size_of::<f32>(),
        }
    }

    /// Whether products with weights of a precision take rows as they lie.
    pub fn takes_as_they_lie(isa: Isa, precision: Precision) -> bool {
        parts(isa, precision) == 0
    }

    /// Brings rows that lie in lanes (`stride` tokens each) into the form that products with weights of a precision take;
    /// those of f32 take them as they lie, unless they are multiplied in parts or by AVX2.
    pub fn pack<'a>(&'a mut self, isa: Isa, precision: Precision, rows: &'a [f32], stride: usize) -> Right<'a> {
        let rows = Rows::There { rows, tokens: stride };
        read(isa, rows, Wanted { panels: Some((self, precision)), ..Wanted::default() });
        self.right(rows)
    }

    /// Rows that were packed in a reading as products take them.
    ///
    /// # Panics
    /// When they are others, or would be taken as they lie and lie nowhere.
    pub fn right<'a>(&'a self, rows: Rows<'a>) -> Right<'a> {
        if self.parts == 0 {
            return rows.as_they_lie();
        }
        let shape = (rows.features(), rows.stride());
        assert!((self.features, self.stride) == shape, "panels are of other rows");
        Right::Panels(self)
    }

    /// Makes room for rows of some features; none is needed where products take them as they lie.
    pub(crate) fn filling(
        &mut self,
        isa: Isa,
        precision: Precision,
        features: usize,
        stride: usize,
    ) -> Option<Filling<'_>> {
        (self.isa, self.parts) = (Some(isa), parts(isa, precision));
        (self.features, self.stride) = (features, stride);
        if self.parts == 0 || features == 0 {
            return None;
        }
        // Room that was there is kept: zeros would be written to it again and again.
        if !isa.has_pairs() {
            let numbers = features * stride;
            self.floats.reuse(numbers);
            let places = Places::new(&mut self.floats, numbers);
            let to = To::Floats { places, features, rounds: precision == Precision::Bf16 };
            return Some(Filling { isa, parts: 1, stride, to });
        }
        let (deep, panels) = (self.deep(), self.parts * stride.div_ceil(PANEL));
        let lines = panels * deep * PANEL / PAD;
        make_room(&mut self.pairs, lines);
        let chains = if isa.multiplies_halves() { deep.div_ceil(CHAIN) } else { 0 };
        let scales = panels * chains * PANEL;
        if self.scales.len() < scales {
            self.scales.resize(scales, 0.0);
        }
        let places = Places::new(bytemuck::cast_slice_mut(&mut self.pairs[..lines]), deep * PANEL);
        let scales = (chains > 0).then(|| Places::new(&mut self.scales[..scales], chains * PANEL));
        Some(Filling { isa, parts: self.parts, stride, to: To::Pairs { places, deep, panels, scales } })
    }

    /// How many numbers in bf16 stand for each.
    pub(crate) fn parts(&self) -> usize {
        self.parts
    }

    pub(crate) fn features(&self) -> usize {
        self.features
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Whether products take it as they take rows in lanes.
    pub(crate) fn holds_floats(&self) -> bool {
        self.isa.is_some_and(|isa| !isa.has_pairs())
    }

    /// What a product reads of it.
    pub(crate) fn bytes(&self) -> usize {
        2 * self.parts * self.features * self.stride
    }

    /// Pairs in a panel.
    fn deep(&self) -> usize {
        self.features.div_ceil(2).next_multiple_of(TILE_PAIRS)
    }

    pub(crate) fn packed(&self, isa: Isa) -> Packed<'_> {
        assert_eq!(self.isa, Some(isa), "panels are for the instructions they were packed for");
        if isa.has_pairs() {
            Packed::Pairs(InPairs { pairs: bytemuck::cast_slice(&self.pairs), deep: self.deep(), scales: &self.scales })
        } else {
            Packed::Floats(RightRows::Panels { values: &self.floats, rows: self.features, columns: self.stride })
        }
    }
}

/// Room in panels, which is filled block by block.
pub(crate) struct Filling<'a> {
    isa: Isa,
    parts: usize,
    stride: usize,
    to: To<'a>,
}

enum To<'a> {
    Pairs {
        /// A panel in each row.
        places: Places<'a, u32>,
        /// Pairs in a panel.
        deep: usize,
        panels: usize,
        /// What tokens were divided by, a panel in each row.
        scales: Option<Places<'a, f32>>,
    },
    Floats {
        /// All in one row.
        places: Places<'a, f32>,
        features: usize,
        /// Whether they are rounded to bf16.
        rounds: bool,
    },
}

impl Filling<'_> {
    /// Packs the rows of a block of [`BLOCK`].
    ///
    /// # Safety
    /// Nobody else may do so at the same time.
    pub(crate) unsafe fn fill(&self, block: usize, rows: &[f32]) {
        let Self { isa, parts, stride, ref to } = *self;
        match to {
            To::Pairs { places, deep, panels, scales } => {
                let first = block * BLOCK / 2;
                let pairs = first..(first + BLOCK / 2).min(*deep);
                // SAFETY: these are the places of features of the block.
                let part = |panel| unsafe { places.part(panel, pairs.start * PANEL..pairs.end * PANEL) };
                let mut to: Vec<&mut [u32]> = (0..*panels).map(part).collect();
                if let Some(scales) = scales {
                    // SAFETY: as above.
                    let part = |panel| unsafe { scales.part(panel, block * PANEL..(block + 1) * PANEL) };
                    let mut scales: Vec<&mut [f32]> = (0..*panels).map(part).collect();
                    halves::pack_rows(isa, rows, stride, &mut to, &mut scales);
                } else {
                    pack_rows(isa, parts, rows, stride, &mut to);
                }
            }
            To::Floats { places, features, rounds } => {
                for (at, row) in rows.chunks_exact(stride).enumerate() {
                    for (panel, from) in row.chunks(PANEL).enumerate() {
                        let start = panel * PANEL * features + (block * BLOCK + at) * from.len();
                        // SAFETY: these are the places of this row, which is of the block.
                        let to = unsafe { places.part(0, start..start + from.len()) };
                        to.copy_from_slice(from);
                        if *rounds {
                            isa.run(Round(to));
                        }
                    }
                }
            }
        }
    }
}

/// How many numbers stand for one that meets weights of a precision; none where it is taken as it lies.
fn parts(isa: Isa, precision: Precision) -> usize {
    match precision {
        Precision::F32 if isa.multiplies_parts() => PARTS,
        Precision::F32 => usize::from(isa.takes_panels_of_floats()),
        Precision::Bf16 => 1,
    }
}
