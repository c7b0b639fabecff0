//! icmp formats.
