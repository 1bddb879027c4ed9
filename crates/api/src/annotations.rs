//! The annotations by which users, pods and the operator speak to each other.
//!
//! Only names, and the marks that go into them; who writes which when is decided in `controller`.

/// On a pod or a pod template: the epoch at which the pod was recycled, or born (the stamp).
pub const EPOCH: &str = "dbbalance.io/epoch";
/// On a pod: a recycle has begun and is not yet stamped.
pub const CLAIM: &str = "dbbalance.io/claim";
/// On a pod: how often it was recycled in its life.
pub const RECYCLES: &str = "dbbalance.io/recycles";
/// On a pod: how often it was recycled within one run, and when last, where connections are measured.
pub const MOVED: &str = "dbbalance.io/moved";
/// On a pod: the cluster's writer at the stamped epoch.
pub const WRITER: &str = "dbbalance.io/writer";
/// On a pod: the cluster's readers at the stamped epoch, comma separated and sorted.
pub const READERS: &str = "dbbalance.io/readers";
/// On a policy: a token; a new value asks for a run.
pub const RECYCLE_REQUESTED: &str = "dbbalance.io/recycle-requested";
/// On a policy: an RFC 3339 time until which nothing is done.
pub const PAUSE_UNTIL: &str = "dbbalance.io/pause-until";
/// On a policy: why it is paused, for people.
pub const PAUSE_REASON: &str = "dbbalance.io/pause-reason";
/// On a workload or a pod: `"true"` takes it out of every policy.
pub const IGNORE: &str = "dbbalance.io/ignore";
