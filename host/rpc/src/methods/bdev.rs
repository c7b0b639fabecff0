//! Methods about SSDs and block devices.

use super::params::{NAME, U32, U64, absent, need, opt};
use super::{SAME, method};
use crate::method::{Kind, Method, Spdk};

pub(super) const METHODS: &[Method] = &[
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
];
