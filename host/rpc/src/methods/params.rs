//! Parameters that methods share, and how they are written down.

use crate::method::{Kind, Param};

pub(super) const U16: Kind = Kind::Number(u16::MAX as u64);
pub(super) const U32: Kind = Kind::Number(u32::MAX as u64);
pub(super) const U64: Kind = Kind::Number(u64::MAX);

pub(super) const fn need(name: &'static str, kind: Kind, about: &'static str) -> Param {
    Param {
        name,
        kind,
        required: true,
        about,
    }
}

pub(super) const fn opt(name: &'static str, kind: Kind, about: &'static str) -> Param {
    Param {
        name,
        kind,
        required: false,
        about,
    }
}

/// What SPDK's clients send switched off.
pub(super) const fn absent(name: &'static str) -> Param {
    opt(name, Kind::Absent, "Not there")
}

pub(super) const NQN: Param = need("nqn", Kind::Text, "NQN of the subsystem");
pub(super) const TARGET: Param = opt(
    "tgt_name",
    Kind::Text,
    "Name of the target; there is one, `nvmf_tgt`",
);
pub(super) const NAME: Param = opt("name", Kind::Text, "This one only");

pub(super) const ADDRESS: &[Param] = &[
    need("trtype", Kind::Text, "`TCP` or `RDMA`"),
    opt("adrfam", Kind::Text, "`IPv4` (taken if left out) or `IPv6`"),
    need(
        "traddr",
        Kind::Text,
        "IP address of one of the card's ports",
    ),
    opt(
        "trsvcid",
        Kind::Text,
        "Port number; that of the card's port if left out",
    ),
];

pub(super) const NAMESPACE: &[Param] = &[
    need(
        "bdev_name",
        Kind::Text,
        "Block device, such as `ssd0n1`: namespace 1 of SSD `ssd0`",
    ),
    opt(
        "nsid",
        Kind::Number(1024),
        "NSID towards hosts; the lowest free one if left out or 0",
    ),
    opt("nguid", Kind::Text, "NGUID, 32 hexadecimal digits"),
    opt("eui64", Kind::Text, "EUI-64, 16 hexadecimal digits"),
    opt("uuid", Kind::Text, "UUID"),
    opt("anagrpid", Kind::Number(65_535), "ANA group"),
    opt(
        "first_block",
        Kind::Number(i64::MAX as u64),
        "First block on the SSD (not in SPDK)",
    ),
    opt(
        "num_blocks",
        Kind::Number(i64::MAX as u64),
        "Blocks; all from the first on if left out (not in SPDK)",
    ),
    opt("read_only", Kind::Bool, "Refuse writes (not in SPDK)"),
    absent("no_auto_visible"),
    absent("hide_metadata"),
];

pub(super) const PORT: &[Param] = &[
    need("name", Kind::Text, "Name; a new one adds a port"),
    need("mac", Kind::Text, "MAC address"),
    opt(
        "ipv4",
        Kind::Text,
        "IPv4 address and prefix length, such as 192.0.2.10/24",
    ),
    opt("ipv4_gateway", Kind::Text, "IPv4 gateway"),
    opt("ipv6", Kind::Text, "IPv6 address and prefix length"),
    opt("mtu", U16, "Largest IP packet in bytes; 1500 if left out"),
    opt("vlan", U16, "VLAN; none if left out"),
    opt("io_port", U16, "TCP port of subsystems; 4420 if left out"),
    opt(
        "discovery_port",
        U16,
        "TCP port of discovery; 8009 if left out",
    ),
    opt(
        "rdma_port",
        U16,
        "Port of NVMe/RDMA; 4420 if left out, 0 for none",
    ),
];

/// What SPDK has for tuning its buffers and threads. The card's are what they are.
pub(super) const TUNING: &str =
    "Taken and without effect: the card's limits are fixed, nvmf_get_transports has them";

pub(super) const TRANSPORT: &[Param] = &[
    need("trtype", Kind::Text, "`TCP` or `RDMA`"),
    TARGET,
    opt("max_queue_depth", U16, TUNING),
    opt("max_io_qpairs_per_ctrlr", U16, TUNING),
    opt("in_capsule_data_size", U32, TUNING),
    opt("max_io_size", U32, TUNING),
    opt("io_unit_size", U32, TUNING),
    opt("max_aq_depth", U32, TUNING),
    opt("num_shared_buffers", U32, TUNING),
    opt("buf_cache_size", U32, TUNING),
    opt("iobuf_small_cache_size", U32, TUNING),
    opt("iobuf_large_cache_size", U32, TUNING),
    opt("zcopy", Kind::Bool, TUNING),
    opt("abort_timeout_sec", U32, TUNING),
    opt("acceptor_poll_rate", U32, TUNING),
    opt("num_cqe", U32, TUNING),
    opt("max_srq_depth", U32, TUNING),
    opt("no_srq", Kind::Bool, TUNING),
    opt("acceptor_backlog", U32, TUNING),
    opt("no_wr_batching", Kind::Bool, TUNING),
    opt("c2h_success", Kind::Bool, TUNING),
    opt("sock_priority", U32, TUNING),
    opt("control_msg_num", U32, TUNING),
    absent("dif_insert_or_strip"),
    absent("disable_mappable_bar0"),
    absent("disable_adaptive_irq"),
    absent("disable_shadow_doorbells"),
    absent("disable_command_passthru"),
];
