//! The connection manager and hosts over a link that loses, duplicates and reorders: every connection is established on both
//! sides or on none, and ends on both. Each run is made by its seed, which a failure prints.

mod support;

use sluice_hal::Micros;
use sluice_rdma::{Accept, Cm, CmConfig, CmEnd, CmEvent, CmId, CmPacket};
use sluice_wire::{
    ib_cm::{
        ATTR_DREP, ATTR_DREQ, ATTR_REQ, ATTR_RTU, Dreq, IpCmHeader, Message, Req, Rtu, SERVICE_TCP,
        high24, start,
    },
    nvme_rdma::{CmStatus, RequestData},
};
use std::collections::HashMap;
use support::{
    peer,
    wire::{Faults, Wire},
};
use zerocopy::IntoBytes;

const HOSTS: usize = 6;
const REPEAT: u64 = 50_000;
const FAULTS: Faults = Faults {
    loss: 100,
    duplication: 100,
    reordering: 200,
    damage: 0,
    marks: 0,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Asking,
    Established,
    Leaving,
    Over,
    Refused,
}

/// The asking side of one connection, as IBA's figure 130 has it.
struct Host {
    id: u32,
    state: State,
    theirs: u32,
    qpn: u32,
    at: Micros,
    tries: u32,
}

impl Host {
    fn req(&self) -> [u8; 256] {
        let mut mad = [0; 256];
        let req = start::<Req>(&mut mad, ATTR_REQ, u64::from(self.id)).expect("a MAD");
        req.local_comm_id.set(self.id);
        req.service_id.set(SERVICE_TCP + 4420);
        req.qpn_resources = high24(0x100 + self.id, 16);
        req.psn_timeout = high24(self.id, 12 << 3 | 7);
        req.mtu_rnr = 3 << 4;
        req.cm_retries = 15 << 4;
        (req.primary.local_gid, req.primary.remote_gid) = (peer().gid, peer().own);
        let header = IpCmHeader {
            version: 0,
            ip_version: 4 << 4,
            src_port: 1.into(),
            src: peer().gid,
            dst: peer().own,
        };
        let data = RequestData {
            hrqsize: 32.into(),
            hsqsize_z: 31.into(),
            ..RequestData::default()
        };
        req.private[..36].copy_from_slice(header.as_bytes());
        req.private[36..68].copy_from_slice(data.as_bytes());
        mad
    }

    fn short(&self, attribute: u16) -> [u8; 256] {
        let mut mad = [0; 256];
        let message = start::<Rtu>(&mut mad, attribute, 0).expect("a MAD");
        message.local_comm_id.set(self.id);
        message.remote_comm_id.set(self.theirs);
        mad
    }

    fn dreq(&self) -> [u8; 256] {
        let mut mad = [0; 256];
        let dreq = start::<Dreq>(&mut mad, ATTR_DREQ, 0).expect("a MAD");
        dreq.local_comm_id.set(self.id);
        dreq.remote_comm_id.set(self.theirs);
        dreq.remote_qpn = high24(self.qpn, 0);
        mad
    }

    fn take(&mut self, message: Message<'_>) -> Option<[u8; 256]> {
        match message {
            Message::Rep(rep) => {
                if self.state == State::Asking {
                    self.state = State::Established;
                    (self.theirs, self.qpn) = (rep.local_comm_id.get(), rep.qpn.get() >> 8);
                }
                let same = self.theirs == rep.local_comm_id.get();
                (same && self.state == State::Established).then(|| self.short(ATTR_RTU))
            }
            Message::Rej(_) => {
                if self.state == State::Asking {
                    self.state = State::Refused;
                }
                None
            }
            Message::Dreq(dreq) => {
                if self.theirs == dreq.local_comm_id.get() && self.state != State::Asking {
                    self.state = State::Over;
                }
                let mut answer = self.short(ATTR_DREP);
                answer[28..32].copy_from_slice(&dreq.local_comm_id.get().to_be_bytes());
                Some(answer)
            }
            Message::Drep(_) => {
                if self.state == State::Leaving {
                    self.state = State::Over;
                }
                None
            }
            _ => None,
        }
    }

    fn due(&mut self, now: Micros, wire: &mut Wire) -> Option<[u8; 256]> {
        if now < self.at {
            return None;
        }
        self.at = now.after(REPEAT);
        self.tries += 1;
        assert!(self.tries < 200, "{:?}", self.state);
        match self.state {
            State::Asking => Some(self.req()),
            State::Established if wire.below(4) == 0 => {
                self.state = State::Leaving;
                Some(self.dreq())
            }
            State::Leaving => Some(self.dreq()),
            _ => None,
        }
    }
}

#[derive(PartialEq, Eq, Debug)]
enum Ours {
    Asked,
    Accepted,
    Ended,
}

/// Hosts that were refused, connections that were made, and by how many messages repeated.
fn run(seed: u64) -> [u32; 4] {
    let mut wire = Wire::new(seed, FAULTS);
    let mut cm = Cm::<16>::new();
    cm.configure(&CmConfig::default());
    let mut hosts: Vec<_> = (1..=HOSTS as u32)
        .map(|id| Host {
            id,
            state: State::Asking,
            theirs: 0,
            qpn: 0,
            at: Micros(u64::from(id) * 10_000),
            tries: 0,
        })
        .collect();
    let mut ours: HashMap<CmId, (u32, Ours)> = HashMap::new();
    let mut ids = 0x5000;
    let mut now = Micros(0);
    while !(hosts
        .iter()
        .all(|h| matches!(h.state, State::Over | State::Refused))
        && cm.connections() == 0
        && wire.next_at().is_none())
    {
        now = now.after(1000);
        assert!(now < Micros(120_000_000), "hangs: {:?}", ours);
        while let Some((to_card, mad)) = wire.arrived(now) {
            let mad: [u8; 256] = mad.try_into().expect("a MAD");
            if to_card {
                let random = || {
                    ids += 1;
                    ids
                };
                cm.input(
                    now,
                    &CmPacket {
                        peer: peer(),
                        mad: &mad,
                    },
                    random,
                );
                events(&mut cm, &mut ours);
                continue;
            }
            let message = Message::of(&mad).expect("CM");
            let to = u32::from_be_bytes(mad[28..32].try_into().expect("4 bytes"));
            let host = hosts.iter_mut().find(|h| h.id == to).expect("one of them");
            if let Some(answer) = host.take(message) {
                wire.send(now, true, answer.to_vec());
            }
        }
        // The application: answers when it likes, and now and then has had enough.
        for (id, (_, state)) in &mut ours {
            match (&state, wire.below(400)) {
                (Ours::Asked, 0..20) => {
                    let accept = Accept {
                        qpn: 0x10_0000 + id.get(),
                        psn: 1,
                        crqsize: 32,
                    };
                    cm.accept(now, *id, &accept).expect("waits for it");
                    *state = Ours::Accepted;
                }
                (Ours::Asked, 20..23) => {
                    cm.reject(*id, CmStatus::InvalidCntlid);
                    *state = Ours::Ended;
                }
                (Ours::Accepted, 0) => {
                    cm.disconnect(now, *id);
                    *state = Ours::Ended;
                }
                _ => {}
            }
        }
        cm.handle_timeouts(now);
        events(&mut cm, &mut ours);
        let mut mad = [0; 256];
        while cm.poll_transmit(&mut mad).is_some() {
            wire.send(now, false, mad.to_vec());
        }
        for host in &mut hosts {
            if let Some(mad) = host.due(now, &mut wire) {
                wire.send(now, true, mad.to_vec());
            }
        }
    }
    assert!(
        ours.values().all(|(_, state)| *state == Ours::Ended),
        "{ours:?}"
    );
    // Whoever believes in a connection had one.
    for host in hosts
        .iter()
        .filter(|h| h.state == State::Over && h.theirs != 0)
    {
        assert!(ours.contains_key(&CmId::from_number(host.theirs)));
    }
    let refused = hosts.iter().filter(|h| h.state == State::Refused).count() as u32;
    let made = hosts.iter().filter(|h| h.theirs != 0).count() as u32;
    [refused, made, cm.stats().repeated, cm.stats().duplicates]
}

fn events(cm: &mut Cm<16>, ours: &mut HashMap<CmId, (u32, Ours)>) {
    while let Some(event) = cm.poll_event() {
        match event {
            CmEvent::Asked(id, request) => {
                assert!(ours.insert(id, (request.remote_qpn, Ours::Asked)).is_none());
            }
            CmEvent::Established(id) => assert_eq!(ours[&id].1, Ours::Accepted),
            CmEvent::Ended { id, qpn, why: end } => {
                let (_, state) = ours.get_mut(&id).expect("known");
                assert_eq!(qpn != 0, *state == Ours::Accepted);
                assert_ne!(*state, Ours::Ended, "told twice: {end:?}");
                assert!(
                    *state == Ours::Accepted || matches!(end, CmEnd::Unanswered | CmEnd::Stale)
                );
                *state = Ours::Ended;
            }
        }
    }
}

#[test]
fn connections_come_and_go_on_both_sides_over_a_bad_link() {
    let mut total = [0; 4];
    for seed in 0..200 {
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(seen) => (0..4).for_each(|i| total[i] += seen[i]),
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{total:?}");
    assert!(total.iter().all(|n| *n > 50), "{total:?}");
}
