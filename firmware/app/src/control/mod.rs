//! The control core: the host driver's commands, the NVMe-oF target, ARP and ICMP.
//!
//! | file | what it does |
//! |---|---|
//! | `mod` | state and the loop |
//! | `host_queue` | the host driver's queue pair: fetch, data, completions, interrupts |
//! | `commands` | what each management command does |
//! | `flash` | the firmware in flash: download, verify, activate, confirm |
//! | `rdma` | NVMe/RDMA's connection manager |
//! | `target` | relayed commands to the target, its actions to the data cores |

mod commands;
mod flash;
mod host_queue;
mod rdma;
mod target;
#[cfg(test)]
mod tests;

use core::net::IpAddr;

use heapless::{Deque, Vec};
use sluice_hal::{CoreId, DOORBELL_SLOTS, Hal, Mail, Micros, Phase, Rx, layout};
use sluice_net::{Host, HostEvent, PathMtu};
use sluice_nvmf::{Action, Target};
use sluice_wire::mgmt::{Event, SsdAttach};

use crate::limits::SSDS;
use crate::link::{CoreLink, LinkState};
use crate::mail::ToData;
use crate::maybe::Maybe;
use crate::memory;
use host_queue::HostPort;

/// Frames and messages taken per pass.
const PER_PASS: usize = 8;
/// Neighbours remembered.
const NEIGHBOURS: usize = 64;
/// How often the data cores' activity words are looked at, in microseconds.
const ACTIVITY_PERIOD: u64 = 50_000;

/// A mailbox or the mover was full: look again after this many microseconds.
const BUSY_RETRY: u32 = 1;

/// Firmware status in BAR0: ready for the host driver.
pub const STATUS_READY: u32 = 1;

/// Mail that can wait. Half of it is what one command of the host driver or one message may cause.
const OUTBOX: usize = 128;
/// Most mail that one action causes: one message for each data core.
const PER_ACTION: usize = 15;

/// What is known of an SSD.
#[derive(Clone, Copy)]
struct Ssd {
    attached: Option<SsdAttach>,
    /// The host driver knows that it does not answer.
    timeout_told: bool,
    /// Entries of its queues, as `SsdPrepare` gave them; 0 before.
    entries: u16,
    /// Data cores that have not yet ended their commands, while it is being detached.
    draining: u16,
}

/// The control core's whole state; on the card a static.
pub struct ControlCore {
    now: Micros,
    data_cores: u8,
    link: LinkState,
    host: Host<NEIGHBOURS>,
    target: Target,
    rdma: rdma::Rdma,
    /// What the target asked for and has not been done.
    actions: ActionQueue,
    /// Mail that found an inbox full: per destination in order.
    outbox: Deque<(u8, Mail), OUTBOX>,
    port: HostPort,
    events: Deque<(Event, u32), 64>,
    lost_events: u32,
    ssds: [Ssd; SSDS],
    /// Commands the target has and has not answered.
    outstanding: Vec<target::Outstanding, { target::OUTSTANDING }>,
    /// TCP ports of subsystems and of discovery.
    io_port: u16,
    discovery_port: u16,
    next_activity: Micros,
    prps_filled: bool,
    /// The firmware in flash, once somebody has asked for it.
    updater: Maybe<sluice_boot::update::Updater>,
}

/// Actions in order. What makes new ones waits until all are done, so there is room for those of one call.
struct ActionQueue {
    queue: Deque<Action, { sluice_nvmf::MOST_ACTIONS }>,
}

impl sluice_nvmf::Outbox for ActionQueue {
    fn push(&mut self, action: Action) {
        let pushed = self.queue.push_back(action);
        debug_assert!(pushed.is_ok(), "the queue holds the actions of one call");
    }
}

impl Default for ControlCore {
    fn default() -> Self {
        Self::new()
    }
}

impl ControlCore {
    /// A core before [`ControlCore::start`]: all zeros, so that on the card it takes memory but no room in the image.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            now: Micros(0),
            data_cores: 0,
            link: LinkState::new(),
            host: Host::new(),
            target: Target::blank(),
            rdma: rdma::Rdma::new(),
            actions: ActionQueue {
                queue: Deque::new(),
            },
            outbox: Deque::new(),
            port: HostPort::new(),
            events: Deque::new(),
            lost_events: 0,
            ssds: [Ssd {
                attached: None,
                timeout_told: false,
                entries: 0,
                draining: 0,
            }; SSDS],
            outstanding: Vec::new(),
            io_port: 0,
            discovery_port: 0,
            next_activity: Micros(0),
            prps_filled: false,
            updater: Maybe::NONE,
        }
    }

    /// Steers flows over the data cores and tells the host driver that the card is up. Once, before the first poll.
    pub fn start<H: Hal>(&mut self, hal: &mut H) {
        self.data_cores = hal.cores().saturating_sub(1).max(1);
        self.target.start(target::LIMITS);
        self.link.start(memory::control_frames());
        for bucket in 0..128 {
            hal.steer(bucket, CoreId(self.core_of_flow(bucket.into())));
        }
        for word in 0..u32::from(self.data_cores) * layout::ASSOCIATIONS {
            hal.pm_write32(sluice_hal::PmAddr(layout::ACTIVITY_BASE + 4 * word), 0);
        }
        hal.set_status(STATUS_READY);
    }

    /// Controllers that are not free, and commands that the target has not answered.
    #[must_use]
    pub fn associations(&self) -> (usize, usize) {
        (self.target.controllers_in_use(), self.outstanding.len())
    }

    /// One pass of the loop. True if there was anything to do.
    pub fn poll<H: Hal>(&mut self, hal: &mut H) -> bool {
        self.now = hal.now();
        hal.kick_watchdog();
        let mut busy = self.receive(hal);
        hal.phase(Phase::Other);
        self.drain_outbox(hal);
        self.act(hal);
        busy |= self.take_mail(hal);
        busy |= self.serve_rdma(hal);
        busy |= self.serve_flash(hal);
        if self.may_cause_more() {
            busy |= self.serve_host(hal);
            hal.phase(Phase::Controller);
            self.act(hal);
        }
        if self.may_cause_more() {
            self.watch_hosts(hal);
            self.act(hal);
        }
        hal.phase(Phase::Other);
        hal.phase(Phase::Idle);
        busy
    }

    /// How long the core may sleep after a pass without work, in microseconds, if nothing comes in meanwhile.
    #[must_use]
    pub fn idle_for(&self) -> u32 {
        if !self.outbox.is_empty() || self.port.is_waiting() || self.rdma.is_sending() {
            return BUSY_RETRY;
        }
        let timers = [
            self.host.deadline(),
            self.target.deadline(),
            self.rdma.deadline(),
            Some(self.next_activity),
        ];
        let next = timers
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.next_activity);
        let longest = match self.port.step {
            host_queue::Step::Flashing => flash::POLL.into(),
            _ => ACTIVITY_PERIOD,
        };
        next.since(self.now).min(longest) as u32
    }

    fn receive<H: Hal>(&mut self, hal: &mut H) -> bool {
        hal.phase(Phase::Rx);
        let mut any = false;
        for _ in 0..PER_PASS {
            // What comes may be a datagram for the connection manager; dropped, the host would miss it for seconds.
            if !self.rdma.has_room() {
                break;
            }
            let Some(rx) = hal.rx_next() else { break };
            any = true;
            let rx = match rx {
                Rx::Frame(rx) => rx,
                Rx::Roce(packet) => {
                    self.roce(&packet, hal);
                    continue;
                }
            };
            hal.phase(Phase::Tcp);
            let mut link = CoreLink::for_frame(hal, &mut self.link, &rx);
            if let Some(HostEvent::PathMtu(path)) = self.host.input(self.now, &rx, &mut link) {
                self.path_mtu(&path, hal);
            }
        }
        if self.host.deadline().is_some_and(|at| at <= self.now) {
            self.host
                .handle_timeouts(self.now, &mut CoreLink::new(hal, &mut self.link));
        }
        self.link.reap(hal);
        any
    }

    fn take_mail<H: Hal>(&mut self, hal: &mut H) -> bool {
        for taken in 0..PER_PASS {
            if !self.may_cause_more() {
                return true;
            }
            let Some(mail) = hal.mail_recv() else {
                return taken > 0;
            };
            self.mail(&mail, hal);
            self.act(hal);
        }
        true
    }

    /// All that was to be done is done, but for mail of which no more than half of what can wait does.
    fn may_cause_more(&self) -> bool {
        self.actions.queue.is_empty() && self.outbox.len() <= OUTBOX / 2
    }

    /// Tells the data core that has the flow.
    fn path_mtu<H: Hal>(&mut self, path: &PathMtu, hal: &mut H) {
        let octets = match path.peer {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let mut peer = [0; 4];
        for (word, bytes) in peer.iter_mut().zip(octets.chunks_exact(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        let mail = ToData::PathMtu {
            peer,
            ports: [path.peer_port, path.local_port],
            seq: path.seq,
            mtu: path.mtu,
            flow_hash: path.flow_hash,
        };
        // If not, the router says it again.
        if self.outbox.len() < OUTBOX / 2 {
            self.post(self.core_of_flow(path.flow_hash), mail.encode(), hal);
        }
    }

    /// Steering: data cores take buckets in turn.
    fn core_of_flow(&self, flow_hash: u32) -> u8 {
        1 + (flow_hash & 0x7f) as u8 % self.data_cores
    }

    /// Sends to one data core; keeps what does not fit.
    fn post<H: Hal>(&mut self, core: u8, mail: Mail, hal: &mut H) {
        let waiting = self.outbox.iter().any(|(to, _)| *to == core);
        if waiting || hal.mail_send(CoreId(core), &mail).is_err() {
            let kept = self.outbox.push_back((core, mail));
            debug_assert!(kept.is_ok(), "room was asked for");
        }
    }

    /// Sends to all data cores.
    fn broadcast<H: Hal>(&mut self, mail: Mail, hal: &mut H) {
        for core in 1..=self.data_cores {
            self.post(core, mail, hal);
        }
    }

    fn drain_outbox<H: Hal>(&mut self, hal: &mut H) {
        let mut full = 0u32;
        for _ in 0..self.outbox.len() {
            let Some((core, mail)) = self.outbox.pop_front() else {
                return;
            };
            let sent = full & 1 << core == 0 && hal.mail_send(CoreId(core), &mail).is_ok();
            if !sent {
                full |= 1 << core;
                let _ = self.outbox.push_back((core, mail));
            }
        }
    }

    /// Something the host driver should hear of.
    fn event(&mut self, event: Event, subject: u32) {
        if self.events.push_back((event, subject)).is_err() {
            self.lost_events += 1;
        }
    }
}

const _: () = assert!(DOORBELL_SLOTS >= 2 * SSDS);
