//! Writes captures.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use super::{ETHERNET, MAGIC_NANOS, NANOS_PER_CLOCK};
use crate::fabric::Clock;

/// A capture being written.
pub struct Writer<W: Write> {
    out: W,
    frames: u64,
}

impl Writer<BufWriter<File>> {
    /// A new file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::new(BufWriter::new(File::create(path)?))
    }
}

impl<W: Write> Writer<W> {
    /// Begins a capture of Ethernet frames.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&MAGIC_NANOS.to_le_bytes())?;
        for half in [2u16, 4] {
            out.write_all(&half.to_le_bytes())?;
        }
        for word in [0, 0, 0x4_0000, ETHERNET] {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(Self { out, frames: 0 })
    }

    /// Adds a frame (without FCS) that passed at `at`. Frames are to be given in order of time.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write(&mut self, at: Clock, frame: &[u8]) -> io::Result<()> {
        let nanos = at * NANOS_PER_CLOCK;
        let len = frame.len() as u32;
        for word in [
            (nanos / 1_000_000_000) as u32,
            (nanos % 1_000_000_000) as u32,
            len,
            len,
        ] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.frames += 1;
        self.out.write_all(frame)
    }

    /// Frames written.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Makes everything written visible to others.
    ///
    /// # Errors
    /// Those of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
