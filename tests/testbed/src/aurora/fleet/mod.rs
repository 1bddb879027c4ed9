//! The fleet: real databases under a control plane that publishes their state as Aurora's would.
//!
//! [`Fleet`] holds the state and plays scripts: each operation is a script of [`super::script`], played by a thread
//! that waits for the time of each step and then executes or publishes it. `supervisor` restarts instances that
//! ended by themselves. `control_plane` has the calls of the RDS API and the name server, `commands` those of the
//! testbed alone.

mod commands;
mod control_plane;
mod state;
mod supervisor;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use super::databases::{DatabaseNode, Databases};
use super::event::FleetEvent;
use super::published_state::StateChange;
use super::script::{DatabaseAction, ScriptAction, ScriptStep};
pub use commands::AuroraClusterSpec;
use state::{ClusterState, FleetState};

/// The fleet of a testbed; its clones are the same fleet.
#[derive(Clone)]
pub struct Fleet {
    inner: Arc<FleetInner>,
}

struct FleetInner {
    databases: Box<dyn Databases>,
    /// Profile of clusters that the RDS API makes.
    profile: String,
    started: Instant,
    calls: AtomicU64,
    state: Mutex<FleetState>,
    changed: Condvar,
}

impl Fleet {
    /// An empty fleet. `profile` is for clusters made through the RDS API.
    #[must_use]
    pub fn new(databases: Box<dyn Databases>, profile: &str) -> Self {
        Self {
            inner: Arc::new(FleetInner {
                databases,
                profile: profile.to_owned(),
                started: Instant::now(),
                calls: AtomicU64::new(0),
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, FleetState> {
        // A panic elsewhere leaves values that were whole before: nothing here is changed in halves.
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.inner.started.elapsed()
    }

    fn next_call(&self) -> u64 {
        self.inner.calls.fetch_add(1, Ordering::Relaxed)
    }

    fn databases(&self) -> &dyn Databases {
        self.inner.databases.as_ref()
    }

    /// Changes the published state, and records it.
    fn update_published<T>(
        &self,
        state: &mut FleetState,
        change: impl FnOnce(&mut FleetState) -> T,
    ) -> T {
        let value = change(state);
        let FleetState {
            published: told,
            history,
            ..
        } = state;
        history.record(self.now(), &told.inventory);
        self.inner.changed.notify_all();
        value
    }

    /// Publishes a change now.
    fn publish(&self, cluster: &str, word: StateChange) {
        let mut state = self.state();
        self.update_published(&mut state, |state| state.published.apply(cluster, &word));
        let event = FleetEvent::step(cluster, &ScriptAction::Say(word));
        state.events.push(event);
    }

    fn record_event(&self, event: FleetEvent) {
        eprintln!(
            "{} {} {:?} {} {}",
            event.at,
            event.cluster,
            event.kind,
            event.what,
            event.instance.as_deref().unwrap_or("")
        );
        self.state().events.push(event);
    }

    /// Plays scripts one after the other on a thread of its own; meanwhile the cluster is busy with `name`.
    fn play_scripts(&self, cluster: &str, name: &str, scripts: Vec<Vec<ScriptStep>>) {
        let (id, generation) = {
            let mut state = self.state();
            let id = state.next_number();
            let Some(actual) = state.clusters.get_mut(cluster) else {
                return;
            };
            actual.busy.insert(id, name.to_owned());
            (id, actual.generation)
        };
        let (fleet, cluster) = (self.clone(), cluster.to_owned());
        std::thread::spawn(move || {
            for script in scripts {
                fleet.run_script(&cluster, generation, script);
            }
            let mut state = fleet.state();
            if let Some(actual) = state.clusters.get_mut(&cluster) {
                actual.busy.remove(&id);
            }
            fleet.inner.changed.notify_all();
        });
    }

    fn run_script(&self, cluster: &str, generation: u64, script: Vec<ScriptStep>) {
        let start = Instant::now();
        for step in script {
            if !self.wait_until(cluster, generation, start + step.after) {
                return;
            }
            match step.what {
                ScriptAction::Say(word) => self.publish(cluster, word),
                ScriptAction::Do(act) => self.run_action(cluster, act),
            }
        }
    }

    /// Waits for a step's time; false if the cluster is gone.
    fn wait_until(&self, cluster: &str, generation: u64, time: Instant) -> bool {
        let mut state = self.state();
        loop {
            let there = state
                .clusters
                .get(cluster)
                .is_some_and(|actual| actual.generation == generation);
            let left = time.saturating_duration_since(Instant::now());
            if !there || left.is_zero() {
                return there;
            }
            state = self
                .inner
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Executes one action on a cluster's databases, and records the result: the script continues either way, as Aurora's does.
    fn run_action(&self, cluster: &str, act: DatabaseAction) {
        let event = match self.perform_action(cluster, &act) {
            Ok(()) => FleetEvent::step(cluster, &ScriptAction::Do(act)),
            Err(error) => FleetEvent::failed(cluster, &act, &error),
        };
        self.record_event(event);
    }

    fn node(&self, cluster: &str, name: &str) -> Result<DatabaseNode> {
        self.state()
            .clusters
            .get(cluster)
            .and_then(|actual| actual.nodes.get(name).cloned())
            .with_context(|| format!("the cluster {cluster} has no instance {name}"))
    }

    fn writer(&self, cluster: &str) -> Result<DatabaseNode> {
        let name = self
            .state()
            .clusters
            .get(cluster)
            .and_then(|actual| actual.writer.clone())
            .ok_or_else(|| anyhow!("the cluster {cluster} has no writer"))?;
        self.node(cluster, &name)
    }

    fn update_cluster(&self, cluster: &str, change: impl FnOnce(&mut ClusterState)) {
        if let Some(actual) = self.state().clusters.get_mut(cluster) {
            change(actual);
        }
    }

    /// Returns the lock to hold while the cluster's databases are changed.
    fn cluster_lock(&self, cluster: &str) -> Result<Arc<Mutex<()>>> {
        let state = self.state();
        let actual = state
            .clusters
            .get(cluster)
            .with_context(|| format!("there is no cluster {cluster}"))?;
        Ok(Arc::clone(&actual.order))
    }

    fn perform_action(&self, cluster: &str, act: &DatabaseAction) -> Result<()> {
        let order = self.cluster_lock(cluster)?;
        let _alone = order.lock().unwrap_or_else(PoisonError::into_inner);
        let name = act.describe().1;
        let node = self.node(cluster, name)?;
        let databases = self.databases();
        match act {
            DatabaseAction::Found(_) => {
                databases.create_writer(&node)?;
                self.update_cluster(cluster, |actual| actual.writer = Some(node.name.clone()));
            }
            DatabaseAction::Join(_) => databases.join(&node, &self.writer(cluster)?)?,
            DatabaseAction::Stop(_) => databases.stop(&node)?,
            DatabaseAction::Promote(_) => return self.promote(cluster, &node, true),
            DatabaseAction::PromoteLive(_) => return self.promote(cluster, &node, false),
            DatabaseAction::Rejoin(_) => databases.rejoin(&node, &self.writer(cluster)?)?,
            DatabaseAction::Restart(_) => {
                let writer = self.writer(cluster)?;
                if writer.name == node.name {
                    databases.restart(&node)?;
                } else {
                    databases.rejoin(&node, &writer)?;
                }
            }
            DatabaseAction::Remove(_) => {
                databases.remove(&node)?;
                self.update_cluster(cluster, |actual| {
                    actual.nodes.remove(name);
                    actual.joined.remove(name);
                    actual.partitioned.remove(name);
                    actual.stopped.remove(name);
                    actual.dead.remove(name);
                    actual.writer = actual.writer.take().filter(|writer| writer != name);
                });
                return Ok(());
            }
        }
        self.update_cluster(cluster, |actual| {
            if matches!(act, DatabaseAction::Stop(_)) {
                actual.stopped.insert(node.name.clone());
            } else {
                actual.joined.insert(node.name.clone());
                actual.stopped.remove(name);
                actual.dead.remove(name);
            }
        });
        Ok(())
    }

    fn promote(&self, cluster: &str, node: &DatabaseNode, restart: bool) -> Result<()> {
        self.databases().promote(node, restart)?;
        let mut others = Vec::new();
        self.update_cluster(cluster, |actual| {
            let old = actual.writer.replace(node.name.clone());
            actual.dead.remove(&node.name);
            others = actual
                .nodes
                .values()
                .filter(|other| actual.joined.contains(&other.name))
                .filter(|other| other.name != node.name && Some(&other.name) != old.as_ref())
                .cloned()
                .collect();
        });
        others
            .iter()
            .try_for_each(|other| self.databases().follow(other, node))
    }
}
