//! What is waited for: ranges of the client's memory that go once nothing is under way in them, and answers that do not come.

use std::time::Instant;

use super::{Asked, Engine, UNMAP_PATIENCE};
use crate::vfio_user::Function;

impl<F: Function> Engine<F> {
    /// Answers an unmap once nothing is under way in its range.
    pub fn answer_unmap(&mut self, address: u64, size: u64, reply: Vec<u8>) {
        // The client may be unable to answer while it waits for us.
        let soon = Instant::now() + UNMAP_PATIENCE;
        for asked in self
            .asked
            .values_mut()
            .filter(|asked| asked.touches(address, size))
        {
            asked.deadline = asked.deadline.min(soon);
        }
        self.unmaps.push((address, size, reply));
        self.finish_unmaps();
    }

    pub(super) fn finish_unmaps(&mut self) {
        let (asked, out) = (&self.asked, &mut self.out);
        self.unmaps.retain_mut(|(address, size, reply)| {
            let busy = asked.values().any(|asked| asked.touches(*address, *size));
            if !busy {
                out.push(std::mem::take(reply));
            }
            busy
        });
    }

    pub(super) fn check_time(&mut self) {
        if self.asked.is_empty() && self.reads.is_empty() {
            return;
        }
        let now = Instant::now();
        if self.asked.values().any(|asked| asked.deadline <= now) {
            self.fail_asked(|asked| asked.deadline <= now, "the client does not answer");
            self.finish_unmaps();
        }
        while let Some((id, read)) = self.reads.first_key_value()
            && read.deadline <= now
        {
            let id = *id;
            let access = read.access;
            log::warn!(
                "no answer to a read of {} bytes at {:#x} of BAR{}",
                access.count,
                access.offset,
                access.region
            );
            self.tags.retain(|_, (read, _)| *read != id);
            if let Some(mut read) = self.reads.remove(&id) {
                read.data.fill(0xFF);
                self.answer(&read);
            }
        }
    }
}

impl Asked {
    fn touches(&self, address: u64, size: u64) -> bool {
        let (last, other) = (
            self.address.saturating_add(self.len as u64 - 1),
            address.saturating_add(size - 1),
        );
        self.address <= other && address <= last
    }
}
