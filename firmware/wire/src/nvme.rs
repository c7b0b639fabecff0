//! NVM Express structures exactly as they lie in memory and on the wire; no behaviour, no state.
//! Sources: NVM Express Base Specification 2.1 ("Base") and NVM Command Set Specification 1.1 ("NVM").
//! Zero-based fields end in `_z`.

mod command;
mod features;
mod identify;
mod logs;
mod regs;
mod status;

pub use command::{
    AdminOpcode, Cqe, DsmRange, Fuse, NvmOpcode, SglDescriptor, SglKind, Sqe, control, dsm, psdt,
};
pub use features::{AsyncEvent, EventConfig, EventKind, QueueCount, feature, select};
pub use identify::{
    ControllerList, IdentifyController, IdentifyNamespace, IndependentNamespace, LbaFormat,
    NamespaceIdHeader, NamespaceList, NvmController, NvmNamespace, PowerState, cns, csi, nidt,
};
pub use logs::{
    AnaGroup, AnaHeader, AnaState, DiscoveryEntry, DiscoveryHeader, ErrorEntry, FirmwareSlots,
    SmartLog, SupportedPage, effects, log, oncs_effects,
};
pub use regs::{Aqa, Cap, Cc, Crto, Csts, Version, register};
pub use status::Status;

/// NSID that stands for all namespaces (Base, section 3.2.1).
pub const NSID_ALL: u32 = 0xffff_ffff;
/// Size of every Identify data structure, in bytes (Base, section 5.1.13).
pub const IDENTIFY_SIZE: usize = 4096;
/// Memory page size with CC.MPS 0, in bytes. PRP entries other than the first are multiples of it (Base, section 4.3.1):
/// PRP1 may start inside a page; PRP2 is the second page, or a PRP list when the data touch three pages or more.
pub const PAGE: usize = 4096;

#[cfg(test)]
mod tests;
