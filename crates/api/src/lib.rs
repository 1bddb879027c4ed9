//! Defines the API that users see: the `DbBalancePolicy` resource, its conditions, and the annotations.
//!
//! Contains types, their schema and the rules that a schema can check, but no decisions: what a policy means for a
//! pod is in the crates `dbbalance-core` and `dbbalance-planner`.
#![forbid(unsafe_code)]
#![allow(clippy::doc_markdown)] // the docs become `kubectl explain`, where backticks are noise

pub mod annotations;
mod balance;
pub mod conditions;
pub mod crd;
mod evidence;
pub mod prepared;
pub mod rebalance_state;
mod rules;
pub mod schema;
mod shares;
pub mod spec;
pub mod status;
mod steering;
mod target;
pub mod text;

pub use spec::{DbBalancePolicy, DbBalancePolicySpec};
pub use status::DbBalancePolicyStatus;

/// The API group of the resource and the prefix of every annotation.
pub const GROUP: &str = "dbbalance.io";
/// The only served version.
pub const VERSION: &str = "v1alpha1";
/// The field manager under which the operator writes.
pub const FIELD_MANAGER: &str = "dbbalance";
