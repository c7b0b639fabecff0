//! Register blocks generated from `hdl-bindings/rdl/`.

pub mod bar0_regs;
pub mod core_regs;
