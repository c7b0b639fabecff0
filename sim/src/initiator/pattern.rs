//! Data that tell where and when they were written: each block's content follows from its address and a generation.

/// A block that does not hold what it should.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "block {lba}: byte {offset} is {got:02x}h instead of {wanted:02x}h; the block says it is block {says_lba}, generation \
     {says_generation}, and generation {generation} was due"
)]
pub struct Mismatch {
    /// Block address.
    pub lba: u64,
    /// First wrong byte in it.
    pub offset: usize,
    /// What it should be.
    pub wanted: u8,
    /// What it is.
    pub got: u8,
    /// Generation expected.
    pub generation: u64,
    /// The address that the block's first bytes name.
    pub says_lba: u64,
    /// The generation they name.
    pub says_generation: u64,
}

/// `blocks` blocks from `lba` on, in generation `generation`.
#[must_use]
pub fn make(lba: u64, blocks: u64, block_size: usize, generation: u64) -> Vec<u8> {
    (lba..lba + blocks)
        .flat_map(|lba| block(lba, block_size, generation))
        .collect()
}

/// Checks blocks read from `lba` on.
///
/// # Errors
/// The first [`Mismatch`].
pub fn check(
    data: &[u8],
    lba: u64,
    block_size: usize,
    generation: u64,
) -> Result<(), Box<Mismatch>> {
    for (lba, got) in (lba..).zip(data.chunks(block_size)) {
        let wanted = block(lba, block_size, generation);
        if let Some(offset) = got.iter().zip(&wanted).position(|(a, b)| a != b) {
            let word = |at: usize| {
                let bytes = got.get(at..at + 8).and_then(|b| b.try_into().ok());
                bytes.map_or(0, u64::from_le_bytes)
            };
            return Err(Box::new(Mismatch {
                lba,
                offset,
                wanted: wanted[offset],
                got: got[offset],
                generation,
                says_lba: word(0),
                says_generation: word(8),
            }));
        }
    }
    Ok(())
}

/// Address, generation, then a sequence seeded by both.
fn block(lba: u64, size: usize, generation: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(size);
    out.extend(lba.to_le_bytes());
    out.extend(generation.to_le_bytes());
    let mut state = lba.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ generation.rotate_left(32);
    while out.len() < size {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend((word ^ (word >> 31)).to_le_bytes());
    }
    out.truncate(size);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_checks_and_a_stale_or_misplaced_one_is_named() {
        let data = make(100, 4, 512, 7);
        assert_eq!(data.len(), 2048);
        assert_eq!(check(&data, 100, 512, 7), Ok(()));
        let stale = check(&data, 100, 512, 8).expect_err("another generation");
        assert_eq!(
            (stale.lba, stale.offset, stale.says_generation),
            (100, 8, 7)
        );
        let moved = check(&data[512..], 100, 512, 7).expect_err("another place");
        assert_eq!((moved.offset, moved.says_lba), (0, 101));
        let mut flipped = data;
        flipped[1500] ^= 1;
        let wrong = check(&flipped, 100, 512, 7).expect_err("a flipped bit");
        assert_eq!((wrong.lba, wrong.offset), (102, 1500 - 1024));
    }
}
