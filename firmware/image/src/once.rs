//! A static that its one user takes once: the program's state, too large for the stack.
#![allow(unsafe_code, reason = "leaf module: hands out the only reference to a static")]

use core::cell::{Cell, UnsafeCell};

/// Holds a `T` until [`Once::take`].
pub struct Once<T> {
    taken: Cell<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: a core's memory is its own, and no interrupt handler runs program code, so there is one thread only.
unsafe impl<T> Sync for Once<T> {}

impl<T> Once<T> {
    /// Holds `value`.
    pub const fn new(value: T) -> Self {
        Self { taken: Cell::new(false), value: UnsafeCell::new(value) }
    }

    /// The value, the first time; `None` ever after.
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.taken.replace(true) {
            return None;
        }
        // SAFETY: the flag lets only one caller come here, so this is the only reference there will ever be.
        Some(unsafe { &mut *self.value.get() })
    }
}
