//! The card's TCP under any history of segments, time and busy engines, with the test application of its own tests on
//! top: whatever comes in whatever order, what is delivered is the stream's bytes, once and in order; no buffer is lost
//! or freed twice; and in the end everything is closed.
#![no_main]

#[path = "../../../firmware/net/tests/support/mod.rs"]
mod support;

use sluice_hal::Micros;
use sluice_wire::checksum::Sum;
use sluice_wire::{ethernet, ipv4, tcp};
use support::{CARD_IP, CARD_IP6, CARD_MAC, Endpoint, Flow, PEER_IP, PEER_MAC, config, pattern};
use zerocopy::IntoBytes;

const PORT: u16 = 4420;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut game = Game::new();
    let mut bytes = data.iter().copied();
    // A good handshake first, unless the input wants it otherwise: it would take the fuzzer long to find.
    if bytes.next().is_some_and(|b| b & 1 == 0) {
        game.segment(tcp::SYN, 0, 0, 0, &[2, 4, 5, 180, 4, 2, 3, 3, 7, 1, 1, 1]);
        game.segment(tcp::ACK, 1, 1, 0, &[]);
    }
    for _ in 0..200 {
        if game.turn(&mut bytes).is_none() {
            break;
        }
    }
    game.finish();
});

struct Game {
    card: Endpoint,
    now: Micros,
    /// Initial sequence numbers of both sides, as the card's latest SYN-ACK has them.
    own: u32,
    theirs: u32,
}

impl Game {
    fn new() -> Self {
        let mut card = Endpoint::new(&config(CARD_MAC, CARD_IP, CARD_IP6), 1);
        card.tcp.listen(PORT).expect("the first listener");
        card.on_accept = || Flow {
            echo: true,
            ..Flow::default()
        };
        // Both spaces wrap soon.
        Self {
            card,
            now: Micros((1 << 32) - 1000),
            own: u32::MAX - 3000,
            theirs: 0,
        }
    }

    /// One event out of the input.
    fn turn(&mut self, bytes: &mut impl Iterator<Item = u8>) -> Option<()> {
        let mut byte = || bytes.next();
        let kind = byte()?;
        match kind & 7 {
            0 => self.pass(u64::from(byte()?) * u64::from(byte()?) * 64),
            1 => {
                self.card.card.job_room = if byte()? & 1 == 0 {
                    u32::MAX
                } else {
                    u32::from(byte()? & 3)
                };
            }
            2 => {
                let at = usize::from(byte()?);
                let flip = byte()?;
                if let Some(mut frame) = self.card.card.sent.back().cloned() {
                    // Its own frame comes back to it, bent.
                    let at = at % frame.len();
                    frame[at] ^= flip;
                    self.card.receive(&frame, self.now);
                }
            }
            3 => {
                let flags = byte()?;
                let options: Vec<u8> = (0..usize::from(byte()? % 11) * 4)
                    .map_while(|_| bytes.next())
                    .collect();
                self.segment(flags, 1, 1, 0, &options[..options.len() / 4 * 4]);
            }
            _ => {
                // A segment near what is expected: that is where the state table has its corners.
                let flags = if kind & 0x80 == 0 { tcp::ACK } else { byte()? };
                let seq = u32::from(u16::from_le_bytes([byte()?, kind >> 3 & 3]));
                let ack = u32::from(u16::from_le_bytes([byte()?, byte()? & 0x1f]));
                let len = u32::from(byte()?) * u32::from(kind >> 5 & 3);
                self.segment(flags, seq.wrapping_sub(8), ack.wrapping_sub(8), len, &[]);
            }
        }
        self.run();
        Some(())
    }

    /// Sends `len` bytes of the known stream; `seq` and `ack` count from the initial numbers.
    fn segment(&mut self, flags: u8, seq: u32, ack: u32, len: u32, options: &[u8]) {
        // Stream byte 0 follows the SYN, whichever SYN that is; so none carries data.
        let len = if flags & tcp::SYN == 0 { len } else { 0 };
        let payload: Vec<u8> = (0..len)
            .map(|i| pattern(u64::from(seq.wrapping_add(i).wrapping_sub(1))))
            .collect();
        let header = tcp::Header {
            src_port: 40_000.into(),
            dst_port: PORT.into(),
            seq: self.own.wrapping_add(seq).into(),
            ack: self.theirs.wrapping_add(ack).into(),
            data_offset: ((20 + options.len()) / 4) as u8 * 16,
            flags,
            window: 8000.into(),
            checksum: 0.into(),
            urgent: 0.into(),
        };
        let mut segment = [header.as_bytes(), options, &payload].concat();
        let sum = Sum::default()
            .pseudo(&PEER_IP, &CARD_IP, 6, segment.len() as u32)
            .bytes(&segment)
            .finish();
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        let ip = ipv4::Header::new(PEER_IP, CARD_IP, 6, segment.len() as u16);
        let mac = ethernet::Header {
            dst: CARD_MAC,
            src: PEER_MAC,
            ethertype: ethernet::IPV4.into(),
        };
        let mut frame = [mac.as_bytes(), ip.as_bytes(), &segment].concat();
        frame.resize(frame.len().max(60), 0);
        self.card.receive(&frame, self.now);
        self.run();
    }

    fn pass(&mut self, micros: u64) {
        self.now = self.now.after(micros);
        self.run();
    }

    fn run(&mut self) {
        self.card.run(self.now);
        for frame in self.card.card.sent.iter() {
            let Ok(packet) = ipv4::View::of(&frame[14..]) else {
                continue;
            };
            if let Some(segment) =
                tcp::View::of(packet.payload).filter(|s| s.header.flags & tcp::SYN != 0)
            {
                self.theirs = segment.header.seq.get();
                if segment.header.flags & tcp::ACK != 0 {
                    self.own = segment.header.ack.get().wrapping_sub(1);
                }
            }
        }
        // One is kept to be sent back.
        let old = self.card.card.sent.len().saturating_sub(1);
        self.card.card.sent.drain(..old);
    }

    /// The application gives up on everything; nothing may be left behind.
    fn finish(mut self) {
        self.card.card.job_room = u32::MAX;
        let ids: Vec<_> = self.card.flows.keys().copied().collect();
        ids.into_iter().for_each(|id| self.card.tcp.abort(id));
        for _ in 0..400 {
            self.pass(1_000_000);
        }
        self.card.assert_clean(self.now);
    }
}
