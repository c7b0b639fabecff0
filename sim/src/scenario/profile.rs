//! Where a core of the Verilated card spends its clocks, by function of the firmware, inlined ones included.

use std::collections::HashMap;
use std::path::Path;

/// A function, and the clocks that its own instructions took.
pub type Spent = (String, u64);

/// Sums `counts`, the clocks at each halfword of a core's memory, by the innermost function of the ELF file that the core
/// runs; the most expensive first.
///
/// # Errors
/// In words, when the file has no usable debug information.
pub fn by_function(elf: &Path, counts: &[u32]) -> Result<Vec<Spent>, String> {
    let loader = addr2line::Loader::new(elf).map_err(|e| format!("{}: {e}", elf.display()))?;
    let mut spent: HashMap<String, u64> = HashMap::new();
    for (at, clocks) in counts.iter().enumerate().filter(|(_, clocks)| **clocks > 0) {
        let name = innermost(&loader, 2 * at as u64);
        *spent.entry(name).or_default() += u64::from(*clocks);
    }
    let mut rows: Vec<Spent> = spent.into_iter().collect();
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(rows)
}

fn innermost(loader: &addr2line::Loader, address: u64) -> String {
    let frame = loader
        .find_frames(address)
        .ok()
        .and_then(|mut frames| frames.next().ok().flatten());
    let name = frame
        .as_ref()
        .and_then(|frame| frame.function.as_ref())
        .and_then(|function| function.demangle().ok().map(|name| name.into_owned()));
    name.or_else(|| loader.find_symbol(address).map(str::to_string))
        .unwrap_or_else(|| format!("{address:#x}"))
}
