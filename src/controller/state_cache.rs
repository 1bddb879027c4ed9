//! In-memory state of policies between reconciles.
//!
//! It may be lost at any time. After a restart, or when another replica takes over, the status, stamps and claims are
//! enough to continue.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use dbbalance_api::DbBalancePolicy;
use dbbalance_api::status::DbBalancePolicyStatus;
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::evidence::Socket;
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::Claim;
use dbbalance_kube::recycle::Recycled;
use dbbalance_planner::world::EffectBackoff;

/// How long no effect is made after an epoch has opened: its open time is the next full second of the API server's
/// clock.
const GRACE: SignedDuration = SignedDuration::from_millis(1100);

/// A status that this replica has written. It replaces the cached one until the cache has caught up.
#[derive(Clone, Debug)]
pub struct WrittenStatus {
    /// The resource version after the write.
    pub version: u64,
    /// The status.
    pub status: DbBalancePolicyStatus,
}

/// The result of an effect that has lasted longer than its pass.
#[derive(Clone, Debug)]
pub struct LateResult {
    /// The target.
    pub target: String,
    /// The pod's claim.
    pub claim: Claim,
    /// Whether the pod was the first of its run.
    pub is_canary: bool,
    /// What came of it.
    pub result: Recycled,
}

/// The state of one policy.
#[derive(Clone, Debug, Default)]
pub struct PolicyState {
    /// The cache is known to be outdated: read the policy from the API server.
    pub must_read: bool,
    /// No effect before this time. Kubernetes dates pods by the second, so a pod that an effect creates within the second
    /// of the opening would look older than the epoch.
    pub effects_not_before: Option<Timestamp>,
    /// The last status that this replica wrote.
    pub written: Option<WrittenStatus>,
    /// When each unsettled change of the topology was first seen.
    pub settling: SettlingChanges,
    /// What blocked the last attempt, by target.
    pub blockades: BTreeMap<String, EffectBackoff>,
    /// When evidence could be relied on last, by target.
    pub last_evidence: BTreeMap<String, Timestamp>,
    /// How many pods of the last step the rate limit has left to the next pass, by target.
    pub left_of_step: BTreeMap<String, usize>,
    /// Claimed pods by UID: the resource version before the claim, and the claim, from when it is sent. Until the cache
    /// shows another version, the pod counts as claimed.
    pub claimed: HashMap<String, (String, Claim)>,
    /// Effects that have lasted longer than their pass and are still in progress. Each is counted when its pass ends, and
    /// may itself have ended a moment before.
    pub unfinished: isize,
    /// The results of such effects, for the next pass.
    pub late_results: Vec<LateResult>,
    /// The sockets of pods before their recycle, by pod UID. Later readings are compared with them to prove that the
    /// pool was renewed.
    pub sockets_before_recycle: BTreeMap<String, Arc<[Socket]>>,
}

impl PolicyState {
    /// Forbids effects for a moment, because an epoch opens now or has opened before this replica became the leader.
    pub fn start_grace(&mut self, now: Timestamp) {
        self.effects_not_before = now.checked_add(GRACE).ok();
    }

    /// Adds our claim to a pod that the cache still shows without it.
    pub fn correct_claim(&self, pod: &mut PodFacts) {
        if let Some((version, claim)) = self.claimed.get(&pod.uid)
            && *version == pod.resource_version
        {
            pod.claim = Some(claim.clone());
        }
    }
}

/// Returns the resource version as a number. Kubernetes allows such a comparison between versions of one object.
pub(super) fn parse_version(policy: &DbBalancePolicy) -> u64 {
    policy
        .resource_version()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

/// The state of all policies, by UID.
#[derive(Debug, Default)]
pub struct StateCache(Mutex<HashMap<String, PolicyState>>);

impl StateCache {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, PolicyState>> {
        self.0.lock()
    }

    /// Returns the state of a policy; `None` if it was not reconciled since this replica became the leader.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<PolicyState> {
        self.lock().get(uid).cloned()
    }

    /// Changes the state of a policy, which is created if there is none.
    pub fn update(&self, uid: &str, change: impl FnOnce(&mut PolicyState)) {
        change(self.lock().entry(uid.to_owned()).or_default());
    }

    /// Changes the state of a policy, if there is one: an effect may end after its policy is gone, or the lease.
    pub fn update_known(&self, uid: &str, change: impl FnOnce(&mut PolicyState)) {
        self.lock().get_mut(uid).map(change);
    }

    /// Drops the state of all other policies.
    pub fn retain(&self, uids: &std::collections::HashSet<String>) {
        self.lock().retain(|uid, _| uids.contains(uid));
    }

    /// Drops all state: another replica may have acted in the meantime.
    pub fn clear(&self) {
        self.lock().clear();
    }
}
