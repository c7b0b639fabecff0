//! Finds connections by flow hash.

/// Chained hash table of connection indices. The bucket is the upper part of a multiplication by a secret, so a peer that
/// chooses its ports (CRC32C is no secret) cannot fill one chain. All zeros when empty.
pub struct Table<const N: usize> {
    /// Index + 1 of each bucket's first connection.
    buckets: [u16; N],
    /// Index + 1 of the next one in the chain.
    next: [u16; N],
    multiplier: u32,
}

impl<const N: usize> Table<N> {
    pub const fn new() -> Self {
        assert!(N > 0 && N < u16::MAX as usize);
        Self {
            buckets: [0; N],
            next: [0; N],
            multiplier: 0,
        }
    }

    /// Only while the table is empty.
    pub const fn set_key(&mut self, key: u32) {
        self.multiplier = key | 1;
    }

    #[inline]
    fn bucket(&self, hash: u32) -> usize {
        let spread = hash.wrapping_mul(self.multiplier);
        ((u64::from(spread) * N as u64) >> 32) as usize
    }

    /// Candidates for `hash`; the caller compares.
    #[inline]
    pub fn first(&self, hash: u32) -> Option<usize> {
        usize::from(self.buckets[self.bucket(hash)]).checked_sub(1)
    }

    #[inline]
    pub fn following(&self, index: usize) -> Option<usize> {
        usize::from(self.next[index]).checked_sub(1)
    }

    pub fn insert(&mut self, hash: u32, index: usize) {
        let bucket = self.bucket(hash);
        self.next[index] = self.buckets[bucket];
        self.buckets[bucket] = index as u16 + 1;
    }

    /// Takes `index` out, which was inserted under `hash`.
    pub fn remove(&mut self, hash: u32, index: usize) {
        let bucket = self.bucket(hash);
        let after = core::mem::take(&mut self.next[index]);
        let mut at = usize::from(self.buckets[bucket]).checked_sub(1);
        if at == Some(index) {
            self.buckets[bucket] = after;
        }
        while let Some(here) = at.filter(|here| *here != index) {
            at = self.following(here);
            if at == Some(index) {
                self.next[here] = after;
            }
        }
    }
}

/// CRC32C in final form, bit by bit: the flow hash of connections opened from here, which no engine has computed.
pub fn flow_hash(pieces: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in pieces.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_survive_removals_in_any_order() {
        let mut table = Table::<4>::new();
        table.set_key(0x1234_5678);
        for i in 0..4 {
            table.insert(7, i);
        }
        table.remove(7, 2);
        table.remove(7, 3);
        table.remove(7, 2);
        let mut at = table.first(7);
        let mut seen = [false; 4];
        while let Some(i) = at {
            seen[i] = true;
            at = table.following(i);
        }
        assert_eq!(seen, [true, true, false, false]);
    }

    #[test]
    fn the_flow_hash_is_crc32c() {
        assert_eq!(flow_hash(&[&[0; 16], &[0; 16]]), 0x8a91_36aa); // RFC 3720, appendix B.4
    }
}
