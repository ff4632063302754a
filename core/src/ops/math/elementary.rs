//! Square root, exponential and logarithm for what a step needs: small, and the same bits on every machine.

const LN2_HIGH: f32 = f32::from_bits(0x3F31_7200);
const LN2_LOW: f32 = f32::from_bits(0x35BF_BE8E);

/// `x^(1/2)`, correctly rounded, on every machine the same bits.
///
/// Digit by digit: an eighth of the flash that libm's takes with its table. It is called once a vector or channel,
/// never in an inner loop.
///
/// # Source
/// FreeBSD's `e_sqrtf.c` (fdlibm).
#[inline(never)]
pub(crate) fn sqrt(x: f32) -> f32 {
    if x == 0.0 || x.is_nan() || x == f32::INFINITY {
        return x;
    }
    if x < 0.0 {
        return f32::NAN;
    }
    // Scaled to a normal number, which is exact.
    let (x, scale) = if x < f32::MIN_POSITIVE { (x * 16_777_216.0, 1.0 / 4096.0) } else { (x, 1.0) };
    let exponent = (x.to_bits() >> 23) as i32 - 127;
    let mut rest = (x.to_bits() & 0x007F_FFFF | 0x0080_0000) << (1 + (exponent & 1));
    let (mut root, mut doubled, mut digit) = (0_u32, 0_u32, 1_u32 << 24);
    while digit != 0 {
        let trial = doubled + digit;
        if trial <= rest {
            doubled = trial + digit;
            rest -= trial;
            root += digit;
        }
        rest <<= 1;
        digit >>= 1;
    }
    // The last digit decides rounding; a root never lies half way between two numbers.
    let mantissa = (root + u32::from(rest != 0 && root & 1 == 1)) >> 1;
    let bits = mantissa.wrapping_add(0x3F00_0000).wrapping_add(((exponent >> 1) << 23) as u32);
    f32::from_bits(bits) * scale
}

/// `e^x` for `x` of at most 0: libm's bits, but for the last one of an `x` closely below 0.
///
/// # Source
/// FreeBSD's `e_expf.c` (fdlibm).
#[inline(never)]
pub(crate) fn exp(x: f32) -> f32 {
    // The result is below half of the smallest positive number.
    if x < -103.972_08 {
        return 0.0;
    }
    let mut halvings = 0;
    let (mut high, mut low) = (x, 0.0);
    if x < -0.5 * core::f32::consts::LN_2 {
        // `as` rounds towards zero, so 0.5 is added first; near zero it is 1 without a multiplication, as in fdlibm.
        halvings = if x < -1.039_720_8 { (0.5 - core::f32::consts::LOG2_E * x) as u32 } else { 1 };
        let halvings = halvings as f32;
        (high, low) = (x + halvings * LN2_HIGH, -halvings * LN2_LOW);
    }
    let x = high - low;
    let square = x * x;
    let c = x - square * (f32::from_bits(0x3E2A_AA8F) - square * f32::from_bits(0x3B35_5215));
    let y = 1.0 + (x * c / (2.0 - c) - low + high);
    let power = |halvings: u32| f32::from_bits(127_u32.wrapping_sub(halvings) << 23);
    // In two multiplications, of which only the second can round.
    let first = if halvings > 64 { 64 } else { halvings };
    y * power(first) * power(halvings - first)
}

/// `ln(1 + x)` for `x` of at least 0.
///
/// # Source
/// FreeBSD's `s_log1pf.c` (fdlibm).
#[inline(never)]
pub(crate) fn log1p(x: f32) -> f32 {
    if !x.is_finite() {
        return x;
    }
    let one_more = 1.0 + x;
    // One plus `x` as a power of 2 and a factor between the roots of a half and of 2.
    let bits = one_more.to_bits() + (0x3F80_0000 - 0x3F35_04F3);
    let power = ((bits >> 23) as i32 - 127) as f32;
    // What rounding to `one_more` took away.
    let lost = if x < 1.0 { x - (one_more - 1.0) } else { 1.0 - (one_more - x) } / one_more;
    let (f, lost) =
        if power == 0.0 { (x, 0.0) } else { (f32::from_bits((bits & 0x007F_FFFF) + 0x3F35_04F3) - 1.0, lost) };
    let s = f / (2.0 + f);
    let square = s * s;
    let fourth = square * square;
    let even = fourth * (f32::from_bits(0x3ECC_CE13) + fourth * f32::from_bits(0x3E78_9E26));
    let odd = square * (f32::from_bits(0x3F2A_AAAA) + fourth * f32::from_bits(0x3E91_E9EE));
    let half = 0.5 * f * f;
    let [ln2_high, ln2_low] = [f32::from_bits(0x3F31_7180), f32::from_bits(0x3717_F7D1)];
    s * (half + (odd + even)) + (power * ln2_low + lost) - half + f + power * ln2_high
}

#[cfg(test)]
mod tests {
    use super::{exp, log1p, sqrt};

    #[test]
    fn exponentials_are_those_of_libm() {
        let edges =
            [0.0, -0.0, -1e-9, -0.346_573_6, -0.35, -1.039_720_8, -1.04, -87.4, -103.9, -104.0, f32::NEG_INFINITY];
        let steps = (0x8000_0000..0xC300_0000_u32).step_by(1009).map(f32::from_bits);
        for x in edges.into_iter().chain(steps) {
            // Closer to 0 than this, libm returns 1 + x.
            let allowed = if x >= -1.0 / 8192.0 { 1 } else { 0 };
            assert!(exp(x).to_bits().abs_diff(libm::expf(x).to_bits()) <= allowed, "{x:e}");
        }
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn logarithms_are_those_of_libm() {
        let steps = (0..0x7F80_0000_u32).step_by(1009).map(f32::from_bits);
        for x in [0.0, f32::from_bits(1), 0.414, 0.4143, 1.0, f32::MAX, f32::INFINITY].into_iter().chain(steps) {
            let (found, expected) = (log1p(x), libm::log1p(x.into()) as f32);
            assert!(
                (found - expected).abs() <= 2.0 * f32::EPSILON * expected.abs() || found == expected,
                "{x:e}: {found:e}, {expected:e}"
            );
        }
        assert!(log1p(f32::NAN).is_nan());
    }

    #[test]
    fn roots_are_those_of_libm() {
        let edges = [0.0, -0.0, f32::INFINITY, 1.0, 2.0, 4.0, f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1)];
        let steps = (0..0x7F80_0000_u32).step_by(1009).map(f32::from_bits);
        for x in edges.into_iter().chain(steps) {
            assert_eq!(sqrt(x).to_bits(), libm::sqrtf(x).to_bits(), "{x:e}");
        }
    }

    #[test]
    fn what_has_no_root_is_not_a_number() {
        for x in [-1.0, f32::NEG_INFINITY, f32::NAN] {
            assert!(sqrt(x).is_nan());
        }
    }
}
