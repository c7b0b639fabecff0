//! Methods about subsystems, hosts, listeners and transports.

use super::params::{ADDRESS, NAMESPACE, NQN, TARGET, TRANSPORT, U16, U32, U64, absent, need, opt};
use super::{SAME, method};
use crate::method::{Kind, Method, Spdk};

pub(super) const METHODS: &[Method] = &[
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
        &[
            NQN,
            need("host", Kind::Text, "NQN of the host"),
            TARGET,
            opt(
                "timeout_ms",
                U64,
                "Taken and without effect: associations end at once",
            ),
        ],
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
        Spdk::Differs(
            "a poll group is a data core; admin queues are counted among I/O queues; a device of RDMA has other counters",
        ),
        "Gives what every data core has counted.",
        "a list of poll groups",
        &[TARGET],
    ),
    method(
        "nvmf_subsystem_get_controllers",
        Spdk::Differs(
            "num_io_qpairs does not count the admin queue; has transport and keep_alive_ms besides",
        ),
        "Lists the controllers of a subsystem: one for each association of a host.",
        "a list of controllers",
        &[NQN, TARGET],
    ),
    method(
        "nvmf_subsystem_get_qpairs",
        Spdk::Differs(
            "without the host's address; listen_address has the first address of the port; every queue is enabled",
        ),
        "Lists the queues of a subsystem's controllers.",
        "a list of queue pairs",
        &[NQN, TARGET],
    ),
    method(
        "nvmf_discovery_get_referrals",
        Spdk::Differs("always empty: the firmware has no referrals"),
        "Lists referrals.",
        "an empty list",
        &[TARGET],
    ),
];
