//! Arithmetic modulo 2^32 on sequence numbers, timestamps and times (RFC 9293, section 3.4).

/// `a` comes before `b`.
#[inline]
pub const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// `a` comes after `b`.
#[inline]
pub const fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

/// The later of two.
#[inline]
pub const fn later(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}

/// The earlier of two.
#[inline]
pub const fn earlier(a: u32, b: u32) -> u32 {
    if before(a, b) { a } else { b }
}

/// Bytes from `a` to `b`, 0 if `b` is not after `a`.
#[inline]
pub const fn distance(a: u32, b: u32) -> u32 {
    if before(a, b) { b.wrapping_sub(a) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_across_the_wrap() {
        assert!(before(0xffff_fff0, 0x10) && after(0x10, 0xffff_fff0));
        assert!(!before(5, 5) && !after(5, 5));
        assert_eq!(
            (later(0xffff_fff0, 1), earlier(0xffff_fff0, 1)),
            (1, 0xffff_fff0)
        );
        assert_eq!(
            (distance(0xffff_fff0, 0x10), distance(0x10, 0xffff_fff0)),
            (0x20, 0)
        );
    }
}
