//! Measures the structure of a checkout of dbbalance, and checks its layers and dependencies.
//!
//! `cargo run -p dbbalance-structure -- [PATH]` prints the figures of any checkout, also of an old
//! commit's: [`figures`] reads the sources alone and compiles nothing. `tests/architecture.rs`
//! holds the workspace to the tables of [`layout`].
#![forbid(unsafe_code)]

pub mod checkout;
pub mod circles;
pub mod dependencies;
pub mod error;
pub mod facts;
pub mod figures;
pub mod fixture;
pub mod imports;
pub mod json;
pub mod layers;
pub mod layout;
pub mod module_tree;
pub mod report;
pub mod text_counts;
pub mod tokens;
