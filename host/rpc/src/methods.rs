//! Every method there is. The daemon dispatches by this table, and `sluicectl` makes its subcommands from it.

mod params;
#[cfg(test)]
mod tests;

use crate::method::{Kind, Method, Param, Spdk};
use params::{
    ADDRESS, NAME, NAMESPACE, NQN, PORT, TARGET, TRANSPORT, U16, U32, U64, absent, need, opt,
};

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

/// Largest firmware package that the daemon takes, bytes: more than a slot of the flash holds.
pub const MAX_PACKAGE: usize = 2 << 20;
/// Largest piece of one in a call, bytes.
pub const MAX_PIECE: usize = 128 << 10;

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
        &[
            need("name", Kind::Text, "`bdev` or `nvmf`"),
            opt(
                "with_batches",
                Kind::Bool,
                "Taken and without effect: calls do not come in batches here",
            ),
        ],
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
            absent("disable_sq_flow_control"),
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
        "bdev_nvme_send_cmd",
        Spdk::Differs(
            "admin commands only, without metadata; one that would break the data path is refused unless forced; timeout_ms has no effect",
        ),
        "Sends an admin command to an SSD as it is.",
        "completion and data, in base64",
        &[
            need("name", Kind::Text, "SSD"),
            need("cmd_type", Kind::Text, "`admin`"),
            need(
                "data_direction",
                Kind::Text,
                "`c2h`, from the SSD, or `h2c`, to it",
            ),
            need("cmdbuf", Kind::Data(64), "The command's 64 bytes"),
            opt("data", Kind::Data(65_536), "Data for the SSD"),
            opt("metadata", Kind::Data(0), "There is none"),
            opt("data_len", Kind::Number(65_536), "Bytes wanted of the SSD"),
            opt("metadata_len", Kind::Number(0), "0"),
            opt(
                "timeout_ms",
                U32,
                "Taken and without effect: it is 10 seconds",
            ),
            opt(
                "force",
                Kind::Bool,
                "Send also what would break the data path (not in SPDK)",
            ),
        ],
    ),
    method(
        "bdev_nvme_apply_firmware",
        Spdk::Differs("does not reset the SSD; says what has to be done for the firmware to run"),
        "Gives an SSD new firmware. Others and other calls go on meanwhile.",
        "what became of it, in words",
        &[
            need(
                "filename",
                Kind::Text,
                "File, as the daemon sees it; /home, /root and /tmp are hidden from it by its unit",
            ),
            need("bdev_name", Kind::Text, "A block device of the SSD"),
        ],
    ),
    method(
        "bdev_nvme_reset_controller",
        Spdk::Differs("there is one controller for each name, so cntlid is 0"),
        "Resets an SSD: commands in flight fail, and hosts try them again.",
        "true",
        &[
            need("name", Kind::Text, "SSD"),
            opt("cntlid", Kind::Number(0), "0"),
        ],
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
            opt("names", Kind::Json, "A list of names: these only"),
            opt(
                "per_channel",
                Kind::Bool,
                "By channel: not done, false only",
            ),
            opt(
                "reset_mode",
                Kind::Text,
                "What to count anew afterwards: nothing, `none` only",
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
        "sluice_get_ssd",
        OWN,
        "Gives an SSD's firmware slots, its error log and its health with every field.",
        "an object",
        &[need("name", Kind::Text, "SSD")],
    ),
    method(
        "sluice_format_bdev",
        OWN,
        "Formats a namespace of an SSD that no subsystem uses: all its data are gone.",
        "true",
        &[
            need("bdev_name", Kind::Text, "Block device"),
            opt(
                "block_size",
                Kind::Number(4096),
                "Bytes of a block, 512 or 4096; as it is if left out",
            ),
            opt(
                "erase",
                Kind::Text,
                "`none` (taken if left out), `user` or `crypto`",
            ),
        ],
    ),
    method(
        "sluice_flash_get_state",
        OWN,
        "Says what is in the card's flash, what runs, and how far a download is.",
        "an object",
        &[],
    ),
    method(
        "sluice_flash_upload",
        OWN,
        "Brings a piece of a firmware package to the daemon, which keeps it for sluice_flash_download.",
        "how many bytes of it the daemon has",
        &[
            need(
                "offset",
                Kind::Number(MAX_PACKAGE as u64),
                "Where in the package; 0 begins a new one",
            ),
            need("data", Kind::Data(MAX_PIECE), "The piece"),
        ],
    ),
    method(
        "sluice_flash_download",
        OWN,
        "Begins to write the package into the slot that does not run; sluice_flash_get_state says how far it is.",
        "true",
        &[],
    ),
    method(
        "sluice_flash_activate",
        OWN,
        "Has the verified package tried at the next start of the card, or starts the card anew now: hosts connect again.",
        "true",
        &[need(
            "when",
            Kind::Text,
            "`now` or `reset`, at the next start",
        )],
    ),
    method(
        "sluice_flash_confirm",
        OWN,
        "Says that the running firmware is well, if it is, and is started from now on. Burns its security version.",
        "true",
        &[],
    ),
    method(
        "sluice_flash_roll_back",
        OWN,
        "Goes back to what ran before, or takes an activation back.",
        "true",
        &[need(
            "when",
            Kind::Text,
            "`now` or `reset`, at the next start",
        )],
    ),
    method(
        "sluice_flash_rotate_key",
        OWN,
        "Gives the card a new signing key.",
        "true",
        &[need(
            "certificate",
            Kind::Data(4096),
            "Its certificate, as `cargo xtask image --certify` makes it",
        )],
    ),
    method(
        "sluice_stop",
        OWN,
        "Takes card and SSDs down in order, and ends the daemon.",
        "true",
        &[],
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
    method(
        "sluice_trace_start",
        OWN,
        "Starts a trace of the card's Ethernet port.",
        "the trace's number, and one moment on the clocks of card and server",
        &[
            opt(
                "direction",
                Kind::Text,
                "`rx`, `tx` or `both` (taken if left out)",
            ),
            opt(
                "snap",
                Kind::Number(9216),
                "Bytes kept of each frame; 128 if left out",
            ),
            opt("tcp_port", U16, "Frames from or to this TCP port"),
            opt("udp_port", U16, "Frames from or to this UDP port"),
            opt(
                "ring",
                Kind::Number(16 << 20),
                "Bytes of the ring, a power of two from 4096; 4 MiB if left out",
            ),
        ],
    ),
    method(
        "sluice_trace_read",
        OWN,
        "Takes records out of a trace.",
        "records as the card wrote them, in base64, frames lost, and whether that is all",
        &[
            need("id", U64, "Number of the trace"),
            opt(
                "max",
                Kind::Number(1 << 20),
                "Bytes of records at most; 256 KiB if left out",
            ),
        ],
    ),
    method(
        "sluice_trace_stop",
        OWN,
        "Ends a trace; it is to be read until that is all.",
        "records written and frames lost",
        &[need("id", U64, "Number of the trace")],
    ),
];

/// The method of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|m| m.name == name)
}
