//! [`Hal`] over the functional card.

use sluice_hal::{
    BufId, Busy, CoreId, DoorbellSlot, Hal, HostQueue, Mail, Micros, MoveDone, MoveJob, Phase,
    PmAddr, Rx, TxJob,
};
use sluice_wire::crc32c;

use super::engines::{JOB_DEPTH, MAIL_DEPTH, Shared};
use crate::fabric::Tlp;

/// Nanoseconds of a clock.
const NANOSECONDS: u64 = 4;

/// The card as one core sees it.
pub struct FunctionalHal<'a> {
    shared: &'a mut Shared,
    core: CoreId,
}

impl<'a> FunctionalHal<'a> {
    pub fn new(shared: &'a mut Shared, core: CoreId) -> Self {
        Self { shared, core }
    }

    fn index(&self) -> usize {
        usize::from(self.core.0)
    }
}

impl Hal for FunctionalHal<'_> {
    fn core(&self) -> CoreId {
        self.core
    }

    fn cores(&self) -> u8 {
        self.shared.cores()
    }

    fn now(&self) -> Micros {
        self.shared.now()
    }

    fn clocks(&self) -> u32 {
        self.shared.clock() as u32
    }

    fn random(&mut self) -> u32 {
        self.shared.random()
    }

    fn rx_next(&mut self) -> Option<Rx> {
        let core = self.index();
        self.shared.tiles[core].rx.pop_front()
    }

    fn rx_free(&mut self, buf: BufId) {
        self.shared.free(buf);
    }

    fn pm_read(&mut self, at: PmAddr, into: &mut [u8]) {
        self.shared.count_access(self.index(), at, into.len(), true);
        self.shared.pm.read(at.0 as usize, into);
    }

    fn pm_write(&mut self, at: PmAddr, from: &[u8]) {
        self.shared
            .count_access(self.index(), at, from.len(), false);
        self.shared.pm_store(at.0 as usize, from);
    }

    fn pm_read32(&mut self, at: PmAddr) -> u32 {
        let mut word = [0; 4];
        self.pm_read(at, &mut word);
        u32::from_le_bytes(word)
    }

    fn pm_write32(&mut self, at: PmAddr, value: u32) {
        self.pm_write(at, &value.to_le_bytes());
    }

    fn tx_post(&mut self, job: &TxJob) -> Result<(), Busy> {
        let core = self.index();
        let queue = &mut self.shared.tiles[core].tx;
        if queue.len() >= JOB_DEPTH {
            return Err(Busy);
        }
        queue.push_back(*job);
        Ok(())
    }

    fn tx_done(&mut self) -> u32 {
        let core = self.index();
        self.shared.tiles[core].tx_done
    }

    fn move_post(&mut self, job: &MoveJob) -> Result<(), Busy> {
        let core = self.index();
        let queue = &mut self.shared.tiles[core].moves;
        if queue.len() >= JOB_DEPTH {
            return Err(Busy);
        }
        queue.push_back(*job);
        Ok(())
    }

    fn move_done(&mut self) -> Option<MoveDone> {
        let core = self.index();
        self.shared.tiles[core].moves_done.pop_front()
    }

    fn doorbell(&mut self, slot: DoorbellSlot, value: u32) {
        let addr = self.shared.registers.doorbell(slot.0);
        self.shared.writes.push_back(Tlp::Write {
            addr,
            data: value.to_le_bytes().to_vec(),
        });
    }

    fn doorbell_map(&mut self, slot: DoorbellSlot, bus: u64) {
        self.shared.registers.set_doorbell(slot.0, bus);
    }

    fn mail_send(&mut self, to: CoreId, mail: &Mail) -> Result<(), Busy> {
        let inbox = self.shared.tiles.get_mut(usize::from(to.0)).ok_or(Busy)?;
        if inbox.mail.len() >= MAIL_DEPTH {
            return Err(Busy);
        }
        inbox.mail.push_back(*mail);
        Ok(())
    }

    fn mail_recv(&mut self) -> Option<Mail> {
        let core = self.index();
        self.shared.tiles[core].mail.pop_front()
    }

    fn crc32c(&mut self, bytes: &[u8]) -> u32 {
        crc32c::crc32c(bytes)
    }

    fn host_queue(&mut self) -> HostQueue {
        self.shared.registers.host_queue()
    }

    fn irq(&mut self, vector: u16) {
        if let Some((addr, data)) = self.shared.registers.message(vector) {
            self.shared.writes.push_back(Tlp::Write {
                addr,
                data: data.to_le_bytes().to_vec(),
            });
        }
    }

    fn set_status(&mut self, status: u32) {
        self.shared.registers.set_status(status);
    }

    fn steer(&mut self, bucket: u8, core: CoreId) {
        self.shared.registers.set_steer(bucket, core.0);
    }

    fn flash(&mut self) -> Option<sluice_hal::flash::Storage<'_>> {
        let now = self.shared.clock() * NANOSECONDS;
        let boot = self.shared.registers.boot_report();
        let storage = &mut self.shared.storage;
        storage.chip.0.set_time(now);
        Some(sluice_hal::flash::Storage {
            flash: &mut storage.chip,
            fuses: &mut storage.fuses,
            boot,
        })
    }

    fn phase(&mut self, _phase: Phase) {}

    fn kick_watchdog(&mut self) {}
}
