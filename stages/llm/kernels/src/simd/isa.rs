use super::{Simd, portable::Portable};

/// Which instructions the kernels use. A value exists only for what this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// With AVX512-BF16, whose products are not used.
    #[cfg(target_arch = "x86_64")]
    Avx512Fp16,
    /// With AVX512-BF16; whether numbers in f32 are multiplied in parts.
    #[cfg(target_arch = "x86_64")]
    Amx {
        parts: bool,
    },
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Isa {
    /// The best this processor has.
    pub fn best() -> Self {
        Self::available().pop().expect("invariant: there is always the portable one")
    }

    /// All that this processor has, the best last.
    pub fn available() -> Vec<Self> {
        let mut found = vec![Self(Kind::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                found.push(Self(Kind::Avx2));
            }
            if std::arch::is_x86_feature_detected!("avx512f") {
                found.push(Self(Kind::Avx512));
                if std::arch::is_x86_feature_detected!("avx512bf16") {
                    // On one core of an Emerald Rapids loops of nothing else reach 80 GFLOP/s in bf16 and 170 in f32. On a
                    // Zen 4 these kernels reach about 215 in bf16 and half of that in f32.
                    let place = if is_intel() { found.len() - 1 } else { found.len() };
                    found.insert(place, Self(Kind::Avx512Bf16));
                    if std::arch::is_x86_feature_detected!("avx512fp16") {
                        let place = if is_intel() { found.len() } else { found.len() - 1 };
                        found.insert(place, Self(Kind::Avx512Fp16));
                    }
                    if super::amx::is_there() {
                        found.extend([false, true].map(|parts| Self(Kind::Amx { parts })));
                    }
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            found.push(Self(Kind::Neon));
        }
        found
    }

    /// Whether it has products of pairs, in bf16 or in f16.
    pub fn has_pairs(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return matches!(self.0, Kind::Avx512Bf16 | Kind::Avx512Fp16 | Kind::Amx { .. });
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Whether its products of pairs are in f16.
    pub fn multiplies_halves(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.0 == Kind::Avx512Fp16;
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Whether it has products of whole tiles of bf16.
    pub(crate) fn has_tiles(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return matches!(self.0, Kind::Amx { .. });
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Whether it multiplies numbers in f32 as three in bf16 each, see [`crate::Panels`].
    pub(crate) fn multiplies_parts(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.0 == Kind::Amx { parts: true };
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Whether products with weights in f32 take rows in panels: AVX2 fills its few registers anew so often that it waits for a cache that cannot hold
    /// them as they lie.
    pub(crate) fn takes_panels_of_floats(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.0 == Kind::Avx2;
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// The same instructions where products are of few tokens: what it takes to cut a weight in f32 into parts is not worth it there.
    #[must_use]
    pub fn for_few_tokens(self) -> Self {
        #[cfg(target_arch = "x86_64")]
        if self.has_tiles() {
            return Self(Kind::Amx { parts: false });
        }
        self
    }

    /// The name for people.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Bf16 => "AVX-512 with BF16",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Fp16 => "AVX-512 with FP16",
            #[cfg(target_arch = "x86_64")]
            Kind::Amx { parts: false } => "AVX-512 with AMX",
            #[cfg(target_arch = "x86_64")]
            Kind::Amx { parts: true } => "AVX-512 with AMX, float32 in three parts of bfloat16",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "NEON",
        }
    }

    /// Runs a kernel with these instructions.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Kind::Portable => kernel.run(Portable),
            // SAFETY: a value of this kind is made only where the processor has the features.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { with_avx2(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 | Kind::Avx512Bf16 | Kind::Avx512Fp16 | Kind::Amx { .. } => unsafe { with_avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => unsafe { with_neon(kernel) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    let found = std::arch::x86_64::__cpuid(0);
    [found.ebx, found.edx, found.ecx] == [*b"Genu", *b"ineI", *b"ntel"].map(u32::from_le_bytes)
}

/// Work written once for all instructions. `run` must be `#[inline(always)]`: only then is it compiled with them.
pub(crate) trait Kernel {
    /// What comes out.
    type Output;
    /// Does the work.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(super::avx512::Avx512(()))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(super::avx2::Avx2(()))
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn with_neon<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(super::neon::Neon(()))
}
