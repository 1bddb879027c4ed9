//! Commands beyond the RDS API: whole clusters, crashes, partitions, faults and renames.
//!
//! Errors name the object and what to do. Starting a cluster returns when all its instances serve.

use std::sync::PoisonError;
use std::thread;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::super::cluster_faults::ClusterFaults;
use super::super::databases::DatabaseNode;
use super::super::event::FleetEvent;
use super::super::inventory::{ControlPlane as _, NewCluster, NewInstance};
use super::super::published_state::StateChange;
use super::super::script::{self, DatabaseAction, FailoverOptions};
use super::super::status::{ClusterStatus, FleetStatus, InstanceStatus};
use super::super::timeline::TimingProfile;
use super::Fleet;
use super::control_plane::FAILOVER;
use crate::rds::client::CLASS;

/// AWS's default promotion tier.
const TIER: u8 = 1;
/// The engine where nothing says another.
const ENGINE: &str = "aurora-postgresql";

/// What a cluster is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuroraClusterSpec {
    /// `DBClusterIdentifier`.
    pub cluster: String,
    /// Readers beside the writer.
    pub readers: u8,
    /// Timelines.
    pub profile: String,
    /// `max_connections` of each instance.
    pub max_connections: u16,
}

/// What blue is called after the switch.
fn old_name(name: &str) -> String {
    format!("{name}-old1")
}

fn new_instance(cluster: &str, name: String) -> NewInstance {
    NewInstance {
        identifier: name,
        cluster: Some(cluster.to_owned()),
        class: CLASS.to_owned(),
        engine: ENGINE.to_owned(),
        tier: TIER,
    }
}

impl Fleet {
    /// Creates a cluster with its instances, all serving and all in the DNS.
    pub fn start_cluster(&self, up: &AuroraClusterSpec) -> Result<()> {
        let profile = TimingProfile::named(&up.profile)?;
        let new = NewCluster {
            identifier: up.cluster.clone(),
            engine: ENGINE.to_owned(),
        };
        self.add_cluster(&new, profile, up.max_connections)?;
        let result = self.start_instances(up);
        if result.is_err() {
            // Half a cluster would answer for a whole one.
            let _ = self.remove_cluster(&up.cluster);
        }
        result
    }

    fn start_instances(&self, up: &AuroraClusterSpec) -> Result<()> {
        let mut nodes = Vec::new();
        for _ in 0..=up.readers {
            let name = self.next_name(&up.cluster)?;
            let (_, node, _) = self.list_instance(&new_instance(&up.cluster, name), &up.cluster)?;
            nodes.push(node);
        }
        let (writer, readers) = nodes.split_first().context("a cluster has a writer")?;
        self.perform_action(&up.cluster, &DatabaseAction::Found(writer.name.clone()))?;
        // All at once: a copy mostly waits. Not through `act`, which lets them follow one another.
        thread::scope(|scope| {
            let copies: Vec<_> = readers
                .iter()
                .map(|node| scope.spawn(|| self.databases().join(node, writer)))
                .collect();
            copies.into_iter().try_for_each(|copy| {
                copy.join()
                    .unwrap_or_else(|_| bail!("the copy of a reader panicked"))
            })
        })?;
        self.update_cluster(&up.cluster, |actual| {
            actual
                .joined
                .extend(readers.iter().map(|node| node.name.clone()));
        });
        for node in &nodes {
            let name = || node.name.clone();
            self.publish(&up.cluster, StateChange::Endpoint(name(), node.address));
            self.publish(&up.cluster, StateChange::Instance(name(), "available"));
            if node.name != writer.name {
                self.publish(&up.cluster, StateChange::DnsReader(name(), true));
            }
        }
        self.publish(&up.cluster, StateChange::DnsWriter(writer.name.clone()));
        Ok(())
    }

    /// Deletes a cluster with its data.
    pub fn remove_cluster(&self, cluster: &str) -> Result<()> {
        let order = self.cluster_lock(cluster)?;
        let nodes = {
            let mut state = self.state();
            let gone = state.clusters.remove(cluster);
            state.faults.remove(cluster);
            self.update_published(&mut state, |state| {
                state.published.remove_cluster(cluster);
                state.published.remove_cluster(&old_name(cluster));
            });
            gone.map(|actual| actual.nodes).unwrap_or_default()
        };
        // Whoever changes a database just now finishes first, and finds no cluster to go on with.
        let _alone = order.lock().unwrap_or_else(PoisonError::into_inner);
        nodes
            .values()
            .try_for_each(|node| self.databases().remove(node))
    }

    /// The names of the clusters that have databases.
    #[must_use]
    pub fn clusters(&self) -> Vec<String> {
        self.state().clusters.keys().cloned().collect()
    }

    /// The instances of a cluster.
    #[must_use]
    pub fn nodes(&self, cluster: &str) -> Vec<DatabaseNode> {
        self.state()
            .clusters
            .get(cluster)
            .map(|actual| actual.nodes.values().cloned().collect())
            .unwrap_or_default()
    }

    fn next_name(&self, cluster: &str) -> Result<String> {
        let mut state = self.state();
        let listed = state.published.inventory.instances.clone();
        let actual = state
            .clusters
            .get_mut(cluster)
            .with_context(|| format!("there is no cluster {cluster}"))?;
        loop {
            actual.last_number += 1;
            let name = format!("{cluster}-{}", actual.last_number);
            if !listed.contains_key(&name) {
                return Ok(name);
            }
        }
    }

    /// Adds a reader as `CreateDBInstance` would; gives its name.
    pub fn add_reader(
        &self,
        cluster: &str,
        name: Option<&str>,
        dns_delay: Option<f64>,
    ) -> Result<String> {
        let name = match name {
            Some(name) => name.to_owned(),
            None => self.next_name(cluster)?,
        };
        let (_, node, first) = self.list_instance(&new_instance(cluster, name.clone()), cluster)?;
        self.begin_instance(&node, first, dns_delay);
        Ok(name)
    }

    /// Starts a failover.
    pub fn fail_over(
        &self,
        cluster: &str,
        to: Option<&str>,
        options: &FailoverOptions,
    ) -> Result<()> {
        self.begin_failover(cluster, to, options)?;
        Ok(())
    }

    fn locate_instance(&self, instance: &str) -> Result<(String, DatabaseNode)> {
        let cluster = self
            .state()
            .cluster_of(instance)
            .with_context(|| format!("there is no instance {instance}"))?
            .to_owned();
        let node = self.node(&cluster, instance)?;
        Ok((cluster, node))
    }

    /// Kills an instance's processes. With `recover` Aurora's answer follows: a failover, or a restart.
    pub fn crash(&self, instance: &str, recover: bool) -> Result<()> {
        let (cluster, node) = self.locate_instance(instance)?;
        self.databases().kill(&node)?;
        self.update_cluster(&cluster, |actual| {
            actual.dead.insert(instance.to_owned());
        });
        self.record_event(FleetEvent::asked(&cluster, "crash", Some(instance)));
        if !recover {
            return Ok(());
        }
        let (script, target) = {
            let state = self.state();
            let actual = state
                .clusters
                .get(&cluster)
                .context("the cluster is gone")?;
            let writer = actual.writer.as_deref() == Some(instance);
            let target = state.successor(&cluster).filter(|_| writer);
            let script = script::crash_script(&actual.profile, instance, target.as_deref());
            (script, target)
        };
        let name = target.map_or_else(|| format!("restart {instance}"), |_| FAILOVER.to_owned());
        self.play_scripts(&cluster, &name, vec![script]);
        Ok(())
    }

    /// Drops all packets from and to an instance's address.
    pub fn partition(&self, instance: &str) -> Result<()> {
        let (cluster, node) = self.locate_instance(instance)?;
        self.databases().partition(&node)?;
        self.update_cluster(&cluster, |actual| {
            actual.partitioned.insert(instance.to_owned());
        });
        self.record_event(FleetEvent::asked(&cluster, "partition", Some(instance)));
        Ok(())
    }

    /// Undoes [`Fleet::partition`].
    pub fn heal(&self, instance: &str) -> Result<()> {
        let (cluster, node) = self.locate_instance(instance)?;
        self.databases().heal(&node)?;
        self.update_cluster(&cluster, |actual| {
            actual.partitioned.remove(instance);
        });
        self.record_event(FleetEvent::asked(&cluster, "heal", Some(instance)));
        Ok(())
    }

    /// Adds a reader to the reader endpoint, or removes it.
    pub fn set_dns_reader(&self, instance: &str, there: bool) -> Result<()> {
        let (cluster, _) = self.locate_instance(instance)?;
        let zone = self.dns_zone();
        let names = zone.clusters.get(&cluster);
        if names.is_some_and(|names| names.writer.as_deref() == Some(instance)) {
            bail!(
                "{instance} is the writer of {cluster}: the reader endpoint leads there only while no reader serves"
            );
        }
        let what = if there { "reader-in" } else { "reader-out" };
        self.record_event(FleetEvent::asked(&cluster, what, Some(instance)));
        self.publish(&cluster, StateChange::DnsReader(instance.to_owned(), there));
        Ok(())
    }

    /// Sets the faults of the API for a cluster.
    pub fn set_faults(&self, cluster: &str, faults: ClusterFaults) -> Result<()> {
        let mut state = self.state();
        if !state.clusters.contains_key(cluster) {
            bail!("there is no cluster {cluster}");
        }
        let now = self.now();
        state.faults.insert(cluster.to_owned(), (now, faults));
        state
            .events
            .push(FleetEvent::asked(cluster, "faults", None));
        Ok(())
    }

    /// What a switch of blue and green leaves (RDS user guide, blue/green deployments): all connections dropped, the
    /// same names with new resource ids, and the old ids under names that end with `-old1`.
    pub fn replace(&self, cluster: &str) -> Result<()> {
        let order = self.cluster_lock(cluster)?;
        let _alone = order.lock().unwrap_or_else(PoisonError::into_inner);
        self.record_event(FleetEvent::asked(cluster, "replace", None));
        let nodes = self.nodes(cluster);
        let writer = self.writer(cluster)?;
        self.databases().restart(&writer)?;
        nodes
            .iter()
            .filter(|node| node.name != writer.name)
            .try_for_each(|node| self.databases().rejoin(node, &writer))?;
        let mut state = self.state();
        self.update_published(&mut state, |state| {
            let Some(mut row) = state.published.inventory.clusters.get(cluster).cloned() else {
                return;
            };
            let old = old_name;
            row.identifier = old(cluster);
            for member in &mut row.members {
                member.instance = old(&member.instance);
            }
            state.published.inventory.clusters.insert(old(cluster), row);
            for node in &nodes {
                let Some(mut row) = state.published.inventory.instances.get(&node.name).cloned()
                else {
                    continue;
                };
                row.identifier = old(&node.name);
                row.cluster = Some(old(cluster));
                let id = state.resource_id("db", &node.name);
                if let Some(green) = state.published.inventory.instances.get_mut(&node.name) {
                    green.resource_id = id;
                }
                state
                    .published
                    .inventory
                    .instances
                    .insert(old(&node.name), row);
            }
            let id = state.resource_id("cluster", cluster);
            if let Some(green) = state.published.inventory.clusters.get_mut(cluster) {
                green.resource_id = id;
            }
        });
        Ok(())
    }

    /// Deletes a reader.
    pub fn remove_reader(&self, instance: &str) -> Result<()> {
        let (cluster, _) = self.locate_instance(instance)?;
        let writer = self.writer(&cluster).ok().map(|node| node.name);
        if writer.as_deref() == Some(instance) {
            bail!("{instance} is the writer of {cluster}; fail over first");
        }
        self.delete_instance(instance)?;
        Ok(())
    }

    /// The events from this time on.
    #[must_use]
    pub fn events(&self, since: i64) -> Vec<FleetEvent> {
        self.state()
            .events
            .iter()
            .filter(|event| event.at >= since)
            .cloned()
            .collect()
    }

    /// Returns the status of all clusters. Asks the databases for their role.
    #[must_use]
    pub fn status(&self) -> FleetStatus {
        let mut clusters: Vec<ClusterStatus> = {
            let state = self.state();
            state
                .clusters
                .iter()
                .map(|(name, actual)| {
                    let names = state.published.dns_zone.clusters.get(name);
                    let row = state.published.inventory.clusters.get(name);
                    let instances = actual.nodes.values().map(|node| InstanceStatus {
                        name: node.name.clone(),
                        address: node.address,
                        standby: None,
                        api_status: state
                            .published
                            .inventory
                            .instances
                            .get(&node.name)
                            .map(|row| row.status.clone())
                            .unwrap_or_default(),
                        api_writer: row.is_some_and(|row| {
                            row.members
                                .iter()
                                .any(|member| member.writer && member.instance == node.name)
                        }),
                        dns_own: state.published.dns_zone.instances.contains_key(&node.name),
                        dns_reader: names.is_some_and(|names| names.readers.contains(&node.name)),
                        partitioned: actual.partitioned.contains(&node.name),
                    });
                    ClusterStatus {
                        name: name.clone(),
                        profile: actual.profile.profile.clone(),
                        api_status: row.map(|row| row.status.clone()).unwrap_or_default(),
                        writer: actual.writer.clone(),
                        dns_writer: names.and_then(|names| names.writer.clone()),
                        busy: actual.busy.values().cloned().collect(),
                        faults: state
                            .faults
                            .get(name)
                            .map(|(_, faults)| faults.clone())
                            .unwrap_or_default(),
                        instances: instances.collect(),
                    }
                })
                .collect()
        };
        for cluster in &mut clusters {
            for instance in &mut cluster.instances {
                if let Ok(node) = self.node(&cluster.name, &instance.name) {
                    instance.standby = self.databases().is_standby(&node);
                }
            }
        }
        FleetStatus { clusters }
    }
}
