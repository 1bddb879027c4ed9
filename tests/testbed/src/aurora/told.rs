//! What the control plane tells at a moment, and the words that change it.
//!
//! Pure: a [`Word`] on a [`Told`] gives the next. It never looks at what the databases really do; that they may
//! differ is the point.

use std::net::Ipv4Addr;

use super::address::PORT;
use super::estate::{Cluster, ClusterNames, Estate, Instance, Member, Zone};

/// The API's estate and the name server's zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What the API tells, before moods.
    pub estate: Estate,
    /// What the name server tells.
    pub zone: Zone,
}

/// One change of what is told of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
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

impl Told {
    /// Adds a cluster without members.
    pub fn found(&mut self, cluster: Cluster) {
        self.zone
            .clusters
            .insert(cluster.identifier.clone(), ClusterNames::default());
        self.estate
            .clusters
            .insert(cluster.identifier.clone(), cluster);
    }

    /// Adds an instance as it is created: listed at once, and the writer if it is the first.
    pub fn listed(&mut self, instance: Instance) {
        if let Some(cluster) = instance
            .cluster
            .as_ref()
            .and_then(|name| self.estate.clusters.get_mut(name))
        {
            cluster.members.push(Member {
                instance: instance.identifier.clone(),
                writer: cluster.members.is_empty(),
                tier: instance.tier,
            });
        }
        self.estate
            .instances
            .insert(instance.identifier.clone(), instance);
    }

    /// Forgets a cluster and its instances.
    pub fn forget(&mut self, cluster: &str) {
        self.estate.clusters.remove(cluster);
        self.zone.clusters.remove(cluster);
        let gone: Vec<String> = self
            .estate
            .instances
            .values()
            .filter(|instance| instance.cluster.as_deref() == Some(cluster))
            .map(|instance| instance.identifier.clone())
            .collect();
        for name in gone {
            self.estate.instances.remove(&name);
            self.zone.instances.remove(&name);
        }
    }

    /// Says a word of a cluster. Words about what is not there any more change nothing: it may have been deleted.
    pub fn say(&mut self, cluster: &str, word: &Word) {
        let names = self.zone.clusters.get_mut(cluster);
        match word {
            Word::Status(status) => {
                if let Some(cluster) = self.estate.clusters.get_mut(cluster) {
                    (*status).clone_into(&mut cluster.status);
                }
            }
            Word::Writer(writer) => {
                if let Some(cluster) = self.estate.clusters.get_mut(cluster) {
                    for member in &mut cluster.members {
                        member.writer = member.instance == *writer;
                    }
                }
            }
            Word::Instance(name, status) => {
                if let Some(instance) = self.estate.instances.get_mut(name) {
                    (*status).clone_into(&mut instance.status);
                }
            }
            Word::Endpoint(name, address) => {
                if let Some(instance) = self.estate.instances.get_mut(name) {
                    instance.has_endpoint = true;
                    self.zone.instances.insert(name.clone(), *address);
                }
            }
            Word::Unlisted(name) => {
                self.estate.instances.remove(name);
                self.zone.instances.remove(name);
                if let Some(names) = names {
                    names.readers.retain(|reader| reader != name);
                    names.writer = names.writer.take().filter(|writer| writer != name);
                }
                if let Some(cluster) = self.estate.clusters.get_mut(cluster) {
                    cluster.members.retain(|member| member.instance != *name);
                }
            }
            Word::DnsWriter(name) => {
                if let Some(names) = names {
                    names.writer = Some(name.clone());
                }
            }
            Word::DnsReader(name, listed) => {
                if let Some(names) = names {
                    names.readers.retain(|reader| reader != name);
                    if *listed && self.estate.instances.contains_key(name) {
                        names.readers.push(name.clone());
                    }
                }
            }
            Word::DnsGone(name) => {
                self.zone.instances.remove(name);
            }
        }
    }
}

/// A cluster as it is made: `available`, without members.
#[must_use]
pub fn new_cluster(identifier: &str, engine: &str, resource_id: String, created: &str) -> Cluster {
    Cluster {
        identifier: identifier.to_owned(),
        resource_id,
        status: "available".to_owned(),
        engine: engine.to_owned(),
        engine_version: version(engine).to_owned(),
        port: PORT,
        members: Vec::new(),
        created: created.to_owned(),
    }
}

/// A plausible version of the engine; Aurora PostgreSQL's is that of the real PostgreSQL behind it.
fn version(engine: &str) -> &'static str {
    match engine {
        "aurora-mysql" => "8.0.mysql_aurora.3.10.3",
        "docdb" => "5.0.0",
        "neptune" => "1.4.5.0",
        _ => "15.15",
    }
}
