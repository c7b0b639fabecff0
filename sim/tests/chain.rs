//! The whole chain, host to SSD and back, on either card: everything on the functional card, and with feature `rtl` and
//! `SLUICE_FIRMWARE` naming the folder with the firmware's ELF files, as `cargo xtask test` does it, a part with shorter loads on the Verilated one.
//!
//! | file | what it shows |
//! |---|---|
//! | `chain/connections.rs` | every kind of connection, frame and namespace; queues, hosts, subsystems |
//! | `chain/events.rs` | namespace changes, silent hosts |
//! | `chain/adoption.rs` | a host driver killed at any point, and the next one takes over while hosts go on |
//! | `chain/changes.rs` | subsystems, hosts, listeners, namespaces and SSDs that come and go while hosts use others |
//! | `chain/lossy.rs` | a link that loses, reorders, doubles and damages frames; one seed, one history |
//! | `chain/ssds.rs` | SSDs that fail, fall silent or vanish |
//! | `chain/flashing.rs` | firmware replaced, refused packages, power cuts at every program and erase |
//! | `chain/flashing/` | the update under load; the Verilated card's start from flash, what it refuses, sampled power cuts |
//! | `chain/hostile.rs` | hosts and strangers that do everything wrong |
//! | `chain/stats.rs` | what the card counts for namespaces and connections is what hosts did |
//! | `chain/limits.rs` | full queues and tables, nothing lost for good |
//! | `chain/sharing.rs` | what one host cannot take from the others |
//! | `chain/rdma.rs` | NVMe/RDMA: every way in which commands and data travel |
//! | `chain/rdma_lossy.rs` | the same on a link that loses, reorders, doubles, damages, marks and pauses |
//! | `chain/rdma_hostile.rs` | hosts and strangers that do everything wrong with queue pairs and their connection manager |
//! | `chain/trace.rs` | the trace of the wire: complete, in order, losses counted |
//! | `chain/payload.rs` | no core touches payload |

mod common;

#[path = "chain/adoption.rs"]
mod adoption;
#[path = "chain/changes.rs"]
mod changes;
#[path = "chain/connections.rs"]
mod connections;
#[path = "chain/events.rs"]
mod events;
#[path = "chain/flashing.rs"]
mod flashing;
#[path = "chain/hostile.rs"]
mod hostile;
#[path = "chain/limits.rs"]
mod limits;
#[path = "chain/lossy.rs"]
mod lossy;
#[path = "chain/payload.rs"]
mod payload;
#[path = "chain/rdma.rs"]
mod rdma;
#[path = "chain/rdma_hostile.rs"]
mod rdma_hostile;
#[path = "chain/rdma_lossy.rs"]
mod rdma_lossy;
#[path = "chain/sharing.rs"]
mod sharing;
#[path = "chain/ssds.rs"]
mod ssds;
#[path = "chain/stats.rs"]
mod stats;
#[path = "chain/trace.rs"]
mod trace;
