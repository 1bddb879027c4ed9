//! Trims cached objects, and compares them by what matters.
//!
//! Environment, commands and volumes are dropped, for their size and because they may contain credentials. An empty map of
//! annotations stays an empty map: claims distinguish it from a missing one.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStatus, Pod, PodCondition, PodSpec, PodStatus,
    PodTemplateSpec,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use super::{ReplicaSetMeta, WatchedPolicy};

/// kubectl's copy of the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn trim_metadata(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
    if let Some(owners) = &mut meta.owner_references {
        owners.shrink_to_fit();
    }
}

/// Collects what is kept of each element into an allocation of just that size. A list that was parsed has room for four
/// elements at least, and an adapter that collects in place would keep it: kilobytes for each cached pod.
fn trim_all<T>(all: Vec<T>, trim: fn(T) -> T) -> Vec<T> {
    let mut kept: Vec<T> = all.into_iter().map(trim).collect();
    kept.shrink_to_fit();
    kept
}

/// Returns whether both are equal except for the resource version.
fn is_same_metadata(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    a.uid == b.uid
        && a.generation == b.generation
        && a.deletion_timestamp == b.deletion_timestamp
        && a.annotations == b.annotations
        && a.labels == b.labels
        && a.owner_references == b.owner_references
}

pub(super) fn trim_policy(policy: &mut WatchedPolicy) {
    // All annotations are kept: the controller may hash them.
    policy.meta_mut().managed_fields = None;
}

/// Returns whether two versions are equal except for the status, which the operator itself writes.
pub(super) fn is_same_policy(a: &WatchedPolicy, b: &WatchedPolicy) -> bool {
    // A lost status matters, though: the epoch must be recovered.
    let wiped = |p: &WatchedPolicy| {
        p.0.as_ref()
            .is_ok_and(|p| p.status.as_ref().is_none_or(|s| s.epoch.is_none()))
    };
    a.0.is_ok() == b.0.is_ok() && wiped(a) == wiped(b) && is_same_metadata(a.meta(), b.meta())
}

pub(super) fn trim_pod(pod: &mut Pod) {
    trim_metadata(&mut pod.metadata);
    if let Some(spec) = &mut pod.spec {
        *spec = PodSpec {
            containers: trim_all(std::mem::take(&mut spec.containers), trim_container),
            init_containers: spec
                .init_containers
                .take()
                .map(|all| trim_all(all, trim_container)),
            host_network: spec.host_network,
            host_pid: spec.host_pid,
            share_process_namespace: spec.share_process_namespace,
            node_name: spec.node_name.take(),
            restart_policy: spec.restart_policy.take(),
            termination_grace_period_seconds: spec.termination_grace_period_seconds,
            readiness_gates: spec.readiness_gates.take(),
            ..PodSpec::default()
        };
    }
    if let Some(status) = &mut pod.status {
        let states =
            |all: Option<Vec<ContainerStatus>>| all.map(|all| trim_all(all, trim_container_status));
        *status = PodStatus {
            phase: status.phase.take(),
            reason: status.reason.take(),
            conditions: status
                .conditions
                .take()
                .map(|all| trim_all(all, trim_condition)),
            pod_ip: status.pod_ip.take(),
            start_time: status.start_time.take(),
            container_statuses: states(status.container_statuses.take()),
            init_container_statuses: states(status.init_container_statuses.take()),
            ..PodStatus::default()
        };
    }
}

pub(super) fn is_same_pod(a: &Pod, b: &Pod) -> bool {
    is_same_metadata(&a.metadata, &b.metadata) && a.spec == b.spec && a.status == b.status
}

/// Drops the message, which only people read.
fn trim_condition(all: PodCondition) -> PodCondition {
    PodCondition {
        message: None,
        ..all
    }
}

fn trim_container(all: Container) -> Container {
    Container {
        name: all.name,
        image: all.image,
        ports: all.ports,
        restart_policy: all.restart_policy, // Always makes an init container a sidecar
        ..Container::default()
    }
}

fn trim_container_status(all: ContainerStatus) -> ContainerStatus {
    ContainerStatus {
        name: all.name,
        ready: all.ready,
        started: all.started,
        restart_count: all.restart_count,
        state: all.state.map(trim_container_state),
        ..ContainerStatus::default()
    }
}

/// Drops messages, in which apps may leave up to 4 KiB.
fn trim_container_state(mut state: ContainerState) -> ContainerState {
    if let Some(ended) = &mut state.terminated {
        ended.message = None;
    }
    if let Some(waiting) = &mut state.waiting {
        waiting.message = None;
    }
    state
}

fn trim_template(template: &mut PodTemplateSpec) {
    if let Some(spec) = &mut template.spec {
        *spec = PodSpec {
            containers: trim_all(std::mem::take(&mut spec.containers), trim_container),
            host_network: spec.host_network,
            termination_grace_period_seconds: spec.termination_grace_period_seconds,
            ..PodSpec::default()
        };
    }
}

pub(super) fn trim_deployment(object: &mut Deployment) {
    trim_metadata(&mut object.metadata);
    if let Some(spec) = &mut object.spec {
        trim_template(&mut spec.template);
    }
}

pub(super) fn is_same_deployment(a: &Deployment, b: &Deployment) -> bool {
    is_same_metadata(&a.metadata, &b.metadata) && a.spec == b.spec && a.status == b.status
}

pub(super) fn trim_stateful_set(object: &mut StatefulSet) {
    trim_metadata(&mut object.metadata);
    if let Some(spec) = &mut object.spec {
        trim_template(&mut spec.template);
        spec.volume_claim_templates = None;
    }
}

pub(super) fn is_same_stateful_set(a: &StatefulSet, b: &StatefulSet) -> bool {
    is_same_metadata(&a.metadata, &b.metadata) && a.spec == b.spec && a.status == b.status
}

pub(super) fn trim_daemon_set(object: &mut DaemonSet) {
    trim_metadata(&mut object.metadata);
    if let Some(spec) = &mut object.spec {
        trim_template(&mut spec.template);
    }
}

pub(super) fn is_same_daemon_set(a: &DaemonSet, b: &DaemonSet) -> bool {
    is_same_metadata(&a.metadata, &b.metadata) && a.spec == b.spec && a.status == b.status
}

pub(super) fn trim_replica_set(object: &mut ReplicaSetMeta) {
    trim_metadata(&mut object.metadata);
}

pub(super) fn is_same_replica_set(a: &ReplicaSetMeta, b: &ReplicaSetMeta) -> bool {
    // Its generation changes with each scaling, which the Deployment shows as well.
    let (a, b) = (&a.metadata, &b.metadata);
    a.uid == b.uid
        && a.deletion_timestamp == b.deletion_timestamp
        && a.owner_references == b.owner_references
        && a.labels == b.labels
        && a.annotations == b.annotations
}

pub(super) fn trim_disruption_budget(object: &mut PodDisruptionBudget) {
    trim_metadata(&mut object.metadata);
    object.status = None;
}

/// Returns whether two versions say the same. Their status changes with each pod.
pub(super) fn is_same_disruption_budget(a: &PodDisruptionBudget, b: &PodDisruptionBudget) -> bool {
    is_same_metadata(&a.metadata, &b.metadata) && a.spec == b.spec
}
