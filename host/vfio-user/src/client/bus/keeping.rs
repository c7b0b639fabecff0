//! What of a bus outlives the process.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use sluice_device::KeptBar;

use super::super::kept::Name;
use super::{Bus, SharedKeeper};
use crate::memory::SharedFile;
use crate::version::PAGE;

impl Bus {
    /// An empty bus; what must outlive the process is handed to `keeper` before it is used.
    #[must_use]
    pub fn kept_by(keeper: SharedKeeper) -> Self {
        Self {
            state: Arc::default(),
            keeper: Some(keeper),
        }
    }

    /// Memory of an earlier process, where it was.
    pub(in crate::client) fn take_memory(&self, base: u64, file: SharedFile) {
        let mut state = self.state();
        let end = base.saturating_add(file.len()).saturating_add(PAGE);
        state.next_memory = state.next_memory.max(end);
        state.unclaimed.insert(base);
        state.buffers.insert(base, Arc::new(file));
    }

    /// These addresses are taken by BARs of an earlier process.
    pub(in crate::client) fn take_bars(&self, bars: &[KeptBar]) {
        let mut state = self.state();
        for bar in bars {
            state.next_bar = state.next_bar.max(bar.base.saturating_add(bar.len));
        }
    }

    /// Gives up memory of an earlier process that was not [taken up](Dma::reclaim): no device uses it.
    pub fn forget_memory(&self) {
        let mut gone = Vec::new();
        let mut state = self.state();
        for base in std::mem::take(&mut state.unclaimed) {
            gone.extend(state.buffers.get(&base).map(|file| (base, file.len())));
        }
        drop(state);
        for (base, len) in gone {
            self.release(base, len);
        }
    }

    pub(in crate::client) fn is_kept(&self) -> bool {
        self.keeper.is_some()
    }

    /// Has a descriptor outlive the process.
    pub(in crate::client) fn keep(&self, name: &Name, fd: BorrowedFd<'_>) {
        let Some(keeper) = &self.keeper else { return };
        if let Err(error) = keeper.keep(&name.to_string(), fd) {
            log::warn!("{name} will not survive this process: {error}");
        }
    }

    pub(in crate::client) fn forget(&self, name: &Name) {
        if let Some(keeper) = &self.keeper {
            keeper.forget(&name.to_string());
        }
    }
}
