//! State that the control plane publishes, and the changes to it.
//!
//! Pure: a [`StateChange`] applied to a [`PublishedState`] gives the next one. It never looks at the databases, whose
//! real state may differ.

use std::net::Ipv4Addr;

use super::address::PORT;
use super::inventory::{
    ClusterMember, ClusterRecord, DnsZone, EndpointTargets, InstanceRecord, Inventory,
};

/// State that API and name server publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishedState {
    /// What the API reports, before faults.
    pub inventory: Inventory,
    /// What the name server answers.
    pub dns_zone: DnsZone,
}

/// One change of the published state of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// `Status` of the cluster.
    Status(&'static str),
    /// This member alone is `IsClusterWriter`.
    Writer(String),
    /// `DBInstanceStatus`.
    Instance(String, &'static str),
    /// The instance has an `Endpoint`, and its own record.
    Endpoint(String, Ipv4Addr),
    /// The instance is listed no more, and has no record.
    Unlisted(String),
    /// The cluster endpoint leads there.
    DnsWriter(String),
    /// The reader endpoint may, or may not, lead there.
    DnsReader(String, bool),
    /// The instance has no record of its own any more.
    DnsGone(String),
}

impl PublishedState {
    /// Adds a cluster without members.
    pub fn add_cluster(&mut self, cluster: ClusterRecord) {
        self.dns_zone
            .clusters
            .insert(cluster.identifier.clone(), EndpointTargets::default());
        self.inventory
            .clusters
            .insert(cluster.identifier.clone(), cluster);
    }

    /// Adds an instance as it is created: listed at once, and the writer if it is the first.
    pub fn add_instance(&mut self, instance: InstanceRecord) {
        if let Some(cluster) = instance
            .cluster
            .as_ref()
            .and_then(|name| self.inventory.clusters.get_mut(name))
        {
            cluster.members.push(ClusterMember {
                instance: instance.identifier.clone(),
                writer: cluster.members.is_empty(),
                tier: instance.tier,
            });
        }
        self.inventory
            .instances
            .insert(instance.identifier.clone(), instance);
    }

    /// Forgets a cluster and its instances.
    pub fn remove_cluster(&mut self, cluster: &str) {
        self.inventory.clusters.remove(cluster);
        self.dns_zone.clusters.remove(cluster);
        let gone: Vec<String> = self
            .inventory
            .instances
            .values()
            .filter(|instance| instance.cluster.as_deref() == Some(cluster))
            .map(|instance| instance.identifier.clone())
            .collect();
        for name in gone {
            self.inventory.instances.remove(&name);
            self.dns_zone.instances.remove(&name);
        }
    }

    /// Says a word of a cluster. Words about what is not there any more change nothing: it may have been deleted.
    pub fn apply(&mut self, cluster: &str, word: &StateChange) {
        let names = self.dns_zone.clusters.get_mut(cluster);
        match word {
            StateChange::Status(status) => {
                if let Some(cluster) = self.inventory.clusters.get_mut(cluster) {
                    (*status).clone_into(&mut cluster.status);
                }
            }
            StateChange::Writer(writer) => {
                if let Some(cluster) = self.inventory.clusters.get_mut(cluster) {
                    for member in &mut cluster.members {
                        member.writer = member.instance == *writer;
                    }
                }
            }
            StateChange::Instance(name, status) => {
                if let Some(instance) = self.inventory.instances.get_mut(name) {
                    (*status).clone_into(&mut instance.status);
                }
            }
            StateChange::Endpoint(name, address) => {
                if let Some(instance) = self.inventory.instances.get_mut(name) {
                    instance.has_endpoint = true;
                    self.dns_zone.instances.insert(name.clone(), *address);
                }
            }
            StateChange::Unlisted(name) => {
                self.inventory.instances.remove(name);
                self.dns_zone.instances.remove(name);
                if let Some(names) = names {
                    names.readers.retain(|reader| reader != name);
                    names.writer = names.writer.take().filter(|writer| writer != name);
                }
                if let Some(cluster) = self.inventory.clusters.get_mut(cluster) {
                    cluster.members.retain(|member| member.instance != *name);
                }
            }
            StateChange::DnsWriter(name) => {
                if let Some(names) = names {
                    names.writer = Some(name.clone());
                }
            }
            StateChange::DnsReader(name, listed) => {
                if let Some(names) = names {
                    names.readers.retain(|reader| reader != name);
                    if *listed && self.inventory.instances.contains_key(name) {
                        names.readers.push(name.clone());
                    }
                }
            }
            StateChange::DnsGone(name) => {
                self.dns_zone.instances.remove(name);
            }
        }
    }
}

/// A cluster as it is made: `available`, without members.
#[must_use]
pub fn new_cluster(
    identifier: &str,
    engine: &str,
    resource_id: String,
    created: &str,
) -> ClusterRecord {
    ClusterRecord {
        identifier: identifier.to_owned(),
        resource_id,
        status: "available".to_owned(),
        engine: engine.to_owned(),
        engine_version: engine_version(engine).to_owned(),
        port: PORT,
        members: Vec::new(),
        created: created.to_owned(),
    }
}

/// A plausible version of the engine; Aurora PostgreSQL's is that of the real PostgreSQL behind it.
fn engine_version(engine: &str) -> &'static str {
    match engine {
        "aurora-mysql" => "8.0.mysql_aurora.3.10.3",
        "docdb" => "5.0.0",
        "neptune" => "1.4.5.0",
        _ => "15.15",
    }
}
