//! What data cores count for namespaces and connections, read out of packet memory while they count (`sluice_wire::stats`).
//! Values are as the card has them: totals modulo 2^32. Adding them up over their wraps is the caller's affair, and so is
//! asking a core for its counters first ([`Card::counters`]), if what it did within the last tenth of a second has to be in them.

use std::time::Duration;

use sluice_device::{Bar, BarError, Device};
use sluice_wire::mgmt::{ANY_SUBSYSTEM, ControllerState, Opcode};
use sluice_wire::stats::{
    self, BUCKETS, ConnectionState, ConnectionStats, Directory, NAMESPACE_HEADER, NO_QUEUE,
    NamespaceStats, Owner,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::commands::held;
use super::{Card, CardError};

/// How often it is looked whether hosts are gone.
const GLANCE: Duration = Duration::from_micros(100);

/// Latencies of reads and of writes, by bucket (`sluice_wire::stats::bucket_end`).
pub type Histograms = [[u32; BUCKETS]; 2];

/// What a data core did for a namespace since its place was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamespaceCounts {
    /// The place's number.
    pub place: u32,
    /// NSID towards hosts.
    pub nsid: u32,
    /// Whose the place is.
    pub owner: Owner,
    /// NSID on the SSD.
    pub ssd_nsid: u32,
    /// Commands that ended with an error status.
    pub errors: u32,
    /// Commands that succeeded and are neither Read, Write nor Dataset Management.
    pub others: u32,
    /// Dataset Management commands that succeeded.
    pub unmaps: u32,
    /// Read and written, in units of 512 bytes.
    pub units: [u32; 2],
    /// Sums of the latencies of reads and writes, in units of 256 card clocks.
    pub latency: [u32; 2],
}

/// What a connection did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionCounts {
    /// The place's number.
    pub place: u32,
    /// Names the connection among all that the card has had lately.
    pub key: u32,
    /// CNTLID and QID, once it is a queue.
    pub queue: Option<(u16, u16)>,
    /// Subsystem, transport, and whether it is open.
    pub state: ConnectionState,
    /// Commands that ended with an error status.
    pub errors: u32,
    /// Commands that succeeded and are neither Read nor Write.
    pub others: u32,
    /// Reads and writes that succeeded.
    pub commands: [u32; 2],
    /// Read and written, in units of 512 bytes.
    pub units: [u32; 2],
}

impl<D: Device> Card<D> {
    /// What data core `core` (1 and up) counted for namespaces, those lately removed included. One whose place is just being
    /// given is left out.
    ///
    /// # Errors
    /// [`CardError`] if packet memory cannot be reached.
    pub fn namespace_counts(&self, core: u32) -> Result<Vec<NamespaceCounts>, CardError> {
        let bar = self.device.bar(2)?;
        let directory = self.directory(core)?;
        let given = (0..).zip(directory.namespaces);
        let mut all = Vec::new();
        for (place, nsid) in given.filter(|(_, nsid)| is_given(nsid.get())) {
            let at = stats::namespace_at(core, place);
            let mut read = NamespaceStats::new_zeroed();
            bar.read(at.into(), &mut read.as_mut_bytes()[..NAMESPACE_HEADER])?;
            if read.nsid == nsid && still(bar, at, nsid.get())? {
                all.push(NamespaceCounts {
                    place,
                    nsid: nsid.get(),
                    owner: Owner::decode(read.owner.get()),
                    ssd_nsid: read.ssd_nsid.get(),
                    errors: read.errors.get(),
                    others: read.others.get(),
                    unmaps: read.unmaps.get(),
                    units: read.units.map(|u| u.get()),
                    latency: read.latency.map(|l| l.get()),
                });
            }
        }
        Ok(all)
    }

    /// The histograms that belong to `counts` of data core `core`; `None` if its place was given to another since.
    ///
    /// # Errors
    /// [`CardError`] if packet memory cannot be reached.
    pub fn histograms(
        &self,
        core: u32,
        counts: &NamespaceCounts,
    ) -> Result<Option<Histograms>, CardError> {
        let bar = self.device.bar(2)?;
        let at = stats::namespace_at(core, counts.place);
        let mut read = NamespaceStats::new_zeroed();
        let into = &mut read.as_mut_bytes()[NAMESPACE_HEADER..];
        bar.read(u64::from(at) + NAMESPACE_HEADER as u64, into)?;
        let mut owner = [0; 8];
        bar.read(at.into(), &mut owner)?;
        let [nsid, owner] = <[zerocopy::little_endian::U32; 2]>::read_from_bytes(&owner)
            .expect("eight bytes")
            .map(|word| word.get());
        let same = nsid == counts.nsid && Owner::decode(owner).times == counts.owner.times;
        Ok(same.then(|| read.histograms.map(|h| h.map(|count| count.get()))))
    }

    /// What connections of data core `core` (1 and up) did, those gone lately included.
    ///
    /// # Errors
    /// [`CardError`] if packet memory cannot be reached.
    pub fn connection_counts(&self, core: u32) -> Result<Vec<ConnectionCounts>, CardError> {
        let bar = self.device.bar(2)?;
        let data_cores = u32::from(self.info.cores).saturating_sub(1).max(1);
        let directory = self.directory(core)?;
        let each = stats::connections_per_core(data_cores) as usize;
        let given = (0..).zip(&directory.connections[..each]);
        let mut all = Vec::new();
        for (place, key) in given.filter(|(_, key)| is_given(key.get())) {
            let at = stats::connection_at(core, data_cores, place);
            let mut read = ConnectionStats::new_zeroed();
            bar.read(at.into(), read.as_mut_bytes())?;
            if read.key == *key && still(bar, at, key.get())? {
                let queue = read.queue.get();
                let queue = (queue != NO_QUEUE).then_some((queue as u16, (queue >> 16) as u16));
                all.push(ConnectionCounts {
                    place,
                    key: key.get(),
                    queue,
                    state: ConnectionState::decode(read.state.get()),
                    errors: read.errors.get(),
                    others: read.others.get(),
                    commands: read.io.map(|[commands, _]| commands.get()),
                    units: read.io.map(|[_, units]| units.get()),
                });
            }
        }
        Ok(all)
    }

    /// Waits until no connection of a subsystem is left, and with that no command of a host's at an SSD; for `limit` at most. False if
    /// there still is one. To be asked when subsystems have been removed.
    ///
    /// # Errors
    /// [`CardError`] if packet memory cannot be reached.
    pub fn wait_for_hosts(&self, limit: Duration) -> Result<bool, CardError> {
        let clock = self.device.clock();
        let give_up = clock.now() + limit;
        loop {
            let mut open = false;
            for core in 1..u32::from(self.info.cores) {
                let all = self.connection_counts(core)?;
                open |= all
                    .iter()
                    .any(|c| c.state.open && c.state.subsystem != u8::MAX);
            }
            if !open || clock.now() >= give_up {
                return Ok(!open);
            }
            clock.sleep(GLANCE);
        }
    }

    /// Controller `cntlid`, if there is one.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn controller_held(&mut self, cntlid: u16) -> Result<Option<ControllerState>, CardError> {
        let from = [u32::from(cntlid)];
        let found = self.receive::<ControllerState>(Opcode::ControllerGet, ANY_SUBSYSTEM, &from);
        Ok(held(found)?.filter(|controller| controller.cntlid.get() == cntlid))
    }

    fn directory(&self, core: u32) -> Result<Directory, CardError> {
        let cores = u32::from(self.info.cores);
        let mut directory = Directory::new_zeroed();
        // Of a core that there is not, nobody has written one.
        if (1..cores).contains(&core) {
            let at = stats::directory_at(core).into();
            self.device.bar(2)?.read(at, directory.as_mut_bytes())?;
        }
        Ok(directory)
    }
}

/// The first word of a place is still what the directory said: nothing was read while it was given to another.
fn still(bar: &dyn Bar, at: u32, word: u32) -> Result<bool, BarError> {
    Ok(bar.read32(at.into())? == word)
}

/// Neither never given, nor what a device that is gone reads as.
const fn is_given(word: u32) -> bool {
    word != 0 && word != u32::MAX
}
