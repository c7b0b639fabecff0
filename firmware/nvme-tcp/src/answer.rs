//! PDUs towards the host, built in a small aligned buffer: headers, padding and header digest. Data follow from elsewhere.

use sluice_wire::nvme_tcp::{PduType, TERM_REQ_MAX, dgst, flags};
use zerocopy::IntoBytes;

use crate::{R2tRange, Session, Violation};

/// Longest C2HData header with digest and padding.
pub const C2H_HEADER_MAX: usize = 128;
/// Longest CapsuleResp or R2T, digest included.
pub const RESPONSE_MAX: usize = 28;

const WORDS: usize = TERM_REQ_MAX / 4;

/// Room for any PDU without its data; one per core is enough.
pub struct PduBuf([u32; WORDS]);

impl PduBuf {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; WORDS])
    }

    /// The first `len` bytes, as on the wire. Any more than the buffer has are not there.
    #[must_use]
    pub fn bytes(&self, len: usize) -> &[u8] {
        let all = self.0.as_bytes();
        all.get(..len).unwrap_or(all)
    }

    fn word(&mut self, at: usize, value: u32) {
        self.0[at] = value.to_le();
    }

    fn opening(&mut self, kind: PduType, flags: u8, header_len: u32, pdo: u32, pdu_len: u32) {
        self.word(
            0,
            kind as u32 | u32::from(flags) << 8 | header_len << 16 | pdo << 24,
        );
        self.word(1, pdu_len);
    }
}

impl Default for PduBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// ICResp for the ICReq just announced. Returns its length, 128.
    pub fn ic_resp(&self, out: &mut PduBuf) -> usize {
        out.0[..32].fill(0);
        out.opening(PduType::IcResp, 0, 128, 0, 128);
        let mut digests = 0;
        if self.header_digest() {
            digests |= dgst::HEADER;
        }
        if self.data_digest() {
            digests |= dgst::DATA;
        }
        out.word(2, u32::from(self.cpda()) << 16 | u32::from(digests) << 24);
        out.word(3, self.max_h2c_data());
        128
    }

    /// CapsuleResp with a completion queue entry of four little-endian words, as numbers. Returns its length.
    #[inline]
    pub fn capsule_resp(
        &self,
        cqe: &[u32; 4],
        out: &mut PduBuf,
        crc: impl FnMut(&[u8]) -> u32,
    ) -> usize {
        for (i, word) in cqe.iter().enumerate() {
            out.word(2 + i, *word);
        }
        self.close_header(PduType::CapsuleResp, out, crc)
    }

    /// R2T for `range` of command `cid`. Returns its length. The session expects H2CData from now on.
    #[inline]
    pub fn r2t(
        &mut self,
        cid: u16,
        ttag: u16,
        range: R2tRange,
        out: &mut PduBuf,
        crc: impl FnMut(&[u8]) -> u32,
    ) -> usize {
        self.expect_data();
        out.word(2, u32::from(cid) | u32::from(ttag) << 16);
        out.word(3, range.offset);
        out.word(4, range.len);
        out.word(5, 0);
        self.close_header(PduType::R2t, out, crc)
    }

    /// Header of a C2HData with `len` bytes of data at `offset` of command `cid`, digest and padding included.
    /// Returns its length; the data follow, and then [`Session::data_digest_len`] bytes of CRC32C over them.
    /// `success` implies `last` and that no CapsuleResp follows.
    #[inline]
    pub fn c2h_data(
        &self,
        cid: u16,
        offset: u32,
        len: u32,
        end: C2hEnd,
        out: &mut PduBuf,
        mut crc: impl FnMut(&[u8]) -> u32,
    ) -> usize {
        let pdo = usize::from(self.c2h_pdo());
        let pdu_len = (pdo as u32)
            .wrapping_add(len)
            .wrapping_add(self.data_digest_len());
        out.opening(
            PduType::C2hData,
            self.digest_flags() | end as u8,
            24,
            pdo as u32,
            pdu_len,
        );
        out.word(2, u32::from(cid));
        out.word(3, offset);
        out.word(4, len);
        out.word(5, 0);
        let mut filled = 6;
        if self.header_digest() {
            let digest = crc(out.bytes(24));
            out.word(6, digest);
            filled = 7;
        }
        if let Some(padding) = out.0.get_mut(filled..pdo / 4) {
            padding.fill(0);
        }
        pdo
    }

    /// Ends the session over `violation` and builds the C2HTermReq with what is held of the offending header.
    /// Returns its length; 0 if the standard allows no answer.
    #[cold]
    pub fn terminate(&mut self, violation: Violation, out: &mut PduBuf) -> usize {
        self.close();
        let Some((fes, fei)) = violation.answer() else {
            return 0;
        };
        let offending = self.held_header();
        let len = 24 + offending.len();
        // FEI lies at byte 10, across two words.
        out.0[2..6].fill(0);
        out.word(2, fes as u32 | fei << 16);
        out.word(3, fei >> 16);
        if let Some(tail) = out.0.as_mut_bytes().get_mut(24..len) {
            tail.copy_from_slice(offending);
        }
        out.opening(PduType::C2hTermReq, 0, 24, 0, len as u32);
        len
    }

    #[inline]
    fn close_header(
        &self,
        kind: PduType,
        out: &mut PduBuf,
        mut crc: impl FnMut(&[u8]) -> u32,
    ) -> usize {
        if self.header_digest() {
            out.opening(kind, flags::HDGST, 24, 0, 28);
            let digest = crc(out.bytes(24));
            out.word(6, digest);
            28
        } else {
            out.opening(kind, 0, 24, 0, 24);
            24
        }
    }
}

/// Where a C2HData stands in its command, as bits of its FLAGS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum C2hEnd {
    /// More C2HData follow.
    More = 0,
    /// The last one; a CapsuleResp follows.
    Last = flags::LAST,
    /// The last one, and the command succeeded: no CapsuleResp.
    Success = flags::LAST | flags::SUCCESS,
}
