//! Between the data cores and the NVMe-oF target: relayed commands in, actions out.

use sluice_hal::{Hal, Mail, Micros, PmAddr, layout};
use sluice_net::HostConfig;
use sluice_nvmf::{Action, DataSink, Limits, QueueKey, RdmaLimits, Via};
use sluice_rdma::nvme::MAX_DESCRIPTORS;
use sluice_wire::mgmt::PortConfig;
use sluice_wire::nvme::Status;

use super::{ACTIVITY_PERIOD, ControlCore};
use crate::limits;
use crate::mail::{Relay, ToControl, ToData};

/// What this card offers hosts.
pub const LIMITS: Limits = Limits {
    io_queues: limits::IO_QUEUES,
    queue_entries: limits::QUEUE_ENTRIES,
    mdts: (limits::TRANSFER / layout::PAGE_SIZE).ilog2() as u8,
    in_capsule: limits::IN_CAPSULE,
    admin_data: limits::TRANSFER,
    rdma: RdmaLimits {
        queue_entries: limits::RDMA_QUEUE_ENTRIES,
        descriptors: MAX_DESCRIPTORS as u8,
    },
    firmware: *b"0.1.0   ",
};

/// Commands whose answer is outstanding: event requests of all controllers, and the one in hand.
pub const OUTSTANDING: usize = limits::ASSOCIATIONS * sluice_nvmf::EVENT_REQUESTS + 8;
/// Host data of one command, in bytes.
const FROM_HOST: usize = layout::PAGE_SIZE as usize;

/// A command that the target has and has not answered.
#[derive(Clone, Copy)]
pub struct Outstanding {
    key: u32,
    cid: u16,
    request: u16,
}

/// Writes a command's data into its pages on the data core.
struct PmSink<'a, H> {
    hal: &'a mut H,
    at: PmAddr,
    room: u32,
}

impl<H: Hal> DataSink for PmSink<'_, H> {
    fn write(&mut self, offset: u32, bytes: &[u8]) {
        // What the host left no room for is not sent either.
        let room = self.room.saturating_sub(offset) as usize;
        let len = bytes.len().min(room);
        self.hal.pm_write(self.at.plus(offset), &bytes[..len]);
    }
}

impl ControlCore {
    pub(super) fn mail<H: Hal>(&mut self, mail: &Mail, hal: &mut H) {
        match ToControl::decode(mail) {
            Some(ToControl::Opened { key, port }) => self.opened(key, port, hal),
            Some(ToControl::Closed { key }) => self.closed(key),
            Some(ToControl::Command(relay)) => self.relayed(&relay, hal),
            Some(ToControl::SsdTimeout { ssd }) => self.ssd_timeout(ssd),
            Some(ToControl::SsdDrained { ssd }) => self.drained(ssd),
            Some(ToControl::Counted) => self.counted(hal),
            Some(ToControl::Dying { key }) => self.dying(key, hal),
            Some(ToControl::QpOpened { cm, qpn, psn, key }) => {
                self.qp_opened(cm, qpn, psn, key, hal);
            }
            Some(ToControl::QpAlive { cm }) => self.qp_alive(cm),
            Some(ToControl::QpGone { cm }) => self.qp_gone(cm),
            None => {}
        }
    }

    fn opened<H: Hal>(&mut self, key: u32, port: u16, hal: &mut H) {
        let discovery = port == self.discovery_port && port != self.io_port;
        self.rdma.opened(core_of(key));
        self.open_connection(key, Via::Tcp { discovery }, hal);
    }

    /// Hands a connection to the target. False if it has no room; then the data core is to close it.
    pub(super) fn open_connection<H: Hal>(&mut self, key: u32, via: Via, hal: &mut H) -> bool {
        let taken = self
            .target
            .connection_opened(self.now, QueueKey(key), 0, via);
        if !taken {
            let mail = ToData::QueueClose { key, abort: true };
            self.post(core_of(key), mail.encode(), hal);
        }
        taken
    }

    fn closed(&mut self, key: u32) {
        self.rdma.closed(core_of(key));
        self.outstanding.retain(|o| o.key != key);
        self.target
            .connection_closed(self.now, QueueKey(key), &mut self.actions);
    }

    /// Ends what the target keeps for later (event requests) or dropped because it had begun to close the connection:
    /// all else was answered when it came. The data core waits for it before it calls the connection closed.
    fn dying<H: Hal>(&mut self, key: u32, hal: &mut H) {
        while let Some(o) = self.outstanding.iter().find(|o| o.key == key) {
            self.complete_relayed(key, o.cid, 0, Status::ABORT_REQUESTED.code(), 0, hal);
        }
    }

    fn relayed<H: Hal>(&mut self, relay: &Relay, hal: &mut H) {
        let mut sqe = [0; 64];
        hal.pm_read(PmAddr(relay.sqe), &mut sqe);
        let mut data = [0; FROM_HOST];
        let len = (relay.data_in as usize).min(FROM_HOST);
        hal.pm_read(PmAddr(relay.data), &mut data[..len]);
        let cid = u16::from_le_bytes([sqe[2], sqe[3]]);
        let entry = Outstanding {
            key: relay.key,
            cid,
            request: relay.request,
        };
        if self.outstanding.push(entry).is_err() {
            // Sized for all the target may hold; a host cannot get here.
            return;
        }
        let mut sink = PmSink {
            hal,
            at: PmAddr(relay.data),
            room: relay.room,
        };
        self.target.command(
            self.now,
            QueueKey(relay.key),
            &sqe,
            &data[..len],
            &mut sink,
            &mut self.actions,
        );
    }

    /// Does what the target asked for, as far as there is room for the mail.
    pub(super) fn act<H: Hal>(&mut self, hal: &mut H) {
        while self.outbox.len() + super::PER_ACTION <= super::OUTBOX {
            let next = self.actions.queue.pop_front();
            let Some(action) = next.or_else(|| self.target.next_close()) else {
                return;
            };
            match action {
                Action::Complete {
                    key,
                    cid,
                    result,
                    status,
                    data_len,
                } => {
                    self.complete_relayed(key.0, cid, result, status.code(), data_len, hal);
                }
                Action::QueueReady(ready) => {
                    let mail = ToData::QueueReady {
                        key: ready.key.0,
                        association: ready.association,
                        subsystem: ready.subsystem,
                        qid: ready.qid,
                        entries: ready.entries,
                        no_sqhd: ready.no_flow_control,
                        cntlid: ready.cntlid,
                    };
                    self.post(core_of(ready.key.0), mail.encode(), hal);
                }
                Action::QueueClose { key, abort } => {
                    self.post(
                        core_of(key.0),
                        ToData::QueueClose { key: key.0, abort }.encode(),
                        hal,
                    );
                }
                Action::Namespace(update) => {
                    self.broadcast(ToData::namespace(&update.encode()), hal)
                }
                Action::Event(event, subject) => self.event(event, subject),
                // Data cores serve an I/O queue until it is closed, which the target asks for by itself.
                Action::ControllerLive { .. } => {}
            }
        }
    }

    fn complete_relayed<H: Hal>(
        &mut self,
        key: u32,
        cid: u16,
        result: u64,
        status: u16,
        data_len: u32,
        hal: &mut H,
    ) {
        let Some(at) = self
            .outstanding
            .iter()
            .position(|o| o.key == key && o.cid == cid)
        else {
            return;
        };
        let request = self.outstanding.swap_remove(at).request;
        let mail = ToData::Complete {
            key,
            request,
            status,
            result,
            data_len,
        };
        self.post(core_of(key), mail.encode(), hal);
    }

    /// Keep alive: brings the associations' last signs of life up to date, then lets the target look at its timers.
    pub(super) fn watch_hosts<H: Hal>(&mut self, hal: &mut H) {
        if self.now >= self.next_activity {
            self.next_activity = self.now.after(ACTIVITY_PERIOD);
            for word in 0..u32::from(self.data_cores) * layout::ASSOCIATIONS {
                let at = PmAddr(layout::ACTIVITY_BASE + 4 * word);
                let heard = hal.pm_read32(at);
                if heard != 0 {
                    let ago = u64::from((self.now.0 as u32).wrapping_sub(heard));
                    let association = (word % layout::ASSOCIATIONS) as u8;
                    self.target
                        .host_active(association, Micros(self.now.0.saturating_sub(ago)));
                }
            }
        }
        if self.target.deadline().is_some_and(|at| at <= self.now) {
            self.target.poll(self.now, &mut self.actions);
        }
    }
}

/// The data core that a connection's key names.
fn core_of(key: u32) -> u8 {
    (key >> 28) as u8
}

/// The address resolver's configuration for a port.
pub fn host_config(port: &PortConfig) -> HostConfig {
    HostConfig {
        mac: port.mac,
        ipv4: port.ipv4,
        ipv4_prefix: port.ipv4_prefix,
        ipv4_gateway: port.ipv4_gateway,
        ipv6: port.ipv6,
        vlan: port.vlan.get(),
    }
}
