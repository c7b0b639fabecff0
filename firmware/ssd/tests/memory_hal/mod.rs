//! A card that is only packet memory and a list of rung doorbells.

use sluice_hal::{
    BufId, Busy, CoreId, DoorbellSlot, Hal, HostQueue, Mail, Micros, MoveDone, MoveJob, Phase,
    PmAddr, Rx, TxJob, layout,
};

pub struct MemoryHal {
    pub memory: Vec<u8>,
    pub rung: Vec<(DoorbellSlot, u32)>,
}

impl MemoryHal {
    pub fn new() -> Self {
        Self {
            memory: vec![0xA5; layout::PM_SIZE as usize],
            rung: Vec::new(),
        }
    }
}

impl Hal for MemoryHal {
    fn pm_read(&mut self, at: PmAddr, into: &mut [u8]) {
        let at = at.0 as usize;
        into.copy_from_slice(&self.memory[at..at + into.len()]);
    }
    fn pm_write(&mut self, at: PmAddr, from: &[u8]) {
        let at = at.0 as usize;
        self.memory[at..at + from.len()].copy_from_slice(from);
    }
    fn pm_read32(&mut self, at: PmAddr) -> u32 {
        assert_eq!(at.0 % 4, 0, "misaligned");
        let mut word = [0; 4];
        self.pm_read(at, &mut word);
        u32::from_le_bytes(word)
    }
    fn pm_write32(&mut self, at: PmAddr, value: u32) {
        assert_eq!(at.0 % 4, 0, "misaligned");
        self.pm_write(at, &value.to_le_bytes());
    }
    fn doorbell(&mut self, slot: DoorbellSlot, value: u32) {
        self.rung.push((slot, value));
    }

    fn core(&self) -> CoreId {
        CoreId(1)
    }
    fn cores(&self) -> u8 {
        2
    }
    fn now(&self) -> Micros {
        Micros(0)
    }
    fn random(&mut self) -> u32 {
        0
    }
    fn rx_next(&mut self) -> Option<Rx> {
        None
    }
    fn rx_free(&mut self, _: BufId) {}
    fn tx_post(&mut self, _: &TxJob) -> Result<(), Busy> {
        Err(Busy)
    }
    fn tx_done(&mut self) -> u32 {
        0
    }
    fn move_post(&mut self, _: &MoveJob) -> Result<(), Busy> {
        Err(Busy)
    }
    fn move_done(&mut self) -> Option<MoveDone> {
        None
    }
    fn doorbell_map(&mut self, _: DoorbellSlot, _: u64) {}
    fn mail_send(&mut self, _: CoreId, _: &Mail) -> Result<(), Busy> {
        Err(Busy)
    }
    fn mail_recv(&mut self) -> Option<Mail> {
        None
    }
    fn crc32c(&mut self, _: &[u8]) -> u32 {
        0
    }
    fn host_queue(&mut self) -> HostQueue {
        HostQueue::default()
    }
    fn irq(&mut self, _: u16) {}
    fn set_status(&mut self, _: u32) {}
    fn steer(&mut self, _: u8, _: CoreId) {}
    fn phase(&mut self, _: Phase) {}
    fn kick_watchdog(&mut self) {}
}
