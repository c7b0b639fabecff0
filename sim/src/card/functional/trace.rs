//! The trace of the functional card: the same registers, records and probes as the hardware's, in no time of its own. So it
//! loses frames for want of room in the ring only, never for want of room in the card.

use std::cell::Cell;

use sluice_engines::{Filter, Seen, trace_bytes, trace_record};
use sluice_regs::bar0_regs as r;
use sluice_wire::trace::{MAX_ORDER, ROW, SMALLEST_RING, StatusRow};
use zerocopy::IntoBytes;

use super::registers::Registers;
use crate::fabric::{BusError, Clock, MAX_PAYLOAD, Port, Tlp};

/// Records between two probes, as in the hardware.
const PROBE: u32 = 64;
/// Tags of probes are apart from those of moves.
const TAGS: u32 = 1 << 30;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Off,
    /// Reads of the ring are to be answered first.
    Starting,
    On,
    /// What was seen is written and one more read is to be answered.
    Ending,
}

/// A trace, or none.
pub struct Trace {
    state: State,
    /// `enable` as it was; a reset leaves it set, so that it has to be 0 first.
    was_on: bool,
    base: u64,
    size: u32,
    control: r::TraceCtrl,
    filter: Filter,
    head: u32,
    lost: u32,
    records: u32,
    bus_error: bool,
    bad_order: bool,
    /// What the status row says is no longer so.
    row_due: bool,
    since_probe: u32,
    /// Tags of reads under way: from the first to before the second.
    probes: (u32, u32),
    to_probe: Vec<u64>,
    writes: Vec<Tlp>,
    /// High half of the clocks, latched by a read of the low one.
    latched: Cell<u32>,
}

impl Trace {
    /// None; and none begins while `enable` stays set.
    pub fn new() -> Self {
        Self {
            state: State::Off,
            was_on: true,
            base: 0,
            size: 0,
            control: r::TraceCtrl::default(),
            filter: Filter::default(),
            head: 0,
            lost: 0,
            records: 0,
            bus_error: false,
            bad_order: false,
            row_due: false,
            since_probe: 0,
            probes: (0, 0),
            to_probe: Vec::new(),
            writes: Vec::new(),
            latched: Cell::new(0),
        }
    }

    /// What a reset of the engines does.
    pub fn reset(&mut self) {
        let stale = self.probes.1;
        *self = Self::new();
        self.probes = (stale, stale);
    }

    /// It has something to do.
    pub fn is_busy(&self) -> bool {
        matches!(self.state, State::Starting | State::Ending) || !self.writes.is_empty()
    }

    /// A register as it is read, if it is one of the trace's own.
    pub fn register(&self, offset: u32, clock: Clock) -> Option<u32> {
        Some(match offset {
            r::TRACE_HEAD_OFFSET => self.head,
            r::TRACE_LOST_OFFSET => self.lost,
            r::TRACE_STATUS_OFFSET => {
                u32::from(self.state != State::Off)
                    | u32::from(self.state == State::On) << 1
                    | u32::from(self.bus_error) << 2
                    | u32::from(self.bad_order) << 3
            }
            r::TRACE_CLOCKS_OFFSET => {
                self.latched.set((clock >> 32) as u32);
                clock as u32
            }
            o if o == r::TRACE_CLOCKS_OFFSET + 4 => self.latched.get(),
            _ => return None,
        })
    }

    /// Looks at the registers, after any of them was written or time has passed.
    pub fn look(&mut self, registers: &Registers) {
        let control = r::TraceCtrl(registers.read(r::TRACE_CTRL_OFFSET));
        if !control.enable() {
            self.was_on = false;
            if matches!(self.state, State::Starting | State::On) {
                self.state = State::Ending;
            }
        } else if !self.was_on && self.state == State::Off {
            self.was_on = true;
            self.start(control, registers);
        }
    }

    fn start(&mut self, control: r::TraceCtrl, registers: &Registers) {
        let stale = self.probes.1;
        *self = Self::new();
        self.probes = (stale, stale);
        self.bad_order = control.order() > MAX_ORDER;
        if self.bad_order {
            return;
        }
        let filter = r::TraceFilter(registers.read(r::TRACE_FILTER_OFFSET));
        self.filter = Filter {
            tcp: filter.tcp_port(),
            udp: filter.udp_port(),
        };
        self.control = control;
        self.size = (SMALLEST_RING as u32) << control.order();
        let low = registers.read(r::TRACE_BASE_LO_OFFSET) & !0xFFF;
        self.base = u64::from(registers.read(r::TRACE_BASE_HI_OFFSET)) << 32 | u64::from(low);
        let end = self.base.wrapping_add(self.size.into());
        self.to_probe = vec![self.base, end.wrapping_sub(ROW as u64), end];
        self.state = State::Starting;
    }

    /// A frame has passed at `clock`.
    pub fn frame(&mut self, frame: &[u8], seen: Seen, clock: Clock, registers: &Registers) {
        let wanted = match seen {
            Seen::Sent => self.control.send(),
            Seen::Received(_) => self.control.receive(),
        };
        if self.state != State::On || !wanted || !self.filter.passes(frame) {
            return;
        }
        self.row_due = true;
        let record = trace_record(frame, seen, self.control.snap(), clock);
        let bytes = trace_bytes(record, self.lost);
        let used = self.head.wrapping_sub(registers.read(r::TRACE_TAIL_OFFSET));
        let room = self.size.checked_sub(used);
        if room.is_none_or(|room| room < bytes.len() as u32) {
            self.lost = self.lost.wrapping_add(1);
            return;
        }
        self.put(&bytes);
        self.records = self.records.wrapping_add(1);
        self.since_probe += 1;
    }

    /// Writes behind what is written, in packets that cross neither the ring's end nor a boundary of [`MAX_PAYLOAD`].
    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let at = self.head & (self.size - 1);
            let room = MAX_PAYLOAD - at as usize % MAX_PAYLOAD;
            let (piece, rest) = bytes.split_at(room.min(bytes.len()));
            self.writes.push(Tlp::Write {
                addr: self.base.wrapping_add(at.into()),
                data: piece.to_vec(),
            });
            self.head = self.head.wrapping_add(piece.len() as u32);
            bytes = rest;
        }
    }

    /// Sends what is to be sent.
    pub fn run(&mut self, now: Clock, pcie: &mut Port, registers: &Registers) {
        self.look(registers);
        let row = self.base.wrapping_add(self.size.into());
        if self.row_due {
            self.row_due = false;
            let status = StatusRow {
                head: self.head.into(),
                lost: self.lost.into(),
                records: self.records.into(),
                reserved: 0.into(),
            };
            self.writes.push(Tlp::Write {
                addr: row,
                data: status.as_bytes().to_vec(),
            });
            if self.since_probe >= PROBE {
                self.to_probe.push(row);
            }
        }
        self.writes.drain(..).for_each(|tlp| pcie.send(now, tlp));
        let idle = self.probes.0 == self.probes.1;
        match self.state {
            State::Starting if idle && self.to_probe.is_empty() => self.state = State::On,
            State::Ending if idle && self.to_probe.is_empty() && self.since_probe == 0 => {
                self.state = State::Off;
            }
            // What was written last is to be known to have arrived.
            State::Ending if idle && self.to_probe.is_empty() => self.to_probe.push(row),
            _ => {}
        }
        for addr in self.to_probe.drain(..) {
            self.since_probe = 0;
            let tag = TAGS | self.probes.1 % TAGS;
            self.probes.1 = self.probes.1.wrapping_add(1);
            let len = ROW as u32;
            pcie.send(now, Tlp::Read { addr, len, tag });
        }
    }

    /// Takes the answer to a probe; false if this is none.
    pub fn answer(&mut self, tag: u32, data: &Result<Vec<u8>, BusError>) -> bool {
        if tag & TAGS == 0 {
            return false;
        }
        // Those of a trace before a reset mean nothing any more.
        if self.probes.0 != self.probes.1 && tag == TAGS | self.probes.0 % TAGS {
            self.probes.0 = self.probes.0.wrapping_add(1);
            if data.is_err() {
                self.fail();
            }
        }
        true
    }

    fn fail(&mut self) {
        self.bus_error = true;
        self.state = State::Off;
        self.row_due = false;
        self.writes.clear();
        self.to_probe.clear();
        self.probes.0 = self.probes.1;
    }
}
