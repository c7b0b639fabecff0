//! NVMe/RDMA connections: a queue pair's life, from the connection manager's word to its end. What it carries is in
//! `messages` and `transfers`.

use sluice_hal::{Hal, PmAddr, layout, roce::RoceRx};
use sluice_rdma::{Config, Event, Open, QpId};
use sluice_wire::mgmt::PortConfig;
use sluice_wire::nvme_rdma::COMMAND_LEN;
use zerocopy::{FromZeros, IntoBytes};

use super::DataCore;
use super::conn::{NONE, Role};
use crate::limits;
use crate::link::CoreLink;
use crate::mail::{QpParams, ToControl};

/// Frame buffers that commands may wait in, of all data cores: READ data, without which some of them cannot go on, and TCP need
/// the rest.
const BUFFERS: u32 = layout::RX_SMALL_COUNT / 2;

/// Packets of the longest message at the smallest path MTU, with some to spare.
const LONGEST_MESSAGE: u32 = (COMMAND_LEN + limits::IN_CAPSULE).div_ceil(256) + 30;

impl DataCore {
    pub(super) fn configure_rdma(&mut self, port: &PortConfig, data_cores: u8) {
        let (templates, _) = self.share.qp_templates();
        let packets = (BUFFERS / u32::from(data_cores.max(1))).max(LONGEST_MESSAGE);
        self.rc.configure(&Config {
            core: self.core.0,
            mac: port.mac,
            templates,
            recv_size: COMMAND_LEN + limits::IN_CAPSULE,
            packets: packets.min(limits::PACKETS as u32) as u16,
            ack_delay: 100,
            ack_every: 8,
            ..Config::default()
        });
    }

    /// Opens a queue pair for the connection manager.
    pub(super) fn open_qp<H: Hal>(&mut self, at: u32, cm: u32, hal: &mut H) {
        let mut params = QpParams::new_zeroed();
        hal.pm_read(PmAddr(at), params.as_mut_bytes());
        let opened = params
            .open()
            .and_then(|open| self.new_queue_pair(&open, cm, hal));
        let mail = opened.unwrap_or_else(|| {
            self.stats.refused += 1;
            ToControl::QpOpened {
                cm,
                qpn: 0,
                psn: 0,
                key: 0,
            }
        });
        self.send_control(mail, hal);
    }

    fn new_queue_pair<H: Hal>(&mut self, open: &Open, cm: u32, hal: &mut H) -> Option<ToControl> {
        let (_, most) = self.share.qp_templates();
        if self.queue_pairs as usize >= most {
            return None;
        }
        let conn = self.free_conn()?;
        let mut link = CoreLink::new(hal, &mut self.link);
        let (qp, end) = self.rc.open(open, &mut link).ok()?;
        self.stats.accepted += 1;
        self.stats.connections += 1;
        self.queue_pairs += 1;
        self.by_qp[qp.index()] = conn;
        self.conns[usize::from(conn)].open_rdma(qp, cm);
        self.tally_opened(conn, hal);
        Some(ToControl::QpOpened {
            cm,
            qpn: end.qpn,
            psn: end.psn,
            key: self.key(conn),
        })
    }

    /// The host has left.
    pub(super) fn qp_left<H: Hal>(&mut self, qpn: u32, hal: &mut H) {
        if let Some(conn) = self.of_qp(QpId::from_qpn(qpn)) {
            self.end(conn, true, hal);
        }
    }

    /// The connection that a queue pair is, if it lives.
    #[inline]
    pub(super) fn of_qp(&self, qp: QpId) -> Option<u16> {
        let conn = *self.by_qp.get(qp.index())?;
        let entry = self.conns.get(usize::from(conn))?;
        (entry.qp == Some(qp)).then_some(conn)
    }

    /// Takes a packet; data of RDMA READs go on to their requests.
    #[inline]
    pub(super) fn take_packet<H: Hal>(&mut self, packet: &RoceRx, hal: &mut H) {
        let mut link = CoreLink::new(hal, &mut self.link);
        if let Some(data) = self.rc.input(self.now, packet, &mut link) {
            self.read_data(&data, hal);
        }
    }

    pub(super) fn take_rdma_events<H: Hal>(&mut self, hal: &mut H) -> bool {
        let mut any = false;
        // Each event sends at most one message.
        while self.outbox.len() < self.outbox.capacity() / 2 {
            let Some((qp, event)) = self.rc.poll_event() else {
                break;
            };
            any = true;
            let Some(conn) = self.of_qp(qp) else { continue };
            match event {
                Event::Alive => {
                    let cm = self.conns[usize::from(conn)].cm;
                    self.send_control(ToControl::QpAlive { cm }, hal);
                }
                Event::Received => self.ready.push(conn),
                Event::Closed(_) => self.end(conn, true, hal),
            }
        }
        any
    }

    /// Closes the queue pair of a dead connection; what it still had to send comes back released.
    pub(super) fn close_qp<H: Hal>(&mut self, conn: u16, hal: &mut H) {
        let entry = &mut self.conns[usize::from(conn)];
        let Some(qp) = entry.qp.take() else { return };
        entry.target = NONE;
        self.by_qp[qp.index()] = NONE;
        self.queue_pairs -= 1;
        // The NAK that says why may still have to leave.
        let mut link = CoreLink::new(hal, &mut self.link);
        self.rc.poll_transmit(self.now, &mut link);
        self.rc.close(qp, &mut link);
    }

    /// An entry for a new connection.
    pub(super) fn free_conn(&self) -> Option<u16> {
        self.conns[..self.share.connections()]
            .iter()
            .position(|c| c.role == Role::Unused)
            .map(|at| at as u16)
    }
}
