//! An Aurora that behaves like one: real PostgreSQL behind Aurora's control plane and Aurora's DNS.
//!
//! - [`estate`] says what the control plane tells: the values that the API and the DNS server answer from, and the
//!   calls that change them. It does no I/O.
//! - [`postgres`] runs the databases, behind the effects that [`databases`] names.
//! - [`timeline`] has the figures, from data files with their sources; [`script`] puts them in order; [`told`] and
//!   [`moods`] say what is told at a moment. All four are pure.
//! - [`fleet`] plays the scripts: it is the [`estate::ControlPlane`].
//! - [`observe`] counts connections from the databases' side.
//! - [`scenario`] runs a file of orders and writes what was measured.
//! - [`program`] starts the one program that holds all this, [`control`] gives it orders.
//!
//! Addresses, all on the stand's bridge: see [`address`].

pub mod address;
pub mod control;
pub mod databases;
pub mod estate;
pub mod event;
pub mod fleet;
pub mod moods;
pub mod observe;
pub mod postgres;
pub mod program;
pub mod scenario;
pub mod script;
pub mod status;
pub mod timeline;
pub mod told;

pub use control::{Control, Order};
pub use fleet::Up;
