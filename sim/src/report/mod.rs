//! What a scenario did: the closing table for people, JSON for programs. [`Runner`] fills it in while showing progress.

mod meter;
mod runner;

use std::path::{Path, PathBuf};

use comfy_table::{Cell, CellAlignment, Color, Table, presets};
use serde::Serialize;

pub use meter::Meter;
pub use runner::{Checked, Runner};

/// One step of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What was to be done.
    pub name: String,
    /// Whether it was.
    pub ok: bool,
    /// Wall time.
    pub seconds: f64,
    /// Card clocks that passed meanwhile.
    pub clocks: u64,
    /// NVMe commands that the remote host completed meanwhile.
    pub ios: u64,
    /// Bytes that were read back and found to be what had been written.
    pub verified_bytes: u64,
    /// The error, or a remark; empty if there is nothing to say.
    pub note: String,
}

/// A file that a run leaves behind.
#[derive(Clone, Debug, Serialize)]
pub struct Artifact {
    /// What it is: `pcap`, `log`, `console`, `fst`.
    pub kind: String,
    /// Where it is.
    pub path: PathBuf,
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Every step succeeded, and there was at least one.
    pub ok: bool,
    /// `rtl` or `functional`.
    pub card: String,
    /// `vm` or `model`.
    pub host: String,
    /// `tcp`, `rdma` or `both`.
    pub transport: String,
    /// Frames that the link lost on purpose, each way, percent.
    pub loss_percent: f64,
    /// Data cores.
    pub cores: u32,
    /// Seed of everything random.
    pub seed: u64,
    /// Sum over the steps.
    pub verified_bytes: u64,
    /// Sum over the steps.
    pub ios: u64,
    /// Card clocks from start to end.
    pub clocks: u64,
    /// Simulated kHz: card clocks per millisecond of wall time.
    pub khz: f64,
    /// Wall time.
    pub seconds: f64,
    /// In order.
    pub steps: Vec<Step>,
    /// Files left behind.
    pub files: Vec<Artifact>,
}

impl Report {
    /// Writes it as JSON.
    pub fn write_json(&self, path: &Path) -> std::io::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, text)
    }

    /// What ran, in a few words.
    fn title(&self) -> String {
        let over = match self.transport.as_str() {
            "both" => "NVMe/TCP and NVMe/RDMA".into(),
            one => format!("NVMe/{}", one.to_uppercase()),
        };
        let mut title = format!("{} card, {} host, {over}", self.card, self.host);
        if self.loss_percent > 0.0 {
            title += &format!(", {} % loss", self.loss_percent);
        }
        title
    }

    /// The closing table with the totals and the files.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header([
            "step",
            "",
            "time",
            "card clocks",
            "I/Os",
            "verified",
            "remark",
        ]);
        for step in &self.steps {
            let (mark, color) = if step.ok {
                ("ok", Color::Green)
            } else {
                ("FAILED", Color::Red)
            };
            table.add_row([
                Cell::new(&step.name),
                Cell::new(mark).fg(color),
                right(format!("{:.1} s", step.seconds)),
                right(grouped(step.clocks)),
                right(grouped(step.ios)),
                right(size(step.verified_bytes)),
                Cell::new(step.note.lines().next().unwrap_or_default()),
            ]);
        }
        table.add_row([
            Cell::new(self.title()),
            Cell::new(if self.ok { "ok" } else { "FAILED" }),
            right(format!("{:.1} s", self.seconds)),
            right(grouped(self.clocks)),
            right(grouped(self.ios)),
            right(size(self.verified_bytes)),
            Cell::new(format!("{:.0} kHz simulated, seed {}", self.khz, self.seed)),
        ]);
        let mut text = table.to_string();
        for file in &self.files {
            text += &format!("\n{:>8}: {}", file.kind, file.path.display());
        }
        for step in self.steps.iter().filter(|step| !step.ok) {
            text += &format!("\n\n{} failed: {}", step.name, step.note);
        }
        text
    }
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// Digits in groups of three.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0 => String::new(),
        1..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0, 512, 65_536, 64 << 20].map(size),
            ["", "512 B", "64 KiB", "64 MiB"]
        );
    }
}
