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
                x: [&[f32]; PIXELS],
                weight: &[f32],
                pitch: usize,
            ) {
                let terms = x.iter().map(|x| x.len()).fold(usize::MAX, usize::min);
                let (steps, size) = (signed([0, 0, pitch]), [1, 1, terms]);
                $(if C == $lanes * $vectors && fits(weight.len(), &[0], steps, size, C) {
                    // SAFETY: who has made `self` vouches for the processor. Every pixel has so many terms, which end within
                    // `weight`, and a row of `sums` is so many vectors.
                    return unsafe {
                        let x = x.map(<[f32]>::as_ptr);
                        Self::add::<$vectors>(sums.as_mut_ptr().cast(), x, [0, 0, 1], weight.as_ptr(), steps, size)
                    };
                })*
                Portable.multiply(sums, x, weight, pitch);
            }

            #[inline(always)]
            fn window<const C: usize>(
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
                    // SAFETY: as above; all terms of all pixels lie in `x` and `weight`.
                    return unsafe {
                        let x = at.map(|at| x.as_ptr().add(at));
                        Self::add::<$vectors>(sums.as_mut_ptr().cast(), x, x_steps, weight.as_ptr(), weight_steps, size)
                    };
                })*
                Portable.window(sums, windows, (weight, steps), size);
            }

            #[inline(always)]
            fn outer<const C: usize>(self, sums: &mut [[f32; C]; PIXELS], x: &[f32], step: usize, dy: &[f32], pitch: usize) {
                let terms = |length: usize, width: usize, step: usize| match length.checked_sub(width) {
                    Some(rest) => rest.checked_div(step).map_or(0, |terms| terms + 1),
                    None => 0,
                };
                let width = terms(x.len(), PIXELS, step).min(terms(dy.len(), C, pitch));
                self.outer_rows(sums, (x, 0, step), (dy, 0, pitch), (1, width));
            }

            #[inline(always)]
            fn outer_rows<const C: usize>(
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
                Portable.outer_rows(sums, (x, x_row, step), (dy, dy_row, pitch), (height, width));
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

#[cfg(test)]
mod tests {
    use sse_sam_core::Error;
    use sse_sam_core::ops::workers::Formula;

    use super::*;
    use crate::device::threads::Level;

    fn numbers(seed: u32, count: u32) -> Vec<f32> {
        let number = |at: u32| (at.wrapping_mul(2_654_435_761) ^ seed).wrapping_mul(0x9E37_79B9) >> 8;
        (0..count).map(|at| number(at) as f32 / 8_388_608.0 - 1.0).collect()
    }

    /// Both kinds of products, in steps that go back, from places that go beyond the end, with nothing to add.
    struct All;

    fn products<const C: usize>(tiles: impl Tiles, bits: &mut Vec<u32>) {
        let (x, weight) = (numbers(1, 4000), numbers(2, 4000));
        for size in [[1, 1, 1], [3, 1, 29], [2, 3, 16], [3, 2, 5], [0, 3, 4], [2, 2, 0]] {
            for (at, steps) in
                [([5, 90, 90, 200], [100, 40]), ([900, 700, 650, 420], [-90, -31]), ([3990, 1, 2, 3], [10, -20])]
            {
                let mut sums = [[0.25; C]; PIXELS];
                tiles.window(&mut sums, Windows { x: &x, at, steps }, (&weight, [500, 170, C + 1]), size);
                bits.extend(sums.as_flattened().iter().map(|sum| sum.to_bits()));
            }
        }
        for (terms, pitch) in [(1, C), (64, 33), (7, 500), (90, 50), (0, C)] {
            let mut sums = [[0.25; C]; PIXELS];
            let pixels = [0, 100, 7, 1000].map(|at| &x[at..at + terms]);
            tiles.multiply(&mut sums, pixels, &weight, pitch);
            bits.extend(sums.as_flattened().iter().map(|sum| sum.to_bits()));
        }
        for (length, step, pitch) in [(0, 4, C), (4, 5, 40), (300, 7, 33), (4000, 90, 64), (900, 300, 100)] {
            let mut sums = [[0.25; C]; PIXELS];
            tiles.outer(&mut sums, &x[..length], step, &weight, pitch);
            bits.extend(sums.as_flattened().iter().map(|sum| sum.to_bits()));
        }
        for (height, width, row) in [(1, 1, 7), (3, 31, 500), (4, 8, 129), (2, 100, 1900), (0, 4, 1), (3, 0, 1)] {
            let mut sums = [[0.25; C]; PIXELS];
            tiles.outer_rows(&mut sums, (&x[3..], row, 9), (&weight[1..], row + 1, C), (height, width));
            bits.extend(sums.as_flattened().iter().map(|sum| sum.to_bits()));
        }
    }

    fn all(tiles: impl Tiles, bits: &mut Vec<u32>) {
        products::<1>(tiles, bits);
        products::<4>(tiles, bits);
        products::<8>(tiles, bits);
        products::<16>(tiles, bits);
        products::<32>(tiles, bits);
    }

    impl<'p> Formula<&'p mut Vec<u32>> for All {
        fn run(&self, tiles: impl Tiles, bits: &'p mut Vec<u32>) -> Result<(), Error> {
            all(tiles, bits);
            Ok(())
        }
    }

    #[test]
    fn every_processor_adds_up_the_same_bits() {
        let mut expected = Vec::new();
        all(Portable, &mut expected);
        for level in Level::ALL.iter().filter(|level| level.is_there()) {
            let mut found = Vec::new();
            level.run(&All, &mut found).unwrap();
            assert!(found == expected, "{}", level.name());
        }
    }
}
