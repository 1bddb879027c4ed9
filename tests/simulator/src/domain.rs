//! The operator's own decisions: the same files, compiled here alone, so that a simulator is built in
//! seconds and runs optimised.

#[path = "../../../src/domain/balance/mod.rs"]
pub mod balance;
#[path = "../../../src/domain/topology.rs"]
pub mod topology;
