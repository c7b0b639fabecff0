//! What is needed of a flash chip, and the few lines for those who may wait.

use embedded_storage::nor_flash::NorFlash;

use crate::layout::PAGE;

/// A NOR flash chip whose program and erase may be posted: they may return before the chip is done, and then `busy` says
/// when it is. So a loop that has other things to do never waits, and one that has not calls [`wait`].
///
/// The machines of this crate call `write` and `erase` only while the chip is not busy, with at most one page that no
/// program crosses, or one sector; and read only while it is not busy.
pub trait Flash: NorFlash {
    /// The chip still programs or erases.
    ///
    /// # Errors
    /// If the chip cannot be asked.
    fn busy(&mut self) -> Result<bool, Self::Error>;
}

impl<F: Flash> Flash for &mut F {
    fn busy(&mut self) -> Result<bool, Self::Error> {
        F::busy(self)
    }
}

/// The chip did not do as it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlashError {
    /// It reported an error, or does not answer.
    Failed,
    /// What was programmed at this address reads differently: the sector is worn out.
    Worn {
        /// Where.
        at: u32,
    },
}

/// Waits until the chip is done.
///
/// # Errors
/// [`FlashError::Failed`].
pub fn wait<F: Flash>(flash: &mut F) -> Result<(), FlashError> {
    while is_busy(flash)? {
        core::hint::spin_loop();
    }
    Ok(())
}

pub(crate) fn is_busy<F: Flash>(flash: &mut F) -> Result<bool, FlashError> {
    flash.busy().map_err(|_| FlashError::Failed)
}

pub(crate) fn read<F: Flash>(flash: &mut F, at: u32, into: &mut [u8]) -> Result<(), FlashError> {
    flash.read(at, into).map_err(|_| FlashError::Failed)
}

pub(crate) fn program<F: Flash>(flash: &mut F, at: u32, from: &[u8]) -> Result<(), FlashError> {
    debug_assert!(at % PAGE + from.len() as u32 <= PAGE, "within a page");
    flash.write(at, from).map_err(|_| FlashError::Failed)
}

pub(crate) fn erase<F: Flash>(flash: &mut F, sector: u32) -> Result<(), FlashError> {
    flash
        .erase(sector, sector + crate::layout::SECTOR)
        .map_err(|_| FlashError::Failed)
}

/// Reads back what was programmed.
pub(crate) fn compare<F: Flash>(flash: &mut F, at: u32, want: &[u8]) -> Result<(), FlashError> {
    let mut got = [0; PAGE as usize];
    let got = &mut got[..want.len()];
    read(flash, at, got)?;
    if got == want {
        Ok(())
    } else {
        Err(FlashError::Worn { at })
    }
}
