//! Decides whether connections are where they should be, and which pods move next.
//!
//! [`decide_balance`] is pure and total. It takes what was measured, what DNS answered, what is remembered and the
//! time. It returns a verdict with its figures, the pods to recycle, why no more is done now, when to decide again
//! and what to remember. It never reads a clock or touches a pod, and of the methods of recycling it knows only how
//! soon pools reopen ([`Reach`]).
//!
//! The rules, in order:
//!
//! 1. Connections to the wrong role or to an instance that is not a member are already broken: their pods go at once
//!    (`urgent`), as soon as DNS agrees on the right members (`misplaced`).
//! 2. Evidence that is too old, or older than the last batch, is not used: measure first.
//! 3. Inside the band (`shares`), or as near to it as whole pods allow: balanced, and nothing moves. Both is judged by the
//!    sum of the cluster (`others`).
//! 4. Outside the band, an episode moves the excess while DNS serves readers that have too few connections
//!    (`dns_gate`), in batches (`selection`). Each batch settles and is measured before the next (`rebalance`),
//!    within a budget of recycles. Where the name that pods look up can be narrowed, no answer is waited for: the
//!    decision names the receiver, and moves pods once the name leads to it (`told`).
//!
//! Without evidence, [`odds`] computes how likely blind recycling ends even. The figures behind the defaults come
//! from a simulation of DNS caches, pools and pods that runs this code: `tests/simulator`.

mod candidates;
mod decide;
mod dns_gate;
mod from_evidence;
pub mod inputs;
mod misplaced;
pub mod odds;
pub mod others;
mod pod_shares;
mod reader_set;
mod rebalance;
mod selection;
mod shares;
mod sweep;
mod told;
pub mod verdict;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use decide::{compute_figures, decide_balance};
pub use inputs::{
    EndpointAnswer, Holdings, Inputs, NameLead, PodView, Pools, Reach, Settings, Strays,
};
pub use odds::{BlindPace, BlindRecycling, Odds};
pub use others::{OtherConnections, ReaderShares};
pub use pod_shares::{WrongRole, count_misplaced, count_wrong_role};
pub use sweep::count_repeats;
pub use told::find_batch_receiver;
pub use verdict::{
    BalanceFigures, BalanceVerdict, Decision, InstanceShare, Misplaced, Unknown, Wait,
};
