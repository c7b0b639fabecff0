//! The state file: what was configured, so that it is there again after a restart. One file, replaced as a whole: written
//! beside it, made durable, renamed over it, the rename made durable. Whatever happens in between, one of the two is there.

mod disk;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sluice_driver::config::{Config, ConfigError, raw};

pub use disk::{Disk, Files};

/// Version of the format that this program writes and reads.
pub const VERSION: u32 = 1;
/// Files beyond this are no state of ours.
const MAX: u64 = 16 << 20;

/// What is kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Ports, SSDs, subsystems; in a file of ports and SSDs there may be none.
    pub config: raw::File,
    /// Transports that listeners may use.
    #[serde(default)]
    pub transports: Vec<String>,
}

/// Goes before the state, in a line of its own.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    /// Counts saves.
    generation: u64,
    /// Bytes of the state.
    bytes: usize,
    crc32c: u32,
}

const FORMAT: &str = "sluice-state";
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// A state file that cannot be used, or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system said no.
    #[error("state file {}: {doing}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// At what.
        doing: &'static str,
        /// Why.
        error: std::io::Error,
    },
    /// It is something else.
    #[error("state file {}: this is no state of sluiced ({reason}); move it away to begin with an empty configuration", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// It is of another version.
    #[error("state file {}: version {VERSION} wanted, it has {got}; use the sluiced that wrote it, or move it away to begin anew", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        got: u32,
    },
    /// It was damaged.
    #[error("state file {}: damaged: {reason}; restore it from a backup, or move it away to begin anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it shows.
        reason: String,
    },
    /// It is whole, and what it says does not hold together.
    #[error("state file {}: {error}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: Box<ConfigError>,
    },
}

/// The state file of a running daemon.
#[derive(Debug)]
pub struct Store<D: Disk = Files> {
    disk: D,
    path: PathBuf,
    generation: u64,
    /// Room for the next save is set aside.
    reserved: bool,
}

impl Store<Files> {
    /// The state file at `path`, and what it says; `None` if there is no such file.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(path: &Path) -> Result<(Self, Option<State>), StateError> {
        Self::on(Files::new(path), path)
    }
}

impl<D: Disk> Store<D> {
    /// The same on any disk.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn on(disk: D, path: &Path) -> Result<(Self, Option<State>), StateError> {
        let mut store = Self {
            disk,
            path: path.into(),
            generation: 0,
            reserved: false,
        };
        let bytes = store.disk.read(MAX);
        let bytes = bytes.map_err(|error| store.io("reading it", error))?;
        let Some(bytes) = bytes else {
            return Ok((store, None));
        };
        let (generation, state) = parse(path, &bytes)?;
        store.generation = generation;
        Ok((store, Some(state)))
    }

    /// Sets room aside for the next save, so that a full disk is known before anything is changed.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn prepare(&mut self, now: &State) -> Result<(), StateError> {
        if !self.reserved {
            // One change adds no more than a subsystem with all that a request can name.
            let bytes = text(now, 0).len() as u64 + (512 << 10);
            let done = self.disk.reserve(bytes);
            done.map_err(|error| self.io("setting room aside for it", error))?;
            self.reserved = true;
        }
        Ok(())
    }

    /// Replaces the file; when this returns `Ok` the new state is what a restart finds.
    ///
    /// # Errors
    /// [`StateError::Io`]; a restart then finds the old state or the new one.
    pub fn save(&mut self, state: &State) -> Result<(), StateError> {
        let bytes = text(state, self.generation + 1);
        self.reserved = false;
        self.disk
            .write(&bytes)
            .map_err(|error| self.io("writing the new one", error))?;
        self.disk
            .sync()
            .map_err(|error| self.io("making the new one durable", error))?;
        self.disk
            .replace()
            .map_err(|error| self.io("renaming the new one", error))?;
        self.disk
            .sync_folder()
            .map_err(|error| self.io("making the renaming durable", error))?;
        self.generation += 1;
        log::debug!(
            "{}: generation {} saved",
            self.path.display(),
            self.generation
        );
        Ok(())
    }

    /// Saves so far, over all lives of the file.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn io(&self, doing: &'static str, error: std::io::Error) -> StateError {
        StateError::Io {
            path: self.path.clone(),
            doing,
            error,
        }
    }
}

fn text(state: &State, generation: u64) -> Vec<u8> {
    let body = serde_json::to_string_pretty(state).expect("strings, numbers and lists only");
    let header = Header {
        format: FORMAT.into(),
        version: VERSION,
        generation,
        bytes: body.len(),
        crc32c: CRC.checksum(body.as_bytes()),
    };
    let header = serde_json::to_string(&header).expect("strings and numbers only");
    format!("{header}\n{body}").into_bytes()
}

fn parse(path: &Path, bytes: &[u8]) -> Result<(u64, State), StateError> {
    let foreign = |reason: String| StateError::Foreign {
        path: path.into(),
        reason,
    };
    let damaged = |reason: String| StateError::Damaged {
        path: path.into(),
        reason,
    };
    let end = bytes.iter().position(|b| *b == b'\n');
    let end = end.ok_or_else(|| foreign("it has no first line".into()))?;
    let (header, body) = (&bytes[..end], &bytes[end + 1..]);
    let header: Header =
        serde_json::from_slice(header).map_err(|e| foreign(format!("first line: {e}")))?;
    if header.format != FORMAT {
        return Err(foreign(format!(
            "format {FORMAT:?} wanted, it says {:?}",
            header.format
        )));
    }
    if header.version != VERSION {
        return Err(StateError::Version {
            path: path.into(),
            got: header.version,
        });
    }
    if body.len() != header.bytes {
        return Err(damaged(format!(
            "{} bytes wanted, it has {}",
            header.bytes,
            body.len()
        )));
    }
    let sum = CRC.checksum(body);
    if sum != header.crc32c {
        return Err(damaged(format!(
            "CRC32C {:#010x} wanted, it has {sum:#010x}",
            header.crc32c
        )));
    }
    let state: State = serde_json::from_slice(body).map_err(|e| damaged(e.to_string()))?;
    Config::from_raw(&state.config, "configuration").map_err(|error| StateError::Config {
        path: path.into(),
        error: Box::new(error),
    })?;
    Ok((header.generation, state))
}
