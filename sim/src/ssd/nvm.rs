//! I/O commands of the NVM command set (NVM, section 3).

use std::ops::Range;

use sluice_wire::nvme::{DsmRange, NSID_ALL, NvmOpcode, Sqe, Status, control, dsm};
use zerocopy::FromBytes;

use super::Ssd;
use super::command::{Command, Direction, Outcome};

const RANGE: u32 = size_of::<DsmRange>() as u32;

impl Ssd {
    /// What an I/O command transfers, or why it is refused at once.
    pub(super) fn nvm_transfer(&self, sqe: &Sqe) -> Result<(u32, Direction), Status> {
        let opcode = NvmOpcode::from_code(sqe.opcode).ok_or(Status::INVALID_OPCODE.no_retry())?;
        let bad = Status::INVALID_FIELD.no_retry();
        if sqe.flags & 3 != 0 || sqe.psdt() != 0 && !self.config.sgl {
            return Err(bad);
        }
        let (len, direction) = match opcode {
            NvmOpcode::Read => (self.blocks(sqe)?.1, Direction::ToHost),
            NvmOpcode::Write | NvmOpcode::Compare => (self.blocks(sqe)?.1, Direction::FromHost),
            NvmOpcode::WriteZeroes | NvmOpcode::WriteUncorrectable => {
                self.blocks(sqe)?;
                return Ok((0, Direction::ToHost));
            }
            NvmOpcode::DatasetManagement => {
                self.namespace(sqe.nsid.get())?;
                (RANGE * ((sqe.cdw10.get() & 0xFF) + 1), Direction::FromHost)
            }
            NvmOpcode::Flush => {
                if sqe.nsid.get() != NSID_ALL {
                    self.namespace(sqe.nsid.get())?;
                }
                (0, Direction::ToHost)
            }
            _ => return Err(Status::INVALID_OPCODE.no_retry()),
        };
        if self.config.mdts != 0 && len > 4096 << self.config.mdts {
            return Err(bad);
        }
        Ok((len, direction))
    }

    /// The blocks a command means and their length in bytes.
    fn blocks(&self, sqe: &Sqe) -> Result<(Range<u64>, u32), Status> {
        let ns = self.namespace(sqe.nsid.get())?;
        let count = u64::from(sqe.nlb_z()) + 1;
        let end = sqe
            .slba()
            .checked_add(count)
            .filter(|end| *end <= ns.spec.blocks);
        let end = end.ok_or(Status::LBA_RANGE.no_retry())?;
        Ok((sqe.slba()..end, (count << ns.spec.block_shift) as u32))
    }

    pub(super) fn nvm(&mut self, command: &Command) -> Result<Outcome, Status> {
        let sqe = &command.sqe;
        match NvmOpcode::from_code(sqe.opcode) {
            Some(NvmOpcode::Flush) => self.flush(sqe),
            Some(NvmOpcode::Read) => self.read(sqe),
            Some(NvmOpcode::Compare) => self.compare(sqe, &command.data),
            Some(NvmOpcode::Write) => self.write(sqe, &command.data),
            Some(NvmOpcode::WriteZeroes) => self.write_zeroes(sqe),
            Some(NvmOpcode::WriteUncorrectable) => {
                let (blocks, _) = self.writable(sqe)?;
                self.mark(sqe, blocks, true);
                Ok(Outcome::ok())
            }
            Some(NvmOpcode::DatasetManagement) => self.dataset_management(sqe, &command.data),
            _ => Err(Status::INVALID_OPCODE.no_retry()),
        }
    }

    fn flush(&mut self, sqe: &Sqe) -> Result<Outcome, Status> {
        self.stats.flushes += 1;
        if sqe.nsid.get() == NSID_ALL {
            self.flush_all()?;
        } else {
            let media = self
                .media(sqe.nsid.get())
                .ok_or(Status::INVALID_NAMESPACE.no_retry())?;
            media.flush().map_err(|_| Status::WRITE_FAULT)?;
        }
        Ok(Outcome::ok())
    }

    fn load(&self, sqe: &Sqe) -> Result<Vec<u8>, Status> {
        let (blocks, len) = self.blocks(sqe)?;
        let ns = self.namespace(sqe.nsid.get())?;
        if ns.media.is_bad(blocks.clone()) {
            return Err(Status::READ_ERROR);
        }
        let mut data = vec![0; len as usize];
        ns.media
            .read(blocks.start << ns.spec.block_shift, &mut data)
            .map_err(|_| Status::READ_ERROR)?;
        Ok(data)
    }

    fn read(&mut self, sqe: &Sqe) -> Result<Outcome, Status> {
        let data = self.load(sqe)?;
        self.stats.reads += 1;
        self.stats.bytes_read += data.len() as u64;
        Ok(Outcome::data(data))
    }

    fn compare(&mut self, sqe: &Sqe, data: &[u8]) -> Result<Outcome, Status> {
        self.stats.reads += 1;
        if self.load(sqe)? == data {
            Ok(Outcome::ok())
        } else {
            Err(Status::COMPARE_FAILED)
        }
    }

    /// As [`Ssd::blocks`], if they may be changed.
    fn writable(&self, sqe: &Sqe) -> Result<(Range<u64>, u32), Status> {
        if self.namespace(sqe.nsid.get())?.spec.write_protected {
            return Err(Status::WRITE_PROTECTED.no_retry());
        }
        self.blocks(sqe)
    }

    fn mark(&mut self, sqe: &Sqe, blocks: Range<u64>, bad: bool) {
        if let Some(media) = self.media(sqe.nsid.get()) {
            media.mark(blocks, bad);
        }
    }

    fn write(&mut self, sqe: &Sqe, data: &[u8]) -> Result<Outcome, Status> {
        let (blocks, len) = self.writable(sqe)?;
        let shift = self.namespace(sqe.nsid.get())?.spec.block_shift;
        let through = sqe.control() & control::FUA != 0 || !self.features.write_cache();
        let media = self
            .media(sqe.nsid.get())
            .ok_or(Status::INVALID_NAMESPACE.no_retry())?;
        media
            .write(blocks.start << shift, data, through)
            .map_err(|_| Status::WRITE_FAULT)?;
        media.mark(blocks, false);
        self.stats.writes += 1;
        self.stats.bytes_written += u64::from(len);
        Ok(Outcome::ok())
    }

    fn write_zeroes(&mut self, sqe: &Sqe) -> Result<Outcome, Status> {
        let (blocks, _) = self.writable(sqe)?;
        self.zero(sqe.nsid.get(), blocks)?;
        Ok(Outcome::ok())
    }

    fn dataset_management(&mut self, sqe: &Sqe, data: &[u8]) -> Result<Outcome, Status> {
        let ns = self.namespace(sqe.nsid.get())?;
        let (size, protected) = (ns.spec.blocks, ns.spec.write_protected);
        if sqe.cdw11.get() & dsm::DEALLOCATE == 0 {
            return Ok(Outcome::ok());
        }
        if protected {
            return Err(Status::WRITE_PROTECTED.no_retry());
        }
        let ranges = data
            .chunks_exact(RANGE as usize)
            .filter_map(|r| DsmRange::read_from_bytes(r).ok());
        let ranges: Vec<Range<u64>> = ranges
            .map(|r| {
                let end = r.slba.get().checked_add(u64::from(r.blocks.get()));
                let end = end
                    .filter(|end| *end <= size)
                    .ok_or(Status::LBA_RANGE.no_retry())?;
                Ok(r.slba.get()..end)
            })
            .collect::<Result<_, Status>>()?;
        for blocks in ranges {
            self.zero(sqe.nsid.get(), blocks)?;
        }
        Ok(Outcome::ok())
    }

    fn zero(&mut self, nsid: u32, blocks: Range<u64>) -> Result<(), Status> {
        let shift = self.namespace(nsid)?.spec.block_shift;
        let media = self
            .media(nsid)
            .ok_or(Status::INVALID_NAMESPACE.no_retry())?;
        let (at, len) = (blocks.start << shift, (blocks.end - blocks.start) << shift);
        media.zero(at, len).map_err(|_| Status::WRITE_FAULT)?;
        media.mark(blocks, false);
        Ok(())
    }
}
