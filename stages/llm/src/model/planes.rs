use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use refit_blocks::{Plane, STEP_ZERO, Steps};
use refit_checkpoint::{BlockFormat, PackedTensor};

/// A matrix in blocks on a device, unpacked by burn operations for each use: the same numbers as on the CPU.
///
/// Whatever the format, it lies there as codes in planes of bits, a factor for each block, and small integers for its runs
/// ([`refit_blocks::Planes`]): 4.5 to 9 bits a number, of which the format itself has 4.5 to 8.5.
#[derive(Debug, Clone)]
pub(super) struct DevicePlanes {
    format: BlockFormat,
    width: usize,
    /// From the lowest bits of the codes up.
    codes: Vec<Bits>,
    zero: u8,
    levels: Option<Tensor<1>>,
    scale: Factors,
    offset: Option<Factors>,
}

/// Integers below a power of two, several in a word, for each row of the matrix.
#[derive(Debug, Clone)]
struct Bits {
    /// Bits of an integer.
    size: usize,
    /// `[rows, words]`.
    words: Tensor<2, Int>,
    /// Where the integers of a word begin, `[1, 1, integers]`.
    places: Tensor<3, Int>,
}

/// A factor for each run of a row.
#[derive(Debug, Clone)]
struct Factors {
    /// `[rows, blocks]`.
    of_blocks: Tensor<2>,
    of_runs: Option<Bits>,
}

impl DevicePlanes {
    pub(super) fn new(matrix: &PackedTensor, device: &Device) -> Self {
        let [rows, width] = matrix.shape;
        let planes = matrix.format.planes(&matrix.bytes);
        Self {
            format: matrix.format,
            width,
            codes: planes.codes.into_iter().map(|plane| Bits::new(plane, rows, device)).collect(),
            zero: planes.zero,
            levels: planes.levels.map(|levels| Tensor::from_data(TensorData::new(levels.to_vec(), [16]), device)),
            scale: Factors::new(planes.scale, rows, device),
            offset: planes.offset.map(|offset| Factors::new(offset, rows, device)),
        }
    }

    pub(super) fn format(&self) -> BlockFormat {
        self.format
    }

    pub(super) fn shape(&self) -> [usize; 2] {
        [self.scale.of_blocks.dims()[0], self.width]
    }

    /// Bytes on the device.
    pub(super) fn bytes(&self) -> usize {
        let factors = [Some(&self.scale), self.offset.as_ref()];
        let factors = factors.into_iter().flatten().map(Factors::bytes);
        self.codes.iter().map(Bits::bytes).chain(factors).sum()
    }

    /// Some of the rows, one after the other.
    pub(super) fn select(&self, rows: &Tensor<1, Int>) -> Self {
        Self {
            codes: self.codes.iter().map(|bits| bits.select(rows)).collect(),
            scale: self.scale.select(rows),
            offset: self.offset.as_ref().map(|offset| offset.select(rows)),
            ..self.clone()
        }
    }

    /// `[rows, width]`, by the operations of the format in their order.
    pub(super) fn unpack(&self) -> Tensor<2> {
        let [rows, width] = self.shape();
        let mut planes = self.codes.iter();
        let lowest = planes.next().expect("invariant: codes have bits");
        let (codes, _) = planes.fold((lowest.integers(), lowest.size), |(codes, from), plane| {
            (codes + plane.integers() * (1 << from), from + plane.size)
        });
        let numbers = match &self.levels {
            Some(levels) => levels.clone().select(0, codes.flatten::<1>(0, 1)).reshape([rows, width]),
            None if self.zero == 0 => codes.float(),
            None => codes.float() - f32::from(self.zero),
        };
        let scale = self.scale.of_runs();
        let runs = scale.dims()[1];
        let numbers = numbers.reshape([rows, runs, width / runs]) * scale.unsqueeze_dim(2);
        let numbers = match &self.offset {
            Some(offset) => numbers + offset.of_runs().unsqueeze_dim(2),
            None => numbers,
        };
        numbers.reshape([rows, width])
    }
}

impl Factors {
    fn new(steps: Steps, rows: usize, device: &Device) -> Self {
        let blocks = steps.factors.len() / rows;
        Self {
            of_blocks: Tensor::from_data(TensorData::new(steps.factors, [rows, blocks]), device),
            of_runs: steps.runs.map(|runs| Bits::new(runs, rows, device)),
        }
    }

    fn bytes(&self) -> usize {
        self.of_blocks.shape().num_elements() * size_of::<f32>() + self.of_runs.as_ref().map_or(0, Bits::bytes)
    }

    fn select(&self, rows: &Tensor<1, Int>) -> Self {
        Self {
            of_blocks: self.of_blocks.clone().select(0, rows.clone()),
            of_runs: self.of_runs.as_ref().map(|runs| runs.select(rows)),
        }
    }

    /// `[rows, runs]`.
    fn of_runs(&self) -> Tensor<2> {
        let Some(runs) = &self.of_runs else { return self.of_blocks.clone() };
        let [rows, blocks] = self.of_blocks.dims();
        let runs = runs.integers().float() - f32::from(STEP_ZERO);
        let count = runs.dims()[1];
        let scaled = runs.reshape([rows, blocks, count / blocks]) * self.of_blocks.clone().unsqueeze_dim(2);
        scaled.reshape([rows, count])
    }
}

impl Bits {
    fn new(plane: Plane, rows: usize, device: &Device) -> Self {
        let bits = plane.bits;
        let places: Vec<i32> = (0..i32::BITS as i32).step_by(bits).collect();
        let (words, integers) = (plane.words.len() / rows, places.len());
        Self {
            size: bits,
            words: Tensor::from_data(TensorData::new(plane.words, [rows, words]), (device, DType::I32)),
            places: Tensor::from_data(TensorData::new(places, [1, 1, integers]), (device, DType::I32)),
        }
    }

    fn bytes(&self) -> usize {
        self.words.shape().num_elements() * size_of::<i32>()
    }

    fn select(&self, rows: &Tensor<1, Int>) -> Self {
        Self { words: self.words.clone().select(0, rows.clone()), ..self.clone() }
    }

    /// `[rows, integers]`.
    fn integers(&self) -> Tensor<2, Int> {
        let [rows, words] = self.words.dims();
        let each = self.places.dims()[2];
        let shifted = self.words.clone().reshape([rows, words, 1]).bitwise_right_shift(self.places.clone());
        // What the sign brought in goes here.
        shifted.bitwise_and_scalar((1 << self.size) - 1).reshape([rows, words * each])
    }
}
