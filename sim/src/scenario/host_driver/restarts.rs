//! The daemon dies, is restarted and is replaced while hosts write and verify, with the real VFIO and the real systemd: the
//! descriptors stay in systemd's store, the next daemon takes over, and no host loses its association.

use std::sync::Arc;

use super::PATIENCE;
use super::install::{LOG, serving};
use crate::report::{Checked, Meter, Runner};
use crate::vfio_user::Served;
use crate::vfio_user::card::CardFunction;
use crate::vm::scenario::Plan;
use crate::vm::steps::{Connection, Host};
use crate::vm::{Vm, VmError};

/// How often the daemon is killed in a short run, and in a whole one. systemd gives up a service that begins more than five
/// times in ten seconds.
const KILLS: [u32; 2] = [1, 4];

/// Everything, over all transports of the plan at once.
pub(super) fn run(
    (server, host): (&mut Vm, &mut Vm),
    card: &mut Served<CardFunction>,
    plan: &Plan,
    short: bool,
    meter: &Arc<Meter>,
    runner: &mut Runner,
) {
    let mut host = Host::new(host, plan.target.clone(), plan.patience, meter.clone());
    let resets = runner.step_value("hosts begin to write and verify", || {
        for transport in &plan.transports {
            host.connect(Connection::plain(*transport, 2))
                .map_err(|e| e.to_string())?;
        }
        let working = host.begin_work().map_err(|e| e.to_string())?;
        let resets = card.ask(|engine| engine.resets)?;
        Ok::<_, String>((resets, working))
    });
    let Some(resets) = resets else { return };
    for kill in 1..=KILLS[usize::from(!short)] {
        let name = format!("kill -9 ({kill}): systemd starts the next sluiced, which takes over");
        runner.step(&name, || {
            let taken = taken_over(server, "kill -KILL $old")?;
            host.keeps_working()?;
            Ok::<_, VmError>(taken)
        });
    }
    runner.step(
        "an update: another program in its place, systemctl restart",
        || {
            let taken = taken_over(
                server,
                "cp /usr/sbin/sluiced /usr/sbin/sluiced.new && mv /usr/sbin/sluiced.new /usr/sbin/sluiced || exit 1
                 timeout 200 systemctl restart sluiced || exit 1",
            )?;
            server.sh(
                &format!("grep -q 'card and SSDs go on' {LOG} || {{ cat {LOG}; exit 1; }}"),
                PATIENCE,
            )?;
            host.keeps_working()?;
            Ok::<_, VmError>(taken)
        },
    );
    runner.step("all that the hosts wrote is there", || host.end_work());
    runner.step("they have noticed nothing, and nothing was reset", || {
        host.kernel_is_content().map_err(|e| e.to_string())?;
        match card.ask(|engine| engine.resets)? - resets {
            0 => Ok(Checked::note("no reconnect, no reset of the card")),
            more => Err(format!("the card was reset {more} times")),
        }
    });
    runner.step("disconnect", || host.disconnect());
}

/// Does something that ends the daemon of process `$old`, and waits for one that has taken over from it.
fn taken_over(server: &mut Vm, end: &str) -> Result<Checked, VmError> {
    let said = server.sh(
        &format!(
            "show() {{ systemctl show -p $1 --value sluiced; }}
             old=$(show MainPID); kept=$(show NFileDescriptorStore); lines=$(wc -l < {LOG})
             [ $old -gt 0 ] && [ $kept -gt 0 ] || {{ echo process $old, $kept descriptors; exit 1; }}
             {end}
             for i in $(seq 600); do
               new=$(show MainPID)
               [ \"$(show ActiveState)\" = active ] && [ $new != 0 ] && [ $new != $old ] && break; sleep 0.1
             done
             tail -n +$((lines + 1)) {LOG} > /run/since
             grep -q 'taken over as it runs' /run/since && [ $(show NFileDescriptorStore) -ge $kept ] \
               || {{ systemctl status --no-pager sluiced; cat /run/since; exit 1; }}
             echo $kept
             sluicectl status --json"
        ),
        PATIENCE,
    )?;
    let (kept, status) = said.split_once('\n').unwrap_or_default();
    match serving(status) {
        Some(_) => Ok(Checked::note(format!("{kept} descriptors kept"))),
        None => Err(VmError::Unexpected {
            want: "a card and an SSD that serve".into(),
            got: said,
        }),
    }
}
