//! Completion status (Base, section 4.2.3).

use core::fmt;

/// The status field of a completion: bits 7:0 SC, 10:8 SCT, 12:11 CRD, 13 More, 14 DNR. The phase is not part of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Status(u16);

impl Status {
    const fn new(sct: u16, sc: u16) -> Self {
        Self(sct << 8 | sc)
    }

    /// From SCT (0 to 7) and SC.
    #[must_use]
    pub const fn from_parts(sct: u8, sc: u8) -> Self {
        Self::new((sct & 7) as u16, sc as u16)
    }

    /// From bytes 15:14 of a completion; the phase bit is dropped.
    #[must_use]
    pub const fn from_wire(word: u16) -> Self {
        Self(word >> 1)
    }

    /// Bytes 15:14 of a completion with the phase bit clear, as Fabrics responses carry it.
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        self.0 << 1
    }

    /// As a number without the phase bit, the form Linux prints: `4002h` is Invalid Field with DNR.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }

    /// The inverse of [`Status::code`].
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        Self(code & 0x7fff)
    }

    /// Status Code.
    #[must_use]
    pub const fn sc(self) -> u8 {
        self.0 as u8
    }

    /// Status Code Type: 0 generic, 1 command specific, 2 media, 3 path, 7 vendor.
    #[must_use]
    pub const fn sct(self) -> u8 {
        (self.0 >> 8) as u8 & 7
    }

    /// Do Not Retry.
    #[must_use]
    pub const fn dnr(self) -> bool {
        self.0 & 0x4000 != 0
    }

    /// The error log holds more.
    #[must_use]
    pub const fn more(self) -> bool {
        self.0 & 0x2000 != 0
    }

    /// With Do Not Retry set.
    #[must_use]
    pub const fn no_retry(self) -> Self {
        Self(self.0 | 0x4000)
    }

    /// With More set.
    #[must_use]
    pub const fn with_more(self) -> Self {
        Self(self.0 | 0x2000)
    }

    /// SCT and SC only.
    #[must_use]
    pub const fn kind(self) -> Self {
        Self(self.0 & 0x7ff)
    }

    /// SCT and SC are both 0.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 & 0x7ff == 0
    }
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $sct:literal, $sc:literal;)*) => {
        impl Status { $($(#[$doc])* pub const $name: Self = Self::new($sct, $sc);)* }
        const NAMES: &[(Status, &str)] = &[$((Status::$name, stringify!($name)),)*];
    };
}

statuses! {
    /// Done.
    SUCCESS = 0, 0x00;
    /// Opcode not known.
    INVALID_OPCODE = 0, 0x01;
    /// A reserved or unsupported value in a field.
    INVALID_FIELD = 0, 0x02;
    /// CID in use.
    CID_CONFLICT = 0, 0x03;
    /// Data or metadata could not be transferred.
    DATA_TRANSFER_ERROR = 0, 0x04;
    /// Power was lost.
    POWER_LOSS = 0, 0x05;
    /// Something inside failed.
    INTERNAL = 0, 0x06;
    /// By an Abort command, or a reset of the controller.
    ABORT_REQUESTED = 0, 0x07;
    /// The submission queue was deleted.
    SQ_DELETED = 0, 0x08;
    /// The other half of a fused pair failed.
    FUSED_FAILED = 0, 0x09;
    /// The other half of a fused pair is missing.
    FUSED_MISSING = 0, 0x0a;
    /// Namespace unknown, or format not usable.
    INVALID_NAMESPACE = 0, 0x0b;
    /// Out of order: not enabled, not connected, twice.
    COMMAND_SEQUENCE = 0, 0x0c;
    /// A last segment descriptor is malformed.
    SGL_SEGMENT = 0, 0x0d;
    /// Too many or too few SGL descriptors.
    SGL_COUNT = 0, 0x0e;
    /// SGL length does not fit the command.
    SGL_LENGTH = 0, 0x0f;
    /// Metadata SGL length wrong.
    SGL_METADATA_LENGTH = 0, 0x10;
    /// SGL descriptor type not supported here.
    SGL_TYPE = 0, 0x11;
    /// Use of the controller memory buffer is wrong.
    INVALID_CMB = 0, 0x12;
    /// PRP offset is wrong.
    PRP_OFFSET = 0, 0x13;
    /// Larger than the atomic write unit.
    ATOMIC_WRITE = 0, 0x14;
    /// The operation was denied.
    DENIED = 0, 0x15;
    /// SGL offset is wrong.
    SGL_OFFSET = 0, 0x16;
    /// Host identifiers of one host differ in size.
    HOST_ID_INCONSISTENT = 0, 0x18;
    /// Keep Alive timer ran out.
    KEEP_ALIVE_EXPIRED = 0, 0x19;
    /// Keep Alive timeout not acceptable.
    KEEP_ALIVE_INVALID = 0, 0x1a;
    /// Sanitize failed.
    SANITIZE_FAILED = 0, 0x1c;
    /// Sanitize is running.
    SANITIZING = 0, 0x1d;
    /// The namespace is write protected.
    WRITE_PROTECTED = 0, 0x20;
    /// Interrupted; try again.
    INTERRUPTED = 0, 0x21;
    /// A data digest error and the like; try again.
    TRANSIENT_TRANSPORT = 0, 0x22;
    /// Media not ready for an admin command.
    ADMIN_MEDIA_NOT_READY = 0, 0x24;
    /// The I/O command set is not enabled.
    INVALID_COMMAND_SET = 0, 0x2c;
    /// Beyond the end of the namespace.
    LBA_RANGE = 0, 0x80;
    /// Namespace capacity exceeded.
    CAPACITY_EXCEEDED = 0, 0x81;
    /// Not ready; retry unless DNR.
    NAMESPACE_NOT_READY = 0, 0x82;
    /// Another host's reservation.
    RESERVATION_CONFLICT = 0, 0x83;

    /// QID out of range.
    INVALID_QUEUE_ID = 1, 0x01;
    /// Queue size out of range.
    INVALID_QUEUE_SIZE = 1, 0x02;
    /// Too many Abort commands.
    ABORT_LIMIT = 1, 0x03;
    /// Too many Asynchronous Event Requests.
    EVENT_LIMIT = 1, 0x05;
    /// Log page not supported.
    INVALID_LOG_PAGE = 1, 0x09;
    /// Format not supported.
    INVALID_FORMAT = 1, 0x0a;
    /// The feature cannot be saved.
    FEATURE_NOT_SAVEABLE = 1, 0x0d;
    /// The feature cannot be changed.
    FEATURE_NOT_CHANGEABLE = 1, 0x0e;
    /// The feature has no value per namespace.
    FEATURE_NOT_PER_NAMESPACE = 1, 0x0f;
    /// Controller list malformed.
    INVALID_CONTROLLER_LIST = 1, 0x1c;
    /// CNTLID not known.
    INVALID_CONTROLLER_ID = 1, 0x1f;
    /// ANA group not known.
    INVALID_ANA_GROUP = 1, 0x24;

    /// Connect: record format not supported (Base, section 6.3); also NVM: conflicting attributes.
    CONNECT_FORMAT = 1, 0x80;
    /// Connect: the controller is in use; also NVM: invalid protection information.
    CONNECT_BUSY = 1, 0x81;
    /// Connect: a parameter is wrong; the result says which; also NVM: write to a read-only range.
    CONNECT_INVALID = 1, 0x82;
    /// Connect: go through discovery again.
    CONNECT_RESTART = 1, 0x83;
    /// Connect: this host may not.
    CONNECT_HOST = 1, 0x84;
    /// Disconnect: this queue type cannot.
    INVALID_QUEUE_TYPE = 1, 0x85;
    /// Discover again.
    DISCOVER_RESTART = 1, 0x90;
    /// Authentication first.
    AUTH_REQUIRED = 1, 0x91;

    /// Media could not be written.
    WRITE_FAULT = 2, 0x80;
    /// Media could not be read.
    READ_ERROR = 2, 0x81;
    /// Guard check failed.
    GUARD_CHECK = 2, 0x82;
    /// Application tag check failed.
    APP_TAG_CHECK = 2, 0x83;
    /// Reference tag check failed.
    REF_TAG_CHECK = 2, 0x84;
    /// Compare found a difference.
    COMPARE_FAILED = 2, 0x85;
    /// Access denied.
    ACCESS_DENIED = 2, 0x86;
    /// Deallocated or never written.
    UNWRITTEN_BLOCK = 2, 0x87;

    /// Path error inside the controller; try another path.
    INTERNAL_PATH = 3, 0x00;
    /// ANA: lost for good.
    ANA_PERSISTENT_LOSS = 3, 0x01;
    /// ANA: not here.
    ANA_INACCESSIBLE = 3, 0x02;
    /// ANA: changing.
    ANA_TRANSITION = 3, 0x03;
    /// The controller's path failed.
    CONTROLLER_PATH = 3, 0x60;
    /// The host's path failed.
    HOST_PATH = 3, 0x70;
    /// Aborted by the host.
    HOST_ABORTED = 3, 0x71;
}

impl Status {
    /// NVM: attributes conflict (NVM, section 3.1.1.1). Same code as [`Status::CONNECT_FORMAT`].
    pub const CONFLICTING_ATTRIBUTES: Self = Self::CONNECT_FORMAT;
    /// NVM: protection information fields are not supported. Same code as [`Status::CONNECT_BUSY`].
    pub const INVALID_PROTECTION: Self = Self::CONNECT_BUSY;
    /// NVM: write to a read-only range. Same code as [`Status::CONNECT_INVALID`].
    pub const READ_ONLY_RANGE: Self = Self::CONNECT_INVALID;
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(s, _)| *s == self.kind()) {
            Some((_, name)) => f.write_str(name)?,
            None => write!(f, "{}.{:02x}h", self.sct(), self.sc())?,
        }
        if self.dnr() {
            f.write_str(" (DNR)")
        } else {
            Ok(())
        }
    }
}
