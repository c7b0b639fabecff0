//! A new signing key takes the place of the older one.

use zerocopy::IntoBytes;

use super::UpdateError;
use crate::flash::{self, Flash, FlashError};
use crate::fuses::Fuses;
use crate::image::{HEADER_SIZE, Header};
use crate::keys::{self, Certificate, CertificateError};
use crate::layout::{KEYS, Slot};

/// Why a certificate is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RotateError {
    /// It is not in order.
    Certificate(CertificateError),
    /// A key of this generation or a later one is there already.
    Generation {
        /// The latest that is there.
        have: u32,
        /// What came.
        got: u32,
    },
    /// The key that would go signed firmware that is started: update it first.
    KeyInUse(Slot),
    /// The flash.
    Flash(FlashError),
}

/// A certificate on its way into its slot.
pub(super) struct Rotation {
    certificate: Certificate,
    slot: usize,
    step: Step,
}

#[derive(Clone, Copy)]
enum Step {
    Erase,
    Program,
    Compare,
}

impl Rotation {
    /// Checks everything; `in_use` are the slots whose firmware must stay good.
    pub fn new<F: Flash, U: Fuses>(
        certificate: &Certificate,
        in_use: &[Option<Slot>],
        flash: &mut F,
        fuses: &U,
    ) -> Result<Self, RotateError> {
        certificate.check(fuses).map_err(RotateError::Certificate)?;
        let mut held = [None; 2];
        for (slot, held) in held.iter_mut().enumerate() {
            let found = keys::read_slot(flash, slot).map_err(RotateError::Flash)?;
            *held = found.check(fuses).is_ok().then_some(found);
        }
        let generation = |held: &Option<Certificate>| held.map_or(0, |c| c.generation.get());
        let (have, got) = (
            held.iter().map(generation).max().unwrap_or(0),
            certificate.generation.get(),
        );
        // The very same again: the power may have failed before the answer, or before the fuses.
        let again = held
            .iter()
            .position(|held| held.as_ref() == Some(certificate));
        if got <= have && again.is_none() {
            return Err(RotateError::Generation { have, got });
        }
        let slot = again.unwrap_or(usize::from(generation(&held[1]) < generation(&held[0])));
        for firmware in in_use.iter().flatten() {
            let id = signer(flash, *firmware).map_err(RotateError::Flash)?;
            let goes = |(index, held): (usize, &Option<Certificate>)| {
                held.is_some_and(|c| {
                    let replaced = index == slot && again.is_none();
                    let revoked = c.generation.get() < certificate.revokes_below.get();
                    c.key_id() == id && (replaced || revoked)
                })
            };
            if held.iter().enumerate().any(goes) {
                return Err(RotateError::KeyInUse(*firmware));
            }
        }
        Ok(Self {
            certificate: *certificate,
            slot,
            step: if again.is_some() {
                Step::Compare
            } else {
                Step::Erase
            },
        })
    }

    /// The next thing; true when it is done.
    pub fn step<F: Flash, U: Fuses>(
        &mut self,
        flash: &mut F,
        fuses: &mut U,
    ) -> Result<bool, UpdateError> {
        let at = KEYS[self.slot];
        match self.step {
            Step::Erase => {
                flash::erase(flash, at)?;
                self.step = Step::Program;
            }
            Step::Program => {
                flash::program(flash, at, self.certificate.as_bytes())?;
                self.step = Step::Compare;
            }
            Step::Compare => {
                flash::compare(flash, at, self.certificate.as_bytes())?;
                let revoked = self.certificate.revokes_below.get();
                return match fuses.raise_key_generation(revoked) {
                    Ok(()) => Ok(true),
                    Err(_) => Err(UpdateError::Fuse),
                };
            }
        }
        Ok(false)
    }
}

/// The key that signed what is in a slot, as its header says.
fn signer<F: Flash>(flash: &mut F, slot: Slot) -> Result<keys::KeyId, FlashError> {
    let mut bytes = [0; HEADER_SIZE];
    flash::read(flash, slot.base(), &mut bytes)?;
    Ok(Header::of(&bytes).key_id)
}
