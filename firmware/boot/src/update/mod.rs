//! Replacing firmware, as a machine that never waits: [`Updater::start`] takes a request, [`Updater::poll`] does the next
//! small thing of it, at most one program or erase, and says when it is done.
//!
//! The order is begin, write, verify, activate; after the next start of the cores the new firmware confirms itself, or is
//! rolled back. Only the slot that does not run is ever written. What is refused leaves the boot state, and with it the
//! running firmware, as it was. If power fails at any moment a good slot is started.

mod rotate;

pub use rotate::RotateError;

use crate::check::{self, Check, NoSink, Refusal};
use crate::flash::{self, Flash, FlashError};
use crate::fuses::Fuses;
use crate::image::{HEADER_SIZE, Header, Package};
use crate::journal::{Journal, State, Trial};
use crate::keys::{CERTIFICATE_SIZE, Certificate};
use crate::layout::{PAGE, SECTOR, Slot};
use rotate::Rotation;

/// Longest piece of a package that is written with one request: a sector.
pub const MAX_PIECE: u32 = SECTOR;

/// What may be asked for.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    /// A new download: the package's header. Whatever was downloaded before is given up.
    Begin(Header),
    /// The next piece, behind the header or the piece before: `len` bytes that belong at `offset` in the package. A multiple
    /// of [`PAGE`], at most [`MAX_PIECE`], or all that is left.
    Write {
        /// From the package's first byte.
        offset: u32,
        /// Bytes.
        len: u32,
    },
    /// Is what was written what the header promised?
    Verify,
    /// Try the verified package at the next start.
    Activate,
    /// The running firmware is well: it is to be started from now on.
    Confirm,
    /// Back to what ran before: gives up a trial, or makes the other slot the confirmed one.
    RollBack,
    /// A new signing key.
    Rotate(Certificate),
}

/// Why a request was refused or failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdateError {
    /// The request before is not done.
    Busy,
    /// The package is not one that this card would start.
    Refused(Refusal),
    /// This request does not come now: begin, write, verify, activate.
    OutOfOrder,
    /// Pieces come in order.
    Offset {
        /// Where the next one begins.
        want: u32,
        /// What came.
        got: u32,
    },
    /// A piece is empty, too long, or ends within a page.
    Length {
        /// What came.
        got: u32,
    },
    /// The running firmware is on trial: it may not overwrite what would be started if it fails. Confirm it first.
    NotConfirmed,
    /// The running firmware was loaded by the host: there is nothing to confirm or to go back to.
    NotFromFlash,
    /// The certificate was not taken.
    Rotate(RotateError),
    /// The flash failed.
    Flash(FlashError),
    /// The fuses could not be raised; all else is done.
    Fuse,
}

impl From<FlashError> for UpdateError {
    fn from(error: FlashError) -> Self {
        Self::Flash(error)
    }
}

impl From<Refusal> for UpdateError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Where a download stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Download {
    /// There is none.
    #[default]
    None,
    /// Pieces are awaited.
    Receiving {
        /// Where the next piece begins.
        next: u32,
        /// Bytes of the package.
        len: u32,
    },
    /// The package is in the slot and good.
    Verified,
}

/// What a request is at.
enum Job {
    None,
    /// The boot state is written, then the rest follows.
    State(After),
    /// The first sector of the slot is cleared.
    Clear,
    Write(Piece),
    /// The header's page is programmed.
    Seal,
    Check(Check, Why),
    Rotate(Rotation),
    /// All is done once the chip is.
    Settle,
}

/// What follows when the boot state is written.
#[derive(Clone, Copy)]
enum After {
    Nothing,
    Clear,
    /// Burn this security version.
    Fuse(u32),
}

/// What a check is for.
#[derive(Clone, Copy)]
enum Why {
    Download,
    Confirm,
    RollBack,
}

#[derive(Clone, Copy)]
struct Piece {
    offset: u32,
    len: u32,
    done: u32,
    erased: bool,
}

/// Gives the bytes of the piece that is being written.
pub trait Source {
    /// The bytes from `offset` in the piece on.
    fn take(&mut self, offset: u32, into: &mut [u8]);
}

impl Source for &[u8] {
    fn take(&mut self, offset: u32, into: &mut [u8]) {
        let at = offset as usize;
        into.copy_from_slice(&self[at..at + into.len()]);
    }
}

/// No piece is being written.
pub struct NoSource;

impl Source for NoSource {
    fn take(&mut self, _: u32, into: &mut [u8]) {
        into.fill(0xFF);
    }
}

/// The state of the card's firmware in flash, as the running firmware has it.
pub struct Updater {
    /// Where the running firmware comes from; `None`: the host loaded it.
    running: Option<Slot>,
    /// The slot that downloads go to.
    target: Slot,
    journal: Journal,
    header: Option<(Header, Package)>,
    download: Download,
    job: Job,
}

impl Updater {
    /// Reads the boot state. `running` is where the boot ROM says that the running firmware comes from.
    ///
    /// # Errors
    /// [`FlashError::Failed`].
    pub fn open<F: Flash>(flash: &mut F, running: Option<Slot>) -> Result<Self, FlashError> {
        let journal = Journal::open(flash)?;
        let state = journal.state();
        // Without a slot of its own the firmware leaves the one alone that would be started.
        let keep = running.or(state.active);
        Ok(Self {
            running,
            target: keep.map_or(Slot::A, Slot::other),
            journal,
            header: None,
            download: Download::None,
            job: Job::None,
        })
    }

    /// Where the running firmware comes from.
    #[must_use]
    pub const fn running(&self) -> Option<Slot> {
        self.running
    }

    /// Where a download goes.
    #[must_use]
    pub const fn target(&self) -> Slot {
        self.target
    }

    /// What the boot ROM will go by.
    #[must_use]
    pub const fn state(&self) -> State {
        self.journal.state()
    }

    /// Where the download stands.
    #[must_use]
    pub const fn download(&self) -> Download {
        self.download
    }

    /// A request is under way: [`Updater::poll`] wants to be called.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        !matches!(self.job, Job::None)
    }

    /// Bytes of the piece that the next [`Updater::poll`] will ask its source for: from where in the piece, and how many.
    #[must_use]
    pub const fn wants(&self) -> Option<(u32, u32)> {
        match &self.job {
            Job::Write(piece) => {
                let left = piece.len - piece.done;
                Some((piece.done, if left < PAGE { left } else { PAGE }))
            }
            _ => None,
        }
    }

    /// Takes a request. What can be refused at once is; otherwise [`Updater::poll`] says how it ended. The flash must not be
    /// busy.
    ///
    /// # Errors
    /// [`UpdateError`]; nothing was changed.
    pub fn start<F: Flash, U: Fuses>(
        &mut self,
        request: &Request,
        flash: &mut F,
        fuses: &U,
    ) -> Result<(), UpdateError> {
        if self.is_busy() {
            return Err(UpdateError::Busy);
        }
        match request {
            Request::Begin(header) => {
                let trial = self.state().trial.map(|trial| trial.slot);
                if trial.is_some() && trial == self.running {
                    return Err(UpdateError::NotConfirmed);
                }
                let package = check::header(header, flash, fuses)?;
                self.begin(*header, package);
            }
            Request::Write { offset, len } => self.piece(*offset, *len)?,
            Request::Verify => {
                let all = matches!(self.download, Download::Receiving { next, len } if next == len);
                if !all {
                    return Err(UpdateError::OutOfOrder);
                }
                self.job = Job::Seal;
            }
            Request::Activate => {
                if self.download != Download::Verified {
                    return Err(UpdateError::OutOfOrder);
                }
                let mut state = self.forgiven();
                let slot = self.target;
                state.trial = Some(Trial { slot, attempts: 0 });
                self.write_state(state, After::Nothing);
            }
            Request::Confirm => {
                let slot = self.running.ok_or(UpdateError::NotFromFlash)?;
                self.job = Job::Check(Check::new(slot), Why::Confirm);
            }
            Request::RollBack => self.roll_back()?,
            Request::Rotate(certificate) => {
                let slots = [
                    self.running,
                    self.state().active,
                    self.state().trial.map(|t| t.slot),
                ];
                let rotation = Rotation::new(certificate, &slots, flash, fuses)
                    .map_err(UpdateError::Rotate)?;
                self.job = Job::Rotate(rotation);
            }
        }
        Ok(())
    }

    /// The next small thing. `None`: not done yet, or nothing to do.
    pub fn poll<F: Flash, U: Fuses, S: Source>(
        &mut self,
        flash: &mut F,
        fuses: &mut U,
        source: &mut S,
    ) -> Option<Result<(), UpdateError>> {
        if !self.is_busy() {
            return None;
        }
        match flash::is_busy(flash) {
            Ok(false) => {}
            Ok(true) => return None,
            Err(error) => return self.fail(error.into()),
        }
        let job = core::mem::replace(&mut self.job, Job::None);
        if matches!(job, Job::Settle) {
            return Some(Ok(()));
        }
        match self.one(job, flash, fuses, source) {
            Ok(Job::None) => {
                self.job = Job::Settle;
                None
            }
            Ok(job) => {
                self.job = job;
                None
            }
            Err(error) => self.fail(error),
        }
    }

    /// All of a request, for those who may wait.
    ///
    /// # Errors
    /// [`UpdateError`].
    pub fn run<F: Flash, U: Fuses, S: Source>(
        &mut self,
        request: &Request,
        flash: &mut F,
        fuses: &mut U,
        source: &mut S,
    ) -> Result<(), UpdateError> {
        self.start(request, flash, fuses)?;
        while self.is_busy() {
            if let Some(done) = self.poll(flash, fuses, source) {
                return done;
            }
        }
        Ok(())
    }

    /// A request that fails half-way leaves a slot of which nothing is known: the download has to begin again.
    fn fail(&mut self, error: UpdateError) -> Option<Result<(), UpdateError>> {
        self.job = Job::None;
        self.download = Download::None;
        self.header = None;
        Some(Err(error))
    }

    fn one<F: Flash, U: Fuses, S: Source>(
        &mut self,
        job: Job,
        flash: &mut F,
        fuses: &mut U,
        source: &mut S,
    ) -> Result<Job, UpdateError> {
        match job {
            Job::None | Job::Settle => Ok(Job::None),
            Job::State(after) => {
                if !self.journal.step(flash)? {
                    return Ok(Job::State(after));
                }
                match after {
                    After::Nothing => Ok(Job::None),
                    After::Clear => Ok(Job::Clear),
                    After::Fuse(version) => fuses
                        .raise_security_version(version)
                        .map(|()| Job::None)
                        .map_err(|_| UpdateError::Fuse),
                }
            }
            Job::Clear => {
                flash::erase(flash, self.target.base())?;
                Ok(Job::None)
            }
            Job::Write(piece) => self.write_page(piece, flash, source),
            Job::Seal => {
                let (header, _) = self.header.as_ref().ok_or(UpdateError::OutOfOrder)?;
                let bytes: &[u8; HEADER_SIZE] = zerocopy::transmute_ref!(header);
                flash::program(flash, self.target.base(), bytes)?;
                Ok(Job::Check(Check::new(self.target), Why::Download))
            }
            Job::Check(mut check, why) => match check.step(flash, fuses, &mut NoSink)? {
                None => Ok(Job::Check(check, why)),
                Some(package) => self.checked(check.slot(), package, why, fuses),
            },
            Job::Rotate(mut rotation) => match rotation.step(flash, fuses)? {
                true => Ok(Job::None),
                false => Ok(Job::Rotate(rotation)),
            },
        }
    }

    fn begin(&mut self, header: Header, package: Package) {
        let (next, len) = (HEADER_SIZE as u32, package.len);
        self.header = Some((header, package));
        self.download = Download::Receiving { next, len };
        // Before the slot is touched nobody may still count on it.
        let state = self.forgiven();
        if state == self.state() {
            self.job = Job::Clear;
        } else {
            self.write_state(state, After::Clear);
        }
    }

    /// The state in which the target slot means nothing.
    fn forgiven(&self) -> State {
        let mut state = self.state();
        state.failed[self.target.index()] = false;
        state.trial = state.trial.filter(|trial| trial.slot != self.target);
        state.active = match state.active {
            // What runs is the better choice than what is about to be overwritten.
            Some(slot) if slot == self.target => self.running,
            other => other,
        };
        state
    }

    fn piece(&mut self, offset: u32, len: u32) -> Result<(), UpdateError> {
        let Download::Receiving { next, len: all } = self.download else {
            return Err(UpdateError::OutOfOrder);
        };
        if offset != next {
            return Err(UpdateError::Offset {
                want: next,
                got: offset,
            });
        }
        let whole = len.is_multiple_of(PAGE) || len == all - next;
        if len == 0 || len > MAX_PIECE || len > all - next || !whole {
            return Err(UpdateError::Length { got: len });
        }
        self.job = Job::Write(Piece {
            offset,
            len,
            done: 0,
            erased: false,
        });
        Ok(())
    }

    fn write_page<F: Flash, S: Source>(
        &mut self,
        mut piece: Piece,
        flash: &mut F,
        source: &mut S,
    ) -> Result<Job, UpdateError> {
        let at = piece.offset + piece.done;
        if at.is_multiple_of(SECTOR) && !piece.erased {
            flash::erase(flash, self.target.base() + at)?;
            piece.erased = true;
            return Ok(Job::Write(piece));
        }
        let mut page = [0xFF; PAGE as usize];
        let len = (piece.len - piece.done).min(PAGE);
        source.take(piece.done, &mut page[..len as usize]);
        flash::program(flash, self.target.base() + at, &page[..len as usize])?;
        piece.done += len;
        piece.erased = false;
        if piece.done < piece.len {
            return Ok(Job::Write(piece));
        }
        if let Download::Receiving { next, .. } = &mut self.download {
            *next += piece.len;
        }
        Ok(Job::None)
    }

    fn checked<U: Fuses>(
        &mut self,
        slot: Slot,
        package: Package,
        why: Why,
        fuses: &U,
    ) -> Result<Job, UpdateError> {
        let mut state = self.state();
        match why {
            Why::Download => {
                // The slot has what the signed header said, and it is the header that was begun with.
                if self.header.is_none_or(|(_, begun)| begun != package) {
                    return Err(Refusal::Digest.into());
                }
                self.download = Download::Verified;
                return Ok(Job::None);
            }
            Why::Confirm => {
                state.active = Some(slot);
                state.trial = state.trial.filter(|trial| trial.slot != slot);
                state.failed[slot.index()] = false;
                let raise = package.security_version.max(fuses.security_version());
                if state == self.state() && raise == fuses.security_version() {
                    return Ok(Job::None);
                }
                self.write_state(state, After::Fuse(raise));
            }
            Why::RollBack => {
                if let Some(running) = self.running
                    && state.trial.is_some_and(|trial| trial.slot == running)
                {
                    state = crate::start::over(state, running);
                }
                state.trial = None;
                state.active = Some(slot);
                state.failed[slot.index()] = false;
                self.write_state(state, After::Nothing);
            }
        }
        Ok(core::mem::replace(&mut self.job, Job::None))
    }

    fn roll_back(&mut self) -> Result<(), UpdateError> {
        let state = self.state();
        // A trial that has not begun needs no other slot.
        if state
            .trial
            .is_some_and(|trial| Some(trial.slot) != self.running)
        {
            let state = State {
                trial: None,
                ..state
            };
            self.write_state(state, After::Nothing);
            return Ok(());
        }
        let running = self.running.ok_or(UpdateError::NotFromFlash)?;
        if state.has_failed(running.other()) {
            return Err(Refusal::Failed.into());
        }
        self.job = Job::Check(Check::new(running.other()), Why::RollBack);
        Ok(())
    }

    fn write_state(&mut self, state: State, after: After) {
        self.journal.write(state);
        self.job = Job::State(after);
    }
}

const _: () = assert!(CERTIFICATE_SIZE <= PAGE as usize && HEADER_SIZE == PAGE as usize);
