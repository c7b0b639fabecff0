//! What a system can say of a device in trouble.

/// Trouble that does not show in a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// Configuration space reads as all ones.
    #[error("it does not answer any more; was it pulled, or has its link failed?")]
    Gone,
    /// The system wants the device back: it is being removed, or somebody unbinds its driver.
    #[error("the system asks for it back: it is being removed or given to another driver")]
    Wanted,
    /// PCIe reported an uncorrectable error.
    #[error("PCIe reported an uncorrectable error; the kernel's log says which, a reset may help")]
    BusError,
}
