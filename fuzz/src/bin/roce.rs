//! Frames to RoCE's port, from the wire on: the rx engine's parser with its ICRC, datagrams into the connection manager,
//! packets into the queue pairs that it opened, capsules, and what the card sends back through the tx engine. Nothing may
//! panic; what is sent must be a right packet; no buffer, work request or queue pair is lost.
//!
//! The input is a sequence of frames, each behind a byte that says how it is put right and two with its length: a random
//! frame would seldom get past the ICRC.
#![no_main]

#[path = "../../../firmware/rdma/tests/support/mod.rs"]
mod support;

use sluice_engines::receive as engine;
use sluice_hal::roce::RoceRx;
use sluice_hal::{BufId, Micros, PmAddr, PmSlice, Rx, layout};
use sluice_rdma::nvme::{self, Data, MAX_DESCRIPTORS, Transfer};
use sluice_rdma::{Accept, Cm, CmConfig, CmEvent, CmId, Event, Link, Open, QpId, Work};
use sluice_rdma::{datagram, receive};
use sluice_wire::checksum::Sum;
use sluice_wire::ib_mad::MAD_LEN;
use sluice_wire::nvme::SglDescriptor;
use sluice_wire::roce::{MASK_24, Opcode, View, icrc};
use sluice_wire::{ethernet, ipv4};
use support::{CARD_MAC, Card, Machine, config};
use zerocopy::FromBytes;

/// Lengths, checksums, ICRC and MAC address as a sender would set them.
const RIGHT: u8 = 1;
/// To a queue pair that there is, with the PSN that is due.
const DUE: u8 = 2;
/// A management datagram names the last connection as its receiver's.
const OURS: u8 = 4;
/// Time passes before it.
const LATER: u8 = 8;
/// All the card's engines are busy.
const BUSY: u8 = 16;

const HEADER: PmAddr = PmAddr(layout::HEADERS_BASE + 0x2002);
const MAD: PmAddr = PmAddr(layout::HEADERS_BASE + 0x2080);
const RESPONSE: PmSlice = PmSlice::new(PmAddr(layout::HEADERS_BASE + 0x3000), 16);
/// Bytes of a command's data that are moved: few packets, so that they fit an input.
const MOST: u32 = 2048;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut game = Game::new();
    let mut rest = data;
    while let Some((&[how, low, high], behind)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes([low, high])) % 2048;
        let (frame, behind) = behind.split_at(len.min(behind.len()));
        game.turn(how, frame.to_vec());
        rest = behind;
    }
    game.finish();
});

struct Game {
    card: Card,
    cm: Cm<6>,
    rc: Machine,
    now: Micros,
    /// Queue pairs with the PSN that is due, the youngest last.
    open: Vec<(QpId, CmId, u32)>,
    /// The last PSN that the card sent to any, or that of the READ data that are due.
    last_sent: u32,
    last: CmId,
    posted: u32,
    released: u32,
}

impl Game {
    fn new() -> Self {
        let (mut cm, mut rc) = (Cm::new(), Machine::new());
        cm.configure(&CmConfig::default());
        rc.configure(&sluice_rdma::Config {
            ack_delay: 100,
            ack_every: 8,
            ..config()
        });
        Self {
            card: Card::new(1),
            cm,
            rc,
            now: Micros(1000),
            open: vec![],
            last_sent: 0,
            last: CmId::from_number(0),
            posted: 0,
            released: 0,
        }
    }

    fn turn(&mut self, how: u8, mut frame: Vec<u8>) {
        if how & LATER != 0 {
            self.now = self.now.after(20_000);
            self.cm.handle_timeouts(self.now);
            self.rc.handle_timeouts(self.now, &mut self.card);
        }
        self.card.job_room = if how & BUSY == 0 { u32::MAX } else { 0 };
        if how & RIGHT != 0 {
            self.make_right(how, &mut frame);
        }
        // Whatever it is, the parser must bear it; what is no RoCE packet goes elsewhere.
        if let Ok(Rx::Roce(_)) = engine(&frame, CARD_MAC, BufId(0), 0)
            && let Some(rx) = self.card.receive(&frame, self.now)
        {
            let payload = usize::from(rx.payload_offset) + usize::from(rx.payload_len);
            assert!(payload + usize::from(rx.pad) + 4 <= frame.len());
            self.arrive(&rx);
        }
        self.manage();
        self.serve();
        self.rc.poll_transmit(self.now, &mut self.card);
        self.look_at_what_was_sent();
    }

    /// What would keep the frame from the machines is corrected, as `how` says.
    fn make_right(&self, how: u8, frame: &mut Vec<u8>) -> Option<()> {
        let l3 = ethernet::View::of(frame)?.payload_offset;
        let udp = l3 + if frame.get(l3)? >> 4 == 4 { 20 } else { 40 };
        let bth = udp + 8;
        let len = frame.len().checked_sub(bth + 16)?;
        frame.truncate(bth + 16 + len / 4 * 4);
        frame[..6].copy_from_slice(&CARD_MAC);
        if how & DUE != 0 {
            self.address(&mut frame[bth..bth + 12]);
        }
        let mad = bth + 12 + 8;
        if how & OURS != 0 && frame.len() == mad + MAD_LEN + 4 {
            frame[mad + 28..mad + 32].copy_from_slice(&self.last.get().to_be_bytes());
            if let (Some((qp, ..)), [0, 0x15]) = (self.open.last(), &frame[mad + 16..mad + 18]) {
                // DREQ names the queue pair too.
                frame[mad + 32..mad + 35].copy_from_slice(&qp.qpn().to_be_bytes()[1..]);
            }
        }
        let (end, ip_len) = (frame.len(), (frame.len() - l3) as u16);
        let udp_len = ((end - udp) as u16).to_be_bytes();
        if udp == l3 + 20 {
            frame[l3] = 0x45;
            frame[l3 + 2..l3 + 4].copy_from_slice(&ip_len.to_be_bytes());
            frame[l3 + 6..l3 + 8].fill(0);
            frame[l3 + 9] = ipv4::PROTOCOL_UDP;
            frame[l3 + 10..l3 + 12].fill(0);
            let sum = Sum::default().bytes(&frame[l3..udp]).finish();
            frame[l3 + 10..l3 + 12].copy_from_slice(&sum.to_be_bytes());
        } else {
            frame[l3 + 4..l3 + 6].copy_from_slice(&udp_len);
            frame[l3 + 6] = ipv4::PROTOCOL_UDP;
        }
        frame[udp + 2..udp + 4].copy_from_slice(&4791u16.to_be_bytes());
        frame[udp + 4..udp + 6].copy_from_slice(&udp_len);
        frame[udp + 6..udp + 8].fill(0);
        let sum = icrc(&frame[l3..end - 4])?;
        frame[end - 4..].copy_from_slice(&sum.to_le_bytes());
        Some(())
    }

    /// The youngest queue pair and the PSN it waits for.
    fn address(&self, bth: &mut [u8]) {
        let Some((qp, _, due)) = self.open.last() else {
            return;
        };
        let response = Opcode::from_code(bth[0]).is_some_and(Opcode::is_response);
        let psn = if response { self.last_sent } else { *due };
        bth[5..8].copy_from_slice(&qp.qpn().to_be_bytes()[1..]);
        bth[9..12].copy_from_slice(&psn.to_be_bytes()[1..]);
    }

    fn arrive(&mut self, rx: &RoceRx) {
        if rx.core() == 0 {
            let mut mad = [0; MAD_LEN];
            if let Some(packet) = receive(rx, &mut mad, &mut self.card) {
                let random = || self.card.random();
                self.cm.input(self.now, &packet, random);
            }
            return self.card.free(rx.buf);
        }
        let taken = |rc: &Machine| {
            let s = rc.stats();
            s.duplicates + s.gaps + s.rnr_naks + s.invalid + s.remote_access
        };
        let before = taken(&self.rc);
        if let Some(data) = self.rc.input(self.now, rx, &mut self.card) {
            self.card.free(data.buf);
            self.last_sent = (rx.psn + u32::from(!data.last)) & MASK_24;
        }
        let response = Opcode::from_code(rx.opcode).is_some_and(Opcode::is_response);
        let qp = self.open.iter_mut().find(|qp| qp.0.qpn() == rx.dest_qp);
        if let Some((_, _, due)) = qp.filter(|qp| qp.2 == rx.psn && !response)
            && taken(&self.rc) == before
        {
            *due = (*due + 1) & MASK_24;
        }
    }

    /// The control core's part.
    fn manage(&mut self) {
        while let Some(event) = self.cm.poll_event() {
            match event {
                CmEvent::Asked(id, request) => {
                    self.last = id;
                    let open = Open {
                        peer: request.peer,
                        remote_qpn: request.remote_qpn,
                        send_psn: request.send_psn,
                        mtu: request.mtu,
                        receives: request.queue.entries,
                        reads: request.reads,
                        ack_timeout: request.ack_timeout,
                        retries: request.retries,
                        rnr_retries: request.rnr_retries,
                    };
                    let (qp, end) = self.rc.open(&open, &mut self.card).expect("more places");
                    let accept = Accept {
                        qpn: end.qpn,
                        psn: end.psn,
                        crqsize: request.queue.entries,
                    };
                    self.cm.accept(self.now, id, &accept).expect("just asked");
                    self.open.push((qp, id, end.psn));
                }
                CmEvent::Established(_) => {}
                CmEvent::Ended { id, qpn, .. } => {
                    let at = self.open.iter().position(|qp| qp.1 == id);
                    let (qp, ..) = self.open.remove(at.expect("it was accepted"));
                    assert_eq!(qp.qpn(), qpn);
                    self.rc.close(qp, &mut self.card);
                }
            }
        }
        let mut mad = [0; MAD_LEN];
        while self.card.job_room > 0
            && let Some(peer) = self.cm.poll_transmit(&mut mad)
        {
            self.card.write(MAD, &mad);
            let job = datagram(&peer, CARD_MAC, 26, 7, HEADER, MAD, &mut self.card);
            self.card.send(&job).expect("room");
        }
    }

    /// A data core's part: every command is answered at once.
    fn serve(&mut self) {
        while let Some((id, event)) = self.rc.poll_event() {
            let at = self.open.iter().position(|qp| qp.0 == id);
            let at = at.expect("an event of nobody's");
            if let Event::Closed(_) = event {
                self.rc.poll_transmit(self.now, &mut self.card);
                let (qp, cm, _) = self.open.remove(at);
                self.rc.close(qp, &mut self.card);
                self.cm.disconnect(self.now, cm);
            }
        }
        for at in 0..self.open.len() {
            let (qp, cm, _) = self.open[at];
            while let Some(len) = self.rc.message_len(qp) {
                self.cm.established(cm);
                let pieces: Vec<PmSlice> = self.rc.pieces(qp).collect();
                let message: Vec<u8> = pieces
                    .iter()
                    .flat_map(|piece| self.card.bytes(*piece).to_vec())
                    .collect();
                assert_eq!(message.len(), len as usize);
                self.rc.consume(qp, |buf| self.card.free(buf));
                self.rc.post_receives(qp, 1);
                self.command(qp, &message);
            }
        }
        while self.rc.poll_released().is_some() {
            self.released += 1;
        }
    }

    fn command(&mut self, qp: QpId, message: &[u8]) {
        let Ok(behind) = nvme::capsule(message.len() as u32) else {
            return;
        };
        let (sqe, rest) = message.split_first_chunk::<64>().expect("a capsule");
        let transfer = match nvme::data(sqe, behind) {
            Ok(Data::Keyed(transfer)) => Some(transfer),
            Ok(Data::Descriptors { offset, count }) => {
                assert!(usize::from(count) <= MAX_DESCRIPTORS);
                let list = &rest[offset as usize..][..16 * usize::from(count)];
                let list = <[SglDescriptor]>::ref_from_bytes(list).expect("their size");
                Transfer::of(list).ok()
            }
            Ok(Data::InCapsule { offset, len }) => {
                assert!((offset + len) as usize <= rest.len());
                None
            }
            Ok(Data::None) | Err(_) => None,
        };
        let response = transfer.as_ref().map_or(Work::Send, Transfer::response);
        let first = transfer.and_then(|transfer| transfer.piece(0, MOST));
        let page = |len| PmSlice::new(PmAddr(layout::PAGES_BASE), len);
        match first {
            Some(remote) if sqe[0] & 3 == 1 => self.post(qp, Work::Read(remote), &[]),
            Some(remote) => {
                let coupled = Work::WriteSend {
                    va: remote.va,
                    rkey: remote.rkey,
                    invalidate: matches!(response, Work::SendInvalidate(key) if key == remote.rkey),
                };
                return self.post(qp, coupled, &[page(remote.len), RESPONSE]);
            }
            None => {}
        }
        self.post(qp, response, &[RESPONSE]);
    }

    fn post(&mut self, qp: QpId, work: Work, pieces: &[PmSlice]) {
        self.posted += u32::from(self.rc.post(qp, work, pieces, 0).is_ok());
    }

    fn look_at_what_was_sent(&mut self) {
        for frame in self.card.sent.drain(..) {
            let mac = *frame.first_chunk().expect("a frame");
            let Ok(Rx::Roce(rx)) = engine(&frame, mac, BufId(0), 0) else {
                panic!("no host would take {frame:x?}");
            };
            let udp = usize::from(rx.l4_offset);
            let view = View::of(&frame[udp + 8..]).expect("just taken apart");
            if view.deth.is_none() && !matches!(view.opcode, Opcode::Acknowledge | Opcode::Cnp) {
                self.last_sent = view.bth.sequence();
            }
        }
    }

    fn finish(mut self) {
        self.card.job_room = u32::MAX;
        for (qp, ..) in core::mem::take(&mut self.open) {
            self.rc.close(qp, &mut self.card);
        }
        while self.rc.poll_released().is_some() {
            self.released += 1;
        }
        assert!(self.card.held.is_empty(), "a buffer is lost");
        assert_eq!(self.posted, self.released, "work requests are lost");
        assert_eq!((self.rc.room(), self.rc.work_room()), (8, 64));
    }
}
