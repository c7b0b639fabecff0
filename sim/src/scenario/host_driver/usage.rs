//! What the server has had to do with the data of hosts: nothing.

use memchr::memmem;

use super::PATIENCE;
use crate::report::Checked;
use crate::vfio_user::Served;
use crate::vfio_user::card::CardFunction;
use crate::vm::Vm;

/// Bytes of the server's memory looked through at once.
const CHUNK: usize = 1 << 20;

/// What the server's processors and memory have had to do with the hosts' I/O.
pub(super) struct Usage {
    /// Processor time of sluiced, in the kernel's ticks of 10 ms.
    ticks: u64,
    /// Interrupts for sluiced.
    interrupts: u64,
    /// Bytes between the card and the server's memory, or other devices by way of the server (doorbells).
    transferred: u64,
    /// Bytes that the card has received and sent on its cable.
    wire: u64,
}

impl Usage {
    pub(super) fn take(vm: &mut Vm, card: &mut Served<CardFunction>) -> Result<Self, String> {
        let said = vm.sh(
            "p=$(pidof sluiced) || { echo no sluiced; cat /run/sluiced.log; exit 1; }
             sed 's/.*) //' /proc/$p/stat | cut -d ' ' -f 12,13
             grep vfio /proc/interrupts | sed 's/^[^:]*: *//' | tr -s ' ' | cut -d ' ' -f 1,2 | tr '\\n' ' '",
            PATIENCE,
        );
        let said = said.map_err(|e| e.to_string())?;
        let mut lines = said.lines().map(|line| {
            let numbers = line.split_whitespace().map(|n| n.parse().unwrap_or(0));
            numbers.sum::<u64>()
        });
        let (ticks, interrupts) = (lines.next(), lines.next().unwrap_or(0));
        let ticks = ticks.ok_or("no processor time in /proc")?;
        let (transferred, wire) =
            card.ask(|engine| (engine.transferred, engine.function().passed()))?;
        Ok(Self {
            ticks,
            interrupts,
            transferred,
            wire,
        })
    }
}

/// The card moved far more for the hosts than went through the server.
pub(super) fn untouched(before: &Usage, after: &Usage) -> Result<Checked, String> {
    let wire = after.wire - before.wire;
    let transferred = after.transferred - before.transferred;
    let note = format!(
        "{} KiB on the cable, {} KiB between card and server (doorbells, events); sluiced: {} ms of processor time, {} interrupts",
        wire >> 10,
        transferred >> 10,
        10 * (after.ticks - before.ticks),
        after.interrupts.saturating_sub(before.interrupts)
    );
    // A doorbell of 4 bytes and a few more per command of 4 KiB or more.
    if wire == 0 || transferred > wire / 50 {
        return Err(note);
    }
    Ok(Checked::note(note))
}

/// Looks through all memory that the server shares with the card, which is all it has. A text that the server does know is
/// found, so that not finding the others means something.
pub(super) fn not_in_memory(
    vm: &mut Vm,
    card: &mut Served<CardFunction>,
    texts: Vec<String>,
    known: &str,
) -> Result<Checked, String> {
    let said = vm.sh(&format!("echo {known} > /tmp/known; sync"), PATIENCE);
    said.map_err(|e| e.to_string())?;
    let files = card.ask(|engine| engine.dma.shared())?;
    let bytes: u64 = files.iter().map(|file| file.len()).sum();
    let mut sought = texts;
    sought.push(known.into());
    let mut found = vec![0_u64; sought.len()];
    let mut chunk = vec![0; CHUNK];
    for file in &files {
        let mut at = 0;
        while at < file.len() {
            let len = (file.len() - at).min(CHUNK as u64) as usize;
            file.read(at, &mut chunk[..len])
                .map_err(|e| format!("reading the server's memory: {e}"))?;
            for (text, found) in sought.iter().zip(&mut found) {
                *found += memmem::find_iter(&chunk[..len], text.as_bytes()).count() as u64;
            }
            // What lies across two chunks is found in neither; the texts come in their thousands.
            at += len as u64;
        }
    }
    match found.split_last() {
        Some((0, _)) => Err(format!(
            "what the server wrote itself is not in the {} MiB looked through",
            bytes >> 20
        )),
        Some((_, hosts)) if hosts.iter().any(|n| *n > 0) => {
            Err(format!("found {hosts:?} times in the server's memory"))
        }
        _ => Ok(Checked::note(format!("{} MiB looked through", bytes >> 20))),
    }
}
