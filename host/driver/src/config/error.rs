//! What is wrong with a configuration.

use super::locate::Key;

/// An error in a configuration file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}{}: {}{problem}", position(*line, *column), at(key))]
pub struct ConfigError {
    /// File name.
    pub file: String,
    /// Line, from 1; 0 if the error is not in the text.
    pub line: usize,
    /// Column in characters, from 1; 0 if the error is not in the text.
    pub column: usize,
    /// The key, such as `subsystems[0].namespaces[1].nsid`; empty if the text could not be understood so far.
    pub key: String,
    /// What is wrong with it.
    pub problem: Box<Problem>,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The text is not TOML or JSON, or does not have the form of a configuration.
    #[error("{0}")]
    Syntax(String),
    /// A value is not one of those allowed.
    #[error("{want} wanted, {got} came")]
    Value {
        /// What is allowed.
        want: String,
        /// What came.
        got: String,
    },
    /// Two things have the same name.
    #[error("{got} is used already by {by}; each needs its own")]
    Duplicate {
        /// The name.
        got: String,
        /// Key of the other.
        by: String,
    },
    /// A reference leads nowhere.
    #[error("there is no {what} named {got}; there are: {have}")]
    Unknown {
        /// Kind of thing.
        what: &'static str,
        /// What came.
        got: String,
        /// What there is.
        have: String,
    },
    /// The list is not there.
    #[error("at least one {0} is needed (or an empty list, if there is to be none yet)")]
    Missing(&'static str),
    /// There may not be so many.
    #[error("at most {max} {what} are possible, {got} came")]
    TooMany {
        /// Kind of thing.
        what: &'static str,
        /// How many may be.
        max: usize,
        /// How many came.
        got: usize,
    },
    /// Blocks that the SSD does not have.
    #[error(
        "blocks {first} to {last} wanted, but namespace {nsid} of SSD {ssd} has blocks 0 to {max}"
    )]
    BeyondEnd {
        /// First block.
        first: u64,
        /// Last block.
        last: u64,
        /// SSD.
        ssd: String,
        /// Namespace of the SSD.
        nsid: u32,
        /// Its last block.
        max: u64,
    },
    /// The same blocks twice.
    #[error("shares blocks of SSD {ssd} with {with}; two writable namespaces may not overlap")]
    Overlap {
        /// SSD.
        ssd: String,
        /// Key of the other.
        with: String,
    },
}

impl ConfigError {
    pub(super) fn new(file: &str, line: usize, column: usize, key: &Key, problem: Problem) -> Self {
        Self {
            file: file.into(),
            line,
            column,
            key: key.to_string(),
            problem: Box::new(problem),
        }
    }

    pub(super) fn unreadable(file: String, error: &std::io::Error) -> Self {
        let problem = Box::new(Problem::Unreadable(error.to_string()));
        Self {
            file,
            line: 0,
            column: 0,
            key: String::new(),
            problem,
        }
    }
}

impl Problem {
    /// `want` wanted, `got` came.
    pub(super) fn value(want: impl Into<String>, got: impl std::fmt::Debug) -> Self {
        Self::Value {
            want: want.into(),
            got: format!("{got:?}"),
        }
    }
}

fn position(line: usize, column: usize) -> String {
    if line == 0 {
        String::new()
    } else {
        format!(":{line}:{column}")
    }
}

fn at(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!("{key}: ")
    }
}
