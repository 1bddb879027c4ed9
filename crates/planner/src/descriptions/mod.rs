//! Text for users: next steps, events of runs, what is waited for, balances.
//!
//! It stays the same while nothing changes: figures that tick would have the status written each second.

pub(crate) mod actions;
pub(crate) mod balance;
mod odds;
pub(crate) mod pods;
pub(crate) mod waiting;
