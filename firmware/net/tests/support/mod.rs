//! A card around the stack, made of plain memory and the engines' models, and an application that sends and checks
//! a known stream of bytes.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod script;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_engines::{DropReason, parse, transmit};
use sluice_hal::{
    BufId, Busy, MAX_GATHER, Micros, PmAddr, PmSlice, RawChecksum, RawJob, RxDesc, TcpJob, TxJob,
    layout,
};
use sluice_net::{CloseReason, Config, ConnId, Event, Link, Tcp};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Small, so that limits are reached.
pub type Stack = Tcp<16, 256, 256>;

pub const CARD_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub const CARD_IP: [u8; 4] = [10, 77, 0, 1];
pub const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
pub const PEER_IP: [u8; 4] = [10, 77, 0, 2];
pub const CARD_IP6: [u8; 16] = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub const PEER_IP6: [u8; 16] = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// A raw frame's header is copied here before the job is executed.
const SCRATCH: u32 = layout::HEADERS_BASE + 0x3_0000;

/// Packet memory, both engines and the buffer pool. Jobs are executed as they are posted.
pub struct Card {
    pub pm: Vec<u8>,
    pub mac: [u8; 6],
    /// Frames sent, in order.
    pub sent: VecDeque<Vec<u8>>,
    free: Vec<u16>,
    /// Buffers that the stack or the application has.
    pub held: BTreeMap<u16, ()>,
    pub drops: HashMap<DropReason, u32>,
    /// Jobs that are taken before the engine says busy.
    pub job_room: u32,
    rng: ChaCha8Rng,
}

impl Card {
    pub fn new(mac: [u8; 6], seed: u64) -> Self {
        Self {
            pm: vec![0; layout::PM_SIZE as usize],
            mac,
            sent: VecDeque::new(),
            free: (0..layout::RX_BUFS as u16).rev().collect(),
            held: BTreeMap::new(),
            drops: HashMap::new(),
            job_room: u32::MAX,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// As the rx engine: stores a frame and describes it, or drops it.
    pub fn receive(&mut self, frame: &[u8], now: Micros) -> Option<RxDesc> {
        let large = frame.len() as u32 > layout::RX_SMALL_SIZE - layout::RX_OFFSET;
        let fits = |b: &u16| u32::from(*b) >= layout::RX_SMALL_COUNT || !large;
        let at = self.free.iter().rposition(fits)?;
        let buf = BufId(self.free[at]);
        match parse(frame, self.mac, buf, now.0 as u32) {
            Ok(desc) => {
                self.free.remove(at);
                self.held.insert(buf.0, ());
                let start = (buf.addr().0 + layout::RX_OFFSET) as usize;
                self.pm[start..start + frame.len()].copy_from_slice(frame);
                Some(desc)
            }
            Err(reason) => {
                *self.drops.entry(reason).or_default() += 1;
                None
            }
        }
    }

    pub fn bytes(&self, slice: PmSlice) -> &[u8] {
        &self.pm[slice.addr.0 as usize..][..slice.len as usize]
    }

    fn execute(&mut self, job: &TxJob) -> Result<(), Busy> {
        self.job_room = self.job_room.checked_sub(1).ok_or(Busy)?;
        for mut frame in transmit(job, &self.pm) {
            frame.resize(frame.len().max(60), 0);
            self.sent.push_back(frame);
        }
        Ok(())
    }
}

impl Link for Card {
    fn read(&mut self, at: PmAddr, into: &mut [u8]) {
        into.copy_from_slice(&self.pm[at.0 as usize..][..into.len()]);
    }

    fn write(&mut self, at: PmAddr, from: &[u8]) {
        self.pm[at.0 as usize..][..from.len()].copy_from_slice(from);
    }

    fn send(&mut self, job: &TcpJob) -> Result<(), Busy> {
        assert_eq!(job.template.0 % 4, 2);
        self.execute(&TxJob::Tcp(*job))
    }

    fn send_raw(
        &mut self,
        header: &[u8],
        rest: PmSlice,
        l3: u8,
        l4: u8,
        sum: RawChecksum,
    ) -> Result<(), Busy> {
        assert!(header.len() <= 128);
        self.write(PmAddr(SCRATCH), header);
        let mut gather = [PmSlice::default(); MAX_GATHER];
        gather[0] = PmSlice::new(PmAddr(SCRATCH), header.len() as u32);
        gather[1] = rest;
        let job = RawJob {
            l3_offset: l3,
            l4_offset: l4,
            checksum: sum,
            gather,
            gather_len: 2,
        };
        self.execute(&TxJob::Raw(job))
    }

    fn free(&mut self, buf: BufId) {
        assert!(
            self.held.remove(&buf.0).is_some(),
            "buffer {buf:?} freed twice"
        );
        let start = buf.addr().0 as usize;
        self.pm[start..start + 2048].fill(0xdd);
        self.free.push(buf.0);
    }

    fn random(&mut self) -> u32 {
        self.rng.next_u32()
    }
}

pub fn config(mac: [u8; 6], ip: [u8; 4], ip6: [u8; 16]) -> Config {
    Config {
        mac,
        ipv4: ip,
        ipv6: ip6,
        templates: PmAddr(layout::HEADERS_BASE),
        secret: [0x0123_4567_89ab_cdef, u64::from(mac[5])],
        ..Config::default()
    }
}

/// Byte `at` of the stream that everyone sends.
pub fn pattern(at: u64) -> u8 {
    let x = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 56) as u8 ^ (at >> 8) as u8
}

/// One connection of the application.
#[derive(Default)]
pub struct Flow {
    /// Bytes still to be queued.
    pub to_send: u64,
    pub queued: u64,
    /// Bytes received and found right.
    pub received: u64,
    pub peer_closed: bool,
    pub closed: Option<CloseReason>,
    /// Close when everything is queued.
    pub close_after: bool,
    pub close_called: bool,
    /// Does not read while set.
    pub deaf: bool,
    /// Chunks queued and not released: token to slice.
    pub chunks: HashMap<u32, PmSlice>,
    /// Answers each received byte with one of its own.
    pub echo: bool,
}

/// A stack, its card and an application.
pub struct Endpoint {
    pub tcp: Box<Stack>,
    pub card: Card,
    pub flows: HashMap<ConnId, Flow>,
    /// Given to connections that are accepted.
    pub on_accept: fn() -> Flow,
    pub accepted: Vec<ConnId>,
    pages: Vec<u32>,
    next_token: u32,
    rng: ChaCha8Rng,
}

/// Bytes per page of payload to send.
const PAGE: u32 = 8192;

impl Endpoint {
    pub fn new(cfg: &Config, seed: u64) -> Self {
        let mut tcp = Box::new(Stack::new());
        tcp.configure(cfg);
        Self {
            tcp,
            card: Card::new(cfg.mac, seed),
            flows: HashMap::new(),
            on_accept: Flow::default,
            accepted: Vec::new(),
            pages: (0..1024).map(|i| layout::PAGES_BASE + i * PAGE).collect(),
            next_token: 0,
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x55),
        }
    }

    pub fn receive(&mut self, frame: &[u8], now: Micros) {
        if let Some(desc) = self.card.receive(frame, now) {
            self.tcp.input(now, &desc, &mut self.card);
        }
    }

    /// One pass of the main loop.
    pub fn run(&mut self, now: Micros) {
        if self.tcp.deadline().is_some_and(|at| at <= now) {
            self.tcp.handle_timeouts(now, &mut self.card);
        }
        while let Some((id, event)) = self.tcp.poll_event() {
            if let Event::Opened { .. } = event
                && !self.flows.contains_key(&id)
            {
                self.flows.insert(id, (self.on_accept)());
                self.accepted.push(id);
            }
            let flow = self
                .flows
                .get_mut(&id)
                .expect("events of known connections only");
            assert_eq!(flow.closed, None, "an event after Closed");
            match event {
                Event::PeerClosed => {
                    assert!(!flow.peer_closed, "PeerClosed twice");
                    flow.peer_closed = true;
                    flow.close_after = true;
                }
                Event::Closed(reason) => flow.closed = Some(reason),
                Event::Opened { .. } | Event::Readable => {}
            }
        }
        while let Some((id, token)) = self.tcp.poll_released() {
            let flow = self
                .flows
                .get_mut(&id)
                .expect("releases of known connections only");
            let slice = flow
                .chunks
                .remove(&token)
                .expect("each chunk is released once");
            let page = slice.addr.0 / PAGE * PAGE;
            self.card.pm[page as usize..(page + PAGE) as usize].fill(0xee);
            self.pages.push(page);
        }
        let ids: Vec<ConnId> = self.flows.keys().copied().collect();
        for id in ids {
            self.read(id);
            self.write(id);
        }
        self.tcp.poll_transmit(now, &mut self.card);
    }

    fn read(&mut self, id: ConnId) {
        let flow = self.flows.get_mut(&id).expect("known");
        while !flow.deaf {
            let Some(slice) = self.tcp.front(id) else {
                break;
            };
            // Sometimes a part only.
            let n = if self.rng.next_u32().is_multiple_of(4) {
                slice.len.div_ceil(3)
            } else {
                slice.len
            };
            for (i, byte) in self.card.bytes(slice.split(n).0).iter().enumerate() {
                let at = flow.received + i as u64;
                assert_eq!(*byte, pattern(at), "byte {at} of the stream");
            }
            flow.received += u64::from(n);
            flow.to_send += if flow.echo { u64::from(n) } else { 0 };
            let mut freed = Vec::new();
            self.tcp.consume(id, n, |buf| freed.push(buf));
            freed.into_iter().for_each(|buf| self.card.free(buf));
        }
    }

    fn write(&mut self, id: ConnId) {
        let flow = self.flows.get_mut(&id).expect("known");
        while flow.queued < flow.to_send && self.tcp.send_room(id) > 0 {
            let Some(page) = self.pages.pop() else { break };
            let skew = self.rng.next_u32() % 64;
            let most = (flow.to_send - flow.queued).min(u64::from(PAGE - skew)) as u32;
            let len = 1 + self.rng.next_u32() % most;
            let slice = PmSlice::new(PmAddr(page + skew), len);
            for i in 0..len {
                self.card.pm[(slice.addr.0 + i) as usize] = pattern(flow.queued + u64::from(i));
            }
            self.next_token += 1;
            self.tcp
                .send(id, slice, self.next_token)
                .expect("there was room");
            flow.chunks.insert(self.next_token, slice);
            flow.queued += u64::from(len);
        }
        if flow.close_after && !flow.close_called && flow.queued == flow.to_send {
            flow.close_called = true;
            self.tcp.close(id);
        }
    }

    /// Every buffer and chunk of a finished endpoint is back where it belongs.
    pub fn assert_clean(&mut self, now: Micros) {
        self.run(now);
        for (id, flow) in &self.flows {
            assert!(flow.closed.is_some(), "{id:?} is not closed");
            assert!(flow.chunks.is_empty(), "{id:?} has chunks left");
        }
        assert!(
            self.card.held.is_empty(),
            "buffers lost: {:?}",
            self.card.held
        );
    }
}

/// What happens to frames on the way.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// In thousandths.
    pub loss: u32,
    pub duplicate: u32,
    pub reorder: u32,
    pub corrupt: u32,
    /// Marked CE if they may be.
    pub mark: u32,
    /// One way, in microseconds.
    pub delay: u64,
}

pub const CLEAN: Faults = Faults {
    loss: 0,
    duplicate: 0,
    reorder: 0,
    corrupt: 0,
    mark: 0,
    delay: 50,
};
pub const ROUGH: Faults = Faults {
    loss: 50,
    duplicate: 20,
    reorder: 30,
    corrupt: 10,
    mark: 0,
    delay: 200,
};

/// One direction of a link: frames with their time of arrival.
pub struct Wire {
    faults: Faults,
    rng: ChaCha8Rng,
    frames: BTreeMap<(u64, u64), Vec<u8>>,
    count: u64,
    free_at: u64,
    pub lost: u32,
}

impl Wire {
    pub fn new(faults: Faults, seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self {
            faults,
            rng,
            frames: BTreeMap::new(),
            count: 0,
            free_at: 0,
            lost: 0,
        }
    }

    fn happens(&mut self, thousandths: u32) -> bool {
        self.rng.next_u32() % 1000 < thousandths
    }

    pub fn put(&mut self, mut frame: Vec<u8>, now: Micros) {
        // 1 Gb/s.
        self.free_at = self.free_at.max(now.0) + frame.len() as u64 / 125 + 1;
        if self.happens(self.faults.loss) {
            self.lost += 1;
            return;
        }
        if self.happens(self.faults.mark) && frame[12..14] == [8, 0] && frame[15] & 3 == 2 {
            mark_ce(&mut frame);
        }
        if self.happens(self.faults.corrupt) {
            let at = self.rng.next_u32() as usize % frame.len();
            frame[at] ^= 1 << (self.rng.next_u32() % 8);
        }
        let late = if self.happens(self.faults.reorder) {
            self.rng.next_u32() % 500
        } else {
            0
        };
        let copies = 1 + u32::from(self.happens(self.faults.duplicate));
        for copy in 0..copies {
            self.count += 1;
            let at = self.free_at + self.faults.delay + u64::from(late) + u64::from(copy) * 77;
            self.frames.insert((at, self.count), frame.clone());
        }
    }

    pub fn next_at(&self) -> Option<u64> {
        self.frames.keys().next().map(|k| k.0)
    }

    pub fn take(&mut self, now: Micros) -> Option<Vec<u8>> {
        let first = self.frames.first_entry()?;
        (first.key().0 <= now.0).then(|| first.remove())
    }
}

fn mark_ce(frame: &mut [u8]) {
    frame[15] |= 3;
    frame[24..26].fill(0);
    let sum = sluice_wire::checksum::Sum::default()
        .bytes(&frame[14..34])
        .finish();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}
