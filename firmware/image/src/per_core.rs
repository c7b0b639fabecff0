//! Statics that a core uses as its own: every core has its own memory, so it has its own copy.
#![allow(unsafe_code, reason = "leaf module: hands out a static once")]

use core::cell::{Cell, UnsafeCell};

/// A value that one place of the program may take for itself.
pub struct PerCore<T> {
    value: UnsafeCell<T>,
    taken: Cell<bool>,
}

// SAFETY: only one core ever sees this memory, no interrupt is enabled, and `take` hands out `value` once.
unsafe impl<T> Sync for PerCore<T> {}

impl<T> PerCore<T> {
    /// Nobody has it yet.
    pub const fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(value),
            taken: Cell::new(false),
        }
    }

    /// The value, to the first who asks.
    #[allow(clippy::mut_from_ref, reason = "handed out once")]
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.taken.replace(true) {
            return None;
        }
        // SAFETY: the flag makes this the only reference ever made, and statics live for ever.
        Some(unsafe { &mut *self.value.get() })
    }
}
