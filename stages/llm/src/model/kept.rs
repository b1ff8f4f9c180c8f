use std::{cmp::Reverse, fmt};

use refit_checkpoint::BlockFormat;

use super::Frozen;

/// How a model's matrices are kept in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightsKept {
    /// Block formats and the bytes in each.
    pub formats: Vec<(BlockFormat, usize)>,
    /// Bytes that matrices take.
    pub bytes: usize,
    /// Bytes they would take as f32.
    pub as_f32: usize,
}

impl WeightsKept {
    /// Counts a matrix in.
    pub(super) fn count(&mut self, matrix: &Frozen) {
        let (format, bytes) = matrix.kept();
        self.bytes += bytes;
        self.as_f32 += matrix.numbers() * 4;
        let Some(format) = format else { return };
        match self.formats.iter_mut().find(|(known, _)| *known == format) {
            Some((_, size)) => *size += bytes,
            None => self.formats.push((format, bytes)),
        }
        self.formats.sort_by_key(|(_, size)| Reverse(*size));
    }
}

/// `Q4_1 and Q8_0 blocks kept packed, 77 MiB instead of 513 MiB`, or `513 MiB`.
impl fmt::Display for WeightsKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| (bytes as f64 / f64::from(1 << 20)).round();
        match self.formats.as_slice() {
            [] => write!(f, "{} MiB", mib(self.bytes)),
            formats => {
                let names: Vec<&str> = formats.iter().map(|(format, _)| format.name()).collect();
                let (names, now, otherwise) = (names.join(" and "), mib(self.bytes), mib(self.as_f32));
                write!(f, "{names} blocks kept packed, {now} MiB instead of {otherwise} MiB")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_a_sentence() {
        let plain = WeightsKept { formats: vec![], bytes: 513 << 20, as_f32: 513 << 20 };
        assert_eq!(plain.to_string(), "513 MiB");
        let formats = vec![(BlockFormat::Q4_1, 60 << 20), (BlockFormat::Q8_0, 30 << 20)];
        let packed = WeightsKept { formats, bytes: 90 << 20, ..plain };
        assert_eq!(packed.to_string(), "Q4_1 and Q8_0 blocks kept packed, 90 MiB instead of 513 MiB");
    }
}
