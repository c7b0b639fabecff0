//! arp formats.
