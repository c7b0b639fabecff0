//! The stack's link over the HAL: transmit jobs are counted, small frames get slots, buffers wait for jobs that read them.

use heapless::Vec;
use sluice_hal::roce::RoceJob;
use sluice_hal::{
    BufId, Busy, Hal, MAX_GATHER, PmAddr, PmSlice, RawChecksum, RawJob, RxDesc, TcpJob, TxJob,
};
use sluice_net::{Config, Link};
use sluice_wire::mgmt::PortConfig;

use crate::limits;
use crate::memory::{FRAME_SLOT, FRAME_SLOTS, Share};

/// A buffer that a frame on its way out still reads.
struct Held {
    buf: BufId,
    ticket: u32,
    freed: bool,
}

/// What outlives one use of the link.
pub struct LinkState {
    posted: u32,
    frames: PmAddr,
    next_slot: u32,
    tickets: [u32; FRAME_SLOTS as usize],
    held: Vec<Held, 8>,
    /// The frame being handled; a reply may quote it.
    current: Option<BufId>,
}

impl LinkState {
    pub const fn new() -> Self {
        Self {
            posted: 0,
            frames: PmAddr(0),
            next_slot: 0,
            tickets: [0; FRAME_SLOTS as usize],
            held: Vec::new(),
            current: None,
        }
    }

    /// Where this core's frame slots lie.
    pub fn start(&mut self, frames: PmAddr) {
        self.frames = frames;
    }

    /// Jobs posted so far; memory they read is free again once `tx_done` has reached this.
    #[inline]
    pub fn posted(&self) -> u32 {
        self.posted
    }

    /// Frees buffers whose frames have left.
    pub fn reap<H: Hal>(&mut self, hal: &mut H) {
        if self.held.is_empty() {
            return;
        }
        let done = hal.tx_done();
        self.held.retain(|h| {
            let over = reached(done, h.ticket);
            if over && h.freed {
                hal.rx_free(h.buf);
            }
            !over
        });
    }
}

/// `done` has come to `ticket`, both counting modulo 2^32.
#[inline]
pub fn reached(done: u32, ticket: u32) -> bool {
    done.wrapping_sub(ticket) as i32 >= 0
}

/// Chunks a connection may have queued: three for each of its commands.
const CHUNKS_PER_CONNECTION: u16 = 3 * limits::REQUESTS_PER_CONNECTION + 8;

/// The stack's configuration for a port.
pub fn tcp_config<H: Hal>(port: &PortConfig, share: Share, hal: &mut H) -> Config {
    let mut word = || u64::from(hal.random());
    Config {
        mac: port.mac,
        ipv4: port.ipv4,
        ipv6: port.ipv6,
        mtu: port.mtu.get(),
        vlan: port.vlan.get(),
        connections: share.connections() as u16,
        templates: share.templates(),
        secret: [word() << 32 | word(), word() << 32 | word()],
        chunks_per_conn: CHUNKS_PER_CONNECTION,
        ..Config::default()
    }
}

/// The link for the time of one call into the stack.
pub struct CoreLink<'a, H> {
    pub hal: &'a mut H,
    pub state: &'a mut LinkState,
}

impl<'a, H: Hal> CoreLink<'a, H> {
    /// A link for work that no received frame caused.
    #[inline]
    pub fn new(hal: &'a mut H, state: &'a mut LinkState) -> Self {
        state.current = None;
        Self { hal, state }
    }

    /// A link for handling `rx`.
    #[inline]
    pub fn for_frame(hal: &'a mut H, state: &'a mut LinkState, rx: &RxDesc) -> Self {
        state.current = Some(rx.buf);
        Self { hal, state }
    }

    #[inline]
    fn post(&mut self, job: &TxJob) -> Result<(), Busy> {
        self.hal.tx_post(job)?;
        self.state.posted = self.state.posted.wrapping_add(1);
        Ok(())
    }

    /// Gives a buffer back, later if a frame on its way out still reads it.
    #[inline]
    fn release(&mut self, buf: BufId) {
        if let Some(held) = self.state.held.iter_mut().find(|h| h.buf == buf) {
            held.freed = true;
            return;
        }
        self.hal.rx_free(buf);
    }
}

impl<H: Hal> sluice_rdma::Link for CoreLink<'_, H> {
    fn read(&mut self, at: PmAddr, into: &mut [u8]) {
        self.hal.pm_read(at, into);
    }

    fn write(&mut self, at: PmAddr, from: &[u8]) {
        self.hal.pm_write(at, from);
    }

    #[inline]
    fn send(&mut self, job: &RoceJob) -> Result<(), Busy> {
        self.hal.tx_post_roce(job)?;
        self.state.posted = self.state.posted.wrapping_add(1);
        Ok(())
    }

    /// No frame on its way out reads a RoCE packet.
    #[inline]
    fn free(&mut self, buf: BufId) {
        self.hal.rx_free(buf);
    }

    fn random(&mut self) -> u32 {
        self.hal.random()
    }
}

impl<H: Hal> Link for CoreLink<'_, H> {
    fn read(&mut self, at: PmAddr, into: &mut [u8]) {
        self.hal.pm_read(at, into);
    }

    fn write(&mut self, at: PmAddr, from: &[u8]) {
        self.hal.pm_write(at, from);
    }

    #[inline]
    fn send(&mut self, job: &TcpJob) -> Result<(), Busy> {
        self.post(&TxJob::Tcp(*job))
    }

    fn send_raw(
        &mut self,
        header: &[u8],
        rest: PmSlice,
        l3: u8,
        l4: u8,
        sum: RawChecksum,
    ) -> Result<(), Busy> {
        let slot = self.state.next_slot as usize % FRAME_SLOTS as usize;
        let quotes = (rest.len > 0).then_some(self.state.current).flatten();
        let busy = !reached(self.hal.tx_done(), self.state.tickets[slot]);
        if busy
            || header.len() > FRAME_SLOT as usize
            || (quotes.is_some() && self.state.held.is_full())
        {
            return Err(Busy);
        }
        let at = self.state.frames.plus(slot as u32 * FRAME_SLOT);
        self.hal.pm_write(at, header);
        let mut gather = [PmSlice::default(); MAX_GATHER];
        gather[0] = PmSlice::new(at, header.len() as u32);
        gather[1] = rest;
        let gather_len = if rest.len > 0 { 2 } else { 1 };
        self.post(&TxJob::Raw(RawJob {
            l3_offset: l3,
            l4_offset: l4,
            checksum: sum,
            gather,
            gather_len,
        }))?;
        self.state.tickets[slot] = self.state.posted;
        self.state.next_slot = self.state.next_slot.wrapping_add(1);
        if let Some(buf) = quotes {
            // Room was checked above; a full list would only mean a leak of this one buffer.
            let _ = self.state.held.push(Held {
                buf,
                ticket: self.state.posted,
                freed: false,
            });
        }
        Ok(())
    }

    #[inline]
    fn free(&mut self, buf: BufId) {
        self.release(buf);
    }

    fn random(&mut self) -> u32 {
        self.hal.random()
    }
}
