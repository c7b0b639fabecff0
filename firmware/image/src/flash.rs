//! The serial flash behind the card's controller, the fuses, and what the boot program does to the card (docs/card.md, section 7).

use sluice_boot::fuses::{FuseError, Fuses};
use sluice_boot::spi::{Commands, SpiNor};
use sluice_boot::{ImageKind, check::Sink};
use sluice_regs::bar0_regs::{BootStatus, Ctrl, FlashTransfer, FuseBurn, LoadAddr};

use crate::arch;
use crate::regs::{Put, card};

/// Bytes of the controller's buffer.
const BUFFER: usize = 256;
/// Reads of the status until a transfer counts as stuck: the longest takes 2 us at the default clock, a read 7 clocks.
const PATIENCE: u32 = 100_000;

/// The controller did not finish a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stuck;

/// The card's flash controller. It is core 0's while firmware runs.
pub struct Controller;

/// The chip behind it.
pub type Chip = SpiNor<Controller>;

impl Controller {
    fn transfer(&mut self, transfer: FlashTransfer) -> Result<(), Stuck> {
        let regs = card();
        regs.flash_transfer.put(transfer);
        for _ in 0..PATIENCE {
            if !regs.flash_status.read().busy() {
                arch::fence_after_io();
                return Ok(());
            }
        }
        Err(Stuck)
    }

    /// Opcode, address and dummy bytes; the chip stays selected if data follow.
    fn head(
        &mut self,
        opcode: u8,
        address: Option<u32>,
        dummies: u8,
        more: bool,
    ) -> Result<(), Stuck> {
        let mut head = [0; 8];
        head[0] = opcode;
        let mut len = 1;
        if let Some(address) = address {
            head[1..4].copy_from_slice(&address.to_be_bytes()[1..]);
            len = 4;
        }
        len += usize::from(dummies.min(4));
        fill(&head);
        let mut transfer = FlashTransfer::default();
        transfer.set_count(len as u16);
        transfer.set_send(true);
        transfer.set_hold(more);
        self.transfer(transfer)
    }
}

/// Puts bytes into the buffer; their number is a multiple of 4, or they are the last.
fn fill(bytes: &[u8]) {
    for (word, bytes) in card().flash_buffer.word.iter().zip(bytes.chunks(4)) {
        let mut padded = [0; 4];
        padded[..bytes.len()].copy_from_slice(bytes);
        word.put(u32::from_le_bytes(padded));
    }
}

impl Commands for Controller {
    type Error = Stuck;
    const QUAD: bool = true;

    fn read(
        &mut self,
        opcode: u8,
        address: Option<u32>,
        dummies: u8,
        quad: bool,
        data: &mut [u8],
    ) -> Result<(), Stuck> {
        self.head(opcode, address, dummies, !data.is_empty())?;
        let mut left = data.len();
        for piece in data.chunks_mut(BUFFER) {
            left -= piece.len();
            let mut transfer = FlashTransfer::default();
            transfer.set_count(piece.len() as u16);
            transfer.set_receive(true);
            transfer.set_quad(quad);
            transfer.set_hold(left > 0);
            self.transfer(transfer)?;
            let mut words = card().flash_buffer.word.iter();
            let mut whole = piece.chunks_exact_mut(4);
            for (bytes, word) in whole.by_ref().zip(words.by_ref()) {
                bytes.copy_from_slice(&word.read().to_le_bytes());
            }
            let rest = whole.into_remainder();
            if let (false, Some(word)) = (rest.is_empty(), words.next()) {
                rest.copy_from_slice(&word.read().to_le_bytes()[..rest.len()]);
            }
        }
        Ok(())
    }

    fn write(&mut self, opcode: u8, address: Option<u32>, data: &[u8]) -> Result<(), Stuck> {
        self.head(opcode, address, 0, !data.is_empty())?;
        let mut left = data.len();
        for piece in data.chunks(BUFFER) {
            left -= piece.len();
            fill(piece);
            let mut transfer = FlashTransfer::default();
            transfer.set_count(piece.len() as u16);
            transfer.set_send(true);
            transfer.set_hold(left > 0);
            self.transfer(transfer)?;
        }
        Ok(())
    }
}

/// Fuses and straps.
pub struct CardFuses;

impl CardFuses {
    /// Burns until `now` says that `to` is reached; each pulse raises a counter by one.
    fn raise(to: u32, now: impl Fn() -> u32, pulse: FuseBurn) -> Result<(), FuseError> {
        // The counters have 8 bits.
        for _ in 0..256 {
            if now() >= to {
                return Ok(());
            }
            card().fuse_burn.put(pulse);
        }
        Err(FuseError)
    }
}

impl Fuses for CardFuses {
    fn board(&self) -> u32 {
        card().board.read()
    }

    fn map_version(&self) -> u32 {
        card().map_version.read()
    }

    fn root_key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(4).zip(&card().root_key.word) {
            bytes.copy_from_slice(&word.read().to_le_bytes());
        }
        key
    }

    fn security_version(&self) -> u32 {
        card().fuses.read().security_version().into()
    }

    fn key_generation(&self) -> u32 {
        card().fuses.read().key_generation().into()
    }

    fn raise_security_version(&mut self, to: u32) -> Result<(), FuseError> {
        let mut pulse = FuseBurn::default();
        pulse.set_security_version(true);
        Self::raise(to, || self.security_version(), pulse)
    }

    fn raise_key_generation(&mut self, to: u32) -> Result<(), FuseError> {
        let mut pulse = FuseBurn::default();
        pulse.set_key_generation(true);
        Self::raise(to, || self.key_generation(), pulse)
    }
}

/// What the last start reported.
#[must_use]
pub fn boot_status() -> BootStatus {
    card().boot_status.read()
}

/// Puts images into the cores that run them: the control core's into this core's own memory, the others' through the loader.
pub struct Loader {
    /// Where the loader's address register stands.
    next: Option<u32>,
}

impl Loader {
    /// Nothing loaded yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: None }
    }
}

impl Default for Loader {
    fn default() -> Self {
        Self::new()
    }
}

impl Sink for Loader {
    fn put(&mut self, image: ImageKind, at: u32, bytes: &[u8]) {
        match image {
            ImageKind::Control => crate::own_memory::store(at, bytes),
            ImageKind::Data => {
                if self.next != Some(at) {
                    card().load_cores.put(!1);
                    let mut address = LoadAddr::default();
                    address.set_address(at);
                    card().load_addr.put(address);
                }
                // Places and lengths are whole words.
                for word in bytes.chunks_exact(4) {
                    card()
                        .load_data
                        .put(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
                }
                self.next = Some(at + bytes.len() as u32);
            }
        }
    }
}

/// Ends the boot program: reports, and starts all cores, or holds them for the host to load. Does not come back.
pub fn end_boot(status: BootStatus, run: bool) -> ! {
    let regs = card();
    arch::fence_before_io();
    regs.boot_status.put(status);
    let mut control = Ctrl::default();
    control.set_reboot(regs.ctrl.read().reboot());
    control.set_run(run);
    regs.ctrl.put(control);
    arch::halt()
}

/// The boot program has failed.
pub fn give_up() -> ! {
    let mut status = BootStatus::default();
    status.set_source(3);
    end_boot(status, false)
}
