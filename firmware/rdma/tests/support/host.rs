//! A host's queue pair, written from the other side's rules and as simply as they allow: it acknowledges only what asks for
//! it, NAKs a gap once, goes back on NAK and timeout, serves RDMA WRITE and READ from memory it has registered. As Linux rxe
//! behaves. It shares no code with the machine under test but the formats.

use super::{frame, view};
use sluice_hal::Micros;
use sluice_wire::roce::{MASK_24, Opcode};
use std::collections::{HashMap, VecDeque};

/// Memory that the card may reach.
pub struct Region {
    pub va: u64,
    pub bytes: Vec<u8>,
}

pub struct Host {
    card_qpn: u32,
    mtu: usize,
    pub regions: HashMap<u32, Region>,
    /// Messages received and keys they invalidated, in order.
    pub messages: VecDeque<(Vec<u8>, Option<u32>)>,
    pub receives: u32,
    pub out: VecDeque<Vec<u8>>,
    // Responder.
    epsn: u32,
    msn: u32,
    naked: bool,
    partial: Vec<u8>,
    write: Option<(u32, u64, u32)>,
    // Requester.
    una: u32,
    end: u32,
    /// Packets not acknowledged, by PSN from `una` on.
    window: VecDeque<Vec<u8>>,
    pub deadline: Option<Micros>,
    timeout: u64,
    tries: u32,
    pub refused: Option<u8>,
}

const fn ahead(a: u32, b: u32) -> i32 {
    (a.wrapping_sub(b) << 8).cast_signed() >> 8
}

impl Host {
    /// `card` and `psn` are what the REP says, `epsn` what the REQ asked for.
    pub fn new(card_qpn: u32, psn: u32, epsn: u32, mtu: usize) -> Self {
        Self {
            card_qpn,
            mtu,
            regions: HashMap::new(),
            messages: VecDeque::new(),
            receives: 0,
            out: VecDeque::new(),
            epsn,
            msn: 0,
            naked: false,
            partial: vec![],
            write: None,
            una: psn,
            end: psn,
            window: VecDeque::new(),
            deadline: None,
            timeout: 1000,
            tries: 0,
            refused: None,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.window.is_empty()
    }

    pub fn send(&mut self, now: Micros, message: &[u8]) {
        let count = message.len().div_ceil(self.mtu).max(1);
        for i in 0..count {
            let part = &message[i * self.mtu..message.len().min((i + 1) * self.mtu)];
            let opcode = match (i == 0, i + 1 == count) {
                (true, true) => Opcode::SendOnly,
                (true, false) => Opcode::SendFirst,
                (false, false) => Opcode::SendMiddle,
                (false, true) => Opcode::SendLast,
            };
            let packet = frame(opcode, self.card_qpn, self.end, i + 1 == count, &[], part);
            self.end = (self.end + 1) & MASK_24;
            self.out.push_back(packet.clone());
            self.window.push_back(packet);
        }
        self.deadline = Some(now.after(self.timeout));
    }

    pub fn timeout(&mut self, now: Micros) {
        if self.deadline.is_some_and(|at| at <= now) {
            self.tries += 1;
            assert!(self.tries < 60, "the card does not acknowledge");
            self.again(now);
        }
    }

    fn again(&mut self, now: Micros) {
        self.out.extend(self.window.iter().cloned());
        self.deadline = (!self.window.is_empty()).then(|| now.after(self.timeout));
    }

    pub fn receive(&mut self, now: Micros, packet: &[u8]) {
        let view = view(packet);
        let psn = view.bth.sequence();
        if view.opcode == Opcode::Cnp {
            return;
        }
        if view.opcode == Opcode::Acknowledge {
            let word = view.aeth.expect("AETH").0.get();
            self.answered(now, psn, (word >> 24) as u8);
            return;
        }
        let ack_req = view.bth.ack_req();
        match ahead(psn, self.epsn) {
            0 => {
                self.naked = false;
                let (reth, key) = (view.reth.copied(), view.word);
                if self.execute(
                    view.opcode,
                    psn,
                    reth.map(|r| (r.rkey.get(), r.va.get(), r.len.get())),
                    key,
                    view.payload,
                ) && ack_req
                {
                    self.acknowledge(0x1f, psn);
                }
            }
            1.. if core::mem::replace(&mut self.naked, true) => {}
            1.. => self.acknowledge(0x60, self.epsn),
            _ if view.opcode == Opcode::ReadRequest => {
                let reth = view.reth.expect("RETH");
                if !self.regions.contains_key(&reth.rkey.get()) {
                    return; // a copy so late that the command is over
                }
                self.read(psn, reth.rkey.get(), reth.va.get(), reth.len.get());
            }
            _ if ack_req => self.acknowledge(0x1f, self.epsn.wrapping_sub(1) & MASK_24),
            _ => {}
        }
    }

    fn answered(&mut self, now: Micros, psn: u32, syndrome: u8) {
        let until = if syndrome >> 5 == 0 {
            psn.wrapping_add(1) & MASK_24
        } else {
            psn
        };
        let n = ahead(until, self.una);
        if n < 0 || n as usize > self.window.len() {
            return;
        }
        if n > 0 {
            self.tries = 0;
        }
        self.window.drain(..n as usize);
        self.una = until;
        match syndrome {
            0x60 => self.again(now),
            0x20..=0x3f => self.deadline = Some(now.after(200)),
            0x61.. => self.refused = Some(syndrome),
            _ => self.deadline = (!self.window.is_empty()).then(|| now.after(self.timeout)),
        }
    }

    fn acknowledge(&mut self, syndrome: u8, psn: u32) {
        let [_, a, b, c] = self.msn.to_be_bytes();
        let packet = frame(
            Opcode::Acknowledge,
            self.card_qpn,
            psn,
            false,
            &[syndrome, a, b, c],
            &[],
        );
        self.out.push_back(packet);
    }

    /// False if it was refused or answers itself.
    fn execute(
        &mut self,
        opcode: Opcode,
        psn: u32,
        reth: Option<(u32, u64, u32)>,
        key: Option<u32>,
        payload: &[u8],
    ) -> bool {
        use Opcode as O;
        match opcode {
            O::SendFirst | O::SendOnly | O::SendOnlyInvalidate => {
                assert!(
                    self.partial.is_empty() && self.write.is_none(),
                    "{opcode:?} inside a message"
                );
                if self.receives == 0 {
                    self.naked = true;
                    self.acknowledge(0x20 | 10, psn);
                    return false;
                }
                self.receives -= 1;
                self.partial = payload.to_vec();
            }
            O::SendMiddle | O::SendLast | O::SendLastInvalidate => {
                assert!(!self.partial.is_empty(), "{opcode:?} outside a message");
                self.partial.extend(payload);
            }
            O::WriteFirst | O::WriteOnly => {
                assert!(
                    self.partial.is_empty() && self.write.is_none(),
                    "{opcode:?} inside a message"
                );
                let (rkey, va, len) = reth.expect("RETH");
                self.write = Some((rkey, va, len));
                self.place(payload);
            }
            O::WriteMiddle | O::WriteLast => self.place(payload),
            O::ReadRequest => {
                let (rkey, va, len) = reth.expect("RETH");
                self.msn += 1;
                self.epsn = (psn + (len as usize).div_ceil(self.mtu).max(1) as u32) & MASK_24;
                self.read(psn, rkey, va, len);
                return false;
            }
            other => panic!("{other:?} from a card"),
        }
        let middle = matches!(
            opcode,
            O::SendFirst | O::SendMiddle | O::WriteFirst | O::WriteMiddle
        );
        assert!(!middle || payload.len() == self.mtu);
        self.epsn = (psn + 1) & MASK_24;
        self.msn += u32::from(!middle);
        match opcode {
            O::SendOnly | O::SendLast | O::SendOnlyInvalidate | O::SendLastInvalidate => {
                if let Some(key) = key {
                    assert!(
                        self.regions.contains_key(&key),
                        "invalidates a key of nobody's"
                    );
                }
                self.messages
                    .push_back((core::mem::take(&mut self.partial), key));
            }
            O::WriteOnly | O::WriteLast => {
                let (.., left) = self.write.take().expect("a write");
                assert_eq!(left, 0, "RETH length");
            }
            _ => {}
        }
        true
    }

    fn place(&mut self, payload: &[u8]) {
        let (rkey, va, left) = self.write.as_mut().expect("inside a write");
        let region = self.regions.get_mut(rkey).expect("a key of this host's");
        let at = va.checked_sub(region.va).expect("in bounds") as usize;
        region.bytes[at..at + payload.len()].copy_from_slice(payload);
        *va += payload.len() as u64;
        *left -= payload.len() as u32;
    }

    fn read(&mut self, psn: u32, rkey: u32, va: u64, len: u32) {
        let region = &self.regions[&rkey];
        let at = va.checked_sub(region.va).expect("in bounds") as usize;
        let bytes = region.bytes[at..at + len as usize].to_vec();
        let count = bytes.len().div_ceil(self.mtu).max(1);
        for i in 0..count {
            let part = &bytes[i * self.mtu..bytes.len().min((i + 1) * self.mtu)];
            let opcode = match (i == 0, i + 1 == count) {
                (true, true) => Opcode::ReadResponseOnly,
                (true, false) => Opcode::ReadResponseFirst,
                (false, false) => Opcode::ReadResponseMiddle,
                (false, true) => Opcode::ReadResponseLast,
            };
            let [_, a, b, c] = self.msn.to_be_bytes();
            let aeth = [0x1f, a, b, c];
            let extended: &[u8] = if opcode.has_aeth() { &aeth } else { &[] };
            let psn = psn.wrapping_add(i as u32) & MASK_24;
            self.out
                .push_back(frame(opcode, self.card_qpn, psn, false, extended, part));
        }
    }
}
