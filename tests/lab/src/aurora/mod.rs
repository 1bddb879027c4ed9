//! An Aurora that behaves like one: real PostgreSQL behind Aurora's control plane and Aurora's DNS.
//!
//! - [`estate`] says what the control plane tells: the values that the API and the DNS server answer from, and the
//!   calls that change them. It does no I/O.
//! - [`api`] is the RDS API over a control plane, [`dns`] the authoritative name server over one; [`coredns`] puts
//!   real `CoreDNS` in front of that, as clusters do.
//! - [`still`] is a control plane without databases, for tests of those.
//!
//! Addresses, all on the stand's bridge: see [`address`].

pub mod address;
pub mod api;
pub mod coredns;
pub mod dns;
pub mod estate;
mod service;
pub mod still;
