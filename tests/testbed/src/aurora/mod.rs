//! An Aurora that behaves like one: real PostgreSQL behind Aurora's control plane and Aurora's DNS.
//!
//! - [`estate`] says what the control plane tells: the values that the API and the DNS server answer from, and the
//!   calls that change them. It does no I/O.
//! - [`postgres`] runs the databases, behind the effects that [`databases`] names.
//! - [`timeline`] has the figures, from data files with their sources; [`script`] puts them in order; [`told`] and
//!   [`moods`] say what is told at a moment. All four are pure.
//! - [`fleet`] plays the scripts: it is the [`estate::ControlPlane`]. [`still`] is one without databases or time.
//! - [`api`] is the RDS API over a control plane, [`dns`] the authoritative name server over one; [`coredns`] puts
//!   real `CoreDNS` in front of that, as clusters do.
//! - [`observe`] counts connections from the databases' side.
//! - [`scenario`] runs a file of orders and writes what was measured.
//! - [`program`] starts the one program that holds all this, [`control`] gives it orders.
//!
//! Addresses, all on the testbed's bridge: see [`address`].

pub mod address;
pub mod api;
pub mod control;
pub mod coredns;
pub mod databases;
pub mod dns;
pub mod estate;
pub mod event;
pub mod fleet;
pub mod moods;
pub mod observe;
pub mod postgres;
pub mod program;
pub mod scenario;
pub mod script;
mod service;
pub mod status;
pub mod still;
pub mod timeline;
pub mod told;

pub use control::{Control, Order};
pub use fleet::Up;
