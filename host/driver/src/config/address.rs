//! Addresses and identifiers as text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::Problem;

/// `02:53:4c:00:00:01`; unicast and not zero.
pub(super) fn mac(text: &str) -> Result<[u8; 6], Problem> {
    let bad = || Problem::value("a unicast MAC address such as 02:53:4c:00:00:01", text);
    let bytes: Vec<u8> = text
        .split(':')
        .map(|b| hex_byte(b).ok_or_else(bad))
        .collect::<Result<_, _>>()?;
    let mac: [u8; 6] = bytes.try_into().map_err(|_| bad())?;
    if mac[0] & 1 != 0 || mac == [0; 6] {
        Err(bad())
    } else {
        Ok(mac)
    }
}

/// `192.0.2.10/24`, a host's address.
pub(super) fn ipv4(text: &str) -> Result<([u8; 4], u8), Problem> {
    let bad = || {
        Problem::value(
            "an IPv4 address and prefix length of 1 to 32 such as 192.0.2.10/24",
            text,
        )
    };
    match prefixed(text) {
        Some((IpAddr::V4(a), prefix @ 1..=32)) if is_host_v4(a) => Ok((a.octets(), prefix)),
        _ => Err(bad()),
    }
}

/// `192.0.2.1`, a gateway in the network of `own`.
pub(super) fn gateway(text: &str, own: Option<([u8; 4], u8)>) -> Result<[u8; 4], Problem> {
    let Some((address, prefix)) = own else {
        return Err(Problem::value(
            "no gateway, since the port has no IPv4 address",
            text,
        ));
    };
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    let net = u32::from_be_bytes(address) & mask;
    match text.parse::<Ipv4Addr>() {
        Ok(g) if u32::from(g) & mask == net && is_host_v4(g) && g.octets() != address => {
            Ok(g.octets())
        }
        _ => {
            let want = format!("another IPv4 address in {}/{prefix}", Ipv4Addr::from(net));
            Err(Problem::value(want, text))
        }
    }
}

/// `2001:db8::10/64`, a host's address.
pub(super) fn ipv6(text: &str) -> Result<([u8; 16], u8), Problem> {
    let bad = || {
        Problem::value(
            "an IPv6 address and prefix length of 1 to 128 such as 2001:db8::10/64",
            text,
        )
    };
    match prefixed(text) {
        Some((IpAddr::V6(a), prefix @ 1..=128)) if is_host_v6(a) => Ok((a.octets(), prefix)),
        _ => Err(bad()),
    }
}

/// Domain, bus, device and function, such as `0000:01:00.0`; or `vfio-user:` and the path of a socket.
pub(super) fn pci(text: &str) -> Result<String, Problem> {
    if text
        .strip_prefix("vfio-user:")
        .is_some_and(|path| path.starts_with('/'))
    {
        return Ok(text.to_owned());
    }
    let parts: Vec<&str> = text.split([':', '.']).collect();
    let hex = |s: &str, len, max| {
        s.len() == len && u32::from_str_radix(s, 16).is_ok_and(|n| n <= max) && !s.starts_with('+')
    };
    let good = matches!(parts[..], [domain, bus, device, function]
        if hex(domain, 4, 0xFFFF) && hex(bus, 2, 0xFF) && hex(device, 2, 0x1F) && hex(function, 1, 7));
    let shaped = text.matches(':').count() == 2 && text.matches('.').count() == 1;
    if good && shaped {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(Problem::value(
            "a PCI address such as 0000:01:00.0, or vfio-user: and the absolute path of a socket",
            text,
        ))
    }
}

/// `N` bytes in hexadecimal digits; hyphens between bytes are passed over. Not all zeros.
pub(super) fn hex<const N: usize>(text: &str, example: &str) -> Result<[u8; N], Problem> {
    let bad = || {
        Problem::value(
            format!("{N} bytes in hexadecimal such as {example}, not all zero"),
            text,
        )
    };
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    if digits.len() != 2 * N {
        return Err(bad());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = std::str::from_utf8(pair)
            .ok()
            .and_then(hex_byte)
            .ok_or_else(bad)?;
    }
    if bytes == [0; N] {
        Err(bad())
    } else {
        Ok(bytes)
    }
}

fn hex_byte(text: &str) -> Option<u8> {
    let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

fn prefixed(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    Some((address.parse().ok()?, prefix.parse().ok()?))
}

fn is_host_v4(a: Ipv4Addr) -> bool {
    !a.is_unspecified() && !a.is_multicast() && !a.is_broadcast() && !a.is_loopback()
}

fn is_host_v6(a: Ipv6Addr) -> bool {
    !a.is_unspecified() && !a.is_multicast() && !a.is_loopback()
}
