//! The connection manager's active side: one REQ to a target, what comes of it, and the end in order. Sans I/O: MADs in, MADs out,
//! a deadline. Not here: being asked (whoever sends this host a REQ gets a REJ, see [`refuse`]), alternate paths, service lookup.

use std::{collections::VecDeque, fmt, net::IpAddr};

use sluice_wire::{
    ib_cm::{
        self, ATTR_DREP, ATTR_DREQ, ATTR_REJ, ATTR_REQ, ATTR_RTU, Gid, IpCmHeader, Message, NO_LID,
        Path, Rej, RejectReason, Rejected, Rep, Req, Rtu, SERVICE_TCP, high24, start,
    },
    nvme_rdma::{RejectData, ReplyData, RequestData},
    roce::{DEFAULT_PKEY, PathMtu, timeout_micros},
};
use zerocopy::{FromBytes, IntoBytes, big_endian::U32};

use super::frame::flow_label;
use crate::{fabric::Clock, initiator::net::CLOCKS_PER_MICRO};

/// A management datagram.
pub type Mad = [u8; 256];

/// Everything about a connection that its host chooses.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Communication id.
    pub comm_id: u32,
    /// Transaction id of the REQ.
    pub tid: u64,
    /// Queue pair.
    pub qpn: u32,
    /// First PSN that the target is to send.
    pub psn: u32,
    /// Node GUID.
    pub guid: [u8; 8],
    /// Port that the private data names as the source.
    pub port: u16,
}

/// What a REQ asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose it is.
    pub identity: Identity,
    /// From and to where.
    pub addresses: (IpAddr, IpAddr),
    /// TCP port space port of the service.
    pub port: u16,
    /// Path MTU.
    pub mtu: PathMtu,
    /// RDMA READs this host serves at once.
    pub resources: u8,
    /// RDMA READs this host will have outstanding.
    pub depth: u8,
    /// Local ACK timeout, code.
    pub ack_timeout: u8,
    /// Retries of the queue pair.
    pub retries: u8,
    /// Retries after RNR NAK.
    pub rnr_retries: u8,
    /// CM response timeout of both ends, code.
    pub cm_timeout: u8,
    /// How often REQ and DREQ are repeated.
    pub cm_retries: u8,
    /// NVMe's private data.
    pub private: RequestData,
    /// What is wrong with it on purpose.
    pub faults: CmFaults,
}

/// Misbehaviour of a host, for tests of targets.
#[derive(Clone, Debug, Default)]
pub struct CmFaults {
    /// Send each REQ twice.
    pub duplicate_req: bool,
    /// Another service id.
    pub service_id: Option<u64>,
    /// Cut the MAD of the REQ to so many bytes: the private data are shorter than their format.
    pub mad_len: Option<usize>,
    /// Other private data.
    pub private: Option<RequestData>,
    /// Claim a queue pair number, for one of a connection that is up: the target finds that one stale.
    pub qpn: Option<u32>,
    /// Never send RTU.
    pub no_rtu: bool,
    /// Never answer DREQ.
    pub no_drep: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CmEvent {
    /// The target accepted; RTU is on its way.
    Established(Accepted),
    /// The target refused.
    Rejected(Rejection),
    /// The target ended it.
    Disconnected,
    /// The target did not answer.
    TimedOut,
    /// The target's answer makes no sense.
    Nonsense(String),
    /// Ended by this side, and the target knows, or would not say.
    Left,
}

/// A REP in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The target's queue pair.
    pub qpn: u32,
    /// First PSN to send.
    pub psn: u32,
    /// RDMA READs the target serves at once.
    pub resources: u8,
    /// RDMA READs the target will have outstanding.
    pub depth: u8,
    /// RNR retries the target asks for.
    pub rnr_retries: u8,
    /// CRQSIZE: receives the controller has posted.
    pub crqsize: u16,
}

/// A REJ in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// CM's reason, see [`RejectReason`].
    pub reason: u16,
    /// NVMe's status, if the reason is the consumer's.
    pub status: Option<u16>,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            1 => "no queue pair",
            3 => "no resources",
            4 => "timeout",
            5 => "unsupported request",
            6 => "invalid communication id",
            8 => "nobody listens",
            9 => "invalid transport",
            10 => "stale connection",
            12 => "invalid GID",
            26 => "invalid path MTU",
            27 => "insufficient responder resources",
            28 => "the consumer's",
            _ => "other",
        };
        write!(
            f,
            "the target refused the queue pair, reason {} ({reason})",
            self.reason
        )?;
        let Some(status) = self.status else {
            return Ok(());
        };
        let name = match status {
            1 => "invalid private data length",
            2 => "invalid RECFMT",
            3 => "invalid QID",
            4 => "invalid HSQSIZE",
            5 => "invalid HRQSIZE",
            6 => "no resources",
            7 => "invalid IRD",
            8 => "invalid ORD",
            9 => "invalid CNTLID",
            _ => "unknown",
        };
        write!(f, ", NVMe status {status} ({name})")
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Requesting,
    Established,
    Leaving,
    Over,
}

/// One connection.
#[derive(Debug)]
pub struct Cm {
    request: Request,
    req: Mad,
    state: State,
    remote_id: u32,
    remote_qpn: u32,
    deadline: Option<Clock>,
    tries_left: u8,
    dreq_tid: u64,
    /// MADs to send, with their lengths.
    out: VecDeque<(Mad, usize)>,
    events: VecDeque<CmEvent>,
}

fn gid(ip: IpAddr) -> Gid {
    match ip {
        IpAddr::V4(ip) => ib_cm::gid_of_ipv4(ip.octets()),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// An address in the last bytes of a field of the private data.
fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

pub(super) fn message<T>(attribute: u16, tid: u64, fill: impl FnOnce(&mut T)) -> Mad
where
    T: FromBytes + IntoBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
{
    let mut mad = [0; 256];
    if let Some(message) = start::<T>(&mut mad, attribute, tid) {
        fill(message);
    }
    mad
}

impl Request {
    /// The MAD.
    #[must_use]
    pub fn mad(&self) -> Mad {
        let id = &self.identity;
        message(ATTR_REQ, id.tid, |req: &mut Req| {
            let service = SERVICE_TCP | u64::from(self.port);
            req.local_comm_id = id.comm_id.into();
            req.service_id = self.faults.service_id.unwrap_or(service).into();
            req.local_ca_guid = u64::from_be_bytes(id.guid).into();
            let qpn = self.faults.qpn.unwrap_or(id.qpn);
            req.qpn_resources = high24(qpn, self.resources);
            req.eecn_depth = high24(0, self.depth);
            // End-to-end flow control, as Linux says though rxe has none.
            req.remote_timeout = high24(0, self.cm_timeout << 3 | 1);
            req.psn_timeout = high24(id.psn, self.cm_timeout << 3 | self.retries & 7);
            req.pkey = DEFAULT_PKEY.into();
            req.mtu_rnr = (self.mtu as u8) << 4 | self.rnr_retries & 7;
            req.cm_retries = self.cm_retries << 4;
            req.primary = Path {
                local_lid: NO_LID.into(),
                remote_lid: NO_LID.into(),
                local_gid: gid(self.addresses.0),
                remote_gid: gid(self.addresses.1),
                flow_rate: (flow_label(id.port, self.port) << 12).into(),
                traffic_class: 0,
                hop_limit: 64,
                sl: 0,
                ack_timeout: self.ack_timeout << 3,
            };
            let header = IpCmHeader {
                version: 0,
                ip_version: if self.addresses.0.is_ipv4() {
                    4 << 4
                } else {
                    6 << 4
                },
                src_port: id.port.into(),
                src: address(self.addresses.0),
                dst: address(self.addresses.1),
            };
            let private = self.faults.private.unwrap_or(self.private);
            req.private[..36].copy_from_slice(header.as_bytes());
            req.private[36..68].copy_from_slice(private.as_bytes());
        })
    }
}

impl Cm {
    /// Sends the REQ.
    #[must_use]
    pub fn connect(request: Request, now: Clock) -> Self {
        let req = request.mad();
        let mut cm = Self {
            req,
            state: State::Requesting,
            remote_id: 0,
            remote_qpn: 0,
            deadline: None,
            tries_left: request.cm_retries,
            dreq_tid: request.identity.tid ^ 1 << 63,
            out: VecDeque::new(),
            events: VecDeque::new(),
            request,
        };
        cm.send_request();
        cm.restart(now);
        cm
    }

    /// What the REQ asked for.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Sends the REQ again, whatever the state: to a target it is a duplicate, or stale.
    pub fn send_request(&mut self) {
        let len = self.request.faults.mad_len.unwrap_or(256).min(256);
        for _ in 0..=u8::from(self.request.faults.duplicate_req) {
            self.out.push_back((self.req, len));
        }
    }

    fn restart(&mut self, now: Clock) {
        let micros = timeout_micros(self.request.cm_timeout).max(1);
        self.deadline = Some(now + micros * CLOCKS_PER_MICRO);
    }

    /// The next MAD to send, and how much of it.
    pub fn take_mad(&mut self) -> Option<(Mad, usize)> {
        self.out.pop_front()
    }

    /// The next thing that happened.
    pub fn take_event(&mut self) -> Option<CmEvent> {
        self.events.pop_front()
    }

    /// When something is to be sent again.
    #[must_use]
    pub fn next_poll(&self) -> Option<Clock> {
        self.deadline
    }

    fn over(&mut self, event: CmEvent) {
        self.state = State::Over;
        self.deadline = None;
        self.events.push_back(event);
    }

    /// Lets the timer run out; true if something was sent again.
    pub fn advance(&mut self, now: Clock) -> bool {
        if self.deadline.is_none_or(|at| at > now) {
            return false;
        }
        if self.tries_left == 0 {
            let event = match self.state {
                State::Leaving => CmEvent::Left,
                _ => CmEvent::TimedOut,
            };
            self.over(event);
            return false;
        }
        self.tries_left -= 1;
        self.restart(now);
        match self.state {
            State::Requesting => self.send_request(),
            State::Leaving => self.send_dreq(),
            State::Established | State::Over => self.deadline = None,
        }
        true
    }

    fn send_dreq(&mut self) {
        let ids = (self.request.identity.comm_id, self.remote_id);
        let remote_qpn = high24(self.remote_qpn, 0);
        let mad = message(ATTR_DREQ, self.dreq_tid, |dreq: &mut ib_cm::Dreq| {
            dreq.local_comm_id = ids.0.into();
            dreq.remote_comm_id = ids.1.into();
            dreq.remote_qpn = remote_qpn;
        });
        self.out.push_back((mad, 256));
    }

    fn send_ids(&mut self, attribute: u16, tid: u64) {
        let ids = (self.request.identity.comm_id, self.remote_id);
        let mad = message(attribute, tid, |m: &mut Rtu| {
            m.local_comm_id = ids.0.into();
            m.remote_comm_id = ids.1.into();
        });
        self.out.push_back((mad, 256));
    }

    /// Ends the connection in order: DREQ. Before the target has accepted there is nothing to end but the asking (Linux sends a REJ).
    pub fn disconnect(&mut self, now: Clock) {
        match self.state {
            State::Established => {
                self.state = State::Leaving;
                self.tries_left = self.request.cm_retries;
                self.send_dreq();
                self.restart(now);
            }
            State::Requesting => {
                let id = self.request.identity.comm_id;
                let mad = message(ATTR_REJ, self.request.identity.tid, |rej: &mut Rej| {
                    rej.local_comm_id = id.into();
                    rej.rejected = (Rejected::Other as u8) << 6;
                    rej.reason = (RejectReason::Consumer as u16).into();
                });
                self.out.push_back((mad, 256));
                self.over(CmEvent::Left);
            }
            State::Leaving | State::Over => {}
        }
    }

    /// Forgets the connection without a word.
    pub fn abandon(&mut self) {
        self.state = State::Over;
        self.deadline = None;
    }

    /// A message whose remote communication id is this connection's.
    pub fn receive(&mut self, now: Clock, message: &Message<'_>) {
        match message {
            Message::Rep(rep) => self.rep(rep),
            Message::Rej(rej) if self.state != State::Over => {
                let reason = rej.reason.get();
                let consumer = reason == RejectReason::Consumer as u16;
                let data = RejectData::read_from_prefix(&rej.private).ok();
                let status = data.filter(|_| consumer).map(|(data, _)| data.status.get());
                self.over(match self.state {
                    State::Leaving => CmEvent::Left,
                    _ => CmEvent::Rejected(Rejection { reason, status }),
                });
            }
            Message::Mra(mra) if self.state == State::Requesting => {
                let micros = timeout_micros(mra.timeout >> 3);
                let later = now + micros * CLOCKS_PER_MICRO;
                self.deadline = self.deadline.map(|at| at.max(later));
            }
            Message::Dreq(dreq) if !self.request.faults.no_drep => {
                self.send_ids(ATTR_DREP, dreq.mad.tid.get());
                match self.state {
                    State::Established => self.over(CmEvent::Disconnected),
                    State::Leaving => self.over(CmEvent::Left),
                    State::Requesting | State::Over => {}
                }
            }
            Message::Drep(_) if self.state == State::Leaving => self.over(CmEvent::Left),
            _ => {}
        }
    }

    fn rep(&mut self, rep: &Rep) {
        match self.state {
            State::Requesting => {}
            // Its RTU was lost.
            State::Established if rep.local_comm_id.get() == self.remote_id => {
                return self.send_rtu(rep.mad.tid.get());
            }
            _ => return,
        }
        let data = ReplyData::read_from_prefix(&rep.private).map(|(data, _)| data);
        let (recfmt, crqsize) = data.map_or((0, 0), |d| (d.recfmt.get(), d.crqsize.get()));
        if rep.qpn.get() >> 8 == 0 || recfmt != 0 || crqsize == 0 {
            let what = format!(
                "REP with queue pair {}, RECFMT {recfmt}, CRQSIZE {crqsize}",
                rep.qpn.get() >> 8
            );
            return self.over(CmEvent::Nonsense(what));
        }
        self.remote_id = rep.local_comm_id.get();
        self.remote_qpn = rep.qpn.get() >> 8;
        self.state = State::Established;
        self.deadline = None;
        self.send_rtu(rep.mad.tid.get());
        self.events.push_back(CmEvent::Established(Accepted {
            qpn: self.remote_qpn,
            psn: rep.psn.get() >> 8,
            resources: rep.responder_resources,
            depth: rep.initiator_depth,
            rnr_retries: rep.rnr_srq >> 5,
            crqsize,
        }));
    }

    fn send_rtu(&mut self, tid: u64) {
        if !self.request.faults.no_rtu {
            self.send_ids(ATTR_RTU, tid);
        }
    }
}

/// The connection that a message is for, by its communication id at this end; `None` for a REQ.
#[must_use]
pub fn addressee(message: &Message<'_>) -> Option<u32> {
    Some(match message {
        Message::Req(_) => return None,
        Message::Mra(m) => m.remote_comm_id.get(),
        Message::Rej(m) => m.remote_comm_id.get(),
        Message::Rep(m) => m.remote_comm_id.get(),
        Message::Rtu(m) | Message::Drep(m) => m.remote_comm_id.get(),
        Message::Dreq(m) => m.remote_comm_id.get(),
    })
}

/// The answer to a REQ: nobody listens here. To a DREQ of a connection that nobody knows any more: it is over.
#[must_use]
pub fn refuse(message: &Message<'_>) -> Option<Mad> {
    match message {
        Message::Req(req) => Some(self::message(
            ATTR_REJ,
            req.mad.tid.get(),
            |rej: &mut Rej| {
                rej.remote_comm_id = req.local_comm_id;
                rej.reason = (RejectReason::InvalidServiceId as u16).into();
            },
        )),
        Message::Dreq(dreq) => Some(self::message(
            ATTR_DREP,
            dreq.mad.tid.get(),
            |drep: &mut Rtu| {
                drep.local_comm_id = U32::new(dreq.remote_comm_id.get());
                drep.remote_comm_id = dreq.local_comm_id;
            },
        )),
        _ => None,
    }
}
