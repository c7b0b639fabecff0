//! Packet sequence numbers: 24 bits, compared modulo 2^24 (IBA, section 9.7.1: half the space is the past).

use sluice_wire::roce::MASK_24;

/// `psn + n`.
#[inline]
pub const fn add(psn: u32, n: u32) -> u32 {
    psn.wrapping_add(n) & MASK_24
}

/// `a - b`, −2^23 to 2^23 − 1: negative if `a` is before `b`.
#[inline]
pub const fn diff(a: u32, b: u32) -> i32 {
    (a.wrapping_sub(b) << 8).cast_signed() >> 8
}

/// How far `to` is behind `from`, for `from` not after `to`.
#[inline]
pub const fn distance(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from) & MASK_24
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_difference_undoes_a_sum(psn in 0u32..1 << 24, n in 0u32..1 << 23) {
            let later = add(psn, n);
            prop_assert_eq!(diff(later, psn), n as i32);
            prop_assert_eq!(diff(psn, later), -(n as i32));
            prop_assert_eq!(distance(psn, later), n);
        }
    }

    #[test]
    fn the_space_wraps_at_24_bits() {
        assert_eq!(add(0xff_ffff, 1), 0);
        assert_eq!(diff(1, 0xff_ffff), 2);
        assert_eq!(diff(0xff_ffff, 1), -2);
    }
}
