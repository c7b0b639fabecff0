//! What of an SSD's status a remote host gets to see.
//!
//! Status codes: NVMe Base 2.1, section 4.2.3.

use sluice_wire::nvme::Status;

/// The SSD is gone. A path error says that this controller, not the data, is the trouble. With Do Not Retry: a host that
/// has no other path would else repeat the command here for ever.
pub const SSD_LOST: Status = Status::INTERNAL_PATH.no_retry();

/// The status for a remote host whose command the SSD completed with `ssd`. Command Retry Delay (an index into a table
/// of the SSD's own) and More (a pointer into its error log) never pass.
#[inline]
#[must_use]
pub const fn for_host(ssd: Status) -> Status {
    if ssd.code() == 0 {
        return Status::SUCCESS;
    }
    translate(ssd)
}

/// Statuses about queues, PRPs and transfers between card and SSD are the card's business, not the host's.
#[cold]
const fn translate(ssd: Status) -> Status {
    let passed = match (ssd.sct(), ssd.sc()) {
        // Invalid Opcode, Field and Namespace, Denied, Write Protected and Interrupted are answers to what the host
        // asked for; so are capacity, range and reservations.
        (0, 0x00..=0x02 | 0x0B | 0x15 | 0x20 | 0x21 | 0x80..=0x87) => true,
        // Command specific, I/O commands only: attributes, protection information, read-only range, size limit.
        (1, 0x80..=0xBF) => true,
        // Media and data integrity errors are what the host must hear exactly.
        (2, _) => true,
        // The rest is about PRPs, the queue, paths of the SSD, or the vendor's.
        _ => false,
    };
    let status = if passed { ssd.kind() } else { Status::INTERNAL };
    // A command that the SSD gave up because it was reset or its queue deleted may well succeed later.
    let given_up = ssd.sct() == 0 && matches!(ssd.sc(), 0x05 | 0x07 | 0x08);
    if ssd.dnr() && !given_up {
        status.no_retry()
    } else {
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_errors_and_range_errors_pass_unchanged() {
        let range = Status::LBA_RANGE.no_retry();
        for s in [
            Status::READ_ERROR,
            Status::COMPARE_FAILED,
            Status::WRITE_FAULT,
            range,
            Status::READ_ONLY_RANGE,
        ] {
            assert_eq!(for_host(s), s);
        }
    }

    #[test]
    fn nothing_about_the_cards_own_queues_leaks() {
        for s in [
            Status::CID_CONFLICT,
            Status::DATA_TRANSFER_ERROR,
            Status::PRP_OFFSET,
            Status::SGL_LENGTH,
            Status::INVALID_QUEUE_ID,
            Status::ANA_INACCESSIBLE,
            Status::from_parts(7, 0x42),
        ] {
            assert_eq!(for_host(s.no_retry()), Status::INTERNAL.no_retry());
        }
        assert_eq!(for_host(Status::SQ_DELETED.no_retry()), Status::INTERNAL);
    }

    #[test]
    fn retry_delay_and_more_are_stripped() {
        let delayed = Status::from_code(Status::READ_ERROR.with_more().code() | 3 << 11);
        assert_eq!(for_host(delayed), Status::READ_ERROR);
        assert_eq!(for_host(Status::SUCCESS), Status::SUCCESS);
    }
}
