//! PCI addresses.

use std::fmt;
use std::str::FromStr;

use crate::VfioError;

/// Domain, bus, device and function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

impl FromStr for PciAddress {
    type Err = VfioError;

    /// `0000:01:00.0`; the domain may be left out and may have more digits, as VMD's have.
    fn from_str(text: &str) -> Result<Self, VfioError> {
        parse(text).ok_or_else(|| VfioError::Address { got: text.into() })
    }
}

fn parse(text: &str) -> Option<PciAddress> {
    let hex = |part: &str, digits: std::ops::RangeInclusive<usize>, max: u32| {
        let good = digits.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
        let value = u32::from_str_radix(part, 16).ok().filter(|_| good)?;
        (value <= max).then_some(value)
    };
    let (rest, function) = text.split_once('.')?;
    let parts: Vec<&str> = rest.split(':').collect();
    let (domain, bus, device) = match parts[..] {
        [bus, device] => (0, bus, device),
        [domain, bus, device] => (hex(domain, 4..=8, u32::MAX)?, bus, device),
        _ => return None,
    };
    Some(PciAddress {
        domain,
        bus: hex(bus, 2..=2, 0xFF)? as u8,
        device: hex(device, 2..=2, 0x1F)? as u8,
        function: hex(function, 1..=1, 7)? as u8,
    })
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            device,
            function,
        } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_the_forms_that_lspci_prints() {
        for (text, want) in [
            ("0000:01:00.0", "0000:01:00.0"),
            ("01:1F.7", "0000:01:1f.7"),
            ("10000:e1:00.0", "10000:e1:00.0"),
        ] {
            assert_eq!(text.parse::<PciAddress>().expect(text).to_string(), want);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for text in [
            "",
            "1:0.0",
            "0000:01:00",
            "0000:01:20.0",
            "0000:01:00.8",
            "0:01:00.0",
            "../x:01.0",
            "+000:01:00.0",
        ] {
            let error = text.parse::<PciAddress>().expect_err(text).to_string();
            assert!(error.contains("such as 0000:01:00.0 wanted"), "{error}");
        }
    }
}
