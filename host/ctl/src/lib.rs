//! `sluicectl`, the command-line tool of `sluiced`: every method of the daemon as a subcommand, and a few for people.
//!
//! - [`cli`]: the command line, most of it made from the daemon's table of methods;
//! - [`params`]: from a command line to a method's parameters;
//! - [`show`]: answers as tables;
//! - [`views`]: the answers that are worth more than a table of everything;
//! - [`top`]: the live view;
//! - [`flash`]: firmware into the card; [`stop`]: the end, unless it is a restart;
//! - [`trace`]: what the card sees on the wire, as a capture;
//! - [`pages`]: completion scripts and man pages;
//! - [`run`]: a command done, with its exit code.
#![forbid(unsafe_code)]

pub mod cli;
pub mod flash;
pub mod pages;
pub mod params;
pub mod run;
pub mod show;
pub mod stop;
pub mod top;
pub mod trace;
pub mod views;
