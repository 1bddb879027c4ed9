//! The values that the operator works with and the rules that it decides by, without any I/O: values in, values out.
//!
//! Nothing in this crate awaits or reads a clock or the environment. Of the workspace's crates it imports only `api`.
#![forbid(unsafe_code)]

pub mod balance;
pub mod budget;
pub mod change;
pub mod debounce;
pub mod disruption;
pub mod dns;
pub mod drain;
pub mod epoch;
pub mod error_chain;
pub mod evidence;
pub mod hash;
pub mod narrow;
pub mod pacing;
pub mod pod;
pub mod stamp;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod topology;
pub mod tracker;
pub mod weights;
pub mod window;
pub mod workload;
