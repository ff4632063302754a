//! Register tiles by the vector instructions of each kind of processor: the inner loops that decide how fast the CPU core is.
//!
//! A compiler keeps an array of sums in registers in one function and in memory in the next; here they are variables of a
//! vector type. Each kind multiplies, then adds, term by term as [`Portable`] does: the same bits.

use sse_sam_core::ops::workers::{PIXELS, Portable, Tiles};

/// Numbers from the first to the last that `size` rows and columns touch, `width` at a time; `None` where there are none.
#[inline(always)]
fn extent(size: (usize, usize), row: usize, step: usize, width: usize) -> Option<usize> {
    let rows = size.0.checked_sub(1)?.checked_mul(row)?;
    rows.checked_add(size.1.checked_sub(1)?.checked_mul(step)?)?.checked_add(width)
}

/// Tiles of four rows of one kind of vectors, some a row.
macro_rules! tiles {
    ($(#[$doc:meta])* $name:ident, $features:literal, $vector:ident: $lanes:literal x [$($vectors:literal),*], widest $wide:literal,
     $splat:ident, $load:ident, $store:ident, $multiply:ident, $add:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(());

        impl $name {
            /// # Safety
            /// The processor must have the instructions.
            pub const unsafe fn new() -> Self {
                Self(())
            }

            /// `sums[p] += x[p][i * x_row + j * x_step] * weight[i * row + j * step..]` for all `i`, `j` below `size`.
            ///
            /// # Safety
            /// The processor must have the instructions; all that is named must lie in memory that may be read, and `sums`
            /// be four rows of `V` vectors that may be written.
            #[target_feature(enable = $features)]
            unsafe fn add<const V: usize>(
                sums: *mut f32,
                x: [*const f32; PIXELS],
                (x_row, x_step): (usize, usize),
                weight: *const f32,
                (row, step): (usize, usize),
                size: (usize, usize),
            ) {
                // SAFETY: the caller's.
                unsafe {
                    let mut tile = [[$splat(0.0); V]; PIXELS];
                    for p in 0..PIXELS {
                        for v in 0..V {
                            tile[p][v] = $load(sums.add((p * V + v) * $lanes));
                        }
                    }
                    for i in 0..size.0 {
                        let (mut at, mut weight) = (i * x_row, weight.add(i * row));
                        for _ in 0..size.1 {
                            let mut columns = [$splat(0.0); V];
                            for v in 0..V {
                                columns[v] = $load(weight.add(v * $lanes));
                            }
                            for p in 0..PIXELS {
                                let factor = $splat(*x[p].add(at));
                                for v in 0..V {
                                    tile[p][v] = $add(tile[p][v], $multiply(factor, columns[v]));
                                }
                            }
                            (at, weight) = (at.wrapping_add(x_step), weight.wrapping_add(step));
                        }
                    }
                    for p in 0..PIXELS {
                        for v in 0..V {
                            $store(sums.add((p * V + v) * $lanes), tile[p][v]);
                        }
                    }
                }
            }
        }

        impl Tiles for $name {
            const WIDE: usize = $wide;

            #[inline(always)]
            fn multiply<const C: usize>(
                self,
                sums: &mut [[f32; C]; PIXELS],
                x: [&[f32]; PIXELS],
                weight: &[f32],
                pitch: usize,
                at: usize,
            ) {
                let terms = x.iter().map(|x| x.len()).fold(usize::MAX, usize::min);
                let fits = extent((1, terms), 0, pitch, C).and_then(|end| end.checked_add(at)) <= Some(weight.len());
                $(if C == $lanes * $vectors && terms > 0 && fits {
                    let x = x.map(<[f32]>::as_ptr);
                    // SAFETY: who has made `self` vouches for the processor. Every pixel has so many terms, the weights of
                    // the last one lie in `weight`, and a row of `sums` is so many vectors.
                    return unsafe {
                        let weight = weight.as_ptr().add(at);
                        Self::add::<$vectors>(sums.as_mut_ptr().cast(), x, (0, 1), weight, (0, pitch), (1, terms))
                    };
                })*
                Portable.multiply(sums, x, weight, pitch, at);
            }

            #[inline(always)]
            fn outer<const R: usize, const C: usize>(
                self,
                sums: &mut [[f32; C]; R],
                (x, x_row, step): (&[f32], usize, usize),
                (dy, dy_row, pitch): (&[f32], usize, usize),
                size: (usize, usize),
            ) {
                let fits = |row, step, width, length| extent(size, row, step, width).is_some_and(|end| end <= length);
                $(if R == PIXELS && C == $lanes * $vectors && fits(x_row, step, R, x.len()) && fits(dy_row, pitch, C, dy.len()) {
                    let first = x.as_ptr();
                    // SAFETY: as above; what the last term of the last row needs lies in `x` and `dy`.
                    return unsafe {
                        let x = [first, first.add(1), first.add(2), first.add(3)];
                        Self::add::<$vectors>(sums.as_mut_ptr().cast(), x, (x_row, step), dy.as_ptr(), (dy_row, pitch), size)
                    };
                })*
                Portable.outer(sums, (x, x_row, step), (dy, dy_row, pitch), size);
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    tiles!(
        /// 16 registers of 4 numbers, which every x86-64 processor has.
        Sse2, "sse2", __m128: 4 x [1, 2], widest 8, _mm_set1_ps, _mm_loadu_ps, _mm_storeu_ps, _mm_mul_ps, _mm_add_ps
    );
    tiles!(
        /// 16 registers of 8 numbers.
        Avx2, "avx2", __m256: 8 x [1, 2], widest 16,
        _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_mul_ps, _mm256_add_ps
    );
    tiles!(
        /// 32 registers of 16 numbers.
        Avx512, "avx512f,avx512vl,avx512dq,avx512bw", __m512: 16 x [1, 2], widest 32,
        _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_mul_ps, _mm512_add_ps
    );
}
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512, Sse2};

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::*;

    tiles!(
        /// 32 registers of 4 numbers, which every 64-bit ARM processor has.
        Neon, "neon", float32x4_t: 4 x [1, 2, 4], widest 16, vdupq_n_f32, vld1q_f32, vst1q_f32, vmulq_f32, vaddq_f32
    );
}
#[cfg(target_arch = "aarch64")]
pub use arm::Neon;
