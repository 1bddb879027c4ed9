//! An Aurora that behaves like one: real PostgreSQL behind Aurora's control plane and Aurora's DNS.
//!
//! - [`inventory`] says what the control plane tells: the values that the API and the DNS server answer from, and the
//!   calls that change them. It does no I/O.
//! - [`postgres`] runs the databases, behind the effects that [`databases`] names.
//! - [`timeline`] has the figures, from data files with their sources; [`script`] puts them in order; [`published_state`] and
//!   [`cluster_faults`] say what is told at a moment. All four are pure.
//! - [`fleet`] plays the scripts: it is the [`inventory::ControlPlane`]. [`static_control_plane`] is one without databases or time.
//! - [`api`] is the RDS API over a control plane, [`dns`] the authoritative name server over one; [`coredns`] puts
//!   real `CoreDNS` in front of that, as clusters do.
//! - [`observe`] counts connections from the databases' side.
//! - [`scenario`] runs a file of orders and writes what was measured.
//! - [`daemon`] starts the one program that holds all this, [`control`] gives it orders.
//!
//! Addresses, all on the testbed's bridge: see [`address`].

pub mod address;
pub mod api;
pub mod cluster_faults;
pub mod control;
pub mod coredns;
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
pub mod timeline;

pub use control::{AuroraControl, FleetCommand};
pub use fleet::AuroraClusterSpec;
