//! The boot program's writes to the memory below itself.
#![allow(unsafe_code, reason = "leaf module: this core's own memory by address")]

use sluice_boot::layout::CONTROL_MEMORY;

/// Copies `bytes` to address `at` of this core's memory. For the boot program alone, which lies and works above
/// [`CONTROL_MEMORY`] (boot.x); what does not fit below is left out, which a checked package never is.
pub fn store(at: u32, bytes: &[u8]) {
    let fits = u64::from(at) + bytes.len() as u64 <= u64::from(CONTROL_MEMORY);
    if !fits {
        return;
    }
    // Places and lengths of images are whole words (`sluice_boot::image`).
    for (to, word) in (at & !3..).step_by(4).zip(bytes.chunks_exact(4)) {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        // SAFETY: below CONTROL_MEMORY the boot program has neither code nor data nor stack (boot.x), so nothing that Rust knows
        // of lies there; address 0 is memory on this core. The address is aligned. The write is volatile, so it happens although
        // nothing here reads it.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>(to as usize).write_volatile(word) }
    }
}
