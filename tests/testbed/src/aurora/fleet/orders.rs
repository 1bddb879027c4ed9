//! What only the testbed can order: whole clusters, deaths, cut networks, moods and renamings.
//!
//! Errors name the object and what to do. A cluster's start returns when all its instances serve.

use std::sync::PoisonError;
use std::thread;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::super::databases::Node;
use super::super::estate::{ControlPlane as _, NewCluster, NewInstance};
use super::super::event::Event;
use super::super::moods::Moods;
use super::super::script::{self, Act, FailoverOptions};
use super::super::status::{ClusterStatus, InstanceStatus, Status};
use super::super::timeline::Profile;
use super::super::told::Word;
use super::Fleet;
use super::plane::FAILOVER;
use crate::rds::client::CLASS;

/// AWS's default promotion tier.
const TIER: u8 = 1;
/// The engine where nothing says another.
const ENGINE: &str = "aurora-postgresql";

/// What a cluster is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Up {
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
    /// Makes a cluster with its instances, all serving and all in the DNS.
    pub fn up(&self, up: &Up) -> Result<()> {
        let profile = Profile::named(&up.profile)?;
        let new = NewCluster {
            identifier: up.cluster.clone(),
            engine: ENGINE.to_owned(),
        };
        self.add_cluster(&new, profile, up.max_connections)?;
        let result = self.fill(up);
        if result.is_err() {
            // Half a cluster would answer for a whole one.
            let _ = self.down(&up.cluster);
        }
        result
    }

    fn fill(&self, up: &Up) -> Result<()> {
        let mut nodes = Vec::new();
        for _ in 0..=up.readers {
            let name = self.next_name(&up.cluster)?;
            let (_, node, _) = self.list_instance(&new_instance(&up.cluster, name), &up.cluster)?;
            nodes.push(node);
        }
        let (writer, readers) = nodes.split_first().context("a cluster has a writer")?;
        self.act(&up.cluster, &Act::Found(writer.name.clone()))?;
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
        self.with(&up.cluster, |actual| {
            actual
                .joined
                .extend(readers.iter().map(|node| node.name.clone()));
        });
        for node in &nodes {
            let name = || node.name.clone();
            self.say(&up.cluster, Word::Endpoint(name(), node.address));
            self.say(&up.cluster, Word::Instance(name(), "available"));
            if node.name != writer.name {
                self.say(&up.cluster, Word::DnsReader(name(), true));
            }
        }
        self.say(&up.cluster, Word::DnsWriter(writer.name.clone()));
        Ok(())
    }

    /// Takes a cluster away with its data.
    pub fn down(&self, cluster: &str) -> Result<()> {
        let order = self.order(cluster)?;
        let nodes = {
            let mut state = self.state();
            let gone = state.clusters.remove(cluster);
            state.moods.remove(cluster);
            self.tell(&mut state, |state| {
                state.told.forget(cluster);
                state.told.forget(&old_name(cluster));
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
    pub fn nodes(&self, cluster: &str) -> Vec<Node> {
        self.state()
            .clusters
            .get(cluster)
            .map(|actual| actual.nodes.values().cloned().collect())
            .unwrap_or_default()
    }

    fn next_name(&self, cluster: &str) -> Result<String> {
        let mut state = self.state();
        let listed = state.told.estate.instances.clone();
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

    /// Fails over.
    pub fn fail_over(
        &self,
        cluster: &str,
        to: Option<&str>,
        options: &FailoverOptions,
    ) -> Result<()> {
        self.begin_failover(cluster, to, options)?;
        Ok(())
    }

    fn home(&self, instance: &str) -> Result<(String, Node)> {
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
        let (cluster, node) = self.home(instance)?;
        self.databases().kill(&node)?;
        self.with(&cluster, |actual| {
            actual.dead.insert(instance.to_owned());
        });
        self.note(Event::asked(&cluster, "crash", Some(instance)));
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
            let script = script::crash(&actual.profile, instance, target.as_deref());
            (script, target)
        };
        let name = target.map_or_else(|| format!("restart {instance}"), |_| FAILOVER.to_owned());
        self.play(&cluster, &name, vec![script]);
        Ok(())
    }

    /// Drops all packets from and to an instance's address.
    pub fn partition(&self, instance: &str) -> Result<()> {
        let (cluster, node) = self.home(instance)?;
        self.databases().partition(&node)?;
        self.with(&cluster, |actual| {
            actual.partitioned.insert(instance.to_owned());
        });
        self.note(Event::asked(&cluster, "partition", Some(instance)));
        Ok(())
    }

    /// Undoes [`Fleet::partition`].
    pub fn heal(&self, instance: &str) -> Result<()> {
        let (cluster, node) = self.home(instance)?;
        self.databases().heal(&node)?;
        self.with(&cluster, |actual| {
            actual.partitioned.remove(instance);
        });
        self.note(Event::asked(&cluster, "heal", Some(instance)));
        Ok(())
    }

    /// Whether the reader endpoint may lead to a reader.
    pub fn lead(&self, instance: &str, there: bool) -> Result<()> {
        let (cluster, _) = self.home(instance)?;
        let zone = self.zone();
        let names = zone.clusters.get(&cluster);
        if names.is_some_and(|names| names.writer.as_deref() == Some(instance)) {
            bail!(
                "{instance} is the writer of {cluster}: the reader endpoint leads there only while no reader serves"
            );
        }
        let what = if there { "reader-in" } else { "reader-out" };
        self.note(Event::asked(&cluster, what, Some(instance)));
        self.say(&cluster, Word::DnsReader(instance.to_owned(), there));
        Ok(())
    }

    /// Sets how the API tells of a cluster.
    pub fn set_moods(&self, cluster: &str, moods: Moods) -> Result<()> {
        let mut state = self.state();
        if !state.clusters.contains_key(cluster) {
            bail!("there is no cluster {cluster}");
        }
        let now = self.now();
        state.moods.insert(cluster.to_owned(), (now, moods));
        state.events.push(Event::asked(cluster, "moods", None));
        Ok(())
    }

    /// What a switch of blue and green leaves (RDS user guide, blue/green deployments): all connections dropped, the
    /// same names with new resource ids, and the old ids under names that end with `-old1`.
    pub fn replace(&self, cluster: &str) -> Result<()> {
        let order = self.order(cluster)?;
        let _alone = order.lock().unwrap_or_else(PoisonError::into_inner);
        self.note(Event::asked(cluster, "replace", None));
        let nodes = self.nodes(cluster);
        let writer = self.writer(cluster)?;
        self.databases().restart(&writer)?;
        nodes
            .iter()
            .filter(|node| node.name != writer.name)
            .try_for_each(|node| self.databases().rejoin(node, &writer))?;
        let mut state = self.state();
        self.tell(&mut state, |state| {
            let Some(mut row) = state.told.estate.clusters.get(cluster).cloned() else {
                return;
            };
            let old = old_name;
            row.identifier = old(cluster);
            for member in &mut row.members {
                member.instance = old(&member.instance);
            }
            state.told.estate.clusters.insert(old(cluster), row);
            for node in &nodes {
                let Some(mut row) = state.told.estate.instances.get(&node.name).cloned() else {
                    continue;
                };
                row.identifier = old(&node.name);
                row.cluster = Some(old(cluster));
                let id = state.resource_id("db", &node.name);
                if let Some(green) = state.told.estate.instances.get_mut(&node.name) {
                    green.resource_id = id;
                }
                state.told.estate.instances.insert(old(&node.name), row);
            }
            let id = state.resource_id("cluster", cluster);
            if let Some(green) = state.told.estate.clusters.get_mut(cluster) {
                green.resource_id = id;
            }
        });
        Ok(())
    }

    /// Deletes an instance.
    pub fn remove_reader(&self, instance: &str) -> Result<()> {
        let (cluster, _) = self.home(instance)?;
        let writer = self.writer(&cluster).ok().map(|node| node.name);
        if writer.as_deref() == Some(instance) {
            bail!("{instance} is the writer of {cluster}; fail over first");
        }
        self.delete_instance(instance)?;
        Ok(())
    }

    /// The events from this time on.
    #[must_use]
    pub fn events(&self, since: i64) -> Vec<Event> {
        self.state()
            .events
            .iter()
            .filter(|event| event.at >= since)
            .cloned()
            .collect()
    }

    /// Everything at a glance. Asks the databases for their role.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut clusters: Vec<ClusterStatus> = {
            let state = self.state();
            state
                .clusters
                .iter()
                .map(|(name, actual)| {
                    let names = state.told.zone.clusters.get(name);
                    let row = state.told.estate.clusters.get(name);
                    let instances = actual.nodes.values().map(|node| InstanceStatus {
                        name: node.name.clone(),
                        address: node.address,
                        standby: None,
                        api_status: state
                            .told
                            .estate
                            .instances
                            .get(&node.name)
                            .map(|row| row.status.clone())
                            .unwrap_or_default(),
                        api_writer: row.is_some_and(|row| {
                            row.members
                                .iter()
                                .any(|member| member.writer && member.instance == node.name)
                        }),
                        dns_own: state.told.zone.instances.contains_key(&node.name),
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
                        moods: state
                            .moods
                            .get(name)
                            .map(|(_, moods)| moods.clone())
                            .unwrap_or_default(),
                        instances: instances.collect(),
                    }
                })
                .collect()
        };
        for cluster in &mut clusters {
            for instance in &mut cluster.instances {
                if let Ok(node) = self.node(&cluster.name, &instance.name) {
                    instance.standby = self.databases().standby(&node);
                }
            }
        }
        Status { clusters }
    }
}
