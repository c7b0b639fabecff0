//! A model with a clock. One clock of a bench: read what flip-flops drive, drive the inputs, [`Bench::settle`], read what is
//! combinational, [`Bench::tick`].

use crate::ffi::{Model, Port};

/// A Verilated module under test.
pub struct Bench {
    model: Model,
    clk: Port,
    rst: Port,
    /// Clocks since reset.
    pub clock: u64,
}

impl Bench {
    /// The module `top`, out of reset.
    #[must_use]
    pub fn new(top: &str, seed: u32) -> Self {
        let mut model = Model::new(top, seed);
        let (clk, rst) = (model.port("clk_i"), model.port("rst_ni"));
        let mut bench = Self {
            model,
            clk,
            rst,
            clock: 0,
        };
        bench.set(bench.rst, 0);
        for _ in 0..4 {
            bench.settle();
            bench.tick();
        }
        bench.set(bench.rst, 1);
        bench.clock = 0;
        bench
    }

    /// Finds a port by its name.
    pub fn port(&mut self, name: &str) -> Port {
        self.model.port(name)
    }

    /// A narrow port.
    #[must_use]
    pub fn get(&self, port: Port) -> u64 {
        let mut value = [0; 8];
        let bytes = self.model.bytes(port);
        let len = bytes.len().min(8);
        value[..len].copy_from_slice(&bytes[..len]);
        u64::from_le_bytes(value)
    }

    /// A port as bytes.
    #[must_use]
    pub fn bytes(&self, port: Port) -> &[u8] {
        self.model.bytes(port)
    }

    /// Drives a narrow port.
    pub fn set(&mut self, port: Port, value: u64) {
        let bytes = self.model.bytes_mut(port);
        let len = bytes.len().min(8);
        bytes[..len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    /// Drives a port from its first byte on; the rest becomes zero.
    pub fn set_bytes(&mut self, port: Port, value: &[u8]) {
        let bytes = self.model.bytes_mut(port);
        bytes.fill(0);
        bytes[..value.len()].copy_from_slice(value);
    }

    /// Drives a port from 32-bit words.
    pub fn set_words(&mut self, port: Port, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.set_bytes(port, &bytes);
    }

    /// A port as 32-bit words.
    #[must_use]
    pub fn words(&self, port: Port) -> Vec<u32> {
        self.model
            .bytes(port)
            .chunks(4)
            .map(|c| u32::from_le_bytes(c.try_into().expect("whole words")))
            .collect()
    }

    /// Lets combinational outputs follow the inputs.
    pub fn settle(&mut self) {
        self.set(self.clk, 0);
        self.model.eval();
    }

    /// The rising edge.
    pub fn tick(&mut self) {
        self.set(self.clk, 1);
        self.model.eval();
        self.clock += 1;
    }
}
