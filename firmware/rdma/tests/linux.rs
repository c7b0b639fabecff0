//! Sessions of a real Linux host, replayed: its connection manager's messages into [`Cm`], its packets into the queue pairs,
//! which are made to have the numbers that the real target had. The machines have to accept all of it and to answer as
//! that target did. The captures and their origin: `sim/data/captures/README.md`.

mod support;

use sluice_hal::{Micros, PmAddr, PmSlice, layout, roce::Remote};
use sluice_rdma::{
    Accept, Cm, CmConfig, CmEvent, CmId, Config, Event, Link, Open, QpId, Rc, ReadData, Work, nvme,
    receive,
};
use sluice_wire::{
    ib_cm::{Message, RejectReason},
    ib_mad::GSI_QPN,
    roce::{MASK_24, Opcode, View},
};
use std::collections::{BTreeMap, HashMap};
use support::{Card, HOST_IP, config};

/// Frames of a classic pcap file with microseconds.
fn frames(name: &str) -> Vec<(Micros, Vec<u8>)> {
    let path = format!(
        "{}/../../sim/data/captures/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    let file = std::fs::read(path).expect("a capture");
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("4 bytes"));
    assert_eq!(word(0), 0xa1b2_c3d4);
    let (mut at, mut frames) = (24, vec![]);
    while at < file.len() {
        let len = word(at + 8) as usize;
        let time = u64::from(word(at)) * 1_000_000 + u64::from(word(at + 4));
        frames.push((Micros(time), file[at + 16..at + 16 + len].to_vec()));
        at += 16 + len;
    }
    frames
}

/// A RoCE packet's addresses and contents.
fn parsed(frame: &[u8]) -> Option<(bool, View<'_>)> {
    let ip = sluice_wire::ipv4::View::of(frame.get(14..)?).ok()?;
    let roce = ip.header.protocol == 17 && ip.payload[2..4] == 4791u16.to_be_bytes();
    roce.then(|| {
        (
            ip.header.src == HOST_IP,
            View::of(&ip.payload[8..]).expect("RoCE"),
        )
    })
}

/// A connection and its machine: each has one of its own, since the target gave its queue pair numbers anew.
struct Connection {
    id: CmId,
    rc: Rc<1, 256, 256>,
    qp: QpId,
    /// What the capture calls it.
    target_qpn: u32,
    host_qpn: u32,
    /// Token to what it is.
    reads: HashMap<u32, u32>,
    live: bool,
}

#[derive(Default, Debug)]
struct Seen {
    connections: usize,
    rejected: usize,
    ended: usize,
    commands: usize,
    in_capsule: usize,
    keyed: usize,
    read_bytes: usize,
    released: usize,
    duplicates: u32,
    gaps: u32,
}

struct Replay {
    cm: Cm<16>,
    card: Card,
    open: Vec<Connection>,
    /// Of the target's REPs, in order: queue pair, first PSN it expects.
    replies: BTreeMap<u32, (u32, u32)>,
    seen: Seen,
    mtu: u32,
}

impl Replay {
    fn new(frames: &[(Micros, Vec<u8>)], mtu: u32) -> Self {
        let mut replies = BTreeMap::new();
        for (_, frame) in frames {
            let Some((false, view)) = parsed(frame) else {
                continue;
            };
            if view.bth.qpn() == GSI_QPN
                && let Some(Message::Rep(rep)) =
                    Message::of(view.payload.try_into().expect("256 bytes"))
            {
                replies.insert(
                    rep.remote_comm_id.get(),
                    (rep.qpn.get() >> 8, rep.psn.get() >> 8),
                );
            }
        }
        let cfg = CmConfig {
            port_mtu: 4200,
            ..CmConfig::default()
        };
        let mut cm = Cm::new();
        cm.configure(&cfg);
        Self {
            cm,
            card: Card::new(1),
            open: vec![],
            replies,
            seen: Seen::default(),
            mtu,
        }
    }

    /// A management datagram of the host's, as it is.
    fn manage(&mut self, now: Micros, frame: &[u8]) {
        let rx = self.card.receive(frame, now).expect("ICRC right");
        let mut mad = [0; 256];
        let mut packet = receive(&rx, &mut mad, &mut self.card).expect("a datagram");
        Link::free(&mut self.card, rx.buf);
        // Ids and numbers of this side are other ones than the target's: translate what names them.
        let host_id = u32::from_be_bytes(packet.mad[24..28].try_into().expect("4 bytes"));
        let mut translated = *packet.mad;
        if let Some(Message::Rtu(_) | Message::Dreq(_) | Message::Drep(_)) = Message::of(packet.mad)
            && let Some(open) = self
                .replies
                .get(&host_id)
                .and_then(|r| self.open.iter().rfind(|c| c.target_qpn == r.0))
        {
            translated[28..32].copy_from_slice(&open.id.get().to_be_bytes());
            if let Some(Message::Dreq(_)) = Message::of(packet.mad) {
                translated[32..35].copy_from_slice(&open.qp.qpn().to_be_bytes()[1..]);
            }
        }
        packet.mad = &translated;
        let mut random = || self.card.random();
        self.cm.input(now, &packet, &mut random);
        while let Some(event) = self.cm.poll_event() {
            self.event(now, host_id, event);
        }
    }

    fn event(&mut self, now: Micros, host_id: u32, event: CmEvent) {
        match event {
            CmEvent::Asked(id, request) => {
                let Some((target_qpn, psn)) = self.replies.get(&host_id).copied() else {
                    panic!("the target refused what this one would take");
                };
                let mut rc = Rc::new();
                rc.configure(&Config {
                    recv_size: 64 + (16 << 10),
                    window: 1 << 20,
                    // The recorded target asked for all at once.
                    read_packets: u16::MAX,
                    read_request: 1 << 15,
                    ..config()
                });
                self.card.entropy = [target_qpn << 20, psn].into();
                let open = Open {
                    peer: request.peer,
                    remote_qpn: request.remote_qpn,
                    send_psn: request.send_psn,
                    mtu: request.mtu,
                    receives: request.queue.entries,
                    reads: request.reads,
                    // Time is the capture's: nothing is repeated unless the host asks for it.
                    ack_timeout: 0,
                    retries: 7,
                    rnr_retries: 7,
                };
                let (qp, end) = rc.open(&open, &mut self.card).expect("room");
                assert_eq!(end.psn, psn);
                let accept = Accept {
                    qpn: end.qpn,
                    psn,
                    crqsize: request.queue.entries,
                };
                self.cm.accept(now, id, &accept).expect("waits for it");
                self.open.push(Connection {
                    id,
                    rc,
                    qp,
                    target_qpn,
                    host_qpn: request.remote_qpn,
                    reads: HashMap::new(),
                    live: true,
                });
                self.seen.connections += 1;
            }
            CmEvent::Established(_) => {}
            CmEvent::Ended { id, .. } => self.end(id),
        }
    }

    fn end(&mut self, id: CmId) {
        let gone = self
            .open
            .iter_mut()
            .find(|c| c.id == id)
            .expect("was there");
        gone.live = false;
        gone.rc.close(gone.qp, &mut self.card);
        self.seen.ended += 1;
        self.seen.duplicates += gone.rc.stats().duplicates;
        self.seen.gaps += gone.rc.stats().gaps;
    }

    /// The target ended a connection: so does this one.
    fn disconnect(&mut self, now: Micros, host_qpn: u32) {
        let living = |c: &&Connection| c.host_qpn == host_qpn && c.live;
        if let Some(id) = self.open.iter().rfind(living).map(|c| c.id) {
            self.cm.disconnect(now, id);
            self.end(id);
        }
    }

    /// A packet of the host's on a queue pair: given to the machine with this side's number.
    fn data(&mut self, now: Micros, frame: &[u8], qpn: u32) {
        let Some(c) = self
            .open
            .iter_mut()
            .rfind(|c| c.target_qpn == qpn && c.live)
        else {
            return; // after the end: repeated
        };
        let mut rx = self.card.receive(frame, now).expect("ICRC right");
        rx.dest_qp = c.qp.qpn();
        if let Some(data) = c.rc.input(now, &rx, &mut self.card) {
            let ReadData {
                token,
                offset,
                slice,
                buf,
                ..
            } = data;
            assert!(offset + slice.len <= c.reads[&token]);
            self.seen.read_bytes += slice.len as usize;
            Link::free(&mut self.card, buf);
        }
        while let Some((_, event)) = c.rc.poll_event() {
            assert!(matches!(event, Event::Alive | Event::Received), "{event:?}");
            if event == Event::Alive {
                self.cm.established(c.id);
            }
        }
        while let Some(len) = c.rc.message_len(c.qp) {
            let bytes: Vec<u8> =
                c.rc.pieces(c.qp)
                    .flat_map(|p| self.card.bytes(p).to_vec())
                    .collect();
            c.rc.consume(c.qp, |buf| self.card.free(buf));
            c.rc.post_receives(c.qp, 1);
            let capsule = nvme::capsule(len).expect("a command");
            let (sqe, _) = bytes.split_first_chunk::<64>().expect("a command");
            self.seen.commands += 1;
            match nvme::data(sqe, capsule).expect("as Linux makes them") {
                nvme::Data::InCapsule { .. } => self.seen.in_capsule += 1,
                nvme::Data::Keyed(transfer) => {
                    self.seen.keyed += 1;
                    assert_eq!(
                        transfer.piece(0, u32::MAX).map(|p| p.len),
                        Some(transfer.len())
                    );
                }
                nvme::Data::None => {}
                nvme::Data::Descriptors { .. } => panic!("Linux sends none"),
            }
        }
        self.drain(now);
    }

    /// A request of the target's is posted here too, so that the host's answers find it.
    fn mirror(&mut self, now: Micros, view: &View<'_>) {
        let qpn = view.bth.qpn();
        let Some(c) = self.open.iter_mut().rfind(|c| c.host_qpn == qpn && c.live) else {
            return;
        };
        // Each packet of the target's is a message of its own here; its PSNs are the same.
        let piece = PmSlice::new(PmAddr(layout::PAGES_BASE), view.payload.len() as u32);
        let (va, rkey) = (0x1000, 7);
        let key = view.word.unwrap_or(0);
        let psn = view.bth.sequence();
        let (work, token) = match view.opcode {
            Opcode::ReadRequest => {
                let len = view.reth.expect("RETH").len.get();
                (Work::Read(Remote { va, rkey, len }), psn)
            }
            Opcode::SendOnlyInvalidate => (Work::SendInvalidate(key), psn),
            Opcode::SendOnly => (Work::Send, psn),
            Opcode::WriteFirst | Opcode::WriteMiddle | Opcode::WriteLast | Opcode::WriteOnly => {
                (Work::Write { va, rkey }, psn)
            }
            _ => return,
        };
        let expected = c.reads.get(&u32::MAX).copied();
        if expected.is_some_and(|next| next != psn) {
            return; // sent again
        }
        let read = matches!(work, Work::Read(_));
        let len = if let Work::Read(remote) = work {
            remote.len
        } else {
            piece.len
        };
        let pieces = if read { &[][..] } else { &[piece] };
        c.rc.post(c.qp, work, pieces, token).expect("room");
        c.reads.insert(token, len);
        let packets = if read {
            len.div_ceil(self.mtu).max(1)
        } else {
            1
        };
        c.reads.insert(u32::MAX, (psn + packets) & MASK_24);
        self.drain(now);
    }

    fn drain(&mut self, now: Micros) {
        for c in &mut self.open {
            c.rc.poll_transmit(now, &mut self.card);
            while let Some(released) = c.rc.poll_released() {
                self.seen.released += usize::from(released.done);
            }
        }
        self.card.sent.clear();
        self.card.jobs.clear();
    }
}

fn replay(name: &str) -> Seen {
    let frames = frames(name);
    let mtu = if name.starts_with('k') { 4096 } else { 1024 };
    let mut replay = Replay::new(&frames, mtu);
    for (now, frame) in &frames {
        let Some((from_host, view)) = parsed(frame) else {
            continue;
        };
        match (from_host, view.bth.qpn()) {
            (true, GSI_QPN) => {
                let attribute =
                    Message::of(view.payload.try_into().expect("256 bytes")).expect("CM");
                let refused = matches!(attribute, Message::Req(req) if !replay.replies.contains_key(&req.local_comm_id.get()));
                if refused {
                    // Nobody listened then.
                    replay.cm.configure(&CmConfig {
                        ports: [0; 4],
                        ..CmConfig::default()
                    });
                }
                replay.manage(*now, frame);
                replay.cm.configure(&CmConfig {
                    port_mtu: 4200,
                    ..CmConfig::default()
                });
                let mut mad = [0; 256];
                while replay.cm.poll_transmit(&mut mad).is_some() {
                    if let Some(Message::Rej(rej)) = Message::of(&mad) {
                        assert_eq!(rej.reason.get(), RejectReason::InvalidServiceId as u16);
                        replay.seen.rejected += 1;
                    }
                }
            }
            (true, qpn) => replay.data(*now, frame, qpn),
            (false, GSI_QPN) => {
                let message = Message::of(view.payload.try_into().expect("256 bytes"));
                if let Some(Message::Dreq(dreq)) = message {
                    replay.disconnect(*now, dreq.remote_qpn.get() >> 8);
                }
            }
            (false, _) => replay.mirror(*now, &view),
        }
    }
    assert!(replay.card.held.is_empty(), "{name}: buffers");
    assert_eq!(replay.cm.connections(), 0, "{name}");
    replay.seen
}

/// Messages that the host sent, and bytes that the target read, as the packets say.
fn counted(name: &str) -> (usize, usize) {
    let (mut sends, mut bytes) = (0, 0);
    for (_, frame) in &frames(name) {
        match parsed(frame) {
            Some((true, view)) => {
                sends += usize::from(matches!(view.opcode, Opcode::SendOnly | Opcode::SendLast));
            }
            Some((false, view)) if view.opcode == Opcode::ReadRequest => {
                bytes += view.reth.expect("RETH").len.get() as usize;
            }
            _ => {}
        }
    }
    (sends, bytes)
}

#[test]
fn a_linux_session_runs_through_the_machines() {
    for (name, rejected) in [
        ("c_rdma_rxe.pcap", 0),
        ("h_rdma_errors.pcap", 1),
        ("i_rdma_aen_ns_change.pcap", 0),
        ("j_rdma_2queues_fio.pcap", 0),
        ("k_rdma_pmtu4096.pcap", 0),
        ("l_rdma_reconnect.pcap", 2),
    ] {
        let seen = replay(name);
        println!("{name}: {seen:?}");
        assert_eq!(
            (seen.rejected, seen.ended),
            (rejected, seen.connections),
            "{name}"
        );
        assert_eq!((seen.commands, seen.read_bytes), counted(name), "{name}");
        assert_eq!((seen.duplicates, seen.gaps), (0, 0), "{name}");
        assert!(
            seen.keyed >= 18 && seen.in_capsule > 0 && seen.released >= seen.commands,
            "{name}: {seen:?}"
        );
    }
}

#[test]
fn sessions_with_loss_run_through_the_machines_too() {
    for name in ["f1_rdma_loss2.pcap", "f2_rdma_loss1_reorder_dup.pcap"] {
        let seen = replay(name);
        println!("{name}: {seen:?}");
        assert_eq!((seen.connections, seen.ended), (3, 3), "{name}");
        // The host repeats what was lost on the way back, or was lost behind the place of recording.
        let (sent, _) = counted(name);
        assert!(
            seen.duplicates > 0 && seen.commands + seen.duplicates as usize >= sent,
            "{name}: {seen:?}"
        );
        assert!(
            seen.commands > 50 && seen.read_bytes > 0,
            "{name}: {seen:?}"
        );
    }
}
