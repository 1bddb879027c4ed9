//! An Aurora that behaves like one: real PostgreSQL behind Aurora's control plane and Aurora's DNS.
//!
//! - [`estate`] says what the control plane tells: the values that the API and the DNS server answer from, and the
//!   calls that change them. It does no I/O.
//!
//! Addresses, all on the stand's bridge: see [`address`].

pub mod address;
pub mod estate;
