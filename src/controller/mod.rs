//! The controller: reconciles policies in the steps observe, validate, plan, apply and report.
//!
//! `validate` and `plan` are pure; `observe` only reads; `apply` is the only code that changes a
//! workload; `report` writes the status, events and metrics.

pub mod apply;
pub mod context;
pub mod errors;
pub mod guard;
pub mod header_checks;
pub mod ledger;
pub mod observe;
pub mod reconcile;
pub mod record_queue;
pub mod report;
mod sampling;
pub mod state_cache;
#[cfg(test)]
mod testing;
