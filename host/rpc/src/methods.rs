//! Every method there is. The daemon dispatches by this table, and `sluicectl` makes its subcommands from it.

use crate::method::{Kind, Method, Param, Spdk};

const U16: Kind = Kind::Number(u16::MAX as u64);
const U32: Kind = Kind::Number(u32::MAX as u64);
const U64: Kind = Kind::Number(u64::MAX);

const fn need(name: &'static str, kind: Kind, about: &'static str) -> Param {
    Param {
        name,
        kind,
        required: true,
        about,
    }
}

const fn opt(name: &'static str, kind: Kind, about: &'static str) -> Param {
    Param {
        name,
        kind,
        required: false,
        about,
    }
}

/// What SPDK's clients send switched off.
const fn absent(name: &'static str) -> Param {
    opt(name, Kind::Absent, "Not there")
}

const NQN: Param = need("nqn", Kind::Text, "NQN of the subsystem");
const TARGET: Param = opt(
    "tgt_name",
    Kind::Text,
    "Name of the target; there is one, `nvmf_tgt`",
);
const NAME: Param = opt("name", Kind::Text, "This one only");

const ADDRESS: &[Param] = &[
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

const NAMESPACE: &[Param] = &[
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

const PORT: &[Param] = &[
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
const TUNING: &str =
    "Taken and without effect: the card's limits are fixed, nvmf_get_transports has them";

const TRANSPORT: &[Param] = &[
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

const SAME: Spdk = Spdk::Same;
const OWN: Spdk = Spdk::Own;

const fn method(
    name: &'static str,
    spdk: Spdk,
    about: &'static str,
    gives: &'static str,
    params: &'static [Param],
) -> Method {
    Method {
        name,
        about,
        params,
        gives,
        spdk,
    }
}

/// The table, in the order of the documentation.
pub const METHODS: &[Method] = &[
    method(
        "rpc_get_methods",
        SAME,
        "Lists the methods.",
        "a list of names",
        &[
            opt(
                "current",
                Kind::Bool,
                "Those that can be called now: all of them",
            ),
            opt("include_aliases", Kind::Bool, "There are no aliases"),
        ],
    ),
    method(
        "spdk_get_version",
        Spdk::Differs("gives the daemon's own version"),
        "Says which version this is.",
        "version and its parts",
        &[],
    ),
    method(
        "framework_wait_init",
        SAME,
        "Returns at once: there are no calls before the daemon is ready.",
        "true",
        &[],
    ),
    method(
        "framework_get_subsystems",
        Spdk::Differs("lists bdev and nvmf only"),
        "Lists the parts whose configuration can be asked for.",
        "a list of names with what they depend on",
        &[],
    ),
    method(
        "framework_get_config",
        Spdk::Differs("the methods listed include sluice_set_port"),
        "Gives the methods and parameters that set a part up as it is.",
        "a list of calls",
        &[need("name", Kind::Text, "`bdev` or `nvmf`")],
    ),
    method(
        "log_get_flags",
        Spdk::Differs("flags name parts of this daemon"),
        "Lists the parts that can log debug messages.",
        "an object of names and booleans",
        &[],
    ),
    method(
        "log_set_flag",
        SAME,
        "Lets a part log debug messages.",
        "true",
        &[need(
            "flag",
            Kind::Text,
            "A name that log_get_flags lists, or `all`",
        )],
    ),
    method(
        "log_clear_flag",
        SAME,
        "Stops a part's debug messages.",
        "true",
        &[need(
            "flag",
            Kind::Text,
            "A name that log_get_flags lists, or `all`",
        )],
    ),
    method(
        "log_get_level",
        SAME,
        "Says from which level on the daemon logs.",
        "the level",
        &[],
    ),
    method(
        "log_set_level",
        SAME,
        "Sets from which level on the daemon logs.",
        "true",
        &[need(
            "level",
            Kind::Text,
            "`ERROR`, `WARNING`, `NOTICE`, `INFO` or `DEBUG`",
        )],
    ),
    method(
        "notify_get_types",
        Spdk::Differs("has types of its own beside SPDK's"),
        "Lists kinds of notifications.",
        "a list of names",
        &[],
    ),
    method(
        "notify_get_notifications",
        SAME,
        "Gives what happened, oldest first; the last 1,000 are kept.",
        "a list of type, ctx and id",
        &[
            opt("id", U64, "From this number on; 0 if left out"),
            opt("max", U64, "So many at most"),
        ],
    ),
    method(
        "nvmf_create_transport",
        Spdk::Differs("the card's limits are fixed: tuning has no effect"),
        "Allows listeners of a transport.",
        "true",
        TRANSPORT,
    ),
    method(
        "nvmf_get_transports",
        Spdk::Differs("the limits are the card's"),
        "Lists transports.",
        "a list of transports",
        &[opt("trtype", Kind::Text, "This one only"), TARGET],
    ),
    method(
        "nvmf_create_subsystem",
        Spdk::Differs(
            "the serial number is made from the NQN if left out; cntlid ranges other than 1 to 0xffef are refused; max_namespaces is not enforced; ANA is always reported",
        ),
        "Adds a subsystem, without hosts, namespaces and listeners.",
        "true",
        &[
            NQN,
            opt(
                "serial_number",
                Kind::Text,
                "Serial number, 1 to 20 ASCII characters",
            ),
            opt(
                "model_number",
                Kind::Text,
                "Model number, 1 to 40 ASCII characters; `Sluice` if left out",
            ),
            opt("allow_any_host", Kind::Bool, "Every host may connect"),
            opt(
                "max_namespaces",
                U32,
                "Taken; the card has room for as many as sluice_get_card says",
            ),
            opt(
                "ana_reporting",
                Kind::Bool,
                "Taken; the card always reports ANA",
            ),
            opt("min_cntlid", U16, "1"),
            opt("max_cntlid", U16, "65519"),
            TARGET,
            absent("passthrough"),
            absent("enable_nssr"),
        ],
    ),
    method(
        "nvmf_delete_subsystem",
        SAME,
        "Removes a subsystem; its associations end.",
        "true",
        &[NQN, TARGET],
    ),
    method(
        "nvmf_subsystem_add_ns",
        Spdk::Differs(
            "has first_block, num_blocks and read_only besides; no ptpl_file, since there are no reservations",
        ),
        "Adds a namespace to a subsystem; hosts are told.",
        "the NSID",
        &[
            NQN,
            need("namespace", Kind::Object(NAMESPACE), "The namespace"),
            TARGET,
        ],
    ),
    method(
        "nvmf_subsystem_remove_ns",
        SAME,
        "Removes a namespace; hosts are told.",
        "true",
        &[NQN, need("nsid", U32, "NSID"), TARGET],
    ),
    method(
        "nvmf_subsystem_add_listener",
        Spdk::Differs(
            "the address must be that of a port of the card; its other address comes with it",
        ),
        "Makes a subsystem reachable at a port of the card over a transport.",
        "true",
        &[
            NQN,
            need("listen_address", Kind::Object(ADDRESS), "Where"),
            TARGET,
            absent("secure_channel"),
        ],
    ),
    method(
        "nvmf_subsystem_remove_listener",
        Spdk::Differs("goes for both addresses of the port"),
        "Withdraws it; associations stay.",
        "true",
        &[
            NQN,
            need("listen_address", Kind::Object(ADDRESS), "Where"),
            TARGET,
        ],
    ),
    method(
        "nvmf_subsystem_get_listeners",
        Spdk::Differs("without ana_states"),
        "Lists where a subsystem is reachable.",
        "a list of addresses",
        &[NQN, TARGET],
    ),
    method(
        "nvmf_subsystem_add_host",
        Spdk::Differs("without keys: the firmware has no authentication"),
        "Allows a host to connect.",
        "true",
        &[NQN, need("host", Kind::Text, "NQN of the host"), TARGET],
    ),
    method(
        "nvmf_subsystem_remove_host",
        Spdk::Differs("its associations end at once"),
        "Withdraws a host.",
        "true",
        &[NQN, need("host", Kind::Text, "NQN of the host"), TARGET],
    ),
    method(
        "nvmf_subsystem_allow_any_host",
        SAME,
        "Allows every host, or those listed only.",
        "true",
        &[NQN, need("allow_any_host", Kind::Bool, "Whether"), TARGET],
    ),
    method(
        "nvmf_get_subsystems",
        Spdk::Differs("namespaces that are part of an SSD's say which part"),
        "Lists subsystems, the discovery subsystem first.",
        "a list of subsystems",
        &[opt("nqn", Kind::Text, "This one only"), TARGET],
    ),
    method(
        "nvmf_get_stats",
        Spdk::Differs("a poll group is a data core; some counters are not told apart"),
        "Gives what every data core has counted.",
        "a list of poll groups",
        &[TARGET],
    ),
    method(
        "nvmf_discovery_get_referrals",
        Spdk::Differs("always empty: the firmware has no referrals"),
        "Lists referrals.",
        "an empty list",
        &[TARGET],
    ),
    method(
        "bdev_nvme_attach_controller",
        Spdk::Differs(
            "local SSDs only (trtype PCIe, or VFIOUSER with a socket); has timeout_ms besides",
        ),
        "Gives an SSD to the card.",
        "a list of names of its block devices",
        &[
            need("name", Kind::Text, "What to call it"),
            need("trtype", Kind::Text, "`PCIe` or `VFIOUSER`"),
            need(
                "traddr",
                Kind::Text,
                "PCI address such as 0000:01:00.0, or path of the socket",
            ),
            opt(
                "timeout_ms",
                Kind::Number(600_000),
                "Give up on a command after this many milliseconds; 30,000 if left out",
            ),
            absent("prchk_reftag"),
            absent("prchk_guard"),
            absent("hdgst"),
            absent("ddgst"),
            absent("allow_unrecognized_csi"),
            absent("multipath_opts"),
        ],
    ),
    method(
        "bdev_nvme_detach_controller",
        Spdk::Differs("refused while a namespace lies on it"),
        "Takes an SSD from the card in order.",
        "true",
        &[need("name", Kind::Text, "SSD")],
    ),
    method(
        "bdev_nvme_get_controllers",
        SAME,
        "Lists SSDs.",
        "a list of controllers",
        &[NAME],
    ),
    method(
        "bdev_nvme_get_controller_health_info",
        SAME,
        "Reads an SSD's health log.",
        "the SMART log",
        &[need("name", Kind::Text, "SSD")],
    ),
    method(
        "bdev_get_bdevs",
        Spdk::Differs("driver_specific has less"),
        "Lists the SSDs' namespaces.",
        "a list of block devices",
        &[
            NAME,
            opt(
                "timeout",
                U64,
                "Milliseconds to wait for the one named: not done, 0 only",
            ),
        ],
    ),
    method(
        "bdev_get_iostat",
        Spdk::Differs(
            "ticks are card clocks; least and most latencies are bounds of buckets; unmapped bytes and latencies of other \
             commands than reads and writes are not counted (0); what namespaces of the card did on it, no more",
        ),
        "Gives what was read and written, and how long it took, by block device.",
        "an object with a list of block devices",
        &[
            NAME,
            opt(
                "per_channel",
                Kind::Bool,
                "By channel: not done, false only",
            ),
        ],
    ),
    method(
        "sluice_get_status",
        OWN,
        "Gives the state of daemon, card and SSDs.",
        "an object",
        &[],
    ),
    method(
        "sluice_get_card",
        OWN,
        "Says what the card is and what it has room for.",
        "an object",
        &[],
    ),
    method(
        "sluice_get_counters",
        OWN,
        "Gives every counter of card, cores and engines.",
        "an object",
        &[],
    ),
    method(
        "sluice_get_registers",
        OWN,
        "Reads the card's registers.",
        "a list of registers with fields",
        &[],
    ),
    method(
        "sluice_read_log",
        OWN,
        "Gives what the cores have logged, decoded.",
        "lines from a number on, and the next number",
        &[
            opt("from", U64, "From this line on; 0 for all that is kept"),
            opt(
                "max",
                Kind::Number(10_000),
                "So many at most; 1,000 if left out",
            ),
        ],
    ),
    method(
        "sluice_get_ports",
        OWN,
        "Lists the card's ports.",
        "a list of ports",
        &[],
    ),
    method(
        "sluice_set_port",
        OWN,
        "Gives a port of the card its addresses.",
        "true",
        PORT,
    ),
    method(
        "sluice_get_health",
        OWN,
        "Says whether card and SSDs are well, and why not.",
        "an object",
        &[],
    ),
    method(
        "sluice_self_test",
        OWN,
        "Checks card, SSDs and state without disturbing hosts.",
        "a list of checks",
        &[],
    ),
    method(
        "sluice_reopen_ssd",
        OWN,
        "Brings a lost SSD back, after it was put in again.",
        "true",
        &[need("name", Kind::Text, "SSD")],
    ),
    method(
        "sluice_export_nvmet",
        OWN,
        "Gives the configuration in the form of nvmetcli.",
        "nvmetcli's JSON",
        &[],
    ),
    method(
        "sluice_import_nvmet",
        OWN,
        "Adds the subsystems of an nvmetcli configuration.",
        "what was added, and what was left out",
        &[
            need("config", Kind::Json, "nvmetcli's JSON"),
            opt(
                "devices",
                Kind::Json,
                "An object: path of a block device there, name of the block device here",
            ),
        ],
    ),
];

/// The method of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|m| m.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_unique_and_say_whose_they_are() {
        let mut seen = HashSet::new();
        for m in METHODS {
            assert!(seen.insert(m.name), "{} twice", m.name);
            assert_eq!(
                m.name.starts_with("sluice_"),
                m.spdk == Spdk::Own,
                "{}",
                m.name
            );
        }
    }

    /// The parameters that SPDK's `rpc.py` sends when no more is asked for (python/spdk/cli, version 26.01).
    #[test]
    fn what_spdks_own_client_sends_switched_off_is_taken_and_switched_on_refused() {
        for (method, params) in [
            (
                "nvmf_create_transport",
                json!({"trtype": "TCP", "zcopy": false, "no_srq": false, "c2h_success": true, "dif_insert_or_strip": false,
                    "no_wr_batching": false, "disable_mappable_bar0": false, "disable_adaptive_irq": false,
                    "disable_shadow_doorbells": false, "disable_command_passthru": false}),
            ),
            (
                "nvmf_create_subsystem",
                json!({"nqn": "nqn.2026-01.x:a", "allow_any_host": false, "ana_reporting": false, "passthrough": false,
                    "enable_nssr": false}),
            ),
            (
                "nvmf_subsystem_add_listener",
                json!({"nqn": "nqn.2026-01.x:a", "secure_channel": false,
                    "listen_address": {"trtype": "tcp", "traddr": "192.0.2.1", "trsvcid": "4420"}}),
            ),
            (
                "nvmf_subsystem_add_ns",
                json!({"nqn": "nqn.2026-01.x:a",
                    "namespace": {"bdev_name": "b", "no_auto_visible": false, "hide_metadata": false}}),
            ),
            (
                "bdev_nvme_attach_controller",
                json!({"name": "n", "trtype": "PCIe", "traddr": "0000:01:00.0", "prchk_reftag": false, "prchk_guard": false,
                    "hdgst": false, "ddgst": false, "allow_unrecognized_csi": false, "multipath_opts": {}}),
            ),
        ] {
            let found = find(method).expect("a method");
            if let Err(e) = found.check(Some(params)) {
                panic!("{method}: {e}");
            }
        }
        let params = json!({"nqn": "nqn.2026-01.x:a", "enable_nssr": true});
        let error = find("nvmf_create_subsystem")
            .expect("a method")
            .check(Some(params));
        let error = error.expect_err("not there").message;
        assert_eq!(
            error,
            "enable_nssr: false or nothing (there is no such thing here) wanted, true came"
        );
    }

    #[test]
    fn flattened_parameters_of_a_method_have_different_names() {
        for m in METHODS {
            let mut seen = HashSet::new();
            for p in m.params {
                match p.kind {
                    Kind::Object(members) => {
                        members.iter().for_each(|p| assert!(seen.insert(p.name)))
                    }
                    _ => assert!(seen.insert(p.name), "{}: {}", m.name, p.name),
                }
            }
        }
    }
}
