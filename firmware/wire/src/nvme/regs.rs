//! Controller properties (Base, section 3.1.4): at BAR0 of a PCIe SSD, by Property Get and Set on fabrics.

use bitfield::bitfield;

/// Offsets of the properties, in bytes.
pub mod register {
    /// Controller Capabilities, 8 bytes.
    pub const CAP: u32 = 0x00;
    /// Version, 4 bytes.
    pub const VS: u32 = 0x08;
    /// Interrupt Mask Set, 4 bytes; not on fabrics.
    pub const INTMS: u32 = 0x0c;
    /// Interrupt Mask Clear, 4 bytes; not on fabrics.
    pub const INTMC: u32 = 0x10;
    /// Controller Configuration, 4 bytes.
    pub const CC: u32 = 0x14;
    /// Controller Status, 4 bytes.
    pub const CSTS: u32 = 0x1c;
    /// NVM Subsystem Reset, 4 bytes.
    pub const NSSR: u32 = 0x20;
    /// Admin Queue Attributes, 4 bytes; not on fabrics.
    pub const AQA: u32 = 0x24;
    /// Admin Submission Queue, 8 bytes; not on fabrics.
    pub const ASQ: u32 = 0x28;
    /// Admin Completion Queue, 8 bytes; not on fabrics.
    pub const ACQ: u32 = 0x30;
    /// Controller Memory Buffer Location, 4 bytes.
    pub const CMBLOC: u32 = 0x38;
    /// Controller Memory Buffer Size, 4 bytes.
    pub const CMBSZ: u32 = 0x3c;
    /// Controller Ready Timeouts, 4 bytes.
    pub const CRTO: u32 = 0x68;
    /// First doorbell: submission queue 0 tail. Doorbell `n` lies at `DOORBELLS + n * (4 << CAP.DSTRD)`; n = 2 * QID for
    /// a submission queue tail, 2 * QID + 1 for a completion queue head.
    pub const DOORBELLS: u32 = 0x1000;
}

bitfield! {
    /// CAP (Base, figure 36).
    #[derive(Clone, Copy, PartialEq, Eq, Default)]
    pub struct Cap(u64);
    impl Debug;
    /// MQES: deepest queue, entries, zero-based.
    pub u16, mqes_z, set_mqes_z: 15, 0;
    /// CQR: queues are physically contiguous.
    pub bool, cqr, set_cqr: 16;
    /// AMS: arbitration beyond round robin.
    pub u8, ams, set_ams: 18, 17;
    /// TO: worst time to become ready, in units of 500 ms.
    pub u8, timeout, set_timeout: 31, 24;
    /// DSTRD: doorbells are 4 << DSTRD bytes apart.
    pub u8, dstrd, set_dstrd: 35, 32;
    /// NSSRS: NVM subsystem reset supported.
    pub bool, nssrs, set_nssrs: 36;
    /// CSS: bit 0 NVM command set, bit 6 selected by profile, bit 7 none.
    pub u8, css, set_css: 44, 37;
    /// BPS: boot partitions.
    pub bool, bps, set_bps: 45;
    /// MPSMIN: smallest page is 4096 << MPSMIN.
    pub u8, mpsmin, set_mpsmin: 51, 48;
    /// MPSMAX: largest page is 4096 << MPSMAX.
    pub u8, mpsmax, set_mpsmax: 55, 52;
    /// CRMS: bit 0 ready with media, bit 1 ready independent of media.
    pub u8, crms, set_crms: 60, 59;
}

bitfield! {
    /// VS (Base, figure 37), also VER of Identify Controller.
    #[derive(Clone, Copy, PartialEq, Eq, Default)]
    pub struct Version(u32);
    impl Debug;
    /// Major.
    pub u16, major, set_major: 31, 16;
    /// Minor.
    pub u8, minor, set_minor: 15, 8;
    /// Tertiary.
    pub u8, tertiary, set_tertiary: 7, 0;
}

impl Version {
    /// 1.4.
    pub const V1_4: Self = Self(0x0001_0400);
    /// 2.0.
    pub const V2_0: Self = Self(0x0002_0000);
    /// 2.1.
    pub const V2_1: Self = Self(0x0002_0100);
}

bitfield! {
    /// CC (Base, figure 41).
    #[derive(Clone, Copy, PartialEq, Eq, Default)]
    pub struct Cc(u32);
    impl Debug;
    /// EN: enable.
    pub bool, en, set_en: 0;
    /// CSS: command set; 0 NVM, 6 all supported, 7 admin only.
    pub u8, css, set_css: 6, 4;
    /// MPS: pages are 4096 << MPS bytes.
    pub u8, mps, set_mps: 10, 7;
    /// AMS: arbitration.
    pub u8, ams, set_ams: 13, 11;
    /// SHN: 0 none, 1 normal shutdown, 2 abrupt shutdown.
    pub u8, shn, set_shn: 15, 14;
    /// IOSQES: log2 of the I/O submission queue entry size; 6.
    pub u8, iosqes, set_iosqes: 19, 16;
    /// IOCQES: log2 of the I/O completion queue entry size; 4.
    pub u8, iocqes, set_iocqes: 23, 20;
    /// CRIME: ready independent of media.
    pub bool, crime, set_crime: 24;
}

bitfield! {
    /// CSTS (Base, figure 42).
    #[derive(Clone, Copy, PartialEq, Eq, Default)]
    pub struct Csts(u32);
    impl Debug;
    /// RDY.
    pub bool, rdy, set_rdy: 0;
    /// CFS: fatal.
    pub bool, cfs, set_cfs: 1;
    /// SHST: 0 normal operation, 1 shutting down, 2 shut down.
    pub u8, shst, set_shst: 3, 2;
    /// NSSRO: an NVM subsystem reset occurred.
    pub bool, nssro, set_nssro: 4;
    /// PP: processing paused.
    pub bool, pp, set_pp: 5;
}

bitfield! {
    /// AQA (Base, figure 44).
    #[derive(Clone, Copy, PartialEq, Eq, Default)]
    pub struct Aqa(u32);
    impl Debug;
    /// ASQS: admin submission queue entries, zero-based.
    pub u16, asqs_z, set_asqs_z: 11, 0;
    /// ACQS: admin completion queue entries, zero-based.
    pub u16, acqs_z, set_acqs_z: 27, 16;
}

bitfield! {
    /// CRTO (Base, figure 59), in units of 500 ms.
    #[derive(Clone, Copy, PartialEq, Eq, Default)]
    pub struct Crto(u32);
    impl Debug;
    /// CRWMT: ready with media.
    pub u16, crwmt, set_crwmt: 15, 0;
    /// CRIMT: ready independent of media.
    pub u16, crimt, set_crimt: 31, 16;
}
