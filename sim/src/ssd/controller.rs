//! Registers: capabilities, enable, reset, shutdown, doorbells, MSI-X table.

use sluice_wire::nvme::{Aqa, AsyncEvent, Cap, Cc, Csts, Version, register};

use super::queue::{Cq, Sq};
use super::{BAR0_SIZE, Features, MSIX_PENDING, MSIX_TABLE, Ssd, Timer};
use crate::fabric::Tlp;

/// CAP.TO: half seconds within which the controller is ready.
const READY_TIMEOUT: u8 = 10;
const DOORBELLS: u64 = register::DOORBELLS as u64;

impl Ssd {
    pub(super) fn bar_read(&self, addr: u64, len: u32) -> Vec<u8> {
        let word = |at: u64| self.register(at & !3) >> (8 * (at % 4));
        (addr..addr + u64::from(len))
            .map(|at| word(at) as u8)
            .collect()
    }

    pub(super) fn bar_write(&mut self, addr: u64, data: &[u8]) {
        if !addr.is_multiple_of(4) || !data.len().is_multiple_of(4) {
            self.stats.bad_writes += 1;
            return;
        }
        for (word, at) in data.chunks_exact(4).zip((addr..).step_by(4)) {
            self.set_register(at, u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        }
    }

    /// CAP.
    pub(super) fn capabilities(&self) -> Cap {
        let mut cap = Cap(0);
        cap.set_mqes_z((self.config.queue_entries - 1) as u16);
        cap.set_cqr(true);
        cap.set_timeout(READY_TIMEOUT);
        cap.set_dstrd(self.config.dstrd);
        cap.set_css(1);
        cap
    }

    fn register(&self, at: u64) -> u32 {
        let half = |value: u64, low: u32| {
            if at == u64::from(low) {
                value as u32
            } else {
                (value >> 32) as u32
            }
        };
        if (MSIX_PENDING..BAR0_SIZE).contains(&at) {
            return self.msix.pending(at - MSIX_PENDING);
        }
        if (MSIX_TABLE..MSIX_PENDING).contains(&at) {
            return self.msix.read(at - MSIX_TABLE);
        }
        match at as u32 & !7 {
            register::CAP => half(self.capabilities().0, register::CAP),
            register::ASQ => half(self.asq, register::ASQ),
            register::ACQ => half(self.acq, register::ACQ),
            _ => match at as u32 {
                register::VS => Version::V1_4.0,
                register::CC => self.cc.0,
                register::CSTS => self.csts.0,
                register::AQA => self.aqa.0,
                _ => 0,
            },
        }
    }

    fn set_register(&mut self, at: u64, value: u32) {
        match at as u32 {
            _ if (MSIX_TABLE..MSIX_PENDING).contains(&at) => {
                if let Some((addr, data)) = self.msix.write(at - MSIX_TABLE, value) {
                    self.message(addr, data);
                }
            }
            _ if (DOORBELLS..MSIX_TABLE).contains(&at) => self.doorbell(at, value),
            register::CC => self.configure(Cc(value)),
            register::AQA if !self.cc.en() => self.aqa = Aqa(value & 0x0FFF_0FFF),
            register::ASQ if !self.cc.en() => {
                self.asq = self.asq >> 32 << 32 | u64::from(value & !0xFFF)
            }
            0x2C if !self.cc.en() => self.asq = self.asq & 0xFFFF_FFFF | u64::from(value) << 32,
            register::ACQ if !self.cc.en() => {
                self.acq = self.acq >> 32 << 32 | u64::from(value & !0xFFF)
            }
            0x34 if !self.cc.en() => self.acq = self.acq & 0xFFFF_FFFF | u64::from(value) << 32,
            // With MSI-X these have no effect (Base, section 3.1.4.3).
            register::INTMS | register::INTMC => {}
            _ => self.stats.bad_writes += 1,
        }
    }

    fn configure(&mut self, cc: Cc) {
        let (was, old_shn) = (self.cc.en(), self.cc.shn());
        self.cc = cc;
        match (was, cc.en()) {
            (false, true) => self.enable(),
            (true, false) => {
                self.stats.resets += 1;
                self.reset();
                // Configuration survives the reset except for what was just written.
                self.cc = cc;
            }
            _ => {}
        }
        if cc.shn() != 0 && old_shn == 0 {
            self.shut_down();
        }
    }

    /// Creates the admin queues and becomes ready after a while; settings that make no sense are fatal.
    fn enable(&mut self) {
        let sane = self.cc.mps() == 0 && matches!(self.cc.css(), 0 | 6) && self.cc.ams() == 0;
        let (sq, cq) = (
            u32::from(self.aqa.asqs_z()) + 1,
            u32::from(self.aqa.acqs_z()) + 1,
        );
        if !sane || sq < 2 || cq < 2 {
            return self.fatal();
        }
        let serial = self.next_serial();
        self.sqs[0] = Some(Sq {
            base: self.asq,
            entries: sq,
            head: 0,
            tail: 0,
            cqid: 0,
            serial,
        });
        self.cqs[0] = Some(Cq::new(self.acq, cq, Some(0)));
        self.at(self.now + self.config.ready_delay, Timer::Ready);
    }

    /// Controller reset: everything under way is dropped; the admin queue registers stay (Base, section 3.7.2).
    pub(super) fn reset(&mut self) {
        self.cc = Cc(0);
        self.csts = Csts(0);
        self.features = Features::new(self.config.volatile_cache);
        self.firmware.reset();
        self.sqs.iter_mut().for_each(|q| *q = None);
        self.cqs.iter_mut().for_each(|q| *q = None);
        self.commands.clear();
        self.busy = 0;
        self.dma.reset();
        self.timers.clear();
        self.media_free = self.now;
        self.out.clear();
    }

    /// Stops with CSTS.CFS.
    pub(super) fn fatal(&mut self) {
        self.csts.set_cfs(true);
        self.sqs.iter_mut().for_each(|q| *q = None);
        self.commands.clear();
        self.busy = 0;
        self.dma.reset();
        self.timers.clear();
    }

    fn shut_down(&mut self) {
        if self
            .namespaces
            .iter_mut()
            .any(|ns| ns.media.flush().is_err())
        {
            self.stats.errors += 1;
        }
        self.csts.set_shst(2);
    }

    pub(super) fn expire(&mut self, timer: Timer) {
        match timer {
            Timer::Ready => self.csts.set_rdy(true),
            Timer::Execute(id) => self.execute(id),
        }
    }

    /// Sends an MSI-X message.
    pub(super) fn message(&mut self, addr: u64, data: u32) {
        self.stats.interrupts += 1;
        self.out.push_back(Tlp::Write {
            addr,
            data: data.to_le_bytes().to_vec(),
        });
    }

    fn doorbell(&mut self, at: u64, value: u32) {
        if !self.csts.rdy() || self.csts.cfs() {
            self.stats.bad_doorbells += 1;
            return;
        }
        let stride = 4 << self.config.dstrd;
        let index = ((at - DOORBELLS) / stride) as usize;
        let exists = (at - DOORBELLS).is_multiple_of(stride);
        let rung = match (exists, index % 2) {
            (true, 0) => self
                .sqs
                .get_mut(index / 2)
                .and_then(Option::as_mut)
                .map(|sq| ring_tail(sq, value)),
            (true, _) => self
                .cqs
                .get_mut(index / 2)
                .and_then(Option::as_mut)
                .map(|cq| ring_head(cq, value)),
            (false, _) => None,
        };
        match rung {
            Some(true) if index % 2 == 1 => self.post_waiting((index / 2) as u16),
            Some(true) => {}
            // Error status: 00h write to an invalid doorbell register, 01h invalid value (Base, figure 150).
            Some(false) => self.bad_doorbell(1),
            None => self.bad_doorbell(0),
        }
    }

    fn bad_doorbell(&mut self, info: u8) {
        self.stats.bad_doorbells += 1;
        self.event(AsyncEvent {
            kind: 0,
            info,
            log_page: 1,
        });
    }
}

/// The tail moved on; false if no such entry.
fn ring_tail(sq: &mut Sq, value: u32) -> bool {
    let good = value < sq.entries;
    if good {
        sq.tail = value;
    }
    good
}

/// The host took completions up to `value`; false if it cannot have.
fn ring_head(cq: &mut Cq, value: u32) -> bool {
    let good = value < cq.entries && (value + cq.entries - cq.head) % cq.entries <= cq.occupied();
    if good {
        cq.head = value;
    }
    good
}
