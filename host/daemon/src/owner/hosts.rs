//! Who is connected.

use super::Owner;
use crate::backend::Backends;

impl<B: Backends> Owner<B> {
    /// Who a controller number stands for, for messages.
    pub(super) fn host_context(&mut self, cntlid: u32) -> String {
        format!("cntlid {cntlid}")
    }
}
