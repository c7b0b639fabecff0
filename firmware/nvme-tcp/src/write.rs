//! Bookkeeping of one command whose data the host sends on request: what was asked for, what has come.

use crate::Violation;

/// The header of an H2CData PDU, its lengths checked against the PDU and MAXH2CDATA, not yet against an R2T.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct H2cData {
    /// TTAG: names the R2T; unchecked.
    pub ttag: u16,
    /// CCCID: unchecked.
    pub cid: u16,
    /// DATAO: offset in the command's data, bytes; unchecked.
    pub offset: u32,
    /// DATAL: 1 to MAXH2CDATA, as many bytes as the PDU carries.
    pub len: u32,
    /// LAST_PDU: the R2T ends here.
    pub last: bool,
}

/// What an R2T is to ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct R2tRange {
    /// R2TO, bytes.
    pub offset: u32,
    /// R2TL, bytes; not 0.
    pub len: u32,
}

/// The write side of one command. At most one R2T is outstanding, and its data arrive in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteTransfer {
    total: u32,
    /// End of what R2Ts have asked for.
    asked: u32,
    /// End of what H2CData PDUs have announced.
    announced: u32,
    cid: u16,
}

impl WriteTransfer {
    /// A command `cid` whose data are `total` bytes.
    #[must_use]
    pub const fn new(cid: u16, total: u32) -> Self {
        Self {
            total,
            asked: 0,
            announced: 0,
            cid,
        }
    }

    /// The next R2T, for at most `room` bytes (buffers at hand): `None` while one is outstanding, if `room` is 0,
    /// or when everything was asked for. The range counts as asked for.
    #[inline]
    pub fn next_r2t(&mut self, room: u32) -> Option<R2tRange> {
        let len = (self.total - self.asked).min(room);
        if len == 0 || self.asked != self.announced {
            return None;
        }
        let offset = self.asked;
        self.asked += len;
        Some(R2tRange { offset, len })
    }

    /// Checks data against the outstanding R2T and counts them as announced.
    ///
    /// # Errors
    /// What the C2HTermReq has to say.
    #[inline]
    pub fn check(&mut self, data: &H2cData) -> Result<(), Violation> {
        let room = self.asked - self.announced;
        let ends = data.len == room;
        if data.cid == self.cid
            && data.offset == self.announced
            && data.len.wrapping_sub(1) < room
            && data.last == ends
        {
            self.announced += data.len;
            return Ok(());
        }
        Err(self.blame(data))
    }

    #[cold]
    fn blame(&self, data: &H2cData) -> Violation {
        if data.cid != self.cid {
            return Violation::HeaderField(8);
        }
        if self.asked == self.announced {
            return Violation::UNKNOWN_TTAG;
        }
        let Some(end) = data.offset.checked_add(data.len) else {
            return Violation::DataOutOfRange;
        };
        if data.len == 0 {
            return Violation::HeaderField(16);
        }
        if end > self.asked {
            return Violation::DataOutOfRange;
        }
        // In range, but not the bytes that are due, or LAST_PDU in the wrong place.
        Violation::Sequence
    }

    /// Everything was asked for and announced: after this PDU's data the command can run.
    #[inline]
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.announced == self.total
    }

    /// An R2T is outstanding.
    #[inline]
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.asked != self.announced
    }

    /// Bytes of the command's data.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.total
    }

    /// Bytes announced so far; the data of the last checked PDU end here.
    #[must_use]
    pub const fn announced(&self) -> u32 {
        self.announced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn data(offset: u32, len: u32, last: bool) -> H2cData {
        H2cData {
            ttag: 1,
            cid: 7,
            offset,
            len,
            last,
        }
    }

    #[test]
    fn a_write_is_asked_for_piece_by_piece() {
        let mut write = WriteTransfer::new(7, 10_000);
        assert_eq!(write.next_r2t(0), None, "no room, no R2T");
        assert_eq!(
            write.next_r2t(8192),
            Some(R2tRange {
                offset: 0,
                len: 8192
            })
        );
        assert_eq!(write.next_r2t(8192), None, "one R2T at a time");
        assert_eq!(write.check(&data(0, 4096, false)), Ok(()));
        assert_eq!(write.check(&data(4096, 4096, true)), Ok(()));
        assert!(!write.is_complete());
        assert_eq!(
            write.next_r2t(8192),
            Some(R2tRange {
                offset: 8192,
                len: 1808
            })
        );
        assert_eq!(write.check(&data(8192, 1808, true)), Ok(()));
        assert!(write.is_complete());
        assert_eq!(write.next_r2t(8192), None);
    }

    #[test]
    fn data_that_no_r2t_asked_for_is_named_as_the_standard_wants() {
        let mut write = WriteTransfer::new(7, 16384);
        assert_eq!(
            write.check(&data(0, 1, true)),
            Err(Violation::UNKNOWN_TTAG),
            "no R2T yet"
        );
        write.next_r2t(8192).expect("first R2T");
        for (wrong, violation) in [
            (data(8192, 4096, false), Violation::DataOutOfRange),
            (data(0, 8193, true), Violation::DataOutOfRange),
            (data(u32::MAX, 2, false), Violation::DataOutOfRange),
            (data(u32::MAX - 1, 1, false), Violation::DataOutOfRange),
            (data(4096, 4096, true), Violation::Sequence),
            (data(0, 8192, false), Violation::Sequence),
            (data(0, 4096, true), Violation::Sequence),
            (data(0, 0, false), Violation::HeaderField(16)),
            (
                H2cData {
                    cid: 8,
                    ..data(0, 8192, true)
                },
                Violation::HeaderField(8),
            ),
        ] {
            let mut fresh = write;
            assert_eq!(fresh.check(&wrong), Err(violation), "{wrong:?}");
            assert_eq!(fresh, write, "a refused PDU changes nothing");
        }
        assert_eq!(write.check(&data(0, 8192, true)), Ok(()));
    }
}
