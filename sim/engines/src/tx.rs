//! The tx engine: a job becomes frames.

use sluice_hal::{PmSlice, RawChecksum, RawJob, TcpJob, TxJob};
use sluice_wire::{checksum::Sum, ipv4, ipv6, tcp};

/// Packet memory as the tx engine reads it.
pub trait Memory {
    /// The bytes of a piece.
    ///
    /// # Panics
    /// If it reaches outside the memory.
    fn load(&self, piece: PmSlice) -> Vec<u8>;
}

impl Memory for [u8] {
    fn load(&self, piece: PmSlice) -> Vec<u8> {
        self[piece.addr.0 as usize..][..piece.len as usize].to_vec()
    }
}

impl Memory for Vec<u8> {
    fn load(&self, piece: PmSlice) -> Vec<u8> {
        self.as_slice().load(piece)
    }
}

/// The frames of a job, in order, read out of packet memory `pm`; not yet padded to 60 bytes (that is the MAC's part).
///
/// # Panics
/// If the job breaks the rules of `docs/card.md`, section 3: addresses outside `pm`, offsets outside the header, MSS 0, or a RoCE
/// job of which [`malformed_roce`](crate::malformed_roce) says so.
#[must_use]
pub fn transmit<M: Memory + ?Sized>(job: &TxJob, pm: &M) -> Vec<Vec<u8>> {
    match job {
        TxJob::Raw(job) => vec![raw(job, pm)],
        TxJob::Tcp(job) => train(job, pm),
        TxJob::Roce(job) => crate::transmit_roce(job, pm),
    }
}

pub(crate) fn collect<M: Memory + ?Sized>(pieces: &[PmSlice], count: u8, pm: &M) -> Vec<u8> {
    let pieces = &pieces[..usize::from(count)];
    pieces.iter().flat_map(|piece| pm.load(*piece)).collect()
}

fn raw<M: Memory + ?Sized>(job: &RawJob, pm: &M) -> Vec<u8> {
    let mut frame = collect(&job.gather, job.gather_len, pm);
    let (l3, l4) = (usize::from(job.l3_offset), usize::from(job.l4_offset));
    let (protocol, field) = match job.checksum {
        RawChecksum::None => return frame,
        RawChecksum::Tcp => (ipv4::PROTOCOL_TCP, 16),
        RawChecksum::Udp => (ipv4::PROTOCOL_UDP, 6),
        RawChecksum::Icmp if is_ipv4(&frame, l3) => (ipv4::PROTOCOL_ICMP, 2),
        RawChecksum::Icmp => (ipv6::NEXT_ICMPV6, 2),
    };
    fill_checksums(&mut frame, l3, l4, field, protocol);
    frame
}

fn train<M: Memory + ?Sized>(job: &TcpJob, pm: &M) -> Vec<Vec<u8>> {
    let template = pm.load(PmSlice::new(job.template, u32::from(job.header_len)));
    let payload = collect(&job.gather, job.gather_len, pm);
    assert!(
        (1..=8960).contains(&job.mss),
        "MSS {} out of range",
        job.mss
    );
    let segments = payload.len().div_ceil(usize::from(job.mss)).max(1);
    (0..segments)
        .map(|i| {
            let from = i * usize::from(job.mss);
            let to = payload.len().min(from + usize::from(job.mss));
            let mut flags = job.overrides.flags;
            if i + 1 < segments {
                flags &= !(tcp::FIN | tcp::PSH);
            }
            if i > 0 {
                flags &= !tcp::CWR;
            }
            segment(job, &template, &payload[from..to], from as u32, flags)
        })
        .collect()
}

fn segment(job: &TcpJob, template: &[u8], payload: &[u8], offset: u32, flags: u8) -> Vec<u8> {
    let mut frame = [template, payload].concat();
    let (l3, l4) = (usize::from(job.l3_offset), usize::from(job.l4_offset));
    if is_ipv4(&frame, l3) {
        let total = (frame.len() - l3) as u16;
        frame[l3 + 2..l3 + 4].copy_from_slice(&total.to_be_bytes());
    } else {
        let len = (frame.len() - l3 - 40) as u16;
        frame[l3 + 4..l3 + 6].copy_from_slice(&len.to_be_bytes());
    }
    let over = &job.overrides;
    frame[l4 + 4..l4 + 8].copy_from_slice(&over.seq.wrapping_add(offset).to_be_bytes());
    frame[l4 + 8..l4 + 12].copy_from_slice(&over.ack.to_be_bytes());
    frame[l4 + 13] = flags;
    frame[l4 + 14..l4 + 16].copy_from_slice(&over.window.to_be_bytes());
    if let Some((value, echo)) = over.timestamps {
        frame[l4 + 24..l4 + 28].copy_from_slice(&value.to_be_bytes());
        frame[l4 + 28..l4 + 32].copy_from_slice(&echo.to_be_bytes());
    }
    fill_checksums(&mut frame, l3, l4, 16, ipv4::PROTOCOL_TCP);
    frame
}

fn is_ipv4(frame: &[u8], l3: usize) -> bool {
    frame[l3] >> 4 == 4
}

/// IPv4 header checksum if it is IPv4, and the L4 checksum in the field at `l4 + field`, over the bytes up to the end
/// that the IP length gives.
fn fill_checksums(frame: &mut [u8], l3: usize, l4: usize, field: usize, protocol: u8) {
    let length = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let v4 = is_ipv4(frame, l3);
    let end = if v4 {
        l3 + length(l3 + 2)
    } else {
        l3 + 40 + length(l3 + 4)
    };
    frame[l4 + field..l4 + field + 2].fill(0);
    let (src, dst) = if v4 {
        (l3 + 12..l3 + 16, l3 + 16..l3 + 20)
    } else {
        (l3 + 8..l3 + 24, l3 + 24..l3 + 40)
    };
    let mut sum = Sum::default();
    if protocol != ipv4::PROTOCOL_ICMP {
        sum = sum.pseudo(&frame[src], &frame[dst], protocol, (end - l4) as u32);
    }
    let mut value = sum.bytes(&frame[l4..end]).finish();
    if protocol == ipv4::PROTOCOL_UDP && value == 0 {
        value = 0xffff; // RFC 768: zero would mean "no checksum"
    }
    frame[l4 + field..l4 + field + 2].copy_from_slice(&value.to_be_bytes());
    if v4 {
        frame[l3 + 10..l3 + 12].fill(0);
        let header_len = usize::from(frame[l3] & 0xf) * 4;
        let value = Sum::default().bytes(&frame[l3..l3 + header_len]).finish();
        frame[l3 + 10..l3 + 12].copy_from_slice(&value.to_be_bytes());
    }
}
