//! NVMe/RDMA's connection manager: the datagrams of queue pair 1, and the word with a data core that a request takes.
//!
//! A host asks (REQ); a data core is told to open a queue pair (`QpOpen`) and says what it has opened (`QpOpened`); the host is
//! answered (REP, or REJ with the reason). From then on whoever ends the queue pair tells the other: the host's DREQ becomes
//! `QpEnd`, the data core's `QpGone` a DREQ. What NVMe makes of the connection is the target's affair, by its key, as over TCP.

use sluice_hal::roce::{QPN_CORE_SHIFT, RoceJob, RoceRx};
use sluice_hal::{Hal, Micros};
use sluice_nvmf::Via;
use sluice_rdma::nvme::{QueueLimits, QueueParams};
use sluice_rdma::{
    Accept, Cm, CmConfig, CmEnd, CmEvent, CmId, Link, Open, Request, datagram, receive,
};
use sluice_wire::ib_cm::{Gid, gid_of_ipv4};
use sluice_wire::ib_mad::MAD_LEN;
use sluice_wire::ipv6;
use sluice_wire::mgmt::{ControlCounters, PortConfig};
use sluice_wire::nvme_rdma::CmStatus;
use sluice_wire::roce::MASK_24;
use zerocopy::IntoBytes;

use super::ControlCore;
use crate::limits;
use crate::link::{CoreLink, LinkState, reached};
use crate::mail::{QpParams, ToData};
use crate::maybe::Maybe;
use crate::memory::{self, MAD_SLOTS, QP_PARAM_SLOTS};

/// In a slot for a datagram: its header begins here, so that the IP header behind Ethernet's is aligned.
const HEADER: u32 = 2;
/// In a slot for a datagram: it begins here, behind its header.
const MAD: u32 = 128;
/// Cores by number; data cores are 1 and up.
const CORES: usize = 16;

/// A request that a data core is working on. Its parameters lie in the slot of its place.
#[derive(Clone, Copy)]
struct Order {
    cm: CmId,
    core: u8,
    queue: QueueParams,
}

/// What the control core knows of RDMA.
pub struct Rdma {
    cm: Cm<{ limits::QUEUE_PAIRS }>,
    orders: [Option<Order>; QP_PARAM_SLOTS as usize],
    /// Connections of either transport by core, with those being opened.
    load: [u16; CORES],
    mac: [u8; 6],
    dscp: u8,
    /// Own addresses: IPv4, IPv6, link-local.
    own: [Gid; 3],
    next_psn: u32,
    next_slot: u32,
    /// By slot: the job that reads it last.
    tickets: [u32; MAD_SLOTS as usize],
    /// In the next slot, and not yet taken by the tx engine.
    unsent: Maybe<RoceJob>,
    /// The connection manager may have something to send.
    may_send: bool,
    accepted: u32,
    unconfirmed: u32,
    strays: u32,
}

impl Rdma {
    pub const fn new() -> Self {
        Self {
            cm: Cm::new(),
            orders: [None; QP_PARAM_SLOTS as usize],
            load: [0; CORES],
            mac: [0; 6],
            dscp: 0,
            own: [[0; 16]; 3],
            next_psn: 0,
            next_slot: 0,
            tickets: [0; MAD_SLOTS as usize],
            unsent: Maybe::NONE,
            may_send: false,
            accepted: 0,
            unconfirmed: 0,
            strays: 0,
        }
    }

    /// Takes the port's addresses and limits over. Connections that exist stay.
    pub fn configure(&mut self, port: &PortConfig) {
        let set = |set: bool, gid| if set { gid } else { [0; 16] };
        self.mac = port.mac;
        self.dscp = sluice_rdma::Config::default().dscp;
        self.own = [
            set(port.ipv4 != [0; 4], gid_of_ipv4(port.ipv4)),
            port.ipv6,
            ipv6::link_local(port.mac),
        ];
        self.cm.configure(&CmConfig {
            ports: [port.rdma_port.get(), 0, 0, 0],
            port_mtu: port.mtu.get(),
            ca_guid: eui64(port.mac),
            half_open: HALF_OPEN,
            queues: QueueLimits {
                admin: limits::RDMA_QUEUE_ENTRIES,
                io: limits::RDMA_QUEUE_ENTRIES,
                queues: super::target::LIMITS.io_queues.min(limits::HIGHEST_QID),
            },
            ..CmConfig::default()
        });
    }

    /// Another datagram can be taken.
    pub fn has_room(&self) -> bool {
        self.cm.has_room()
    }

    /// Something waits for the tx engine.
    pub fn is_sending(&self) -> bool {
        self.may_send || self.unsent.is_some()
    }

    /// When the connection manager's timers want attention.
    pub fn deadline(&self) -> Option<Micros> {
        self.cm.deadline()
    }

    /// A connection of either transport was opened on `core`.
    pub fn opened(&mut self, core: u8) {
        if let Some(load) = self.load.get_mut(usize::from(core)) {
            *load = load.saturating_add(1);
        }
    }

    /// One of `core` is gone.
    pub fn closed(&mut self, core: u8) {
        if let Some(load) = self.load.get_mut(usize::from(core)) {
            *load = load.saturating_sub(1);
        }
    }

    /// The data core with the fewest connections.
    fn idlest(&self, data_cores: u8) -> u8 {
        let load = |core: &u8| self.load.get(usize::from(*core)).copied();
        (1..=data_cores).min_by_key(load).unwrap_or(1)
    }

    fn is_own(&self, address: &Gid) -> bool {
        *address != [0; 16] && self.own.contains(address)
    }

    /// Sends what is due, as long as slots and the tx engine have room.
    fn transmit<H: Hal>(&mut self, state: &mut LinkState, hal: &mut H) {
        for _ in 0..MAD_SLOTS {
            if !self.unsent.is_some() && !self.write(state, hal) {
                return;
            }
            let Some(job) = self.unsent.take() else {
                return;
            };
            if CoreLink::new(hal, state).send(&job).is_err() {
                self.unsent.insert(job);
                return;
            }
            self.tickets[(self.next_slot % MAD_SLOTS) as usize] = state.posted();
            self.next_slot = self.next_slot.wrapping_add(1);
        }
    }

    /// Writes the next datagram into the next slot. False if there is none, or the slot is still being read.
    fn write<H: Hal>(&mut self, state: &mut LinkState, hal: &mut H) -> bool {
        let ticket = self.tickets[(self.next_slot % MAD_SLOTS) as usize];
        if !self.may_send || !reached(hal.tx_done(), ticket) {
            return false;
        }
        let mut mad = [0; MAD_LEN];
        let Some(peer) = self.cm.poll_transmit(&mut mad) else {
            self.may_send = false;
            return false;
        };
        let slot = memory::mad_slot(self.next_slot);
        hal.pm_write(slot.plus(MAD), &mad);
        let psn = self.next_psn;
        self.next_psn = (psn + 1) & MASK_24;
        let (header, mad) = (slot.plus(HEADER), slot.plus(MAD));
        let mut link = CoreLink::new(hal, state);
        let job = datagram(&peer, self.mac, self.dscp, psn, header, mad, &mut link);
        self.unsent.insert(job);
        true
    }

    /// In the form of the management interface; connects are counted elsewhere.
    pub fn counters(&self) -> ControlCounters {
        let stats = self.cm.stats();
        ControlCounters {
            rdma_cm_connections: (self.cm.connections() as u32).into(),
            rdma_cm_accepted: self.accepted.into(),
            rdma_cm_refused: stats.refused.into(),
            rdma_cm_duplicates: stats.duplicates.into(),
            rdma_cm_stale: stats.stale.into(),
            rdma_cm_unconfirmed: self.unconfirmed.into(),
            rdma_cm_repeated: stats.repeated.into(),
            rdma_cm_ignored: stats.ignored.into(),
            rdma_cm_dropped: stats.dropped.into(),
            rdma_strays: self.strays.into(),
            connects_failed: Default::default(),
        }
    }
}

impl ControlCore {
    /// A RoCE packet that is for no data core: a datagram for the connection manager, or nothing.
    pub(super) fn roce<H: Hal>(&mut self, rx: &RoceRx, hal: &mut H) {
        let mut mad = [0; MAD_LEN];
        let packet = receive(rx, &mut mad, &mut CoreLink::new(hal, &mut self.link));
        match packet.filter(|p| self.rdma.is_own(&p.peer.own)) {
            Some(packet) => {
                self.rdma.cm.input(self.now, &packet, || hal.random());
                self.rdma.may_send = true;
            }
            None => self.rdma.strays = self.rdma.strays.wrapping_add(1),
        }
        hal.rx_free(rx.buf);
        self.take_cm_events(hal);
    }

    /// Timers, and what had to wait for room: events for mail, datagrams for the tx engine.
    pub(super) fn serve_rdma<H: Hal>(&mut self, hal: &mut H) -> bool {
        if self.rdma.cm.deadline().is_some_and(|at| at <= self.now) {
            self.rdma.cm.handle_timeouts(self.now);
            self.rdma.may_send = true;
        }
        let busy = self.take_cm_events(hal);
        self.rdma.transmit(&mut self.link, hal);
        busy
    }

    /// Each event causes one message to a data core at most; those without room wait in the connection manager.
    fn take_cm_events<H: Hal>(&mut self, hal: &mut H) -> bool {
        let mut any = false;
        while self.may_cause_more() {
            let Some(event) = self.rdma.cm.poll_event() else {
                break;
            };
            any = true;
            match event {
                CmEvent::Asked(id, request) => self.asked(id, &request, hal),
                // The data core learns it from the host's first command.
                CmEvent::Established(_) => {}
                CmEvent::Ended { qpn, why, .. } => {
                    let unconfirmed = matches!(why, CmEnd::Timeout | CmEnd::Rejected(_));
                    self.rdma.unconfirmed = self.rdma.unconfirmed.wrapping_add(unconfirmed.into());
                    self.end_qp(qpn, hal);
                }
            }
        }
        any
    }

    /// A host wants a queue pair: one is ordered from a data core.
    fn asked<H: Hal>(&mut self, cm: CmId, request: &Request, hal: &mut H) {
        let core = self.rdma.idlest(self.data_cores);
        let mut places = self.rdma.orders.iter_mut().zip(0u32..);
        let Some((order, place)) = places.find(|(order, _)| order.is_none()) else {
            return self.rdma.cm.reject(cm, CmStatus::NoResources);
        };
        let queue = request.queue;
        *order = Some(Order { cm, core, queue });
        self.rdma.opened(core);
        let at = memory::qp_params(place);
        hal.pm_write(at, QpParams::of(&open(request)).as_bytes());
        let (at, cm) = (at.0, cm.get());
        self.post(core, ToData::QpOpen { at, cm }.encode(), hal);
    }

    /// A data core has opened a queue pair, or had no room (`qpn` 0).
    pub(super) fn qp_opened<H: Hal>(&mut self, cm: u32, qpn: u32, psn: u32, key: u32, hal: &mut H) {
        let cm = CmId::from_number(cm);
        let mut orders = self.rdma.orders.iter_mut();
        let order = orders.find(|o| o.is_some_and(|o| o.cm == cm));
        let Some(order) = order.and_then(Option::take) else {
            return self.end_qp(qpn, hal);
        };
        self.rdma.may_send = true;
        if qpn == 0 {
            self.rdma.closed(order.core);
            return self.rdma.cm.reject(cm, CmStatus::NoResources);
        }
        let QueueParams { qid, entries, .. } = order.queue;
        if !self.open_connection(key, Via::Rdma { qid, entries }, hal) {
            return self.rdma.cm.reject(cm, CmStatus::NoResources);
        }
        let crqsize = entries;
        let accept = Accept { qpn, psn, crqsize };
        match self.rdma.cm.accept(self.now, cm, &accept) {
            Some(()) => self.rdma.accepted = self.rdma.accepted.wrapping_add(1),
            // The host gave up meanwhile, or waited too long.
            None => self.end_qp(qpn, hal),
        }
    }

    /// The host uses its queue pair.
    pub(super) fn qp_alive(&mut self, cm: u32) {
        self.rdma.cm.established(CmId::from_number(cm));
    }

    /// A queue pair is gone: the host is told, unless it was the host who ended it.
    pub(super) fn qp_gone(&mut self, cm: u32) {
        self.rdma.cm.disconnect(self.now, CmId::from_number(cm));
        self.rdma.may_send = true;
    }

    /// Tells the data core whose it is that a queue pair is to end; nothing to tell if there is none (0).
    fn end_qp<H: Hal>(&mut self, qpn: u32, hal: &mut H) {
        if qpn != 0 {
            let core = (qpn >> QPN_CORE_SHIFT) as u8 & 15;
            self.post(core, ToData::QpEnd { qpn }.encode(), hal);
        }
    }
}

/// What a request lets the data core do.
const fn open(request: &Request) -> Open {
    Open {
        peer: request.peer,
        remote_qpn: request.remote_qpn,
        send_psn: request.send_psn,
        mtu: request.mtu,
        receives: request.queue.entries,
        reads: request.reads,
        ack_timeout: request.ack_timeout,
        retries: request.retries,
        rnr_retries: request.rnr_retries,
    }
}

/// The EUI-64 of a MAC address (RFC 4291, appendix A, without the inverted bit).
const fn eui64([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([a, b, c, 0xff, 0xfe, d, e, f])
}

/// Requests being worked on at most. An order outlives its request if the host gives up, so there are more places than this.
const HALF_OPEN: u16 = 32;
const _: () = assert!(HALF_OPEN as u32 <= QP_PARAM_SLOTS);
