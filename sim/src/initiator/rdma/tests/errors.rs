//! Whatever a target does wrong ends in an error that says what, and so does what it refuses.

use super::*;

pub(super) fn connect(world: &mut World, config: &ConnectConfig) -> Result<Controller, HostError> {
    with(world, &Config::numbered(0), |host| host.connect(config)).0
}

pub(super) fn failure<T: std::fmt::Debug>(result: Result<T, HostError>) -> Failure {
    match result {
        Err(HostError::Queue { failure, .. }) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals_of_every_kind_are_named() {
    for (reject, status) in [((28, 3), Some(3)), ((28, 99), Some(99)), ((3, 0), None)] {
        let quirks = Quirks {
            reject: Some(reject),
            ..Quirks::default()
        };
        let mut world = World::new(quirks, &LinkConfig::default(), 1);
        let rejection = Rejection {
            reason: reject.0,
            status,
        };
        let got = failure(connect(&mut world, &to_target()));
        assert_eq!(got, Failure::Rejected(rejection));
        assert!(
            got.to_string().contains(&format!("reason {}", reject.0)),
            "{got}"
        );
    }
    let text = Failure::Rejected(Rejection {
        reason: 28,
        status: Some(4),
    });
    assert_eq!(
        text.to_string(),
        "the target refused the queue pair, reason 28 (the consumer's), NVMe status 4 (invalid HSQSIZE)"
    );
}

#[test]
fn misbehaviour_asked_for_reaches_the_target() {
    let refused = |faults: CmFaults| {
        let mut world = World::new(Quirks::default(), &LinkConfig::default(), 1);
        let mut config = to_target();
        config.queue.rdma.faults = faults;
        config.queue.rdma.cm_retries = 2;
        (failure(connect(&mut world, &config)), world)
    };
    let rejected = |reason, status| Failure::Rejected(Rejection { reason, status });
    let (other_service, _) = refused(CmFaults {
        service_id: Some(0x0106_0050),
        ..CmFaults::default()
    });
    assert_eq!(other_service, rejected(8, None));
    let (recfmt, _) = refused(CmFaults {
        private: Some(RequestData {
            recfmt: 1.into(),
            ..RequestData::default()
        }),
        ..CmFaults::default()
    });
    assert_eq!(recfmt, rejected(28, Some(2)));
    // A MAD that ends inside its private data is none.
    let (short, world) = refused(CmFaults {
        mad_len: Some(140 + 36 + 16),
        ..CmFaults::default()
    });
    assert_eq!(
        short,
        Failure::Connection("the target does not answer the REQ")
    );
    assert_eq!(world.target.requests.len(), 0);
}

/// Connects, and has the target break a rule at the first Read (or Write) of an I/O queue.
fn broken(fault: Fault, write: bool) -> (Failure, World, Initiator) {
    let quirks = Quirks {
        fault: Some(fault),
        ..Quirks::default()
    };
    let mut world = World::new(quirks, &LinkConfig::default(), 1);
    let mut config = to_target();
    config.queue.in_capsule = 0;
    println!("{fault:?}");
    let (result, host) = with(&mut world, &Config::numbered(0), |host| {
        let controller = host.connect(&config)?;
        let command = if write {
            Command::write(1, 0, pattern::make(0, 8, BLOCK, 1), BLOCK)
        } else {
            Command::read(1, 0, 8, BLOCK)
        };
        // Two, for answers that come twice.
        host.initiator.submit(controller.io[0], Command::flush(1));
        let result = host.exec("I/O", controller.io[0], command).map(|_| ());
        let result = result.and_then(|()| {
            host.pause(100_000);
            host.exec("Flush", controller.io[0], Command::flush(1))
        });
        host.pause(1_000_000);
        result
    });
    (failure(result), world, host)
}

#[test]
fn whatever_rule_the_target_breaks_is_named() {
    let cases = [
        (
            Fault::WrongKey,
            false,
            "the key is not valid: refused with NAK RemoteAccess",
        ),
        (Fault::WrongKey, true, "the key is not valid"),
        (
            Fault::WriteBeyond,
            false,
            "it is not inside the key's region",
        ),
        (Fault::WriteBeyond, true, "the key does not allow it"),
        (Fault::ReadBeyond, true, "it is not inside the key's region"),
        (Fault::ReadBeyond, false, "the key does not allow it"),
        (Fault::WriteShort, false, "success after 4095 of 4096 bytes"),
        (
            Fault::ReadNothing,
            true,
            "success after RDMA READs of 0 of 4096 bytes",
        ),
        (Fault::InvalidateOther, false, "which is not valid"),
        (
            Fault::Response(Wrong::Twice),
            false,
            "which is not in flight",
        ),
        (
            Fault::Response(Wrong::UnknownCommand),
            false,
            "which is not in flight",
        ),
        (
            Fault::Response(Wrong::Short),
            false,
            "a response of 15 bytes",
        ),
        (
            Fault::Response(Wrong::Long),
            false,
            "a SEND of more than the 16 bytes",
        ),
        (
            Fault::Stray(Opcode::SendLast),
            false,
            "SendLast without SendFirst",
        ),
        (
            Fault::Stray(Opcode::SendMiddle),
            false,
            "SendMiddle with 0 bytes",
        ),
        (
            Fault::Stray(Opcode::WriteLast),
            false,
            "WriteLast without WriteFirst",
        ),
        (
            Fault::Stray(Opcode::WriteOnly),
            false,
            "WriteOnly with 0 bytes where 16 are left",
        ),
        (Fault::Stray(Opcode::CompareSwap), false, "not supported"),
        (
            Fault::Stray(Opcode::SendOnlyImmediate),
            false,
            "not supported",
        ),
        (Fault::Stray(Opcode::UdSendOnly), false, "not supported"),
        (Fault::ReservedSyndrome, false, "a reserved syndrome"),
        (Fault::AtomicAnswer, false, "atomic"),
        (Fault::Disconnect, false, "the target disconnected"),
        (Fault::Reject, false, "reason 10 (stale connection)"),
        (Fault::Silence, false, "no acknowledgment after all retries"),
    ];
    for (fault, write, wanted) in cases {
        let (got, world, host) = broken(fault, write);
        assert!(got.to_string().contains(wanted), "{fault:?}: {got}");
        // The queue pair is given up in order, and no key stays valid.
        let polite = !matches!(fault, Fault::Reject | Fault::Disconnect);
        assert_eq!(world.target.dreqs, u32::from(polite), "{fault:?}");
        assert_eq!(host.valid_keys(), 0, "{fault:?}");
    }
}

#[test]
fn a_refusal_by_the_target_ends_the_queue() {
    for code in [
        NakCode::InvalidRequest,
        NakCode::RemoteAccess,
        NakCode::RemoteOperational,
    ] {
        let (got, _, _) = broken(Fault::Nak(code), false);
        assert_eq!(got, Failure::Rdma(RcError::Nak(code)));
    }
}

#[test]
fn an_acceptance_that_makes_no_sense_is_named() {
    for (qpn, crqsize) in [(Some(0), None), (None, Some(0))] {
        let quirks = Quirks {
            qpn,
            crqsize,
            ..Quirks::default()
        };
        let mut world = World::new(quirks, &LinkConfig::default(), 1);
        let got = failure(connect(&mut world, &to_target()));
        assert!(matches!(got, Failure::Protocol(_)), "{got}");
    }
}

#[test]
fn hostile_operations_reach_the_target_and_are_refused() {
    let work = [
        Work::Write {
            va: 0x1000,
            rkey: 1,
            bytes: vec![1; 3000],
        },
        Work::Read {
            va: 0x1000,
            rkey: 1,
            len: 64,
        },
        Work::Send {
            bytes: vec![0; 20_000],
            invalidate: None,
        },
        Work::Send {
            bytes: vec![0; 64],
            invalidate: Some(5),
        },
    ];
    for work in work {
        let mut world = World::new(Quirks::default(), &LinkConfig::default(), 1);
        let (result, _) = with(&mut world, &Config::numbered(0), |host| {
            let controller = host.connect(&to_target())?;
            host.initiator.post_rdma(controller.io[0], work.clone());
            host.pause(1_000_000);
            host.exec("Flush", controller.io[0], Command::flush(1))
        });
        let got = failure(result);
        assert!(
            matches!(got, Failure::Rdma(RcError::Nak(_))),
            "{work:?}: {got}"
        );
        assert_eq!(world.target.errors.len(), 1);
    }
}
