//! nvme formats.
