//! NVMe/TCP PDUs from the host's side: built, and those of the target taken apart with every field checked.

use sluice_wire::{
    crc32c::crc32c,
    nvme::Cqe,
    nvme_tcp::{
        CapsuleResp, CommonHeader, DataHeader, IcReq, IcResp, PduType, R2t, TERM_REQ_MAX, TermReq,
        dgst, flags,
    },
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// What was agreed on at setup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Header digests are in force.
    pub header_digest: bool,
    /// Data digests are in force.
    pub data_digest: bool,
    /// HPDA: alignment of the target's data, dwords, zero-based.
    pub hpda: u8,
    /// CPDA: alignment of the host's data.
    pub cpda: u8,
    /// Most data in one H2CData.
    pub max_h2c_data: u32,
}

impl Terms {
    /// Before setup, or with everything off.
    pub const PLAIN: Self = Self {
        header_digest: false,
        data_digest: false,
        hpda: 0,
        cpda: 0,
        max_h2c_data: 4096,
    };

    fn digest_flags(&self) -> u8 {
        digest_bits(self.header_digest, self.data_digest)
    }
}

/// The bits that ask for digests, in ICReq and in the flags of a PDU alike.
const fn digest_bits(header: bool, data: bool) -> u8 {
    (if header { dgst::HEADER } else { 0 }) | (if data { dgst::DATA } else { 0 })
}

/// ICReq.
#[must_use]
pub fn ic_req(header_digest: bool, data_digest: bool, hpda: u8, max_r2t: u32) -> Vec<u8> {
    let mut pdu = IcReq::new_zeroed();
    pdu.ch = opening(PduType::IcReq, 0, 0, 128);
    pdu.data_align_z = hpda;
    pdu.digests = digest_bits(header_digest, data_digest);
    pdu.max_r2t_z.set(max_r2t.saturating_sub(1));
    pdu.as_bytes().to_vec()
}

/// CapsuleCmd with in-capsule data, if any.
#[must_use]
pub fn command(sqe: &[u8; 64], data: &[u8], terms: &Terms) -> Vec<u8> {
    seal(PduType::CapsuleCmd, 0, sqe, data, terms)
}

/// H2CData.
#[must_use]
pub fn h2c_data(
    cid: u16,
    ttag: u16,
    offset: u32,
    data: &[u8],
    last: bool,
    terms: &Terms,
) -> Vec<u8> {
    let header = DataHeader {
        cid: cid.into(),
        ttag: ttag.into(),
        offset: offset.into(),
        len: (data.len() as u32).into(),
        ..DataHeader::default()
    };
    let flags = if last { flags::LAST } else { 0 };
    seal(
        PduType::H2cData,
        flags,
        &header.as_bytes()[8..],
        data,
        terms,
    )
}

/// H2CTermReq that sends `offending` back.
#[must_use]
pub fn term_req(fes: u16, fei: u32, offending: &[u8]) -> Vec<u8> {
    let offending = &offending[..offending.len().min(TERM_REQ_MAX - 24)];
    let pdu = TermReq {
        ch: opening(PduType::H2cTermReq, 0, 0, 24 + offending.len()),
        fes: fes.into(),
        fei: fei.into(),
        ..TermReq::default()
    };
    [pdu.as_bytes(), offending].concat()
}

/// A PDU of the host: common header, `header`, digest, padding, `data`, digest, as `terms` say.
#[must_use]
pub fn seal(kind: PduType, extra_flags: u8, header: &[u8], data: &[u8], terms: &Terms) -> Vec<u8> {
    let front = 8 + header.len() + if terms.header_digest { 4 } else { 0 };
    let (mut len, mut pdo, mut carried) = (front, 0, terms.digest_flags() & flags::HDGST);
    if !data.is_empty() {
        pdo = front.next_multiple_of((usize::from(terms.cpda) + 1) * 4);
        len = pdo + data.len() + if terms.data_digest { 4 } else { 0 };
        carried = terms.digest_flags();
    }
    let mut out = Vec::with_capacity(len);
    out.extend(opening(kind, extra_flags | carried, pdo as u8, len).as_bytes());
    out.extend(header);
    if terms.header_digest {
        out.extend(crc32c(&out).to_le_bytes());
    }
    if !data.is_empty() {
        out.resize(pdo, 0);
        out.extend(data);
        if terms.data_digest {
            out.extend(crc32c(data).to_le_bytes());
        }
    }
    out
}

fn opening(kind: PduType, flags: u8, data_offset: u8, len: usize) -> CommonHeader {
    CommonHeader {
        pdu_type: kind as u8,
        flags,
        header_len: kind.header_len() as u8,
        data_offset,
        pdu_len: (len as u32).into(),
    }
}

/// A PDU of the target.
#[derive(Debug)]
pub enum Pdu<'a> {
    /// ICResp.
    IcResp(IcResp),
    /// CapsuleResp.
    Response(Cqe),
    /// C2HData.
    Data {
        /// CCCID.
        cid: u16,
        /// DATAO.
        offset: u32,
        /// The data.
        data: &'a [u8],
        /// LAST_PDU.
        last: bool,
        /// SUCCESS.
        success: bool,
    },
    /// R2T.
    R2t {
        /// CCCID.
        cid: u16,
        /// TTAG.
        ttag: u16,
        /// R2TO.
        offset: u32,
        /// R2TL.
        len: u32,
    },
    /// C2HTermReq.
    TermReq {
        /// Fatal Error Status.
        fes: u16,
        /// Fatal Error Information.
        fei: u32,
    },
}

/// PLEN of the PDU that begins with `bytes`, once 8 of them are there.
#[must_use]
pub fn pdu_len(bytes: &[u8]) -> Option<usize> {
    let (header, _) = CommonHeader::read_from_prefix(bytes).ok()?;
    Some(header.pdu_len.get() as usize)
}

/// Takes a whole PDU of the target apart.
///
/// # Errors
/// What is wrong with it.
pub fn parse<'a>(pdu: &'a [u8], terms: &Terms) -> Result<Pdu<'a>, String> {
    let (ch, _) = CommonHeader::read_from_prefix(pdu).map_err(|_| "PDU below 8 bytes")?;
    let kind = PduType::from_code(ch.pdu_type)
        .filter(|kind| *kind as u8 & 1 == 1)
        .ok_or_else(|| format!("PDU type {:02x}h", ch.pdu_type))?;
    let header_len = kind.header_len();
    if usize::from(ch.header_len) != header_len || pdu.len() < header_len {
        return Err(format!(
            "{kind:?}: HLEN {}, PLEN {}",
            ch.header_len,
            pdu.len()
        ));
    }
    let with_digests = matches!(kind, PduType::CapsuleResp | PduType::C2hData | PduType::R2t);
    let front = header_len + check_header_digest(kind, &ch, pdu, terms, with_digests)?;
    if kind != PduType::C2hData {
        let plain = ch.data_offset == 0 && (pdu.len() == front || kind == PduType::C2hTermReq);
        if !plain {
            return Err(format!(
                "{kind:?}: PDO {}, PLEN {}",
                ch.data_offset,
                pdu.len()
            ));
        }
    }
    match kind {
        PduType::IcResp => view(pdu).map(Pdu::IcResp),
        PduType::CapsuleResp => {
            let response: CapsuleResp = view(pdu)?;
            Ok(Pdu::Response(zerocopy::transmute!(response.cqe)))
        }
        PduType::R2t => {
            let r2t: R2t = view(pdu)?;
            Ok(Pdu::R2t {
                cid: r2t.cid.get(),
                ttag: r2t.ttag.get(),
                offset: r2t.offset.get(),
                len: r2t.len.get(),
            })
        }
        PduType::C2hTermReq => {
            let term: TermReq = view(pdu)?;
            Ok(Pdu::TermReq {
                fes: term.fes.get(),
                fei: term.fei.get(),
            })
        }
        _ => parse_data(pdu, &ch, front, terms),
    }
}

fn view<T: FromBytes>(pdu: &[u8]) -> Result<T, String> {
    T::read_from_prefix(pdu)
        .map(|(value, _)| value)
        .map_err(|_| "PDU too short".to_owned())
}

/// Returns the length of the header digest.
fn check_header_digest(
    kind: PduType,
    ch: &CommonHeader,
    pdu: &[u8],
    terms: &Terms,
    with_digests: bool,
) -> Result<usize, String> {
    let wanted = terms.header_digest && with_digests;
    if (ch.flags & flags::HDGST != 0) != wanted {
        return Err(format!(
            "{kind:?}: flags {:02x}h, header digests {wanted}",
            ch.flags
        ));
    }
    if !wanted {
        return Ok(0);
    }
    let at = kind.header_len();
    let received = pdu
        .get(at..at + 4)
        .ok_or_else(|| format!("{kind:?}: no room for a digest"))?;
    if received != crc32c(&pdu[..at]).to_le_bytes() {
        return Err(format!("{kind:?}: wrong header digest"));
    }
    Ok(4)
}

fn parse_data<'a>(
    pdu: &'a [u8],
    ch: &CommonHeader,
    front: usize,
    terms: &Terms,
) -> Result<Pdu<'a>, String> {
    let header: DataHeader = view(pdu)?;
    let (pdo, len) = (usize::from(ch.data_offset), header.len.get() as usize);
    let tail = if terms.data_digest { 4 } else { 0 };
    let aligned = pdo.is_multiple_of((usize::from(terms.hpda) + 1) * 4);
    if pdo < front || !aligned || len == 0 || Some(pdu.len()) != (pdo + tail).checked_add(len) {
        return Err(format!(
            "C2HData: PDO {pdo}, DATAL {len}, PLEN {}",
            pdu.len()
        ));
    }
    if (ch.flags & flags::DDGST != 0) != terms.data_digest {
        return Err(format!("C2HData: flags {:02x}h", ch.flags));
    }
    let data = &pdu[pdo..pdo + len];
    if terms.data_digest && pdu[pdo + len..] != crc32c(data).to_le_bytes() {
        return Err("C2HData: wrong data digest".to_owned());
    }
    let last = ch.flags & flags::LAST != 0;
    let success = ch.flags & flags::SUCCESS != 0;
    if success && !last {
        return Err("C2HData: SUCCESS without LAST_PDU".to_owned());
    }
    Ok(Pdu::Data {
        cid: header.cid.get(),
        offset: header.offset.get(),
        data,
        last,
        success,
    })
}
