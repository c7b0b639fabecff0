//! RoCEv2 sessions of a real Linux host with a real Linux target: every packet parsed, its ICRC computed, the exchanges of
//! the connection manager followed from REQ to DREP.

use std::collections::BTreeMap;

use sluice_sim::pcap::{self, Packet};
use sluice_wire::{
    ethernet, ib_cm,
    ib_cm::{Message, RejectReason},
    ib_mad, ipv4, nvme_rdma,
    roce::{self, Opcode, View},
};
use zerocopy::FromBytes;

const HOST: [u8; 4] = [10, 0, 0, 1];
const TARGET: [u8; 4] = [10, 0, 0, 2];
const FILES: [&str; 8] = [
    "c_rdma_rxe.pcap",
    "f1_rdma_loss2.pcap",
    "f2_rdma_loss1_reorder_dup.pcap",
    "h_rdma_errors.pcap",
    "i_rdma_aen_ns_change.pcap",
    "j_rdma_2queues_fio.pcap",
    "k_rdma_pmtu4096.pcap",
    "l_rdma_reconnect.pcap",
];

/// A RoCE packet of a capture, ICRC right.
struct Roce<'a> {
    src: [u8; 4],
    view: View<'a>,
}

/// The packet in a frame, `None` if the frame holds something else.
fn roce<'a>(file: &str, at: usize, packet: &'a Packet) -> Option<Roce<'a>> {
    let frame = ethernet::View::of(&packet.data)?;
    let l3 = &packet.data[frame.payload_offset..];
    let ip = ipv4::View::of(l3)
        .ok()
        .filter(|_| frame.ethertype == ethernet::IPV4)?;
    if ip.header.protocol != ipv4::PROTOCOL_UDP || ip.payload[2..4] != roce::UDP_PORT.to_be_bytes()
    {
        return None;
    }
    let whole = &l3[..ip.header_len + ip.payload.len()];
    let view =
        View::of(&ip.payload[8..]).unwrap_or_else(|| panic!("{file}, frame {at}: not understood"));
    let icrc = roce::icrc(&whole[..whole.len() - roce::ICRC_LEN]);
    assert_eq!(icrc, Some(view.icrc), "{file}, frame {at}: ICRC");
    assert_eq!(view.bth.pkey.get(), roce::DEFAULT_PKEY);
    Some(Roce {
        src: ip.header.src,
        view,
    })
}

fn packets(name: &str) -> Vec<Packet> {
    pcap::read(&super::path(name)).unwrap_or_else(|error| panic!("{error}"))
}

/// A connection as the connection manager sees it.
#[derive(Default, Debug, PartialEq, Eq)]
struct Connection {
    target_comm_id: u32,
    host_qpn: u32,
    target_qpn: u32,
    /// First PSN that the host expects.
    host_psn: u32,
    /// First PSN that the target expects.
    target_psn: u32,
    mtu: u32,
    qid: u16,
    ready: bool,
    disconnects: usize,
    ended: bool,
}

/// What the connection manager's messages of a file come to.
#[derive(Default)]
struct Followed {
    /// By the host's communication id.
    connections: BTreeMap<u32, Connection>,
    rejected: Vec<u16>,
}

impl Followed {
    fn take(&mut self, from: [u8; 4], message: Message<'_>) {
        match message {
            Message::Req(req) => self.request(from, req),
            Message::Rep(rep) => {
                assert_eq!(from, TARGET);
                let reply = nvme_rdma::ReplyData::ref_from_prefix(&rep.private)
                    .expect("fits")
                    .0;
                assert_eq!(reply.recfmt.get(), nvme_rdma::RECFMT);
                assert!(reply.crqsize.get() >= 32);
                let connection = self
                    .connections
                    .get_mut(&rep.remote_comm_id.get())
                    .expect("asked for");
                connection.target_comm_id = rep.local_comm_id.get();
                connection.target_qpn = rep.qpn.get() >> 8;
                connection.target_psn = rep.psn.get() >> 8;
            }
            Message::Rtu(rtu) => {
                let connection = self
                    .connections
                    .get_mut(&rtu.local_comm_id.get())
                    .expect("asked for");
                assert_eq!(connection.target_comm_id, rtu.remote_comm_id.get());
                connection.ready = true;
            }
            Message::Rej(rej) => {
                self.connections.remove(&rej.remote_comm_id.get());
                self.rejected.push(rej.reason.get());
            }
            Message::Dreq(dreq) => {
                let (id, other) = (dreq.local_comm_id.get(), dreq.remote_comm_id.get());
                let (host, target) = if from == HOST {
                    (id, other)
                } else {
                    (other, id)
                };
                let connection = self.connections.get_mut(&host).expect("was there");
                assert_eq!(connection.target_comm_id, target);
                let qpn = if from == HOST {
                    connection.target_qpn
                } else {
                    connection.host_qpn
                };
                assert_eq!(dreq.remote_qpn.get() >> 8, qpn);
                connection.disconnects += 1;
            }
            Message::Drep(drep) => {
                let (id, other) = (drep.local_comm_id.get(), drep.remote_comm_id.get());
                let host = if from == HOST { id } else { other };
                let connection = self.connections.get_mut(&host).expect("was there");
                assert!(connection.disconnects > 0);
                connection.ended = true;
            }
            Message::Mra(_) => panic!("none was captured"),
        }
    }

    fn request(&mut self, from: [u8; 4], req: &ib_cm::Req) {
        assert_eq!(from, HOST);
        // One of the refused connects asks for a port on which nobody listens.
        let port = ib_cm::service_port(req.service_id.get());
        assert!(matches!(port, Some(nvme_rdma::IO_PORT | 4499)));
        assert_eq!(ib_cm::ipv4_of_gid(&req.primary.local_gid), Some(HOST));
        assert_eq!(ib_cm::ipv4_of_gid(&req.primary.remote_gid), Some(TARGET));
        assert_eq!(
            (req.service_type(), req.retry_count(), req.rnr_retry_count()),
            (ib_cm::SERVICE_RC, 7, 7)
        );
        assert_eq!((req.responder_resources(), req.initiator_depth()), (128, 0));
        assert_eq!(
            (
                req.local_cm_timeout(),
                req.max_cm_retries(),
                req.primary.ack_timeout >> 3
            ),
            (20, 15, 17)
        );
        let (header, rest) = ib_cm::IpCmHeader::ref_from_prefix(&req.private).expect("fits");
        assert_eq!(
            (
                header.version,
                header.ip_version,
                &header.src[12..],
                &header.dst[12..]
            ),
            (0, 0x40, &HOST[..], &TARGET[..])
        );
        let (data, _) = nvme_rdma::RequestData::ref_from_prefix(rest).expect("fits");
        assert_eq!(data.recfmt.get(), nvme_rdma::RECFMT);
        assert_eq!(
            data.hrqsize.get(),
            data.hsqsize_z.get() + 1,
            "as Linux asks"
        );
        let connection = self.connections.entry(req.local_comm_id.get()).or_default();
        connection.host_qpn = req.qpn();
        connection.host_psn = req.starting_psn();
        connection.mtu = roce::PathMtu::from_code(req.mtu_code())
            .expect("a code")
            .bytes();
        connection.qid = data.qid.get();
    }
}

fn follow(name: &str) -> (Followed, usize) {
    let (mut followed, mut count) = (Followed::default(), 0);
    for (at, packet) in packets(name).iter().enumerate() {
        let Some(Roce { src, view }) = roce(name, at + 1, packet) else {
            continue;
        };
        count += 1;
        let Some(deth) = view.deth else { continue };
        assert_eq!(
            (view.bth.qpn(), deth.src_qp.get(), deth.qkey.get()),
            (ib_mad::GSI_QPN, ib_mad::GSI_QPN, ib_mad::GSI_QKEY)
        );
        let mad = view.payload.try_into().expect("256 bytes");
        followed.take(src, Message::of(mad).expect("a CM message"));
    }
    (followed, count)
}

#[test]
fn every_roce_packet_of_linux_is_understood_and_its_icrc_is_right() {
    for name in FILES {
        let (_, count) = follow(name);
        assert!(count > 200, "{name}: {count} packets");
    }
}

#[test]
fn the_connection_managers_exchanges_run_from_req_to_drep() {
    for name in FILES {
        let (followed, _) = follow(name);
        assert!(followed.connections.len() >= 2, "{name}");
        for (id, connection) in &followed.connections {
            assert!(
                connection.ready && connection.ended,
                "{name}: {id:08x} {connection:?}"
            );
        }
        let rejected = match name {
            "h_rdma_errors.pcap" => 1,
            "l_rdma_reconnect.pcap" => 2,
            _ => 0,
        };
        assert_eq!(
            followed.rejected,
            vec![RejectReason::InvalidServiceId as u16; rejected],
            "{name}"
        );
    }
}

#[test]
fn data_packets_start_at_the_psns_of_the_handshake_and_fit_the_path_mtu() {
    for name in FILES {
        let (followed, _) = follow(name);
        let mtu = if name.starts_with('k') { 4096 } else { 1024 };
        let packets = packets(name);
        let views: Vec<_> = (1..)
            .zip(&packets)
            .filter_map(|(at, packet)| roce(name, at, packet))
            .filter(|roce| roce.view.opcode != Opcode::UdSendOnly)
            .collect();
        assert!(views.iter().all(|roce| roce.view.payload.len() <= mtu));
        for connection in followed.connections.values() {
            assert_eq!(connection.mtu as usize, mtu, "{name}");
            let has = |src, qpn, psn| {
                views.iter().any(|roce| {
                    let bth = roce.view.bth;
                    roce.src == src
                        && bth.qpn() == qpn
                        && bth.sequence() == psn
                        && !roce.view.opcode.is_response()
                })
            };
            assert!(
                has(HOST, connection.target_qpn, connection.target_psn),
                "{name}"
            );
            // Of the target's packets those that were lost are not in the file.
            assert!(
                name.starts_with('f') || has(TARGET, connection.host_qpn, connection.host_psn),
                "{name}"
            );
        }
    }
}
