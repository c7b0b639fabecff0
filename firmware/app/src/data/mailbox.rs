//! Messages from and to the control core.

use core::net::{IpAddr, Ipv6Addr};

use sluice_hal::{CoreId, Hal, Phase, PmAddr};
use sluice_net::PathMtu;
use sluice_nvmf::NamespaceUpdate;
use sluice_ssd::prp::PmBus;
use sluice_ssd::{place, status};
use sluice_wire::mgmt::{PortConfig, QueuePlace};
use zerocopy::{FromZeros, IntoBytes};

use super::DataCore;
use super::conn::Role;
use super::request::State;
use super::tally::PASSES;
use crate::limits;
use crate::mail::{ToControl, ToData};

/// Messages taken per pass.
const PER_PASS: usize = 4;

impl DataCore {
    pub(super) fn send_control<H: Hal>(&mut self, mail: ToControl, hal: &mut H) {
        let mail = mail.encode();
        if !self.outbox.is_empty() || hal.mail_send(CoreId::CONTROL, &mail).is_err() {
            // Room is kept for every connection's one Closed and every command accepted for relaying.
            let _ = self.outbox.push_back(mail);
        }
    }

    pub(super) fn drain_outbox<H: Hal>(&mut self, hal: &mut H) {
        while let Some(mail) = self.outbox.front() {
            if hal.mail_send(CoreId::CONTROL, mail).is_err() {
                return;
            }
            self.outbox.pop_front();
            self.relieved = true;
        }
    }

    pub(super) fn take_mail<H: Hal>(&mut self, hal: &mut H) -> bool {
        for taken in 0..PER_PASS {
            let Some(mail) = hal.mail_recv() else {
                return taken > 0;
            };
            hal.phase(Phase::Other);
            if let Some(message) = ToData::decode(&mail) {
                self.mail(message, hal);
            }
        }
        true
    }

    fn mail<H: Hal>(&mut self, message: ToData, hal: &mut H) {
        match message {
            ToData::Port { at, pm_bus } => self.set_port(at, pm_bus, hal),
            ToData::Complete {
                key,
                request,
                status,
                result,
                data_len,
            } => {
                self.control_done(key, request, status, result, data_len, hal);
            }
            ToData::QueueReady {
                key,
                association,
                subsystem,
                qid,
                entries,
                no_sqhd,
                cntlid,
            } => {
                let Some(conn) = self.by_key(key) else { return };
                let entry = &mut self.conns[usize::from(conn)];
                entry.role = if qid == 0 { Role::Admin } else { Role::Io };
                entry.association = association;
                entry.subsystem = subsystem;
                entry.entries = entries;
                entry.no_sqhd = no_sqhd;
                // The Connect command was the queue's first.
                entry.sq_head = 0;
                entry.advance_head();
                if qid != 0 {
                    entry.session.set_io_queue();
                }
                self.tally_queue(conn, cntlid, qid, hal);
            }
            ToData::QueueClose { key, abort } => {
                if let Some(conn) = self.by_key(key) {
                    self.end(conn, abort, hal);
                }
            }
            ToData::Namespace { words } => {
                let [a, b, c, d, e, f, g] = words;
                let update = NamespaceUpdate::decode(&[0, a, b, c, d, e, f, g]);
                self.tally_namespace(&update, hal);
                self.namespaces.apply(&update);
            }
            ToData::SsdAttach {
                ssd,
                sq,
                cq,
                entries,
                timeout_ms,
                ..
            } => {
                self.attach(ssd, sq, cq, entries, timeout_ms, hal);
            }
            ToData::SsdDetach { ssd } => self.detach(ssd, hal),
            ToData::PathMtu {
                peer,
                ports,
                seq,
                mtu,
                flow_hash,
            } => {
                let mut octets = [0; 16];
                for (to, word) in octets.chunks_exact_mut(4).zip(peer) {
                    to.copy_from_slice(&word.to_be_bytes());
                }
                let peer = IpAddr::V6(Ipv6Addr::from(octets)).to_canonical();
                let path = PathMtu {
                    peer,
                    peer_port: ports[0],
                    local_port: ports[1],
                    seq,
                    mtu,
                    flow_hash,
                };
                self.tcp.path_mtu(&path, self.now);
            }
            ToData::QpOpen { at, cm } => self.open_qp(at, cm, hal),
            ToData::QpEnd { qpn } => self.qp_left(qpn, hal),
            ToData::Count { at } => {
                self.store_all_counts(hal);
                let mut counters = self.stats.publish(self.tcp.stats(), self.rc.stats());
                counters.loops += u64::from(self.passes % PASSES);
                hal.pm_write(PmAddr(at), counters.as_bytes());
                self.send_control(ToControl::Counted, hal);
            }
        }
    }

    fn set_port<H: Hal>(&mut self, at: u32, pm_bus: u64, hal: &mut H) {
        let mut port = PortConfig::new_zeroed();
        hal.pm_read(PmAddr(at), port.as_mut_bytes());
        self.pm_bus = PmBus::new(pm_bus).unwrap_or_default();
        let config = crate::link::tcp_config(&port, self.share, hal);
        self.tcp.configure(&config);
        self.configure_rdma(&port, hal.cores().saturating_sub(1));
        for listen in [port.io_port.get(), port.discovery_port.get()] {
            if listen != 0 {
                // The table has room for both; listening twice is no error.
                let _ = self.tcp.listen(listen);
            }
        }
    }

    fn control_done<H: Hal>(
        &mut self,
        key: u32,
        request: u16,
        status: u16,
        result: u64,
        len: u32,
        hal: &mut H,
    ) {
        let Some(r) = self
            .requests
            .get(request)
            .filter(|r| r.state == State::OnControl)
        else {
            return;
        };
        let conn = r.conn;
        if self.by_key(key) != Some(conn) {
            return;
        }
        let r = &mut self.requests.all[usize::from(request)];
        r.status = status;
        r.result = result;
        // Never more than the pages hold.
        r.bytes = len.min(r.run.map_or(0, |run| run.slice().len));
        r.to_host = len > 0;
        self.relay_over(request);
        self.stats.admin += 1;
        self.answer(request, hal);
    }

    fn attach<H: Hal>(
        &mut self,
        ssd: u8,
        sq: u32,
        cq: u32,
        entries: u16,
        timeout_ms: u32,
        hal: &mut H,
    ) {
        let data_cores = u32::from(hal.cores()) - 1;
        let Some(pair) = place::pair(u32::from(ssd), self.core, data_cores) else {
            return;
        };
        let Some(queue) = self.ssds.get_mut(usize::from(ssd)) else {
            return;
        };
        let at = QueuePlace {
            sq: sq.into(),
            cq: cq.into(),
            entries: entries.min(limits::SSD_DEPTH as u16).into(),
            core: u16::from(self.core.0).into(),
        };
        queue.attach(
            &at,
            self.pm_bus,
            place::doorbells(pair),
            timeout_ms.saturating_mul(1000),
        );
        self.attached |= 1 << ssd;
    }

    /// The SSD is gone and writes no more: its commands end with an error.
    fn detach<H: Hal>(&mut self, ssd: u8, hal: &mut H) {
        let Some(queue) = self.ssds.get_mut(usize::from(ssd)) else {
            return;
        };
        queue.detach();
        while let Some(token) = self.ssds[usize::from(ssd)].fail_next() {
            self.completed(token as u16, status::SSD_LOST.code(), hal);
        }
        self.attached &= !(1 << ssd);
        self.relieved = true;
        self.send_control(ToControl::SsdDrained { ssd }, hal);
    }
}
