//! ICMP and ICMPv6: echo, "packet too big" and neighbour discovery. Sources: RFC 792, RFC 1191, RFC 4443, RFC 4861.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian::U16};

/// ICMP echo reply.
pub const V4_ECHO_REPLY: u8 = 0;
/// ICMP destination unreachable.
pub const V4_UNREACHABLE: u8 = 3;
/// Its code "fragmentation needed and DF set"; the MTU is in `low` (RFC 1191, section 4).
pub const V4_CODE_TOO_BIG: u8 = 4;
/// ICMP echo request.
pub const V4_ECHO: u8 = 8;
/// ICMPv6 packet too big; the MTU is in `high` and `low`.
pub const V6_TOO_BIG: u8 = 2;
/// ICMPv6 echo request.
pub const V6_ECHO: u8 = 128;
/// ICMPv6 echo reply.
pub const V6_ECHO_REPLY: u8 = 129;
/// Neighbour solicitation.
pub const V6_SOLICIT: u8 = 135;
/// Neighbour advertisement.
pub const V6_ADVERTISE: u8 = 136;

/// Opens every message of either version.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// Message type.
    pub kind: u8,
    /// Its subtype.
    pub code: u8,
    /// Internet checksum; ICMPv6 with pseudo-header.
    pub checksum: U16,
    /// By type: echo identifier, or the MTU's high half (ICMPv6).
    pub high: U16,
    /// By type: echo sequence number, or the MTU (its low half).
    pub low: U16,
}
const _: () = assert!(size_of::<Header>() == 8);

/// A neighbour solicitation or advertisement with one link-layer address option (RFC 4861, sections 4.3, 4.4, 4.6.1).
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Neighbor {
    /// Type, checksum; `high` holds the flags of an advertisement.
    pub header: Header,
    /// The address asked for or advertised.
    pub target: [u8; 16],
    /// [`OPTION_SOURCE`] or [`OPTION_TARGET`].
    pub option: u8,
    /// In units of 8 bytes: 1.
    pub option_len: u8,
    /// The MAC address.
    pub mac: [u8; 6],
}
const _: () = assert!(size_of::<Neighbor>() == 32);

/// Option type: the sender's link-layer address.
pub const OPTION_SOURCE: u8 = 1;
/// Option type: the target's link-layer address.
pub const OPTION_TARGET: u8 = 2;
/// Advertisement flag in `high`: the answer to a solicitation.
pub const SOLICITED: u16 = 0x4000;
/// Advertisement flag in `high`: replaces what the receiver knew.
pub const OVERRIDE: u16 = 0x2000;

/// The link-layer address in the options of a neighbour message, as `wanted` ([`OPTION_SOURCE`] or
/// [`OPTION_TARGET`]). `Err` if an option is malformed: the whole message must then be dropped (RFC 4861, 7.1.1).
#[allow(clippy::result_unit_err)]
pub fn link_layer_option(mut options: &[u8], wanted: u8) -> Result<Option<[u8; 6]>, ()> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        let len = usize::from(units) * 8;
        if len == 0 || len > options.len() {
            return Err(());
        }
        if kind == wanted && len == 8 && found.is_none() {
            found = options.get(2..8).and_then(|mac| mac.try_into().ok());
        }
        options = &options[len..];
    }
    if options.is_empty() {
        Ok(found)
    } else {
        Err(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_options_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = link_layer_option(&bytes, OPTION_TARGET);
        }
    }

    #[test]
    fn the_link_layer_option_is_found_behind_others() {
        let options = [14, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7];
        assert_eq!(
            link_layer_option(&options, OPTION_SOURCE),
            Ok(Some([2, 3, 4, 5, 6, 7]))
        );
        assert_eq!(link_layer_option(&options, OPTION_TARGET), Ok(None));
    }

    #[test]
    fn options_of_length_zero_or_past_the_end_are_malformed() {
        assert_eq!(
            link_layer_option(&[1, 0, 0, 0, 0, 0, 0, 0], OPTION_SOURCE),
            Err(())
        );
        assert_eq!(
            link_layer_option(&[1, 2, 0, 0, 0, 0, 0, 0], OPTION_SOURCE),
            Err(())
        );
        assert_eq!(link_layer_option(&[1], OPTION_SOURCE), Err(()));
    }
}
