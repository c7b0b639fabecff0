//! The command line. A method's subcommand has the method's name; its parameters are given as SPDK's `rpc.py` takes them, so that
//! a script written for that one goes on working: the same positional arguments, the same long and short options.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgGroup, Command, value_parser};
use clap_complete::Shell;
use sluice_rpc::method::{Kind, Method, Param};
use sluice_rpc::methods::METHODS;

/// Subcommands that are no methods, in the order of the help.
pub const OWN: [&str; 12] = [
    "status",
    "top",
    "health",
    "log",
    "regs",
    "selftest",
    "flash",
    "stop",
    "trace",
    "rpc",
    "completion",
    "man",
];

/// Short options as `rpc.py` has them: method, then letter and parameter.
const SHORTS: &[(&str, &[(char, &str)])] = &[
    (
        "rpc_get_methods",
        &[('c', "current"), ('i', "include_aliases")],
    ),
    ("notify_get_notifications", &[('i', "id"), ('n', "max")]),
    (
        "nvmf_create_transport",
        &[
            ('t', "trtype"),
            ('g', "tgt_name"),
            ('q', "max_queue_depth"),
            ('m', "max_io_qpairs_per_ctrlr"),
            ('c', "in_capsule_data_size"),
            ('i', "max_io_size"),
            ('u', "io_unit_size"),
            ('a', "max_aq_depth"),
            ('n', "num_shared_buffers"),
            ('b', "buf_cache_size"),
            ('z', "zcopy"),
            ('d', "num_cqe"),
            ('s', "max_srq_depth"),
            ('r', "no_srq"),
            ('y', "sock_priority"),
            ('l', "acceptor_backlog"),
            ('x', "abort_timeout_sec"),
            ('w', "no_wr_batching"),
            ('e', "control_msg_num"),
        ],
    ),
    (
        "nvmf_create_subsystem",
        &[
            ('t', "tgt_name"),
            ('s', "serial_number"),
            ('d', "model_number"),
            ('a', "allow_any_host"),
            ('m', "max_namespaces"),
            ('r', "ana_reporting"),
            ('i', "min_cntlid"),
            ('I', "max_cntlid"),
        ],
    ),
    (
        "nvmf_subsystem_add_ns",
        &[
            ('t', "tgt_name"),
            ('n', "nsid"),
            ('g', "nguid"),
            ('e', "eui64"),
            ('u', "uuid"),
            ('a', "anagrpid"),
        ],
    ),
    ("nvmf_subsystem_add_listener", LISTENER),
    ("nvmf_subsystem_remove_listener", LISTENER),
    (
        "bdev_nvme_attach_controller",
        &[('b', "name"), ('t', "trtype"), ('a', "traddr")],
    ),
    ("bdev_nvme_get_controllers", &[('n', "name")]),
    (
        "bdev_nvme_send_cmd",
        &[
            ('n', "name"),
            ('t', "cmd_type"),
            ('r', "data_direction"),
            ('c', "cmdbuf"),
            ('d', "data"),
            ('m', "metadata"),
            ('D', "data_len"),
            ('M', "metadata_len"),
            ('T', "timeout_ms"),
        ],
    ),
    ("bdev_nvme_get_controller_health_info", &[('c', "name")]),
    ("bdev_get_bdevs", &[('b', "name"), ('t', "timeout")]),
    ("bdev_get_iostat", &[('b', "name"), ('c', "per_channel")]),
];

const LISTENER: &[(char, &str)] = &[
    ('t', "trtype"),
    ('a', "traddr"),
    ('p', "tgt_name"),
    ('f', "adrfam"),
    ('s', "trsvcid"),
];

/// Everything.
#[must_use]
pub fn command() -> Command {
    let own = own_commands()
        .into_iter()
        .zip(0..)
        .map(|(c, i)| c.display_order(i));
    Command::new("sluicectl")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Drives sluiced, the daemon that owns a Sluice card and its SSDs")
        .after_help(
            "Exit codes: 0 done; 1 refused or failed; 2 the command line is wrong; 3 the daemon cannot be reached.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(global())
        .subcommands(own)
        .subcommands(METHODS.iter().map(method).map(|c| c.display_order(100)))
}

fn global() -> [Arg; 3] {
    [
        Arg::new("socket")
            .long("socket")
            .value_name("PATH")
            .env("SLUICE_SOCKET")
            .default_value(sluice_rpc::DEFAULT_SOCKET)
            .value_parser(value_parser!(PathBuf))
            .global(true)
            .help("The daemon's socket"),
        Arg::new("wait")
            .long("wait")
            .value_name("SECONDS")
            .default_value("60")
            .value_parser(value_parser!(u64).range(1..=86_400))
            .global(true)
            .help("How long to wait for an answer"),
        Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .global(true)
            .help("Print what the daemon says, as JSON"),
    ]
}

fn own_commands() -> [Command; 12] {
    [
        Command::new("status").about("Shows daemon, card, ports, SSDs and subsystems"),
        Command::new("top")
            .about("Shows what the card does, live")
            .arg(seconds("interval", "SECONDS", "1", "Seconds between two looks").short('i'))
            .arg(
                Arg::new("once")
                    .long("once")
                    .action(ArgAction::SetTrue)
                    .help("Look twice, print one page as text, and end"),
            ),
        Command::new("health").about("Shows whether card and SSDs are well"),
        Command::new("log")
            .about("Shows what the card's cores have logged")
            .arg(
                Arg::new("follow")
                    .short('f')
                    .long("follow")
                    .action(ArgAction::SetTrue)
                    .help("Go on until interrupted"),
            )
            .arg(
                Arg::new("lines")
                    .short('n')
                    .long("lines")
                    .value_name("N")
                    .default_value("1000")
                    .value_parser(value_parser!(u64).range(1..=10_000))
                    .help("So many of the last lines at most"),
            ),
        Command::new("regs")
            .about("Shows the card's registers")
            .arg(
                Arg::new("name")
                    .value_name("TEXT")
                    .help("Only registers whose name has this in it"),
            ),
        Command::new("selftest").about("Checks card, SSDs and state without disturbing hosts"),
        Command::new("flash")
            .about("Puts a firmware package into the card's flash, and starts it if told to")
            .arg(
                Arg::new("file")
                    .required(true)
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("The package, as `cargo xtask image` makes it"),
            )
            .arg(
                Arg::new("activate")
                    .long("activate")
                    .value_name("WHEN")
                    .value_parser(PossibleValuesParser::new(["now", "reset"]))
                    .help("Try it: start the card anew now, which hosts notice, or wait for its next start"),
            )
            .arg(
                Arg::new("no-confirm")
                    .long("no-confirm")
                    .action(ArgAction::SetTrue)
                    .help("With --activate now: leave it on trial"),
            ),
        Command::new("stop")
            .about("Takes card and SSDs down in order, and ends the daemon")
            .arg(
                Arg::new("unless-restart")
                    .long("unless-restart")
                    .value_name("UNIT")
                    .help("Not if systemd restarts this unit: then they go on, and the next daemon takes them over"),
            ),
        trace(),
        Command::new("rpc")
            .about("Calls a method with parameters in JSON")
            .arg(Arg::new("method").required(true).value_name("METHOD"))
            .arg(
                Arg::new("params")
                    .value_name("JSON")
                    .help("An object, a file with one after @, or - for one from standard input"),
            ),
        Command::new("completion")
            .about("Prints a completion script")
            .arg(
                Arg::new("shell")
                    .required(true)
                    .value_name("SHELL")
                    .value_parser(value_parser!(Shell)),
            ),
        Command::new("man").about("Writes the man pages").arg(
            Arg::new("dir")
                .long("dir")
                .value_name("FOLDER")
                .value_parser(value_parser!(PathBuf))
                .required(true)
                .help("Where to; it must exist"),
        ),
    ]
}

fn trace() -> Command {
    let number = |name: &'static str, value: &'static str, about: &'static str| {
        Arg::new(name).long(name).value_name(value).help(about)
    };
    Command::new("trace")
        .about("Captures what the card receives and sends, as pcapng")
        .after_help(
            "Without -w the capture goes to standard output, for `| tcpdump -r -` or `| wireshark -k -i -`. It ends with \
             --count, --seconds or an interrupt, and says on standard error how many frames there were, and how many \
             more found no room.",
        )
        .arg(
            Arg::new("write")
                .short('w')
                .long("write")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Write to this file, - for standard output"),
        )
        .arg(
            number("snap", "N", "Bytes kept of each frame")
                .default_value("128")
                .value_parser(value_parser!(u64).range(0..=9216)),
        )
        .arg(
            number("count", "N", "End after so many frames")
                .short('c')
                .value_parser(value_parser!(u64).range(1..)),
        )
        .arg(
            number("seconds", "N", "End after so many seconds")
                .value_parser(value_parser!(u64).range(1..=86_400)),
        )
        .arg(
            number("direction", "WHICH", "Frames received by the card, sent by it, or both")
                .default_value("both")
                .value_parser(PossibleValuesParser::new(["rx", "tx", "both"])),
        )
        .arg(
            number("filter", "LIST", "Only frames from or to a port: tcp:PORT, udp:PORT, rdma (udp:4791), or tcp:PORT,rdma")
                .value_parser(crate::trace::filter),
        )
        .arg(
            number("ring", "BYTES", "Ring in the server's memory, a power of two from 4096 to 16777216")
                .default_value("4194304")
                .value_parser(value_parser!(u64).range(4096..=16 << 20)),
        )
}

fn seconds(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    about: &'static str,
) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .default_value(default)
        .value_parser(value_parser!(u64).range(1..=3600))
        .help(about)
}

fn method(method: &'static Method) -> Command {
    let mut command = Command::new(method.name)
        .about(method.about.trim_end_matches('.').to_owned())
        .after_help(format!("Gives {}.", method.gives));
    for param in method.params {
        command = match param.kind {
            Kind::Object(members) => (members.iter())
                .filter_map(|m| arg(method, m, param.required && m.required))
                .fold(command, Command::arg),
            Kind::Bool if param.required => either(command, param),
            _ => match arg(method, param, param.required) {
                Some(arg) => command.arg(arg),
                None => command,
            },
        };
    }
    command
}

/// Two flags, of which one is given.
fn either(command: Command, param: &'static Param) -> Command {
    let flag = |name: &'static str, short| {
        Arg::new(name)
            .long(name)
            .short(short)
            .action(ArgAction::SetTrue)
    };
    command
        .arg(flag("enable", 'e').help(format!("{}: yes", param.about)))
        .arg(flag("disable", 'd').help(format!("{}: no", param.about)))
        .group(
            ArgGroup::new(param.name)
                .args(["enable", "disable"])
                .required(true),
        )
}

fn arg(method: &'static Method, param: &'static Param, required: bool) -> Option<Arg> {
    let name = param.name;
    let arg = Arg::new(name).help(param.about).required(required);
    let arg = match param.kind {
        Kind::Number(max) => arg
            .value_name("N")
            .value_parser(value_parser!(u64).range(0..=max)),
        Kind::Json => arg
            .value_name("FILE")
            .help(format!("{}; a file, or - for standard input", param.about)),
        Kind::Bool => arg
            .value_name("BOOL")
            .value_parser(PossibleValuesParser::new(["true", "false"]))
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Kind::Data(_) => arg.value_name("BASE64"),
        Kind::Text => arg.value_name(name.to_uppercase()),
        // There is nothing to say about what there is not.
        Kind::Object(_) | Kind::Absent => return None,
    };
    let short = short(method.name, name);
    let positional =
        short.is_none() && (required || (method.name, name) == ("nvmf_get_subsystems", "nqn"));
    if positional {
        return Some(arg);
    }
    let dashed = name.replace('_', "-");
    let arg = if dashed == name { arg } else { arg.alias(name) };
    let arg = arg.long(dashed);
    Some(match short {
        Some(letter) => arg.short(letter),
        None => arg,
    })
}

fn short(method: &str, param: &str) -> Option<char> {
    let given = SHORTS.iter().find(|(m, _)| *m == method);
    let given = given.and_then(|(_, list)| list.iter().find(|(_, p)| *p == param));
    match given {
        Some((letter, _)) => Some(*letter),
        // Nearly everywhere the target is -t.
        None if param == "tgt_name" && given.is_none() => Some('t'),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn every_method_is_a_subcommand_and_every_short_option_belongs_to_a_parameter() {
        let command = command();
        for method in METHODS {
            assert!(
                command.find_subcommand(method.name).is_some(),
                "{}",
                method.name
            );
        }
        for (method, shorts) in SHORTS {
            let found = command.find_subcommand(method).expect("a method");
            for (letter, param) in *shorts {
                let arg = found.get_arguments().find(|a| a.get_id() == param);
                let arg = arg.unwrap_or_else(|| panic!("{method} has no {param}"));
                assert_eq!(arg.get_short(), Some(*letter), "{method} {param}");
            }
        }
    }
}
