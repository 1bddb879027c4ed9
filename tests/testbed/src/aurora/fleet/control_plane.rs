//! The fleet as the RDS API and the name server see it.
//!
//! Implements [`ControlPlane`], with the error codes of the RDS API reference. A call returns at once; what it started
//! takes its time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::address::PORT;
use super::super::api::fault::{self, cluster_state, instance_state, no_cluster, no_instance};
use super::super::cluster_faults;
use super::super::databases::DatabaseNode;
use super::super::event::FleetEvent;
use super::super::inventory::{
    ApiError, ClusterRecord, ControlPlane, DnsZone, InstanceRecord, Inventory, NewCluster,
    NewInstance,
};
use super::super::published_state::{StateChange, new_cluster};
use super::super::script::{self, FailoverOptions, FailoverRoles};
use super::super::timeline::TimingProfile;
use super::Fleet;
use super::state::{ClusterState, FleetState};

/// `max_connections` of instances that the RDS API makes.
const MAX_CONNECTIONS: u16 = 500;

/// Now, as the API writes it.
fn created_now() -> String {
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
        profile: TimingProfile,
        max_connections: u16,
    ) -> Result<ClusterRecord, ApiError> {
        let mut state = self.state();
        if state
            .published
            .inventory
            .clusters
            .contains_key(&new.identifier)
        {
            return Err(fault::cluster_exists());
        }
        let generation = state.next_number();
        let id = state.resource_id("cluster", &new.identifier);
        let cluster = new_cluster(&new.identifier, &new.engine, id, &created_now());
        state.clusters.insert(
            new.identifier.clone(),
            ClusterState {
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
        self.update_published(&mut state, |state| {
            state.published.add_cluster(cluster.clone());
        });
        Ok(cluster)
    }

    /// Lists an instance as `creating` and gives it an address. Its creation does not start yet.
    pub(super) fn list_instance(
        &self,
        new: &NewInstance,
        cluster: &str,
    ) -> Result<(InstanceRecord, DatabaseNode, bool), ApiError> {
        let mut state = self.state();
        if state
            .published
            .inventory
            .instances
            .contains_key(&new.identifier)
        {
            return Err(fault::instance_exists());
        }
        let Some(actual) = state.clusters.get(cluster) else {
            return Err(no_cluster(cluster));
        };
        let (first, max_connections) = (actual.nodes.is_empty(), actual.max_connections);
        let zone = char::from(b"abc"[actual.nodes.len() % 3]);
        let address = state.allocate_address().ok_or_else(|| ApiError {
            status: 400,
            code: "InstanceQuotaExceeded",
            message: "The testbed has no free address for another instance.".to_owned(),
        })?;
        let node = DatabaseNode {
            cluster: cluster.to_owned(),
            name: new.identifier.clone(),
            address,
            max_connections,
        };
        let instance = InstanceRecord {
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
            created: created_now(),
        };
        if let Some(actual) = state.clusters.get_mut(cluster) {
            actual.nodes.insert(node.name.clone(), node.clone());
        }
        self.update_published(&mut state, |state| {
            state.published.add_instance(instance.clone());
        });
        Ok((instance, node, first))
    }

    /// Starts the creation of an instance that is listed.
    pub(super) fn begin_instance(&self, node: &DatabaseNode, first: bool, dns_delay: Option<f64>) {
        let Some(profile) = self.profile(&node.cluster) else {
            return;
        };
        let script = script::create_script(&profile, &node.name, node.address, first, dns_delay);
        self.record_event(FleetEvent::asked(&node.cluster, "create", Some(&node.name)));
        self.play_scripts(
            &node.cluster,
            &format!("create {}", node.name),
            vec![script],
        );
    }

    pub(super) fn profile(&self, cluster: &str) -> Option<TimingProfile> {
        Some(self.state().clusters.get(cluster)?.profile.clone())
    }

    /// Starts a failover, if the state of the cluster permits it.
    pub(super) fn begin_failover(
        &self,
        cluster: &str,
        target: Option<&str>,
        options: &FailoverOptions,
    ) -> Result<ClusterRecord, ApiError> {
        let (row, script, target) = {
            let state = self.state();
            let row = state
                .published
                .inventory
                .clusters
                .get(cluster)
                .ok_or_else(|| no_cluster(cluster))?;
            let (old, target) = choose_roles(&state, row, target)?;
            let actual = &state.clusters[cluster];
            let parts = FailoverRoles {
                old: &old,
                target: &target,
                dead: actual.dead.contains(&old),
            };
            let script = script::failover_script(&actual.profile, options, parts);
            (row.clone(), script, target)
        };
        self.record_event(FleetEvent::asked(cluster, "failover", Some(&target)));
        self.play_scripts(cluster, FAILOVER, vec![script]);
        Ok(row)
    }
}

/// What a failover is called while it is under way.
pub(super) const FAILOVER: &str = "failover";

/// Old writer and target of a failover, or why there is none.
fn choose_roles(
    state: &FleetState,
    row: &ClusterRecord,
    target: Option<&str>,
) -> Result<(String, String), ApiError> {
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
        Some(target) if !state.is_promotable(name, target) => {
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
    fn inventory(&self) -> Inventory {
        let (now, call) = (self.now(), self.next_call());
        let state = self.state();
        cluster_faults::apply_faults(&state.history, &state.faults, now, call)
    }

    fn dns_zone(&self) -> DnsZone {
        self.state().published.dns_zone.clone()
    }

    fn create_cluster(&self, new: &NewCluster) -> Result<ClusterRecord, ApiError> {
        let profile = TimingProfile::named(&self.inner.profile).map_err(|e| ApiError {
            status: 500,
            code: "InternalFailure",
            message: format!("{e:#}"),
        })?;
        self.add_cluster(new, profile, MAX_CONNECTIONS)
    }

    fn create_instance(&self, new: &NewInstance) -> Result<InstanceRecord, ApiError> {
        let Some(cluster) = &new.cluster else {
            return Err(fault::bad_combination(
                "The testbed has no instances outside of clusters.",
            ));
        };
        let (instance, node, first) = self.list_instance(new, cluster)?;
        self.begin_instance(&node, first, None);
        Ok(instance)
    }

    fn delete_instance(&self, identifier: &str) -> Result<InstanceRecord, ApiError> {
        let (cluster, failover) = {
            let state = self.state();
            let row = state
                .published
                .inventory
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
                    let parts = FailoverRoles {
                        old: identifier,
                        target: &target,
                        dead: actual.dead.contains(identifier),
                    };
                    Some(script::handover_script(&actual.profile, parts))
                }
                _ => None,
            };
            (cluster, failover)
        };
        // Published at once, as in the reply.
        self.record_event(FleetEvent::asked(&cluster, "delete", Some(identifier)));
        self.publish(
            &cluster,
            StateChange::Instance(identifier.to_owned(), "deleting"),
        );
        let row = self
            .state()
            .published
            .inventory
            .instances
            .get(identifier)
            .cloned();
        if let Some(profile) = self.profile(&cluster) {
            let name = if failover.is_some() {
                FAILOVER.to_owned()
            } else {
                format!("delete {identifier}")
            };
            let scripts = failover
                .into_iter()
                .chain([script::delete_script(&profile, identifier)])
                .collect();
            self.play_scripts(&cluster, &name, scripts);
        }
        row.ok_or_else(|| no_instance(identifier))
    }

    fn delete_cluster(&self, identifier: &str) -> Result<ClusterRecord, ApiError> {
        let mut state = self.state();
        let row = state
            .published
            .inventory
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
        state.faults.remove(identifier);
        self.update_published(&mut state, |state| {
            state.published.remove_cluster(identifier);
        });
        Ok(ClusterRecord {
            status: "deleting".to_owned(),
            ..row
        })
    }

    fn failover(&self, cluster: &str, target: Option<&str>) -> Result<ClusterRecord, ApiError> {
        self.begin_failover(cluster, target, &FailoverOptions::default())
    }

    fn reboot(&self, identifier: &str) -> Result<InstanceRecord, ApiError> {
        let (cluster, script, row) = {
            let state = self.state();
            let row = state
                .published
                .inventory
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
            let script = script::reboot_script(&state.clusters[cluster].profile, identifier);
            (cluster.to_owned(), script, row.clone())
        };
        self.record_event(FleetEvent::asked(&cluster, "reboot", Some(identifier)));
        self.play_scripts(&cluster, &format!("reboot {identifier}"), vec![script]);
        Ok(InstanceRecord {
            status: "rebooting".to_owned(),
            ..row
        })
    }
}
