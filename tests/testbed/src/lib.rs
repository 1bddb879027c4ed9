//! The testbed: everything `dbbalance` is demonstrated and tested on, on one machine, with real parts wherever possible.
//!
//! - [`tools`] builds or installs the programs at pinned versions into a cache outside the checkout;
//! - [`kubernetes`] runs etcd, the API server, controller-manager, scheduler, kubelet and containerd in a network
//!   namespace of their own, and leaves nothing behind;
//! - [`image`] makes container images from files on the machine and [`kubernetes::Testbed::load_image`] loads them;
//! - [`aurora`] is an Aurora that behaves like one: real PostgreSQL, its RDS API and its DNS;
//! - [`demo`] shows the operator on all of it;
//! - [`rds`] runs an RDS API (moto) and a fault proxy in front of it (microburst), with clients of both.
//!
//! The `testbed` program is a thin command line over this library: integration tests and the demo use the same
//! operations. Only [`demo`] knows the operator: the rest must stay usable by tests of any part of it.

// Every fallible function reports the object, the cause and the cure in its error; a section that says so
// again on each of them would only hide the ones that have something of their own to say.
#![allow(clippy::missing_errors_doc)]

pub mod aurora;
pub mod cache;
pub mod demo;
pub mod image;
pub mod interrupt;
pub mod kubernetes;
pub mod mounts;
pub mod process;
pub mod program;
pub mod rds;
pub mod tools;
pub mod wait;
