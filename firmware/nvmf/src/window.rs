//! Writes the part of a page that a host asked for, the page being made from front to back.

use crate::DataSink;

/// A view of bytes `start .. start + len` of a page. What the page does not have reads as zeros.
pub(crate) struct Window<'a> {
    sink: &'a mut dyn DataSink,
    start: u64,
    len: u32,
    /// Where in the page the next byte goes.
    at: u64,
    /// Bytes given to the sink.
    written: u32,
}

impl<'a> Window<'a> {
    pub(crate) fn new(sink: &'a mut dyn DataSink, start: u64, len: u32) -> Self {
        Self {
            sink,
            start,
            len,
            at: 0,
            written: 0,
        }
    }

    /// The next bytes of the page.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let skip = self.start.saturating_sub(self.at).min(bytes.len() as u64) as usize;
        self.at += bytes.len() as u64;
        let wanted = bytes.get(skip..).unwrap_or_default();
        let take = wanted.len().min((self.len - self.written) as usize);
        if let Some(part) = wanted.get(..take).filter(|p| !p.is_empty()) {
            self.sink.write(self.written, part);
            self.written += take as u32;
        }
    }

    /// `count` zeros.
    pub(crate) fn zeros(&mut self, count: u64) {
        const ZEROS: [u8; 64] = [0; 64];
        let end = self.at.saturating_add(count);
        if end <= self.start {
            self.at = end;
            return;
        }
        self.at = self.at.max(self.start.min(end));
        while self.at < end && self.written < self.len {
            let some = (end - self.at).min(ZEROS.len() as u64) as usize;
            self.put(&ZEROS[..some]);
        }
        self.at = end;
    }

    /// Zeros up to byte `offset` of the page.
    pub(crate) fn seek(&mut self, offset: u64) {
        self.zeros(offset.saturating_sub(self.at));
    }

    /// The window is full: nothing that follows matters.
    pub(crate) fn full(&self) -> bool {
        self.written == self.len
    }

    /// Fills the rest of the window; returns its length.
    pub(crate) fn finish(mut self) -> u32 {
        let rest = self.len - self.written;
        self.at = self.at.max(self.start);
        self.zeros(u64::from(rest));
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    struct Bytes(Vec<u8>);
    impl DataSink for Bytes {
        fn write(&mut self, offset: u32, bytes: &[u8]) {
            assert_eq!(offset as usize, self.0.len());
            self.0.extend_from_slice(bytes);
        }
    }

    #[test]
    fn every_window_shows_exactly_its_part_of_the_page() {
        let mut page = std::vec![0u8; 400];
        page[3..10].copy_from_slice(b"abcdefg");
        page[300..304].copy_from_slice(b"tail");
        for start in 0..420u64 {
            for len in [4u32, 8, 64, 200, 500] {
                let mut sink = Bytes(Vec::new());
                let mut window = Window::new(&mut sink, start, len);
                window.seek(3);
                window.put(b"abc");
                window.put(b"defg");
                window.seek(300);
                window.put(b"tail");
                assert_eq!(window.finish(), len);
                let want: Vec<u8> = (start..start + u64::from(len))
                    .map(|i| page.get(i as usize).copied().unwrap_or(0))
                    .collect();
                assert_eq!(sink.0, want, "start {start} len {len}");
            }
        }
    }
}
