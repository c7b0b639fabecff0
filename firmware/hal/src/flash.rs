//! The card's flash chip and its fuses, as the control core reaches them.
//!
//! Object-safe, so that [`Hal::flash`](crate::Hal::flash) can have a default; `sluice-boot`'s machines see them through the traits of
//! `embedded-storage`, which `sluice-app` puts on top.

/// The chip or the fuses did not do as they should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StorageFault;

/// A serial NOR flash chip. Program and erase are started and go on by themselves; nothing else may be asked of the chip until
/// `busy` says that it is done.
pub trait FlashPort {
    /// Bytes.
    fn capacity(&self) -> u32;
    /// Reads; at most a few microseconds per 256 bytes.
    ///
    /// # Errors
    /// [`StorageFault`] if the chip does not answer, is busy, or ends before.
    fn read(&mut self, at: u32, into: &mut [u8]) -> Result<(), StorageFault>;
    /// Starts to program at most a page of 256 bytes, within one.
    ///
    /// # Errors
    /// As for `read`.
    fn program(&mut self, at: u32, from: &[u8]) -> Result<(), StorageFault>;
    /// Starts to erase the sector of 4,096 bytes at `at`, which is its first byte.
    ///
    /// # Errors
    /// As for `read`.
    fn erase(&mut self, at: u32) -> Result<(), StorageFault>;
    /// The chip still programs or erases.
    ///
    /// # Errors
    /// If it does not answer.
    fn busy(&mut self) -> Result<bool, StorageFault>;
}

/// One-time fuses and straps. Counters only go up.
pub trait FusePort {
    /// Which board this is.
    fn board(&self) -> u32;
    /// Version of the hardware's register map.
    fn map_version(&self) -> u32;
    /// Ed25519 public key that certifies signing keys.
    fn root_key(&self) -> [u8; 32];
    /// Least security version.
    fn security_version(&self) -> u32;
    /// Least generation of signing keys.
    fn key_generation(&self) -> u32;
    /// Raises the least security version.
    ///
    /// # Errors
    /// [`StorageFault`] if the counter ends before.
    fn raise_security_version(&mut self, to: u32) -> Result<(), StorageFault>;
    /// Raises the least key generation.
    ///
    /// # Errors
    /// [`StorageFault`] if the counter ends before.
    fn raise_key_generation(&mut self, to: u32) -> Result<(), StorageFault>;
}

/// What the boot program reports: `BOOT_STATUS`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BootReport {
    /// Slot that the running firmware comes from; `None`: the host loaded it.
    pub slot: Option<u8>,
    /// Why each slot was refused; 0: it was not, or was not looked at.
    pub refused: [u8; 2],
}

/// Flash, fuses and how the last start went.
pub struct Storage<'a> {
    /// The chip.
    pub flash: &'a mut dyn FlashPort,
    /// The fuses.
    pub fuses: &'a mut dyn FusePort,
    /// The last start.
    pub boot: BootReport,
}
