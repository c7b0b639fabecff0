//! ipv4 formats.
