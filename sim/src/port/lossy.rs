//! A wire that loses frames, in front of any other port. Which frames is decided by a seed, each way for itself.

use std::io;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rustix::event::PollFd;

use super::{LivePort, PortStats};

/// A port behind a lossy wire.
pub struct LossyPort<P> {
    inner: P,
    /// Parts per million.
    loss: u32,
    to_card: ChaCha8Rng,
    from_card: ChaCha8Rng,
    /// Frames lost, to the card and from it.
    lost: [u64; 2],
    arrived: Vec<Vec<u8>>,
}

impl<P: LivePort> LossyPort<P> {
    /// Loses `loss` frames in a million in each direction.
    pub fn new(inner: P, loss: u32, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut fork = || ChaCha8Rng::seed_from_u64(rng.next_u64());
        Self {
            inner,
            loss,
            to_card: fork(),
            from_card: fork(),
            lost: [0; 2],
            arrived: Vec::new(),
        }
    }

    /// Frames lost so far, to the card and from it.
    pub fn lost(&self) -> [u64; 2] {
        self.lost
    }
}

fn hit(rng: &mut ChaCha8Rng, loss: u32) -> bool {
    rng.next_u32() % 1_000_000 < loss
}

impl<P: LivePort> LivePort for LossyPort<P> {
    fn receive(&mut self, frames: &mut Vec<Vec<u8>>, most: usize) -> io::Result<()> {
        let room = most.saturating_sub(frames.len());
        self.inner.receive(&mut self.arrived, room)?;
        for frame in self.arrived.drain(..) {
            if hit(&mut self.to_card, self.loss) {
                self.lost[0] += 1;
            } else {
                frames.push(frame);
            }
        }
        Ok(())
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        if hit(&mut self.from_card, self.loss) {
            self.lost[1] += 1;
            return Ok(());
        }
        self.inner.send(frame)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.inner.wait(timeout)
    }

    fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) -> bool {
        self.inner.watch(fds)
    }

    fn connected(&self) -> bool {
        self.inner.connected()
    }

    fn stats(&self) -> PortStats {
        self.inner.stats()
    }

    fn describe(&self) -> String {
        let percent = f64::from(self.loss) / 10_000.0;
        format!("{} with {percent} % loss", self.inner.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives frame after frame and takes any.
    #[derive(Default)]
    struct Endless {
        given: u32,
        taken: Vec<Vec<u8>>,
    }

    impl LivePort for Endless {
        fn receive(&mut self, frames: &mut Vec<Vec<u8>>, most: usize) -> io::Result<()> {
            while frames.len() < most {
                frames.push(self.given.to_le_bytes().to_vec());
                self.given += 1;
            }
            Ok(())
        }

        fn send(&mut self, frame: &[u8]) -> io::Result<()> {
            self.taken.push(frame.to_vec());
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn wait(&mut self, _timeout: Duration) -> io::Result<()> {
            Ok(())
        }

        fn connected(&self) -> bool {
            true
        }

        fn stats(&self) -> PortStats {
            PortStats::default()
        }

        fn describe(&self) -> String {
            "endless".into()
        }
    }

    fn run(loss: u32, seed: u64) -> (Vec<Vec<u8>>, Vec<Vec<u8>>, [u64; 2]) {
        let mut port = LossyPort::new(Endless::default(), loss, seed);
        let mut received = Vec::new();
        for round in 0..100u32 {
            let mut batch = Vec::new();
            port.receive(&mut batch, 100).expect("no end");
            received.append(&mut batch);
            for number in 0..100 {
                let frame = (round * 100 + number).to_le_bytes();
                port.send(&frame).expect("takes all");
            }
        }
        (received, port.inner.taken.clone(), port.lost())
    }

    #[test]
    fn the_rate_is_kept_each_way_and_one_seed_gives_one_history() {
        let (received, sent, lost) = run(10_000, 3);
        assert_eq!(received.len() as u64 + lost[0], 10_000);
        assert_eq!(sent.len() as u64 + lost[1], 10_000);
        assert!(lost.iter().all(|n| (60..150).contains(n)), "{lost:?}");
        assert_ne!(received, sent, "each way for itself");
        assert_eq!((received, sent, lost), run(10_000, 3));
    }

    #[test]
    fn without_loss_everything_passes() {
        let (received, sent, lost) = run(0, 3);
        assert_eq!((received.len(), sent.len(), lost), (10_000, 10_000, [0; 2]));
    }
}
