//! The card's trace of its Ethernet port: what the card receives and sends, in a ring in host memory that is emptied here.
//! One trace at a time. It costs hosts nothing; a ring that is not emptied loses frames, which are counted.

use std::time::Duration;

use sluice_device::{Device, DmaBuffer};
use sluice_regs::bar0_regs as bar0;
use sluice_wire::trace::{self, MAX_ORDER, MAX_SNAP, ROW, Record, SMALLEST_RING};
use zerocopy::FromBytes;

use super::{Card, CardError};

/// The card probes the ring and writes what it has; microseconds, unless something is wrong.
const PATIENCE: Duration = Duration::from_millis(200);
/// Alignment of the ring.
const PAGE: usize = 4096;

/// What to trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceOptions {
    /// Received frames.
    pub receive: bool,
    /// Sent frames.
    pub send: bool,
    /// Bytes kept of each frame, at most [`MAX_SNAP`].
    pub snap: u16,
    /// Only frames from or to this TCP port; 0: none of TCP. With `udp_port` 0 as well: all frames.
    pub tcp_port: u16,
    /// The same of UDP.
    pub udp_port: u16,
    /// Bytes of the ring: 4 KiB to 16 MiB, a power of two.
    pub ring: usize,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self {
            receive: true,
            send: true,
            snap: 128,
            tcp_port: 0,
            udp_port: 0,
            ring: 4 << 20,
        }
    }
}

/// Where a trace stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TraceState {
    /// Frames lost since the start for want of room.
    pub lost: u32,
    /// Records written since the start.
    pub records: u32,
    /// The card could not reach the ring, and has ended the trace.
    pub bus_error: bool,
}

/// The ring of a trace that runs.
pub(super) struct Ring {
    memory: Box<dyn DmaBuffer>,
    size: u32,
    /// Bytes taken since the start.
    tail: u32,
}

impl<D: Device> Card<D> {
    /// Starts a trace; it runs until [`Card::stop_trace`], a reset of the card, or a driver that takes over.
    ///
    /// # Errors
    /// [`CardError`]: options that cannot be, a trace that runs already, a card that cannot reach the ring.
    pub fn start_trace(&mut self, options: TraceOptions) -> Result<(), CardError> {
        let name = || self.device.name().to_string();
        let bar = self.device.bar(0)?;
        if !bar0::Features(bar.read32(bar0::FEATURES_OFFSET.into())?).trace() {
            return Err(CardError::NoTrace { name: name() });
        }
        if self.trace.is_some() {
            return Err(CardError::TraceRuns { name: name() });
        }
        let wrong = |what, want: String, got| CardError::TraceOption {
            name: name(),
            what,
            want,
            got,
        };
        if options.snap > MAX_SNAP {
            let want = format!("at most {MAX_SNAP} bytes");
            return Err(wrong("bytes kept of a frame", want, options.snap.into()));
        }
        let largest = SMALLEST_RING << MAX_ORDER;
        if !options.ring.is_power_of_two() || !(SMALLEST_RING..=largest).contains(&options.ring) {
            let want = format!("a power of two from {SMALLEST_RING} to {largest} bytes");
            return Err(wrong("ring", want, options.ring as u64));
        }
        switch_off(&self.device)?;
        let memory = (self.device.dma()).alloc(options.ring + PAGE, PAGE)?;
        let mut filter = bar0::TraceFilter(0);
        filter.set_tcp_port(options.tcp_port);
        filter.set_udp_port(options.udp_port);
        let mut control = bar0::TraceCtrl(0);
        control.set_receive(options.receive);
        control.set_send(options.send);
        control.set_snap(options.snap);
        control.set_order((options.ring / SMALLEST_RING).trailing_zeros() as u8);
        control.set_enable(true);
        let bus = memory.bus();
        for (offset, value) in [
            (bar0::TRACE_FILTER_OFFSET, filter.0),
            (bar0::TRACE_BASE_LO_OFFSET, bus as u32),
            (bar0::TRACE_BASE_HI_OFFSET, (bus >> 32) as u32),
            (bar0::TRACE_TAIL_OFFSET, 0),
            (bar0::TRACE_CTRL_OFFSET, control.0),
        ] {
            bar.write32(offset.into(), value)?;
        }
        self.trace = Some(Ring {
            memory,
            size: options.ring as u32,
            tail: 0,
        });
        let began = wait(&self.device, "start", |s| s.tracing() || !s.active());
        let began = began.and_then(|status| {
            if status.tracing() {
                return Ok(());
            }
            Err(CardError::TraceBus {
                name: self.device.name().into(),
                ring: bus,
            })
        });
        if began.is_err() {
            // What the card may still write to is kept if it does not end.
            let _ = self.stop_trace();
        }
        began
    }

    /// A trace was started and not stopped. It may have ended by itself.
    #[must_use]
    pub fn is_tracing(&self) -> bool {
        self.trace.is_some()
    }

    /// Takes whole records out of the ring, as the card wrote them, one behind the other: as many as fit in `most` bytes, but
    /// one at least if there is any. [`sluice_wire::trace::next`] takes them apart.
    ///
    /// # Errors
    /// [`CardError::NoTraceRuns`]; [`CardError::TraceRing`] if what lies there makes no sense: then the trace is stopped.
    pub fn read_trace(&mut self, most: usize) -> Result<Vec<u8>, CardError> {
        let Some(ring) = &mut self.trace else {
            let name = self.device.name().into();
            return Err(CardError::NoTraceRuns { name });
        };
        let at = ring.tail;
        match ring.take(most) {
            Ok(Ok(bytes)) => {
                let bar = self.device.bar(0)?;
                bar.write32(bar0::TRACE_TAIL_OFFSET.into(), ring.tail)?;
                Ok(bytes)
            }
            Ok(Err(reason)) => {
                self.stop_trace()?;
                let name = self.device.name().into();
                Err(CardError::TraceRing { name, at, reason })
            }
            Err(error) => Err(error),
        }
    }

    /// Where the trace stands; of the last one if none runs.
    ///
    /// # Errors
    /// [`CardError`] if the card cannot be reached.
    pub fn trace_state(&self) -> Result<TraceState, CardError> {
        let bar = self.device.bar(0)?;
        let status = bar0::TraceStatus(bar.read32(bar0::TRACE_STATUS_OFFSET.into())?);
        let records = match &self.trace {
            Some(ring) => ring.memory.read32(ring.size as usize + 8)?,
            None => 0,
        };
        Ok(TraceState {
            lost: bar.read32(bar0::TRACE_LOST_OFFSET.into())?,
            records,
            bus_error: status.bus_error(),
        })
    }

    /// Has the card end the trace, without giving up the ring: what is in it can still be read, up to [`Card::stop_trace`].
    /// Where it stands at the end.
    ///
    /// # Errors
    /// [`CardError::TraceStuck`] if the card does not end it.
    pub fn end_trace(&mut self) -> Result<TraceState, CardError> {
        switch_off(&self.device)?;
        self.trace_state()
    }

    /// Ends the trace and gives up its ring, with what has not been read. Where it stood at the end.
    ///
    /// # Errors
    /// [`CardError::TraceStuck`] if the card does not end it; the ring is kept then, since the card may still write to it.
    pub fn stop_trace(&mut self) -> Result<TraceState, CardError> {
        let state = self.end_trace()?;
        self.trace = None;
        Ok(state)
    }

    /// Clocks since power-on, the time of the trace's records.
    ///
    /// # Errors
    /// [`CardError`] if the card cannot be reached.
    pub fn clocks(&self) -> Result<u64, CardError> {
        // Low before high: reading the low half latches the high one.
        Ok(self
            .device
            .bar(0)?
            .read64(bar0::TRACE_CLOCKS_OFFSET.into())?)
    }
}

impl Ring {
    /// Takes whole records; or says why there can be none.
    fn take(&mut self, most: usize) -> Result<Result<Vec<u8>, String>, CardError> {
        let head = self.memory.read32(self.size as usize)?;
        let there = head.wrapping_sub(self.tail);
        if there > self.size || !there.is_multiple_of(ROW as u32) {
            return Ok(Err(format!(
                "{there} bytes in a ring of {} bytes",
                self.size
            )));
        }
        let mut bytes = Vec::new();
        let mut left = there as usize;
        while left > 0 {
            let mut row = [0; ROW];
            self.copy(self.tail, &mut row)?;
            let record = Record::read_from_bytes(&row).unwrap_or_default();
            let len = record.bytes();
            if len > left || record.kept.get() > record.len.get() {
                let (kept, of) = (record.kept, record.len);
                return Ok(Err(format!(
                    "a record of {kept} bytes of a frame of {of}, {left} bytes are written"
                )));
            }
            if !bytes.is_empty() && bytes.len() + len > most {
                break;
            }
            let at = bytes.len();
            bytes.resize(at + len, 0);
            self.copy(self.tail, &mut bytes[at..])?;
            self.tail = self.tail.wrapping_add(len as u32);
            left -= len;
        }
        Ok(Ok(bytes))
    }

    /// Copies from byte `from`, counted from the trace's start.
    fn copy(&self, from: u32, into: &mut [u8]) -> Result<(), CardError> {
        let at = (from & (self.size - 1)) as usize;
        let (first, second) = into.split_at_mut(into.len().min(self.size as usize - at));
        self.memory.read(at, first)?;
        self.memory.read(0, second)?;
        Ok(())
    }
}

/// Ends a trace, whoever started it, and waits until the card writes nothing more of it.
pub(super) fn switch_off<D: Device>(device: &D) -> Result<(), CardError> {
    let bar = device.bar(0)?;
    bar.write32(bar0::TRACE_CTRL_OFFSET.into(), 0)?;
    wait(device, "end", |status| !status.active()).map(drop)
}

fn wait<D: Device>(
    device: &D,
    what: &'static str,
    done: impl Fn(bar0::TraceStatus) -> bool,
) -> Result<bar0::TraceStatus, CardError> {
    let (bar, clock) = (device.bar(0)?, device.clock());
    let give_up = clock.now() + PATIENCE;
    loop {
        let status = bar0::TraceStatus(bar.read32(bar0::TRACE_STATUS_OFFSET.into())?);
        if done(status) {
            return Ok(status);
        }
        if clock.now() >= give_up {
            let name = device.name().into();
            return Err(CardError::TraceStuck {
                name,
                what,
                limit: PATIENCE,
                status: status.0,
            });
        }
        clock.sleep(Duration::from_micros(5));
    }
}

const _: () = assert!(trace::SMALLEST_RING == PAGE);
