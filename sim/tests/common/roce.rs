//! RoCE packets that no well-behaved host sends, made by hand, each with a right ICRC unless it is said otherwise.

use std::net::Ipv4Addr;

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use sluice_sim::initiator::rdma::{
    cm::{CmFaults, Identity, Request},
    frame::{Endpoint, Packet, Path},
};
use sluice_wire::ib_mad::{GSI_QKEY, GSI_QPN};
use sluice_wire::nvme_rdma::RequestData;
use sluice_wire::roce::{Aeth, Deth, MASK_24, Opcode, PathMtu, Reth};

use super::frames::CARD_MAC;

/// The card in the default configuration.
pub fn card() -> Endpoint {
    Endpoint {
        mac: CARD_MAC,
        ip: Ipv4Addr::new(10, 0, 0, 2).into(),
    }
}

/// Host `n` of 10.0.0.0/24 as [`sluice_sim::initiator::Config::numbered`] has it.
pub fn host(n: u8) -> Endpoint {
    Endpoint {
        mac: [0x02, 0, 0, 0, 1, n],
        ip: Ipv4Addr::new(10, 0, 0, n + 10).into(),
    }
}

/// A frame to the card.
pub fn frame(from: &Endpoint, packet: &Packet) -> Vec<u8> {
    let path = Path {
        src_port: 50_000,
        ip_id: 1,
        ecn: false,
    };
    packet.frame(from, &card(), path)
}

/// A datagram for queue pair 1.
pub fn datagram(from: &Endpoint, mad: &[u8]) -> Vec<u8> {
    let mut packet = Packet::new(Opcode::UdSendOnly, GSI_QPN, 0, mad.to_vec());
    packet.deth = Some(Deth {
        qkey: GSI_QKEY.into(),
        src_qp: GSI_QPN.into(),
    });
    frame(from, &packet)
}

/// A request for an admin queue from any of 60,000 addresses, whose frames all go to one place.
pub fn req(rng: &mut ChaCha8Rng, mac: [u8; 6]) -> Vec<u8> {
    let [a, b, ..] = rng.next_u32().to_le_bytes();
    let from = Endpoint {
        mac,
        ip: Ipv4Addr::new(10, 1, a, b % 250 + 1).into(),
    };
    let request = Request {
        identity: Identity {
            comm_id: rng.next_u32(),
            tid: rng.next_u64(),
            qpn: rng.next_u32() & MASK_24 | 2,
            psn: rng.next_u32() & MASK_24,
            guid: [1; 8],
            port: 40_000,
        },
        addresses: (from.ip, card().ip),
        port: 4420,
        mtu: PathMtu::Bytes1024,
        resources: 16,
        depth: 0,
        ack_timeout: 17,
        retries: 7,
        rnr_retries: 7,
        cm_timeout: 20,
        cm_retries: 15,
        private: RequestData {
            hrqsize: 32.into(),
            hsqsize_z: 31.into(),
            ..RequestData::default()
        },
        faults: CmFaults::default(),
    };
    datagram(&from, &request.mad())
}

/// A packet of any kind with random contents, for this queue pair.
pub fn random(rng: &mut ChaCha8Rng, from: &Endpoint, qpn: u32) -> Vec<u8> {
    let opcode = Opcode::ALL[rng.next_u32() as usize % Opcode::ALL.len()];
    let mut payload = vec![0; rng.next_u32() as usize % 1025];
    rng.fill_bytes(&mut payload);
    if opcode == Opcode::Cnp {
        payload = vec![0; 16];
    }
    let mut packet = Packet::new(opcode, qpn, rng.next_u32(), payload);
    packet.ack_req = rng.next_u32() & 1 != 0;
    let code = opcode as u8;
    if matches!(code, 0x06 | 0x0a | 0x0b | 0x0c) {
        packet.reth = Some(Reth {
            va: rng.next_u64().into(),
            rkey: rng.next_u32().into(),
            len: rng.next_u32().into(),
        });
    }
    if matches!(code, 0x0d | 0x0f | 0x10 | 0x11 | 0x12) {
        packet.aeth = Some(Aeth(rng.next_u32().into()));
    }
    if matches!(code, 0x03 | 0x05 | 0x09 | 0x0b | 0x16 | 0x17) {
        packet.word = Some(rng.next_u32());
    }
    if opcode == Opcode::UdSendOnly {
        packet.deth = Some(Deth {
            qkey: [GSI_QKEY, rng.next_u32()][rng.next_u32() as usize & 1].into(),
            src_qp: rng.next_u32().into(),
        });
    }
    frame(from, &packet)
}
