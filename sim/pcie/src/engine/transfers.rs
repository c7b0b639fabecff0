//! What the function sends: DMA and interrupts.

use std::time::Instant;

use sluice_vfio_user::frame::{Message, take};
use sluice_vfio_user::wire::{self, Command, DmaAccess, flags};
use zerocopy::IntoBytes;

use super::{Asked, AskedKind, CLIENT_PATIENCE, Engine, MAX_ASKED, UNMAP_PATIENCE};
use crate::Function;
use crate::dma::Target;
use crate::fabric::{BusError, Tlp};
use crate::irqs::MESSAGE;

impl<F: Function> Engine<F> {
    pub(super) fn collect(&mut self) {
        while let Some((_, tlp)) = self.port.outbox.pop_front() {
            match tlp {
                Tlp::Completion { tag, data } => self.bar_data(tag, data),
                tlp => self.queue.push_back(tlp),
            }
        }
    }

    pub(super) fn transfer(&mut self) {
        while let Some(tlp) = self.queue.pop_front() {
            let done = match &tlp {
                Tlp::Write { addr, data } => self.write(*addr, data),
                Tlp::Read { addr, len, tag } => self.read(*addr, *len as usize, *tag),
                Tlp::Completion { .. } => true,
            };
            if !done {
                self.queue.push_front(tlp);
                return;
            }
        }
    }

    /// False if it must wait.
    fn write(&mut self, addr: u64, data: &[u8]) -> bool {
        if !self.config.bus_master() {
            self.fault(addr, data.len(), "bus mastering is off");
            return true;
        }
        if addr == MESSAGE {
            if self.writes_asked > 0 {
                return false;
            }
            let word = data.first_chunk::<4>().copied().unwrap_or([0xFF; 4]);
            self.irqs.fire(u32::from_le_bytes(word));
            return true;
        }
        match self.dma.find(addr, data.len(), true) {
            (_, fits) if fits < data.len() => {
                self.fault(addr, data.len(), "it crosses the end of a mapping")
            }
            (Target::Denied, _) => self.fault(addr, data.len(), "it is mapped for reading only"),
            (Target::File(file, at), _) => {
                if self.writes_asked > 0 {
                    return false;
                }
                match file.write(at, data) {
                    Ok(()) => self.transferred += data.len() as u64,
                    Err(error) => self.fault(addr, data.len(), &error.to_string()),
                }
            }
            (Target::Client, _) => return self.ask_write(addr, data),
        }
        true
    }

    /// Also takes what follows without a gap.
    fn ask_write(&mut self, addr: u64, first: &[u8]) -> bool {
        let Some(most) = self.room_to_ask(addr, first.len()) else {
            return self.client.is_none();
        };
        let mut data = first.to_vec();
        while let Some(Tlp::Write {
            addr: next,
            data: more,
        }) = self.queue.front()
        {
            let follows =
                *next == addr.wrapping_add(data.len() as u64) && data.len() + more.len() <= most;
            if !follows
                || !matches!(self.dma.find(*next, more.len(), true), (Target::Client, n) if n == more.len())
            {
                break;
            }
            data.extend_from_slice(more);
            self.queue.pop_front();
        }
        self.writes_asked += 1;
        self.ask(Command::DmaWrite, addr, data.len(), &data, AskedKind::Write);
        true
    }

    fn read(&mut self, addr: u64, len: usize, tag: u32) -> bool {
        if !self.config.bus_master() {
            self.fault(addr, len, "bus mastering is off");
            self.complete(tag, Err(BusError));
            return true;
        }
        let result = match self.dma.find(addr, len, false) {
            (_, fits) if fits < len => Err("it crosses the end of a mapping".to_string()),
            (Target::Denied, _) => Err("it is mapped for writing only".into()),
            (Target::File(file, at), _) => {
                let mut data = vec![0; len];
                file.read(at, &mut data)
                    .map(|()| data)
                    .map_err(|error| error.to_string())
            }
            (Target::Client, _) => return self.ask_read(addr, len, tag),
        };
        match &result {
            Ok(_) => self.transferred += len as u64,
            Err(why) => self.fault(addr, len, why),
        }
        self.complete(tag, result.map_err(|_| BusError));
        true
    }

    fn ask_read(&mut self, addr: u64, first: usize, tag: u32) -> bool {
        let Some(most) = self.room_to_ask(addr, first) else {
            if self.client.is_none() {
                self.complete(tag, Err(BusError));
            }
            return self.client.is_none();
        };
        let (mut tags, mut len) = (vec![(tag, first)], first);
        while let Some(Tlp::Read {
            addr: next,
            len: more,
            tag,
        }) = self.queue.front()
        {
            let (next, more, tag) = (*next, *more as usize, *tag);
            let follows = next == addr.wrapping_add(len as u64) && len + more <= most;
            if !follows
                || !matches!(self.dma.find(next, more, false), (Target::Client, n) if n == more)
            {
                break;
            }
            tags.push((tag, more));
            len += more;
            self.queue.pop_front();
        }
        self.ask(Command::DmaRead, addr, len, &[], AskedKind::Read(tags));
        true
    }

    /// Bytes that a message may have; `None` if none can be sent now, or ever.
    fn room_to_ask(&mut self, addr: u64, len: usize) -> Option<usize> {
        let Some(client) = &self.client else {
            self.fault(addr, len, "no client is there");
            return None;
        };
        (self.asked.len() < MAX_ASKED).then(|| client.data().max(len))
    }

    fn ask(&mut self, command: Command, address: u64, len: usize, data: &[u8], kind: AskedKind) {
        while self.asked.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let access = DmaAccess {
            address: address.into(),
            count: (len as u64).into(),
        };
        let parts = [access.as_bytes(), data];
        let message = wire::message(self.next_id, command as u16, 0, &parts);
        self.out.push((message, Vec::new()));
        let deadline = Instant::now() + CLIENT_PATIENCE;
        self.asked.insert(
            self.next_id,
            Asked {
                kind,
                address,
                len,
                deadline,
            },
        );
        self.next_id = self.next_id.wrapping_add(1);
    }

    /// The client's answer to a DMA message.
    pub fn answered(&mut self, message: &Message) {
        let Some(asked) = self.asked.remove(&message.header.id.get()) else {
            log::debug!("an answer that nobody waits for (id {})", message.header.id);
            return;
        };
        let failed = message.header.flags.get() & flags::ERROR != 0;
        let (address, len) = (asked.address, asked.len);
        if failed {
            let errno = message.header.error.get() as i32;
            let why = format!(
                "the client refused: {}",
                std::io::Error::from_raw_os_error(errno)
            );
            self.fault(address, len, &why);
        }
        let data = take::<DmaAccess>(&message.payload)
            .map(|(_, data)| data)
            .unwrap_or_default();
        let good = !failed && data.len() == len;
        if !failed && !good && matches!(asked.kind, AskedKind::Read(_)) {
            let got = data.len();
            self.fault(
                address,
                len,
                &format!("the client answered with {got} bytes"),
            );
        }
        if !failed {
            self.transferred += len as u64;
        }
        self.settle(asked, good.then_some(data));
        self.finish_unmaps();
        self.transfer();
    }

    fn settle(&mut self, asked: Asked, data: Option<&[u8]>) {
        match asked.kind {
            AskedKind::Write => self.writes_asked -= 1,
            AskedKind::Read(tags) => {
                let mut at = 0;
                for (tag, len) in tags {
                    let bytes = data.map(|data| data[at..at + len].to_vec());
                    self.complete(tag, bytes.ok_or(BusError));
                    at += len;
                }
            }
        }
    }

    fn complete(&mut self, tag: u32, data: Result<Vec<u8>, BusError>) {
        self.port
            .inbox
            .push_back((self.now, Tlp::Completion { tag, data }));
    }

    pub(super) fn fail_asked(&mut self, which: impl Fn(&Asked) -> bool, why: &str) {
        let ids: Vec<u16> = self
            .asked
            .iter()
            .filter(|(_, a)| which(a))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some(asked) = self.asked.remove(&id) {
                self.fault(asked.address, asked.len, why);
                self.settle(asked, None);
            }
        }
        self.finish_unmaps();
    }

    fn fault(&mut self, addr: u64, len: usize, why: &str) {
        self.faults += 1;
        // A device that has lost its memory fails again and again.
        if self.faults.is_power_of_two() {
            let name = &self.function.profile().name;
            log::warn!(
                "{name}: DMA of {len} bytes at {addr:#x} failed ({} so far): {why}",
                self.faults
            );
        }
    }

    /// Answers an unmap once nothing is under way in its range.
    pub fn answer_unmap(&mut self, address: u64, size: u64, reply: Vec<u8>) {
        // The client may be unable to answer while it waits for us.
        let soon = Instant::now() + UNMAP_PATIENCE;
        for asked in self
            .asked
            .values_mut()
            .filter(|asked| asked.touches(address, size))
        {
            asked.deadline = asked.deadline.min(soon);
        }
        self.unmaps.push((address, size, reply));
        self.finish_unmaps();
    }

    pub(super) fn finish_unmaps(&mut self) {
        let (asked, out) = (&self.asked, &mut self.out);
        self.unmaps.retain_mut(|(address, size, reply)| {
            let busy = asked.values().any(|asked| asked.touches(*address, *size));
            if !busy {
                out.push((std::mem::take(reply), Vec::new()));
            }
            busy
        });
    }
}

impl Asked {
    fn touches(&self, address: u64, size: u64) -> bool {
        let (last, other) = (
            self.address.saturating_add(self.len as u64 - 1),
            address.saturating_add(size - 1),
        );
        self.address <= other && address <= last
    }
}
