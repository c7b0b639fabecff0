//! The only unsafe code of the benches: a Verilated model as a set of named ports.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_uint, c_void};

unsafe extern "C" {
    fn sluice_bench_new(top: *const c_char, seed: c_uint) -> *mut c_void;
    fn sluice_bench_free(model: *mut c_void);
    fn sluice_bench_eval(model: *mut c_void);
    fn sluice_bench_port(model: *mut c_void, name: *const c_char, bytes: *mut usize) -> *mut u8;
}

/// One model. Ports are looked up once with [`Model::port`]; a [`Port`] is only good for the model it came from.
pub struct Model {
    raw: *mut c_void,
    ports: Vec<(*mut u8, usize)>,
}

/// A port of a [`Model`].
#[derive(Clone, Copy, Debug)]
pub struct Port(usize);

impl Model {
    /// A model of the module `top`; flip-flops without reset start from values drawn from `seed`.
    #[must_use]
    pub fn new(top: &str, seed: u32) -> Self {
        let name = CString::new(top).expect("a module name");
        // SAFETY: the name is a C string that outlives the call.
        let raw = unsafe { sluice_bench_new(name.as_ptr(), seed) };
        assert!(!raw.is_null(), "no model of {top} was built");
        Self {
            raw,
            ports: Vec::new(),
        }
    }

    /// Finds a port by its name.
    pub fn port(&mut self, name: &str) -> Port {
        let c_name = CString::new(name).expect("a port name");
        let mut bytes = 0;
        // SAFETY: the model is alive, the name is a C string, and `bytes` may be written.
        let at = unsafe { sluice_bench_port(self.raw, c_name.as_ptr(), &raw mut bytes) };
        assert!(!at.is_null(), "no port {name}");
        self.ports.push((at, bytes));
        Port(self.ports.len() - 1)
    }

    /// Brings all outputs up to date with the inputs.
    pub fn eval(&mut self) {
        // SAFETY: the model is alive, and `&mut self` keeps others out.
        unsafe { sluice_bench_eval(self.raw) }
    }

    /// The port as bytes, little-endian; wide ports are padded to words.
    #[must_use]
    pub fn bytes(&self, port: Port) -> &[u8] {
        let (at, len) = self.ports[port.0];
        // SAFETY: the port's storage lives inside the model and is plain integers; `&self` keeps writers out.
        unsafe { std::slice::from_raw_parts(at, len) }
    }

    /// The port as bytes, to be written. Bits beyond the port's width stay zero.
    pub fn bytes_mut(&mut self, port: Port) -> &mut [u8] {
        let (at, len) = self.ports[port.0];
        // SAFETY: as in `bytes`, and `&mut self` makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(at, len) }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `sluice_bench_new` and is freed once.
        unsafe { sluice_bench_free(self.raw) }
    }
}
