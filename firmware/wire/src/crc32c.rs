//! CRC32C (Castagnoli), the digest of NVMe/TCP and the card's flow hash. Source: RFC 3720, appendix B.4.

use crc::{CRC_32_ISCSI, Crc, Table};

static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// CRC32C of `bytes` in final form.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// CRC32C of several pieces in a row: `resume(crc32c(a), b)` is the CRC of `a` followed by `b`.
#[must_use]
pub fn resume(previous: u32, bytes: &[u8]) -> u32 {
    // The crate's digest starts from a bit-reversed register value; CRC_32_ISCSI reflects, so the running value is
    // the complement of the final form with its bits reversed.
    let mut digest = CRC.digest_with_initial((!previous).reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3720_vectors_hold() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn resuming_equals_one_pass() {
        let bytes: [u8; 100] = core::array::from_fn(|i| (i * 7) as u8);
        for cut in 0..=100 {
            assert_eq!(resume(crc32c(&bytes[..cut]), &bytes[cut..]), crc32c(&bytes));
        }
    }
}
