use super::half_at;

/// f16 d, 32 signed bytes: `q d`.
pub(super) fn q8_0(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(34).zip(out.chunks_exact_mut(32)) {
        let d = half_at(block, 0);
        for (value, q) in out.iter_mut().zip(&block[2..]) {
            *value = f32::from(*q as i8) * d;
        }
    }
}
