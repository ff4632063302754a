//! What the tests of the operations share.

extern crate std;

pub(super) use std::vec::Vec;

/// `count` numbers in -1..1 that depend on `seed` alone.
pub(super) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The same numbers in `f64`.
pub(super) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// Asserts that the two differ by at most `tolerance` of the expected one's largest element.
#[track_caller]
pub(super) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    assert!(!found.is_empty(), "nothing was compared");
    let largest = expected.iter().fold(1e-30_f64, |largest, value| largest.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs() / largest;
        assert!(error <= tolerance, "element {at}: {found} instead of {expected}, {error:e} of {largest}");
    }
}

/// Central differences of `f` at `x`.
pub(super) fn differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut moved = x.to_vec();
    let mut slope = |at: usize| {
        let mut value = |to: f64| {
            moved[at] = to;
            f(&moved)
        };
        let slope = (value(x[at] + 1e-5) - value(x[at] - 1e-5)) / 2e-5;
        moved[at] = x[at];
        slope
    };
    (0..x.len()).map(&mut slope).collect()
}

/// The compiler's tiles, as wide as a processor with other registers has them.
#[derive(Clone, Copy)]
pub struct Wide<const W: usize>;

impl<const W: usize> crate::ops::workers::Tiles for Wide<W> {
    const WIDE: usize = W;
}
