//! The configuration: one TOML or JSON file, read and checked before anything is touched.
//!
//! [`Config::parse`] checks what the file alone can tell: types, names, formats, numbers, references. What depends on
//! the SSDs (do the blocks exist, do ranges overlap) is checked by [`Config::place`] once they have been asked.
//! Every error names file, line, column and key, and says what is allowed and what came.

mod address;
mod edit;
mod error;
mod locate;
mod model;
mod names;
mod place;
pub mod raw;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use error::{ConfigError, Problem};
pub use model::{Config, Listener, Namespace, Port, SsdSpec, Subsystem};
pub use place::Placed;

use locate::Key;

/// Syntax of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// TOML 1.0.
    Toml,
    /// JSON (RFC 8259).
    Json,
}

/// A configuration with the text it came from, which errors found later point into.
#[derive(Clone, Debug)]
pub struct Source {
    /// What the file is called in messages.
    pub file: String,
    /// Its syntax.
    pub format: Format,
    /// Its content.
    pub text: String,
}

impl Source {
    /// Reads a file; JSON if its name ends in `.json`, else TOML.
    ///
    /// # Errors
    /// [`ConfigError`] if it cannot be read.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let json = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("json"));
        let format = if json { Format::Json } else { Format::Toml };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self { file, format, text }),
            Err(e) => Err(ConfigError::unreadable(file, &e)),
        }
    }

    /// The error for a problem with `key`.
    fn error(&self, key: &Key, problem: Problem) -> ConfigError {
        let (line, column) = locate::locate(self.format, &self.text, key);
        ConfigError::new(&self.file, line, column, key, problem)
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`], the first that was found.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(Source::read(path)?)
    }

    /// Checks a configuration.
    ///
    /// # Errors
    /// [`ConfigError`], the first that was found.
    pub fn parse(source: Source) -> Result<Self, ConfigError> {
        let raw = raw::parse(&source)?;
        let checked = model::check(raw);
        checked
            .map_err(|(key, problem)| source.error(&key, problem))
            .map(|parts| {
                let (ports, ssds, subsystems) = parts;
                Self {
                    ports,
                    ssds,
                    subsystems,
                    source,
                }
            })
    }
}
