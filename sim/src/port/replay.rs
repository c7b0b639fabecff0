//! A capture file as the peer: its frames come as fast as they are taken, what the card answers is counted.
//! Format: the classic pcap (draft-ietf-opsawg-pcap), either byte order, link type Ethernet.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LivePort, PortStats};

/// Frames of a capture, handed out once.
pub struct ReplayPort {
    path: PathBuf,
    frames: VecDeque<Vec<u8>>,
    stats: PortStats,
}

impl ReplayPort {
    /// Reads the whole capture.
    pub fn open(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let frames =
            parse(&bytes).map_err(|wrong| io::Error::new(io::ErrorKind::InvalidData, wrong))?;
        Ok(Self {
            path: path.to_path_buf(),
            frames,
            stats: PortStats::default(),
        })
    }
}

fn parse(bytes: &[u8]) -> Result<VecDeque<Vec<u8>>, String> {
    let magic = bytes
        .first_chunk::<4>()
        .ok_or("shorter than a capture's header")?;
    let word: fn([u8; 4]) -> u32 = match u32::from_le_bytes(*magic) {
        0xa1b2_c3d4 | 0xa1b2_3c4d => u32::from_le_bytes,
        0xd4c3_b2a1 | 0x4d3c_b2a1 => u32::from_be_bytes,
        other => {
            return Err(format!(
                "wanted a classic pcap file, the first word is {other:08x}"
            ));
        }
    };
    let field = |at: usize| {
        bytes
            .get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map(word)
    };
    match field(20) {
        Some(1) => {}
        other => return Err(format!("wanted link type 1 (Ethernet), got {other:?}")),
    }
    let mut frames = VecDeque::new();
    let mut at = 24;
    while at < bytes.len() {
        let length =
            field(at + 8).ok_or_else(|| format!("record {} is cut off", frames.len()))? as usize;
        let frame = (at + 16)
            .checked_add(length)
            .and_then(|end| bytes.get(at + 16..end));
        frames.push_back(
            frame
                .ok_or_else(|| format!("record {} is cut off", frames.len()))?
                .to_vec(),
        );
        at += 16 + length;
    }
    Ok(frames)
}

impl LivePort for ReplayPort {
    fn receive(&mut self, frames: &mut Vec<Vec<u8>>, most: usize) -> io::Result<()> {
        let count = most.saturating_sub(frames.len()).min(self.frames.len());
        frames.extend(self.frames.drain(..count));
        self.stats.received += count as u64;
        Ok(())
    }

    fn send(&mut self, _frame: &[u8]) -> io::Result<()> {
        self.stats.sent += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        if self.frames.is_empty() {
            std::thread::sleep(timeout);
        }
        Ok(())
    }

    fn connected(&self) -> bool {
        !self.frames.is_empty()
    }

    fn stats(&self) -> PortStats {
        self.stats
    }

    fn describe(&self) -> String {
        format!("replay:{}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(big_endian: bool, link: u32, frames: &[&[u8]]) -> Vec<u8> {
        let word = |value: u32| {
            if big_endian {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            }
        };
        let head = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, link];
        let mut bytes: Vec<u8> = head.into_iter().flat_map(word).collect();
        for frame in frames {
            let length = frame.len() as u32;
            bytes.extend([1, 2, length, length].into_iter().flat_map(word));
            bytes.extend_from_slice(frame);
        }
        bytes
    }

    #[test]
    fn both_byte_orders_give_the_same_frames() {
        for big_endian in [false, true] {
            let frames = parse(&capture(big_endian, 1, &[b"one", b"", b"three"])).expect("valid");
            assert_eq!(frames, [b"one".to_vec(), vec![], b"three".to_vec()]);
        }
    }

    #[test]
    fn a_capture_of_another_kind_or_cut_short_is_refused_with_the_place() {
        let whole = capture(false, 1, &[b"one", b"two"]);
        assert!(
            parse(&whole[..whole.len() - 1])
                .expect_err("cut")
                .contains("record 1")
        );
        assert!(
            parse(&capture(false, 113, &[]))
                .expect_err("cooked")
                .contains("113")
        );
        assert!(
            parse(b"hello world")
                .expect_err("text")
                .contains("6c6c6568")
        );
        let mut huge = whole;
        huge[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(parse(&huge).is_err());
    }
}
