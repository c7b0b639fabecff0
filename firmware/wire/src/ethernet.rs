//! ethernet formats.
