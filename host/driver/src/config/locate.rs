//! Where in the text a key is. Checking works on plain values; only an error pays for the way back to the text.

use std::fmt;

use super::Format;

/// A path to a value: names and indices.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Key(Vec<Step>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    Name(&'static str),
    Index(usize),
}

impl Key {
    /// The value named `name` in this one.
    #[must_use]
    pub fn name(&self, name: &'static str) -> Self {
        self.with(Step::Name(name))
    }

    /// Element `index` of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Name(name) if i == 0 => f.write_str(name)?,
                Step::Name(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Line and column of the value of `key`, or of what encloses it if it is not there.
pub(super) fn locate(format: Format, text: &str, key: &Key) -> (usize, usize) {
    let offset = match format {
        Format::Toml => toml_offset(text, key),
        Format::Json => json_offset(text, key),
    };
    position(text, offset)
}

/// Line and column, from 1, of a byte offset.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

fn toml_offset(text: &str, key: &Key) -> usize {
    use toml::de::{DeTable, DeValue};
    let Ok(root) = DeTable::parse(text) else {
        return 0;
    };
    let mut at = root.span().start;
    let root = DeValue::Table(root.into_inner());
    let mut here = &root;
    for step in &key.0 {
        let next = match (step, here) {
            (Step::Name(name), DeValue::Table(table)) => table.get(*name),
            (Step::Index(index), DeValue::Array(array)) => array.get(*index),
            _ => None,
        };
        let Some(next) = next else { break };
        at = next.span().start;
        here = next.get_ref();
    }
    at
}

/// Walks the tokens of a text that is known to be JSON.
fn json_offset(text: &str, key: &Key) -> usize {
    let mut scan = Scan {
        text: text.as_bytes(),
        at: 0,
    };
    let mut found = scan.space();
    for step in &key.0 {
        match scan.enter(step) {
            Some(at) => found = at,
            None => break,
        }
    }
    found
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// Skips white space, colons and commas; gives where it came to.
    fn space(&mut self) -> usize {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n' | b':' | b',') {
            self.at += 1;
        }
        self.at
    }

    /// Goes into the object or list that begins here, to the value that `step` names.
    fn enter(&mut self, step: &Step) -> Option<usize> {
        let close = match (self.peek(), step) {
            (b'{', Step::Name(_)) => b'}',
            (b'[', Step::Index(_)) => b']',
            _ => return None,
        };
        self.at += 1;
        let mut index = 0;
        loop {
            self.space();
            if self.peek() == close || self.peek() == 0 {
                return None;
            }
            let hit = match step {
                Step::Name(name) => {
                    let from = self.at;
                    self.skip();
                    let quoted = &self.text[from..self.at];
                    quoted.get(1..quoted.len().saturating_sub(1)) == Some(name.as_bytes())
                }
                Step::Index(wanted) => *wanted == index,
            };
            self.space();
            if hit {
                return Some(self.at);
            }
            self.skip();
            index += 1;
        }
    }

    /// Skips one value.
    fn skip(&mut self) {
        let mut depth = 0;
        loop {
            match self.peek() {
                0 => return,
                b'"' => self.string(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                _ => {
                    while !matches!(
                        self.peek(),
                        0 | b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t' | b':'
                    ) {
                        self.at += 1;
                    }
                }
            }
            if depth <= 0 {
                return;
            }
            self.space();
        }
    }

    fn string(&mut self) {
        self.at += 1;
        while !matches!(self.peek(), 0 | b'"') {
            self.at += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
    }
}
