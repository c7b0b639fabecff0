//! Numbers that an attacker must not guess: initial sequence numbers (RFC 6528), SYN cookies (RFC 4987, section 3.6) and
//! timestamp offsets (RFC 7323, section 7.1).

use core::hash::Hasher;
use siphasher::sip::SipHasher13;
use sluice_hal::Micros;

/// Both ends of a connection: addresses (IPv4 in the first word) and ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuple {
    pub peer: [u32; 4],
    pub local: [u32; 4],
    /// Peer's port in the upper half, own in the lower.
    pub ports: u32,
}

/// What a number is for, so that one tells nothing of another.
#[derive(Clone, Copy)]
enum Purpose {
    Isn = 1,
    Cookie,
    TimestampOffset,
}

fn hash(secret: [u64; 2], purpose: Purpose, tuple: &Tuple, extra: u32) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(secret[0], secret[1]);
    hasher.write_u8(purpose as u8);
    for word in tuple
        .peer
        .iter()
        .chain(&tuple.local)
        .chain([&tuple.ports, &extra])
    {
        hasher.write(&word.to_le_bytes());
    }
    hasher.finish() as u32
}

/// ISN = M + F(connection, secret), M counting in 4 µs (RFC 6528, section 3).
pub fn isn(secret: [u64; 2], tuple: &Tuple, now: Micros) -> u32 {
    hash(secret, Purpose::Isn, tuple, 0).wrapping_add((now.0 >> 2) as u32)
}

/// What to add to the clock in a connection's timestamps.
pub fn timestamp_offset(secret: [u64; 2], tuple: &Tuple) -> u32 {
    hash(secret, Purpose::TimestampOffset, tuple, 0)
}

/// Segment sizes that a cookie can hold.
const SIZES: [u16; 8] = [536, 1200, 1380, 1420, 1440, 1460, 4312, 8940];
/// log2 of the microseconds that a cookie's clock ticks in: 67 s. A cookie lives one to two ticks.
const TICK: u32 = 26;

/// Bits: 31:27 clock, 26:24 index in [`SIZES`], 23:0 hash.
pub fn cookie(secret: [u64; 2], tuple: &Tuple, peer_isn: u32, mss: u16, now: Micros) -> u32 {
    let size = SIZES.iter().rposition(|s| *s <= mss).unwrap_or(0) as u32;
    let head = ((now.0 >> TICK) as u32) << 27 | size << 24;
    head | mac(secret, tuple, peer_isn, head)
}

fn mac(secret: [u64; 2], tuple: &Tuple, peer_isn: u32, head: u32) -> u32 {
    hash(
        secret,
        Purpose::Cookie,
        tuple,
        peer_isn ^ head.rotate_left(5),
    ) & 0xff_ffff
}

/// The segment size in a cookie that was sent lately.
pub fn open_cookie(
    secret: [u64; 2],
    tuple: &Tuple,
    peer_isn: u32,
    cookie: u32,
    now: Micros,
) -> Option<u16> {
    let age = ((now.0 >> TICK) as u32).wrapping_sub(cookie >> 27) % 32;
    let head = cookie & 0xff00_0000;
    let fresh = age <= 1 && cookie & 0xff_ffff == mac(secret, tuple, peer_isn, head);
    fresh.then(|| SIZES[(cookie >> 24) as usize % SIZES.len()])
}

/// What a SYN with timestamps offered beyond its segment size, kept in the low 6 bits of the timestamp sent with a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// 15 stands for none.
    pub window_scale: u8,
    pub sack: bool,
    pub ecn: bool,
}

impl Offer {
    /// The latest timestamp up to `clock` that holds the offer.
    pub fn into_timestamp(self, clock: u32) -> u32 {
        let bits = u32::from(self.window_scale & 15)
            | u32::from(self.sack) << 4
            | u32::from(self.ecn) << 5;
        let value = clock & !63 | bits;
        if super::seq::after(value, clock) {
            value.wrapping_sub(64)
        } else {
            value
        }
    }

    pub fn from_timestamp(value: u32) -> Self {
        Self {
            window_scale: value as u8 & 15,
            sack: value & 16 != 0,
            ecn: value & 32 != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u64; 2] = [1, 2];
    const TUPLE: Tuple = Tuple {
        peer: [1, 0, 0, 0],
        local: [2, 0, 0, 0],
        ports: 3,
    };

    #[test]
    fn a_cookie_opens_for_its_own_connection_and_time_only() {
        let now = Micros(1 << 40);
        let cookie = cookie(SECRET, &TUPLE, 77, 1459, now);
        let open = |tuple: &Tuple, isn, seconds: u64| {
            open_cookie(SECRET, tuple, isn, cookie, now.after(seconds * 1_000_000))
        };
        assert_eq!(open(&TUPLE, 77, 0), Some(1440));
        assert_eq!(open(&TUPLE, 77, 70), Some(1440));
        assert_eq!(open(&TUPLE, 77, 140), None);
        assert_eq!(open(&TUPLE, 78, 0), None);
        assert_eq!(open(&Tuple { ports: 4, ..TUPLE }, 77, 0), None);
        assert_eq!(open_cookie(SECRET, &TUPLE, 77, cookie ^ 1 << 24, now), None);
    }

    #[test]
    fn isns_differ_between_connections_and_advance_with_time() {
        let at = |ports, us| isn(SECRET, &Tuple { ports, ..TUPLE }, Micros(us));
        assert_ne!(at(3, 0), at(4, 0));
        assert_eq!(at(3, 4_000_000).wrapping_sub(at(3, 0)), 1_000_000);
    }

    #[test]
    fn an_offer_survives_in_a_timestamp_that_is_not_in_the_future() {
        for clock in [0, 63, 64, 12_345, u32::MAX] {
            let offer = Offer {
                window_scale: 7,
                sack: true,
                ecn: false,
            };
            let value = offer.into_timestamp(clock);
            assert_eq!(Offer::from_timestamp(value), offer);
            assert!(clock.wrapping_sub(value) < 128);
        }
    }
}
