//! Methods that SPDK has not: the card, its firmware, the SSDs, traces.

use super::params::{PORT, U16, U64, need, opt};
use super::{MAX_PACKAGE, MAX_PIECE, OWN, method};
use crate::method::{Kind, Method};

pub(super) const METHODS: &[Method] = &[
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
        "Says whether card and SSDs are well, and why not; with SMART logs, PCIe links and firmware slots.",
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
