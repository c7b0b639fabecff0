//! MSI-X vectors as event descriptors of the client.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Messages of the function go to this address, which is nobody's memory; their data are the vector's number.
pub const MESSAGE: u64 = 0xFFFF_FFFF_FEE0_0000;

/// The vectors.
#[derive(Debug)]
pub struct Irqs {
    vectors: Vec<Vector>,
    /// Interrupts signalled.
    pub fired: u64,
}

#[derive(Debug, Default)]
struct Vector {
    event: Option<OwnedFd>,
    masked: bool,
}

impl Irqs {
    /// None of `count` armed.
    #[must_use]
    pub fn new(count: u16) -> Self {
        Self {
            vectors: (0..count).map(|_| Vector::default()).collect(),
            fired: 0,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.vectors.len() as u32
    }

    /// Arms or disarms one.
    pub fn arm(&mut self, vector: u32, event: Option<OwnedFd>) {
        if let Some(v) = self.vectors.get_mut(vector as usize) {
            *v = Vector {
                event,
                masked: false,
            };
        }
    }

    /// Masks or unmasks one.
    pub fn mask(&mut self, vector: u32, masked: bool) {
        if let Some(v) = self.vectors.get_mut(vector as usize) {
            v.masked = masked;
        }
    }

    /// The function's table entry of this vector: address, data, and whether it is masked.
    #[must_use]
    pub fn entry(&self, vector: u32) -> [u32; 4] {
        let armed = self
            .vectors
            .get(vector as usize)
            .is_some_and(|v| v.event.is_some() && !v.masked);
        [
            MESSAGE as u32,
            (MESSAGE >> 32) as u32,
            vector,
            u32::from(!armed),
        ]
    }

    /// Tells the client.
    pub fn fire(&mut self, vector: u32) {
        let Some(event) = self
            .vectors
            .get(vector as usize)
            .and_then(|v| v.event.as_ref())
        else {
            return;
        };
        // It need not be an eventfd, nor one that never blocks: what has no room is not written to.
        let mut fds = [PollFd::new(event, PollFlags::OUT)];
        let ready = poll(
            &mut fds,
            Some(&Timespec::try_from(Duration::ZERO).expect("no time")),
        );
        if !matches!(ready, Ok(1)) || !fds[0].revents().contains(PollFlags::OUT) {
            log::debug!("vector {vector}: its event descriptor takes no more");
            return;
        }
        match rustix::io::write(event.as_fd(), &1u64.to_ne_bytes()) {
            Ok(_) => self.fired += 1,
            Err(error) => log::warn!("vector {vector}: cannot be signalled: {error}"),
        }
    }
}

/// Whether a descriptor is an eventfd: anything else could make us wait, or get bytes it should not.
#[must_use]
pub fn is_eventfd(fd: &OwnedFd) -> bool {
    use std::os::fd::AsRawFd;
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    link.is_ok_and(|link| link.as_os_str() == "anon_inode:[eventfd]")
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[test]
    fn an_armed_vector_signals_and_its_table_entry_is_unmasked() {
        let mut irqs = Irqs::new(2);
        let event = eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd");
        irqs.arm(1, Some(event.try_clone().expect("a descriptor")));
        assert_eq!(irqs.entry(0)[3], 1);
        assert_eq!(irqs.entry(1)[2..], [1, 0]);
        irqs.mask(1, true);
        assert_eq!(irqs.entry(1)[3], 1);
        (0..3).for_each(|_| irqs.fire(1));
        irqs.fire(0);
        irqs.fire(9);
        let mut count = [0; 8];
        rustix::io::read(&event, &mut count).expect("signalled");
        assert_eq!((u64::from_ne_bytes(count), irqs.fired), (3, 3));
    }

    #[test]
    fn an_event_descriptor_that_is_full_or_none_does_not_make_us_wait() {
        let mut irqs = Irqs::new(1);
        let full = eventfd(0, EventfdFlags::empty()).expect("an eventfd that blocks");
        rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).expect("fills it");
        assert!(is_eventfd(&full));
        irqs.arm(0, Some(full));
        irqs.fire(0);
        assert_eq!(irqs.fired, 0);
        let zero = std::fs::File::open("/dev/null").expect("opens");
        assert!(!is_eventfd(&zero.into()));
    }
}
