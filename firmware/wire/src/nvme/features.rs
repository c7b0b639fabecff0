//! Features and asynchronous events (Base, sections 5.1.25, 5.1.12 and 5.1.2).

use bitfield::bitfield;

/// Feature identifiers (CDW10 bits 7:0).
pub mod feature {
    /// Arbitration.
    pub const ARBITRATION: u8 = 0x01;
    /// Power Management.
    pub const POWER: u8 = 0x02;
    /// Temperature Threshold.
    pub const TEMPERATURE: u8 = 0x04;
    /// Error Recovery (NVM).
    pub const ERROR_RECOVERY: u8 = 0x05;
    /// Volatile Write Cache.
    pub const WRITE_CACHE: u8 = 0x06;
    /// Number of Queues.
    pub const QUEUES: u8 = 0x07;
    /// Interrupt Coalescing.
    pub const COALESCING: u8 = 0x08;
    /// Interrupt Vector Configuration.
    pub const VECTOR: u8 = 0x09;
    /// Write Atomicity Normal (NVM).
    pub const WRITE_ATOMICITY: u8 = 0x0a;
    /// Asynchronous Event Configuration.
    pub const EVENTS: u8 = 0x0b;
    /// Timestamp.
    pub const TIMESTAMP: u8 = 0x0e;
    /// Keep Alive Timer.
    pub const KEEP_ALIVE: u8 = 0x0f;
    /// Host Behavior Support.
    pub const HOST_BEHAVIOR: u8 = 0x16;
    /// I/O Command Set Profile.
    pub const COMMAND_SET_PROFILE: u8 = 0x19;
    /// Host Identifier.
    pub const HOST_ID: u8 = 0x81;
    /// Namespace Write Protection Config.
    pub const WRITE_PROTECT: u8 = 0x84;
    /// Set Features, CDW10 bit 31: save.
    pub const SAVE: u32 = 1 << 31;
}

/// Select field of Get Features (CDW10 bits 10:8).
pub mod select {
    /// The value in use.
    pub const CURRENT: u8 = 0;
    /// The value after a reset with nothing saved.
    pub const DEFAULT: u8 = 1;
    /// The saved value.
    pub const SAVED: u8 = 2;
    /// What can be done: result bit 0 saveable, 1 namespace specific, 2 changeable.
    pub const CAPABILITIES: u8 = 3;
}

bitfield! {
    /// Number of Queues, both ways (CDW11 and result): zero-based counts of I/O queues.
    #[derive(Clone, Copy, PartialEq, Eq, Default)]
    pub struct QueueCount(u32);
    impl Debug;
    /// Submission queues, zero-based.
    pub u16, submission_z, set_submission_z: 15, 0;
    /// Completion queues, zero-based.
    pub u16, completion_z, set_completion_z: 31, 16;
}

bitfield! {
    /// Asynchronous Event Configuration (CDW11), also OAES of Identify Controller in the notice bits.
    #[derive(Clone, Copy, PartialEq, Eq, Default)]
    pub struct EventConfig(u32);
    impl Debug;
    /// SMART critical warnings, one bit each.
    pub u8, smart, set_smart: 7, 0;
    /// Attached Namespace Attribute notices.
    pub bool, namespace_changed, set_namespace_changed: 8;
    /// Firmware activation notices.
    pub bool, firmware, set_firmware: 9;
    /// Telemetry notices.
    pub bool, telemetry, set_telemetry: 10;
    /// ANA change notices.
    pub bool, ana_change, set_ana_change: 11;
    /// Discovery log page change notices.
    pub bool, discovery_change, set_discovery_change: 31;
}

/// What an Asynchronous Event Request completes with (result, dword 0).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AsyncEvent {
    /// Bits 2:0: 0 error, 1 SMART, 2 notice, 3 immediate, 6 I/O command set.
    pub kind: u8,
    /// Bits 15:8.
    pub info: u8,
    /// Bits 23:16: the log page that tells more; reading it with RAE clear re-arms the event.
    pub log_page: u8,
}

/// The events this project raises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum EventKind {
    /// A namespace came, went or changed; log page 04h lists them.
    NamespaceChanged,
    /// ANA state changed; log page 0Ch.
    AnaChange,
    /// The discovery log changed; log page 70h.
    DiscoveryChange,
    /// Persistent internal error.
    InternalError,
    /// SMART: reliability degraded.
    Reliability,
    /// SMART: a temperature threshold was crossed.
    Temperature,
}

impl EventKind {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::NamespaceChanged,
        Self::AnaChange,
        Self::DiscoveryChange,
        Self::InternalError,
        Self::Reliability,
        Self::Temperature,
    ];

    /// Its encoding (Base, figures 150 to 153).
    #[must_use]
    pub const fn event(self) -> AsyncEvent {
        let (kind, info, log_page) = match self {
            Self::NamespaceChanged => (2, 0x00, 0x04),
            Self::AnaChange => (2, 0x03, 0x0c),
            Self::DiscoveryChange => (2, 0xf0, 0x70),
            Self::InternalError => (0, 0x03, 0x01),
            Self::Reliability => (1, 0x00, 0x02),
            Self::Temperature => (1, 0x01, 0x02),
        };
        AsyncEvent {
            kind,
            info,
            log_page,
        }
    }
}

impl AsyncEvent {
    /// As the result of the completion.
    #[must_use]
    pub const fn encode(self) -> u32 {
        self.kind as u32 & 7 | (self.info as u32) << 8 | (self.log_page as u32) << 16
    }

    /// From the result of a completion.
    #[must_use]
    pub const fn decode(result: u32) -> Self {
        Self {
            kind: result as u8 & 7,
            info: (result >> 8) as u8,
            log_page: (result >> 16) as u8,
        }
    }
}
