//! NQNs, and identifiers made from them.

use sluice_wire::mgmt::NQN_SIZE;

use super::error::Problem;

/// The discovery subsystem's well-known name (NVMe Base 2.1, section 4.7).
const DISCOVERY: &str = "nqn.2014-08.org.nvmexpress.discovery";

/// Checks an NQN: `nqn.yyyy-mm.reverse.domain` with something after a colon, or the UUID form
/// (NVMe Base 2.1, section 4.7).
pub(super) fn nqn(text: &str) -> Result<(), Problem> {
    let max = NQN_SIZE - 1;
    let bad = || {
        Problem::value(
            format!("an NQN of at most {max} bytes such as nqn.2026-01.org.example:disks"),
            text,
        )
    };
    if text == DISCOVERY {
        return Err(Problem::value(
            "a name other than that of the discovery subsystem",
            text,
        ));
    }
    let printable = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let rest = text
        .strip_prefix("nqn.")
        .filter(|_| text.len() <= max && printable)
        .ok_or_else(bad)?;
    let (date, name) = rest.split_once('.').ok_or_else(bad)?;
    let (year, month) = date.split_once('-').ok_or_else(bad)?;
    let digits = |s: &str, n| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
    let month_ok = digits(month, 2) && (1..=12).contains(&month.parse::<u8>().unwrap_or(0));
    let (domain, unique) = name.split_once(':').ok_or_else(bad)?;
    let domain_ok = !domain.is_empty()
        && domain
            .split('.')
            .all(|l| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    if digits(year, 4) && month_ok && domain_ok && !unique.is_empty() {
        Ok(())
    } else {
        Err(bad())
    }
}

/// ASCII text of at most `max` characters for an Identify field.
pub(super) fn ascii(text: &str, max: usize) -> Result<(), Problem> {
    let good =
        !text.is_empty() && text.len() <= max && text.bytes().all(|b| (0x20..0x7F).contains(&b));
    if good {
        Ok(())
    } else {
        Err(Problem::value(
            format!("1 to {max} printable ASCII characters"),
            text,
        ))
    }
}

/// 16 bytes that are always the same for the same purpose, subsystem and namespace, and in practice for no others.
pub(super) fn stable(purpose: &str, nqn: &str, nsid: u32) -> [u8; 16] {
    let text = format!("{purpose}\0{nqn}\0{nsid}");
    let hash = text.bytes().fold(FNV_OFFSET, |h, b| {
        (h ^ u128::from(b)).wrapping_mul(FNV_PRIME)
    });
    // FNV leaves the high half poorly mixed for short texts: one more round over its own bytes.
    let hash = hash
        .to_le_bytes()
        .iter()
        .fold(hash, |h, b| (h ^ u128::from(*b)).wrapping_mul(FNV_PRIME));
    hash.to_be_bytes()
}

/// FNV-1a with 128 bits.
const FNV_OFFSET: u128 = 0x6C62_272E_07BB_0142_62B8_2175_6295_C58D;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013B;

/// A UUID of version 8 (custom; RFC 9562, section 5.8).
pub(super) fn stable_uuid(nqn: &str, nsid: u32) -> [u8; 16] {
    let mut id = stable("uuid", nqn, nsid);
    id[6] = (id[6] & 0x0F) | 0x80;
    id[8] = (id[8] & 0x3F) | 0x80;
    id
}

/// A serial number of 20 hexadecimal digits.
pub(super) fn stable_serial(nqn: &str) -> String {
    stable("serial", nqn, 0)[..10]
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect()
}
