//! Any admin command, for an administrator: bounded, and refused if it would break the data path.

use sluice_device::Device;
use sluice_wire::nvme::{Sqe, Status, feature};

use super::{Ssd, SsdError, Transfer};

/// An admin command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AdminCommand<'a> {
    /// Opcode; its two lowest bits say which way data go.
    pub opcode: u8,
    /// Namespace, or 0.
    pub nsid: u32,
    /// Dwords 10 to 15.
    pub cdw: [u32; 6],
    /// Its data, at most [`MAX_DATA`](super::MAX_DATA) bytes.
    pub data: Transfer<'a>,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminAnswer {
    /// How it ended, good or bad.
    pub status: Status,
    /// Dwords 0 and 1 of the completion.
    pub result: u64,
    /// What it brought.
    pub data: Vec<u8>,
}

/// Commands that are not passed through, unless forced: opcode, and what they would do.
const HARMFUL: &[(u8, &str)] = &[
    (
        0x00,
        "would delete a queue that the card uses; force it if you must",
    ),
    (
        0x01,
        "would create a queue behind the driver's back; force it if you must",
    ),
    (
        0x04,
        "would delete a queue that the card uses; force it if you must",
    ),
    (
        0x05,
        "would create a queue behind the driver's back; force it if you must",
    ),
    (0x08, "would abort commands of hosts; force it if you must"),
    (
        0x0D,
        "would create or delete namespaces behind the driver's back; force it if you must",
    ),
    (
        0x10,
        "may replace the firmware under load; use the firmware commands, or force it",
    ),
    (
        0x15,
        "would attach or detach namespaces behind the driver's back; force it if you must",
    ),
    (
        0x1C,
        "would change what queues the controller has; force it if you must",
    ),
    (
        0x7C,
        "would move the doorbells that the card rings; force it if you must",
    ),
    (
        0x80,
        "would format namespaces that hosts use; use the format command, or force it",
    ),
    (0x81, "may lock the media; force it if you must"),
    (0x84, "would erase all that there is; force it if you must"),
];

/// Those that are never passed through.
const NEVER: &[(u8, &str)] = &[
    (
        0x0C,
        "waits for an event and would hold up all that come after it",
    ),
    (0x7F, "is for fabrics"),
];

impl<D: Device> Ssd<D> {
    /// Sends a command as it is and waits for it. A status other than success is an answer, not an error.
    ///
    /// # Errors
    /// [`SsdError::Forbidden`] for a command that would break the data path and is not forced, `DataLength`, `Argument` if
    /// the data go another way than the opcode says, or if the SSD does not answer.
    pub fn passthrough(
        &mut self,
        command: &AdminCommand<'_>,
        force: bool,
    ) -> Result<AdminAnswer, SsdError> {
        let name = || self.device.name().to_string();
        let AdminCommand {
            opcode,
            nsid,
            cdw,
            data,
        } = *command;
        let listed = |list: &[(u8, &'static str)]| {
            list.iter().find(|(o, _)| *o == opcode).map(|(_, why)| *why)
        };
        let queues = opcode == 0x09 && cdw[0] as u8 == feature::QUEUES;
        let queues =
            queues.then_some("would change how many queues there are; force it if you must");
        let harm = listed(HARMFUL).or(queues).filter(|_| !force);
        if let Some(why) = listed(NEVER).or(harm) {
            let name = name();
            return Err(SsdError::Forbidden { name, opcode, why });
        }
        let goes_with = match data {
            Transfer::None => true,
            Transfer::Send(_) => opcode & 1 != 0,
            Transfer::Receive(_) => opcode & 2 != 0,
        };
        if !goes_with {
            let want = [
                "no data",
                "data to the SSD",
                "data from the SSD",
                "data one way",
            ];
            return Err(SsdError::Argument {
                name: name(),
                what: "data of the command",
                want: format!(
                    "{} (bits 1:0 of opcode {opcode:#04x})",
                    want[usize::from(opcode & 3)]
                ),
                got: match data {
                    Transfer::Send(_) => "data to the SSD",
                    _ => "data from the SSD",
                }
                .into(),
            });
        }
        let mut sqe = Sqe::new(opcode, 0, nsid);
        let words = [
            &mut sqe.cdw10,
            &mut sqe.cdw11,
            &mut sqe.cdw12,
            &mut sqe.cdw13,
            &mut sqe.cdw14,
            &mut sqe.cdw15,
        ];
        for (to, from) in words.into_iter().zip(cdw) {
            to.set(from);
        }
        let (cqe, data) =
            self.admin
                .transfer(&self.device, "a command passed through", sqe, &data)?;
        Ok(AdminAnswer {
            status: cqe.status(),
            result: cqe.result.get(),
            data,
        })
    }
}
