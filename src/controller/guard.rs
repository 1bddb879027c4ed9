//! Asks, just before a write, whether the policy still wants what was planned for it.

use kube::ResourceExt;

use super::state_cache::parse_version;
use crate::k8s::watch::Stores;
use dbbalance_api::annotations::PAUSE_UNTIL;
use dbbalance_api::spec::DbBalancePolicy;
use dbbalance_kube::methods::PodRef;

/// The policy as it was planned on: what would have to change for its plan to be void.
#[derive(Clone, Debug)]
pub struct PolicyGuard {
    namespace: String,
    name: String,
    uid: String,
    version: u64,
    generation: Option<i64>,
    pause_until: Option<String>,
}

impl PolicyGuard {
    /// Returns the guard of a policy as it was planned on.
    #[must_use]
    pub fn new(policy: &DbBalancePolicy) -> Self {
        Self {
            namespace: policy.namespace().unwrap_or_default(),
            name: policy.name_any(),
            uid: policy.uid().unwrap_or_default(),
            version: parse_version(policy),
            generation: policy.metadata.generation,
            pause_until: policy.annotations().get(PAUSE_UNTIL).cloned(),
        }
    }

    /// Returns the reference of a pod in the policy's namespace.
    #[must_use]
    pub fn pod_ref(&self, name: &str, uid: &str) -> PodRef {
        PodRef {
            namespace: self.namespace.clone(),
            name: name.to_owned(),
            uid: uid.to_owned(),
        }
    }

    /// Returns whether the plan still stands by what the cache knows: the policy is there, is not being deleted, and was
    /// neither edited (suspended, set to Observe, …) nor paused since. A newer epoch cannot come in between, because only
    /// the next pass raises it.
    #[must_use]
    pub fn stands(&self, stores: &Stores) -> bool {
        let cached = stores.policy(&self.namespace, &self.name);
        let policy = cached.as_deref().map(|guard| guard.0.as_ref());
        policy.is_some_and(|policy| policy.is_ok_and(|policy| self.stands_for(policy)))
    }

    fn stands_for(&self, cached: &DbBalancePolicy) -> bool {
        if cached.uid().as_deref() != Some(&self.uid) {
            return false;
        }
        // A cache that is behind what was planned on says nothing.
        parse_version(cached) <= self.version
            || (cached.metadata.deletion_timestamp.is_none()
                && cached.metadata.generation == self.generation
                && cached.annotations().get(PAUSE_UNTIL) == self.pause_until.as_ref())
    }
}

#[cfg(test)]
mod tests;
