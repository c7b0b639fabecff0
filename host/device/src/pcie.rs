//! What configuration space says of a function's PCIe link (PCIe Base 6.0, section 7.5.3).

/// A link: as it is, and as the function could have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Speed now, as the registers have it: 1 is 2.5 GT/s, 2 is 5, 3 is 8, and twice that each further.
    pub speed: u8,
    /// Lanes in use.
    pub width: u8,
    /// Highest speed, likewise.
    pub max_speed: u8,
    /// Most lanes.
    pub max_width: u8,
}

/// Capabilities pointer, and the status register's bit that says there is one.
const STATUS: usize = 0x06;
const HAS_CAPABILITIES: u8 = 1 << 4;
const FIRST: usize = 0x34;
/// Capability of a PCIe function; in it link capabilities and link status.
const PCI_EXPRESS: u8 = 0x10;
const LINK_CAPABILITIES: usize = 0x0C;
const LINK_STATUS: usize = 0x12;
/// As many fit into the space.
const MOST_CAPABILITIES: usize = 48;

impl Link {
    /// The link of the function with this configuration space (its first 256 bytes); `None` if it has none, as functions inside of a
    /// root complex, or if it does not answer.
    #[must_use]
    pub fn of(config: &[u8]) -> Option<Self> {
        if config.first_chunk::<2>()? == &[0xFF; 2] || config.get(STATUS)? & HAS_CAPABILITIES == 0 {
            return None;
        }
        let mut at = usize::from(*config.get(FIRST)? & !3);
        for _ in 0..MOST_CAPABILITIES {
            let [id, next] = *config.get(at..)?.first_chunk::<2>()?;
            if at == 0 {
                return None;
            }
            if id == PCI_EXPRESS {
                let word = |offset: usize| {
                    let bytes = config.get(at + offset..)?.first_chunk::<2>()?;
                    Some(u16::from_le_bytes(*bytes))
                };
                let (can, is) = (word(LINK_CAPABILITIES)?, word(LINK_STATUS)?);
                let parts = |word: u16| ((word & 15) as u8, (word >> 4 & 63) as u8);
                let ((max_speed, max_width), (speed, width)) = (parts(can), parts(is));
                let link = Self {
                    speed,
                    width,
                    max_speed,
                    max_width,
                };
                return (width > 0 && speed > 0).then_some(link);
            }
            at = usize::from(next & !3);
        }
        None
    }

    /// It runs slower or with fewer lanes than the function could: because of its slot, or because something is wrong.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.speed < self.max_speed || self.width < self.max_width
    }
}

/// GT/s of a speed as the registers have it; `None` for a number that stands for none.
#[must_use]
pub fn gigatransfers(speed: u8) -> Option<f64> {
    match speed {
        1 => Some(2.5),
        2 => Some(5.0),
        3..=7 => Some(f64::from(1_u32 << speed)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Power management at 40h, PCIe behind it at 60h.
    fn space() -> [u8; 256] {
        let mut space = [0; 256];
        space[..2].copy_from_slice(&[0x36, 0x1B]);
        space[STATUS] = HAS_CAPABILITIES;
        space[FIRST] = 0x40;
        space[0x40..0x42].copy_from_slice(&[1, 0x60]);
        space[0x60] = PCI_EXPRESS;
        // 16 GT/s by 8, and 8 GT/s by 4.
        space[0x6C..0x6E].copy_from_slice(&0x0084_u16.to_le_bytes());
        space[0x72..0x74].copy_from_slice(&0x0043_u16.to_le_bytes());
        space
    }

    #[test]
    fn a_link_is_read_as_it_is_and_as_it_could_be() {
        let link = Link::of(&space()).expect("there is one");
        assert_eq!((link.speed, link.width), (3, 4));
        assert_eq!((link.max_speed, link.max_width), (4, 8));
        assert!(link.is_degraded());
        assert_eq!(
            [3, 4, 5].map(gigatransfers),
            [Some(8.0), Some(16.0), Some(32.0)]
        );
        assert_eq!((gigatransfers(0), gigatransfers(15)), (None, None));
    }

    #[test]
    fn nothing_is_made_of_what_is_gone_short_or_goes_round_in_circles() {
        assert_eq!(Link::of(&[0xFF; 256]), None);
        let good = space();
        for len in 0..0x74 {
            assert_eq!(Link::of(&good[..len]), None, "{len} bytes");
        }
        let mut circle = good;
        circle[0x60] = 5;
        circle[0x61] = 0x40;
        assert_eq!(Link::of(&circle), None);
        let mut none = good;
        none[0x61..].fill(0);
        none[0x60] = 9;
        assert_eq!(Link::of(&none), None);
        let mut down = good;
        down[0x72..0x74].fill(0);
        assert_eq!(Link::of(&down), None);
    }
}
