//! Balance: whether connections are where they should be, and which pods move next.
//!
//! [`decide`] is pure and total: what was measured, what DNS answered, what is remembered and the
//! time go in; a verdict with its figures, the pods to recycle, why no more is done now, when to
//! look again and what to remember come out. It never reads a clock, never touches a pod, and knows
//! no method of recycling beyond how soon its pools reopen ([`Reach`]).
//!
//! The rule, in its order:
//!
//! 1. Connections to the wrong role or to no member are broken already: their pods go at once
//!    (`urgent`), as soon as DNS agrees on where they belong.
//! 2. Evidence that is old, or older than the last batch, decides nothing: measure first.
//! 3. Inside the band (`shares`), or at the quantum of one pod: balanced, and nothing moves.
//! 4. Outside, an episode moves the excess while DNS serves readers that have too few (`gate`),
//!    in batches (`pick`), each settled and measured before the next (`excess`), within a budget.
//!
//! Without evidence there is [`odds`]: how likely blind recycling ends even. The figures behind the
//! defaults come from a simulation of DNS caches, pools and pods that runs this very code: `tests/simulator`.

mod candidates;
mod decide;
mod dns_gate;
mod from_evidence;
pub mod inputs;
mod misplaced;
pub mod odds;
mod pod_shares;
mod reader_set;
mod rebalance;
mod selection;
mod shares;
pub mod verdict;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use decide::{compute_figures, decide_balance};
pub use inputs::{EndpointAnswer, Holdings, Inputs, PodView, Pools, Reach, Settings};
pub use odds::{BlindPace, BlindRecycling, Odds};
pub use pod_shares::{WrongRole, count_wrong_role, find_misplaced_pods};
pub use verdict::{
    BalanceFigures, BalanceVerdict, Decision, InstanceShare, Misplaced, Unknown, Wait,
};
