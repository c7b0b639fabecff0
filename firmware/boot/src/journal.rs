//! Boot state in two sectors: which slot is to be started, whether it is on trial, and what failed.
//!
//! State is written as a whole, as a record behind the last one; the highest sequence number counts. What can go wrong with
//! power, and why it does no harm:
//!
//! - A record cut off while it is programmed fails its checksum, so the one before it stands. If bits of it are unstable it
//!   may read as good once and as bad another time: both are states that somebody asked for. It can never outrank what is
//!   written later, since the first record of each start takes a sequence number more than it could have.
//! - After a start nobody knows whether the sector's free part is really blank. So the first record goes to the other sector,
//!   erased before. Until it is there the record that counts is untouched in its own sector.
//! - The record that counts may itself be one that was cut off and read as good by luck. So before the other sector is
//!   erased it is programmed once more, which makes its bits firm.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

use crate::flash::{self, Flash, FlashError};
use crate::layout::{JOURNAL, SECTOR, Slot};

const MAGIC: u16 = u16::from_le_bytes(*b"SJ");
const FORMAT: u8 = 1;
/// Bytes of a record. A page is a multiple, so none crosses a page.
const RECORD: u32 = 32;
/// Records in a sector.
const RECORDS: u32 = SECTOR / RECORD;
/// "No slot" in a record.
const NONE: u8 = 0xFF;

/// A record as it lies in the flash.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
struct Record {
    magic: U16,
    format: u8,
    active: u8,
    sequence: U32,
    trial: u8,
    attempts: u8,
    /// Bit per slot.
    failed: u8,
    reserved: [u8; 17],
    /// CRC32C of what is before it.
    crc: U32,
}
const _: () = assert!(size_of::<Record>() == RECORD as usize);

/// Firmware that was activated and has not been confirmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trial {
    /// Where it lies.
    pub slot: Slot,
    /// Times that it was started.
    pub attempts: u8,
}

/// What the boot ROM goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// Confirmed firmware; `None`: nothing was ever confirmed, the newest good slot is started.
    pub active: Option<Slot>,
    /// Firmware to be tried first.
    pub trial: Option<Trial>,
    /// Slots whose firmware failed its trial, by index.
    pub failed: [bool; 2],
}

impl State {
    /// The slot's firmware failed its trial.
    #[must_use]
    pub const fn has_failed(&self, slot: Slot) -> bool {
        self.failed[slot.index()]
    }

    fn record(&self, sequence: u32) -> Record {
        let slot = |slot: Option<Slot>| slot.map_or(NONE, |slot| slot as u8);
        let mut record = Record {
            magic: MAGIC.into(),
            format: FORMAT,
            active: slot(self.active),
            sequence: sequence.into(),
            trial: slot(self.trial.map(|trial| trial.slot)),
            attempts: self.trial.map_or(0, |trial| trial.attempts),
            failed: u8::from(self.failed[0]) | u8::from(self.failed[1]) << 1,
            reserved: [0; 17],
            crc: 0.into(),
        };
        record.crc = record.checksum().into();
        record
    }
}

impl Record {
    fn checksum(&self) -> u32 {
        crate::crc32c(&self.as_bytes()[..RECORD as usize - 4])
    }

    /// What it says, if it is whole.
    fn state(&self) -> Option<State> {
        let slot = |index: u8| match index {
            NONE => Some(None),
            index => Slot::from_index(index.into()).map(Some),
        };
        if self.magic.get() != MAGIC || self.format != FORMAT || self.crc.get() != self.checksum() {
            return None;
        }
        let attempts = self.attempts;
        Some(State {
            active: slot(self.active)?,
            trial: slot(self.trial)?.map(|slot| Trial { slot, attempts }),
            failed: [self.failed & 1 != 0, self.failed & 2 != 0],
        })
    }
}

/// The record that counts.
#[derive(Clone, Copy, Debug)]
struct Current {
    record: Record,
    /// Which of the two sectors, and which record of it.
    sector: usize,
    index: u32,
}

impl Current {
    const fn at(&self) -> u32 {
        JOURNAL[self.sector] + self.index * RECORD
    }
}

/// Where a write has got to.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Make the bits of the record that counts firm.
    Refresh,
    /// Clear the other sector.
    Erase,
    /// Write the record.
    Program,
    /// Read it back.
    Compare,
}

/// The journal, read and ready to be written to.
pub struct Journal {
    current: Option<Current>,
    state: State,
    /// Written to since it was opened: what is behind the last record is blank.
    warm: bool,
    writing: Option<(State, Current, Step)>,
}

impl Journal {
    /// Reads both sectors.
    ///
    /// # Errors
    /// [`FlashError::Failed`].
    pub fn open<F: Flash>(flash: &mut F) -> Result<Self, FlashError> {
        let mut current: Option<Current> = None;
        let mut state = State::default();
        for (sector, base) in JOURNAL.iter().enumerate() {
            for index in 0..RECORDS {
                let mut bytes = [0; RECORD as usize];
                let at = base + index * RECORD;
                flash::read(flash, at, &mut bytes)?;
                let record: Record = zerocopy::transmute!(bytes);
                let newer = current
                    .as_ref()
                    .is_none_or(|c| c.record.sequence.get() < record.sequence.get());
                if !newer {
                    continue;
                }
                if let Some(read) = record.state() {
                    state = read;
                    current = Some(Current {
                        record,
                        sector,
                        index,
                    });
                }
            }
        }
        Ok(Self {
            current,
            state,
            warm: false,
            writing: None,
        })
    }

    /// What counts now.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Begins to write `state`. It counts once [`Journal::step`] has said so.
    pub fn write(&mut self, state: State) {
        let sequence = self.current.map_or(0, |c| c.record.sequence.get());
        let same_sector = self
            .current
            .filter(|current| self.warm && current.index + 1 < RECORDS);
        let (next, step) = match same_sector {
            Some(current) => {
                let record = state.record(sequence + 1);
                let (sector, index) = (current.sector, current.index + 1);
                (
                    Current {
                        record,
                        sector,
                        index,
                    },
                    Step::Program,
                )
            }
            None => {
                let record = state.record(sequence + 2);
                let sector = self.current.map_or(0, |current| 1 - current.sector);
                let next = Current {
                    record,
                    sector,
                    index: 0,
                };
                (next, Step::Refresh)
            }
        };
        self.writing = Some((state, next, step));
    }

    /// Does the next thing; true when the new state counts. The flash must not be busy.
    ///
    /// # Errors
    /// [`FlashError`]; then the old state counts, and the write is given up.
    pub fn step<F: Flash>(&mut self, flash: &mut F) -> Result<bool, FlashError> {
        let Some((state, next, step)) = self.writing else {
            return Ok(true);
        };
        let outcome = self.one(flash, &next, step);
        match outcome {
            Ok(Some(step)) => {
                self.writing = Some((state, next, step));
                Ok(false)
            }
            Ok(None) => {
                self.writing = None;
                (self.current, self.state, self.warm) = (Some(next), state, true);
                Ok(true)
            }
            Err(error) => {
                // The next try begins with a sector that is erased anew.
                (self.writing, self.warm) = (None, false);
                Err(error)
            }
        }
    }

    fn one<F: Flash>(
        &self,
        flash: &mut F,
        next: &Current,
        step: Step,
    ) -> Result<Option<Step>, FlashError> {
        match step {
            Step::Refresh => {
                if let Some(current) = &self.current {
                    flash::program(flash, current.at(), current.record.as_bytes())?;
                }
                Ok(Some(Step::Erase))
            }
            Step::Erase => {
                flash::erase(flash, JOURNAL[next.sector])?;
                Ok(Some(Step::Program))
            }
            Step::Program => {
                flash::program(flash, next.at(), next.record.as_bytes())?;
                Ok(Some(Step::Compare))
            }
            Step::Compare => {
                flash::compare(flash, next.at(), next.record.as_bytes())?;
                Ok(None)
            }
        }
    }

    /// Writes `state` and waits until it counts.
    ///
    /// # Errors
    /// [`FlashError`].
    pub fn write_now<F: Flash>(&mut self, flash: &mut F, state: State) -> Result<(), FlashError> {
        self.write(state);
        loop {
            flash::wait(flash)?;
            if self.step(flash)? {
                return Ok(());
            }
        }
    }
}

#[cfg(feature = "pack")]
impl Journal {
    /// The record of a journal that holds nothing else, and its address.
    pub(crate) fn first_record(state: &State) -> (u32, [u8; RECORD as usize]) {
        (JOURNAL[0], zerocopy::transmute!(state.record(1)))
    }
}
