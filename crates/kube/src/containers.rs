//! Finds the containers of a pod that may hold its pools, and what becomes of them during a recycle.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use kube::ResourceExt;

use dbbalance_api::annotations;
use dbbalance_api::spec::TargetSpec;
use dbbalance_core::pod::SinceClaim;
use dbbalance_core::stamp::{Attempt, Claim, RestartMark};

/// The annotation by which a pod names the container that users mean. `kubectl exec` follows it, and service meshes set
/// it when they put their proxy first.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Why no container of a pod is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerChoiceError {
    /// The pod has no container of this name.
    Missing(String),
    /// The pod has these containers, and nothing says which one is meant.
    Ambiguous(Vec<String>),
}

/// Chooses the container that gets the signal: the one that the policy names, which may be a native sidecar, else the one
/// that the pod's annotation names, else the only one.
///
/// # Errors
/// When the pod has no container of that name, or has several and neither the policy nor the pod names one. The first of
/// several may be a mesh's proxy, which a signal would end.
pub fn choose_container<'a>(
    pod: &'a Pod,
    named: Option<&str>,
) -> Result<&'a Container, ContainerChoiceError> {
    let spec = pod.spec.as_ref();
    let apps = spec.map_or(&[][..], |s| &s.containers[..]);
    let find = |name: &str| {
        let sidecars = spec.and_then(|s| s.init_containers.as_deref());
        let sidecars = sidecars
            .unwrap_or_default()
            .iter()
            .filter(|c| is_sidecar(c));
        apps.iter().chain(sidecars).find(|c| c.name == name)
    };
    if let Some(name) = named {
        return find(name).ok_or_else(|| ContainerChoiceError::Missing(name.to_owned()));
    }
    let annotated = pod.annotations().get(DEFAULT_CONTAINER);
    if let Some(container) = annotated.and_then(|name| find(name)) {
        return Ok(container);
    }
    match apps {
        [only] => Ok(only),
        several => {
            let all = several.iter().map(|c| c.name.clone());
            Err(ContainerChoiceError::Ambiguous(all.collect()))
        }
    }
}

/// Returns whether an init container is a native sidecar (Kubernetes 1.29): it runs beside the app.
#[must_use]
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Returns the states of the containers that may hold the pod's pools: of the one that gets the signal, else of all that
/// are not init containers. If no container can be chosen for the signal, the method reports it; until then all count.
#[must_use]
pub fn find_pool_containers<'a>(pod: &'a Pod, spec: &TargetSpec) -> Vec<&'a ContainerStatus> {
    let signal = spec.recycle.signal.as_ref();
    let chosen = signal.and_then(|s| choose_container(pod, s.container.as_deref()).ok());
    match chosen.and_then(|c| find_status(pod, &c.name)) {
        Some(status) => vec![status],
        None => app_statuses(pod).iter().collect(),
    }
}

fn app_statuses(pod: &Pod) -> &[ContainerStatus] {
    let status = pod.status.as_ref();
    let apps = status.and_then(|s| s.container_statuses.as_deref());
    apps.unwrap_or_default()
}

fn find_status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref();
    let sidecars = status.and_then(|s| s.init_container_statuses.as_deref());
    let sidecars = sidecars.unwrap_or_default();
    let mut all = app_statuses(pod).iter().chain(sidecars);
    all.find(|c| c.name == container)
}

/// Returns when a container started; `None` while it does not run.
#[must_use]
pub fn running_since(container: &ContainerStatus) -> Option<Timestamp> {
    let running = container.state.as_ref()?.running.as_ref()?;
    Some(running.started_at.as_ref()?.0)
}

/// Returns how often a container has restarted in its pod's life.
#[must_use]
pub fn restarts_of(container: &ContainerStatus) -> u32 {
    u32::try_from(container.restart_count).unwrap_or(0)
}

/// Returns the mark to write with a claim: how often each container that runs now has restarted. A container that does
/// not run cannot be ended by the recycle; if it starts meanwhile, that says nothing about the method. `None` if none
/// runs, and for a later attempt at the same recycle, whose mark is on the pod: what the first attempt ended counts too.
#[must_use]
pub fn mark_restarts(pod: &Pod, spec: &TargetSpec, claim: &Claim) -> Option<RestartMark> {
    if claim.attempt != Attempt::First
        && read_mark(pod).is_some_and(|m| m.policy == claim.policy && m.epoch == claim.epoch)
    {
        return None;
    }
    let containers = find_pool_containers(pod, spec);
    let running = containers.iter().filter(|c| running_since(c).is_some());
    let restarts: BTreeMap<String, u32> =
        running.map(|c| (c.name.clone(), restarts_of(c))).collect();
    (!restarts.is_empty()).then(|| RestartMark {
        policy: claim.policy.clone(),
        epoch: claim.epoch,
        time: claim.time,
        restarts,
        ready: crate::pods::is_ready(pod),
        refused: false,
    })
}

fn read_mark(pod: &Pod) -> Option<RestartMark> {
    pod.annotations()
        .get(annotations::RESTARTS)
        .and_then(|text| RestartMark::parse(text))
}

/// Returns when a container has ended last; `None` if its status does not say so.
fn last_end(container: &ContainerStatus) -> Option<Timestamp> {
    let states = [&container.state, &container.last_state];
    let terminated = states
        .into_iter()
        .flatten()
        .find_map(|s| s.terminated.as_ref());
    terminated?.finished_at.as_ref().map(|t| t.0)
}

/// Compares a pod with the mark of its last claim; `None` if it has none that can be read.
#[must_use]
pub fn compare_restarts(pod: &Pod) -> Option<SinceClaim> {
    let mark = read_mark(pod)?;
    let ended = mark.restarts.into_iter().filter_map(|(name, before)| {
        // Between its end and its restart a container does not run, and its count is still the old one.
        let ended = find_status(pod, &name)
            .is_none_or(|c| restarts_of(c) > before || running_since(c).is_none());
        ended.then_some(name)
    });
    let ended: Vec<String> = ended.collect();
    let ends = ended.iter().map(|name| last_end(find_status(pod, name)?));
    Some(SinceClaim {
        // One whose end is not known may have been the first.
        ended_at: ends
            .collect::<Option<Vec<_>>>()
            .and_then(|e| e.into_iter().min()),
        ended,
        policy: mark.policy,
        epoch: mark.epoch,
        claimed: mark.time,
        was_ready: mark.ready,
        refused: mark.refused,
    })
}

#[cfg(test)]
mod tests;
