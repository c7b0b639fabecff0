//! The `defmt` logger: rzCOBS frames into this core's log ring in packet memory, where the host reads them over BAR2.
//!
//! A ring begins with two words: bytes ever written (by the card) and bytes ever read (by the host), both wrapping at
//! 2^32. Byte `n` lies at `n % DATA`. A frame becomes visible whole or not at all; one that does not fit is dropped and
//! counted, never waited for.
#![allow(unsafe_code, reason = "leaf module: defmt's Logger is an unsafe trait")]

use core::cell::UnsafeCell;

use sluice_hal::layout::{LOG_BASE, LOG_SIZE};

use crate::{pm, regs};

/// Bytes of frames a ring holds.
const DATA: u32 = LOG_SIZE - 8;

struct State {
    encoder: defmt::Encoder,
    /// Address of this core's ring in packet memory.
    ring: u32,
    /// Count of bytes up to the end of the last whole frame, and where the next byte goes.
    done: Place,
    /// The same within the frame being written.
    next: Place,
    /// Bytes the open frame may still take.
    room: u32,
    /// The open frame did not fit.
    overflow: bool,
    /// Frames dropped since the last report.
    lost: u32,
}

#[derive(Clone, Copy)]
struct Place {
    count: u32,
    offset: u32,
}

struct Shared(UnsafeCell<State>);

// SAFETY: each core has its own copy of every static in its own memory, and no interrupt is enabled; a trap that
// interrupts the logger never returns to it.
unsafe impl Sync for Shared {}

static STATE: Shared = Shared(UnsafeCell::new(State {
    encoder: defmt::Encoder::new(),
    ring: 0,
    done: Place {
        count: 0,
        offset: 0,
    },
    next: Place {
        count: 0,
        offset: 0,
    },
    room: 0,
    overflow: false,
    lost: 0,
}));

/// Empties the ring; before the first log line.
pub fn init() {
    // SAFETY: sole access, see `Shared`; the reference ends here.
    let state = unsafe { &mut *STATE.0.get() };
    state.ring = LOG_BASE + LOG_SIZE * u32::from(regs::core_number());
    pm::write32(state.ring, 0);
    pm::write32(state.ring + 4, 0);
}

/// Logs how many frames were dropped, if any, once there is room again. For idle moments.
pub fn report_lost() {
    // SAFETY: as in `init`.
    let lost = unsafe { core::mem::take(&mut (*STATE.0.get()).lost) };
    if lost > 0 {
        defmt::warn!("{=u32} log frames lost: the ring was full", lost);
    }
}

impl State {
    fn open(&mut self) {
        let read = pm::read32(self.ring + 4);
        // A host that writes nonsense for its count loses log frames, nothing else.
        self.room = DATA.saturating_sub(self.done.count.wrapping_sub(read));
        self.next = self.done;
        self.overflow = false;
    }

    fn put(&mut self, bytes: &[u8]) {
        if bytes.len() as u32 > self.room {
            self.overflow = true;
        }
        if self.overflow {
            return;
        }
        self.room -= bytes.len() as u32;
        for byte in bytes {
            pm::write8(self.ring + 8 + self.next.offset, *byte);
            self.next.step();
        }
    }

    fn close(&mut self) {
        if self.overflow {
            self.lost += 1;
        } else {
            self.done = self.next;
            pm::write32(self.ring, self.done.count);
        }
    }
}

impl Place {
    fn step(&mut self) {
        self.count = self.count.wrapping_add(1);
        self.offset += 1;
        if self.offset == DATA || self.count == 0 {
            self.offset = 0;
        }
    }
}

#[defmt::global_logger]
struct Ring;

// SAFETY: `acquire` and `release` need no lock for the reason given at `Shared`; defmt pairs the calls. A panic or trap
// inside a frame calls `acquire` again: the unfinished frame is then given up, which `open` does by starting over.
unsafe impl defmt::Logger for Ring {
    fn acquire() {
        // SAFETY: sole access, see `Shared`.
        let state = unsafe { &mut *STATE.0.get() };
        state.open();
        with_encoder(|encoder, put| encoder.start_frame(put));
    }

    unsafe fn flush() {}

    unsafe fn release() {
        with_encoder(|encoder, put| encoder.end_frame(put));
        // SAFETY: sole access, see `Shared`.
        unsafe { (*STATE.0.get()).close() }
    }

    unsafe fn write(bytes: &[u8]) {
        with_encoder(|encoder, put| encoder.write(bytes, put));
    }
}

/// Runs `encode` with the encoder and a sink for its output.
fn with_encoder(encode: impl FnOnce(&mut defmt::Encoder, &mut dyn FnMut(&[u8]))) {
    // SAFETY: sole access, see `Shared`.
    let state = unsafe { &mut *STATE.0.get() };
    let mut encoder = core::mem::replace(&mut state.encoder, defmt::Encoder::new());
    encode(&mut encoder, &mut |bytes| state.put(bytes));
    state.encoder = encoder;
}

// Microseconds, low word: enough to order and time lines of one core.
defmt::timestamp!("{=u32:us}", regs::micros_low());
