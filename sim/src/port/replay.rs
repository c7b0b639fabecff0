//! A capture file as the peer: its frames come as fast as they are taken, what the card answers is counted.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LivePort, PortStats};
use crate::pcap;

/// Frames of a capture, handed out once.
pub struct ReplayPort {
    path: PathBuf,
    frames: VecDeque<Vec<u8>>,
    stats: PortStats,
}

impl ReplayPort {
    /// Reads the whole capture.
    pub fn open(path: &Path) -> io::Result<Self> {
        let packets =
            pcap::read(path).map_err(|wrong| io::Error::new(io::ErrorKind::InvalidData, wrong))?;
        let frames = packets.into_iter().map(|packet| packet.data).collect();
        Ok(Self {
            path: path.to_path_buf(),
            frames,
            stats: PortStats::default(),
        })
    }
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

    #[test]
    fn a_capture_is_handed_out_once_in_portions() {
        let path = std::env::temp_dir().join(format!("sluice-replay-{}.pcap", std::process::id()));
        let mut writer = pcap::Writer::create(&path).expect("created");
        for number in 0..5u8 {
            writer
                .write(u64::from(number), &[number; 60])
                .expect("written");
        }
        writer.flush().expect("flushed");
        let mut port = ReplayPort::open(&path).expect("its own file");
        let mut frames = Vec::new();
        port.receive(&mut frames, 3).expect("three");
        assert_eq!(frames.len(), 3);
        port.receive(&mut frames, 100).expect("the rest");
        assert_eq!(
            frames,
            (0..5u8).map(|number| vec![number; 60]).collect::<Vec<_>>()
        );
        assert!(!port.connected() && port.stats().received == 5);
        std::fs::remove_file(&path).expect("removed");
    }
}
