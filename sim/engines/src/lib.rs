//! Software models of the card's rx and tx engines, bit for bit as `docs/card.md` sections 3 and 4 describe them.
//! The functional card runs on them, and protocol tests put them between a machine and a peer's frames.
//! Buffers, queues and counters are the caller's; nothing here knows of time.
#![forbid(unsafe_code)]

mod roce;
mod rx;
mod trace;
mod tx;

pub use roce::{RoceDrop, malformed_roce, parse_roce, transmit_roce};
pub use rx::{DropReason, MAX_FRAME, merges, parse, receive};
pub use trace::{Filter, Seen, bytes as trace_bytes, record as trace_record};
pub use tx::{Memory, transmit};
