//! Running other programs: either live on the terminal or captured, always with an error that says what was run,
//! how it ended and the tail of what it printed.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A command in the workspace's root.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(crate::paths::root())
        .stdin(Stdio::null());
    command
}

/// Runs on the terminal.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs quietly; the output is in the error if it fails.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = if stderr.trim().is_empty() {
            stdout.as_str()
        } else {
            stderr.as_ref()
        };
        bail!(
            "`{}` failed: {}\n{}",
            line(command),
            output.status,
            tail(said, 40)
        );
    }
    Ok(stdout)
}

/// Runs a filter over a file and returns what it printed, `None` if it failed.
pub fn filter(program: &str, args: &[&str], input: &Path) -> Result<Option<Vec<u8>>> {
    let (success, bytes) = filter_output(program, args, input)?;
    Ok(success.then_some(bytes))
}

/// As [`filter`], for inputs with rubbish at the end: whatever was printed counts.
pub fn filter_loose(program: &str, args: &[&str], input: &Path) -> Result<Vec<u8>> {
    Ok(filter_output(program, args, input)?.1)
}

fn filter_output(program: &str, args: &[&str], input: &Path) -> Result<(bool, Vec<u8>)> {
    let file =
        std::fs::File::open(input).with_context(|| format!("cannot open {}", input.display()))?;
    let mut child = Command::new(program)
        .args(args)
        .stdin(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start `{program}`"))?;
    let mut bytes = Vec::new();
    child
        .stdout
        .take()
        .expect("piped")
        .read_to_end(&mut bytes)?;
    Ok((child.wait()?.success(), bytes))
}

/// The last `lines` lines of `text`.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
