//! The page of the live view.

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table};

use super::latency::Percentiles;
use super::sample::{Part, Rates};
use crate::show;

/// What the page shows.
#[derive(Clone, Debug)]
pub struct View {
    /// Between the last two looks; `None` before there were two.
    pub rates: Option<Rates>,
    /// Nothing new is looked at.
    pub paused: bool,
    /// Why there is nothing new.
    pub trouble: Option<String>,
    /// Bytes per second, the newest last.
    history: VecDeque<u64>,
    interval: Duration,
}

impl View {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new(interval: Duration) -> Self {
        Self {
            rates: None,
            paused: false,
            trouble: None,
            history: VecDeque::new(),
            interval,
        }
    }

    /// Takes new rates in; the curve has the last `history` of them.
    pub fn show(&mut self, rates: Rates, history: usize) {
        let total = rates.total();
        self.history
            .push_back((total.read_bytes + total.write_bytes) as u64);
        while self.history.len() > history {
            self.history.pop_front();
        }
        self.rates = Some(rates);
        self.trouble = None;
    }
}

/// Most namespaces and hosts shown.
const MOST_PARTS: usize = 12;

/// Draws the page, whatever the size.
pub fn draw(frame: &mut Frame<'_>, view: &View) {
    let cores = view.rates.as_ref().map_or(0, |r| r.cores.len()) as u16;
    let rows = |parts: fn(&Rates) -> &Vec<Part>| {
        let rows = view.rates.as_ref().map_or(0, |r| parts(r).len());
        // More are seldom of interest: they are the less busy ones.
        rows.min(MOST_PARTS) as u16
    };
    let [
        head,
        curve,
        cores_at,
        namespaces_at,
        hosts_at,
        phases_at,
        foot,
    ] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(5),
        Constraint::Length(cores + 3),
        Constraint::Length(rows(|r| &r.namespaces) + 3),
        Constraint::Length(rows(|r| &r.hosts) + 3),
        Constraint::Min((cores + 3).min(6)),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(headline(view)), head);
    draw_curve(frame, view, curve);
    if let Some(rates) = &view.rates {
        draw_cores(frame, rates, cores_at);
        draw_namespaces(frame, rates, namespaces_at);
        draw_hosts(frame, rates, hosts_at);
        draw_phases(frame, rates, phases_at);
    }
    let keys = format!("q quit  p pause  every {:?}", view.interval);
    frame.render_widget(
        Paragraph::new(keys).style(Style::new().add_modifier(Modifier::DIM)),
        foot,
    );
}

/// The lines of a page without the space at their ends, and without empty lines at its end.
#[must_use]
pub fn lines(page: &Buffer) -> Vec<String> {
    let width = usize::from(page.area.width).max(1);
    let rows = page.content.chunks(width);
    let mut lines: Vec<String> = rows
        .map(|row| {
            row.iter()
                .map(|cell| cell.symbol())
                .collect::<String>()
                .trim_end()
                .to_owned()
        })
        .collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

fn headline(view: &View) -> Vec<Line<'static>> {
    let bad = Style::new().fg(Color::Red);
    let Some(rates) = &view.rates else {
        let text = view.trouble.as_deref().unwrap_or("looking…");
        return vec![Line::from(show::clean(text)).style(bad)];
    };
    let total = rates.total();
    let sum = format!(
        "read {} IOPS {}  write {} IOPS {}  {} connections  frames in {} out {} dropped {}",
        count(total.reads),
        bytes(total.read_bytes),
        count(total.writes),
        bytes(total.write_bytes),
        total.connections,
        count(rates.rx_frames),
        count(rates.tx_frames),
        count(rates.rx_drops),
    );
    let state = match &view.trouble {
        Some(trouble) => Line::from(show::clean(trouble)).style(bad),
        None if view.paused => Line::from("paused").style(Style::new().fg(Color::Yellow)),
        None => Line::default(),
    };
    let latency = format!(
        "latency of reads p50 {} p99 {}  of writes p50 {} p99 {}",
        time(rates.read_latency.p50),
        time(rates.read_latency.p99),
        time(rates.write_latency.p50),
        time(rates.write_latency.p99),
    );
    vec![
        Line::from(sum).style(Style::new().add_modifier(Modifier::BOLD)),
        Line::from(latency),
        state,
    ]
}

fn draw_namespaces(frame: &mut Frame<'_>, rates: &Rates, area: Rect) {
    let head = [
        "namespace",
        "nsid",
        "read/s",
        "read",
        "p50",
        "p99",
        "write/s",
        "write",
        "p50",
        "p99",
        "errors/s",
    ];
    let rows = rates.namespaces.iter().take(MOST_PARTS).map(|n| {
        let [read, write] = [n.read_latency, n.write_latency].map(times);
        part_row(n, [name(n, 0), name(n, 1)].into(), |of| {
            let [read_count, read_bytes, write_count, write_bytes] = of;
            let [r50, r99] = read.clone();
            let [w50, w99] = write.clone();
            vec![
                read_count,
                read_bytes,
                r50,
                r99,
                write_count,
                write_bytes,
                w50,
                w99,
            ]
        })
    });
    let widths = [30, 4, 7, 9, 7, 7, 7, 9, 7, 7, 8];
    table(
        frame,
        area,
        "namespaces",
        head.map(str::to_owned).to_vec(),
        rows,
        widths.to_vec(),
    );
}

fn draw_hosts(frame: &mut Frame<'_>, rates: &Rates, area: Rect) {
    let head = [
        "host",
        "subsystem",
        "conns",
        "read/s",
        "read",
        "write/s",
        "write",
        "errors/s",
    ];
    let rows = rates.hosts.iter().take(MOST_PARTS).map(|h| {
        let first = vec![name(h, 0), name(h, 1), h.connections.to_string()];
        part_row(h, first, Vec::from)
    });
    let widths = [34, 24, 6, 7, 9, 7, 9, 8];
    table(
        frame,
        area,
        "hosts",
        head.map(str::to_owned).to_vec(),
        rows,
        widths.to_vec(),
    );
}

/// A row: `first`, then what `order` makes of the rates, then the errors, for which it is red.
fn part_row(
    part: &Part,
    first: Vec<String>,
    order: impl Fn([String; 4]) -> Vec<String>,
) -> Row<'static> {
    let rates = [
        count(part.reads),
        bytes(part.read_bytes),
        count(part.writes),
        bytes(part.write_bytes),
    ];
    let cells = first.into_iter().chain(order(rates));
    let row = Row::new(cells.chain([count(part.errors)]));
    if part.errors > 0.0 {
        row.style(Style::new().fg(Color::Red))
    } else {
        row
    }
}

/// A part of the name; NQNs differ at their ends, so it is the end that is shown.
fn name(part: &Part, at: usize) -> String {
    const WIDTHS: [usize; 2] = [30, 24];
    let text = show::clean(part.name.get(at).map_or("", String::as_str));
    let excess = text.chars().count().saturating_sub(WIDTHS[at.min(1)]);
    match excess {
        0 => text,
        excess => std::iter::once('…')
            .chain(text.chars().skip(excess + 1))
            .collect(),
    }
}

fn times(latency: Percentiles) -> [String; 2] {
    [time(latency.p50), time(latency.p99)]
}

/// Seconds in at most seven characters.
fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".into(),
        Some(s) if s < 99.95e-6 => format!("{:.1} µs", s * 1e6),
        Some(s) if s < 999.5e-6 => format!("{:.0} µs", s * 1e6),
        Some(s) if s < 99.95e-3 => format!("{:.1} ms", s * 1e3),
        Some(s) if s < 999.5e-3 => format!("{:.0} ms", s * 1e3),
        Some(s) => format!("{s:.1} s"),
    }
}

fn draw_curve(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let most = view.history.iter().max().copied().unwrap_or_default();
    let title = format!("throughput, up to {}", bytes(most as f64));
    let fits = usize::from(area.width.saturating_sub(2));
    let skip = view.history.len().saturating_sub(fits);
    let curve = Sparkline::default()
        .block(Block::bordered().title(title))
        .data(view.history.iter().skip(skip).copied());
    frame.render_widget(curve, area);
}

fn draw_cores(frame: &mut Frame<'_>, rates: &Rates, area: Rect) {
    let head = [
        "core", "load", "conns", "read/s", "read", "write/s", "write", "other/s", "errors/s",
        "waits/s", "resent/s", "drops/s", "loops/s",
    ];
    let rows = rates.cores.iter().map(|c| {
        let row = Row::new([
            c.core.to_string(),
            format!("{:.0} %", c.load * 100.0),
            c.connections.to_string(),
            count(c.reads),
            bytes(c.read_bytes),
            count(c.writes),
            bytes(c.write_bytes),
            count(c.other),
            count(c.errors),
            count(c.waits),
            count(c.resent),
            count(c.dropped),
            count(c.loops),
        ]);
        if c.errors > 0.0 {
            row.style(Style::new().fg(Color::Red))
        } else {
            row
        }
    });
    let widths = [4, 6, 6, 7, 9, 7, 9, 8, 8, 8, 8, 8, 8];
    table(
        frame,
        area,
        "cores",
        head.map(str::to_owned).to_vec(),
        rows,
        widths.to_vec(),
    );
}

/// What each core spends its clocks on, in percent; nothing for a card that does not count them.
fn draw_phases(frame: &mut Frame<'_>, rates: &Rates, area: Rect) {
    let mut phases: Vec<&str> = Vec::new();
    for (phase, _) in rates.cores.iter().flat_map(|c| &c.phases) {
        if !phases.contains(&phase.as_str()) {
            phases.push(phase);
        }
    }
    let rows = rates.cores.iter().map(|core| {
        let part = |phase: &str| {
            let found = core.phases.iter().find(|(name, _)| name == phase);
            found.map_or_else(String::new, |(_, part)| format!("{:.1} %", part * 100.0))
        };
        let cells = phases.iter().map(|phase| part(phase));
        Row::new(std::iter::once(core.core.to_string()).chain(cells))
    });
    let head = std::iter::once("core".to_owned()).chain(phases.iter().map(|p| show::clean(p)));
    let widths = std::iter::once(4).chain(phases.iter().map(|_| 10));
    table(
        frame,
        area,
        "clocks",
        head.collect(),
        rows,
        widths.collect(),
    );
}

fn table<'a>(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &'static str,
    head: Vec<String>,
    rows: impl Iterator<Item = Row<'a>>,
    widths: Vec<u16>,
) {
    let table = Table::new(rows, widths.into_iter().map(Constraint::Length))
        .header(Row::new(head).style(Style::new().add_modifier(Modifier::BOLD)))
        .block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

/// A number in at most six characters.
fn count(value: f64) -> String {
    match value {
        v if v < 9_999.5 => format!("{v:.0}"),
        v if v < 9_999_500.0 => format!("{:.0}k", v / 1e3),
        v => format!("{:.0}M", v / 1e6),
    }
}

fn bytes(value: f64) -> String {
    match value {
        v if v < 999.5 => format!("{v:.0} B/s"),
        v if v < 999_500.0 => format!("{:.0} kB/s", v / 1e3),
        v if v < 999_500_000.0 => format!("{:.0} MB/s", v / 1e6),
        v => format!("{:.2} GB/s", v / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::sample::Core;
    use super::*;

    fn page(view: &View, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
        terminal.draw(|frame| draw(frame, view)).expect("memory");
        lines(terminal.backend().buffer())
    }

    fn busy() -> View {
        let mut view = View::new(Duration::from_secs(1));
        let core = |core| Core {
            core,
            load: 0.5,
            phases: vec![("idle".into(), 0.5), ("rx\u{1b}[2J".into(), 0.25)],
            connections: 4,
            reads: 125_000.0,
            read_bytes: 512e6,
            writes: 10.0,
            write_bytes: 40_960.0,
            ..Core::default()
        };
        view.show(
            Rates {
                cores: vec![core(1), core(2)],
                rx_frames: 1234.0,
                read_latency: Percentiles {
                    p50: Some(21.04e-6),
                    p99: Some(3.5e-3),
                },
                namespaces: vec![Part {
                    name: vec![
                        "nqn.2026-01.org.example:a-very-long-name".into(),
                        "7".into(),
                    ],
                    reads: 1000.0,
                    read_bytes: 4.096e6,
                    write_latency: Percentiles {
                        p50: Some(0.25),
                        p99: Some(1.5),
                    },
                    ..Part::default()
                }],
                hosts: vec![Part {
                    name: vec!["nqn.host\u{1b}[2J".into(), "nqn.sub".into()],
                    connections: 3,
                    writes: 12_000.0,
                    ..Part::default()
                }],
                ..Rates::default()
            },
            8,
        );
        view
    }

    #[test]
    fn the_page_has_totals_latencies_cores_namespaces_and_hosts() {
        let page = page(&busy(), 120, 48);
        let has = |text: &str| page.iter().any(|line| line.contains(text));
        assert!(
            page[0].starts_with(
                "read 250k IOPS 1.02 GB/s  write 20 IOPS 82 kB/s  8 connections  frames in 1234 out 0 dropped 0"
            ),
            "{page:#?}"
        );
        assert!(
            has("1    50 %   4      125k    512 MB/s  10      41 kB/s"),
            "{page:#?}"
        );
        assert!(has("1    50.0 %     25.0 %"), "{page:#?}");
        assert_eq!(
            page[1],
            "latency of reads p50 21.0 µs p99 3.5 ms  of writes p50 - p99 -"
        );
        assert!(
            has(
                "….org.example:a-very-long-name 7    1000    4 MB/s    -       -       0       0 B/s     250 ms  1.5 s   0"
            ),
            "{page:#?}"
        );
        assert!(
            has("nqn.sub                  3      0       0 B/s     12k     0 B/s"),
            "{page:#?}"
        );
        assert!(
            page.iter().all(|line| !line.contains('\u{1b}')),
            "{page:#?}"
        );
    }

    #[test]
    fn trouble_and_pauses_are_said_and_old_figures_stay() {
        let mut view = busy();
        view.paused = true;
        assert_eq!(page(&view, 80, 24)[2], "paused");
        view.trouble = Some("the daemon is gone".into());
        let page = page(&view, 80, 24);
        assert_eq!(page[2], "the daemon is gone");
        assert!(page[0].starts_with("read 250k"));
    }

    #[test]
    fn a_terminal_of_any_size_is_drawn_on() {
        let (busy, idle) = (busy(), View::new(Duration::from_secs(1)));
        for (width, height) in [(1, 1), (3, 40), (200, 2), (20, 10), (300, 100)] {
            for view in [&busy, &idle] {
                page(view, width, height);
            }
        }
    }

    #[test]
    fn the_curve_keeps_the_last_looks_only() {
        let mut view = View::new(Duration::from_secs(1));
        for n in 0..20_u32 {
            let core = Core {
                core: 1,
                read_bytes: f64::from(n),
                ..Core::default()
            };
            view.show(
                Rates {
                    cores: vec![core],
                    ..Rates::default()
                },
                8,
            );
        }
        assert_eq!(view.history, (12..20).collect::<Vec<u64>>());
    }
}
