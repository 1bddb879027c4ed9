//! A control plane without databases whose changes take no time: for tests of what is in front of a control plane.
//!
//! Like an emulator, and unlike Aurora, it has no transitional states. Its inventory can be edited by hand, to show
//! what a real one shows only for a moment.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use super::address::{FIRST_INSTANCE, PORT};
use super::api::fault;
use super::inventory::{
    ApiError, ClusterMember, ClusterRecord, ControlPlane, DnsZone, EndpointTargets, InstanceRecord,
    Inventory, NewCluster, NewInstance,
};
use crate::rds::REGION;

/// The version that the testbed's databases have.
const VERSION: &str = "15.18";

/// The inventory, in memory.
#[derive(Debug, Default)]
pub struct StaticControlPlane(Mutex<StaticState>);

#[derive(Debug, Default)]
struct StaticState {
    inventory: Inventory,
    addresses: BTreeMap<String, Ipv4Addr>,
    /// How much was ever made: names come again, resource ids and addresses do not.
    made: u32,
}

impl StaticControlPlane {
    /// Without anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, StaticState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Edits the inventory, past all rules.
    pub fn edit(&self, change: impl FnOnce(&mut Inventory)) {
        change(&mut self.state().inventory);
    }
}

/// `db-` or `cluster-` and 26 letters and digits, as AWS makes them; never twice the same.
fn resource_id(prefix: &str, number: u32) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Sha256::digest(format!("{prefix}{number}"));
    let letters = hash
        .iter()
        .take(26)
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    format!("{prefix}-{}", letters.collect::<String>())
}

impl StaticState {
    fn next(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    fn cluster(&mut self, identifier: &str) -> Result<&mut ClusterRecord, ApiError> {
        self.inventory
            .clusters
            .get_mut(identifier)
            .ok_or_else(|| fault::no_cluster(identifier))
    }
}

/// The reader that a failover takes: of the lowest tier, and of those the first.
fn failover_target(cluster: &ClusterRecord) -> Option<String> {
    cluster
        .members
        .iter()
        .filter(|member| !member.writer)
        .min_by_key(|member| member.tier)
        .map(|member| member.instance.clone())
}

fn now_rfc3339() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

impl ControlPlane for StaticControlPlane {
    fn inventory(&self) -> Inventory {
        self.state().inventory.clone()
    }

    fn dns_zone(&self) -> DnsZone {
        let state = self.state();
        let serving = |member: &&ClusterMember| {
            let instance = state.inventory.instances.get(&member.instance);
            instance.is_some_and(|instance| instance.status == "available")
        };
        let names = |cluster: &ClusterRecord| {
            let (writers, readers): (Vec<&ClusterMember>, Vec<&ClusterMember>) =
                cluster.members.iter().partition(|member| member.writer);
            EndpointTargets {
                writer: writers.first().map(|member| member.instance.clone()),
                readers: readers
                    .into_iter()
                    .filter(serving)
                    .map(|member| member.instance.clone())
                    .collect(),
            }
        };
        DnsZone {
            clusters: state
                .inventory
                .clusters
                .iter()
                .map(|(id, cluster)| (id.clone(), names(cluster)))
                .collect(),
            instances: state.addresses.clone(),
        }
    }

    fn create_cluster(&self, new: &NewCluster) -> Result<ClusterRecord, ApiError> {
        let mut state = self.state();
        if state.inventory.clusters.contains_key(&new.identifier) {
            return Err(fault::cluster_exists());
        }
        let mut cluster = ClusterRecord {
            identifier: new.identifier.clone(),
            resource_id: resource_id("cluster", state.next()),
            status: "available".into(),
            engine: new.engine.clone(),
            engine_version: VERSION.into(),
            port: PORT,
            members: Vec::new(),
            created: now_rfc3339(),
        };
        state
            .inventory
            .clusters
            .insert(new.identifier.clone(), cluster.clone());
        cluster.status = "creating".into();
        Ok(cluster)
    }

    fn create_instance(&self, new: &NewInstance) -> Result<InstanceRecord, ApiError> {
        let mut state = self.state();
        if state.inventory.instances.contains_key(&new.identifier) {
            return Err(fault::instance_exists());
        }
        if let Some(identifier) = &new.cluster {
            let cluster = state.cluster(identifier)?;
            if cluster.engine != new.engine {
                return Err(fault::bad_combination(format!(
                    "The engine name requested for your DB instance ({}) doesn't match the engine name of your DB \
                     cluster ({}).",
                    new.engine, cluster.engine
                )));
            }
            cluster.members.push(ClusterMember {
                instance: new.identifier.clone(),
                writer: cluster.members.is_empty(),
                tier: new.tier,
            });
        }
        let number = state.next();
        let mut instance = InstanceRecord {
            identifier: new.identifier.clone(),
            resource_id: resource_id("db", number),
            status: "available".into(),
            class: new.class.clone(),
            engine: new.engine.clone(),
            cluster: new.cluster.clone(),
            has_endpoint: true,
            port: PORT,
            zone: format!("{REGION}{}", ["a", "b", "c"][number as usize % 3]),
            tier: new.tier,
            created: now_rfc3339(),
        };
        state
            .inventory
            .instances
            .insert(new.identifier.clone(), instance.clone());
        let address = Ipv4Addr::from_bits(FIRST_INSTANCE.to_bits() + number);
        state.addresses.insert(new.identifier.clone(), address);
        instance.status = "creating".into();
        instance.has_endpoint = false;
        Ok(instance)
    }

    fn delete_instance(&self, identifier: &str) -> Result<InstanceRecord, ApiError> {
        let mut state = self.state();
        let mut instance = state
            .inventory
            .instances
            .remove(identifier)
            .ok_or_else(|| fault::no_instance(identifier))?;
        state.addresses.remove(identifier);
        if let Some(cluster) = &instance.cluster {
            let cluster = state.cluster(cluster)?;
            cluster
                .members
                .retain(|member| member.instance != identifier);
            // Deleting the writer fails over.
            if cluster.members.iter().all(|member| !member.writer) {
                let heir = failover_target(cluster);
                for member in &mut cluster.members {
                    member.writer = heir.as_ref() == Some(&member.instance);
                }
            }
        }
        instance.status = "deleting".into();
        Ok(instance)
    }

    fn delete_cluster(&self, identifier: &str) -> Result<ClusterRecord, ApiError> {
        let mut state = self.state();
        let cluster = state.cluster(identifier)?;
        if !cluster.members.is_empty() {
            return Err(fault::cluster_state(
                "Cluster cannot be deleted, it still contains DB instances in non-deleting state.",
            ));
        }
        let mut cluster = cluster.clone();
        state.inventory.clusters.remove(identifier);
        cluster.status = "deleting".into();
        Ok(cluster)
    }

    fn failover(&self, identifier: &str, target: Option<&str>) -> Result<ClusterRecord, ApiError> {
        let mut state = self.state();
        if let Some(target) = target
            && !state.inventory.instances.contains_key(target)
        {
            return Err(fault::no_instance(target));
        }
        let cluster = state.cluster(identifier)?;
        let target = match target {
            Some(target) => {
                let member = cluster
                    .members
                    .iter()
                    .find(|member| member.instance == target);
                if member.is_none_or(|member| member.writer) {
                    return Err(fault::instance_state(format!(
                        "{target} is not a reader of the cluster {identifier}"
                    )));
                }
                target.to_owned()
            }
            None => failover_target(cluster).ok_or_else(|| {
                fault::cluster_state(format!(
                    "The cluster {identifier} has no reader to fail over to"
                ))
            })?,
        };
        for member in &mut cluster.members {
            member.writer = member.instance == target;
        }
        Ok(cluster.clone())
    }

    fn reboot(&self, identifier: &str) -> Result<InstanceRecord, ApiError> {
        let mut instance = self
            .state()
            .inventory
            .instances
            .get(identifier)
            .cloned()
            .ok_or_else(|| fault::no_instance(identifier))?;
        instance.status = "rebooting".into();
        Ok(instance)
    }
}
