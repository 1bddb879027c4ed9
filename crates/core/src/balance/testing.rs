//! A small world for tests: readers `r0`, `r1`, …, a writer `w`, pods, lookups and a clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::*;
use crate::topology::{InstanceId, MemberId, ResourceId, Topology};
use crate::weights::{ReaderFacts, ReaderWeights};
use dbbalance_api::rebalance_state::RebalanceState;
use dbbalance_api::spec::{BalanceSpec, InstanceWeight};

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap_or_default()
}

pub(super) fn id(name: &str) -> InstanceId {
    InstanceId(name.into())
}

pub(super) fn topology(readers: usize) -> Topology {
    let member = |name: String| MemberId {
        resource: ResourceId(format!("db-{name}")),
        instance: InstanceId(name),
    };
    Topology {
        arn: "arn".into(),
        resource: ResourceId("cluster-1".into()),
        writer: member("w".into()),
        readers: (0..readers).map(|i| member(format!("r{i:02}"))).collect(),
    }
}

pub(super) fn holdings<const N: usize>(held: [(&str, u32); N]) -> Holdings {
    Holdings {
        by_instance: held.into_iter().map(|(name, n)| (id(name), n)).collect(),
        ..Holdings::default()
    }
}

pub(super) fn pod(name: usize, holds: Holdings) -> PodView {
    PodView {
        id: format!("pod-{name:04}"),
        node: None,
        holds: Some(holds),
        read_at: Some(at(0)),
        ready: true,
        in_flight: false,
        started: None,
        last_recycled: None,
        recycles: 0,
        movable: true,
        before_failover: false,
        stale: false,
    }
}

/// All inputs of a decision, owned.
pub(super) struct Stage {
    pub now: Timestamp,
    pub topology: Topology,
    pub leaving: BTreeSet<InstanceId>,
    pub previous_writer: Option<InstanceId>,
    pub weights: ReaderWeights,
    pub others: OtherConnections,
    pub pools: Pools,
    pub pods: Vec<PodView>,
    pub looks: Vec<EndpointAnswer>,
    pub writer_looks: Vec<EndpointAnswer>,
    pub free: usize,
    pub canary: bool,
    pub event: Option<Timestamp>,
    pub reach: Reach,
    pub name: Option<(Option<InstanceId>, bool)>,
    pub settings: Settings,
    pub memory: RebalanceState,
    pub scope: String,
    pub recent_change: bool,
}

impl Stage {
    pub(super) fn new(topology: Topology, pools: Pools, holds: Vec<Holdings>) -> Self {
        let free = (holds.len() / 4).max(1);
        let pods = holds.into_iter().enumerate();
        Self {
            now: at(1),
            topology,
            leaving: BTreeSet::new(),
            previous_writer: None,
            weights: ReaderWeights::default(),
            others: OtherConnections::default(),
            pools,
            pods: pods.map(|(name, holds)| pod(name, holds)).collect(),
            looks: vec![],
            writer_looks: vec![],
            free,
            canary: false,
            event: Some(at(0)),
            reach: Reach::Prompt,
            name: None,
            settings: Settings::default(),
            memory: RebalanceState::default(),
            scope: String::new(),
            recent_change: false,
        }
    }

    /// Builds pods of ten connections, with this many pods on each reader. An epoch has just opened; no lookups were
    /// made.
    pub(super) fn readers(pods: &[usize]) -> Self {
        let holds = pods.iter().enumerate().flat_map(|(i, n)| {
            let name = format!("r{i:02}");
            std::iter::repeat_n(holdings([(name.as_str(), 10)]), *n)
        });
        Self::new(topology(pods.len()), Pools::Reader, holds.collect())
    }

    /// Gives the readers these weights, in their order.
    pub(super) fn weigh(&mut self, weights: &[i32]) {
        let readers: Vec<InstanceId> = self
            .topology
            .readers
            .iter()
            .map(|r| r.instance.clone())
            .collect();
        let told = readers
            .iter()
            .zip(weights)
            .map(|(reader, weight)| InstanceWeight {
                instance: reader.0.clone(),
                weight: *weight,
            });
        let spec = BalanceSpec {
            weights: told.collect(),
            ..BalanceSpec::default()
        };
        let facts = readers.iter().map(|instance| ReaderFacts {
            instance,
            class: None,
            came: None,
        });
        self.weights = ReaderWeights::compute(&spec, &facts.collect::<Vec<_>>(), &[], self.now);
    }

    pub(super) fn decide(&self) -> Decision {
        decide_balance(&self.inputs())
    }

    pub(super) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            now: self.now,
            topology: &self.topology,
            leaving: &self.leaving,
            previous_writer: self.previous_writer.as_ref(),
            weights: &self.weights,
            others: &self.others,
            pools: self.pools,
            pods: &self.pods,
            looks: &self.looks,
            writer_looks: &self.writer_looks,
            free: self.free,
            canary: self.canary,
            event: self.event,
            reach: self.reach,
            name: self.name.as_ref().map(|(to, is_told)| NameLead {
                narrowed_to: to.as_ref(),
                is_told: *is_told,
            }),
            settings: &self.settings,
            memory: &self.memory,
            scope: &self.scope,
            recent_change: self.recent_change,
        }
    }

    /// Makes a decision and remembers its state.
    pub(super) fn pass(&mut self) -> Decision {
        let decision = self.decide();
        self.memory = decision.memory.clone();
        decision
    }

    /// Sets the latest answers of the reader endpoint.
    pub(super) fn answers(&mut self, names: &[&str]) {
        self.looks = looks(self.now, names);
    }

    /// Sets the latest answers of the cluster endpoint.
    pub(super) fn writer_answers(&mut self, names: &[&str]) {
        self.writer_looks = looks(self.now, names);
    }

    /// Advances the time and measures every pod again.
    pub(super) fn later(&mut self, seconds: i64) {
        self.now = self
            .now
            .saturating_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap_or_default();
        for pod in &mut self.pods {
            pod.read_at = Some(self.now);
        }
    }

    /// Completes the recycle of the named pods: each holds ten connections to this reader.
    pub(super) fn land(&mut self, pods: &[String], on: &str) {
        for pod in self.pods.iter_mut().filter(|p| pods.contains(&p.id)) {
            pod.holds = Some(holdings([(on, 10)]));
            pod.last_recycled = Some(self.now);
            pod.recycles += 1;
        }
    }
}

/// Builds lookups of one moment; `-` is a failed one.
pub(super) fn looks(at: Timestamp, names: &[&str]) -> Vec<EndpointAnswer> {
    names
        .iter()
        .map(|name| EndpointAnswer {
            at,
            instance: (*name != "-").then(|| id(name)),
            via: None,
        })
        .collect()
}
