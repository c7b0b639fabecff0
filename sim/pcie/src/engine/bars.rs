//! Accesses of the client to BARs.

use std::time::Instant;

use sluice_vfio_user::wire;
use sluice_vfio_user::wire::{Header, RegionAccess, flags};
use zerocopy::IntoBytes;

use super::{BarRead, Engine, MODEL_PATIENCE};
use crate::Function;
use crate::fabric::{BusError, MAX_PAYLOAD, Tlp};

/// What lies at an offset of a BAR.
enum Place {
    /// The model's.
    Model,
    /// The MSI-X table, with the offset in it.
    Table(usize),
    /// Pending bits.
    Pending,
}

impl<F: Function> Engine<F> {
    /// Reads a BAR; the reply is sent when the model has answered. The bytes are inside.
    pub fn bar_read(&mut self, header: Header, access: RegionAccess) {
        let (bar, offset) = (access.region.get() as u8, access.offset.get());
        let mut read = BarRead {
            header,
            access,
            data: vec![0; access.count.get() as usize],
            left: 0,
            deadline: Instant::now() + MODEL_PATIENCE,
        };
        if self.pulled {
            read.data.fill(0xFF);
            return self.answer(&read);
        }
        let id = self.next_read;
        self.next_read += 1;
        let len = read.data.len() as u64;
        for (at, piece, place) in self.pieces(bar, offset, len) {
            let to = (at - offset) as usize;
            match place {
                Place::Table(from) => {
                    read.data[to..to + piece].copy_from_slice(&self.table[from..from + piece])
                }
                Place::Model | Place::Pending => {
                    let tag = self.free_tag();
                    self.tags.insert(tag, (id, to));
                    read.left += 1;
                    let addr = self.function.address(bar, at);
                    let tlp = Tlp::Read {
                        addr,
                        len: piece as u32,
                        tag,
                    };
                    self.port.inbox.push_back((self.now, tlp));
                }
            }
        }
        if read.left == 0 {
            self.answer(&read);
        } else {
            self.reads.insert(id, read);
        }
    }

    /// Writes a BAR. The bytes are inside.
    pub fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        if self.pulled {
            return;
        }
        for (at, piece, place) in self.pieces(bar, offset, data.len() as u64) {
            let bytes = &data[(at - offset) as usize..][..piece];
            match place {
                Place::Table(to) => self.table[to..to + piece].copy_from_slice(bytes),
                // Software may not write them (PCI Local Bus 3.0, section 6.8.2.10).
                Place::Pending => {}
                Place::Model => {
                    let addr = self.function.address(bar, at);
                    let tlp = Tlp::Write {
                        addr,
                        data: bytes.to_vec(),
                    };
                    self.port.inbox.push_back((self.now, tlp));
                }
            }
        }
    }

    /// An access in pieces that are packets: where, how long, what is there.
    fn pieces(&self, bar: u8, mut offset: u64, len: u64) -> Vec<(u64, usize, Place)> {
        let end = offset + len;
        let mut pieces = Vec::new();
        while offset < end {
            let (mut limit, mut place) = (end, Place::Model);
            if bar == self.msix.bar {
                let areas = [
                    (self.msix.table, self.msix.table_len(), true),
                    (self.msix.pending, self.msix.pending_len(), false),
                ];
                for (start, len, is_table) in areas {
                    if (start..start + len).contains(&offset) {
                        limit = limit.min(start + len);
                        place = if is_table {
                            Place::Table((offset - start) as usize)
                        } else {
                            Place::Pending
                        };
                    } else if offset < start {
                        limit = limit.min(start);
                    }
                }
            }
            let packet = MAX_PAYLOAD as u64 - offset % MAX_PAYLOAD as u64;
            let piece = if matches!(place, Place::Table(_)) {
                limit - offset
            } else {
                packet.min(limit - offset)
            };
            pieces.push((offset, piece as usize, place));
            offset += piece;
        }
        pieces
    }

    fn free_tag(&mut self) -> u32 {
        // Tags of answers that never came are forgotten with their reads, so there is always a free one.
        while self.tags.contains_key(&self.next_tag) {
            self.next_tag = self.next_tag.wrapping_add(1);
        }
        let tag = self.next_tag;
        self.next_tag = tag.wrapping_add(1);
        tag
    }

    pub(super) fn answer(&mut self, read: &BarRead) {
        if read.header.flags.get() & flags::NO_REPLY != 0 {
            return;
        }
        let h = &read.header;
        let parts = [read.access.as_bytes(), &read.data];
        let message = wire::message(h.id.get(), h.command.get(), flags::REPLY, &parts);
        self.out.push((message, Vec::new()));
    }

    /// Writes the function's MSI-X table entry of a vector as the client has armed it.
    pub fn program(&mut self, vector: u32) {
        let entry = self.msix.table + 16 * u64::from(vector);
        for (word, at) in self
            .irqs
            .entry(vector)
            .into_iter()
            .zip((entry..).step_by(4))
        {
            let addr = self.function.address(self.msix.bar, at);
            let data = word.to_le_bytes().to_vec();
            self.port
                .inbox
                .push_back((self.now, Tlp::Write { addr, data }));
        }
    }

    pub(super) fn bar_data(&mut self, tag: u32, data: Result<Vec<u8>, BusError>) {
        let Some((id, at)) = self.tags.remove(&tag) else {
            return;
        };
        let Some(read) = self.reads.get_mut(&id) else {
            return;
        };
        if let Ok(bytes) = data {
            let len = bytes.len().min(read.data.len() - at);
            read.data[at..at + len].copy_from_slice(&bytes[..len]);
        } else {
            read.data[at..]
                .iter_mut()
                .take(MAX_PAYLOAD)
                .for_each(|byte| *byte = 0xFF);
        }
        read.left -= 1;
        if read.left == 0
            && let Some(read) = self.reads.remove(&id)
        {
            self.answer(&read);
        }
    }
}
