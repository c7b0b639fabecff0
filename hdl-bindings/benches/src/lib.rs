//! What the test benches of the data engines share: the Verilated models, a clocked bench around one, a packet memory and a
//! host memory that stall at random, and software models of what the engines are to do.
//!
//! The benches are the tests of this crate, one file per module; `cargo run -p sluice-benches --bin measure` prints
//! bytes per clock and latencies. The software models are written from `docs/card.md` and share nothing with the RTL; of RoCE
//! they are those of the functional card.

pub mod bench;
pub mod ffi;
pub mod frames;
pub mod host;
pub mod memory;
pub mod mover_model;
pub mod pcap;
pub mod random;
pub mod roce_frames;
pub mod rx_model;
pub mod trace_rig;
pub mod tx_model;
