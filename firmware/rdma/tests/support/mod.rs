//! A card around the machines, made of plain memory and the engines' models, and frames as a host would send them.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod host;
pub mod wire;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_engines::{RoceDrop, parse_roce, transmit_roce};
use sluice_hal::{
    BufId, Busy, Micros, PmAddr, PmSlice, layout,
    roce::{RoceJob, RoceRx},
};
use sluice_rdma::{Config, Event, Link, LocalEnd, Open, Peer, QpId, Rc};
use sluice_wire::{
    ib_cm::gid_of_ipv4,
    ipv4,
    roce::{self, Bth, Opcode, PathMtu, View},
};
use std::collections::{BTreeSet, VecDeque};
use zerocopy::IntoBytes;

/// Small, so that limits are reached.
pub type Machine = Rc<8, 64, 128>;

pub const CARD_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub const HOST_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
pub const CARD_IP: [u8; 4] = [10, 0, 0, 2];
pub const HOST_IP: [u8; 4] = [10, 0, 0, 1];
pub const HOST_QPN: u32 = 0x11;
/// First PSN the card sends: the numbers wrap early.
pub const SEND_PSN: u32 = 0xff_fff0;

/// Packet memory, both engines and the buffer pool. Jobs are executed as they are posted.
pub struct Card {
    pub pm: Vec<u8>,
    /// Frames sent, in order.
    pub sent: VecDeque<Vec<u8>>,
    pub jobs: Vec<RoceJob>,
    free: Vec<u16>,
    /// Buffers that the machine or the application has.
    pub held: BTreeSet<u16>,
    /// Jobs that are taken before the engine says busy.
    pub job_room: u32,
    /// What the entropy source says first.
    pub entropy: VecDeque<u32>,
    rng: ChaCha8Rng,
}

impl Card {
    pub fn new(seed: u64) -> Self {
        Self::with_memory(seed, vec![0; layout::PM_SIZE as usize])
    }

    pub fn with_memory(seed: u64, pm: Vec<u8>) -> Self {
        Self {
            pm,
            sent: VecDeque::new(),
            jobs: vec![],
            free: (0..layout::RX_BUFS as u16).rev().collect(),
            held: BTreeSet::new(),
            job_room: u32::MAX,
            entropy: VecDeque::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// As the rx engine: stores a frame and describes it, or drops it.
    pub fn receive(&mut self, frame: &[u8], now: Micros) -> Option<RoceRx> {
        let large = frame.len() as u32 > layout::RX_SMALL_SIZE - layout::RX_OFFSET;
        let fits = |b: &u16| u32::from(*b) >= layout::RX_SMALL_COUNT || !large;
        let at = self.free.iter().rposition(fits)?;
        let buf = BufId(self.free[at]);
        match parse_roce(frame, buf, now.0 as u32).expect("RoCE") {
            Ok(rx) => {
                assert_eq!(RoceRx::from_words(&rx.to_words()), rx);
                self.free.remove(at);
                self.held.insert(buf.0);
                let start = (buf.addr().0 + layout::RX_OFFSET) as usize;
                self.pm[start..start + frame.len()].copy_from_slice(frame);
                Some(rx)
            }
            Err(RoceDrop::Icrc | RoceDrop::Format) => None,
        }
    }

    pub fn bytes(&self, slice: PmSlice) -> &[u8] {
        &self.pm[slice.addr.0 as usize..][..slice.len as usize]
    }
}

impl Link for Card {
    fn read(&mut self, at: PmAddr, into: &mut [u8]) {
        into.copy_from_slice(&self.pm[at.0 as usize..][..into.len()]);
    }

    fn write(&mut self, at: PmAddr, from: &[u8]) {
        self.pm[at.0 as usize..][..from.len()].copy_from_slice(from);
    }

    fn send(&mut self, job: &RoceJob) -> Result<(), Busy> {
        self.job_room = self.job_room.checked_sub(1).ok_or(Busy)?;
        assert_eq!(RoceJob::from_words(&job.to_words()), Some(*job));
        self.jobs.push(*job);
        self.sent.extend(transmit_roce(job, &self.pm));
        Ok(())
    }

    fn free(&mut self, buf: BufId) {
        assert!(self.held.remove(&buf.0), "freed twice");
        self.free.push(buf.0);
    }

    fn random(&mut self) -> u32 {
        self.entropy
            .pop_front()
            .unwrap_or_else(|| self.rng.next_u32())
    }
}

pub fn config() -> Config {
    Config {
        core: 3,
        mac: CARD_MAC,
        templates: PmAddr(layout::HEADERS_BASE),
        recv_size: 64 + 4096,
        ..Config::default()
    }
}

pub fn peer() -> Peer {
    Peer {
        mac: HOST_MAC,
        tci: 0,
        gid: gid_of_ipv4(HOST_IP),
        own: gid_of_ipv4(CARD_IP),
        src_port: 0xc123,
    }
}

pub fn open() -> Open {
    Open {
        peer: peer(),
        remote_qpn: HOST_QPN,
        send_psn: SEND_PSN,
        mtu: PathMtu::Bytes256,
        receives: 4,
        reads: 2,
        ack_timeout: 8,
        retries: 3,
        rnr_retries: 3,
    }
}

/// What a test looks at in a packet sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    pub opcode: Opcode,
    /// From the first PSN of its direction.
    pub psn: u32,
    pub ack_req: bool,
    pub word: u32,
    pub va: u64,
    pub len: usize,
}

/// One machine with one queue pair, and its time.
pub struct Bench {
    pub rc: Machine,
    pub card: Card,
    pub id: QpId,
    pub end: LocalEnd,
    pub now: Micros,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(&config(), &open())
    }

    pub fn with(cfg: &Config, open: &Open) -> Self {
        let mut card = Card::new(1);
        let mut rc = Machine::new();
        rc.configure(cfg);
        let (id, end) = rc.open(open, &mut card).expect("room");
        assert_eq!(end.qpn >> 20, u32::from(cfg.core));
        Self {
            rc,
            card,
            id,
            end,
            now: Micros(1000),
        }
    }

    /// A request of the host's; `psn` counts from its first.
    pub fn request(&mut self, opcode: Opcode, psn: i32, ack: bool, rest: &[u8]) {
        let psn = self.end.psn.wrapping_add_signed(psn) & roce::MASK_24;
        self.arrive(&frame(opcode, self.end.qpn, psn, ack, &[], rest));
    }

    /// An answer of the host's with an AETH; `psn` counts from the card's first.
    pub fn answer(&mut self, opcode: Opcode, psn: u32, syndrome: u8, payload: &[u8]) {
        let psn = SEND_PSN.wrapping_add(psn) & roce::MASK_24;
        let aeth = [syndrome, 0, 0, 1];
        let extended: &[u8] = if opcode.has_aeth() { &aeth } else { &[] };
        self.arrive(&frame(opcode, self.end.qpn, psn, false, extended, payload));
    }

    pub fn arrive(&mut self, frame: &[u8]) {
        if let Some(data) = self.take(frame) {
            self.card.free(data.buf);
        }
    }

    pub fn take(&mut self, frame: &[u8]) -> Option<sluice_rdma::ReadData> {
        let rx = self.card.receive(frame, self.now)?;
        let data = self.rc.input(self.now, &rx, &mut self.card);
        self.rc.poll_transmit(self.now, &mut self.card);
        data
    }

    /// Lets time pass.
    pub fn pass(&mut self, micros: u64) {
        self.now = self.now.after(micros);
        self.rc.handle_timeouts(self.now, &mut self.card);
        self.rc.poll_transmit(self.now, &mut self.card);
    }

    /// What was sent since the last call.
    pub fn sent(&mut self) -> Vec<Sent> {
        let frames: Vec<_> = self.card.sent.drain(..).collect();
        let own = self.end.psn;
        frames
            .iter()
            .map(|frame| {
                let view = view(frame);
                assert_eq!(view.bth.qpn(), HOST_QPN);
                let base = match view.opcode {
                    Opcode::Acknowledge => own,
                    Opcode::Cnp => 0,
                    _ => SEND_PSN,
                };
                Sent {
                    opcode: view.opcode,
                    psn: view.bth.sequence().wrapping_sub(base) & roce::MASK_24,
                    ack_req: view.bth.ack_req(),
                    word: view
                        .aeth
                        .map_or(view.word.unwrap_or(0), |aeth| aeth.0.get()),
                    va: view.reth.map_or(0, |reth| reth.va.get()),
                    len: view.payload.len(),
                }
            })
            .collect()
    }

    /// Opcodes and PSNs of what was sent.
    pub fn brief(&mut self) -> Vec<(Opcode, u32)> {
        self.sent().iter().map(|p| (p.opcode, p.psn)).collect()
    }

    /// Syndromes and PSNs of the acknowledgments sent; nothing else may have been.
    pub fn verdicts(&mut self) -> Vec<(u8, u32)> {
        let sent = self.sent();
        assert!(
            sent.iter().all(|p| p.opcode == Opcode::Acknowledge),
            "{sent:?}"
        );
        sent.iter().map(|p| ((p.word >> 24) as u8, p.psn)).collect()
    }

    pub fn events(&mut self) -> Vec<Event> {
        let mut events = vec![];
        while let Some((id, event)) = self.rc.poll_event() {
            assert_eq!(id, self.id);
            events.push(event);
        }
        events
    }

    /// The oldest message's bytes.
    pub fn message(&mut self) -> Option<Vec<u8>> {
        let len = self.rc.message_len(self.id)?;
        let bytes: Vec<u8> = self
            .rc
            .pieces(self.id)
            .flat_map(|piece| self.card.bytes(piece).to_vec())
            .collect();
        assert_eq!(bytes.len(), len as usize);
        self.rc.consume(self.id, |buf| self.card.free(buf));
        Some(bytes)
    }

    pub fn released(&mut self) -> Vec<(u32, bool)> {
        core::iter::from_fn(|| self.rc.poll_released())
            .map(|r| (r.token, r.done))
            .collect()
    }
}

pub fn view(frame: &[u8]) -> View<'_> {
    let ip = ipv4::View::of(&frame[14..]).expect("IPv4");
    let packet = &frame[14..14 + ip.header_len + ip.payload.len()];
    let view = View::of(&ip.payload[8..]).expect("RoCE");
    assert_eq!(roce::icrc(&packet[..packet.len() - 4]), Some(view.icrc));
    view
}

/// A frame of the host's, ICRC right.
pub fn frame(
    opcode: Opcode,
    qpn: u32,
    psn: u32,
    ack: bool,
    extended: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    frame_from(HOST_IP, CARD_IP, opcode, qpn, psn, ack, extended, payload)
}

#[allow(clippy::too_many_arguments, reason = "the fields of a packet")]
pub fn frame_from(
    src: [u8; 4],
    dst: [u8; 4],
    opcode: Opcode,
    qpn: u32,
    psn: u32,
    ack: bool,
    extended: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let pad = payload.len().wrapping_neg() & 3;
    let bth = Bth {
        opcode: opcode as u8,
        flags: (pad as u8) << 4,
        pkey: roce::DEFAULT_PKEY.into(),
        dest_qp: qpn.into(),
        psn: (psn | if ack { Bth::ACK_REQ } else { 0 }).into(),
    };
    let inner = [bth.as_bytes(), extended, payload, &[0; 3][..pad]].concat();
    let udp_len = 8 + inner.len() + 4;
    let ip = ipv4::Header::new(src, dst, ipv4::PROTOCOL_UDP, udp_len as u16);
    let [a, b] = (udp_len as u16).to_be_bytes();
    let udp = [0xc0, 0x77, 0x12, 0xb7, a, b, 0, 0];
    let mut packet = [ip.as_bytes(), &udp, &inner].concat();
    let icrc = roce::icrc(&packet).expect("RoCE");
    packet.extend(icrc.to_le_bytes());
    [&CARD_MAC[..], &HOST_MAC, &[8, 0], &packet].concat()
}

/// The frame's IPv4 and UDP headers replaced by IPv6 ones, between these addresses.
pub fn over_ipv6(frame: &[u8], src: [u8; 16], dst: [u8; 16], tci: Option<u16>) -> Vec<u8> {
    let udp = &frame[34..frame.len() - 4];
    let ip = sluice_wire::ipv6::Header::new(src, dst, 17, 64, udp.len() as u16 + 4);
    let mut packet = [ip.as_bytes(), udp].concat();
    let icrc = sluice_wire::roce::icrc(&packet).expect("RoCE");
    packet.extend(icrc.to_le_bytes());
    let tag = tci.map_or(vec![], |tci| [[0x81, 0], tci.to_be_bytes()].concat());
    [&frame[..12], &tag, &[0x86, 0xdd], &packet].concat()
}

/// Congestion experienced, on the way.
pub fn mark(frame: &mut [u8]) {
    frame[15] |= 3;
    frame[24..26].fill(0);
    let sum = sluice_wire::checksum::Sum::default()
        .bytes(&frame[14..34])
        .finish();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}
