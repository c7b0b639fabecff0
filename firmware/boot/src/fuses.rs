//! What the card knows that its flash cannot change. On a product these are one-time fuses beside the control core; a
//! counter that only goes up is enough for each.

/// The fuse did not take: the counter is at its end, or the hardware refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FuseError;

/// Fuses and straps of a card.
pub trait Fuses {
    /// Which board this is; a package says which it is for.
    fn board(&self) -> u32;
    /// Version of the register map that the hardware has.
    fn map_version(&self) -> u32;
    /// Ed25519 public key that certifies signing keys.
    fn root_key(&self) -> [u8; 32];
    /// Packages with a lower security version are refused.
    fn security_version(&self) -> u32;
    /// Signing keys of a lower generation are refused.
    fn key_generation(&self) -> u32;
    /// Raises the security version for good. Less than it is changes nothing.
    ///
    /// # Errors
    /// [`FuseError`].
    fn raise_security_version(&mut self, to: u32) -> Result<(), FuseError>;
    /// Raises the key generation for good. Less than it is changes nothing.
    ///
    /// # Errors
    /// [`FuseError`].
    fn raise_key_generation(&mut self, to: u32) -> Result<(), FuseError>;
}
