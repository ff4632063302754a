//! The square root.

/// `x^(1/2)`, correctly rounded, on every machine the same bits.
///
/// Digit by digit, in an eighth of the room that libm's takes with its table: it is called once a vector, or once a
/// channel, and never in an inner loop.
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
    // Exact, and no number below has fewer digits.
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
    // One digit more than there is room for; a root is never half way.
    let mantissa = (root + u32::from(rest != 0 && root & 1 == 1)) >> 1;
    let bits = mantissa.wrapping_add(0x3F00_0000).wrapping_add(((exponent >> 1) << 23) as u32);
    f32::from_bits(bits) * scale
}

#[cfg(test)]
mod tests {
    use super::sqrt;

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
