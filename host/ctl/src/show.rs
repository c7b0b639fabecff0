//! Answers as text for people: lists of objects as tables, one object as a list of names and values. What hosts and SSDs call
//! themselves ends up on a terminal, so control characters are never passed on.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Map, Value};

/// Members by which an object is known; they come first.
const FIRST: [&str; 7] = ["name", "nqn", "nsid", "bdev_name", "id", "core", "trtype"];
/// An object with no more members than this is shown in its parent's row.
const SMALL: usize = 6;

/// Any answer. Nothing for `true`, which only says that it is done.
#[must_use]
pub fn answer(value: &Value) -> String {
    match value {
        Value::Bool(true) | Value::Null => String::new(),
        Value::Array(list) if list.is_empty() => "none\n".into(),
        Value::Array(list) if list.iter().all(Value::is_object) => objects(list),
        Value::Array(list) => list.iter().map(|v| plain(v) + "\n").collect(),
        Value::Object(object) => one(object),
        scalar => plain(scalar) + "\n",
    }
}

/// A table with these headings; no lines, so that it can be cut up with the usual tools.
#[must_use]
pub fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let rows = rows.into_iter().map(|row| row.to_vec()).collect();
    text(&head.map(str::to_owned), rows)
}

/// A text without anything that a terminal would obey.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() || is_bidi(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// A value in one line.
#[must_use]
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(s) => clean(s),
        Value::Number(n) => n.to_string(),
        Value::Array(list) if list.is_empty() => "-".into(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(object) => {
            let parts = object
                .iter()
                .map(|(k, v)| format!("{} {}", clean(k), plain(v)));
            parts.collect::<Vec<_>>().join(" ")
        }
    }
}

fn text(head: &[String], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

fn objects(list: &[Value]) -> String {
    let rows: Vec<Vec<(String, String)>> = (list.iter())
        .filter_map(Value::as_object)
        .map(|object| cells(object, ""))
        .collect();
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flatten() {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    columns.sort_by_key(|name| rank(name));
    let head: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
    let cell = |row: &[(String, String)], column: &str| {
        let found = row.iter().find(|(name, _)| name == column);
        found.map_or_else(|| "-".to_owned(), |(_, value)| value.clone())
    };
    let rows = rows
        .iter()
        .map(|row| columns.iter().map(|c| cell(row, c)).collect());
    text(&head, rows.collect())
}

fn one(object: &Map<String, Value>) -> String {
    let is_section = |v: &Value| match v {
        Value::Object(inner) => {
            inner.len() > SMALL || inner.values().any(|v| v.is_object() || v.is_array())
        }
        Value::Array(list) => !list.is_empty() && list.iter().all(Value::is_object),
        _ => false,
    };
    let (sections, lines): (Vec<_>, Vec<_>) = object.iter().partition(|(_, v)| is_section(v));
    let mut names: Vec<_> = lines.iter().map(|(k, v)| (clean(k), plain(v))).collect();
    names.sort_by_key(|(k, _)| rank(k));
    let width = names
        .iter()
        .map(|(k, _)| k.chars().count())
        .max()
        .unwrap_or(0);
    let mut out: String = names
        .iter()
        .map(|(k, v)| format!("{k:<width$}  {v}\n"))
        .collect();
    for (name, value) in sections {
        if !out.is_empty() {
            out.push('\n');
        }
        out += &format!("{}:\n", clean(name));
        out += &answer(value)
            .lines()
            .map(|l| format!("  {l}\n"))
            .collect::<String>();
    }
    out
}

fn cells(object: &Map<String, Value>, prefix: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (name, value) in object {
        let name = format!("{prefix}{}", clean(name));
        match value {
            Value::Object(inner) if prefix.is_empty() && inner.len() <= SMALL => {
                all.extend(cells(inner, &format!("{name}.")));
            }
            value => all.push((name, plain(value))),
        }
    }
    all
}

fn rank(name: &str) -> usize {
    FIRST.iter().position(|f| *f == name).unwrap_or(FIRST.len())
}

/// Characters that turn the direction of what follows.
const fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_become_rows_with_what_they_are_known_by_first() {
        let text = answer(&json!([
            {"block_size": 512, "name": "ssd0n1", "at": {"x": 1}},
            {"block_size": 4096, "name": "ssd1n1", "claimed": false},
        ]));
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], ["name", "at.x", "block_size", "claimed"]);
        assert_eq!(lines[1], ["ssd0n1", "1", "512", "-"]);
        assert_eq!(lines[2], ["ssd1n1", "-", "4096", "no"]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn one_object_is_a_list_and_lists_in_it_are_tables_below() {
        let text = answer(
            &json!({"state": "up", "name": "card", "ssds": [{"name": "a"}, {"name": "b"}], "none": []}),
        );
        assert_eq!(
            text,
            "name   card\nnone   -\nstate  up\n\nssds:\n  name\n  a\n  b\n"
        );
    }

    #[test]
    fn control_characters_and_turned_text_never_reach_the_terminal() {
        let text = answer(&json!([{"name": "a\u{1b}[2Jb\n\u{202e}c", "k\u{7}": 1}]));
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control()),
            "{text:?}"
        );
        assert_eq!(text.lines().count(), 2, "{text:?}");
        assert!(!text.contains('\u{202e}'), "{text:?}");
    }

    #[test]
    fn done_says_nothing_and_scalars_say_themselves() {
        assert_eq!(answer(&json!(true)), "");
        assert_eq!(answer(&json!(false)), "no\n");
        assert_eq!(answer(&json!(7)), "7\n");
        assert_eq!(answer(&json!(["a", "b"])), "a\nb\n");
        assert_eq!(answer(&json!([])), "none\n");
    }
}
