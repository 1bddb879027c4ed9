//! Samples which client holds connections to which instance, from the databases' own side, five times a second.
//!
//! All sessions of applications count; those of the testbed itself (its role, its replication) do not. Samples are
//! also joined into one record per connection, with its first and last sight and the role of its instance at both,
//! which answers most questions.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use postgres::Client;
use serde::{Deserialize, Serialize};

use super::databases::DatabaseNode;
use super::event;
use super::fleet::Fleet;
use super::postgres::session;

/// Time between samples.
pub const PERIOD: Duration = Duration::from_millis(200);

/// One row a session of an application; a row without client says only the role.
const QUERY: &str = "
    SELECT role.standby, held.client, held.port, held.login, held.application, held.started
    FROM (SELECT pg_is_in_recovery() AS standby) role
    LEFT JOIN (
        SELECT host(client_addr) AS client, client_port AS port, usename::text AS login,
               application_name AS application,
               (extract(epoch FROM backend_start) * 1000)::bigint AS started
        FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND client_addr IS NOT NULL AND usename <> 'testbed'
    ) held ON true";

/// All instances at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionSample {
    /// Milliseconds since 1970; in a record, since its start.
    pub at: i64,
    /// By instance; none: it did not answer.
    pub instances: BTreeMap<String, Option<InstanceSample>>,
}

/// One instance at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceSample {
    /// Does it read only?
    pub standby: bool,
    /// By the client's address.
    pub clients: BTreeMap<String, ClientConnections>,
}

/// What one client holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientConnections {
    /// Connections.
    pub count: usize,
    /// Their local ports on the client's side, ascending.
    pub ports: Vec<u16>,
}

/// One connection from its first to its last sight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionRecord {
    /// The instance.
    pub instance: String,
    /// The client's address.
    pub client: String,
    /// The client's port.
    pub port: u16,
    /// The role it logged in as.
    pub user: String,
    /// What it called itself when first seen: apps of the testbed say `POD/reader` or `POD/writer`.
    #[serde(default)]
    pub application: String,
    /// `backend_start`, as samples count time.
    pub started: i64,
    /// First sample with it.
    pub first: i64,
    /// Last sample with it.
    pub last: i64,
    /// Did the instance read only at its first sight?
    pub standby_first: bool,
    /// And at its last?
    pub standby_last: bool,
}

/// What was seen since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    /// In the order of time.
    pub samples: Vec<ConnectionSample>,
    /// In the order of their first sight.
    pub lives: Vec<ConnectionRecord>,
}

/// A session as a database reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSession {
    /// The client's address.
    pub client: String,
    /// The client's port.
    pub port: u16,
    /// The role.
    pub user: String,
    /// `application_name`.
    pub application: String,
    /// `backend_start`, milliseconds since 1970.
    pub started: i64,
}

impl Observation {
    /// Adds the answers of the instances at a moment.
    pub fn add_sample(
        &mut self,
        at: i64,
        told: BTreeMap<String, Option<(bool, Vec<DatabaseSession>)>>,
    ) {
        let mut sample = ConnectionSample {
            at,
            ..ConnectionSample::default()
        };
        for (instance, told) in told {
            let seen = told.map(|(standby, sessions)| {
                for session in &sessions {
                    self.record_session(&instance, at, standby, session);
                }
                count_clients(standby, &sessions)
            });
            sample.instances.insert(instance, seen);
        }
        self.samples.push(sample);
    }

    fn record_session(
        &mut self,
        instance: &str,
        at: i64,
        standby: bool,
        session: &DatabaseSession,
    ) {
        // The same port may come again, but not with the same start. The newest are at the end.
        let known = self.lives.iter_mut().rev().find(|life| {
            life.started == session.started
                && life.port == session.port
                && life.client == session.client
                && life.instance == instance
        });
        if let Some(life) = known {
            life.last = at;
            life.standby_last = standby;
            // A session is seen before its name is set.
            life.application.clone_from(&session.application);
            return;
        }
        self.lives.push(ConnectionRecord {
            instance: instance.to_owned(),
            client: session.client.clone(),
            port: session.port,
            user: session.user.clone(),
            application: session.application.clone(),
            started: session.started,
            first: at,
            last: at,
            standby_first: standby,
            standby_last: standby,
        });
    }

    /// The same with all times counted from `start`.
    #[must_use]
    pub fn since(mut self, start: i64) -> Self {
        for sample in &mut self.samples {
            sample.at -= start;
        }
        for life in &mut self.lives {
            life.started -= start;
            life.first -= start;
            life.last -= start;
        }
        self
    }
}

fn count_clients(standby: bool, sessions: &[DatabaseSession]) -> InstanceSample {
    let mut clients: BTreeMap<String, ClientConnections> = BTreeMap::new();
    for session in sessions {
        let held = clients.entry(session.client.clone()).or_default();
        held.count += 1;
        held.ports.push(session.port);
    }
    for held in clients.values_mut() {
        held.ports.sort_unstable();
    }
    InstanceSample { standby, clients }
}

impl ConnectionSample {
    /// Connections to an instance, over all clients; none if it did not answer.
    #[must_use]
    pub fn connections(&self, instance: &str) -> Option<usize> {
        let seen = self.instances.get(instance)?.as_ref()?;
        Some(seen.clients.values().map(|held| held.count).sum())
    }
}

fn query_sessions(client: &mut Client) -> Result<(bool, Vec<DatabaseSession>)> {
    let rows = client.query(QUERY, &[])?;
    let standby = rows.first().is_some_and(|row| row.get("standby"));
    let sessions = rows
        .iter()
        .filter_map(|row| {
            Some(DatabaseSession {
                client: row.get::<_, Option<String>>("client")?,
                port: u16::try_from(row.get::<_, Option<i32>>("port")?).ok()?,
                user: row.get::<_, Option<String>>("login")?,
                application: row
                    .get::<_, Option<String>>("application")
                    .unwrap_or_default(),
                started: row.get::<_, Option<i64>>("started")?,
            })
        })
        .collect();
    Ok((standby, sessions))
}

/// What the testbed asks each instance now, by sessions that it keeps open.
#[derive(Default)]
struct SampledSessions(BTreeMap<String, Client>);

impl SampledSessions {
    fn query(&mut self, node: &DatabaseNode) -> Option<(bool, Vec<DatabaseSession>)> {
        if !self.0.contains_key(&node.name) {
            let client = session::open_session(node.inner(), "postgres").ok()?;
            self.0.insert(node.name.clone(), client);
        }
        let told = query_sessions(self.0.get_mut(&node.name)?);
        if told.is_err() {
            // It restarts, or is gone: asked again at the next sample.
            self.0.remove(&node.name);
        }
        told.ok()
    }
}

/// Samples the instances of one cluster until it is stopped or dropped.
pub struct ConnectionObserver {
    shared: Arc<ObserverShared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct ObserverShared {
    stop: Mutex<bool>,
    stopped: Condvar,
    seen: Mutex<Observation>,
}

impl ConnectionObserver {
    /// Starts, inside the testbed's network.
    #[must_use]
    pub fn start(fleet: &Fleet, cluster: &str) -> Self {
        let shared = Arc::<ObserverShared>::default();
        let thread = std::thread::spawn({
            let (shared, fleet, cluster) = (Arc::clone(&shared), fleet.clone(), cluster.to_owned());
            move || shared.run(&fleet, &cluster)
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// What was seen so far.
    #[must_use]
    pub fn observation(&self) -> Observation {
        self.shared
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The newest sample.
    #[must_use]
    pub fn latest_sample(&self) -> Option<ConnectionSample> {
        let seen = self
            .shared
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        seen.samples.last().cloned()
    }

    fn stop(&mut self) {
        *self
            .shared
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.stopped.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for ConnectionObserver {
    fn drop(&mut self) {
        self.stop();
    }
}

impl ObserverShared {
    fn run(&self, fleet: &Fleet, cluster: &str) {
        let mut sessions = SampledSessions::default();
        let mut next = Instant::now();
        while self.wait_until(next) {
            let at = event::now_millis();
            let told = fleet
                .nodes(cluster)
                .iter()
                .map(|node| (node.name.clone(), sessions.query(node)))
                .collect();
            self.seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add_sample(at, told);
            // After a delay the pace goes on from now: samples are dated, none is made up for.
            next = (next + PERIOD).max(Instant::now());
        }
    }

    /// Returns false when it must stop.
    fn wait_until(&self, time: Instant) -> bool {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = time.saturating_duration_since(Instant::now());
            if *stop || left.is_zero() {
                return !*stop;
            }
            stop = self
                .stopped
                .wait_timeout(stop, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

#[cfg(test)]
mod tests;
