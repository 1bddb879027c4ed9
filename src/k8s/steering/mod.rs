//! Watches the Services and `EndpointSlice`s that policies may narrow, and writes where they lead.
//!
//! - `ranges` says which addresses may be written.
//! - `observed` turns an object to what the planner decides on. It is pure.
//! - `cache` holds the last state of each object, and wakes who waits for a change.
//! - `watch` follows one object by its name.
//! - `write` narrows and widens one object, in one PATCH each.
//!
//! Only objects that the chart lists are read. All of them are, whether or not a policy names them: a name that a policy
//! had narrowed before it was deleted is widened all the same.

mod cache;
mod observed;
mod ranges;
#[cfg(test)]
pub(crate) mod testing;
mod watch;
mod write;

pub use cache::{NameKey, NameState, SteeredNames, SteeringConfig};
pub use observed::{ClusterHosts, observe_name};
pub use ranges::{AllowedRanges, DEFAULT_ALLOWED_CIDRS};
pub use watch::watch_names;
pub use write::{NameDestination, NameWrite, refresh_name, write_name};
