//! A host that works on while others do everything wrong.

use sluice_sim::initiator::{ConnectConfig, Controller, Namespace, Workload, WorkloadConfig};

use super::{Bench, MS, mix};

/// A live host with a load that goes on during the trouble.
pub struct Live {
    pub host: usize,
    pub controller: Controller,
    namespaces: Vec<Namespace>,
}

impl Live {
    /// Host 1, connected in this way.
    pub fn connect(bench: &mut Bench, config: ConnectConfig) -> Self {
        let host = bench.host(1);
        let (controller, namespaces) = bench.connect_with(host, &config);
        Self {
            host,
            controller,
            namespaces,
        }
    }

    /// Begins a load of so many commands.
    pub fn begin(&self, bench: &mut Bench, ios: u64) {
        let load = mix(&self.controller, &self.namespaces[1], 4096, 8, ios);
        bench.at(self.host).attach(Workload::new(load));
    }

    /// All of it was done, and is right.
    pub fn end(&self, bench: &mut Bench) {
        let stats = bench.finish_loads(&[self.host]).remove(0);
        assert_eq!(stats.errors, [""; 0], "the live host was disturbed");
        assert!(stats.verified_bytes > 0);
    }

    /// After the trouble, with a capture of its own: all is as if nothing had been.
    pub fn afterwards(self, bench: &mut Bench, newcomer: &ConnectConfig) {
        bench.begin_capture();
        let host = bench.host(3);
        let (controller, namespaces) = bench.connect_with(host, newcomer);
        let load = mix(&controller, &namespaces[0], 4096, 4, 20);
        bench.verified(
            host,
            WorkloadConfig {
                first_block: 8192,
                ..load
            },
        );
        self.begin(bench, 20);
        self.end(bench);
        for (host, controller) in [(host, &controller), (self.host, &self.controller)] {
            bench
                .on(host, |b| b.disconnect(controller))
                .expect("disconnect");
        }
        bench.run(MS);
        bench.check_capture();
        bench.assert_all_given_back();
    }
}
