//! The cores' logs: rings in packet memory, emptied every second, decoded with the firmware's ELF files, the last lines kept.

use std::collections::VecDeque;
use std::path::Path;

use defmt_decoder::{DecodeError, Table};
use serde_json::{Value, json};
use sluice_device::Device;
use sluice_driver::card::Card;

/// Lines kept.
const KEPT: usize = 10_000;
/// Bytes of one core kept that are not yet a whole frame.
const PARTIAL: usize = 8192;

/// Reads the logs.
pub struct LogReader {
    /// Why lines cannot be decoded, if so.
    problem: Option<String>,
    control: Option<Core>,
    data: Option<Core>,
    /// What is left of the last frame of each core.
    partial: Vec<Vec<u8>>,
    /// Number of the next line.
    next: u64,
    lines: VecDeque<(u64, u32, String)>,
}

struct Core {
    table: Table,
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader")
            .field("problem", &self.problem)
            .finish_non_exhaustive()
    }
}

impl LogReader {
    /// One that decodes with the ELF files `sluice-control` and `sluice-data` in `firmware`. Without them lines are counted
    /// and not understood, and those who read are told so.
    #[must_use]
    pub fn new(firmware: Option<&Path>) -> Self {
        let mut reader = Self {
            problem: None,
            control: None,
            data: None,
            partial: Vec::new(),
            next: 0,
            lines: VecDeque::new(),
        };
        let Some(folder) = firmware else {
            reader.problem = Some("no folder of firmware is configured (firmware = \"…\"), so the log cannot be decoded".into());
            return reader;
        };
        for (name, slot) in [
            ("sluice-control", &mut reader.control),
            ("sluice-data", &mut reader.data),
        ] {
            match table(&folder.join(name)) {
                Ok(table) => *slot = Some(Core { table }),
                Err(reason) => reader.problem = Some(reason),
            }
        }
        reader
    }

    /// Empties the rings.
    pub fn take<D: Device>(&mut self, card: &Card<D>) {
        let cores = usize::from(card.info().cores);
        self.partial.resize(cores, Vec::new());
        for core in 0..cores {
            match card.take_log(core as u32) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => self.add(core, &bytes),
                Err(error) => log::debug!("log of core {core}: {error}"),
            }
        }
    }

    /// Lines from number `from` on, at most `max`, and where to go on.
    #[must_use]
    pub fn lines(&self, from: u64, max: u64) -> Value {
        let wanted = self.lines.iter().filter(|(n, ..)| *n >= from);
        let wanted: Vec<_> = wanted.take(usize::try_from(max).unwrap_or(KEPT)).collect();
        let next = wanted
            .last()
            .map_or_else(|| from.min(self.next), |(n, ..)| n + 1);
        let lines: Vec<_> = wanted
            .iter()
            .map(|(n, core, text)| json!({ "id": n, "core": core, "text": text }))
            .collect();
        json!({ "lines": lines, "next": next, "problem": self.problem })
    }

    fn add(&mut self, core: usize, bytes: &[u8]) {
        let decoder = if core == 0 { &self.control } else { &self.data };
        let Some(Core { table }) = decoder else {
            let text = format!("{} bytes of log that cannot be decoded", bytes.len());
            return self.keep(core, text);
        };
        // A stream decoder borrows its table, so it lives for one batch; what it had not finished comes first next time.
        let rest = &mut self.partial[core];
        rest.extend_from_slice(bytes);
        let frames = split_frames(rest);
        let mut texts = Vec::new();
        for frame in frames {
            let mut stream = table.new_stream_decoder();
            stream.received(&frame);
            texts.push(match stream.decode() {
                Ok(frame) => frame.display(false).to_string(),
                Err(DecodeError::UnexpectedEof | DecodeError::Malformed) => {
                    "a log frame that makes no sense".into()
                }
            });
        }
        if rest.len() > PARTIAL {
            rest.clear();
        }
        texts.into_iter().for_each(|t| self.keep(core, t));
    }

    fn keep(&mut self, core: usize, text: String) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back((self.next, core as u32, text));
        self.next += 1;
    }
}

/// Takes the whole frames out: each ends with a zero byte (rzCOBS), which goes with it.
fn split_frames(bytes: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some(end) = bytes.iter().position(|b| *b == 0) {
        let frame: Vec<u8> = bytes.drain(..=end).collect();
        if frame.len() > 1 {
            frames.push(frame);
        }
    }
    frames
}

fn table(path: &Path) -> Result<Table, String> {
    let told = |reason: String| {
        format!(
            "{}: {reason}; the log of its cores cannot be decoded",
            path.display()
        )
    };
    let bytes = std::fs::read(path).map_err(|e| told(e.to_string()))?;
    let table = Table::parse(&bytes).map_err(|e| told(e.to_string()))?;
    table.ok_or_else(|| told("an ELF file with a .defmt section wanted, it has none".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_and_what_is_left_waits() {
        let mut bytes = vec![1, 2, 0, 0, 3, 0, 4];
        assert_eq!(split_frames(&mut bytes), [vec![1, 2, 0], vec![3, 0]]);
        assert_eq!(bytes, [4]);
    }

    #[test]
    fn lines_are_numbered_and_can_be_followed() {
        let mut reader = LogReader::new(None);
        assert!(
            reader
                .problem
                .as_ref()
                .is_some_and(|p| p.contains("configured"))
        );
        reader.add(0, &[1, 2, 0]);
        reader.add(1, &[1]);
        let got = reader.lines(0, 1);
        assert_eq!(
            (&got["next"], &got["lines"][0]["core"]),
            (&json!(1), &json!(0))
        );
        let got = reader.lines(1, 10);
        assert_eq!(
            (&got["next"], &got["lines"][0]["core"]),
            (&json!(2), &json!(1))
        );
        assert_eq!(reader.lines(2, 10)["next"], 2, "it stays where it is");
        assert_eq!(
            reader.lines(9, 10)["next"],
            2,
            "one from before a restart is put right"
        );
    }
}
