//! checksum formats.
