//! The control core between hosts that ask for queue pairs and data cores that open them, on a card that is only memory,
//! queues and mailboxes.

use std::boxed::Box;
use std::collections::VecDeque;
use std::vec::Vec;

use sluice_hal::roce::{RoceJob, RoceMessage, RoceRx};
use sluice_hal::{
    BufId, Busy, CoreId, DoorbellSlot, Hal, HostQueue, Mail, Micros, MoveDone, MoveJob, Phase,
    PmAddr, Rx, RxFlags, TxJob, layout,
};
use sluice_wire::ib_cm::{
    ATTR_DREP, ATTR_DREQ, ATTR_REP, ATTR_REQ, ATTR_RTU, Dreq, IpCmHeader, Message, RejectReason,
    Req, Rtu, SERVICE_TCP, gid_of_ipv4, high24, start,
};
use sluice_wire::ib_mad::{GSI_QKEY, GSI_QPN, MAD_LEN};
use sluice_wire::mgmt::{Opcode as Management, PortConfig};
use sluice_wire::nvme_rdma::{CmStatus, ReplyData, RequestData};
use sluice_wire::roce::{DEFAULT_PKEY, Opcode, PathMtu};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::ControlCore;
use super::host_queue::DATA;
use crate::mail::{QpParams, ToControl, ToData};

const CARD_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const CARD_IP: [u8; 4] = [10, 0, 0, 2];
const HOST_IP: [u8; 4] = [10, 0, 0, 1];
const PORT: u16 = 4420;
const DATA_CORES: u8 = 2;

struct Card {
    memory: Vec<u8>,
    now: Micros,
    entropy: u32,
    rx: VecDeque<Rx>,
    freed: Vec<BufId>,
    next_buf: u16,
    tx: Vec<RoceJob>,
    tx_room: usize,
    tx_done: u32,
    mail: Vec<(CoreId, Mail)>,
    /// Mailboxes take nothing.
    mail_full: bool,
    inbox: VecDeque<Mail>,
}

impl Hal for Card {
    fn core(&self) -> CoreId {
        CoreId::CONTROL
    }
    fn cores(&self) -> u8 {
        1 + DATA_CORES
    }
    fn now(&self) -> Micros {
        self.now
    }
    fn random(&mut self) -> u32 {
        self.entropy = self.entropy.wrapping_mul(0x0019_660d).wrapping_add(1);
        self.entropy
    }
    fn rx_next(&mut self) -> Option<Rx> {
        self.rx.pop_front()
    }
    fn rx_free(&mut self, buf: BufId) {
        self.freed.push(buf);
    }
    fn pm_read(&mut self, at: PmAddr, into: &mut [u8]) {
        let at = at.0 as usize;
        into.copy_from_slice(&self.memory[at..at + into.len()]);
    }
    fn pm_write(&mut self, at: PmAddr, from: &[u8]) {
        let at = at.0 as usize;
        self.memory[at..at + from.len()].copy_from_slice(from);
    }
    fn pm_read32(&mut self, at: PmAddr) -> u32 {
        let mut word = [0; 4];
        self.pm_read(at, &mut word);
        u32::from_le_bytes(word)
    }
    fn pm_write32(&mut self, at: PmAddr, value: u32) {
        self.pm_write(at, &value.to_le_bytes());
    }
    fn tx_post(&mut self, job: &TxJob) -> Result<(), Busy> {
        if self.tx_room == 0 {
            return Err(Busy);
        }
        if let TxJob::Roce(job) = job {
            self.tx_room -= 1;
            self.tx.push(*job);
        }
        Ok(())
    }
    fn tx_done(&mut self) -> u32 {
        self.tx_done
    }
    fn mail_send(&mut self, to: CoreId, mail: &Mail) -> Result<(), Busy> {
        if self.mail_full {
            return Err(Busy);
        }
        self.mail.push((to, *mail));
        Ok(())
    }
    fn mail_recv(&mut self) -> Option<Mail> {
        self.inbox.pop_front()
    }
    fn move_post(&mut self, _: &MoveJob) -> Result<(), Busy> {
        Err(Busy)
    }
    fn move_done(&mut self) -> Option<MoveDone> {
        None
    }
    fn doorbell(&mut self, _: DoorbellSlot, _: u32) {}
    fn doorbell_map(&mut self, _: DoorbellSlot, _: u64) {}
    fn crc32c(&mut self, _: &[u8]) -> u32 {
        0
    }
    fn host_queue(&mut self) -> HostQueue {
        HostQueue::default()
    }
    fn irq(&mut self, _: u16) {}
    fn set_status(&mut self, _: u32) {}
    fn steer(&mut self, _: u8, _: CoreId) {}
    fn phase(&mut self, _: Phase) {}
    fn kick_watchdog(&mut self) {}
}

struct Bench {
    core: Box<ControlCore>,
    card: Card,
}

/// A REQ as Linux sends it for an I/O queue.
fn req(id: u32, qpn: u32) -> [u8; MAD_LEN] {
    let mut mad = [0; MAD_LEN];
    let req = start::<Req>(&mut mad, ATTR_REQ, id.into()).expect("a MAD");
    req.local_comm_id.set(id);
    req.service_id.set(SERVICE_TCP + u64::from(PORT));
    req.qpn_resources = high24(qpn, 16);
    req.remote_timeout = high24(0, 20 << 3 | 1);
    req.psn_timeout = high24(0x96_3ce5, 20 << 3 | 7);
    req.mtu_rnr = 3 << 4 | 7;
    req.cm_retries = 15 << 4;
    req.primary.local_gid = gid_of_ipv4(HOST_IP);
    req.primary.remote_gid = gid_of_ipv4(CARD_IP);
    req.primary.ack_timeout = 17 << 3;
    let mut header = IpCmHeader::new_zeroed();
    header.ip_version = 4 << 4;
    header.src[12..].copy_from_slice(&HOST_IP);
    header.dst[12..].copy_from_slice(&CARD_IP);
    let data = RequestData {
        qid: 1.into(),
        hrqsize: 128.into(),
        hsqsize_z: 127.into(),
        ..RequestData::default()
    };
    req.private[..36].copy_from_slice(header.as_bytes());
    req.private[36..68].copy_from_slice(data.as_bytes());
    mad
}

fn rtu(attribute: u16, from: u32, to: u32) -> [u8; MAD_LEN] {
    let mut mad = [0; MAD_LEN];
    let rtu = start::<Rtu>(&mut mad, attribute, 0).expect("a MAD");
    rtu.local_comm_id.set(from);
    rtu.remote_comm_id.set(to);
    mad
}

fn dreq(from: u32, to: u32, qpn: u32) -> [u8; MAD_LEN] {
    let mut mad = [0; MAD_LEN];
    let dreq = start::<Dreq>(&mut mad, ATTR_DREQ, 9).expect("a MAD");
    dreq.local_comm_id.set(from);
    dreq.remote_comm_id.set(to);
    dreq.remote_qpn = high24(qpn, 0);
    mad
}

/// What a data core answers; queue pair and key of core `core`.
fn opened(core: u8, cm: u32, n: u32) -> ToControl {
    let qpn = u32::from(core) << 20 | n << 8;
    let key = u32::from(core) << 28 | n;
    ToControl::QpOpened {
        cm,
        qpn,
        psn: 0x12_3456,
        key,
    }
}

impl Bench {
    fn new() -> Self {
        Self::with_port(PORT)
    }

    fn with_port(rdma_port: u16) -> Self {
        let card = Card {
            memory: std::vec![0; layout::PM_SIZE as usize],
            now: Micros(1_000_000),
            entropy: 1,
            rx: VecDeque::new(),
            freed: Vec::new(),
            next_buf: 0,
            tx: Vec::new(),
            tx_room: usize::MAX,
            tx_done: 0,
            mail: Vec::new(),
            mail_full: false,
            inbox: VecDeque::new(),
        };
        let core = Box::new(ControlCore::new());
        let mut bench = Self { core, card };
        bench.core.start(&mut bench.card);
        let mut port = PortConfig::new_zeroed();
        (port.mac, port.ipv4, port.ipv4_prefix) = (CARD_MAC, CARD_IP, 24);
        port.mtu.set(1500);
        port.io_port.set(PORT);
        port.rdma_port.set(rdma_port);
        bench.card.pm_write(DATA, port.as_bytes());
        let command = &mut bench.core.port.command;
        command.opcode = Management::PortSet as u8;
        command.data_len.set(size_of::<PortConfig>() as u32);
        bench.core.execute(&mut bench.card);
        // What was announced has left.
        bench.card.tx_done = bench.core.link.posted();
        bench.card.mail.clear();
        bench
    }

    fn arrive(&mut self, mad: &[u8; MAD_LEN]) {
        self.arrive_at(CARD_IP, mad);
    }

    fn arrive_at(&mut self, address: [u8; 4], mad: &[u8; MAD_LEN]) {
        let mut rx = RoceRx::from_words(&[0; 16]);
        self.card.next_buf += 1;
        rx.buf = BufId(self.card.next_buf);
        (rx.frame_len, rx.l3_offset, rx.payload_offset) = (334, 14, 62);
        rx.flags = RxFlags(RxFlags::ROCE | RxFlags::IPV4);
        (rx.opcode, rx.payload_len) = (Opcode::UdSendOnly as u8, MAD_LEN as u16);
        (rx.pkey, rx.src_port) = (DEFAULT_PKEY, 0xc077);
        (rx.dest_qp, rx.va, rx.word) = (GSI_QPN, GSI_QPN.into(), GSI_QKEY);
        rx.src_ip4 = u32::from_be_bytes(HOST_IP);
        rx.dst_ip4 = u32::from_be_bytes(address);
        let ethernet = [&CARD_MAC[..], &HOST_MAC, &[8, 0]].concat();
        self.card.pm_write(rx.frame().addr, &ethernet);
        self.card.pm_write(rx.payload().addr, mad);
        self.card.rx.push_back(Rx::Roce(rx));
    }

    fn poll(&mut self) {
        self.core.poll(&mut self.card);
    }

    fn say(&mut self, mail: ToControl) {
        self.card.inbox.push_back(mail.encode());
        self.poll();
    }

    /// Messages to data cores since the last time.
    fn told(&mut self) -> Vec<(u8, ToData)> {
        let decode = |(to, mail): (CoreId, Mail)| (to.0, ToData::decode(&mail).expect("known"));
        self.card.mail.drain(..).map(decode).collect()
    }

    /// The orders for queue pairs among them: core, connection and parameters.
    fn ordered(&mut self) -> Vec<(u8, u32, QpParams)> {
        let told = self.told();
        told.into_iter()
            .map(|(core, mail)| {
                let ToData::QpOpen { at, cm } = mail else {
                    panic!("{mail:?}")
                };
                let mut params = QpParams::new_zeroed();
                self.card.pm_read(PmAddr(at), params.as_mut_bytes());
                (core, cm, params)
            })
            .collect()
    }

    /// Datagrams sent since the last time; they have left then.
    fn sent(&mut self) -> Vec<[u8; MAD_LEN]> {
        let jobs: Vec<_> = self.card.tx.drain(..).collect();
        self.card.tx_done = self.core.link.posted();
        jobs.iter()
            .map(|job| {
                let datagram = RoceMessage::Datagram {
                    qkey: GSI_QKEY,
                    src_qp: GSI_QPN,
                };
                assert_eq!((job.message, job.dest_qp), (datagram, GSI_QPN));
                let mut ends = [0; 12];
                self.card.pm_read(job.template, &mut ends);
                assert_eq!(ends.as_slice(), [HOST_MAC, CARD_MAC].as_flattened());
                let mut mad = [0; MAD_LEN];
                self.card.pm_read(job.gather[0].addr, &mut mad);
                mad
            })
            .collect()
    }

    /// The only datagram sent: a REJ.
    fn rejected(&mut self) -> (u16, u16) {
        let sent = self.sent();
        assert_eq!(sent.len(), 1);
        let Some(Message::Rej(rej)) = Message::of(&sent[0]) else {
            panic!("no REJ")
        };
        let status = u16::from_le_bytes([rej.private[2], rej.private[3]]);
        (rej.reason.get(), status)
    }

    /// A connection of the host's id `id`: the card's id.
    fn connection(&mut self, id: u32, n: u32) -> u32 {
        self.arrive(&req(id, 0x100 + id));
        self.poll();
        let (core, cm, _) = self.ordered()[0];
        self.say(opened(core, cm, n));
        let sent = self.sent();
        assert!(matches!(Message::of(&sent[0]), Some(Message::Rep(_))));
        self.arrive(&rtu(ATTR_RTU, id, cm));
        self.poll();
        cm
    }
}

#[test]
fn a_request_becomes_a_queue_pair_and_the_host_may_leave_again() {
    let mut b = Bench::new();
    b.arrive(&req(7, 0x11));
    b.poll();
    assert!(b.sent().is_empty(), "the data core is asked first");
    let [(core, cm, params)] = b.ordered()[..] else {
        panic!("one order")
    };
    let open = params.open().expect("a path MTU");
    assert_eq!((open.remote_qpn, open.send_psn), (0x11, 0x96_3ce5));
    assert_eq!((open.receives, open.reads), (128, 2));
    assert_eq!(
        (Some(open.mtu), Some(open.peer.mac)),
        (PathMtu::from_code(3), Some(HOST_MAC))
    );
    b.say(opened(core, cm, 5));
    let sent = b.sent();
    let [mad] = &sent[..] else {
        panic!("one datagram")
    };
    let Some(Message::Rep(rep)) = Message::of(mad) else {
        panic!("no REP")
    };
    let qpn = u32::from(core) << 20 | 0x500;
    assert_eq!((rep.qpn.get() >> 8, rep.psn.get() >> 8), (qpn, 0x12_3456));
    assert_eq!((rep.local_comm_id.get(), rep.remote_comm_id.get()), (cm, 7));
    let (data, _) = ReplyData::ref_from_prefix(&rep.private).expect("private data");
    assert_eq!(data.crqsize.get(), 128);
    b.arrive(&rtu(ATTR_RTU, 7, cm));
    b.arrive(&dreq(7, cm, qpn));
    b.poll();
    assert_eq!(b.told(), [(core, ToData::QpEnd { qpn })]);
    let sent = b.sent();
    assert!(matches!(Message::of(&sent[0]), Some(Message::Drep(_))));
    b.say(ToControl::QpGone { cm });
    let key = u32::from(core) << 28 | 5;
    b.say(ToControl::Closed { key });
    assert!(b.sent().is_empty() && b.told().is_empty());
    assert_eq!(b.core.rdma.counters().rdma_cm_connections.get(), 0);
    assert_eq!(b.card.freed.len(), 3, "every buffer was given back");
}

#[test]
fn requests_go_to_the_data_core_with_the_fewest_connections() {
    let mut b = Bench::new();
    b.say(ToControl::Opened {
        key: 1 << 28 | 0x77,
        port: PORT,
    });
    for id in 1..=3 {
        b.arrive(&req(id, 0x10 + id));
    }
    b.poll();
    let cores: Vec<_> = b.ordered().iter().map(|o| o.0).collect();
    assert_eq!(cores, [2, 1, 2]);
    b.say(ToControl::Closed {
        key: 1 << 28 | 0x77,
    });
    b.arrive(&req(4, 0x14));
    b.poll();
    assert_eq!(b.ordered()[0].0, 1);
}

#[test]
fn a_data_core_without_room_costs_the_host_a_reject_that_says_so() {
    let mut b = Bench::new();
    b.arrive(&req(7, 0x11));
    b.poll();
    let (_, cm, _) = b.ordered()[0];
    b.say(ToControl::QpOpened {
        cm,
        qpn: 0,
        psn: 0,
        key: 0,
    });
    let want = (RejectReason::Consumer as u16, CmStatus::NoResources as u16);
    assert_eq!(b.rejected(), want);
    assert!(b.told().is_empty());
}

#[test]
fn a_queue_pair_that_comes_too_late_is_ended() {
    let mut b = Bench::new();
    b.arrive(&req(7, 0x11));
    b.poll();
    let (core, cm, _) = b.ordered()[0];
    let deadline = b.core.rdma.deadline().expect("a timer");
    b.card.now = deadline;
    b.poll();
    assert_eq!(b.rejected().1, CmStatus::NoResources as u16);
    b.say(opened(core, cm, 5));
    let qpn = u32::from(core) << 20 | 0x500;
    assert_eq!(b.told(), [(core, ToData::QpEnd { qpn })]);
    assert!(b.sent().is_empty());
    b.say(ToControl::QpGone { cm });
    assert!(b.sent().is_empty(), "the host has its answer");
}

#[test]
fn a_queue_pair_that_fails_is_taken_leave_of() {
    let mut b = Bench::new();
    let cm = b.connection(7, 5);
    b.say(ToControl::QpGone { cm });
    let sent = b.sent();
    let Some(Message::Dreq(dreq)) = Message::of(&sent[0]) else {
        panic!("no DREQ")
    };
    assert_eq!(dreq.remote_qpn.get() >> 8, 0x107);
    let deadline = b.core.rdma.deadline().expect("a timer");
    b.card.now = deadline;
    b.poll();
    assert_eq!(b.sent().len(), 1, "again, since nothing came");
    b.arrive(&rtu(ATTR_DREP, 7, cm));
    b.poll();
    assert_eq!(b.core.rdma.counters().rdma_cm_connections.get(), 0);
}

#[test]
fn a_host_that_never_confirms_loses_its_queue_pair_unless_it_uses_it() {
    for alive in [false, true] {
        let mut b = Bench::new();
        b.arrive(&req(7, 0x11));
        b.poll();
        let (core, cm, _) = b.ordered()[0];
        b.say(opened(core, cm, 5));
        if alive {
            b.say(ToControl::QpAlive { cm });
        }
        let mut told = Vec::new();
        for _ in 0..20 {
            b.card.now = b.card.now.after(1_000_000);
            b.poll();
            told.extend(b.told());
            b.sent();
        }
        let qpn = u32::from(core) << 20 | 0x500;
        let want = [(core, ToData::QpEnd { qpn })];
        assert_eq!(told, want[usize::from(alive)..]);
    }
}

#[test]
fn nothing_is_lost_while_mailboxes_are_full() {
    let mut b = Bench::new();
    b.card.mail_full = true;
    // Other mail waits already: no more than what one command causes may be added.
    for _ in 0..=super::OUTBOX / 2 {
        let mail = ToData::SsdDetach { ssd: 0 }.encode();
        b.core.post(1, mail, &mut b.card);
    }
    for id in 1..=20 {
        b.arrive(&req(id, 0x100 + id));
    }
    for _ in 0..10 {
        b.poll();
    }
    assert_eq!(b.card.rx.len(), 4, "16 events wait, the rest on the ring");
    b.card.mail_full = false;
    for _ in 0..10 {
        b.poll();
    }
    let orders = b.told();
    let orders = orders
        .iter()
        .filter(|(_, m)| matches!(m, ToData::QpOpen { .. }));
    assert_eq!(orders.count(), 20);
    assert_eq!(b.core.rdma.counters().rdma_cm_ignored.get(), 0);
    assert_eq!(b.card.freed.len(), 20);
}

#[test]
fn datagrams_wait_for_the_engine_and_for_slots_to_be_read() {
    let mut b = Bench::new();
    b.card.tx_room = 0;
    for id in 1..=4 {
        b.arrive(&dreq(id, 0, 0));
    }
    b.poll();
    assert!(b.core.rdma.is_sending());
    assert_eq!(b.core.idle_for(), 1);
    b.card.tx_room = usize::MAX;
    b.poll();
    for id in 5..=30 {
        b.arrive(&dreq(id, 0, 0));
    }
    for _ in 0..5 {
        b.poll();
    }
    assert_eq!(b.card.tx.len(), 8, "as many as there are slots");
    assert_eq!(b.card.rx.len(), 30 - 16, "and as many answers may wait");
    let mut answered = Vec::new();
    for _ in 0..5 {
        answered.extend(b.sent());
        b.poll();
    }
    let ids: Vec<_> = answered
        .iter()
        .map(|mad| match Message::of(mad) {
            Some(Message::Drep(drep)) => drep.remote_comm_id.get(),
            _ => panic!("no DREP"),
        })
        .collect();
    assert_eq!(ids, (1..=30).collect::<Vec<_>>());
}

#[test]
fn what_is_for_somebody_else_is_counted_and_not_answered() {
    let mut b = Bench::new();
    b.arrive_at([10, 0, 0, 3], &req(7, 0x11));
    b.poll();
    assert!(b.sent().is_empty() && b.told().is_empty());
    assert_eq!(b.core.rdma.counters().rdma_strays.get(), 1);
    assert_eq!(b.card.freed.len(), 1);
}

#[test]
fn a_port_without_rdma_refuses_everybody() {
    let mut b = Bench::with_port(0);
    b.arrive(&req(7, 0x11));
    b.poll();
    assert_eq!(b.rejected().0, RejectReason::InvalidServiceId as u16);
    assert_eq!(b.core.rdma.counters().rdma_cm_refused.get(), 1);
}

#[test]
fn a_reject_of_the_reply_ends_the_queue_pair() {
    let mut b = Bench::new();
    b.arrive(&req(7, 0x11));
    b.poll();
    let (core, cm, _) = b.ordered()[0];
    b.say(opened(core, cm, 5));
    let sent = b.sent();
    assert_eq!(sent[0][16..18], ATTR_REP.to_be_bytes());
    let mut mad = [0; MAD_LEN];
    let rej = start::<sluice_wire::ib_cm::Rej>(&mut mad, sluice_wire::ib_cm::ATTR_REJ, 0);
    let rej = rej.expect("a MAD");
    rej.local_comm_id.set(7);
    rej.remote_comm_id.set(cm);
    rej.reason.set(28);
    b.arrive(&mad);
    b.poll();
    let qpn = u32::from(core) << 20 | 0x500;
    assert_eq!(b.told(), [(core, ToData::QpEnd { qpn })]);
    assert_eq!(b.core.rdma.counters().rdma_cm_unconfirmed.get(), 1);
}
