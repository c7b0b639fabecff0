//! ipv6 formats.
