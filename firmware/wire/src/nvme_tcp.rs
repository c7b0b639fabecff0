//! nvme_tcp formats.
