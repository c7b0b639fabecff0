//! `docs/rpc.md` lists what the table of methods has.

use sluice_rpc::method::Spdk;
use sluice_rpc::methods::METHODS;

/// Heads the table.
const HEAD: &str = "| method | what it does | SPDK's of this name |\n|---|---|---|\n";

fn row(name: &str, about: &str, spdk: Spdk) -> String {
    let spdk = match spdk {
        Spdk::Same => "the same".into(),
        Spdk::Differs(how) => format!("differs: {how}"),
        Spdk::Own => "none, ours".into(),
    };
    format!("| `{name}` | {} | {spdk} |\n", about.trim_end_matches('.'))
}

#[test]
fn the_documentation_has_every_method_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rpc.md");
    let text = std::fs::read_to_string(path).expect("docs/rpc.md is there");
    let rows: String = METHODS
        .iter()
        .map(|m| row(m.name, m.about, m.spdk))
        .collect();
    let table = format!("{HEAD}{rows}");
    let found = text.split_once(HEAD).map_or("", |(_, rest)| rest);
    let found: String = found
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(
        found == rows,
        "the table of docs/rpc.md is not that of methods.rs; it should be:\n\n{table}"
    );
}
