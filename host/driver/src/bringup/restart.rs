//! A new start of the card with everything on it: how activated firmware gets to run.

use sluice_device::Device;

use super::{BringupError, LAST_ANSWERS, Notice, Rig, Slot, wire};
use crate::card::{Card, CardError};

impl<D: Device> Rig<D> {
    /// Every SSD serves, so that [`Rig::restart`] would bring all of them up again.
    ///
    /// # Errors
    /// [`BringupError::Open`] names one that is lost.
    pub fn restartable(&self) -> Result<(), BringupError> {
        let mut units = self.ssds.iter().zip(&self.config.ssds);
        match units.find(|(unit, _)| matches!(unit.slot, Slot::Lost)) {
            None => Ok(()),
            Some((_, spec)) => Err(BringupError::Open {
                name: spec.name.clone(),
                at: None,
                reason: "it is lost; bring it back, or take it out of the configuration, before the card is started anew"
                    .into(),
            }),
        }
    }

    /// Takes everything down, starts the card anew as `boot` does it, and brings everything up again: how activated
    /// firmware gets to run. Hosts lose their connections and find the card again. Ask
    /// [`Rig::restartable`] first.
    ///
    /// # Errors
    /// [`BringupError`], the first that came; then nothing serves, and devices are to be opened anew.
    pub fn restart(
        self,
        boot: impl FnOnce(D) -> Result<Card<D>, CardError>,
    ) -> Result<Self, BringupError> {
        let (config, options) = (self.config.clone(), self.options);
        let (device, ssds) = self.stop()?;
        let mut ssds = ssds.into_iter();
        Self::start(boot(device)?, config, options, |spec| {
            ssds.next().ok_or_else(|| format!("{} was lost", spec.name))
        })
    }

    /// As [`Rig::restart`], with the card and the SSDs that are there: the SSDs stay enabled and only lose their queues. Every SSD
    /// must [serve](Rig::restartable).
    ///
    /// # Errors
    /// [`BringupError`]. [`BringupError::Open`]: nothing was done. Else nothing serves, and the rig is good for [`Rig::stop`] alone.
    pub fn renew(
        &mut self,
        restart: impl FnOnce(&mut Card<D>) -> Result<(), CardError>,
    ) -> Result<(), BringupError> {
        self.restartable()?;
        for number in std::mem::take(&mut self.subsystems).into_iter().rev() {
            self.card.remove_subsystem(number)?;
        }
        self.card.wait_for_hosts(LAST_ANSWERS)?;
        for unit in self.ssds.iter_mut().rev() {
            let Slot::Serving(ssd) = &mut unit.slot else {
                continue;
            };
            for qid in ssd.queues().to_vec().into_iter().rev() {
                ssd.delete_queue_pair(qid)?;
            }
            self.card.detach_ssd(unit.number)?;
        }
        restart(&mut self.card)?;
        self.config.fit(self.card.info())?;
        for (number, port) in (0..).zip(self.config.ports.clone()) {
            self.card.set_port(number, &wire::port(&port))?;
        }
        for index in 0..self.ssds.len() {
            let (number, spec) = (self.ssds[index].number, self.config.ssds[index].clone());
            if let Slot::Serving(mut ssd) =
                std::mem::replace(&mut self.ssds[index].slot, Slot::Lost)
            {
                let attached = self.attach(number, &mut ssd, &spec);
                self.ssds[index].slot = Slot::Serving(ssd);
                attached?;
            }
        }
        self.serve()
    }

    /// Resets SSD `index`, which attaches it again: commands in flight fail, hosts try them again. Gives what became of it;
    /// `None` if it is lost already.
    ///
    /// # Errors
    /// [`BringupError`] if the card is the trouble.
    pub fn reset_ssd(&mut self, index: usize) -> Result<Option<Notice>, BringupError> {
        self.ssd_timeout(index)
    }
}
