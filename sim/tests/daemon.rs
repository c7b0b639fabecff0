//! The daemon over the functional card: everything of `sluiced` but the program around it and the devices.
//!
//! | file | what it shows |
//! |---|---|
//! | `daemon/bench.rs` | a server with the card, its daemon, callers over the socket, hosts on the cable |
//! | `daemon/configure.rs` | configured by calls alone, hosts do verified I/O, counters follow |
//! | `daemon/calls.rs` | every method: shapes, wrong parameters, what does not exist |
//! | `daemon/flash.rs` | firmware into the card while hosts work, and started; packages that are no good |
//! | `daemon/ssds.rs` | administration of SSDs: commands passed through, firmware, reset, format |
//! | `daemon/keep.rs` | what is there again after a restart, SSDs that are not, state that cannot be written |
//! | `daemon/trace.rs` | `sluicectl trace` while hosts do I/O; who may have a trace |
//! | `daemon/killed.rs` | the process killed at random points of a configuration |
//! | `daemon/restarts.rs` | the program `sluiced` killed, left and stopped while hosts work, with `daemon/systemd.rs` and `daemon/cable.rs` |

#[path = "daemon/bench.rs"]
mod bench;
#[path = "daemon/cable.rs"]
mod cable;
#[path = "daemon/calls.rs"]
mod calls;
#[path = "daemon/configure.rs"]
mod configure;
#[path = "daemon/flash.rs"]
mod flash;
#[path = "daemon/keep.rs"]
mod keep;
#[path = "daemon/killed.rs"]
mod killed;
#[path = "daemon/restarts.rs"]
mod restarts;
#[path = "daemon/ssds.rs"]
mod ssds;
#[path = "daemon/systemd.rs"]
mod systemd;
#[path = "daemon/trace.rs"]
mod trace;
