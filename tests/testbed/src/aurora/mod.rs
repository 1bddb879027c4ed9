//! An Aurora that behaves like one: real PostgreSQL behind Aurora's control plane and Aurora's DNS.
//!
//! - [`inventory`] has the state that the API and the name server answer from, and the calls that change it. No I/O.
//! - [`postgres`] runs the databases; [`databases`] names its operations.
//! - [`timeline`] has the delays, from data files with their sources; [`script`] orders the steps; [`published_state`]
//!   and [`cluster_faults`] give what is published at a moment. All four are pure.
//! - [`fleet`] plays the scripts and implements [`inventory::ControlPlane`]; [`static_control_plane`] implements it
//!   without databases or time.
//! - [`api`] is the RDS API over a control plane, [`dns`] the authoritative name server over one; [`coredns`] runs
//!   real `CoreDNS` in front of it, as clusters do, with the text of [`corefile`].
//! - [`steered_name`] has the objects of a reader name that is led by a Service.
//! - [`observe`] counts connections from the databases' side.
//! - [`scenario`] runs a file of commands and writes what was measured.
//! - [`daemon`] starts the one process that holds all this, [`control`] sends it commands.
//!
//! All addresses are on the testbed's bridge: see [`address`].

pub mod address;
pub mod api;
pub mod cluster_faults;
pub mod control;
pub mod coredns;
pub mod corefile;
pub mod daemon;
pub mod databases;
pub mod dns;
pub mod event;
pub mod fleet;
pub mod inventory;
pub mod observe;
pub mod postgres;
pub mod published_state;
pub mod scenario;
pub mod script;
mod service;
pub mod static_control_plane;
pub mod status;
pub mod steered_name;
pub mod timeline;

pub use control::{AuroraControl, FleetCommand};
pub use fleet::AuroraClusterSpec;
