//! The engines for RoCEv2, as `docs/card.md` and `sluice_hal::roce` describe them: a frame becomes a descriptor, a job becomes
//! frames.

use sluice_hal::{
    BufId, MAX_GATHER, PmSlice, RxFlags,
    roce::{FLAG_ROCE, Remote, RoceJob, RoceMessage, RoceRx},
};
use sluice_wire::{
    checksum::Sum,
    crc32c::crc32c,
    ethernet, ipv4, ipv6,
    roce::{self, Aeth, Bth, CNP_RESERVED, DEFAULT_PKEY, Deth, ICRC_LEN, Opcode, Reth, View},
};
use zerocopy::IntoBytes;

use crate::tx::{Memory, collect};

/// Why rx drops a packet to RoCE's port; each needs a counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum RoceDrop {
    /// Headers that do not fit, another transport version, an unknown opcode, padding beyond the payload, a length that is no
    /// multiple of 4, or IPv4 options.
    #[error("bad RoCE packet")]
    Format,
    /// ICRC wrong.
    #[error("bad ICRC")]
    Icrc,
}

/// Describes a frame if it is RoCEv2 over UDP; `None` leaves it to [`crate::parse`]. The caller has checked addresses, IP
/// header and UDP checksum with that.
///
/// # Errors
/// Why the engine would drop it.
#[must_use]
pub fn parse_roce(frame: &[u8], buf: BufId, time_us: u32) -> Option<Result<RoceRx, RoceDrop>> {
    let eth = ethernet::View::of(frame)?;
    let l3 = eth.payload_offset;
    let mut flags = RxFlags::UDP | RxFlags::L4_OK | FLAG_ROCE;
    let (src, dst, udp, ip_len) = match eth.ethertype {
        ethernet::IPV4 => {
            let ip = ipv4::View::of(&frame[l3..]).ok()?;
            let congested = ip.header.tos & 3 == ipv4::CE;
            flags |= RxFlags::IPV4 | if congested { RxFlags::CE } else { 0 };
            let udp = (ip.header.protocol == ipv4::PROTOCOL_UDP).then_some(ip.payload)?;
            (&ip.header.src[..], &ip.header.dst[..], udp, ip.header_len)
        }
        ethernet::IPV6 => {
            let ip = ipv6::View::of(&frame[l3..])?;
            let congested = ip.header.ecn() == ipv4::CE;
            flags |= RxFlags::IPV6 | if congested { RxFlags::CE } else { 0 };
            let udp = (ip.header.next_header == ipv4::PROTOCOL_UDP).then_some(ip.payload)?;
            (&ip.header.src[..], &ip.header.dst[..], udp, 40)
        }
        _ => return None,
    };
    if udp.get(2..4)? != roce::UDP_PORT.to_be_bytes() {
        return None;
    }
    let packet = &frame[l3..l3 + ip_len + udp.len()];
    let fits =
        udp.len().is_multiple_of(4) && (ip_len == 20 || ip_len == 40 && flags & RxFlags::IPV6 != 0);
    let Some(view) = View::of(udp.get(8..)?).filter(|_| fits) else {
        return Some(Err(RoceDrop::Format));
    };
    if roce::icrc(&packet[..packet.len() - ICRC_LEN]) != Some(view.icrc) {
        return Some(Err(RoceDrop::Icrc));
    }
    let number = |address: &[u8]| address.try_into().map_or(0, u32::from_be_bytes);
    let l4 = l3 + ip_len;
    let reth = view.reth.copied().unwrap_or_default();
    let deth = view.deth.copied().unwrap_or_default();
    let word = view
        .aeth
        .map_or(view.word.unwrap_or(deth.qkey.get()), |aeth| aeth.0.get());
    Some(Ok(RoceRx {
        buf,
        frame_len: frame.len() as u16,
        flags: RxFlags(flags | if eth.tci.is_some() { RxFlags::VLAN } else { 0 }),
        vlan: eth.tci.unwrap_or(0),
        l3_offset: l3 as u8,
        l4_offset: l4 as u8,
        payload_offset: (l4 + 8 + 12 + view.opcode.extended_len()) as u8,
        opcode: view.bth.opcode,
        payload_len: view.payload.len() as u16,
        pkey: view.bth.pkey.get(),
        src_port: u16::from_be_bytes([udp[0], udp[1]]),
        pad: view.bth.pad() as u8,
        solicited: view.bth.flags & Bth::SOLICITED != 0,
        ack_req: view.bth.ack_req(),
        fecn: view.bth.dest_qp.get() & Bth::FECN != 0,
        becn: view.bth.dest_qp.get() & Bth::BECN != 0,
        dest_qp: view.bth.qpn(),
        psn: view.bth.sequence(),
        word,
        flow_hash: crc32c(&[src, dst, &udp[..4]].concat()),
        src_ip4: number(src),
        dst_ip4: number(dst),
        time_us,
        va: if view.deth.is_some() {
            u64::from(deth.src_qp.get() & roce::MASK_24)
        } else {
            reth.va.get()
        },
        rkey: reth.rkey.get(),
        dma_len: reth.len.get(),
    }))
}

/// The job cannot be sent: the engine completes it and counts it.
#[must_use]
pub fn malformed_roce(job: &RoceJob) -> bool {
    if usize::from(job.gather_len) > MAX_GATHER || !(1..=5).contains(&job.mtu_code) {
        return true;
    }
    let (mtu, len) = (128 << job.mtu_code, job.payload_len());
    match job.message {
        RoceMessage::ReadRequest(_) | RoceMessage::Acknowledge(_) | RoceMessage::Cnp => {
            !(job.starts && job.ends) || len != 0
        }
        RoceMessage::Datagram { .. } => !(job.starts && job.ends) || len > mtu,
        RoceMessage::WriteSend { .. } => {
            let Some(write) = usize::from(job.gather_len).checked_sub(1) else {
                return true;
            };
            let send = job.gather[write].len;
            !job.ends || len == send || send == 0 || send > mtu
        }
        _ => !job.ends && (len == 0 || !len.is_multiple_of(mtu)),
    }
}

/// The frames of a job, in order, read out of packet memory `pm`; not yet padded to 60 bytes.
///
/// # Panics
/// If the job is [`malformed_roce`] or reaches outside `pm`.
#[must_use]
pub fn transmit_roce<M: Memory + ?Sized>(job: &RoceJob, pm: &M) -> Vec<Vec<u8>> {
    assert!(!malformed_roce(job), "malformed: {job:?}");
    if let RoceMessage::WriteSend { remote, invalidate } = job.message {
        return write_and_send(job, remote, invalidate, pm);
    }
    let mtu = 128usize << job.mtu_code;
    let payload = collect(&job.gather, job.gather_len, pm);
    let count = payload.len().div_ceil(mtu).max(1);
    (0..count)
        .map(|i| {
            let part = &payload[i * mtu..payload.len().min((i + 1) * mtu)];
            let first = job.starts && i == 0;
            let last = job.ends && i + 1 == count;
            packet(job, i as u32, first, last, i + 1 == count, part, pm)
        })
        .collect()
}

fn write_and_send<M: Memory + ?Sized>(
    job: &RoceJob,
    remote: Remote,
    invalidate: bool,
    pm: &M,
) -> Vec<Vec<u8>> {
    let every = job.ack.every;
    let mut write = *job;
    write.message = RoceMessage::Write(remote);
    write.gather_len -= 1;
    (write.ack.last, write.solicited) = (false, false);
    let mut frames = transmit_roce(&write, pm);
    let mut send = *job;
    send.message = if invalidate {
        RoceMessage::SendInvalidate(remote.rkey)
    } else {
        RoceMessage::Send
    };
    send.starts = true;
    (send.gather[0], send.gather_len) = (job.gather[usize::from(write.gather_len)], 1);
    send.psn = job.psn.wrapping_add(frames.len() as u32) & roce::MASK_24;
    // Packets are counted over both messages.
    let nth = every != 0 && (frames.len() + 1).is_multiple_of(every.into());
    (send.ack.last, send.ack.every) = (job.ack.last || nth, 0);
    frames.extend(transmit_roce(&send, pm));
    frames
}

fn packet<M: Memory + ?Sized>(
    job: &RoceJob,
    i: u32,
    first: bool,
    last: bool,
    ends_job: bool,
    payload: &[u8],
    pm: &M,
) -> Vec<u8> {
    let place = |only, start, middle, end| match (first, last) {
        (true, true) => only,
        (true, false) => start,
        (false, false) => middle,
        (false, true) => end,
    };
    use Opcode as O;
    let opcode = match job.message {
        RoceMessage::Send => place(O::SendOnly, O::SendFirst, O::SendMiddle, O::SendLast),
        RoceMessage::SendInvalidate(_) => place(
            O::SendOnlyInvalidate,
            O::SendFirst,
            O::SendMiddle,
            O::SendLastInvalidate,
        ),
        RoceMessage::Write(_) | RoceMessage::WriteSend { .. } => {
            place(O::WriteOnly, O::WriteFirst, O::WriteMiddle, O::WriteLast)
        }
        RoceMessage::ReadRequest(_) => O::ReadRequest,
        RoceMessage::ReadResponse(_) => place(
            O::ReadResponseOnly,
            O::ReadResponseFirst,
            O::ReadResponseMiddle,
            O::ReadResponseLast,
        ),
        RoceMessage::Acknowledge(_) => O::Acknowledge,
        RoceMessage::Cnp => O::Cnp,
        RoceMessage::Datagram { .. } => O::UdSendOnly,
    };
    let every = u32::from(job.ack.every);
    let ack = (ends_job && job.ack.last) || (every != 0 && (i + 1).is_multiple_of(every));
    let pad = payload.len().wrapping_neg() & 3;
    let psn = job.psn.wrapping_add(i) & roce::MASK_24;
    let cnp = opcode == O::Cnp;
    let bth = Bth {
        opcode: opcode as u8,
        flags: (pad as u8) << 4
            | if ends_job && job.solicited {
                Bth::SOLICITED
            } else {
                0
            },
        pkey: DEFAULT_PKEY.into(),
        dest_qp: (job.dest_qp | if cnp { Bth::BECN } else { 0 }).into(),
        psn: (psn | if ack { Bth::ACK_REQ } else { 0 }).into(),
    };
    let mut frame = pm.load(PmSlice::new(job.template, job.header_len()));
    frame.extend(bth.as_bytes());
    frame.extend(extended(job.message, opcode));
    frame.extend(payload);
    frame.resize(frame.len() + pad, 0);
    seal(job, &mut frame);
    frame
}

fn extended(message: RoceMessage, opcode: Opcode) -> Vec<u8> {
    let reth = |remote: Remote| Reth {
        va: remote.va.into(),
        rkey: remote.rkey.into(),
        len: remote.len.into(),
    };
    match message {
        RoceMessage::SendInvalidate(key) if opcode.extended_len() == 4 => {
            key.to_be_bytes().to_vec()
        }
        RoceMessage::Write(remote) | RoceMessage::ReadRequest(remote) if opcode.has_reth() => {
            reth(remote).as_bytes().to_vec()
        }
        RoceMessage::ReadResponse(aeth) | RoceMessage::Acknowledge(aeth) if opcode.has_aeth() => {
            Aeth(aeth.into()).as_bytes().to_vec()
        }
        RoceMessage::Cnp => vec![0; CNP_RESERVED],
        RoceMessage::Datagram { qkey, src_qp } => Deth {
            qkey: qkey.into(),
            src_qp: src_qp.into(),
        }
        .as_bytes()
        .to_vec(),
        _ => vec![],
    }
}

/// Lengths, checksums (of UDP: none), ICRC.
fn seal(job: &RoceJob, frame: &mut Vec<u8>) {
    let l3 = job.l3_offset() as usize;
    let l4 = job.header_len() as usize - 8;
    let end = frame.len() + ICRC_LEN;
    let mut put = |at: usize, value: u16| frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
    put(l4 + 4, (end - l4) as u16);
    put(l4 + 6, 0);
    if job.ipv6 {
        put(l3 + 4, (end - l4) as u16);
    } else {
        put(l3 + 2, (end - l3) as u16);
        put(l3 + 10, 0);
        let sum = Sum::default().bytes(&frame[l3..l4]).finish();
        frame[l3 + 10..l3 + 12].copy_from_slice(&sum.to_be_bytes());
    }
    if let Some(icrc) = roce::icrc(&frame[l3..]) {
        frame.extend(icrc.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_hal::{PmAddr, PmSlice, Rx, roce::AckRule};
    use zerocopy::IntoBytes;

    /// Packet memory with an IPv4 template at 2 and counting bytes from 4096 on.
    fn memory() -> Vec<u8> {
        let mut pm: Vec<u8> = (0..16384).map(|i| (i % 251) as u8).collect();
        let eth = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        let mut ip = ipv4::Header::new([10, 0, 0, 2], [10, 0, 0, 1], ipv4::PROTOCOL_UDP, 0);
        ip.tos = 0x6a;
        let udp = [0xc0, 1, 0x12, 0xb7, 0, 0, 0, 0];
        let header = [&eth[..], ip.as_bytes(), &udp].concat();
        pm[2..2 + header.len()].copy_from_slice(&header);
        pm
    }

    fn job(message: RoceMessage, pieces: &[(u32, u32)]) -> RoceJob {
        let mut job = RoceJob::new(message, 0x12_3456, 0xff_ffff);
        job.template = PmAddr(2);
        for (slot, (at, len)) in job.gather.iter_mut().zip(pieces) {
            *slot = PmSlice::new(PmAddr(*at), *len);
        }
        job.gather_len = pieces.len() as u8;
        job
    }

    fn parsed(frames: &[Vec<u8>]) -> Vec<RoceRx> {
        frames
            .iter()
            .map(|frame| {
                parse_roce(frame, BufId(3), 9)
                    .expect("RoCE")
                    .expect("right")
            })
            .collect()
    }

    #[test]
    fn a_write_is_cut_at_the_path_mtu_and_padded_at_the_end() {
        let remote = Remote {
            va: 0x1_0000_0040,
            rkey: 0xabcd,
            len: 601,
        };
        let mut job = job(RoceMessage::Write(remote), &[(4096, 300), (8192, 301)]);
        job.ack = AckRule {
            last: true,
            every: 2,
        };
        let frames = transmit_roce(&job, &memory());
        let packets = parsed(&frames);
        let seen: Vec<_> = packets
            .iter()
            .map(|p| (p.opcode, p.psn, p.ack_req, p.payload_len, p.pad))
            .collect();
        assert_eq!(
            seen,
            [
                (0x06, 0xff_ffff, false, 256, 0),
                (0x07, 0, true, 256, 0),
                (0x08, 1, true, 89, 3)
            ]
        );
        assert_eq!(
            (packets[0].va, packets[0].rkey, packets[0].dma_len),
            (remote.va, remote.rkey, 601)
        );
        assert_eq!((packets[1].va, packets[1].dest_qp), (0, 0x12_3456));
        let payload: Vec<u8> = packets
            .iter()
            .zip(&frames)
            .flat_map(|(p, f)| {
                f[usize::from(p.payload_offset)..][..usize::from(p.payload_len)].to_vec()
            })
            .collect();
        let pm = memory();
        assert_eq!(payload, [&pm[4096..4396], &pm[8192..8493]].concat());
    }

    #[test]
    fn a_message_is_taken_up_in_its_middle() {
        let mut job = job(RoceMessage::SendInvalidate(7), &[(4096, 512)]);
        (job.starts, job.ends) = (false, false);
        let opcodes = |job: &RoceJob| -> Vec<_> {
            parsed(&transmit_roce(job, &memory()))
                .iter()
                .map(|p| (p.opcode, p.word))
                .collect()
        };
        assert_eq!(opcodes(&job), [(0x01, 0), (0x01, 0)]);
        job.ends = true;
        assert_eq!(opcodes(&job), [(0x01, 0), (0x16, 7)]);
        job.starts = true;
        assert_eq!(opcodes(&job), [(0x00, 0), (0x16, 7)]);
        job.gather[0].len = 0;
        assert_eq!(opcodes(&job), [(0x17, 7)]);
    }

    #[test]
    fn every_kind_of_message_is_read_back() {
        let aeth = 0x6000_0005;
        let acknowledge = parsed(&transmit_roce(
            &job(RoceMessage::Acknowledge(aeth), &[]),
            &memory(),
        ));
        assert_eq!((acknowledge[0].opcode, acknowledge[0].word), (0x11, aeth));
        let cnp = parsed(&transmit_roce(&job(RoceMessage::Cnp, &[]), &memory()));
        assert_eq!(
            (cnp[0].opcode, cnp[0].becn, cnp[0].payload_len),
            (0x81, true, 16)
        );
        let datagram = RoceMessage::Datagram { qkey: 5, src_qp: 1 };
        let datagram = parsed(&transmit_roce(&job(datagram, &[(4096, 256)]), &memory()));
        assert_eq!(
            (datagram[0].opcode, datagram[0].word, datagram[0].va),
            (0x64, 5, 1)
        );
        let response = parsed(&transmit_roce(
            &job(RoceMessage::ReadResponse(aeth), &[(4096, 600)]),
            &memory(),
        ));
        let words: Vec<_> = response.iter().map(|p| (p.opcode, p.word)).collect();
        assert_eq!(words, [(0x0d, aeth), (0x0e, 0), (0x0f, aeth)]);
    }

    #[test]
    fn a_flipped_bit_behind_the_ip_header_is_caught() {
        let frame = transmit_roce(&job(RoceMessage::Send, &[(4096, 100)]), &memory()).remove(0);
        for bit in 42 * 8..frame.len() * 8 {
            // FECN, BECN and six bits beside them may change on the way.
            if bit / 8 == 42 + 4 {
                continue;
            }
            let mut other = frame.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !matches!(parse_roce(&other, BufId(0), 0), Some(Ok(_))),
                "bit {bit}"
            );
        }
    }
    /// RFC 6935: a protocol with a check of its own may leave UDP's out over IPv6; all others may not.
    #[test]
    fn over_ipv6_only_roce_may_lack_the_udp_checksum() {
        let mac = [2, 0, 0, 0, 0, 2];
        let mut pm = memory();
        let mut header = [
            &mac[..],
            &[2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 17, 64],
        ]
        .concat();
        header.extend([&[0xfd; 32][..], &[0xc0, 1, 0x12, 0xb7, 0, 0, 0xee, 0xee]].concat());
        pm[2..2 + header.len()].copy_from_slice(&header);
        let mut job = job(RoceMessage::Send, &[(4096, 37)]);
        job.ipv6 = true;
        let mut frame = transmit_roce(&job, &pm).remove(0);
        assert_eq!(frame[60..62], [0, 0]);
        let got = crate::receive(&frame, mac, BufId(1), 0);
        assert!(matches!(got, Ok(Rx::Roce(packet)) if packet.payload_len == 37));
        frame[57] ^= 1; // another port
        let got = crate::receive(&frame, mac, BufId(1), 0);
        assert_eq!(got, Err(crate::DropReason::L4Checksum));
    }

    #[test]
    fn ipv4_options_and_lengths_that_are_no_words_are_refused() {
        let frame = transmit_roce(&job(RoceMessage::Send, &[(4096, 100)]), &memory()).remove(0);
        let mac = [2, 0, 0, 0, 0, 2];
        let verdict = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut frame = frame.clone();
            change(&mut frame);
            let ip_len = (frame.len() - 14) as u16;
            frame[16..18].copy_from_slice(&ip_len.to_be_bytes());
            let header = usize::from(frame[14] & 15) * 4;
            let udp_len = ip_len - header as u16;
            frame[14 + header + 4..][..2].copy_from_slice(&udp_len.to_be_bytes());
            frame[24..26].fill(0);
            let sum = Sum::default().bytes(&frame[14..14 + header]).finish();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            crate::receive(&frame, mac, BufId(0), 0)
        };
        assert!(verdict(&|_| ()).is_ok());
        let refused = Err(crate::DropReason::Roce);
        assert_eq!(verdict(&|f| f.push(0)), refused);
        let options = verdict(&|f| {
            f[14] = 0x46;
            f.splice(34..34, [1, 1, 1, 0]);
        });
        assert_eq!(options, refused);
        assert_eq!(verdict(&|f| f[43] |= 1), refused);
        assert_eq!(verdict(&|f| f[42] = 0xc0), refused);
        assert_eq!(verdict(&|f| f[44] ^= 1), Err(crate::DropReason::Icrc));
    }
}
