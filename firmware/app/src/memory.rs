//! How the firmware divides the header area of packet memory among the cores.
//!
//! The control core has the first [`CONTROL_SIZE`] bytes. The rest is split evenly among the data cores; each share holds the
//! TCP header templates, a ring for small frames, and one [`SLOT_SIZE`]-byte PDU slot per request.

use sluice_hal::layout::{
    BACKLOG_BASE, BACKLOG_ENTRIES, BACKLOG_ENTRY, HEADERS_BASE, HEADERS_SIZE, QP_HEADERS,
    QP_HEADERS_BASE,
};
use sluice_hal::{CoreId, PmAddr};

use crate::limits;

/// The control core's part.
pub const CONTROL_SIZE: u32 = 0x2000;
/// Bytes of a frame slot: any frame header the firmware builds itself.
pub const FRAME_SLOT: u32 = 128;
/// Frame slots per core.
pub const FRAME_SLOTS: u32 = 16;
/// Bytes of a slot for a management datagram: its header and 256 bytes.
pub const MAD_SLOT: u32 = 384;
/// Slots for management datagrams.
pub const MAD_SLOTS: u32 = 8;
/// Bytes of the parameters of a queue pair that a data core is to open.
pub const QP_PARAMS: u32 = 64;
/// Queue pairs that are being opened at a time.
pub const QP_PARAM_SLOTS: u32 = 48;
/// Bytes of a header template.
pub const TEMPLATE: u32 = 128;
/// Bytes of a PDU slot.
pub const SLOT_SIZE: u32 = 192;
/// In a PDU slot: the trailer (data digest, response capsule) begins here. Before it: a header of at most
/// 24 bytes, its digest and padding to the alignment the host asked for (124 bytes at most).
pub const SLOT_TRAILER: u32 = 156;

/// One data core's share.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    base: u32,
    connections: u32,
    slots: u32,
    backlog: u32,
    backlog_entries: u32,
    qp_templates: u32,
    qps: u32,
}

impl Share {
    /// No share.
    pub const EMPTY: Self = Self {
        base: 0,
        connections: 0,
        slots: 0,
        backlog: 0,
        backlog_entries: 0,
        qp_templates: 0,
        qps: 0,
    };

    /// The share of `core` when there are `data_cores` of them.
    #[must_use]
    pub fn of(core: CoreId, data_cores: u8) -> Self {
        let size = (HEADERS_SIZE - CONTROL_SIZE) / u32::from(data_cores.max(1)) & !0xff;
        let base = HEADERS_BASE + CONTROL_SIZE + size * u32::from(core.0.saturating_sub(1));
        // Three quarters of what the frame ring leaves goes to PDU slots: a connection has several commands.
        let room = size - FRAME_SLOT * FRAME_SLOTS;
        let connections = (room / 4 / TEMPLATE).min(limits::CONNECTIONS as u32);
        let slots = ((room - connections * TEMPLATE) / SLOT_SIZE).min(limits::REQUESTS as u32);
        let backlog_entries = BACKLOG_ENTRIES / u32::from(data_cores.max(1));
        let nth = u32::from(core.0.saturating_sub(1));
        let qps = (QP_HEADERS / u32::from(data_cores.max(1))).min(limits::CONNECTIONS as u32);
        Self {
            base,
            connections,
            slots,
            backlog: BACKLOG_BASE + BACKLOG_ENTRY * backlog_entries * nth,
            backlog_entries,
            qp_templates: QP_HEADERS_BASE + TEMPLATE * qps * nth,
            qps,
        }
    }

    /// Connections there are templates for.
    #[must_use]
    pub const fn connections(self) -> usize {
        self.connections as usize
    }

    /// Requests there are PDU slots for.
    #[must_use]
    pub const fn slots(self) -> usize {
        self.slots as usize
    }

    /// First command of the backlog, and how many there are places for.
    #[must_use]
    pub const fn backlog(self) -> (PmAddr, u16) {
        (PmAddr(self.backlog), self.backlog_entries as u16)
    }

    /// Header templates of queue pairs, and how many queue pairs they are for.
    #[must_use]
    pub const fn qp_templates(self) -> (PmAddr, usize) {
        (PmAddr(self.qp_templates), self.qps as usize)
    }

    /// First frame slot.
    #[must_use]
    pub const fn frames(self) -> PmAddr {
        PmAddr(self.base)
    }

    /// First header template.
    #[must_use]
    pub const fn templates(self) -> PmAddr {
        PmAddr(self.base + FRAME_SLOT * FRAME_SLOTS)
    }

    /// PDU slot of request `index`.
    #[must_use]
    #[inline]
    pub const fn slot(self, index: u16) -> PmAddr {
        PmAddr(
            self.base
                + FRAME_SLOT * FRAME_SLOTS
                + self.connections * TEMPLATE
                + index as u32 * SLOT_SIZE,
        )
    }
}

/// First frame slot of the control core.
#[must_use]
pub const fn control_frames() -> PmAddr {
    PmAddr(HEADERS_BASE)
}

/// Slot `slot` for a management datagram.
#[must_use]
pub const fn mad_slot(slot: u32) -> PmAddr {
    PmAddr(HEADERS_BASE + FRAME_SLOT * FRAME_SLOTS + MAD_SLOT * (slot % MAD_SLOTS))
}

/// Slot `slot` for the parameters of a queue pair.
#[must_use]
pub const fn qp_params(slot: u32) -> PmAddr {
    let base = HEADERS_BASE + FRAME_SLOT * FRAME_SLOTS + MAD_SLOT * MAD_SLOTS;
    PmAddr(base + QP_PARAMS * (slot % QP_PARAM_SLOTS))
}

const _: () = assert!(
    FRAME_SLOT * FRAME_SLOTS + MAD_SLOT * MAD_SLOTS + QP_PARAMS * QP_PARAM_SLOTS <= CONTROL_SIZE
);

/// The control core's exchange buffer for host commands (one page's worth would not fit here, so it uses page 0).
pub const CONTROL_PAGES: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_data_core_has_room_for_256_connections_and_512_requests() {
        let share = Share::of(CoreId(1), 1);
        assert_eq!((share.connections(), share.slots()), (256, 512));
    }

    #[test]
    fn shares_do_not_overlap_and_end_inside_the_area() {
        for cores in 1..=15 {
            let mut end = HEADERS_BASE + CONTROL_SIZE;
            for core in 1..=cores {
                let share = Share::of(CoreId(core), cores);
                assert!(share.frames().0 >= end, "core {core} of {cores}");
                end = share.slot(share.slots() as u16).0;
                assert!(
                    share.slots() >= 48,
                    "{} slots for core {core} of {cores}",
                    share.slots()
                );
            }
            assert!(end <= HEADERS_BASE + HEADERS_SIZE);
            let (backlog, entries) = Share::of(CoreId(cores), cores).backlog();
            let end = backlog.0 + u32::from(entries) * BACKLOG_ENTRY;
            assert!(end <= BACKLOG_BASE + BACKLOG_ENTRIES * BACKLOG_ENTRY);
            let (templates, qps) = Share::of(CoreId(cores), cores).qp_templates();
            assert!(templates.0 + qps as u32 * TEMPLATE <= QP_HEADERS_BASE + QP_HEADERS * TEMPLATE);
            let counted = sluice_wire::stats::connections_per_core(cores.into());
            assert!(Share::of(CoreId(1), cores).connections() <= counted as usize);
        }
    }
}
