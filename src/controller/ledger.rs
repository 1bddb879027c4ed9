//! Records what each policy holds of its cluster, so that others can reckon with it.
//!
//! There is one account for each cluster, by the ARN that the RDS API reported, however policies spell it. Each reconcile
//! enters what its policy holds; nothing is computed for others. The lock is held to copy or to replace an entry. A plan
//! that was made while another policy of the cluster changed its entry is not entered: it is made again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use dbbalance_planner::world::PeerHolding;

/// The policies of one cluster.
#[derive(Debug, Default)]
struct ClusterAccount {
    /// The number of the last change, over all clusters.
    version: u64,
    /// By policy UID.
    entries: BTreeMap<String, Arc<PeerHolding>>,
}

/// How long the policies of a new leader have until their pods have been read. Reads start at once and take seconds; a
/// policy whose pods cannot be read must hold no other one for longer.
const YOUNG_FOR: SignedDuration = SignedDuration::from_mins(1);

#[derive(Debug, Default)]
struct Accounts {
    /// When it was first asked for; `None` before.
    since: Option<Timestamp>,
    /// The number of the last change.
    changes: u64,
    /// By the cluster's ARN.
    clusters: HashMap<String, ClusterAccount>,
    /// The cluster of each policy that was entered; `None` for one that counts nowhere.
    cluster_of: HashMap<String, Option<String>>,
}

/// What other policies hold of a cluster, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct LedgerView {
    /// The other policies with their UIDs.
    pub peers: Vec<(String, Arc<PeerHolding>)>,
    version: u64,
}

/// What the policies of all clusters hold. It is lost with the process; each policy's first reconcile enters it again.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Accounts>);

impl Ledger {
    /// Returns what other policies hold of this cluster.
    #[must_use]
    pub fn view(&self, cluster: &str, own_uid: &str) -> LedgerView {
        let accounts = self.0.lock();
        let account = accounts.clusters.get(cluster);
        account.map_or_else(LedgerView::default, |account| LedgerView {
            version: account.version,
            peers: account
                .entries
                .iter()
                .filter(|(uid, _)| *uid != own_uid)
                .map(|(uid, holding)| (uid.clone(), Arc::clone(holding)))
                .collect(),
        })
    }

    /// Enters what a policy holds of a cluster, as planned on `view`; `None` for a policy that counts nowhere. Returns false
    /// and enters nothing if another policy of the cluster has changed its entry since.
    #[must_use]
    pub fn enter(
        &self,
        uid: &str,
        cluster: &str,
        holding: Option<PeerHolding>,
        view: &LedgerView,
    ) -> bool {
        let mut accounts = self.0.lock();
        if holding.is_some() {
            let account = accounts.clusters.get(cluster);
            let own = account.and_then(|account| account.entries.get(uid));
            let is_same = own.map(|own| &**own) == holding.as_ref();
            if !is_same && account.map_or(0, |account| account.version) != view.version {
                return false;
            }
        }
        accounts.put(uid, cluster, holding);
        true
    }

    /// Returns whether the ledger is so young that the pods of some policies may not have been read yet.
    #[must_use]
    pub fn is_young(&self, now: Timestamp) -> bool {
        let since = *self.0.lock().since.get_or_insert(now);
        now.duration_since(since) < YOUNG_FOR
    }

    /// Enters what a policy holds that has not been reconciled since this replica became the leader. Does nothing if it has
    /// been entered meanwhile.
    pub fn enter_first(&self, uid: &str, cluster: &str, holding: Option<PeerHolding>) {
        let mut accounts = self.0.lock();
        if !accounts.cluster_of.contains_key(uid) {
            accounts.put(uid, cluster, holding);
        }
    }

    /// Enters that a policy counts nowhere.
    pub fn leave(&self, uid: &str) {
        let mut accounts = self.0.lock();
        accounts.remove_entry(uid);
        accounts.cluster_of.insert(uid.to_owned(), None);
    }

    /// Returns those of the policies that were never entered.
    #[must_use]
    pub fn find_missing<'a, T>(&self, policies: impl Iterator<Item = (&'a str, T)>) -> Vec<T> {
        let accounts = self.0.lock();
        policies
            .filter(|(uid, _)| !accounts.cluster_of.contains_key(*uid))
            .map(|(_, policy)| policy)
            .collect()
    }

    /// Removes all other policies.
    pub fn retain(&self, uids: &HashSet<String>) {
        let mut accounts = self.0.lock();
        let gone: Vec<String> = accounts
            .cluster_of
            .keys()
            .filter(|uid| !uids.contains(*uid))
            .cloned()
            .collect();
        for uid in gone {
            accounts.remove_entry(&uid);
            accounts.cluster_of.remove(&uid);
        }
    }

    /// Removes all policies: another replica may have acted in the meantime.
    pub fn clear(&self) {
        *self.0.lock() = Accounts::default();
    }
}

impl Accounts {
    fn put(&mut self, uid: &str, cluster: &str, holding: Option<PeerHolding>) {
        let before = self.cluster_of.get(uid).and_then(Option::as_deref);
        if holding.is_none() || before.is_some_and(|before| before != cluster) {
            self.remove_entry(uid);
        }
        let counted_on = holding.is_some().then(|| cluster.to_owned());
        self.cluster_of.insert(uid.to_owned(), counted_on);
        let Some(holding) = holding else { return };
        let account = self.clusters.entry(cluster.to_owned()).or_default();
        let own = account.entries.get(uid);
        if own.is_none_or(|own| **own != holding) {
            account.entries.insert(uid.to_owned(), Arc::new(holding));
            self.changes += 1;
            account.version = self.changes;
        }
    }

    fn remove_entry(&mut self, uid: &str) {
        let Some(Some(cluster)) = self.cluster_of.get(uid) else {
            return;
        };
        if let Some(account) = self.clusters.get_mut(cluster) {
            account.entries.remove(uid);
            self.changes += 1;
            account.version = self.changes;
            if account.entries.is_empty() {
                self.clusters.remove(cluster);
            }
        }
    }
}

#[cfg(test)]
mod tests;
