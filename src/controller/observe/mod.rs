//! Observes the world: reads policy, topology, DNS, workloads, pods and evidence into one [`World`] for the planner.
//!
//! Nothing else in a reconcile reads the caches. It decides which policy and target a pod belongs to, and nothing more.

mod budgets;
mod names;
mod owners;
mod peers;
mod recorded;
mod workloads;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};

use super::context::Context;
use super::errors::{ReconcileError, await_answer};
pub(super) use super::state_cache::parse_version;
use super::state_cache::{PolicyState, WrittenStatus};
use crate::aurora::{BindingVerdict, ClusterKey};
use crate::aurora::{ClusterSnapshot, ObservationState, RoleKey, SourceKey};
use crate::k8s::watch::{Stores, Workload};
use crate::sockets::TargetKey;
use dbbalance_api::annotations;
use dbbalance_api::spec::{ClusterSpec, DbBalancePolicy, EvidenceSource, TargetSpec};
use dbbalance_core::dns::DnsView;
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::Stamp;
use dbbalance_core::topology::ClusterId;
use dbbalance_core::workload::WorkloadFacts;
use dbbalance_kube::pods;
use dbbalance_planner::policy::describe_unbound;
use dbbalance_planner::world::{
    ClusterPeers, PolicyFacts, TargetEvidence, TargetOverlap, TargetWorld, TopologyError,
    TopologyState, World,
};
use names::gather_steered_name;
pub use names::{is_steered_by, observe_steered, steered_key};
pub use owners::is_concerned_by_pod;
use owners::{OwnerIndex, PodMatcher, older_policies, owner_among};
pub use peers::{last_view, plan_among_peers};
use recorded::{agreed_topology, own_dns_view};

/// Returns the current policy and its world.
///
/// # Errors
/// When the policy must be read from the API server and the request fails.
pub async fn observe_world(
    policy: &DbBalancePolicy,
    ctx: &Context,
) -> Result<(DbBalancePolicy, World), ReconcileError> {
    let uid = policy.uid().unwrap_or_default();
    let state = ctx.state.get(&uid);
    let current = current_policy(policy, ctx, state.as_ref()).await?;
    let state = ctx.state.get(&uid).unwrap_or_default();
    let key = cluster_key(&current.spec.cluster, ctx);
    if ctx.check_binding(&current, &key, None) == BindingVerdict::Allowed {
        let is_read = ctx.pollers.snapshot(&key).last_read_ok.is_some();
        let hint = (!is_read).then(|| agreed_topology(&current, &key, ctx));
        ctx.pollers.watch(&key, hint.flatten());
        if let Some(view) = ctx.pollers.snapshot(&key).view {
            // Another role may have read the same cluster later.
            let freshest = ctx.pollers.freshest_view(&view.topology.arn);
            ctx.dns.watch(&key, freshest.as_ref().unwrap_or(&view));
        }
    }
    let mut world = gather_world(&current, ctx, &state, &key);
    find_header_problems(&mut world, ctx).await;
    Ok((current, world))
}

/// Checks the Secrets from which hooks take a header.
async fn find_header_problems(world: &mut World, ctx: &Context) {
    let now = (ctx.clock)();
    let namespace = &world.policy.namespace;
    for (spec, found) in world.spec.targets.iter().zip(&mut world.targets) {
        let hook = spec.recycle.http.as_ref();
        if let Some(reference) = hook.and_then(|h| h.header_secret_ref.as_ref()) {
            let check = || ctx.pod_caller.find_header_problem(namespace, reference);
            let problem = ctx
                .header_checks
                .find_problem(namespace, reference, now, check);
            found.header_problem = problem.await;
        }
    }
}

/// Returns what is known of the policy's cluster. Of one that its namespace may not name nothing is: another namespace may
/// have it polled.
///
/// # Errors
/// When the namespace may not name the cluster, or it is not known whether it may.
fn known_cluster(
    policy: &DbBalancePolicy,
    key: &ClusterKey,
    ctx: &Context,
) -> Result<(ClusterSnapshot, Arc<DnsView>), BindingVerdict> {
    let snapshot = ctx.pollers.snapshot(key);
    let arn = snapshot.view.as_ref().map(|v| v.topology.arn.as_str());
    match ctx.check_binding(policy, key, arn) {
        BindingVerdict::Allowed => Ok((snapshot, ctx.dns.view(key))),
        other => Err(other),
    }
}

/// Returns the current policy. The cache may be behind the last write of this replica, and behind the previous leader's
/// if this replica has just become the leader.
async fn current_policy(
    policy: &DbBalancePolicy,
    ctx: &Context,
    state: Option<&PolicyState>,
) -> Result<DbBalancePolicy, ReconcileError> {
    let Some(fit) = state.filter(|m| !m.must_read) else {
        let namespace = policy.namespace().unwrap_or_default();
        let api: Api<DbBalancePolicy> = Api::namespaced(ctx.clients.normal.clone(), &namespace);
        let name = policy.name_any();
        let doing = format!("reading policy {namespace}/{name}");
        let read = await_answer(&doing, api.get(&name)).await?;
        let read = read.map_err(|source| ReconcileError::Kube {
            doing,
            source: Box::new(source),
        })?;
        // From now on the cache is used only once it is as new as this.
        let first = state.is_none();
        ctx.state.update(&policy.uid().unwrap_or_default(), |m| {
            m.must_read = false;
            if first {
                m.start_grace((ctx.clock)());
            }
            m.written = Some(WrittenStatus {
                version: parse_version(&read),
                status: read.status.clone().unwrap_or_default(),
            });
        });
        return Ok(read);
    };
    let mut current = policy.clone();
    if let Some(recorded) = &fit.written
        && parse_version(policy) < recorded.version
    {
        current.status = Some(recorded.status.clone());
        current.metadata.resource_version = Some(recorded.version.to_string());
    }
    Ok(current)
}

fn gather_world(
    policy: &DbBalancePolicy,
    ctx: &Context,
    state: &PolicyState,
    key: &ClusterKey,
) -> World {
    let cluster = known_cluster(policy, key, ctx);
    let cluster_allowed = !matches!(cluster, Err(BindingVerdict::Refused));
    let namespace = policy.namespace().unwrap_or_default();
    let uid = policy.uid().unwrap_or_default();
    let owners = OwnerIndex::from_stores(&ctx.stores, &namespace);
    let older = older_policies(policy, &ctx.stores, &namespace);
    let mut targets: Vec<TargetWorld> = Vec::new();
    let mut matched_by: BTreeMap<String, String> = BTreeMap::new();
    let mut overlaps = Vec::new();
    for spec in &policy.spec.targets {
        let matcher = PodMatcher::new(spec.clone());
        let mut owned_by = spec.workload_ref.as_ref().and_then(|reference| {
            let owner = older.iter().find(|older| older.names_workload(reference));
            owner.map(|older| older.name.clone())
        });
        let mut found = Vec::new();
        for pod in matcher.find_candidates(&ctx.stores, &namespace, &owners) {
            let Some(mut facts) = pods::extract_facts(&pod, spec) else {
                continue;
            };
            if !matcher.is_match(&facts, &owners) {
                continue;
            }
            if let Some(owner) = owner_among(&older, &facts, &owners) {
                owned_by.get_or_insert(owner);
                continue;
            }
            if let Some(other) = matched_by.insert(facts.uid.clone(), spec.name.clone()) {
                overlaps.push(TargetOverlap {
                    first: other,
                    second: spec.name.clone(),
                    pod: facts.name.clone(),
                });
            }
            state.correct_claim(&mut facts);
            found.push(facts);
        }
        let workload = spec
            .workload_ref
            .as_ref()
            .and_then(|r| ctx.stores.workload(r.kind, &namespace, &r.name))
            .and_then(|w| workload_facts(&w));
        let evidence = target_evidence(policy, spec, &found, state, ctx);
        let disruption_budgets = budgets::find_disruption_budgets(spec, &found, &namespace, ctx);
        targets.push(TargetWorld {
            workload,
            pods: found,
            disruption_budgets,
            header_problem: None,
            owned_by,
            backoff: state.blockades.get(&spec.name).cloned(),
            left_of_step: state.left_of_step.get(&spec.name).copied().unwrap_or(0),
            evidence,
        });
    }
    let facts = PolicyFacts {
        namespace,
        name: policy.name_any(),
        uid,
        generation: policy.metadata.generation,
        token: policy
            .annotations()
            .get(annotations::RECYCLE_REQUESTED)
            .cloned(),
        pause_until: policy.annotations().get(annotations::PAUSE_UNTIL).cloned(),
        drain: policy.annotations().get(annotations::DRAIN).cloned(),
        deleting: policy.metadata.deletion_timestamp.is_some(),
    };
    let highest_stamp = highest_stamp(&facts, &targets);
    let (topology, dns) = match cluster {
        Ok((snapshot, shared)) => {
            let dns = own_dns_view(policy, &snapshot, shared, (ctx.clock)());
            (topology_reading(snapshot), dns)
        }
        Err(verdict) => (hidden_topology(policy, verdict), Arc::default()),
    };
    let mut world = World {
        highest_stamp,
        effects_not_before: state.effects_not_before,
        role_allowed: ctx.allowed_roles.check(&key.source).is_ok(),
        signal_allowed: ctx.may_signal_in(&facts.namespace),
        evidence_allowed: ctx.may_measure_in(&facts.namespace),
        policy: facts,
        spec: policy.spec.clone(),
        status: policy.status.clone().unwrap_or_default(),
        topology,
        dns,
        cluster_allowed,
        settling: state.settling.clone(),
        targets,
        peers: ClusterPeers::default(),
        overlaps,
        steered_name: None,
    };
    let wide_until = policy.annotations().get(annotations::WIDE_UNTIL).cloned();
    world.steered_name = gather_steered_name(&world, wide_until, ctx);
    world
}

/// Returns the readings of a target's pods; nothing if the policy has no source of evidence.
fn target_evidence(
    policy: &DbBalancePolicy,
    spec: &TargetSpec,
    pods: &[PodFacts],
    state: &PolicyState,
    ctx: &Context,
) -> TargetEvidence {
    if policy.spec.evidence.source == EvidenceSource::None {
        return TargetEvidence::default();
    }
    let known = |uid: &str| pods.iter().any(|p| p.uid == uid);
    let mut before = state.sockets_before_recycle.clone();
    before.retain(|uid, _| known(uid));
    let key = probe_key(policy, spec);
    let requested = ctx.probe.requested_since(&key);
    TargetEvidence {
        measured: ctx.probe.measured(&key),
        before,
        read_since: requested,
        // A pass that had evidence before the pods were replaced says nothing about these.
        silent_since: requested.max(requested.and(state.last_evidence.get(&spec.name).copied())),
    }
}

/// Returns the key of a target in the probe.
#[must_use]
pub fn probe_key(policy: &DbBalancePolicy, spec: &TargetSpec) -> TargetKey {
    TargetKey {
        namespace: policy.namespace().unwrap_or_default(),
        policy: policy.name_any(),
        uid: policy.uid().unwrap_or_default(),
        target: spec.name.clone(),
    }
}

fn hidden_topology(policy: &DbBalancePolicy, verdict: BindingVerdict) -> TopologyState {
    let namespace = policy.namespace().unwrap_or_default();
    let error = if verdict == BindingVerdict::LabelsUnknown {
        TopologyError {
            reason: "NamespaceNotRead",
            message: format!(
                "the labels of namespace {namespace}, by which a binding selects it, have not been read: the operator needs list and watch on namespaces"
            ),
        }
    } else {
        TopologyError {
            reason: TopologyError::CLUSTER_NOT_ALLOWED,
            message: describe_unbound(&policy.spec, &namespace),
        }
    };
    TopologyState::Failing { error, last: None }
}

fn topology_reading(snapshot: ClusterSnapshot) -> TopologyState {
    let view = snapshot.view.map(|v| (*v).clone());
    match (snapshot.observation, view) {
        (ObservationState::Current, Some(view)) => TopologyState::Current(view),
        (ObservationState::Failing { reason, message }, last) => TopologyState::Failing {
            error: TopologyError { reason, message },
            last,
        },
        (ObservationState::Pending | ObservationState::Current, _) => TopologyState::Pending,
    }
}

fn highest_stamp(policy: &PolicyFacts, targets: &[TargetWorld]) -> Option<i64> {
    let mark = policy.mark();
    let on_pods = targets
        .iter()
        .flat_map(|t| &t.pods)
        .filter_map(|p| p.stamp.as_ref());
    let on_templates = targets
        .iter()
        .filter_map(|t| t.workload.as_ref()?.template_stamp.as_ref());
    on_pods
        .chain(on_templates)
        .filter(|s: &&Stamp| s.policy == mark)
        .map(|s| s.epoch)
        .max()
}

/// Returns the cluster of a policy, with the role and region that it is read by.
#[must_use]
pub fn cluster_key(spec: &ClusterSpec, ctx: &Context) -> ClusterKey {
    ClusterKey {
        source: SourceKey {
            role: spec.role_arn.as_ref().map(|arn| RoleKey {
                arn: arn.clone(),
                external_id: spec.external_id.clone(),
            }),
            region: spec
                .region
                .clone()
                .unwrap_or_else(|| ctx.default_region.clone()),
        },
        cluster: ClusterId(spec.identifier.clone()),
    }
}

fn workload_facts(workload: &Workload) -> Option<WorkloadFacts> {
    match workload {
        Workload::Deployment(d) => workloads::deployment_facts(d),
        Workload::StatefulSet(s) => workloads::stateful_set_facts(s),
        Workload::DaemonSet(d) => workloads::daemon_set_facts(d),
    }
}

/// Returns the cached pod if it has not changed since it was planned.
#[must_use]
pub fn planned_pod(
    stores: &Stores,
    namespace: &str,
    name: &str,
    uid: &str,
    version: &str,
) -> Option<Arc<Pod>> {
    stores.pod(namespace, name).filter(|p| {
        p.metadata.uid.as_deref() == Some(uid)
            && p.metadata.resource_version.as_deref() == Some(version)
    })
}

#[cfg(test)]
mod tests;
