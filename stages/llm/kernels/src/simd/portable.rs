use super::Simd;

/// Plain arithmetic for any processor; the compiler makes of it what there is.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

const WIDTH: usize = 4;

impl Simd for Portable {
    type Vector = [f32; WIDTH];
    const WIDTH: usize = WIDTH;
    const ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; WIDTH] {
        [value; WIDTH]
    }
    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> [f32; WIDTH] {
        // SAFETY: the caller says that so many numbers lie there.
        unsafe { from.cast::<[f32; WIDTH]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut f32, value: [f32; WIDTH]) {
        // SAFETY: the caller says that there is room for so many numbers.
        unsafe { to.cast::<[f32; WIDTH]>().write_unaligned(value) }
    }
    #[inline(always)]
    fn add(self, a: [f32; WIDTH], b: [f32; WIDTH]) -> [f32; WIDTH] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: [f32; WIDTH], b: [f32; WIDTH]) -> [f32; WIDTH] {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: [f32; WIDTH], b: [f32; WIDTH]) -> [f32; WIDTH] {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: [f32; WIDTH], b: [f32; WIDTH]) -> [f32; WIDTH] {
        std::array::from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn max(self, a: [f32; WIDTH], b: [f32; WIDTH]) -> [f32; WIDTH] {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, a: [f32; WIDTH], b: [f32; WIDTH]) -> [f32; WIDTH] {
        std::array::from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn fma(self, a: [f32; WIDTH], b: [f32; WIDTH], c: [f32; WIDTH]) -> [f32; WIDTH] {
        // Not `mul_add`: without the instruction that is a call for every number.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn round(self, a: [f32; WIDTH]) -> [f32; WIDTH] {
        // Adding 1.5 · 2²³ leaves no room for a fraction; numbers here are far smaller.
        a.map(|x| (x + 12_582_912.0) - 12_582_912.0)
    }
    #[inline(always)]
    fn scale(self, a: [f32; WIDTH], n: [f32; WIDTH]) -> [f32; WIDTH] {
        self.mul(a, n.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23)))
    }
}
