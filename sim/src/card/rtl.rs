//! The Verilated card: the RTL itself, running the RV32 images, behind [`CardModel`].
//!
//! Packets and frames become beats of 16 bytes on the way in and are put together again on the way out. The RTL has no
//! PCIe link layer: what stands in front of it on a real board is the FPGA vendor's hard block.

mod board;
mod inbound;
mod outbound;
mod wire;

use std::path::Path;

use sluice_verilated::{Beat, Board, Card, Input, NewCardError, Output};

use super::{CardModel, Ethernet, TimeSource};
use crate::fabric::{Clock, Port, Tlp};
pub use board::{SharedChip, board};
use inbound::Inbound;
use outbound::Outbound;
use wire::{FromWire, ToWire};

/// A Verilated card. The firmware is not in it yet: the host driver loads the images through BAR0, as on a real card.
pub struct RtlCard {
    card: Card,
    inbound: Inbound,
    outbound: Outbound,
    to_card: ToWire,
    from_card: FromWire,
}

impl RtlCard {
    /// A card with this many data cores besides the control core; `seed` starts its entropy input.
    ///
    /// # Errors
    /// [`NewCardError`] if this build has no such model.
    pub fn new(data_cores: u32, seed: u64) -> Result<Self, NewCardError> {
        Ok(Self::over(Card::split(data_cores, seed)?))
    }

    /// The same on a board with a flash chip, fuses and a boot program.
    ///
    /// # Errors
    /// [`NewCardError`] if this build has no such model.
    pub fn on(board: Board, data_cores: u32, seed: u64) -> Result<Self, NewCardError> {
        Ok(Self::over(Card::split_on(board, data_cores, seed)?))
    }

    /// Over a card made elsewhere, for instance a flattened one.
    #[must_use]
    pub fn over(card: Card) -> Self {
        Self {
            card,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            to_card: ToWire::default(),
            from_card: FromWire::default(),
        }
    }

    /// Writes waveforms from here on to FST files whose names begin with `path`. False if the build has no tracing
    /// (feature `waves` of `sluice-verilated`) or the files cannot be created.
    #[must_use]
    pub fn trace(&mut self, path: &Path) -> bool {
        self.card.trace(path)
    }

    /// Fingerprint of everything the card put out so far, clock for clock.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.card.fingerprint()
    }

    /// Queues what arrives before `until`.
    fn feed(&mut self, until: Clock, pcie: &mut Port, ethernet: &mut Ethernet) {
        let mut beats = Vec::new();
        while pcie.inbox.front().is_some_and(|(at, _)| *at < until) {
            let (at, tlp) = pcie.inbox.pop_front().expect("peeked");
            match tlp {
                Tlp::Write { addr, data } => self.inbound.write(at, addr, &data, &mut beats),
                Tlp::Read { addr, len, tag } => self.inbound.read(at, addr, len, tag, &mut beats),
                Tlp::Completion { tag, data } => self.outbound.answered(at, tag, data),
            }
        }
        self.card.push(Input::Request, &beats);
        beats.clear();
        self.outbound.answers(&mut beats);
        self.card.push(Input::HostAnswer, &beats);
        beats.clear();
        while ethernet.to_card.front().is_some_and(|(at, _)| *at < until) {
            let (at, frame) = ethernet.to_card.pop_front().expect("peeked");
            self.to_card.frame(at, &frame, &mut beats);
        }
        self.card.push(Input::Wire, &beats);
    }

    /// Passes on what the card put out.
    fn collect(&mut self, pcie: &mut Port, ethernet: &mut Ethernet) {
        let mut sent = Vec::new();
        self.drain(Output::Answer, |card, beat| {
            card.inbound.answer(&beat, &mut sent)
        });
        self.drain(Output::HostRequest, |card, beat| {
            card.outbound.request(&beat, &mut sent)
        });
        sent.sort_by_key(|(at, _)| *at);
        pcie.outbox.extend(sent);
        self.drain(Output::Wire, |card, beat| {
            ethernet.from_card.extend(card.from_card.beat(&beat))
        });
    }

    fn drain(&mut self, output: Output, mut each: impl FnMut(&mut Self, Beat)) {
        let mut beats = [Beat::default(); 64];
        loop {
            let count = self.card.take(output, &mut beats);
            beats[..count].iter().for_each(|beat| each(self, *beat));
            if count < beats.len() {
                return;
            }
        }
    }
}

impl CardModel for RtlCard {
    fn name(&self) -> &'static str {
        "rtl"
    }

    /// # Panics
    /// If the RTL stops itself: an assertion failed.
    fn run(&mut self, until: Clock, pcie: &mut Port, ethernet: &mut Ethernet) {
        self.feed(until, pcie, ethernet);
        let result = self.card.run(until);
        self.collect(pcie, ethernet);
        if let Err(stopped) = result {
            panic!("{stopped}");
        }
    }

    fn clocks(&self) -> Clock {
        self.card.clock()
    }

    fn set_time(&mut self, source: TimeSource) {
        match source {
            TimeSource::Clocks => self.card.set_clocked_micros(),
            TimeSource::Live { micros } => self.card.set_live_micros(micros),
        }
    }

    fn take_profile(&mut self, core: u32) -> Vec<u32> {
        self.card.take_profile(core)
    }

    fn idle_until(&self) -> Option<Clock> {
        self.card.idle_until()
    }
}
