//! Register tiles by the vector instructions of each kind of processor: the inner loops that decide how fast the CPU core is.
//!
//! A compiler keeps an array of sums in registers in one function and in memory in the next; here they are variables of a
//! vector type. Each kind multiplies, then adds, term by term as [`Portable`] does: the same bits.

use sse_sam_core::ops::workers::{PIXELS, Portable, Tiles, Windows};

/// Whether all that `size` steps reach from each place, `width` numbers at a time, lies in `length` numbers; not where there
/// is nothing.
#[inline(always)]
fn fits(length: usize, places: &[usize], steps: [isize; 3], size: [usize; 3], width: usize) -> bool {
    let (mut low, mut high) = (0_isize, 0_isize);
    for (step, size) in steps.into_iter().zip(size) {
        let Some(reach) = size.checked_sub(1).and_then(|last| isize::try_from(last).ok()?.checked_mul(step)) else {
            return false;
        };
        low = low.saturating_add(reach.min(0));
        high = high.saturating_add(reach.max(0));
    }
    places.iter().all(|at| {
        at.checked_add_signed(low).is_some()
            && at.checked_add_signed(high).and_then(|last| last.checked_add(width)).is_some_and(|end| end <= length)
    })
}

/// Steps of a place that lies within a slice.
fn signed<const N: usize>(steps: [usize; N]) -> [isize; N] {
    steps.map(|step| isize::try_from(step).unwrap_or(isize::MAX))
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

            /// `sums[p] += x[p][i * steps[0] + j * steps[1] + t * steps[2]] * weight[likewise..]` for all `i`, `j`, `t` below
            /// `size`, in that order.
            ///
            /// # Safety
            /// The processor must have the instructions; all that is named must lie in memory that may be read, and `sums`
            /// be four rows of `V` vectors that may be written.
            #[target_feature(enable = $features)]
            unsafe fn add<const V: usize>(
                sums: *mut f32,
                x: [*const f32; PIXELS],
                steps: [isize; 3],
                weight: *const f32,
                weight_steps: [isize; 3],
                size: [usize; 3],
            ) {
                // SAFETY: the caller's.
                unsafe {
                    let mut tile = [[$splat(0.0); V]; PIXELS];
                    for p in 0..PIXELS {
                        for v in 0..V {
                            tile[p][v] = $load(sums.add((p * V + v) * $lanes));
                        }
                    }
                    let (mut row_at, mut row_weight) = (0_isize, weight);
                    for _ in 0..size[0] {
                        let (mut tap_at, mut tap_weight) = (row_at, row_weight);
                        for _ in 0..size[1] {
                            let (mut at, mut weight) = (tap_at, tap_weight);
                            for _ in 0..size[2] {
                                let mut columns = [$splat(0.0); V];
                                for v in 0..V {
                                    columns[v] = $load(weight.add(v * $lanes));
                                }
                                for p in 0..PIXELS {
                                    let factor = $splat(*x[p].offset(at));
                                    for v in 0..V {
                                        tile[p][v] = $add(tile[p][v], $multiply(factor, columns[v]));
                                    }
                                }
                                (at, weight) = (at.wrapping_add(steps[2]), weight.wrapping_offset(weight_steps[2]));
                            }
                            tap_at = tap_at.wrapping_add(steps[1]);
                            tap_weight = tap_weight.wrapping_offset(weight_steps[1]);
                        }
                        row_at = row_at.wrapping_add(steps[0]);
                        row_weight = row_weight.wrapping_offset(weight_steps[0]);
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
                windows: Windows<'_>,
                (weight, steps): (&[f32], [usize; 3]),
                size: [usize; 3],
            ) {
                let Windows { x, at, steps: [row, tap] } = windows;
                let (x_steps, weight_steps) = ([row, tap, 1], signed(steps));
                $(if C == $lanes * $vectors
                    && fits(x.len(), &at, x_steps, size, 1)
                    && fits(weight.len(), &[0], weight_steps, size, C)
                {
                    // SAFETY: who has made `self` vouches for the processor. All terms of all pixels lie in `x` and
                    // `weight`, and a row of `sums` is so many vectors.
                    return unsafe {
                        let x = at.map(|at| x.as_ptr().add(at));
                        Self::add::<$vectors>(sums.as_mut_ptr().cast(), x, x_steps, weight.as_ptr(), weight_steps, size)
                    };
                })*
                Portable.multiply(sums, windows, (weight, steps), size);
            }

            #[inline(always)]
            fn outer<const C: usize>(
                self,
                sums: &mut [[f32; C]; PIXELS],
                (x, x_row, step): (&[f32], usize, usize),
                (dy, dy_row, pitch): (&[f32], usize, usize),
                (height, width): (usize, usize),
            ) {
                let ([x_row_step, x_step], [dy_row_step, dy_step]) = (signed([x_row, step]), signed([dy_row, pitch]));
                let (x_steps, dy_steps) = ([x_row_step, 0, x_step], [dy_row_step, 0, dy_step]);
                let size = [height, 1, width];
                $(if C == $lanes * $vectors
                    && fits(x.len(), &[0], x_steps, size, PIXELS)
                    && fits(dy.len(), &[0], dy_steps, size, C)
                {
                    // SAFETY: as above; a pixel's four channels lie side by side.
                    return unsafe {
                        let x = [0, 1, 2, 3].map(|p| x.as_ptr().add(p));
                        Self::add::<$vectors>(sums.as_mut_ptr().cast(), x, x_steps, dy.as_ptr(), dy_steps, size)
                    };
                })*
                Portable.outer(sums, (x, x_row, step), (dy, dy_row, pitch), (height, width));
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
