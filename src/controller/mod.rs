//! The controller: observe, validate, plan, apply, report.
//!
//! `validate` and `plan` are pure; `observe` only reads; `apply` is the only code that changes a
//! workload; `report` writes the status, events and metrics.

pub mod plan;
pub mod validate;
pub mod world;
