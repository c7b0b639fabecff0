//! A TAP interface of the machine: the card appears behind it as a neighbour of the machine's own network stack.
//!
//! Create one that an ordinary user may open with `ip tuntap add dev NAME mode tap user USER`; with CAP_NET_ADMIN it
//! is created on opening and goes away afterwards. The kernel computes checksums and cuts segments itself here.
#![allow(unsafe_code)] // one ioctl

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::ioctl::{Setter, ioctl, opcode};

use super::{LivePort, MAX_FRAME, PortStats, wait_readable, would_block};

/// Linux, include/uapi/linux/if_tun.h.
const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;

/// `struct ifreq` as TUNSETIFF reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    unused: [u8; 22],
}
const _: () = assert!(size_of::<InterfaceRequest>() == 40);

/// An open TAP interface.
pub struct TapPort {
    device: File,
    name: String,
    buffer: Vec<u8>,
    stats: PortStats,
}

impl TapPort {
    /// Opens the interface `name` (1 to 15 bytes), or creates it.
    pub fn open(name: &str) -> io::Result<Self> {
        let valid = (1..16).contains(&name.len()) && !name.contains(['/', ' ', '\0']);
        if !valid {
            let text = format!(
                "an interface's name has 1 to 15 characters, without space or slash, not `{name}`"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")?;
        let mut request = InterfaceRequest {
            name: [0; 16],
            flags: IFF_TAP | IFF_NO_PI,
            unused: [0; 22],
        };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: TUNSETIFF takes a pointer to a `struct ifreq`, whose size and layout `InterfaceRequest` has; the
        // name ends with a NUL because it is shorter than the field.
        unsafe { ioctl(&device, Setter::<TUNSETIFF, InterfaceRequest>::new(request)) }
            .map_err(|error| explain(name, error.into()))?;
        fcntl_setfl(&device, OFlags::NONBLOCK)?;
        Ok(Self {
            device,
            name: name.to_string(),
            buffer: vec![0; MAX_FRAME],
            stats: PortStats::default(),
        })
    }
}

fn explain(name: &str, error: io::Error) -> io::Error {
    let hint = match error.raw_os_error() {
        Some(libc_code) if libc_code == rustix::io::Errno::PERM.raw_os_error() => {
            format!("no permission; as root: ip tuntap add dev {name} mode tap user $USER")
        }
        Some(libc_code) if libc_code == rustix::io::Errno::BUSY.raw_os_error() => {
            "another program has it open".to_string()
        }
        Some(libc_code) if libc_code == rustix::io::Errno::INVAL.raw_os_error() => {
            format!("{name} exists and is no TAP interface")
        }
        _ => return error,
    };
    io::Error::new(error.kind(), hint)
}

impl LivePort for TapPort {
    fn receive(&mut self, frames: &mut Vec<Vec<u8>>, most: usize) -> io::Result<()> {
        while frames.len() < most {
            match self.device.read(&mut self.buffer) {
                Ok(length) => {
                    frames.push(self.buffer[..length].to_vec());
                    self.stats.received += 1;
                }
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        // The kernel refuses frames while the interface is down: that is a wire without a peer.
        match self.device.write(frame) {
            Ok(_) => self.stats.sent += 1,
            Err(_) => self.stats.dropped += 1,
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        wait_readable(&[self.device.as_fd()], timeout)
    }

    fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) -> bool {
        fds.push(PollFd::new(&self.device, PollFlags::IN));
        false
    }

    fn connected(&self) -> bool {
        true
    }

    fn stats(&self) -> PortStats {
        self.stats
    }

    fn describe(&self) -> String {
        format!("tap:{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_be_an_interface_is_refused_before_the_kernel_is_asked() {
        for name in ["", "far-too-long-name", "a/b", "a b"] {
            let error = TapPort::open(name).err().expect("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
    }

    #[test]
    fn frames_reach_the_machine_and_its_own_come_back_where_taps_may_be_made() {
        let name = format!("sl{}", std::process::id() % 1_000_000);
        let Ok(mut port) = TapPort::open(&name) else {
            eprintln!("skipped: this user may not make TAP interfaces");
            return;
        };
        let up = std::process::Command::new("ip")
            .args(["link", "set", &name, "up"])
            .status();
        if !up.is_ok_and(|status| status.success()) {
            eprintln!("skipped: the interface cannot be brought up");
            return;
        }
        // The stack announces itself (IPv6 router solicitation, multicast listener report) or IPv6 is off and it is silent.
        let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5], &[0; 46]].concat();
        port.send(&frame).expect("sends");
        assert_eq!(port.stats().sent, 1, "the interface is up and takes frames");
        assert_eq!(port.stats().dropped, 0);
        let taken = std::fs::read_to_string(format!("/sys/class/net/{name}/statistics/rx_packets"))
            .expect("counter");
        assert_eq!(taken.trim(), "1");
    }
}
