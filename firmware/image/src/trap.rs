//! Faults: every trap is one, because no interrupt is enabled.

/// Called by the vector table with `mcause`, `mepc`, `mtval`, `ra` and `sp` at the fault, on a fresh stack.
pub extern "C" fn trap(cause: u32, at: u32, value: u32, caller: u32, stack: u32) -> ! {
    defmt::error!(
        "trap: mcause {=u32:#x} mepc {=u32:#010x} mtval {=u32:#010x} ra {=u32:#010x} sp {=u32:#010x}",
        cause,
        at,
        value,
        caller,
        stack
    );
    crate::fail()
}
