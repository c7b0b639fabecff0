//! JSON-RPC 2.0 between `sluiced` and those who drive it, over a UNIX socket, with the method names and parameters of SPDK for
//! what both have.
//!
//! - [`split`]: JSON texts out of a stream without any framing;
//! - [`message`]: requests, batches and responses;
//! - [`method`]: what a method is, and the check of its parameters;
//! - [`methods`]: all of them, the one table that the daemon, the tool and the documentation go by;
//! - [`client`]: the calling side.
//!
//! Nothing here knows what a method does.
#![forbid(unsafe_code)]

pub mod client;
pub mod message;
pub mod method;
pub mod methods;
pub mod split;

/// Where the daemon listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/sluice/sluiced.sock";
