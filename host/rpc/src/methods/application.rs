//! Methods that are about the daemon itself.

use super::params::{U64, need, opt};
use super::{SAME, method};
use crate::method::{Kind, Method, Spdk};

pub(super) const METHODS: &[Method] = &[
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
];
