//! Whose endpoints are looked up next at the fast rate: whole batches of looks, in fair turns.
//!
//! A gate wants eight looks within seconds. If all clusters that wait shared the rate look by look, then from some
//! number on none of them would ever have eight that are fresh, and each would hold all others without end. So a
//! cluster is looked up eight times in a row, then it is another one's turn: first one of the namespace that has waited
//! longest, and of its clusters the one that has. A namespace with a hundred clusters delays others no more than one
//! with a single cluster.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::limiter::OVERTAKING;
use super::question::DnsQuestion;
use super::requests::WantedBatch;
use dbbalance_core::dns::AGREEING_LOOKS;

/// After how many turns a namespace that has not had one since is forgotten.
const REMEMBERED_TURNS: u64 = 10_000;

/// When a cluster had its last turn. Turns are counted from 1.
#[derive(Debug, Default)]
pub(super) struct LastTurn(AtomicU64);

/// A cluster that takes turns.
pub(super) trait WaitingCluster: fmt::Debug + Send + Sync {
    /// Returns the looks that it wants now.
    fn wanted_batch(&self, now: Instant) -> Option<WantedBatch>;
    /// Returns when it had its last turn.
    fn last_turn(&self) -> &LastTurn;
}

/// The clusters that wait for a batch, and how many endpoints may be looked up at once.
#[derive(Debug)]
pub(super) struct BatchQueue {
    /// So many endpoints take what routine look-ups leave of the rate. A batch may exceed it by one endpoint.
    capacity: usize,
    state: Mutex<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    in_use: usize,
    turn: u64,
    waiting: Vec<WaitingEntry>,
    /// When each namespace had its last turn.
    namespaces: HashMap<Option<String>, u64>,
}

#[derive(Debug)]
struct WaitingEntry {
    cluster: Arc<dyn WaitingCluster>,
    grant: oneshot::Sender<GrantedBatch>,
}

/// The right to look up these endpoints now, until it is dropped.
#[derive(Debug)]
pub(super) struct GrantedBatch {
    pub(super) questions: Vec<DnsQuestion>,
    queue: Arc<BatchQueue>,
}

impl Drop for GrantedBatch {
    fn drop(&mut self) {
        self.queue.state.lock().in_use -= self.questions.len();
        self.queue.grant_next();
    }
}

impl BatchQueue {
    /// Returns a queue for so many lookups a second.
    pub(super) fn new(lookups_per_second: u32) -> Self {
        let rate = usize::try_from(lookups_per_second).unwrap_or(usize::MAX);
        Self {
            capacity: (rate * OVERTAKING / (OVERTAKING + 1) / AGREEING_LOOKS).max(1),
            state: Mutex::default(),
        }
    }

    /// Waits for the cluster's turn. Returns `None` if it wants no batch any more.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        cluster: Arc<dyn WaitingCluster>,
    ) -> Option<GrantedBatch> {
        let (grant, granted) = oneshot::channel();
        let entry = WaitingEntry { cluster, grant };
        self.state.lock().waiting.push(entry);
        self.grant_next();
        granted.await.ok()
    }

    /// Returns whether a cluster waits for its turn.
    pub(super) fn is_contended(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }

    fn grant_next(self: &Arc<Self>) {
        let now = Instant::now();
        let mut granted = Vec::new();
        {
            let mut state = self.state.lock();
            while state.in_use < self.capacity
                && let Some((entry, questions)) = state.take_next(now)
            {
                state.in_use += questions.len();
                let batch = GrantedBatch {
                    questions,
                    queue: Arc::clone(self),
                };
                granted.push((entry.grant, batch));
            }
        }
        // Without the lock: a batch that its cluster does not take any more is dropped here, and grants the next.
        for (grant, batch) in granted {
            drop(grant.send(batch));
        }
    }
}

impl QueueState {
    /// Takes the cluster whose turn it is, and drops those that want nothing any more.
    fn take_next(&mut self, now: Instant) -> Option<(WaitingEntry, Vec<DnsQuestion>)> {
        let mut wants = Vec::new();
        self.waiting.retain(|entry| {
            let wanted = entry.cluster.wanted_batch(now);
            let stays = wanted.is_some() && !entry.grant.is_closed();
            wants.extend(wanted.filter(|_| stays));
            stays
        });
        let last_turns = self.waiting.iter().map(|e| e.cluster.last_turn().get());
        let last_turns: Vec<u64> = last_turns.collect();
        let (index, namespace) = choose_next(&wants, &last_turns, &self.namespaces)?;
        self.turn += 1;
        let turn = self.turn;
        self.namespaces.insert(namespace, turn);
        self.namespaces
            .retain(|_, last| turn.saturating_sub(*last) <= REMEMBERED_TURNS);
        let entry = self.waiting.swap_remove(index);
        entry.cluster.last_turn().set(turn);
        Some((entry, wants.swap_remove(index).questions))
    }
}

impl LastTurn {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, turn: u64) {
        self.0.store(turn, Ordering::Relaxed);
    }
}

/// Chooses among what clusters want, with the last turn of each, and returns its index and the namespace whose turn it
/// is: what is held goes before what is only expected; then the namespace that has waited longest; then the cluster.
fn choose_next(
    wants: &[WantedBatch],
    last_turns: &[u64],
    namespaces: &HashMap<Option<String>, u64>,
) -> Option<(usize, Option<String>)> {
    let urgency = wants.iter().map(|w| w.urgency).max()?;
    let turns = wants.iter().zip(last_turns).enumerate();
    turns
        .filter(|(_, (wanted, _))| wanted.urgency == urgency)
        .flat_map(|(index, (wanted, last))| {
            let of = wanted.namespaces.iter();
            of.map(move |namespace| {
                let waits_since = namespaces.get(namespace).copied().unwrap_or(0);
                (waits_since, namespace, *last, index)
            })
        })
        .min()
        .map(|(_, namespace, _, index)| (index, namespace.clone()))
}

#[cfg(test)]
mod tests;
