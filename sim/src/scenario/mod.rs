//! Whole set-ups: a card with SSDs brought up by the host driver, and what is done with it.

pub mod bench;
pub mod demo;
pub mod firmware;
pub mod lab;
pub mod live;
pub mod log;
pub mod model;
pub mod profile;
pub mod serve;
pub mod server;
