//! The neighbour cache: who was asked for, who answered, for how long that holds.

use core::net::IpAddr;
use sluice_hal::Micros;

/// An answer holds this long (RFC 4861 calls it REACHABLE_TIME; ARP has no figure).
const REACHABLE: u64 = 60_000_000;
/// Time between questions, and how often one asks (RFC 4861, section 10).
const RETRANS: u64 = 1_000_000;
const QUESTIONS: u8 = 3;

#[derive(Clone, Copy)]
enum Entry {
    Free,
    /// `asked` times so far; the next time or the end is at `until`.
    Asking {
        ip: IpAddr,
        asked: u8,
        until: Micros,
    },
    Known {
        ip: IpAddr,
        mac: [u8; 6],
        until: Micros,
    },
}

impl Entry {
    fn ip(&self) -> Option<IpAddr> {
        match *self {
            Self::Free => None,
            Self::Asking { ip, .. } | Self::Known { ip, .. } => Some(ip),
        }
    }

    fn until(&self) -> Option<Micros> {
        match *self {
            Self::Free => None,
            Self::Asking { until, .. } | Self::Known { until, .. } => Some(until),
        }
    }
}

/// What [`Neighbors::lookup`] found.
pub enum Outcome {
    Known([u8; 6]),
    /// Asked already, no answer yet (or no room to remember a question).
    Asked,
    /// The caller asks now.
    Ask,
}

pub struct Neighbors<const N: usize> {
    entries: [Entry; N],
}

impl<const N: usize> Neighbors<N> {
    pub const fn new() -> Self {
        Self {
            entries: [const { Entry::Free }; N],
        }
    }

    fn find(&mut self, ip: IpAddr) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|e| e.ip() == Some(ip))
    }

    pub fn lookup(&mut self, ip: IpAddr, now: Micros) -> Outcome {
        match self.find(ip) {
            Some(Entry::Known { mac, until, .. }) if now < *until => return Outcome::Known(*mac),
            Some(Entry::Asking { .. }) => return Outcome::Asked,
            Some(stale) => *stale = Entry::Free,
            None => {}
        }
        // A free place, or that of the neighbour heard of longest ago; questions under way stay.
        let place = self.entries.iter_mut().min_by_key(|e| match e {
            Entry::Free => Some(Micros(0)),
            Entry::Known { until, .. } => Some(*until),
            Entry::Asking { .. } => Some(Micros(u64::MAX)),
        });
        match place {
            Some(place @ (Entry::Free | Entry::Known { .. })) => {
                *place = Entry::Asking {
                    ip,
                    asked: 1,
                    until: now.after(RETRANS),
                };
                Outcome::Ask
            }
            _ => Outcome::Asked,
        }
    }

    /// An answer came. False if nobody asked: then it is not believed, so that no one can move an address by shouting.
    pub fn learn(&mut self, ip: IpAddr, mac: [u8; 6], now: Micros) -> bool {
        match self.find(ip) {
            Some(entry @ Entry::Asking { .. }) => {
                *entry = Entry::Known {
                    ip,
                    mac,
                    until: now.after(REACHABLE),
                };
                true
            }
            _ => false,
        }
    }

    pub fn deadline(&self) -> Option<Micros> {
        self.entries.iter().filter_map(Entry::until).min()
    }

    /// One entry whose time has come: its address, and whether to ask again (or it did not answer). Call until `None`.
    pub fn expire(&mut self, now: Micros) -> Option<(IpAddr, bool)> {
        for entry in &mut self.entries {
            match entry {
                Entry::Asking { ip, asked, until } if *until <= now => {
                    let ip = *ip;
                    let again = *asked < QUESTIONS;
                    if again {
                        *asked += 1;
                        *until = now.after(RETRANS);
                    } else {
                        *entry = Entry::Free;
                    }
                    return Some((ip, again));
                }
                Entry::Known { until, .. } if *until <= now => *entry = Entry::Free,
                _ => {}
            }
        }
        None
    }
}
