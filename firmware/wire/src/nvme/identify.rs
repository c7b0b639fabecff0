//! Identify data structures (Base, section 5.1.13; NVM, section 4.1.5).

use super::IDENTIFY_SIZE;
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// CNS values (CDW10 bits 7:0).
pub mod cns {
    /// Identify Namespace of the NVM command set.
    pub const NAMESPACE: u8 = 0x00;
    /// Identify Controller.
    pub const CONTROLLER: u8 = 0x01;
    /// Active namespaces above NSID.
    pub const ACTIVE_LIST: u8 = 0x02;
    /// Namespace Identification Descriptors.
    pub const DESCRIPTORS: u8 = 0x03;
    /// I/O command set specific namespace (CSI in CDW11 bits 31:24).
    pub const CS_NAMESPACE: u8 = 0x05;
    /// I/O command set specific controller.
    pub const CS_CONTROLLER: u8 = 0x06;
    /// Active namespaces of one command set.
    pub const CS_ACTIVE_LIST: u8 = 0x07;
    /// I/O command set independent namespace.
    pub const INDEPENDENT_NAMESPACE: u8 = 0x08;
    /// Allocated namespaces.
    pub const ALLOCATED_LIST: u8 = 0x10;
    /// Identify Namespace of an allocated namespace.
    pub const ALLOCATED_NAMESPACE: u8 = 0x11;
    /// Controllers attached to a namespace.
    pub const ATTACHED_CONTROLLERS: u8 = 0x12;
    /// Controllers of the subsystem.
    pub const CONTROLLERS: u8 = 0x13;
    /// Primary controller capabilities.
    pub const PRIMARY_CONTROLLER: u8 = 0x14;
    /// Secondary controllers.
    pub const SECONDARY_CONTROLLERS: u8 = 0x15;
    /// I/O command sets.
    pub const COMMAND_SETS: u8 = 0x1c;
}

/// Command set identifiers.
pub mod csi {
    /// NVM.
    pub const NVM: u8 = 0;
}

/// Namespace identifier types.
pub mod nidt {
    /// EUI-64, 8 bytes.
    pub const EUI64: u8 = 1;
    /// NGUID, 16 bytes.
    pub const NGUID: u8 = 2;
    /// UUID, 16 bytes.
    pub const UUID: u8 = 3;
    /// Command set identifier, 1 byte.
    pub const CSI: u8 = 4;
}

/// Opens a namespace identification descriptor; `len` bytes follow. The list ends with a zero type.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NamespaceIdHeader {
    /// One of [`nidt`].
    pub kind: u8,
    /// Bytes that follow.
    pub len: u8,
    /// Zero.
    pub reserved: U16,
}
const _: () = assert!(size_of::<NamespaceIdHeader>() == 4);

/// Power state descriptor (Base, figure 313).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PowerState {
    /// MP, in 0.01 W.
    pub max_power: U16,
    /// Zero.
    pub reserved2: u8,
    /// MXPS, NOPS.
    pub flags: u8,
    /// ENLAT in microseconds.
    pub entry_latency: U32,
    /// EXLAT in microseconds.
    pub exit_latency: U32,
    /// RRT, RRL, RWT, RWL.
    pub relative: [u8; 4],
    /// Idle and active power, reserved.
    pub rest: [u8; 16],
}
const _: () = assert!(size_of::<PowerState>() == 32);

/// Identify Controller (Base, figure 312).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IdentifyController {
    /// VID: PCI vendor.
    pub vid: U16,
    /// SSVID: PCI subsystem vendor.
    pub ssvid: U16,
    /// SN: serial number, ASCII, space padded.
    pub sn: [u8; 20],
    /// MN: model number, ASCII, space padded.
    pub mn: [u8; 40],
    /// FR: firmware revision, ASCII, space padded.
    pub fr: [u8; 8],
    /// RAB: recommended arbitration burst.
    pub rab: u8,
    /// IEEE OUI.
    pub ieee: [u8; 3],
    /// CMIC: bit 0 several ports, 1 several controllers, 3 ANA reporting.
    pub cmic: u8,
    /// MDTS: largest transfer is MPSMIN page << MDTS; 0 no limit.
    pub mdts: u8,
    /// CNTLID.
    pub cntlid: U16,
    /// VER.
    pub ver: U32,
    /// RTD3R in microseconds.
    pub rtd3r: U32,
    /// RTD3E in microseconds.
    pub rtd3e: U32,
    /// OAES: notices supported, bits as in `EventConfig`.
    pub oaes: U32,
    /// CTRATT: bit 0 128-bit host identifier, 6 traffic based keep alive.
    pub ctratt: U32,
    /// RRLS.
    pub rrls: U16,
    /// BPCAP.
    pub bpcap: u8,
    /// Zero.
    pub reserved103: u8,
    /// NSSL in microseconds.
    pub nssl: U32,
    /// Zero.
    pub reserved108: [u8; 2],
    /// PLSI.
    pub plsi: u8,
    /// CNTRLTYPE: 1 I/O, 2 discovery, 3 administrative.
    pub cntrltype: u8,
    /// FGUID.
    pub fguid: [u8; 16],
    /// CRDT1 in 100 ms.
    pub crdt1: U16,
    /// CRDT2 in 100 ms.
    pub crdt2: U16,
    /// CRDT3 in 100 ms.
    pub crdt3: U16,
    /// Zero or not used.
    pub reserved134: [u8; 122],
    /// OACS: optional admin commands.
    pub oacs: U16,
    /// ACL: Abort commands at once, zero-based.
    pub acl_z: u8,
    /// AERL: Asynchronous Event Requests at once, zero-based.
    pub aerl_z: u8,
    /// FRMW: bit 0 slot 1 read-only, 3:1 slots.
    pub frmw: u8,
    /// LPA: bit 0 SMART per namespace, 1 commands supported and effects, 2 extended data (offsets).
    pub lpa: u8,
    /// ELPE: error log entries, zero-based.
    pub elpe_z: u8,
    /// NPSS: power states, zero-based.
    pub npss_z: u8,
    /// AVSCC.
    pub avscc: u8,
    /// APSTA.
    pub apsta: u8,
    /// WCTEMP in kelvin.
    pub wctemp: U16,
    /// CCTEMP in kelvin.
    pub cctemp: U16,
    /// MTFA in 100 ms.
    pub mtfa: U16,
    /// HMPRE.
    pub hmpre: U32,
    /// HMMIN.
    pub hmmin: U32,
    /// TNVMCAP in bytes.
    pub tnvmcap: [u8; 16],
    /// UNVMCAP in bytes.
    pub unvmcap: [u8; 16],
    /// RPMBS.
    pub rpmbs: U32,
    /// EDSTT in minutes.
    pub edstt: U16,
    /// DSTO.
    pub dsto: u8,
    /// FWUG in 4 KiB.
    pub fwug: u8,
    /// KAS: granularity of the keep alive timer, in 100 ms.
    pub kas: U16,
    /// HCTMA.
    pub hctma: U16,
    /// MNTMT in kelvin.
    pub mntmt: U16,
    /// MXTMT in kelvin.
    pub mxtmt: U16,
    /// SANICAP.
    pub sanicap: U32,
    /// HMMINDS.
    pub hmminds: U32,
    /// HMMAXD.
    pub hmmaxd: U16,
    /// NSETIDMAX.
    pub nsetidmax: U16,
    /// ENDGIDMAX.
    pub endgidmax: U16,
    /// ANATT: longest ANA transition, seconds.
    pub anatt: u8,
    /// ANACAP: bits 0 to 4 states reported (optimized, non-optimized, inaccessible, persistent loss, change); 6 group does not change.
    pub anacap: u8,
    /// ANAGRPMAX: highest ANA group identifier.
    pub anagrpmax: U32,
    /// NANAGRPID: ANA groups.
    pub nanagrpid: U32,
    /// PELS in 64 KiB.
    pub pels: U32,
    /// Domain identifier.
    pub domainid: U16,
    /// Zero or not used.
    pub reserved358: [u8; 28],
    /// CQT: command quiesce time, milliseconds.
    pub cqt: U16,
    /// Zero or not used.
    pub reserved388: [u8; 124],
    /// SQES: 3:0 required, 7:4 maximum; log2.
    pub sqes: u8,
    /// CQES: 3:0 required, 7:4 maximum; log2.
    pub cqes: u8,
    /// MAXCMD: commands at once; required on fabrics.
    pub maxcmd: U16,
    /// NN: highest NSID.
    pub nn: U32,
    /// ONCS: bit 0 Compare, 1 Write Uncorrectable, 2 Dataset Management, 3 Write Zeroes, 4 save in features, 5 reservations, 7 Verify, 8 Copy.
    pub oncs: U16,
    /// FUSES: bit 0 Compare and Write.
    pub fuses: U16,
    /// FNA.
    pub fna: u8,
    /// VWC: bit 0 present; 2:1 broadcast flush (2 not supported, 3 supported).
    pub vwc: u8,
    /// AWUN, zero-based blocks.
    pub awun_z: U16,
    /// AWUPF, zero-based blocks.
    pub awupf_z: U16,
    /// ICSVSCC.
    pub icsvscc: u8,
    /// NWPC.
    pub nwpc: u8,
    /// ACWU, zero-based blocks.
    pub acwu_z: U16,
    /// CDFS.
    pub cdfs: U16,
    /// SGLS: bits 1:0 supported (1 any alignment, 2 dword), 2 keyed, 19 longer than data, 20 offset in the capsule, 21 transport data block.
    pub sgls: U32,
    /// MNAN: namespaces at most.
    pub mnan: U32,
    /// MAXDNA.
    pub maxdna: [u8; 16],
    /// MAXCNA.
    pub maxcna: U32,
    /// Zero or not used.
    pub reserved564: [u8; 204],
    /// SUBNQN, zero padded.
    pub subnqn: [u8; 256],
    /// Zero.
    pub reserved1024: [u8; 768],
    /// IOCCSZ: I/O command capsule, in 16 bytes.
    pub ioccsz: U32,
    /// IORCSZ: I/O response capsule, in 16 bytes.
    pub iorcsz: U32,
    /// ICDOFF: where in-capsule data starts, in 16 bytes after the SQE.
    pub icdoff: U16,
    /// FCATT: bit 0 static controllers.
    pub fcatt: u8,
    /// MSDBD: SGL data block descriptors per capsule.
    pub msdbd: u8,
    /// OFCS: bit 0 Disconnect.
    pub ofcs: U16,
    /// DCTYPE: 0 not reported, 1 direct, 2 central discovery controller.
    pub dctype: u8,
    /// Zero.
    pub reserved1807: [u8; 241],
    /// Power states.
    pub psd: [PowerState; 32],
    /// Vendor specific.
    pub vendor: [u8; 1024],
}
const _: () = assert!(size_of::<IdentifyController>() == IDENTIFY_SIZE);
const _: () = assert!(core::mem::offset_of!(IdentifyController, cntrltype) == 111);
const _: () = assert!(core::mem::offset_of!(IdentifyController, oacs) == 256);
const _: () = assert!(core::mem::offset_of!(IdentifyController, kas) == 320);
const _: () = assert!(core::mem::offset_of!(IdentifyController, anagrpmax) == 344);
const _: () = assert!(core::mem::offset_of!(IdentifyController, cqt) == 386);
const _: () = assert!(core::mem::offset_of!(IdentifyController, sqes) == 512);
const _: () = assert!(core::mem::offset_of!(IdentifyController, sgls) == 536);
const _: () = assert!(core::mem::offset_of!(IdentifyController, subnqn) == 768);
const _: () = assert!(core::mem::offset_of!(IdentifyController, ioccsz) == 1792);
const _: () = assert!(core::mem::offset_of!(IdentifyController, psd) == 2048);

/// LBA format (NVM, figure 116).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LbaFormat {
    /// MS: metadata bytes.
    pub ms: U16,
    /// LBADS: log2 of the block size.
    pub lbads: u8,
    /// RP: relative performance, 0 best.
    pub rp: u8,
}

/// Identify Namespace of the NVM command set (NVM, figure 114).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IdentifyNamespace {
    /// NSZE in blocks.
    pub nsze: U64,
    /// NCAP in blocks.
    pub ncap: U64,
    /// NUSE in blocks.
    pub nuse: U64,
    /// NSFEAT: bit 0 thin, 1 atomics, 2 deallocated error, 3 identifiers never reused, 4 optimal I/O fields.
    pub nsfeat: u8,
    /// NLBAF: formats, zero-based.
    pub nlbaf_z: u8,
    /// FLBAS: bits 3:0 format in use, 4 metadata at the end, 6:5 high bits of the format.
    pub flbas: u8,
    /// MC.
    pub mc: u8,
    /// DPC.
    pub dpc: u8,
    /// DPS.
    pub dps: u8,
    /// NMIC: bit 0 shared.
    pub nmic: u8,
    /// RESCAP.
    pub rescap: u8,
    /// FPI.
    pub fpi: u8,
    /// DLFEAT: 2:0 reads of deallocated blocks (1 zeros, 2 ones), 3 deallocate in Write Zeroes.
    pub dlfeat: u8,
    /// NAWUN, zero-based blocks.
    pub nawun_z: U16,
    /// NAWUPF, zero-based blocks.
    pub nawupf_z: U16,
    /// NACWU, zero-based blocks.
    pub nacwu_z: U16,
    /// NABSN, zero-based blocks.
    pub nabsn_z: U16,
    /// NABO.
    pub nabo: U16,
    /// NABSPF, zero-based blocks.
    pub nabspf_z: U16,
    /// NOIOB in blocks.
    pub noiob: U16,
    /// NVMCAP in bytes.
    pub nvmcap: [u8; 16],
    /// NPWG, zero-based blocks.
    pub npwg_z: U16,
    /// NPWA, zero-based blocks.
    pub npwa_z: U16,
    /// NPDG, zero-based blocks.
    pub npdg_z: U16,
    /// NPDA, zero-based blocks.
    pub npda_z: U16,
    /// NOWS, zero-based blocks.
    pub nows_z: U16,
    /// MSSRL in blocks.
    pub mssrl: U16,
    /// MCL in blocks.
    pub mcl: U32,
    /// MSRC, zero-based.
    pub msrc_z: u8,
    /// Zero or not used.
    pub reserved81: [u8; 11],
    /// ANAGRPID.
    pub anagrpid: U32,
    /// Zero.
    pub reserved96: [u8; 3],
    /// NSATTR: bit 0 write protected.
    pub nsattr: u8,
    /// NVMSETID.
    pub nvmsetid: U16,
    /// ENDGID.
    pub endgid: U16,
    /// NGUID.
    pub nguid: [u8; 16],
    /// EUI64.
    pub eui64: [u8; 8],
    /// Formats.
    pub lbaf: [LbaFormat; 64],
    /// Vendor specific.
    pub vendor: [u8; 3712],
}
const _: () = assert!(size_of::<IdentifyNamespace>() == IDENTIFY_SIZE);
const _: () = assert!(core::mem::offset_of!(IdentifyNamespace, anagrpid) == 92);
const _: () = assert!(core::mem::offset_of!(IdentifyNamespace, nguid) == 104);
const _: () = assert!(core::mem::offset_of!(IdentifyNamespace, lbaf) == 128);

/// I/O command set independent namespace (Base, figure 319).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IndependentNamespace {
    /// NSFEAT: bit 3 identifiers never reused, 4 rotational, 5 no volatile write cache.
    pub nsfeat: u8,
    /// NMIC: bit 0 shared.
    pub nmic: u8,
    /// RESCAP.
    pub rescap: u8,
    /// FPI.
    pub fpi: u8,
    /// ANAGRPID.
    pub anagrpid: U32,
    /// NSATTR: bit 0 write protected.
    pub nsattr: u8,
    /// Zero.
    pub reserved9: u8,
    /// NVMSETID.
    pub nvmsetid: U16,
    /// ENDGID.
    pub endgid: U16,
    /// NSTAT: bit 0 ready.
    pub nstat: u8,
    /// Zero.
    pub reserved15: [u8; 4081],
}
const _: () = assert!(size_of::<IndependentNamespace>() == IDENTIFY_SIZE);

/// NVM command set specific controller (NVM, figure 119; CNS 06h, CSI 0).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NvmController {
    /// VSL: Verify limit, log2 of pages.
    pub vsl: u8,
    /// WZSL: Write Zeroes limit, log2 of pages; 0 none.
    pub wzsl: u8,
    /// WUSL.
    pub wusl: u8,
    /// DMRL: Dataset Management ranges; 0 none.
    pub dmrl: u8,
    /// DMRSL: blocks per range; 0 none.
    pub dmrsl: U32,
    /// DMSL: blocks per command; 0 none.
    pub dmsl: U64,
    /// Zero or not used.
    pub reserved16: [u8; 4080],
}
const _: () = assert!(size_of::<NvmController>() == IDENTIFY_SIZE);

/// NVM command set specific namespace (NVM, figure 118; CNS 05h, CSI 0).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NvmNamespace {
    /// LBSTM.
    pub lbstm: U64,
    /// PIC.
    pub pic: u8,
    /// PIFA.
    pub pifa: u8,
    /// Zero.
    pub reserved10: [u8; 2],
    /// ELBAF.
    pub elbaf: [U32; 64],
    /// Zero or not used.
    pub reserved268: [u8; 3828],
}
const _: () = assert!(size_of::<NvmNamespace>() == IDENTIFY_SIZE);

/// Up to 1,024 NSIDs, ascending, zero ended.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NamespaceList {
    /// NSIDs.
    pub nsid: [U32; 1024],
}
const _: () = assert!(size_of::<NamespaceList>() == IDENTIFY_SIZE);

/// Controllers, ascending.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ControllerList {
    /// How many.
    pub count: U16,
    /// CNTLIDs.
    pub cntlid: [U16; 2047],
}
const _: () = assert!(size_of::<ControllerList>() == IDENTIFY_SIZE);

impl Default for IdentifyController {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

impl Default for IdentifyNamespace {
    fn default() -> Self {
        Self::new_zeroed()
    }
}
