//! One target of a policy, parsed.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::{count_u32, seconds};
use dbbalance_api::spec::{Endpoint, Fallback, Method, TargetSpec, WorkloadRef};
use dbbalance_api::status::Trigger;
use dbbalance_core::balance::{Pools, Strays};
use dbbalance_core::epoch;

/// How much longer than the method's timeout a claim is left alone: the replica that made it may be slow, and another
/// one may have to take the lease first.
const CLAIM_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// The timeout of methods that have none of their own.
const DEFAULT_METHOD_TIMEOUT: SignedDuration = SignedDuration::from_secs(10);

/// A target, parsed.
#[derive(Clone, Debug)]
pub struct TargetPolicy {
    spec: TargetSpec,
    /// Its name.
    pub name: String,
    /// Its workload or selector as text, by which a change of it is noticed.
    pub reference: String,
    /// The workload, if it names one.
    pub workload: Option<WorkloadRef>,
    /// How its pods are recycled.
    pub recycle: Recipe,
}

/// How pods are recycled.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The method.
    pub method: Method,
    /// What to do when the method fails on one pod.
    pub fallback: Option<Fallback>,
    /// Whether a workload's only pod may be evicted.
    pub allow_single_replica: bool,
    /// How long the effect itself may take.
    pub effect_timeout: SignedDuration,
    /// How long after a claim it is retried, or has failed.
    pub claim_limit: SignedDuration,
    /// The method with its settings, as the key under which it is verified starts.
    pub settings: String,
}

impl TargetPolicy {
    pub(super) fn parse(spec: &TargetSpec) -> Self {
        let recycle = &spec.recycle;
        let timeout = recycle.http.as_ref();
        let timeout = timeout.map_or(DEFAULT_METHOD_TIMEOUT, |h| seconds(h.timeout_seconds));
        Self {
            name: spec.name.clone(),
            reference: describe_reference(spec),
            workload: spec.workload_ref.clone(),
            recycle: Recipe {
                method: recycle.method,
                fallback: recycle.fallback,
                allow_single_replica: recycle.allow_single_replica == Some(true),
                effect_timeout: timeout,
                claim_limit: timeout + CLAIM_GRACE,
                settings: serde_json::to_string(recycle).unwrap_or_default(),
            },
            spec: spec.clone(),
        }
    }

    /// Returns the connections to the other role that each of its pods may hold.
    pub(crate) fn strays(&self) -> Strays {
        let of = |endpoint| {
            let pools = self.spec.pools.iter().filter(|p| p.endpoint == endpoint);
            pools.map(|p| count_u32(p.stray_connections)).sum()
        };
        Strays {
            to_writer: of(Endpoint::Reader),
            to_readers: of(Endpoint::Writer),
        }
    }

    /// Whether it has a pool on this endpoint.
    pub(crate) fn has_pool(&self, endpoint: Endpoint) -> bool {
        self.spec.pools.iter().any(|p| p.endpoint == endpoint)
    }

    /// Whether a change by this trigger concerns its pools.
    pub(crate) fn is_concerned_by(&self, trigger: Trigger) -> bool {
        epoch::is_target_concerned(trigger, &self.spec)
    }

    /// Returns its pools as the balance counts them. `most_held`: the most connections that one of its pods holds.
    pub(crate) fn balance_pools(&self, most_held: u32) -> Pools {
        Pools::from_specs(&self.spec.pools, most_held)
    }

    /// Returns its pools with the connections that each may open for a pod; `undeclared` where the spec does not say.
    pub(crate) fn pool_loads(&self, undeclared: u64) -> Vec<(Endpoint, u64)> {
        load_pools(&self.spec, undeclared)
    }

    /// Returns the connections of one pod as far as its pools declare them.
    pub(crate) fn declared_connections(&self) -> usize {
        let declared = self.spec.pools.iter().filter_map(|p| p.connections_per_pod);
        declared.map(|n| count_u32(n) as usize).sum()
    }
}

/// Returns a target's pools as the budget counts them where nothing was measured.
#[must_use]
pub fn pool_loads(spec: &TargetSpec) -> Vec<(Endpoint, u64)> {
    load_pools(spec, 0)
}

fn load_pools(spec: &TargetSpec, undeclared: u64) -> Vec<(Endpoint, u64)> {
    let load = |n: i32| u64::from(count_u32(n));
    let pools = spec.pools.iter();
    let pools = pools.map(|p| (p.endpoint, p.connections_per_pod.map_or(undeclared, load)));
    pools.collect()
}

pub(crate) fn describe_reference(spec: &TargetSpec) -> String {
    if let Some(workload) = &spec.workload_ref {
        return format!("{:?}/{}", workload.kind, workload.name);
    }
    let labels: BTreeMap<_, _> = spec
        .selector
        .iter()
        .filter_map(|s| s.match_labels.as_ref())
        .flatten()
        .collect();
    let mut parts: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let expressions = spec
        .selector
        .iter()
        .filter_map(|s| s.match_expressions.as_ref())
        .flatten();
    parts.extend(expressions.map(|e| {
        let mut values = e.values.clone().unwrap_or_default();
        values.sort();
        format!("{} {} ({})", e.key, e.operator, values.join(","))
    }));
    parts.sort();
    format!("selector/{}", parts.join(","))
}
