//! The discovery log: which subsystems this host may reach, and where (Base, section 5.1.12.3).
//!
//! The order of entries depends on the configuration only, so a log that is read in pieces is one log as long as GENCTR
//! stays the same.

use crate::{
    Limits, Target,
    config::{Port, Subsystem},
    transport::Transport,
    window::Window,
};
use core::fmt::Write;
use core::net::{Ipv4Addr, Ipv6Addr};
use sluice_wire::{
    fabrics::{CNTLID_DYNAMIC, DISCOVERY_NQN},
    nvme::{DiscoveryEntry, DiscoveryHeader},
};
use zerocopy::{FromZeros, IntoBytes};

/// TREQ: secure channel not required, SQ flow control may be disabled.
const TREQ: u8 = 2 | 1 << 2;
/// TSAS of RDMA: reliable connection, RoCEv2, RDMA_CM (NVMe RDMA Transport Specification, figure 3).
const RDMA_TSAS: [u8; 3] = [1, 4, 1];
/// EFLAGS: persistent connections to discovery controllers.
const PERSISTENT: u16 = 1 << 1;

/// One entry to be.
struct Record<'a> {
    port: usize,
    place: &'a Port,
    ipv6: bool,
    transport: Transport,
    /// `None`: this discovery subsystem.
    subsystem: Option<&'a Subsystem>,
}

impl Target {
    pub(crate) fn discovery_log_size(&self, slot: usize) -> u64 {
        let entries = self.records(slot).count();
        (size_of::<DiscoveryHeader>() + entries * size_of::<DiscoveryEntry>()) as u64
    }

    pub(crate) fn discovery_log(&self, window: &mut Window<'_>, slot: usize) {
        // The header's reserved part is left to `seek`, which saves 1 KiB of stack.
        window.put(&self.generation.to_le_bytes());
        window.put(&(self.records(slot).count() as u64).to_le_bytes());
        window.seek(size_of::<DiscoveryHeader>() as u64);
        let mut entry = DiscoveryEntry::new_zeroed();
        for record in self.records(slot) {
            if window.full() {
                break;
            }
            fill(&mut entry, &record, &self.limits);
            window.put(entry.as_bytes());
        }
    }

    /// Entries for the host of this controller: by port, then subsystem, then address family, then transport.
    fn records(&self, slot: usize) -> impl Iterator<Item = Record<'_>> {
        let host: &[u8] = self.controllers.get(slot).map_or(&[], |c| &c.host_nqn);
        let ports = self.ports.iter().enumerate().filter(|(_, p)| p.configured);
        ports.flat_map(move |(port, place)| {
            let mine = move |(at, s): &(usize, &Subsystem)| s.exists() && self.allowed(*at, host);
            let subsystems = self
                .subsystems
                .iter()
                .enumerate()
                .filter(mine)
                .map(|(_, s)| Some(s));
            core::iter::once(None)
                .chain(subsystems)
                .flat_map(move |subsystem| {
                    ways(place)
                        .filter(move |(_, transport)| {
                            subsystem.is_none_or(|s| s.listens(port, *transport))
                        })
                        .map(move |(ipv6, transport)| Record {
                            port,
                            place,
                            ipv6,
                            transport,
                            subsystem,
                        })
                })
        })
    }
}

/// The address families (IPv6 or not) and transports of a port.
fn ways(port: &Port) -> impl Iterator<Item = (bool, Transport)> + use<> {
    let families = [(port.ipv4 != [0; 4], false), (port.ipv6 != [0; 16], true)];
    let rdma = port.rdma_port != 0;
    families
        .into_iter()
        .filter(|(has, _)| *has)
        .flat_map(|(_, ipv6)| Transport::ALL.map(|transport| (ipv6, transport)))
        .filter(move |(_, transport)| rdma || *transport != Transport::Rdma)
}

fn fill(entry: &mut DiscoveryEntry, record: &Record<'_>, limits: &Limits) {
    entry.zero();
    entry.trtype = record.transport.trtype();
    entry.adrfam = if record.ipv6 { 2 } else { 1 };
    entry.treq = TREQ;
    entry.portid.set(record.port as u16);
    entry.cntlid.set(CNTLID_DYNAMIC);
    entry.asqsz.set(record.transport.queue_entries(limits));
    entry.trsvcid = [b' '; 32];
    entry.traddr = [b' '; 256];
    let (kind, name, tcp_port) = match record.subsystem {
        Some(subsystem) => (2, &subsystem.nqn[..], record.place.io_port),
        None => (3, DISCOVERY_NQN, record.place.discovery_port),
    };
    let service = match record.transport {
        Transport::Tcp => tcp_port,
        Transport::Rdma => {
            entry.tsas[..RDMA_TSAS.len()].copy_from_slice(&RDMA_TSAS);
            record.place.rdma_port
        }
    };
    entry.subtype = kind;
    entry.eflags.set(if record.subsystem.is_none() {
        PERSISTENT
    } else {
        0
    });
    if let Some(field) = entry.subnqn.get_mut(..name.len()) {
        field.copy_from_slice(name);
    }
    let _fits = write!(Text(&mut entry.trsvcid), "{service}");
    let mut address = Text(&mut entry.traddr);
    let _fits = if record.ipv6 {
        write!(address, "{}", Ipv6Addr::from(record.place.ipv6))
    } else {
        write!(address, "{}", Ipv4Addr::from(record.place.ipv4))
    };
}

/// Text into a field, from its start.
struct Text<'a>(&'a mut [u8]);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let (here, after) = core::mem::take(&mut self.0)
            .split_at_mut_checked(text.len())
            .ok_or(core::fmt::Error)?;
        here.copy_from_slice(text.as_bytes());
        self.0 = after;
        Ok(())
    }
}
