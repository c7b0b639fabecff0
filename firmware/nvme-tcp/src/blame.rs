//! Which field of a refused header to name: the first that is wrong, in the order of the bytes.

use sluice_wire::nvme_tcp::{TERM_REQ_MAX, flags};

use crate::Violation;

/// The first word of a CapsuleCmd or H2CData is wrong: in HDGSTF, or else in HLEN.
#[cold]
pub fn opening(word: u32, header_len: u8, digests: u8) -> Violation {
    opening_if_wrong(word, header_len, digests).unwrap_or(Violation::HeaderField(2))
}

/// The same for a first word that may be right.
pub fn opening_if_wrong(word: u32, header_len: u8, digests: u8) -> Option<Violation> {
    if (word >> 8) as u8 & flags::HDGST != digests & flags::HDGST {
        return Some(Violation::HeaderField(1));
    }
    if (word >> 16) as u8 != header_len {
        return Some(Violation::HeaderField(2));
    }
    None
}

/// ICReq has one size only.
pub fn ic_req_opening(word: u32, pdu_len: u32) -> Option<Violation> {
    if (word >> 16) as u8 != 128 {
        return Some(Violation::HeaderField(2));
    }
    if pdu_len != 128 {
        return Some(Violation::HeaderField(4));
    }
    None
}

/// A TermReq of a wrong size ends the connection without an answer.
pub fn term_req(word: u32, pdu_len: u32) -> Option<Violation> {
    let sized = (word >> 16) as u8 == 24 && (24..=TERM_REQ_MAX as u32).contains(&pdu_len);
    (!sized).then_some(Violation::BadTermReq)
}
