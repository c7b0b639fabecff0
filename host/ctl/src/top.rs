//! The live view: what the card's cores did since the last look, on what they spent their clocks, how long commands took, and who did what to which
//! namespace. [`sample`] is what is seen, [`draw`] how it looks; both know nothing of terminals that exist, so tests draw into memory.

pub mod draw;
pub mod latency;
pub mod sample;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::ArgMatches;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use serde_json::Value;

use crate::run::{Daemon, Failure};
use draw::View;
use sample::{Rates, Sample};

/// Looks kept for the curve.
const HISTORY: usize = 120;
/// Page of `--once`, columns and rows.
const PAGE: (u16, u16) = (120, 48);

/// The command.
///
/// # Errors
/// [`Failure`].
pub fn run(
    daemon: &mut Daemon,
    matches: &ArgMatches,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let interval = Duration::from_secs(*matches.get_one::<u64>("interval").expect("has a default"));
    if matches.get_flag("once") || json {
        return once(daemon, interval, json, out);
    }
    let mut terminal = ratatui::try_init().map_err(Failure::Output)?;
    let done = live(daemon, interval, &mut terminal);
    ratatui::restore();
    done
}

/// Looks twice and prints a page.
fn once(
    daemon: &mut Daemon,
    interval: Duration,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (first, from) = (look(daemon)?, Instant::now());
    std::thread::sleep(interval);
    let second = look(daemon)?;
    let rates = Rates::between(&first, &second, from.elapsed());
    if json {
        writeln!(out, "{:#}", rates.to_json())?;
        return Ok(());
    }
    let mut view = View::new(interval);
    view.show(rates, HISTORY);
    let mut terminal = Terminal::new(TestBackend::new(PAGE.0, PAGE.1)).expect("memory");
    terminal
        .draw(|frame| draw::draw(frame, &view))
        .expect("memory");
    for line in draw::lines(terminal.backend().buffer()) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn live(
    daemon: &mut Daemon,
    interval: Duration,
    terminal: &mut ratatui::DefaultTerminal,
) -> Result<(), Failure> {
    let mut view = View::new(interval);
    let mut last: Option<(Sample, Instant)> = None;
    loop {
        if !view.paused {
            // A daemon that is restarted comes back; until then the view says what is wrong.
            match look(daemon) {
                Ok(now) => {
                    let at = Instant::now();
                    if let Some((before, when)) = &last {
                        view.show(Rates::between(before, &now, at - *when), HISTORY);
                    }
                    last = Some((now, at));
                }
                Err(failure) => view.trouble = Some(failure.to_string()),
            }
        }
        let next = Instant::now()
            + if last.is_some() && view.rates.is_none() {
                Duration::from_millis(200)
            } else {
                interval
            };
        loop {
            terminal.draw(|frame| draw::draw(frame, &view))?;
            match key(next.saturating_duration_since(Instant::now()))? {
                Key::Quit => return Ok(()),
                Key::Pause => view.paused = !view.paused,
                Key::None if Instant::now() < next => {}
                Key::None => break,
            }
        }
    }
}

fn look(daemon: &mut Daemon) -> Result<Sample, Failure> {
    let counters = daemon.call("sluice_get_counters", Value::Null)?;
    Ok(Sample::read(&counters))
}

enum Key {
    Quit,
    Pause,
    /// Another one, or none in time, or the terminal changed its size.
    None,
}

fn key(wait: Duration) -> io::Result<Key> {
    if !event::poll(wait)? {
        return Ok(Key::None);
    }
    Ok(match event::read()? {
        Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
            KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
            KeyCode::Char('p' | ' ') => Key::Pause,
            _ => Key::None,
        },
        _ => Key::None,
    })
}
