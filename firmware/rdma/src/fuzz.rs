//! Entry point for the fuzzer: bytes become a history of packets, work, time and management datagrams. Whatever comes, nothing
//! may panic and these hold: every frame buffer is freed exactly once, every token released exactly once, no message is
//! delivered without a posted receive, READ data lie inside what was asked for, jobs keep the rules of the tx engine, and
//! the connection manager names each connection over at most once.

use crate::{
    Accept, Cm, CmConfig, CmEvent, CmId, CmPacket, Config, Event, Link, LocalEnd, Open, Peer, QpId,
    Rc, Work, nvme,
};
use heapless::Vec;
use sluice_hal::{
    BufId, Busy, MAX_GATHER, Micros, PmAddr, PmSlice, RxFlags, layout,
    roce::{Remote, RoceJob, RoceMessage, RoceRx},
};
use sluice_wire::{
    ib_cm::{
        ATTR_DREQ, ATTR_REQ, IpCmHeader, Req, SERVICE_TCP, gid_of_ipv4, high24, ipv4_of_gid, start,
    },
    nvme_rdma::{CmStatus, RequestData},
    roce::{MASK_24, Opcode, PathMtu},
};
use zerocopy::{FromBytes, IntoBytes};

const BUFFERS: usize = 256;
const QPS: usize = 4;
const WRS: usize = 16;
const TOKENS: usize = 64;
const RECV_SIZE: u32 = 64 + 2048;
const PEER: Peer = Peer {
    mac: [2, 0, 0, 0, 0, 2],
    tci: 0,
    gid: gid_of_ipv4([10, 0, 0, 1]),
    own: gid_of_ipv4([10, 0, 0, 2]),
    src_port: 0xc001,
};

/// Checks what the machine does to the card.
struct Card {
    held: [bool; BUFFERS],
    jobs: u8,
    random: u32,
    /// What a host would know: the next PSN expected of it, and the last it was sent.
    expected: u32,
    last_sent: u32,
    /// Jobs with a WRITE and the SEND behind it.
    coupled: u32,
    /// A READ under way: next PSN of its answer, bytes to come, bytes per packet.
    read: Option<(u32, u32, u32)>,
}

impl Link for Card {
    fn read(&mut self, _at: PmAddr, into: &mut [u8]) {
        into.fill(0);
    }

    fn write(&mut self, at: PmAddr, from: &[u8]) {
        assert!(at.0 + from.len() as u32 <= layout::HEADERS_BASE + 128 * QPS as u32);
    }

    fn send(&mut self, job: &RoceJob) -> Result<(), Busy> {
        self.jobs = self.jobs.checked_sub(1).ok_or(Busy)?;
        assert_eq!(RoceJob::from_words(&job.to_words()), Some(*job));
        let (len, mtu) = (job.payload_len(), 128u32 << job.mtu_code);
        match job.message {
            RoceMessage::Acknowledge(aeth) => {
                let psn = if aeth >> 29 == 0 {
                    job.psn + 1
                } else {
                    job.psn
                };
                self.expected = psn & MASK_24;
            }
            RoceMessage::Write(remote) => {
                self.last_sent = job.psn;
                assert!(len <= remote.len && (!(job.starts && job.ends) || len == remote.len));
            }
            RoceMessage::WriteSend { remote, .. } => {
                self.last_sent = job.psn;
                self.coupled += 1;
                let send = job.gather[usize::from(job.gather_len) - 1].len;
                assert!(job.gather_len > 1 && send > 0 && send <= mtu && job.ends);
                let len = len - send;
                assert!(len > 0 && len <= remote.len && (!job.starts || len == remote.len));
            }
            RoceMessage::Cnp => {}
            RoceMessage::ReadRequest(remote) => {
                self.last_sent = job.psn;
                self.read = Some((job.psn, remote.len, mtu));
            }
            _ => self.last_sent = job.psn,
        }
        assert!(job.ends || (len != 0 && len.is_multiple_of(mtu)));
        assert!((1..=5).contains(&job.mtu_code) && len <= 128 << 10);
        Ok(())
    }

    fn free(&mut self, buf: BufId) {
        let held = &mut self.held[usize::from(buf.0)];
        assert!(core::mem::take(held), "freed twice");
    }

    fn random(&mut self) -> u32 {
        self.random = self
            .random
            .wrapping_mul(0x0019_660d)
            .wrapping_add(0x3c6e_f35f);
        self.random
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn next(&mut self) -> u8 {
        self.byte().unwrap_or(0)
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes([self.next(), self.next(), self.next(), self.next()])
    }
}

struct World {
    rc: Rc<QPS, WRS, 32>,
    card: Card,
    open: Vec<(QpId, LocalEnd), QPS>,
    /// Tokens posted and not released, with the length of READs.
    tokens: [Option<u32>; TOKENS],
    now: Micros,
    /// Receives posted and messages consumed, all queue pairs together.
    receives: u32,
    messages: u32,
    reached: Reached,
}

/// Plays one history.
///
/// # Panics
/// When a machine breaks one of the promises above.
pub fn fuzz_one(data: &[u8]) {
    play(data);
}

/// How far a history came; the tests look at it.
#[cfg_attr(not(test), allow(dead_code, reason = "only tests read it"))]
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Reached {
    pub messages: u32,
    pub read_packets: u32,
    pub done: u32,
    pub undone: u32,
    pub failed: u32,
    pub resent: u32,
    pub coupled: u32,
    /// Messages without an acknowledgment of their own, where acknowledgments wait for each other.
    pub together: u32,
    pub asked: u32,
    pub established: u32,
    pub ended: u32,
}

pub(crate) fn play(data: &[u8]) -> Reached {
    let mut input = Input(data);
    let how = input.next();
    if how & 1 == 0 {
        queue_pairs(how & 2 != 0, &mut input)
    } else {
        connections(&mut input)
    }
}

fn queue_pairs(acks_wait: bool, input: &mut Input<'_>) -> Reached {
    let mut world = World {
        rc: Rc::new(),
        card: Card {
            held: [false; BUFFERS],
            jobs: 0,
            random: input.word(),
            expected: 0,
            last_sent: 0,
            coupled: 0,
            read: None,
        },
        open: Vec::new(),
        tokens: [None; TOKENS],
        now: Micros(0),
        receives: 0,
        messages: 0,
        reached: Reached::default(),
    };
    world.rc.configure(&Config {
        core: 1,
        templates: PmAddr(layout::HEADERS_BASE),
        recv_size: RECV_SIZE,
        window: 64,
        max_train: 4096,
        ack_delay: if acks_wait { 100 } else { 0 },
        ack_every: 8,
        ..Config::default()
    });
    while let Some(what) = input.byte() {
        world.step(what, input);
        world.settle();
    }
    while let Some((id, _)) = world.open.pop() {
        world.rc.close(id, &mut world.card);
    }
    world.settle();
    assert!(world.card.held.iter().all(|held| !held), "a buffer leaked");
    assert!(world.tokens.iter().all(Option::is_none), "a token leaked");
    assert_eq!((world.rc.work_room(), world.rc.room()), (WRS as u16, QPS));
    assert!(world.messages <= world.receives, "out of nothing");
    let stats = world.rc.stats();
    Reached {
        messages: world.messages,
        failed: stats.failed,
        resent: stats.resent,
        coupled: world.card.coupled,
        together: if acks_wait {
            stats.messages.saturating_sub(stats.acks)
        } else {
            0
        },
        ..world.reached
    }
}

impl World {
    fn step(&mut self, what: u8, input: &mut Input<'_>) {
        let (what, detail) = (what & 15, what >> 4);
        let at = usize::from(input.next()) % self.open.len().max(1);
        let Some((id, end)) = self.open.get(at).copied() else {
            return self.open(input);
        };
        match what {
            0 | 1 => self.any_packet(&end, detail, input),
            2 | 3 => self.right_send(&end, detail),
            4 | 5 => self.right_answer(&end),
            6 | 7 => self.post(id, detail, input),
            8 => {
                self.now = self.now.after(1 << detail);
                self.rc.handle_timeouts(self.now, &mut self.card);
            }
            9 | 10 => {
                self.card.jobs = detail + 1;
                self.rc.poll_transmit(self.now, &mut self.card);
            }
            11 => {
                self.rc.post_receives(id, u16::from(detail));
                self.receives += u32::from(detail);
            }
            12 | 13 => self.consume(id),
            14 => {
                self.rc.close(id, &mut self.card);
                self.open.swap_remove(at);
            }
            _ => self.open(input),
        }
    }

    fn open(&mut self, input: &mut Input<'_>) {
        let detail = input.next();
        let open = Open {
            peer: PEER,
            remote_qpn: 0x11,
            send_psn: input.word() & MASK_24,
            mtu: PathMtu::from_code(1 + detail % 5).unwrap_or(PathMtu::Bytes256),
            receives: u16::from(detail >> 5),
            reads: detail & 3,
            ack_timeout: detail & 15,
            retries: detail & 7,
            rnr_retries: detail >> 3 & 7,
        };
        if let Ok(opened) = self.rc.open(&open, &mut self.card) {
            self.receives += u32::from(open.receives);
            self.card.expected = opened.1.psn;
            let _has_room = self.open.push(opened);
        }
    }

    fn any_packet(&mut self, end: &LocalEnd, detail: u8, input: &mut Input<'_>) {
        let Some(buf) = self.card.held.iter().position(|held| !held) else {
            return;
        };
        let code = input.next();
        let opcode = Opcode::ALL
            .get(usize::from(code & 31))
            .map_or(code, |o| *o as u8);
        let response = (0x0d..=0x12).contains(&opcode);
        let base = if response {
            self.card.last_sent
        } else {
            self.card.expected
        };
        // Mostly what is due, sometimes a little off, sometimes anything.
        let psn = match detail {
            0..=10 => base.wrapping_add(u32::from(code >> 5) * u32::from(response)),
            11..=13 => base.wrapping_add_signed(i32::from(input.next().cast_signed())),
            _ => input.word(),
        };
        let shape = input.next();
        let len = match shape & 7 {
            0..=3 => 128 << (1 + shape / 8 % 5),
            4 | 5 => u16::from(shape >> 3),
            _ => (input.word() & 0xfff) as u16,
        };
        let syndromes = [0x1f, 0x1f, 0x1f, 0x60, 0x2c, 0x61, 0x62, shape];
        let rx = RoceRx {
            flags: RxFlags(RxFlags::IPV4 | if shape == 0xff { RxFlags::CE } else { 0 }),
            payload_len: len,
            ack_req: shape & 1 == 0,
            dest_qp: if detail == 15 { input.word() } else { end.qpn },
            word: u32::from(syndromes[usize::from(detail & 7)]) << 24,
            ..packet(buf, opcode, end.qpn, psn)
        };
        self.arrive(&rx);
    }

    /// What a well-meaning host would send next.
    fn right_send(&mut self, end: &LocalEnd, detail: u8) {
        if let Some(buf) = self.card.held.iter().position(|held| !held) {
            let psn = self.card.expected;
            let mut rx = packet(buf, Opcode::SendOnly as u8, end.qpn, psn);
            rx.payload_len = 64 + u16::from(detail);
            self.arrive(&rx);
            // It goes on without waiting; what it is told afterwards puts that right.
            self.card.expected = psn.wrapping_add(1) & MASK_24;
        }
    }

    fn right_answer(&mut self, end: &LocalEnd) {
        let Some(buf) = self.card.held.iter().position(|held| !held) else {
            return;
        };
        let rx = match self.card.read {
            None => packet(buf, Opcode::Acknowledge as u8, end.qpn, self.card.last_sent),
            Some((psn, left, mtu)) => {
                let last = left <= mtu;
                self.card.read = (!last).then(|| (psn + 1, left - mtu, mtu));
                let opcode = if last {
                    Opcode::ReadResponseLast
                } else {
                    Opcode::ReadResponseMiddle
                };
                let mut rx = packet(buf, opcode as u8, end.qpn, psn);
                rx.payload_len = left.min(mtu) as u16;
                rx
            }
        };
        self.arrive(&rx);
    }

    fn arrive(&mut self, rx: &RoceRx) {
        self.card.held[usize::from(rx.buf.0)] = true;
        if let Some(data) = self.rc.input(self.now, rx, &mut self.card) {
            let asked = self.tokens[data.token as usize].expect("a READ under way");
            assert!(data.offset + data.slice.len <= asked);
            assert_eq!(data.last, data.offset + data.slice.len == asked);
            self.card.free(data.buf);
            self.reached.read_packets += 1;
        }
    }

    fn post(&mut self, id: QpId, detail: u8, input: &mut Input<'_>) {
        let Some(token) = self.tokens.iter().position(Option::is_none) else {
            return;
        };
        let len = input.word() & 0x3fff;
        let half = PmSlice::new(PmAddr(layout::PAGES_BASE), len / 2);
        let pieces = [
            half,
            PmSlice::new(PmAddr(layout::PAGES_BASE), len - len / 2),
        ];
        const _: () = assert!(MAX_GATHER >= 2);
        let work = match detail % 5 {
            0 => Work::Send,
            1 => Work::SendInvalidate(7),
            4 => Work::WriteSend {
                va: 0x1000,
                rkey: 5,
                invalidate: true,
            },
            2 => Work::Write {
                va: 0x1000,
                rkey: 1,
            },
            _ => Work::Read(Remote {
                va: 0x1000,
                rkey: 1,
                len,
            }),
        };
        let pieces = if detail & 3 == 3 { &[][..] } else { &pieces };
        if self.rc.post(id, work, pieces, token as u32).is_ok() {
            self.tokens[token] = Some(len);
        }
    }

    fn consume(&mut self, id: QpId) {
        if let Some(len) = self.rc.message_len(id) {
            assert!(len <= RECV_SIZE);
            self.messages += 1;
            self.rc.consume(id, |buf| self.card.free(buf));
        }
    }

    fn settle(&mut self) {
        while let Some((id, event)) = self.rc.poll_event() {
            assert!(
                self.open.iter().any(|(open, _)| *open == id),
                "an event of nobody's"
            );
            if event == Event::Received {
                assert!(self.rc.message_len(id).is_some());
            }
        }
        while let Some(released) = self.rc.poll_released() {
            let token = self.tokens[released.token as usize].take();
            assert!(token.is_some(), "released twice");
            self.reached.done += u32::from(released.done);
            self.reached.undone += u32::from(!released.done);
        }
    }
}

/// A packet without payload that asks for an acknowledgment, or is one.
fn packet(buf: usize, opcode: u8, qpn: u32, psn: u32) -> RoceRx {
    RoceRx {
        buf: BufId(buf as u16),
        frame_len: 60,
        flags: RxFlags(RxFlags::IPV4),
        vlan: 0,
        l3_offset: 14,
        l4_offset: 34,
        payload_offset: 54,
        opcode,
        payload_len: 0,
        pkey: 0xffff,
        src_port: 1,
        pad: 0,
        solicited: false,
        ack_req: true,
        fecn: false,
        becn: false,
        dest_qp: qpn,
        psn: psn & MASK_24,
        word: 0x1f00_0000,
        flow_hash: 0,
        src_ip4: 0x0a00_0001,
        dst_ip4: 0x0a00_0002,
        time_us: 0,
        va: 0,
        rkey: 0,
        dma_len: 0,
    }
}

fn connections(input: &mut Input<'_>) -> Reached {
    let mut reached = Reached::default();
    let cfg = CmConfig {
        half_open: 3,
        tries: 2,
        ..CmConfig::default()
    };
    let mut cm = Cm::<6>::new();
    cm.configure(&cfg);
    let mut now = Micros(0);
    let mut living: Vec<CmId, 16> = Vec::new();
    let mut last = CmId::from_number(0);
    let mut counter = 0x1000;
    while let Some(what) = input.byte() {
        let picked = living
            .get(usize::from(what >> 4) % living.len().max(1))
            .copied();
        match (what & 7, picked) {
            (0..=2, _) => {
                let mad = message(what >> 3, last, input);
                let random = || {
                    counter += 1;
                    counter
                };
                let mut peer = PEER;
                peer.gid[15] = 1 + (what >> 7);
                cm.input(now, &CmPacket { peer, mad: &mad }, random);
            }
            (3, _) => {
                now = now.after(u64::from(input.next()) << 14);
                cm.handle_timeouts(now);
            }
            (4, Some(id)) => {
                let accept = Accept {
                    qpn: 0x10_0000 + u32::from(input.next()),
                    psn: 0,
                    crqsize: 32,
                };
                let _gone = cm.accept(now, id, &accept);
            }
            (5, Some(id)) if what & 8 == 0 => {
                cm.disconnect(now, id);
                living.retain(|other| *other != id);
            }
            (5, Some(id)) => cm.established(id),
            (6, Some(id)) if what & 8 == 0 => cm.reject(id, CmStatus::NoResources),
            _ => {
                let mut mad = [0; 256];
                while cm.poll_transmit(&mut mad).is_some() {}
            }
        }
        while let Some(event) = cm.poll_event() {
            match event {
                CmEvent::Asked(id, request) => {
                    assert!(request.queue.entries > 1 && request.reads > 0);
                    assert!(
                        request.mtu <= PathMtu::Bytes1024
                            && ipv4_of_gid(&request.peer.gid).is_some()
                    );
                    // Those rejected or ended here stay in the list; places are for what the table holds.
                    if living.is_full() {
                        living.remove(0);
                    }
                    let _has_room = living.push(id);
                    last = id;
                    reached.asked += 1;
                }
                CmEvent::Established(_) => reached.established += 1,
                CmEvent::Ended { id, .. } => {
                    living.retain(|other| *other != id);
                    reached.ended += 1;
                }
            }
        }
        assert!(cm.connections() <= 6);
    }
    for _ in 0..16 {
        now = now.after(10_000_000);
        cm.handle_timeouts(now);
        while cm.poll_event().is_some() {}
    }
    let mut mad = [0; 256];
    while cm.poll_transmit(&mut mad).is_some() {}
    reached
}

/// A message near a right one: what `kind` makes of it, then some bytes changed.
fn message(kind: u8, last: CmId, input: &mut Input<'_>) -> [u8; 256] {
    let mut mad = [0; 256];
    let id = u32::from(input.next() & 3);
    if kind & 3 == 0 {
        if let Some(req) = start::<Req>(&mut mad, ATTR_REQ, 1) {
            req.local_comm_id.set(id);
            req.service_id.set(SERVICE_TCP + 4420);
            req.qpn_resources = high24(0x11 + id, 4);
            req.mtu_rnr = 3 << 4;
            req.cm_retries = 3 << 4;
            req.primary.local_gid = PEER.gid;
            req.primary.remote_gid = PEER.own;
            if let Ok((header, rest)) = IpCmHeader::mut_from_prefix(&mut req.private) {
                header.ip_version = 4 << 4;
                header.src[12..].copy_from_slice(&PEER.gid[12..]);
                header.dst[12..].copy_from_slice(&PEER.own[12..]);
                if let Ok((data, _)) = RequestData::mut_from_prefix(rest) {
                    data.hrqsize.set(32);
                    data.hsqsize_z.set(31);
                }
            }
        }
    } else {
        let attribute = ATTR_DREQ - 5 + u16::from(input.next() & 7);
        if let Some(dreq) = start::<sluice_wire::ib_cm::Dreq>(&mut mad, attribute, 2) {
            dreq.local_comm_id.set(id);
            dreq.remote_comm_id.set(last.get());
            dreq.remote_qpn = high24(0x10_0000 + u32::from(input.next()), 0);
        }
    }
    if kind & 4 != 0 {
        for _ in 0..input.next() & 3 {
            mad[usize::from(input.next())] = input.next();
        }
    }
    // What the capsules of such a connection would bring is looked at too.
    let mut sqe = [0; 64];
    sqe.copy_from_slice(&mad[..64]);
    sqe[39] = mad[70];
    let _found = nvme::data(&sqe, 4096);
    let _checked = nvme::private_data(mad.as_bytes(), &nvme::QueueLimits::DEFAULT);
    mad
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{Rng, SeedableRng},
    };

    #[test]
    fn random_histories_keep_every_promise() {
        let base = std::env::var("SLUICE_SEED")
            .ok()
            .and_then(|s| s.parse().ok())
            .unwrap_or(1u64);
        let mut all = [0u32; 11];
        for seed in base..base + 4000 {
            std::println!("seed {seed}");
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut bytes = std::vec![0; 2048];
            random.fill_bytes(&mut bytes);
            let r = play(&bytes);
            let seen = [
                r.messages,
                r.read_packets,
                r.done,
                r.undone,
                r.failed,
                r.resent,
                r.coupled,
                r.together,
                r.asked,
                r.established,
                r.ended,
            ];
            for (sum, n) in all.iter_mut().zip(seen) {
                *sum += n;
            }
        }
        // The histories are worth something only if they get past the refusals.
        assert!(all.iter().all(|n| *n > 200), "{all:?}");
    }
}
