//! Timed scripts: segments written by hand against one stack. The peer is [`super::PEER_IP`] port [`PEER_PORT`].

use super::{CARD_IP, CARD_MAC, Card, PEER_IP, PEER_MAC, Stack, config};
use sluice_engines::parse;
use sluice_hal::{BufId, Micros, PmAddr, PmSlice, RxFlags, layout};
use sluice_net::{Config, ConnId, Event};
use sluice_wire::tcp::{self, ACK, Options, SYN};
use sluice_wire::{checksum::Sum, ethernet, ipv4};
use zerocopy::IntoBytes;

pub const PEER_PORT: u16 = 40_000;
pub const PORT: u16 = 4420;
/// The peer's initial sequence number: its stream wraps after 16 bytes.
pub const IRS: u32 = 0xffff_ffef;
/// The peer's first data byte.
pub const FIRST: u32 = IRS.wrapping_add(1);

/// A segment in either direction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seg {
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub data: Vec<u8>,
    pub options: Options,
    /// IP ECN field.
    pub ecn: u8,
    pub ports: (u16, u16),
    pub tci: Option<u16>,
}

impl Seg {
    pub fn new(flags: u8, seq: u32, ack: u32) -> Self {
        Self {
            seq,
            ack,
            flags,
            window: 60_000,
            data: Vec::new(),
            options: Options::default(),
            ecn: 0,
            ports: (PEER_PORT, PORT),
            tci: None,
        }
    }

    pub fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    pub fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    pub fn port(mut self, port: u16) -> Self {
        self.ports.0 = port;
        self
    }

    pub fn sack(&self) -> Vec<(u32, u32)> {
        let blocks = self.options.sack.iter().take(self.options.sack_len.into());
        blocks.map(|b| (b.left, b.right)).collect()
    }

    /// The frame as the peer sends it.
    pub fn frame(&self) -> Vec<u8> {
        let mut options = [0; 40];
        let len = self.options.emit(&mut options);
        let header = tcp::Header {
            src_port: self.ports.0.into(),
            dst_port: self.ports.1.into(),
            seq: self.seq.into(),
            ack: self.ack.into(),
            data_offset: (5 + len as u8 / 4) << 4,
            flags: self.flags,
            window: self.window.into(),
            checksum: 0.into(),
            urgent: 0.into(),
        };
        let mut segment = [header.as_bytes(), &options[..len], &self.data].concat();
        let total = segment.len() as u32;
        let sum = Sum::default()
            .pseudo(&PEER_IP, &CARD_IP, 6, total)
            .bytes(&segment);
        segment[16..18].copy_from_slice(&sum.finish().to_be_bytes());
        let mut ip = ipv4::Header::new(PEER_IP, CARD_IP, 6, segment.len() as u16);
        ip.tos = self.ecn;
        ip.checksum = 0.into();
        ip.checksum = Sum::default().bytes(ip.as_bytes()).finish().into();
        let outer = if self.tci.is_some() {
            ethernet::VLAN
        } else {
            ethernet::IPV4
        };
        let eth = ethernet::Header {
            dst: CARD_MAC,
            src: PEER_MAC,
            ethertype: outer.into(),
        };
        let mut frame = eth.as_bytes().to_vec();
        if let Some(tci) = self.tci {
            let tag = ethernet::Tag {
                tci: tci.into(),
                ethertype: ethernet::IPV4.into(),
            };
            frame.extend(tag.as_bytes());
        }
        frame.extend(ip.as_bytes());
        frame.extend(segment);
        frame
    }

    /// A frame that the card sent; its checksums must be right.
    pub fn of(frame: &[u8]) -> Self {
        let desc = parse(frame, PEER_MAC, BufId(0), 0).expect("the card sends good frames");
        assert!(desc.flags.has(RxFlags::TCP));
        let options = usize::from(desc.l4_offset) + 20..usize::from(desc.payload_offset);
        let data = usize::from(desc.payload_offset)..;
        Self {
            seq: desc.seq,
            ack: desc.ack,
            flags: desc.tcp_flags,
            window: desc.window,
            data: frame[data][..usize::from(desc.payload_len)].to_vec(),
            options: Options::parse(&frame[options]),
            ecn: frame[usize::from(desc.l3_offset) + 1] & 3,
            ports: (desc.src_port, desc.dst_port),
            tci: desc.flags.has(RxFlags::VLAN).then_some(desc.vlan),
        }
    }
}

/// One stack and the segments that a test writes.
pub struct Script {
    pub tcp: Box<Stack>,
    pub card: Card,
    pub now: Micros,
    /// Bytes of packet memory used for what was queued.
    queued: u32,
}

impl Script {
    pub fn new(edit: impl FnOnce(&mut Config)) -> Self {
        let mut cfg = config(CARD_MAC, CARD_IP, [0; 16]);
        edit(&mut cfg);
        let mut tcp = Box::new(Stack::new());
        tcp.configure(&cfg);
        tcp.listen(PORT).expect("first listener");
        let card = Card::new(CARD_MAC, 1);
        Self {
            tcp,
            card,
            now: Micros(1_000_000),
            queued: 0,
        }
    }

    /// The peer sends a segment.
    pub fn put(&mut self, seg: &Seg) {
        let desc = self
            .card
            .receive(&seg.frame(), self.now)
            .expect("a good frame");
        self.tcp.input(self.now, &desc, &mut self.card);
    }

    /// What the card sends now.
    pub fn all(&mut self) -> Vec<Seg> {
        self.tcp.poll_transmit(self.now, &mut self.card);
        self.card.sent.drain(..).map(|f| Seg::of(&f)).collect()
    }

    /// The only segment that the card sends now.
    #[track_caller]
    pub fn one(&mut self) -> Seg {
        let mut all = self.all();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    #[track_caller]
    pub fn none(&mut self) {
        assert_eq!(self.all(), []);
    }

    /// Lets time pass, timers included.
    pub fn wait(&mut self, us: u64) {
        let end = self.now.after(us);
        while let Some(at) = self.tcp.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.tcp.handle_timeouts(self.now, &mut self.card);
        }
        self.now = end;
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.tcp.poll_event())
            .map(|(_, event)| event)
            .collect()
    }

    pub fn released(&mut self) -> Vec<u32> {
        std::iter::from_fn(|| self.tcp.poll_released())
            .map(|(_, token)| token)
            .collect()
    }

    /// Reads all there is.
    pub fn read(&mut self, id: ConnId) -> Vec<u8> {
        let mut data = Vec::new();
        while let Some(slice) = self.tcp.front(id) {
            data.extend_from_slice(self.card.bytes(slice));
            let mut freed = Vec::new();
            self.tcp.consume(id, slice.len, |b| freed.push(b));
            freed
                .into_iter()
                .for_each(|b| sluice_net::Link::free(&mut self.card, b));
        }
        data
    }

    /// Queues `data` under `token`.
    pub fn send(&mut self, id: ConnId, data: &[u8], token: u32) {
        let at = layout::PAGES_BASE + self.queued;
        self.queued += data.len() as u32 + 13;
        self.card.pm[at as usize..][..data.len()].copy_from_slice(data);
        let slice = PmSlice::new(PmAddr(at), data.len() as u32);
        self.tcp.send(id, slice, token).expect("room");
    }

    /// A handshake from `port` with `options`; returns the connection and our first sequence number.
    #[track_caller]
    pub fn open_from(&mut self, port: u16, options: Options) -> (ConnId, u32) {
        self.put(&Seg::new(SYN, IRS, 0).options(options).port(port));
        let answer = self.one();
        assert_eq!((answer.flags, answer.ack), (SYN | ACK, FIRST));
        let ours = answer.seq.wrapping_add(1);
        self.put(
            &Seg::new(ACK, FIRST, ours)
                .options(timestamp(options))
                .port(port),
        );
        self.none();
        let mut events = std::iter::from_fn(|| self.tcp.poll_event());
        let opened = events.find(|(_, e)| {
            matches!(
                e,
                Event::Opened {
                    local_port: PORT,
                    ..
                }
            )
        });
        (opened.expect("it is open").0, ours)
    }

    /// A handshake with segments of 1,000 bytes, SACK if asked for, no timestamps, no scaling.
    #[track_caller]
    pub fn open(&mut self, sack: bool) -> (ConnId, u32) {
        let options = Options {
            mss: Some(1000),
            sack_permitted: sack,
            ..Options::default()
        };
        self.open_from(PEER_PORT, options)
    }

    /// Nothing is held any more, once the connections are gone.
    pub fn assert_clean(&mut self) {
        self.all();
        assert!(
            self.card.held.is_empty(),
            "buffers lost: {:?}",
            self.card.held
        );
    }
}

/// The timestamps that go on every segment after a SYN with `options`.
pub fn timestamp(options: Options) -> Options {
    Options {
        timestamps: options.timestamps,
        ..Options::default()
    }
}
