//! Format NVM and firmware updates (Base, sections 5.1.8 to 5.1.10).
//!
//! A firmware image of this model is [`IMAGE_MAGIC`], eight characters of revision, and anything behind it.

use std::collections::BTreeMap;

use sluice_wire::nvme::{FirmwareSlots, NSID_ALL, Sqe, Status};
use zerocopy::IntoBytes;

use super::command::{Command, Outcome};
use super::{Ssd, identify};

/// What an image begins with.
pub const IMAGE_MAGIC: &[u8; 8] = b"SSDIMAGE";
/// OACS: Format NVM, firmware updates.
pub(super) const OACS: u16 = 1 << 1 | 1 << 2;
/// FRMW: three slots, the first read-only, activation without reset.
pub(super) const FRMW: u8 = 1 | (SLOTS as u8) << 1 | 1 << 4;
/// FWUG: pieces of 4 KiB.
pub(super) const FWUG: u8 = 1;
const SLOTS: usize = 3;
/// Largest image, bytes.
const MAX_IMAGE: usize = 1 << 20;

/// Slots, and what was downloaded.
#[derive(Debug)]
pub(super) struct Firmware {
    /// Revisions in the slots; the first is as built.
    slots: [Option<[u8; 8]>; SLOTS],
    /// Index of the slot that runs.
    active: usize,
    /// Index of the slot that runs after a reset.
    next: Option<usize>,
    /// By offset.
    pieces: BTreeMap<usize, Vec<u8>>,
}

impl Firmware {
    pub fn new() -> Self {
        let mut built = [0; 8];
        identify::text(&mut built, env!("CARGO_PKG_VERSION"));
        Self {
            slots: [Some(built), None, None],
            active: 0,
            next: None,
            pieces: BTreeMap::new(),
        }
    }

    /// Of what runs.
    pub fn revision(&self) -> [u8; 8] {
        self.slots[self.active].unwrap_or_default()
    }

    /// A controller reset activates what waits for it, and drops what was not committed.
    pub fn reset(&mut self) {
        self.active = self.next.take().unwrap_or(self.active);
        self.pieces.clear();
    }

    pub fn log(&self) -> Vec<u8> {
        let next = self.next.map_or(0, |n| n as u8 + 1);
        let mut log = FirmwareSlots {
            afi: self.active as u8 + 1 | next << 4,
            ..FirmwareSlots::default()
        };
        for (to, slot) in log.revisions.iter_mut().zip(self.slots) {
            *to = slot.unwrap_or_default();
        }
        log.as_bytes().to_vec()
    }

    /// The image, if its pieces are whole and it is one.
    fn image(&mut self) -> Result<[u8; 8], Status> {
        // Invalid Firmware Image (Base, figure 104).
        let invalid = Status::from_parts(1, 0x07).no_retry();
        let pieces = std::mem::take(&mut self.pieces);
        let mut image = Vec::new();
        for (at, piece) in pieces {
            if at != image.len() {
                return Err(invalid);
            }
            image.extend(piece);
        }
        match image.get(..16).map(|head| head.split_at(8)) {
            Some((magic, revision)) if magic == IMAGE_MAGIC => {
                Ok(revision.try_into().map_err(|_| invalid)?)
            }
            _ => Err(invalid),
        }
    }
}

impl Ssd {
    pub(super) fn firmware_download(&mut self, command: &Command) -> Result<Outcome, Status> {
        let at = command.sqe.cdw11.get() as usize * 4;
        let end = at + command.data.len();
        let bad = Status::INVALID_FIELD.no_retry();
        if !at.is_multiple_of(4096) || end > MAX_IMAGE {
            return Err(bad);
        }
        let overlaps = |(from, piece): (&usize, &Vec<u8>)| *from < end && at < from + piece.len();
        if self.firmware.pieces.iter().any(overlaps) {
            // Overlapping Range.
            return Err(Status::from_parts(1, 0x14).no_retry());
        }
        self.firmware.pieces.insert(at, command.data.clone());
        Ok(Outcome::ok())
    }

    pub(super) fn firmware_commit(&mut self, sqe: &Sqe) -> Result<Outcome, Status> {
        let (slot, action) = (sqe.cdw10.get() as usize & 7, sqe.cdw10.get() >> 3 & 7);
        // Invalid Firmware Slot.
        let no_slot = Status::from_parts(1, 0x06).no_retry();
        let index = match slot {
            0 => 1,
            n if n <= SLOTS => n - 1,
            _ => return Err(no_slot),
        };
        let downloaded = !self.firmware.pieces.is_empty();
        let writes = action < 2 || (action == 3 && downloaded);
        if action > 3 {
            return Err(Status::INVALID_FIELD.no_retry());
        }
        if writes {
            if index == 0 {
                return Err(no_slot);
            }
            let revision = self.firmware.image()?;
            self.firmware.slots[index] = Some(revision);
        }
        if self.firmware.slots[index].is_none() {
            return Err(Status::from_parts(1, 0x07).no_retry());
        }
        match action {
            0 => {}
            3 => (self.firmware.active, self.firmware.next) = (index, None),
            _ => self.firmware.next = Some(index),
        }
        Ok(Outcome::ok())
    }

    pub(super) fn format(&mut self, sqe: &Sqe) -> Result<Outcome, Status> {
        let word = sqe.cdw10.get();
        let (format, erase) = (word & 0xF | (word >> 12 & 3) << 4, word >> 9 & 7);
        // No metadata, no protection information, no cryptographic erase.
        if word >> 4 & 0x1F != 0 || erase > 1 {
            return Err(Status::INVALID_FIELD.no_retry());
        }
        let shift = match format {
            0 => 9,
            1 => 12,
            // Invalid Format.
            _ => return Err(Status::from_parts(1, 0x0A).no_retry()),
        };
        let nsid = sqe.nsid.get();
        let all = 0..self.namespaces.len();
        let which = match nsid {
            NSID_ALL => all,
            _ => {
                self.namespace(nsid)?;
                nsid as usize - 1..nsid as usize
            }
        };
        for ns in &mut self.namespaces[which] {
            if ns.spec.write_protected {
                return Err(Status::from_parts(0, 0x20).no_retry());
            }
            let bytes = ns.spec.blocks << ns.spec.block_shift;
            let wiped = ns.media.zero(0, bytes);
            wiped.map_err(|_| Status::WRITE_FAULT)?;
            ns.media.mark(0..ns.spec.blocks, false);
            (ns.spec.block_shift, ns.spec.blocks) = (shift, bytes >> shift);
        }
        Ok(Outcome::ok())
    }
}
