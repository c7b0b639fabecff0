//! Captures: nanosecond pcap files written with the card's clock as time, any classic pcap read back, and tshark as judge.

pub mod kept;
mod reader;
mod tshark;
mod writer;

pub use reader::{Packet, ReadError, parse, read};
pub use tshark::{CheckError, Report, check_kept, check_padded_with_tshark, check_with_tshark};
pub use writer::Writer;

/// Nanoseconds per card clock.
pub const NANOS_PER_CLOCK: u64 = 4;

const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_with_its_time() {
        let mut file = vec![];
        let mut writer = Writer::new(&mut file).expect("a vector takes everything");
        writer.write(0, &[1; 60]).expect("write");
        writer.write(250_000_001, &[2; 1514]).expect("write");
        assert_eq!(writer.frames(), 2);
        let packets = parse(&file).expect("own file");
        assert_eq!(packets.len(), 2);
        assert_eq!((packets[0].nanos, packets[0].data.len()), (0, 60));
        assert_eq!(
            packets[1],
            Packet {
                nanos: 1_000_000_004,
                data: vec![2; 1514]
            }
        );
    }

    #[test]
    fn a_file_cut_short_or_of_another_kind_is_refused() {
        let mut file = vec![];
        Writer::new(&mut file)
            .and_then(|mut w| w.write(1, &[7; 60]))
            .expect("write");
        assert!(matches!(
            parse(&file[..file.len() - 1]),
            Err(ReadError::CutShort { .. })
        ));
        assert!(matches!(
            parse(&file[..30]),
            Err(ReadError::CutShort { .. })
        ));
        assert!(matches!(parse(&file[..10]), Err(ReadError::NotPcap)));
        assert!(matches!(parse(&[0; 64]), Err(ReadError::NotPcap)));
        file[20] = 101;
        assert!(matches!(parse(&file), Err(ReadError::LinkType(101))));
    }
}
