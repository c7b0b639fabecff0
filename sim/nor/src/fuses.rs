//! The fuses beside the flash: they keep what was burnt when the power fails.

use sluice_boot::fuses::{FuseError, Fuses};

/// A card's fuses and straps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FuseBank {
    /// Which board this is.
    pub board: u32,
    /// The hardware's register map.
    pub map_version: u32,
    /// Root key.
    pub root_key: [u8; 32],
    /// Least security version.
    pub security_version: u32,
    /// Least key generation.
    pub key_generation: u32,
    /// The counters end here.
    pub most: u32,
}

impl FuseBank {
    /// A new card, on which nothing is burnt but the root key.
    #[must_use]
    pub const fn new(board: u32, map_version: u32, root_key: [u8; 32]) -> Self {
        Self {
            board,
            map_version,
            root_key,
            security_version: 0,
            key_generation: 0,
            most: 255,
        }
    }

    fn raise(counter: &mut u32, to: u32, most: u32) -> Result<(), FuseError> {
        if to > most {
            return Err(FuseError);
        }
        *counter = to.max(*counter);
        Ok(())
    }
}

impl Fuses for FuseBank {
    fn board(&self) -> u32 {
        self.board
    }

    fn map_version(&self) -> u32 {
        self.map_version
    }

    fn root_key(&self) -> [u8; 32] {
        self.root_key
    }

    fn security_version(&self) -> u32 {
        self.security_version
    }

    fn key_generation(&self) -> u32 {
        self.key_generation
    }

    fn raise_security_version(&mut self, to: u32) -> Result<(), FuseError> {
        Self::raise(&mut self.security_version, to, self.most)
    }

    fn raise_key_generation(&mut self, to: u32) -> Result<(), FuseError> {
        Self::raise(&mut self.key_generation, to, self.most)
    }
}
