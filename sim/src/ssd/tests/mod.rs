//! The SSD model with the host driver on one side and the firmware's queue pair on the other.

mod bench;
mod driver;
mod firmware;
mod io;
mod maintain;
mod prp;
mod rig;
