//! The fleet as the RDS API and the name server see it.
//!
//! Answers and calls of [`ControlPlane`], with the error codes of the RDS API reference. A call returns at once, what
//! it began takes its time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::address::PORT;
use super::super::api::fault::{self, cluster_state, instance_state, no_cluster, no_instance};
use super::super::databases::Node;
use super::super::estate::{
    Cluster, ControlPlane, Estate, Fault, Instance, NewCluster, NewInstance, Zone,
};
use super::super::event::Event;
use super::super::moods;
use super::super::script::{self, Cast, FailoverOptions};
use super::super::timeline::Profile;
use super::super::told::{Word, new_cluster};
use super::Fleet;
use super::state::{Actual, State};

/// `max_connections` of instances that the RDS API makes.
const MAX_CONNECTIONS: u16 = 500;

/// Now, as the API writes it.
fn created() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second())
        .unwrap_or(now)
        .to_string()
}

impl Fleet {
    /// Adds an empty cluster.
    pub(super) fn add_cluster(
        &self,
        new: &NewCluster,
        profile: Profile,
        max_connections: u16,
    ) -> Result<Cluster, Fault> {
        let mut state = self.state();
        if state.told.estate.clusters.contains_key(&new.identifier) {
            return Err(fault::cluster_exists());
        }
        let generation = state.number();
        let id = state.resource_id("cluster", &new.identifier);
        let cluster = new_cluster(&new.identifier, &new.engine, id, &created());
        state.clusters.insert(
            new.identifier.clone(),
            Actual {
                profile,
                max_connections,
                writer: None,
                nodes: BTreeMap::new(),
                joined: BTreeSet::new(),
                partitioned: BTreeSet::new(),
                dead: BTreeSet::new(),
                stopped: BTreeSet::new(),
                busy: BTreeMap::new(),
                last_number: 0,
                generation,
                order: Arc::default(),
            },
        );
        self.tell(&mut state, |state| state.told.found(cluster.clone()));
        Ok(cluster)
    }

    /// Lists an instance as `creating` and gives it an address. It is not begun yet.
    pub(super) fn list_instance(
        &self,
        new: &NewInstance,
        cluster: &str,
    ) -> Result<(Instance, Node, bool), Fault> {
        let mut state = self.state();
        if state.told.estate.instances.contains_key(&new.identifier) {
            return Err(fault::instance_exists());
        }
        let Some(actual) = state.clusters.get(cluster) else {
            return Err(no_cluster(cluster));
        };
        let (first, max_connections) = (actual.nodes.is_empty(), actual.max_connections);
        let zone = char::from(b"abc"[actual.nodes.len() % 3]);
        let address = state.address().ok_or_else(|| Fault {
            status: 400,
            code: "InstanceQuotaExceeded",
            message: "The testbed has no free address for another instance.".to_owned(),
        })?;
        let node = Node {
            cluster: cluster.to_owned(),
            name: new.identifier.clone(),
            address,
            max_connections,
        };
        let instance = Instance {
            identifier: new.identifier.clone(),
            resource_id: state.resource_id("db", &new.identifier),
            status: "creating".to_owned(),
            class: new.class.clone(),
            engine: new.engine.clone(),
            cluster: Some(cluster.to_owned()),
            has_endpoint: false,
            port: PORT,
            zone: format!("eu-west-1{zone}"),
            tier: new.tier,
            created: created(),
        };
        if let Some(actual) = state.clusters.get_mut(cluster) {
            actual.nodes.insert(node.name.clone(), node.clone());
        }
        self.tell(&mut state, |state| state.told.listed(instance.clone()));
        Ok((instance, node, first))
    }

    /// Begins an instance that is listed.
    pub(super) fn begin_instance(&self, node: &Node, first: bool, dns_delay: Option<f64>) {
        let Some(profile) = self.profile(&node.cluster) else {
            return;
        };
        let script = script::create(&profile, &node.name, node.address, first, dns_delay);
        self.note(Event::asked(&node.cluster, "create", Some(&node.name)));
        self.play(
            &node.cluster,
            &format!("create {}", node.name),
            vec![script],
        );
    }

    pub(super) fn profile(&self, cluster: &str) -> Option<Profile> {
        Some(self.state().clusters.get(cluster)?.profile.clone())
    }

    /// Begins a failover, if the cluster is in a state for one.
    pub(super) fn begin_failover(
        &self,
        cluster: &str,
        target: Option<&str>,
        options: &FailoverOptions,
    ) -> Result<Cluster, Fault> {
        let (row, script, target) = {
            let state = self.state();
            let row = state
                .told
                .estate
                .clusters
                .get(cluster)
                .ok_or_else(|| no_cluster(cluster))?;
            let (old, target) = cast(&state, row, target)?;
            let actual = &state.clusters[cluster];
            let parts = Cast {
                old: &old,
                target: &target,
                dead: actual.dead.contains(&old),
            };
            let script = script::failover(&actual.profile, options, parts);
            (row.clone(), script, target)
        };
        self.note(Event::asked(cluster, "failover", Some(&target)));
        self.play(cluster, FAILOVER, vec![script]);
        Ok(row)
    }
}

/// What a failover is called while it is under way.
pub(super) const FAILOVER: &str = "failover";

/// Old writer and target of a failover, or why there is none.
fn cast(state: &State, row: &Cluster, target: Option<&str>) -> Result<(String, String), Fault> {
    let name = &row.identifier;
    let actual = state.clusters.get(name).ok_or_else(|| no_cluster(name))?;
    if actual.busy.values().any(|what| what == FAILOVER) || row.status != "available" {
        return Err(cluster_state(format!(
            "DB cluster {name} isn't in a valid state for failover."
        )));
    }
    let Some(old) = actual.writer.clone() else {
        return Err(cluster_state(format!("DB cluster {name} has no writer.")));
    };
    let target = match target {
        Some(target) if !row.members.iter().any(|member| member.instance == target) => {
            return Err(no_instance(target));
        }
        Some(target) if target == old => {
            return Err(cluster_state(format!(
                "{target} is already the writer of DB cluster {name}."
            )));
        }
        Some(target) if !state.may_lead(name, target) => {
            return Err(instance_state(format!("{target} is not available.")));
        }
        Some(target) => target.to_owned(),
        None => state.successor(name).ok_or_else(|| {
            cluster_state(format!("DB cluster {name} has no reader to fail over to."))
        })?,
    };
    Ok((old, target))
}

impl ControlPlane for Fleet {
    fn estate(&self) -> Estate {
        let (now, call) = (self.now(), self.call());
        let state = self.state();
        moods::answer(&state.history, &state.moods, now, call)
    }

    fn zone(&self) -> Zone {
        self.state().told.zone.clone()
    }

    fn create_cluster(&self, new: &NewCluster) -> Result<Cluster, Fault> {
        let profile = Profile::named(&self.inner.profile).map_err(|e| Fault {
            status: 500,
            code: "InternalFailure",
            message: format!("{e:#}"),
        })?;
        self.add_cluster(new, profile, MAX_CONNECTIONS)
    }

    fn create_instance(&self, new: &NewInstance) -> Result<Instance, Fault> {
        let Some(cluster) = &new.cluster else {
            return Err(fault::bad_combination(
                "The testbed has no instances outside of clusters.",
            ));
        };
        let (instance, node, first) = self.list_instance(new, cluster)?;
        self.begin_instance(&node, first, None);
        Ok(instance)
    }

    fn delete_instance(&self, identifier: &str) -> Result<Instance, Fault> {
        let (cluster, failover) = {
            let state = self.state();
            let row = state
                .told
                .estate
                .instances
                .get(identifier)
                .ok_or_else(|| no_instance(identifier))?;
            if row.status == "deleting" {
                return Err(instance_state(format!(
                    "Instance {identifier} is already being deleted."
                )));
            }
            let cluster = state
                .cluster_of(identifier)
                .ok_or_else(|| no_instance(identifier))?
                .to_owned();
            let actual = &state.clusters[&cluster];
            let successor = state.successor(&cluster);
            let failover = match successor {
                Some(target) if actual.writer.as_deref() == Some(identifier) => {
                    let parts = Cast {
                        old: identifier,
                        target: &target,
                        dead: actual.dead.contains(identifier),
                    };
                    Some(script::bequeath(&actual.profile, parts))
                }
                _ => None,
            };
            (cluster, failover)
        };
        // Told at once, as the reply tells it.
        self.note(Event::asked(&cluster, "delete", Some(identifier)));
        self.say(&cluster, Word::Instance(identifier.to_owned(), "deleting"));
        let row = self.state().told.estate.instances.get(identifier).cloned();
        if let Some(profile) = self.profile(&cluster) {
            let name = if failover.is_some() {
                FAILOVER.to_owned()
            } else {
                format!("delete {identifier}")
            };
            let scripts = failover
                .into_iter()
                .chain([script::delete(&profile, identifier)])
                .collect();
            self.play(&cluster, &name, scripts);
        }
        row.ok_or_else(|| no_instance(identifier))
    }

    fn delete_cluster(&self, identifier: &str) -> Result<Cluster, Fault> {
        let mut state = self.state();
        let row = state
            .told
            .estate
            .clusters
            .get(identifier)
            .cloned()
            .ok_or_else(|| no_cluster(identifier))?;
        if !row.members.is_empty() {
            return Err(cluster_state(
                "Cluster cannot be deleted, it still contains DB instances in non-deleting state."
                    .to_owned(),
            ));
        }
        state.clusters.remove(identifier);
        state.moods.remove(identifier);
        self.tell(&mut state, |state| state.told.forget(identifier));
        Ok(Cluster {
            status: "deleting".to_owned(),
            ..row
        })
    }

    fn failover(&self, cluster: &str, target: Option<&str>) -> Result<Cluster, Fault> {
        self.begin_failover(cluster, target, &FailoverOptions::default())
    }

    fn reboot(&self, identifier: &str) -> Result<Instance, Fault> {
        let (cluster, script, row) = {
            let state = self.state();
            let row = state
                .told
                .estate
                .instances
                .get(identifier)
                .ok_or_else(|| no_instance(identifier))?;
            if row.status != "available" {
                return Err(instance_state(format!(
                    "Database instance is not in available state: {identifier} is {}.",
                    row.status
                )));
            }
            let cluster = state
                .cluster_of(identifier)
                .ok_or_else(|| no_instance(identifier))?;
            let script = script::reboot(&state.clusters[cluster].profile, identifier);
            (cluster.to_owned(), script, row.clone())
        };
        self.note(Event::asked(&cluster, "reboot", Some(identifier)));
        self.play(&cluster, &format!("reboot {identifier}"), vec![script]);
        Ok(Instance {
            status: "rebooting".to_owned(),
            ..row
        })
    }
}
