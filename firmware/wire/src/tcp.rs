//! tcp formats.
