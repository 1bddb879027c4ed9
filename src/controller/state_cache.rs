//! What the operator remembers between passes, and may forget at any time.
//!
//! Nothing here is needed for safety: after a restart, or when another replica takes over, the
//! status, the stamps and the claims say where the world stands.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};

use dbbalance_api::status::DbBalancePolicyStatus;
use dbbalance_core::budget::Load;
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::evidence::Socket;
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::Claim;
use dbbalance_planner::world::EffectBackoff;

/// How long after an opening nothing is done: the open time is the next full second of the API
/// server's clock.
const GRACE: SignedDuration = SignedDuration::from_millis(1100);

/// A status that we have written, until the cache has caught up.
#[derive(Clone, Debug)]
pub struct WrittenStatus {
    /// The resource version that the write gave.
    pub version: u64,
    /// What was written.
    pub status: DbBalancePolicyStatus,
}

/// What is remembered of one policy.
#[derive(Clone, Debug, Default)]
pub struct PolicyState {
    /// The cache was found to be behind: read the policy from the API server.
    pub must_read: bool,
    /// No effect before. Kubernetes dates pods by the second, so a pod that an effect brings forth
    /// within the second of the opening would look older than the epoch.
    pub effects_not_before: Option<Timestamp>,
    /// Our last write.
    pub written: Option<WrittenStatus>,
    /// Since when differences have been there.
    pub settling: SettlingChanges,
    /// What the last attempts met, by target.
    pub blockades: BTreeMap<String, EffectBackoff>,
    /// The pods that we have claimed, by UID: the version that was claimed, and the claim. Until
    /// the cache shows another version, the pod counts as claimed.
    pub claimed: HashMap<String, (String, Claim)>,
    /// The sockets of recycled pods as they were before, by UID: by them a recycle is proved.
    pub sockets_before_recycle: BTreeMap<String, Vec<Socket>>,
    /// What the policy's recycles in progress may add.
    pub in_flight: Load,
    /// Its runs in progress that no outer gate holds.
    pub running: usize,
}

impl PolicyState {
    /// Lets nothing be done for a moment: an epoch opens now, or opened before we came to lead.
    pub fn start_grace(&mut self, now: Timestamp) {
        self.effects_not_before = now.checked_add(GRACE).ok();
    }

    /// Lets a pod that the cache still shows unclaimed count as claimed.
    pub fn correct_claim(&self, pod: &mut PodFacts) {
        if let Some((version, claim)) = self.claimed.get(&pod.uid)
            && *version == pod.resource_version
        {
            pod.claim = Some(claim.clone());
        }
    }
}

/// The memory of all policies, by UID.
#[derive(Debug, Default)]
pub struct StateCache(Mutex<HashMap<String, PolicyState>>);

impl StateCache {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, PolicyState>> {
        self.0.lock()
    }

    /// What is remembered of a policy; `None` if it was not seen since this replica leads.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<PolicyState> {
        self.lock().get(uid).cloned()
    }

    /// Changes what is remembered of a policy.
    pub fn update(&self, uid: &str, change: impl FnOnce(&mut PolicyState)) {
        change(self.lock().entry(uid.to_owned()).or_default());
    }

    /// Forgets policies that are gone.
    pub fn retain(&self, uids: &std::collections::HashSet<String>) {
        self.lock().retain(|uid, _| uids.contains(uid));
    }

    /// Forgets everything: another replica may have acted since.
    pub fn clear(&self) {
        self.lock().clear();
    }
}
