//! What namespaces, connections and hosts did: the card's counters of 32 bits, added up over their wraps and over the comings
//! and goings of what they count. They are looked at every second, and before namespaces change; what is counted in the last
//! moment of a connection whose place another one gets before the next look is lost.

use std::collections::{BTreeMap, HashMap};

use sluice_device::Device;
use sluice_driver::bringup::Rig;
use sluice_driver::card::CardError;
use sluice_driver::card::stats::{ConnectionCounts, Histograms, NamespaceCounts};
use sluice_wire::stats::{BUCKETS, LATENCY_SHIFT, UNIT};

use super::nvmf::DISCOVERY;

/// Hosts remembered, each with each subsystem that it used.
const HOSTS: usize = 256;

/// What was done to a namespace, or to all of a block device.
#[derive(Clone, Debug)]
pub struct Io {
    /// Read and written.
    pub bytes: [u64; 2],
    /// Clocks that reads and writes took, added up.
    pub clocks: [u64; 2],
    /// Dataset Management commands that succeeded.
    pub unmaps: u64,
    /// Others that succeeded, neither reads nor writes.
    pub others: u64,
    /// Commands that failed.
    pub errors: u64,
    /// Reads and writes by the time that they took.
    pub histograms: [[u64; BUCKETS]; 2],
}

impl Default for Io {
    fn default() -> Self {
        Self {
            bytes: [0; 2],
            clocks: [0; 2],
            unmaps: 0,
            others: 0,
            errors: 0,
            histograms: [[0; BUCKETS]; 2],
        }
    }
}

impl Io {
    /// Reads or writes that succeeded.
    pub fn commands(&self, direction: usize) -> u64 {
        self.histograms[direction].iter().sum()
    }

    /// Adds what another one has.
    pub fn add(&mut self, other: &Self) {
        for direction in 0..2 {
            self.bytes[direction] += other.bytes[direction];
            self.clocks[direction] += other.clocks[direction];
            let buckets = self.histograms[direction].iter_mut();
            for (to, from) in buckets.zip(other.histograms[direction]) {
                *to += from;
            }
        }
        self.unmaps += other.unmaps;
        self.others += other.others;
        self.errors += other.errors;
    }
}

/// A namespace on one core.
#[derive(Debug)]
pub struct Namespace {
    /// As last read.
    counts: NamespaceCounts,
    histograms: Histograms,
    /// NQN of its subsystem.
    pub subsystem: String,
    /// Name of its SSD.
    pub ssd: String,
    /// What was done to it.
    pub io: Io,
}

impl Namespace {
    /// NSID towards hosts.
    pub const fn nsid(&self) -> u32 {
        self.counts.nsid
    }

    /// It has not been removed.
    pub const fn is_there(&self) -> bool {
        !self.counts.owner.gone
    }

    /// What the block device that it lies on is called.
    pub fn bdev(&self) -> String {
        format!("{}n{}", self.ssd, self.counts.ssd_nsid)
    }

    fn take(&mut self, now: NamespaceCounts, histograms: Histograms) {
        let last = &self.counts;
        for (direction, new) in histograms.iter().enumerate() {
            let units = grown(last.units[direction], now.units[direction]);
            self.io.bytes[direction] += units * u64::from(UNIT);
            let latency = grown(last.latency[direction], now.latency[direction]);
            self.io.clocks[direction] += latency << LATENCY_SHIFT;
            let counts = self.histograms[direction].iter().zip(new);
            for (total, (last, now)) in self.io.histograms[direction].iter_mut().zip(counts) {
                *total += grown(*last, *now);
            }
        }
        self.io.unmaps += grown(last.unmaps, now.unmaps);
        self.io.others += grown(last.others, now.others);
        self.io.errors += grown(last.errors, now.errors);
        (self.counts, self.histograms) = (now, histograms);
    }
}

/// What a connection or a host did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Done {
    /// Reads and writes that succeeded.
    pub commands: [u64; 2],
    /// Read and written.
    pub bytes: [u64; 2],
    /// Other commands that succeeded, admin and Fabrics commands among them.
    pub others: u64,
    /// Commands that failed.
    pub errors: u64,
}

impl Done {
    fn since(last: Option<&ConnectionCounts>, now: &ConnectionCounts) -> Self {
        let grown = |of: fn(&ConnectionCounts) -> u32| grown(last.map_or(0, of), of(now));
        let unit = u64::from(UNIT);
        Self {
            commands: [grown(|c| c.commands[0]), grown(|c| c.commands[1])],
            bytes: [grown(|c| c.units[0]) * unit, grown(|c| c.units[1]) * unit],
            others: grown(|c| c.others),
            errors: grown(|c| c.errors),
        }
    }

    fn add(&mut self, other: &Self) {
        for direction in 0..2 {
            self.commands[direction] += other.commands[direction];
            self.bytes[direction] += other.bytes[direction];
        }
        self.others += other.others;
        self.errors += other.errors;
    }
}

/// Whose a connection is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Who {
    /// NQN of the host.
    pub host: String,
    /// NQN of the subsystem.
    pub subsystem: String,
    /// CNTLID.
    pub controller: u16,
    /// QID; 0 is the admin queue.
    pub queue: u16,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    counts: ConnectionCounts,
    /// Once it is a queue.
    pub who: Option<Who>,
    /// What it did.
    pub done: Done,
    /// The part of it that no host has been given yet.
    unattributed: Done,
}

impl Connection {
    /// It is not gone.
    pub const fn is_open(&self) -> bool {
        self.counts.state.open
    }

    /// `tcp` or `rdma`.
    pub const fn transport(&self) -> &'static str {
        if self.counts.state.rdma {
            "rdma"
        } else {
            "tcp"
        }
    }

    /// Tells it from all others on the card, and from those that had its place before.
    pub fn name(&self) -> String {
        let key = self.counts.key;
        format!("{}.{}.{}", key >> 28, key & 0xfff, key >> 12 & 0xffff)
    }
}

/// What a host did in a subsystem.
#[derive(Default, Debug)]
pub struct Host {
    /// Over all its connections, those gone included.
    pub done: Done,
    /// Connections open now, over TCP and over RDMA.
    pub open: [u64; 2],
    /// Look at which it last had a connection.
    seen: u64,
}

/// Everything together.
#[derive(Default, Debug)]
pub struct Tallies {
    /// By core and place.
    namespaces: BTreeMap<(u32, u32), Namespace>,
    connections: BTreeMap<(u32, u32), Connection>,
    /// By host and subsystem.
    hosts: BTreeMap<(String, String), Host>,
    /// What namespaces did that lost their places, by block device: its name and its SSD's.
    former: BTreeMap<(String, String), Io>,
    /// The same by core.
    former_on: BTreeMap<u32, Io>,
    /// NQNs of hosts by CNTLID.
    controllers: HashMap<u16, String>,
    looks: u64,
}

impl Tallies {
    /// Reads what changed. Of a core that does not answer too, as it was a moment before.
    pub fn update<D: Device>(&mut self, rig: &mut Rig<D>) -> Result<(), CardError> {
        self.looks += 1;
        let mut silent = Ok(());
        for core in 1..u32::from(rig.card().info().cores) {
            // What it has not stored in packet memory yet it stores now.
            let stored = rig.card().counters(core).map(drop);
            silent = silent.and(stored);
            for counts in rig.card().namespace_counts(core)? {
                self.namespace(core, counts, rig)?;
            }
            for counts in rig.card().connection_counts(core)? {
                self.connection(core, counts, rig)?;
            }
        }
        self.count_open();
        silent
    }

    /// Namespaces that are there, with the core that served them.
    pub fn namespaces(&self) -> impl Iterator<Item = (u32, &Namespace)> {
        let all = self.namespaces.iter().map(|((core, _), n)| (*core, n));
        all.filter(|(_, n)| n.is_there())
    }

    /// Open connections, with their core.
    pub fn connections(&self) -> impl Iterator<Item = (u32, &Connection)> {
        let all = self.connections.iter().map(|((core, _), c)| (*core, c));
        all.filter(|(_, c)| c.is_open())
    }

    /// Hosts: their NQN, that of the subsystem, and what they did.
    pub fn hosts(&self) -> impl Iterator<Item = (&str, &str, &Host)> {
        let all = self.hosts.iter();
        all.map(|((host, subsystem), done)| (host.as_str(), subsystem.as_str(), done))
    }

    /// What was done to each block device: its name, its SSD's, and all that namespaces on it did, now and formerly.
    pub fn bdevs(&self) -> BTreeMap<(String, String), Io> {
        let mut all = self.former.clone();
        for ns in self.namespaces.values() {
            all.entry((ns.bdev(), ns.ssd.clone()))
                .or_default()
                .add(&ns.io);
        }
        all
    }

    /// What each core did.
    pub fn cores(&self) -> BTreeMap<u32, Io> {
        let mut all = self.former_on.clone();
        for ((core, _), ns) in &self.namespaces {
            all.entry(*core).or_default().add(&ns.io);
        }
        all
    }

    fn namespace<D: Device>(
        &mut self,
        core: u32,
        counts: NamespaceCounts,
        rig: &mut Rig<D>,
    ) -> Result<(), CardError> {
        let at = (core, counts.place);
        let known = self.namespaces.get(&at);
        if known.is_some_and(|n| n.counts == counts) {
            return Ok(());
        }
        let same = known.is_some_and(|n| {
            n.counts.nsid == counts.nsid && n.counts.owner.times == counts.owner.times
        });
        if !same && let Some(old) = self.namespaces.remove(&at) {
            self.former_on.entry(core).or_default().add(&old.io);
            let name = (old.bdev(), old.ssd);
            self.former.entry(name).or_default().add(&old.io);
        }
        let Some(histograms) = rig.card().histograms(core, &counts)? else {
            // The place is another's by now: the next look sees whose.
            return Ok(());
        };
        if let Some(known) = self.namespaces.get_mut(&at) {
            known.take(counts, histograms);
            return Ok(());
        }
        // Numbers of what is gone may by now be another's.
        let subsystem = rig.subsystem_numbered(counts.owner.subsystem.into());
        let ssd = rig.ssd_numbered(counts.owner.ssd.into());
        if let (Some(subsystem), Some(ssd), false) = (subsystem, ssd, counts.owner.gone) {
            let mut fresh = Namespace {
                counts: NamespaceCounts {
                    errors: 0,
                    others: 0,
                    unmaps: 0,
                    units: [0; 2],
                    latency: [0; 2],
                    ..counts
                },
                histograms: [[0; BUCKETS]; 2],
                subsystem: subsystem.nqn.clone(),
                ssd: ssd.name.clone(),
                io: Io::default(),
            };
            fresh.take(counts, histograms);
            self.namespaces.insert(at, fresh);
        }
        Ok(())
    }

    fn connection<D: Device>(
        &mut self,
        core: u32,
        counts: ConnectionCounts,
        rig: &mut Rig<D>,
    ) -> Result<(), CardError> {
        let known = self.connections.remove(&(core, counts.place));
        let mut connection = match known.filter(|c| c.counts.key == counts.key) {
            Some(mut known) => {
                let more = Done::since(Some(&known.counts), &counts);
                known.done.add(&more);
                known.unattributed.add(&more);
                known.counts = counts;
                known
            }
            None => Connection {
                who: None,
                done: Done::since(None, &counts),
                unattributed: Done::since(None, &counts),
                counts,
            },
        };
        if connection.who.is_none() {
            connection.who = self.who(&counts, rig)?;
        }
        if let Some(who) = &connection.who {
            let host = (who.host.clone(), who.subsystem.clone());
            let host = self.hosts.entry(host).or_default();
            host.done.add(&std::mem::take(&mut connection.unattributed));
            host.seen = self.looks;
        }
        self.connections.insert((core, counts.place), connection);
        Ok(())
    }

    /// Asks the card whose a connection is, unless another queue of the same controller has been asked about.
    fn who<D: Device>(
        &mut self,
        counts: &ConnectionCounts,
        rig: &mut Rig<D>,
    ) -> Result<Option<Who>, CardError> {
        let Some((controller, queue)) = counts.queue else {
            return Ok(None);
        };
        let subsystem = match counts.state.subsystem {
            u8::MAX => Some(DISCOVERY),
            number => rig
                .subsystem_numbered(number.into())
                .map(|s| s.nqn.as_str()),
        };
        let Some(subsystem) = subsystem.map(str::to_owned) else {
            return Ok(None);
        };
        let host = match self.controllers.get(&controller) {
            Some(host) => host.clone(),
            None => {
                let Some(held) = rig.card().controller_held(controller)? else {
                    return Ok(None);
                };
                let nqn = held.host_nqn.split(|b| *b == 0).next().unwrap_or_default();
                let host = String::from_utf8_lossy(nqn).into_owned();
                self.controllers.insert(controller, host.clone());
                host
            }
        };
        Ok(Some(Who {
            host,
            subsystem,
            controller,
            queue,
        }))
    }

    /// Counts connections, and forgets what nobody has any more.
    fn count_open(&mut self) {
        self.hosts.values_mut().for_each(|h| h.open = [0; 2]);
        let mut controllers = HashMap::new();
        for connection in self.connections.values().filter(|c| c.is_open()) {
            let Some(who) = &connection.who else { continue };
            let host = (who.host.clone(), who.subsystem.clone());
            if let Some(host) = self.hosts.get_mut(&host) {
                host.open[usize::from(connection.counts.state.rdma)] += 1;
            }
            if let Some((id, host)) = self.controllers.remove_entry(&who.controller) {
                controllers.insert(id, host);
            }
        }
        self.controllers = controllers;
        while self.hosts.len() > HOSTS {
            let oldest = self.hosts.iter().min_by_key(|(_, host)| host.seen);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                return;
            };
            self.hosts.remove(&oldest);
        }
    }
}

/// What a counter of 32 bits that may have wrapped grew by. None can grow by half of its range between two looks: one that
/// seems to was set to zero, with the card.
fn grown(last: u32, now: u32) -> u64 {
    let by = now.wrapping_sub(last);
    u64::from(if by < 1 << 31 { by } else { now })
}

#[cfg(test)]
mod tests {
    use sluice_wire::stats::Owner;

    use super::*;

    fn counts(units: u32, latency: u32, errors: u32) -> NamespaceCounts {
        NamespaceCounts {
            place: 0,
            nsid: 1,
            owner: Owner::decode(0),
            ssd_nsid: 1,
            errors,
            others: 0,
            unmaps: 0,
            units: [units, 0],
            latency: [0, latency],
        }
    }

    #[test]
    fn what_a_namespace_did_is_added_up_over_every_wrap() {
        let mut ns = Namespace {
            counts: counts(0, 0, 0),
            histograms: [[0; BUCKETS]; 2],
            subsystem: "nqn.a".into(),
            ssd: "ssd0".into(),
            io: Io::default(),
        };
        // Each time a little less than half of what 32 bits hold.
        let step = 2_000_000_000_u32;
        for look in 1..=7_u32 {
            let now = step.wrapping_mul(look);
            let mut histograms = [[0; BUCKETS]; 2];
            (histograms[0][3], histograms[0][4]) = (now, look);
            ns.take(counts(now, now, now), histograms);
        }
        let sum = 7 * u64::from(step);
        assert_eq!(ns.io.bytes, [sum * 512, 0]);
        assert_eq!(ns.io.clocks, [0, sum * 256]);
        assert_eq!(ns.io.errors, sum);
        assert_eq!(ns.io.commands(0), sum + 7);
        assert_eq!(ns.bdev(), "ssd0n1");
    }

    #[test]
    fn a_counter_that_wraps_goes_on_and_one_set_back_begins_anew() {
        assert_eq!(grown(u32::MAX - 1, 3), 5);
        assert_eq!(grown(7, 7), 0);
        assert_eq!(grown(1_000_000, 20), 20, "the card was started anew");
    }
}
