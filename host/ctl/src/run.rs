//! A command done. Everything it says goes to the writer it is given; what went wrong comes back with its exit code.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use clap_complete::Shell;
use serde_json::{Value, json};
use sluice_rpc::client::{Client, ClientError};
use sluice_rpc::methods;

use crate::params::{self, ParamError};
use crate::{flash, pages, show, stop, top, trace, views};

/// How often `log --follow` asks.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The daemon, or the way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The parameters.
    #[error(transparent)]
    Params(#[from] ParamError),
    /// Where the output goes.
    #[error("output: {0}")]
    Output(#[from] io::Error),
    /// A file that is to be written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// What the daemon answers cannot be.
    #[error("{0}; do the versions of sluicectl and sluiced differ?")]
    Answer(String),
    /// It is done, and what was looked at is not well.
    #[error("{0}")]
    NotWell(String),
}

impl Failure {
    /// The process's exit code.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Params(_) => 2,
            Self::Client(ClientError::Connect { .. }) => 3,
            _ => 1,
        }
    }
}

/// Does what a command line says.
///
/// # Errors
/// [`Failure`].
pub fn run(matches: &ArgMatches, out: &mut dyn Write) -> Result<(), Failure> {
    let (name, sub) = matches.subcommand().expect("a subcommand is required");
    let json = matches.get_flag("json");
    match name {
        "completion" => {
            let shell = *sub.get_one::<Shell>("shell").expect("required");
            return Ok(pages::completion(shell, out)?);
        }
        "man" => {
            let folder = sub.get_one::<PathBuf>("dir").expect("required");
            let pages = pages::man(folder)?;
            return Ok(writeln!(
                out,
                "{pages} pages written to {}",
                folder.display()
            )?);
        }
        _ => {}
    }
    let mut daemon = Daemon::new(matches);
    match name {
        "status" => {
            let seen = views::Status::ask(&mut daemon)?;
            print(out, json, &seen.to_json(), |_| seen.to_text())
        }
        "health" => {
            let seen = daemon.call("sluice_get_health", Value::Null)?;
            print(out, json, &seen, views::health)?;
            views::is_well(&seen)
        }
        "selftest" => {
            let seen = daemon.call("sluice_self_test", Value::Null)?;
            print(out, json, &seen, views::self_test)?;
            views::all_passed(&seen)
        }
        "regs" => {
            let seen = daemon.call("sluice_get_registers", Value::Null)?;
            let wanted = sub.get_one::<String>("name").map(String::as_str);
            let seen = views::only(seen, wanted);
            print(out, json, &seen, views::registers)
        }
        "log" => log(&mut daemon, sub, json, out),
        "flash" => flash::run(&mut daemon, sub, json, out),
        "stop" => stop::run(&mut daemon, sub, out),
        "trace" => trace::run(&mut daemon, sub, out),
        "top" => top::run(&mut daemon, sub, json, out),
        "rpc" => {
            let method = sub.get_one::<String>("method").expect("required");
            let params = sub
                .get_one::<String>("params")
                .map(|text| params::from_text(text));
            let answer = daemon.call(method, params.transpose()?.unwrap_or(Value::Null))?;
            print(out, true, &answer, show::answer)
        }
        name => {
            let method = methods::find(name).expect("other subcommands are methods");
            let params = params::from_matches(method, sub)?;
            let answer = daemon.call(name, params)?;
            print(out, json, &answer, show::answer)
        }
    }
}

/// The daemon, connected to at the first call.
#[derive(Debug)]
pub struct Daemon {
    socket: PathBuf,
    wait: Duration,
    client: Option<Client>,
}

impl Daemon {
    fn new(matches: &ArgMatches) -> Self {
        Self {
            socket: matches
                .get_one::<PathBuf>("socket")
                .expect("has a default")
                .clone(),
            wait: Duration::from_secs(*matches.get_one::<u64>("wait").expect("has a default")),
            client: None,
        }
    }

    /// Calls a method.
    ///
    /// # Errors
    /// [`ClientError`]; after one that is no refusal the next call connects again.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, ClientError> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.socket, self.wait)?,
        };
        let answer = client.call(method, params);
        if matches!(answer, Ok(_) | Err(ClientError::Refused(_))) {
            self.client = Some(client);
        }
        answer
    }
}

fn print(
    out: &mut dyn Write,
    json: bool,
    value: &Value,
    text: impl FnOnce(&Value) -> String,
) -> Result<(), Failure> {
    if json {
        writeln!(out, "{value:#}")?;
    } else {
        write!(out, "{}", text(value))?;
    }
    Ok(())
}

fn log(
    daemon: &mut Daemon,
    matches: &ArgMatches,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let most = *matches.get_one::<u64>("lines").expect("has a default");
    let (mut from, lines) = backlog(daemon, usize::try_from(most).unwrap_or(usize::MAX))?;
    lines
        .iter()
        .try_for_each(|line| log_line(line, json, out))?;
    while matches.get_flag("follow") {
        out.flush()?;
        std::thread::sleep(FOLLOW_PAUSE);
        let page = match daemon.call("sluice_read_log", json!({ "from": from })) {
            Ok(answer) => views::LogPage::read(&answer),
            Err(refused @ ClientError::Refused(_)) => return Err(refused.into()),
            // The daemon is being restarted; the new one counts its lines from 0.
            Err(_) => {
                from = 0;
                continue;
            }
        };
        page.lines
            .iter()
            .try_for_each(|line| log_line(line, json, out))?;
        from = page.next;
    }
    Ok(())
}

/// The last lines that the daemon has, `most` of them, and the number of the line after them.
fn backlog(daemon: &mut Daemon, most: usize) -> Result<(u64, VecDeque<Value>), Failure> {
    let (mut from, mut last) = (0, VecDeque::new());
    loop {
        let answer = daemon.call("sluice_read_log", json!({ "from": from }))?;
        let page = views::LogPage::read(&answer);
        if from == 0
            && let Some(problem) = &page.problem
        {
            eprintln!("sluicectl: {problem}");
        }
        // A page that does not go on would be the last for ever.
        if page.lines.is_empty() || page.next <= from {
            return Ok((from, last));
        }
        from = page.next;
        last.extend(page.lines);
        last.drain(..last.len().saturating_sub(most));
    }
}

fn log_line(line: &Value, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        writeln!(out, "{line}")?;
    } else {
        writeln!(out, "{}", views::log_line(line))?;
    }
    Ok(())
}
