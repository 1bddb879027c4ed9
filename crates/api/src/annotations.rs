//! Names the annotations through which users, pods and the operator communicate.
//!
//! The formats of stamps, claims and counters are in the crate `dbbalance-core`, in `stamp`.

/// On a pod or a pod template: the epoch at which the pod was recycled or created (the stamp).
pub const EPOCH: &str = "dbbalance.io/epoch";
/// On a pod: a recycle has started and is not stamped yet (the claim).
pub const CLAIM: &str = "dbbalance.io/claim";
/// On a pod: how often it was recycled in its life.
pub const RECYCLES: &str = "dbbalance.io/recycles";
/// On a pod: how often it was recycled within one run, and when last, where connections are measured.
pub const MOVED: &str = "dbbalance.io/moved";
/// On a pod: how often each of its containers had restarted when its last recycle was claimed.
pub const RESTARTS: &str = "dbbalance.io/restarts";
/// On a pod: the cluster's writer at the stamped epoch.
pub const WRITER: &str = "dbbalance.io/writer";
/// On a pod: the cluster's readers at the stamped epoch, comma separated and sorted.
pub const READERS: &str = "dbbalance.io/readers";
/// On the Service or EndpointSlice of `spec.dns.steering`: the policy that has narrowed it, for which run, to which
/// instance and when. The PATCH that widens it removes it.
pub const NARROWED: &str = "dbbalance.io/narrowed";
/// On a Service of `spec.dns.steering`, while it is narrowed: the host that it led to before, and is widened to even when
/// the topology is not known.
pub const WIDENS_TO: &str = "dbbalance.io/widens-to";
/// On a policy: a token; a new value requests a run.
pub const RECYCLE_REQUESTED: &str = "dbbalance.io/recycle-requested";
/// On a policy: an RFC 3339 time until which the operator keeps the name of `spec.dns.steering` wide.
pub const WIDE_UNTIL: &str = "dbbalance.io/wide-until";
/// On a policy: an RFC 3339 time until which the operator does not act.
pub const PAUSE_UNTIL: &str = "dbbalance.io/pause-until";
/// On a policy: the reason of the pause, for people.
pub const PAUSE_REASON: &str = "dbbalance.io/pause-reason";
/// On a policy: the readers to empty, separated by commas.
pub const DRAIN: &str = "dbbalance.io/drain";
/// On a workload or a pod: `"true"` excludes it from every policy.
pub const IGNORE: &str = "dbbalance.io/ignore";
