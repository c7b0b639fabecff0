//! The card seen from outside: PCIe on one side, Ethernet on the other. The functional and the Verilated card
//! implement [`CardModel`]; every scenario runs on both.

pub mod functional;
#[cfg(feature = "rtl")]
pub mod rtl;

use std::collections::VecDeque;

use crate::fabric::{Clock, Port};

/// BAR0 (registers) begins here in the card's own view of its inbox: the world routes `bar0 + offset` and
/// `bar2 + offset` on the bus to the card as `BAR0_BASE + offset` and `BAR2_BASE + offset`.
pub const BAR0_BASE: u64 = 0;
/// BAR2 (packet memory).
pub const BAR2_BASE: u64 = 1 << 32;

/// The card's Ethernet port. Frames are without FCS, with the clock at which the last byte passed.
#[derive(Default, Debug)]
pub struct Ethernet {
    /// Frames towards the card, in order of time.
    pub to_card: VecDeque<(Clock, Vec<u8>)>,
    /// Frames from the card, in order of time.
    pub from_card: VecDeque<(Clock, Vec<u8>)>,
}

/// How the card's microsecond clock runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeSource {
    /// 250 clocks are a microsecond: deterministic simulation.
    Clocks,
    /// The microsecond clock is set from outside (a live peer's time); the card's clock never goes back.
    Live {
        /// Microseconds now.
        micros: u64,
    },
}

/// A model of the card.
pub trait CardModel {
    /// Name for reports: `rtl` or `functional`.
    fn name(&self) -> &'static str;
    /// Runs up to (not including) clock `until`.
    fn run(&mut self, until: Clock, pcie: &mut Port, ethernet: &mut Ethernet);
    /// Clocks run so far.
    fn clocks(&self) -> Clock;
    /// Sets how the microsecond clock runs from now on.
    fn set_time(&mut self, source: TimeSource);
    /// If `Some`: nothing to do before this clock unless a packet or frame arrives, so time may be skipped. `None`: at
    /// work, or the model cannot tell.
    fn idle_until(&self) -> Option<Clock> {
        None
    }
    /// Clocks that a core spent at each halfword of its memory since the last call, if the model counts them; the first
    /// call starts the count.
    fn take_profile(&mut self, _core: u32) -> Vec<u32> {
        Vec::new()
    }
    /// The functional card, to do something to it from outside.
    fn functional_mut(&mut self) -> Option<&mut functional::FunctionalCard> {
        None
    }
    /// The functional card, to look inside of it.
    fn functional(&self) -> Option<&functional::FunctionalCard> {
        None
    }
}
