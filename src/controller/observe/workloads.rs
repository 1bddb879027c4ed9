//! Reduces Deployments, `StatefulSets` and `DaemonSets` to the facts that the planner needs.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use dbbalance_api::annotations;
use dbbalance_api::spec::WorkloadKind;
use dbbalance_core::stamp::Stamp;
use dbbalance_core::workload::{RolloutStrategy, WorkloadFacts};
use dbbalance_kube::pods::{find_controller, is_ignored};

/// Returns Kubernetes' default of `maxUnavailable` and `maxSurge` for Deployments.
fn default_quarter() -> IntOrString {
    IntOrString::String("25%".to_owned())
}

/// Reduces a Deployment.
pub(super) fn deployment_facts(object: &Deployment) -> Option<WorkloadFacts> {
    let spec = object.spec.as_ref()?;
    let status = object.status.clone().unwrap_or_default();
    let strategy = spec.strategy.clone().unwrap_or_default();
    let rolling = strategy.rolling_update.unwrap_or_default();
    // The deadline is spec.progressDeadlineSeconds of the Deployment, 600 s by default.
    let mut conditions = status.conditions.iter().flatten();
    let rollout_failed = conditions.any(|c| {
        c.type_ == "Progressing"
            && c.status == "False"
            && c.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    Some(WorkloadFacts {
        rollout_failed,
        wanted: to_count(Some(spec.replicas.unwrap_or(1))),
        present: to_count(status.replicas),
        updated: to_count(status.updated_replicas),
        paused: spec.paused.unwrap_or(false),
        strategy: if strategy.type_.as_deref() == Some("Recreate") {
            RolloutStrategy::Recreate
        } else {
            RolloutStrategy::RollingUpdate {
                max_unavailable: rolling.max_unavailable.unwrap_or_else(default_quarter),
                max_surge: rolling.max_surge.unwrap_or_else(default_quarter),
            }
        },
        ..common_facts(
            WorkloadKind::Deployment,
            &object.metadata,
            &spec.template,
            status.observed_generation,
        )?
    })
}

/// Reduces a StatefulSet.
pub(super) fn stateful_set_facts(object: &StatefulSet) -> Option<WorkloadFacts> {
    let spec = object.spec.as_ref()?;
    let status = object.status.clone().unwrap_or_default();
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    let rolling = strategy.rolling_update.unwrap_or_default();
    let partition = rolling.partition.unwrap_or(0);
    // updatedReplicas may be missing while no rollout is in progress and the revisions agree.
    let settled = status.current_revision == status.update_revision;
    Some(WorkloadFacts {
        wanted: to_count(Some(spec.replicas.unwrap_or(1))),
        present: to_count(Some(status.replicas)),
        updated: if settled {
            to_count(Some(status.replicas))
        } else {
            to_count(status.updated_replicas)
        },
        strategy: match strategy.type_.as_deref() {
            Some("OnDelete") => RolloutStrategy::OnDelete,
            _ if partition > 0 => RolloutStrategy::Partition(partition),
            _ => RolloutStrategy::RollingUpdate {
                max_unavailable: rolling.max_unavailable.unwrap_or(IntOrString::Int(1)),
                max_surge: IntOrString::Int(0),
            },
        },
        ..common_facts(
            WorkloadKind::StatefulSet,
            &object.metadata,
            &spec.template,
            status.observed_generation,
        )?
    })
}

/// Reduces a DaemonSet.
pub(super) fn daemon_set_facts(object: &DaemonSet) -> Option<WorkloadFacts> {
    let spec = object.spec.as_ref()?;
    let status = object.status.clone().unwrap_or_default();
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    let rolling = strategy.rolling_update.unwrap_or_default();
    Some(WorkloadFacts {
        wanted: to_count(Some(status.desired_number_scheduled)),
        present: to_count(Some(status.current_number_scheduled)),
        updated: to_count(status.updated_number_scheduled),
        strategy: if strategy.type_.as_deref() == Some("OnDelete") {
            RolloutStrategy::OnDelete
        } else {
            RolloutStrategy::RollingUpdate {
                max_unavailable: rolling.max_unavailable.unwrap_or(IntOrString::Int(1)),
                max_surge: rolling.max_surge.unwrap_or(IntOrString::Int(0)),
            }
        },
        ..common_facts(
            WorkloadKind::DaemonSet,
            &object.metadata,
            &spec.template,
            status.observed_generation,
        )?
    })
}

fn common_facts(
    kind: WorkloadKind,
    metadata: &ObjectMeta,
    template: &PodTemplateSpec,
    observed: Option<i64>,
) -> Option<WorkloadFacts> {
    let note = |m: &ObjectMeta, key: &str| m.annotations.as_ref().and_then(|a| a.get(key)).cloned();
    let owner = metadata
        .owner_references
        .as_deref()
        .and_then(find_controller);
    let generation = metadata.generation.unwrap_or(0);
    Some(WorkloadFacts {
        kind,
        name: metadata.name.clone()?,
        uid: metadata.uid.clone()?,
        generation,
        wanted: 0,
        present: 0,
        updated: 0,
        observed: observed.unwrap_or(0) >= generation,
        paused: false,
        rollout_failed: false,
        strategy: RolloutStrategy::OnDelete,
        template_stamp: template
            .metadata
            .as_ref()
            .and_then(|m| note(m, annotations::EPOCH))
            .and_then(|text| Stamp::parse(&text)),
        owner: owner.map(|o| format!("{} {}", o.kind, o.name)),
        ignored: is_ignored(note(metadata, annotations::IGNORE).as_deref()),
    })
}

fn to_count(pods: Option<i32>) -> usize {
    usize::try_from(pods.unwrap_or(0)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_settled_stateful_set_without_updated_replicas_is_not_rolling() {
        let object: StatefulSet = serde_json::from_value(json!({
            "metadata": {"name": "db", "uid": "u", "generation": 2},
            "spec": {"replicas": 3, "selector": {}, "serviceName": "", "template": {}},
            "status": {"replicas": 3, "observedGeneration": 2, "currentRevision": "a", "updateRevision": "a"}
        }))
        .unwrap();
        assert!(!stateful_set_facts(&object).unwrap().is_rolling());
    }

    #[test]
    fn a_rollout_past_its_progress_deadline_has_failed() {
        let deployment = |status: &str, reason: &str| -> Deployment {
            serde_json::from_value(json!({
                "metadata": {"name": "web", "uid": "u", "generation": 2},
                "spec": {"replicas": 4, "selector": {}, "template": {}},
                "status": {"replicas": 5, "updatedReplicas": 1, "observedGeneration": 2, "conditions": [
                    {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
                    {"type": "Progressing", "status": status, "reason": reason},
                ]}
            }))
            .unwrap()
        };
        let failed = deployment("False", "ProgressDeadlineExceeded");
        let failed = deployment_facts(&failed).unwrap();
        assert!(failed.is_rolling() && failed.rollout_failed && !failed.is_moving_pods());
        let moving = deployment("True", "ReplicaSetUpdated");
        assert!(deployment_facts(&moving).unwrap().is_moving_pods());
    }

    #[test]
    fn a_deployment_not_yet_seen_by_its_controller_is_rolling() {
        let object: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "uid": "u", "generation": 3, "annotations": {"dbbalance.io/ignore": "true"}},
            "spec": {"replicas": 2, "selector": {}, "template": {"metadata": {"annotations": {"dbbalance.io/epoch": "aaaaaaaa/4-3f9c"}}}},
            "status": {"replicas": 2, "updatedReplicas": 2, "observedGeneration": 2}
        }))
        .unwrap();
        let facts = deployment_facts(&object).unwrap();
        assert!(facts.is_rolling() && facts.ignored);
        assert_eq!(facts.template_stamp.unwrap().epoch, 4);
    }
}
