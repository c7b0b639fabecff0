//! A REQ, checked: whether it can be answered at all, and what it asks for.

use super::{CmConfig, CmPacket};
use crate::{
    Peer,
    nvme::{QueueParams, private_data},
};
use sluice_wire::{
    ib_cm::{self, IpCmHeader, RejectReason, Req, SERVICE_RC, ipv4_of_gid, service_port},
    nvme_rdma::CmStatus,
    roce::PathMtu,
};
use zerocopy::FromBytes;

/// What a host asks for, and what of it the card can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Where the host is.
    pub peer: Peer,
    /// Port asked for.
    pub port: u16,
    /// The host's queue pair.
    pub remote_qpn: u32,
    /// First PSN to send.
    pub send_psn: u32,
    /// Path MTU.
    pub mtu: PathMtu,
    /// RDMA READs that may be outstanding at the host.
    pub reads: u8,
    /// ACK timeout code.
    pub ack_timeout: u8,
    /// Retries, 0 to 7.
    pub retries: u8,
    /// Retries after RNR NAK, 0 to 7; 7 is for ever.
    pub rnr_retries: u8,
    /// The NVMe queue.
    pub queue: QueueParams,
}

/// Why a REQ is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// By the transport.
    Reason(RejectReason),
    /// Path MTU too large for this port; the largest.
    Mtu(PathMtu),
    /// By NVMe.
    Status(CmStatus),
}

/// Checks a REQ in the order of a reader: who, what, how much.
pub fn check(cfg: &CmConfig, packet: &CmPacket<'_>, req: &Req) -> Result<Request, Refusal> {
    let refuse = |reason| Err(Refusal::Reason(reason));
    let port =
        service_port(req.service_id.get()).filter(|port| cfg.ports.contains(port) && *port != 0);
    let Some(port) = port else {
        return refuse(RejectReason::InvalidServiceId);
    };
    if req.service_type() != SERVICE_RC {
        return refuse(RejectReason::InvalidTransportType);
    }
    // The path has to be that of the packet: nobody asks for another.
    if req.primary.remote_gid != packet.peer.own || req.primary.local_gid != packet.peer.gid {
        return refuse(RejectReason::InvalidGid);
    }
    let Some(most) = PathMtu::of_port(cfg.port_mtu) else {
        return refuse(RejectReason::Unsupported);
    };
    let mtu = match PathMtu::from_code(req.mtu_code()) {
        Some(mtu) if mtu <= most => mtu,
        _ => return Err(Refusal::Mtu(most)),
    };
    if req.qpn() <= 1 {
        return refuse(RejectReason::NoQp);
    }
    let private = ip_private(packet, req).ok_or(Refusal::Status(CmStatus::InvalidLength))?;
    let queue = private_data(private, &cfg.queues).map_err(Refusal::Status)?;
    if req.responder_resources() == 0 {
        // Without READs no command could bring data.
        return Err(Refusal::Status(CmStatus::InvalidIrd));
    }
    Ok(Request {
        peer: packet.peer,
        port,
        remote_qpn: req.qpn(),
        send_psn: req.starting_psn(),
        mtu,
        reads: req.responder_resources().min(cfg.reads),
        ack_timeout: (req.primary.ack_timeout >> 3).clamp(cfg.ack_timeout.0, cfg.ack_timeout.1),
        retries: req.retry_count(),
        rnr_retries: req.rnr_retry_count(),
        queue,
    })
}

/// The private data behind the header of the IP service, if that names the ends of the packet.
fn ip_private<'a>(packet: &CmPacket<'_>, req: &'a ib_cm::Req) -> Option<&'a [u8]> {
    let (header, rest) = IpCmHeader::ref_from_prefix(&req.private).ok()?;
    let same = |gid: &[u8; 16], address: &[u8; 16]| match ipv4_of_gid(gid) {
        Some(ip) => header.ip_version >> 4 == 4 && address[12..] == ip,
        None => header.ip_version >> 4 == 6 && address == gid,
    };
    let fits = header.version == 0
        && same(&packet.peer.gid, &header.src)
        && same(&packet.peer.own, &header.dst);
    fits.then_some(rest)
}
