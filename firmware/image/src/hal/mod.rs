//! `sluice_hal::Hal` over the card's registers.

mod jobs;
mod rx;
mod storage;

use sluice_hal::roce::RoceJob;
use sluice_hal::{
    BufId, Busy, CoreId, DoorbellSlot, Hal, HostQueue, Mail, Micros, MoveDone, MoveJob, Phase,
    PmAddr, Rx, TxJob, layout,
};
use sluice_regs::{bar0_regs as card_regs, core_regs};

use crate::{
    arch, pm,
    regs::{self, Put, card, core},
    stack,
};

/// Clocks after which a core that no longer kicks its watchdog counts as hung: a second.
const WATCHDOG_CLOCKS: u32 = 250_000_000;

/// The core's view of the card. There is one per core, made at boot.
pub struct MmioHal {
    core: u8,
    cores: u8,
    /// The host queue's registers as last read: reading all of them costs some hundred clocks.
    queue: HostQueue,
    storage: storage::Storage,
}

impl MmioHal {
    /// Starts the watchdog and the events.
    #[allow(
        clippy::new_without_default,
        reason = "it writes registers: nothing to do by default"
    )]
    pub fn new() -> Self {
        let id = core().core_id.read();
        core().watchdog_period.put(WATCHDOG_CLOCKS);
        // The control core drives no SSD: completions shall not wake it.
        if id.core() != 0 {
            let mut queues = core_regs::Snoop::default();
            queues.set_first((layout::SSD_QUEUES_BASE / 4096) as u16);
            let end = layout::SSD_QUEUES_BASE + layout::SSD_QUEUES_SIZE;
            queues.set_end_page((end / 4096) as u16);
            core().snoop.put(queues);
        }
        let mut all = core_regs::EventMask::default();
        all.set_mask(0x7f);
        core().event_mask.put(all);
        Self {
            core: id.core(),
            cores: id.cores(),
            queue: read_host_queue(),
            storage: storage::Storage::new(),
        }
    }

    /// Clears the events that stay set until cleared. What happens from here on keeps [`MmioHal::sleep`] from sleeping.
    #[inline]
    pub fn take_events(&mut self) {
        let seen = core().events.read();
        core().events.put(seen);
        if seen.host() {
            self.queue = read_host_queue();
        }
        arch::fence_after_io();
    }

    /// Stops the core until an event, or for `at_most` microseconds.
    #[inline]
    pub fn sleep(&mut self, at_most: u32) {
        core().wake_at.put(regs::micros_low().wrapping_add(at_most));
        arch::wait_for_event();
    }
}

/// The registers of the host driver's queue pair.
fn read_host_queue() -> HostQueue {
    let r = card();
    HostQueue {
        enabled: r.queue_enable.read().enable(),
        sq: wide(r.sq_base_lo.read(), r.sq_base_hi.read()),
        cq: wide(r.cq_base_lo.read(), r.cq_base_hi.read()),
        entries: r.queue_entries.read().entries(),
        sq_tail: r.sq_tail.read().tail(),
        pm_bus: wide(r.pm_bus_lo.read(), r.pm_bus_hi.read()),
    }
}

#[inline(always)]
fn wide(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

impl Hal for MmioHal {
    #[inline]
    fn core(&self) -> CoreId {
        CoreId(self.core)
    }

    #[inline]
    fn cores(&self) -> u8 {
        self.cores
    }

    #[inline]
    fn now(&self) -> Micros {
        // The high word is latched by the read of the low word.
        let low = core().time_lo.read();
        Micros(wide(low, core().time_hi.read()))
    }

    #[inline]
    fn clocks(&self) -> u32 {
        core().clocks.read()
    }

    #[inline]
    fn random(&mut self) -> u32 {
        core().entropy.read()
    }

    #[inline]
    fn rx_next(&mut self) -> Option<Rx> {
        rx::next()
    }

    #[inline]
    fn rx_free(&mut self, buf: BufId) {
        let mut freed = core_regs::RxFree::default();
        freed.set_buffer(buf.0);
        core().rx_free.put(freed);
    }

    #[inline]
    fn pm_read(&mut self, at: PmAddr, into: &mut [u8]) {
        pm::read(at.0, into);
    }

    #[inline]
    fn pm_write(&mut self, at: PmAddr, from: &[u8]) {
        pm::write(at.0, from);
    }

    #[inline]
    fn pm_read32(&mut self, at: PmAddr) -> u32 {
        pm::read32(at.0)
    }

    #[inline]
    fn pm_write32(&mut self, at: PmAddr, value: u32) {
        pm::write32(at.0, value);
    }

    #[inline]
    fn tx_post(&mut self, job: &TxJob) -> Result<(), Busy> {
        jobs::post_tx(job)
    }

    #[inline]
    fn tx_post_roce(&mut self, job: &RoceJob) -> Result<(), Busy> {
        jobs::post_roce(job)
    }

    #[inline]
    fn tx_done(&mut self) -> u32 {
        core().tx_done.read()
    }

    #[inline]
    fn move_post(&mut self, job: &MoveJob) -> Result<(), Busy> {
        jobs::post_move(job)
    }

    #[inline]
    fn move_done(&mut self) -> Option<MoveDone> {
        jobs::next_move_done()
    }

    #[inline]
    fn doorbell(&mut self, slot: DoorbellSlot, value: u32) {
        arch::fence_before_io();
        regs::ring(slot.0, value);
    }

    fn doorbell_map(&mut self, slot: DoorbellSlot, bus: u64) {
        if let Some(r) = card().doorbell.slot.get(usize::from(slot.0)) {
            r.lo.put(bus as u32);
            r.hi.put((bus >> 32) as u32);
        }
    }

    fn mail_send(&mut self, to: CoreId, mail: &Mail) -> Result<(), Busy> {
        // Mail may point to packet memory that was written before, but takes another way: a load waits until the stores
        // before it have reached memory.
        pm::read32(layout::LOG_BASE);
        arch::fence_before_io();
        for (out, word) in core().mail_out.iter().zip(mail) {
            out.put(*word);
        }
        let mut send = core_regs::MailSend::default();
        send.set_to(to.0);
        core().mail_send.put(send);
        // The router answers within some twenty clocks; only then is it known whether there was room.
        loop {
            let status = core().mail_send_status.read();
            if !status.busy() {
                return if status.refused() { Err(Busy) } else { Ok(()) };
            }
        }
    }

    #[inline]
    fn mail_recv(&mut self) -> Option<Mail> {
        if !core().mail_status.read().valid() {
            return None;
        }
        arch::fence_after_io();
        let mail = ::core::array::from_fn(|i| core().mail_in[i].read());
        core().mail_pop.put(0);
        Some(mail)
    }

    #[inline]
    fn crc32c(&mut self, bytes: &[u8]) -> u32 {
        core().crc_init.put(0);
        let (words, rest) = bytes.as_chunks();
        for word in words {
            core().crc_data32.put(u32::from_le_bytes(*word));
        }
        for byte in rest {
            core().crc_data8.put(u32::from(*byte));
        }
        core().crc_result.read()
    }

    #[inline]
    fn host_queue(&mut self) -> HostQueue {
        self.queue
    }

    fn irq(&mut self, vector: u16) {
        arch::fence_before_io();
        let mut irq = card_regs::Irq::default();
        irq.set_vector(vector as u8);
        card().irq.put(irq);
    }

    fn set_status(&mut self, status: u32) {
        arch::fence_before_io();
        card().fw_status.put(status);
    }

    fn steer(&mut self, bucket: u8, to: CoreId) {
        if let Some(entry) = card().steer.entry.get(usize::from(bucket)) {
            let mut core = card_regs::SteerEntry::default();
            core.set_core(to.0);
            entry.put(core);
        }
    }

    fn flash(&mut self) -> Option<sluice_hal::flash::Storage<'_>> {
        self.storage.open()
    }

    #[inline]
    fn phase(&mut self, phase: Phase) {
        core().phase.put(core_regs::Phase(phase as u32));
    }

    #[inline]
    fn kick_watchdog(&mut self) {
        stack::check();
        core().watchdog_kick.put(0);
    }
}
