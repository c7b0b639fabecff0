//! Several hosts on one port of the card, as behind a switch.

use super::Initiator;
use crate::{fabric::Clock, link::Frames};

/// Hosts that share a port. Unicast frames go to the host they are for, all others to every host.
#[derive(Default)]
pub struct Hosts(pub Vec<Initiator>);

impl Hosts {
    /// Polls every host with what has arrived by `now`.
    pub fn poll(&mut self, now: Clock, to_card: &mut Frames, from_card: &mut Frames) {
        while from_card.front().is_some_and(|(at, _)| *at <= now) {
            let Some((at, frame)) = from_card.pop_front() else {
                break;
            };
            let group = frame.first().is_some_and(|byte| byte & 1 == 1);
            for host in &mut self.0 {
                if group || frame.get(..6) == Some(&host.mac()[..]) {
                    host.receive(at, frame.clone(), to_card);
                }
            }
        }
        for host in &mut self.0 {
            host.advance(now, to_card);
        }
    }

    /// When any host next wants to be polled if no frame arrives.
    pub fn next_poll(&mut self) -> Option<Clock> {
        self.0.iter_mut().filter_map(Initiator::next_poll).min()
    }
}
